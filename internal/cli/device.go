package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
)

// DeviceFlags are -device, -precision, -threads, -memory and -gpu-memory.
type DeviceFlags struct {
	Device    string
	Precision string
	Threads   int
	Memory    Size // most bytes of the process's memory that the CPU takes; 0 is cpu.DefaultMemory
	GPUMemory Size // most bytes of a card's memory; 0 is all

	Several bool        // cuda:all is taken, by Cards; set before Register
	Kernels string      // variant of the device's kernels, for programs that have a flag for it; "" is the best
	CPU     cpu.Options // further options of the CPU, for programs that have more flags; Threads and Kernels above count
}

// allCards is the -device of all cards.
const allCards = "cuda:all"

// deviceNames lists what -device takes.
func (f *DeviceFlags) deviceNames() string {
	if f.Several {
		return "auto, cpu, cuda, cuda:N or " + allCards
	}
	return "auto, cpu, cuda or cuda:N"
}

// Register adds the flags to fs.
func (f *DeviceFlags) Register(fs *flag.FlagSet) {
	all := ""
	if f.Several {
		all = ", " + allCards + " is all of them, an image on each"
	}
	fs.StringVar(&f.Device, "device", "auto", "compute `device`: "+f.deviceNames()+"; N counts NVIDIA cards from 0"+all+
		"; auto is the first card if it can be used and passes its self-test, else the CPU")
	fs.StringVar(&f.Precision, "precision", "auto",
		"arithmetic: auto, fp32, bf16 or fp16, of which each device has some; auto is the `type` that it prefers, fp16 on a card")
	fs.IntVar(&f.Threads, "threads", 0, "CPU `threads` to compute with; 0 is one for each that the system gives")
	fs.Var(&f.Memory, "memory", "most memory to compute in on the CPU, a `size` such as 11GiB; 0 is 80 % of what the system or the "+
		"control group allows. An image that needs more is decoded in tiles, or refused before its first step")
	fs.Var(&f.GPUMemory, "gpu-memory", "most of a card's memory to take, a `size` such as 11GiB; 0 is all of it")
}

// Open opens the device. The precision is zero for auto. A name that no device has is a usage error. A device or
// precision that is not there is an error that says why; so is a card that fails its self-test, unless the flag is
// auto. warn gets a line if auto falls back to the CPU, and later the warnings of a card about the models that it runs,
// from any goroutine; it may be nil.
func (f *DeviceFlags) Open(warn func(line string)) (kernels.Device, kernels.DType, error) {
	if err := f.check(); err != nil {
		return nil, 0, err
	}
	if f.Device == allCards {
		return nil, 0, Usagef("-device %s: this opens one device: must be auto, cpu, cuda or cuda:N", allCards)
	}
	return f.openWith(f.fallbackReason(), func() (selfTested, error) { return f.openCard(warn) }, warn)
}

// selfTested is a card with a known-answer self-test.
type selfTested interface {
	kernels.Device
	SelfCheck(ctx context.Context) error
}

// openWith is Open with the reason for falling back to the CPU, nil for none, and the function that opens a card.
func (f *DeviceFlags) openWith(
	why error, openCard func() (selfTested, error), warn func(line string),
) (kernels.Device, kernels.DType, error) {
	if f.Device != "cpu" && why == nil {
		var card selfTested
		if card, why = openCard(); why == nil {
			precision, err := choosePrecision(f.Precision, card.Info())
			if err != nil {
				card.Close() // nothing was computed yet; the error that the user can act on is the other one
				return nil, 0, err
			}
			if why = card.SelfCheck(context.Background()); why == nil {
				return card, precision, nil
			}
			card.Close() // likewise
		}
		if f.Device != "auto" {
			return nil, 0, why
		}
	}
	if why != nil && warn != nil {
		warn(fmt.Sprintf("computing on the cpu: %v", why))
	}
	o := f.CPU
	o.Threads, o.Variant, o.Memory = f.Threads, f.Kernels, int64(f.Memory)
	var precision kernels.DType
	device, err := cpu.New(o)
	if err == nil {
		limitGarbage(device.Info().Memory)
		if precision, err = choosePrecision(f.Precision, device.Info()); err == nil {
			return device, precision, nil
		}
		device.Close() // likewise
	}
	if why != nil {
		err = fmt.Errorf("%w (the cpu, since %w)", err, why)
	}
	return nil, 0, err
}

// limitGarbage makes the runtime collect garbage before it takes much more than what a device may take, 0 if that is
// not known: without it a heap may grow to twice what is in use. GOMEMLIMIT goes first.
func limitGarbage(budget int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := int64(math.MaxInt64)
	if budget > 0 {
		limit = budget + budget/8 // 90 % of what the system allows where the budget is 80 %
	}
	debug.SetMemoryLimit(limit)
}

func (f *DeviceFlags) openCard(warn func(line string)) (selfTested, error) {
	n, err := f.card()
	if err != nil {
		return nil, err
	}
	card, err := cuda.Open(f.cardOptions(n, warn))
	if err != nil {
		return nil, err
	}
	return card, nil
}

// cardOptions is what card n is opened with.
func (f *DeviceFlags) cardOptions(n int, warn func(line string)) cuda.Options {
	o := cuda.Options{Device: n, Memory: int64(f.GPUMemory), Variant: f.Kernels, Warn: warn}
	if p, err := kernels.ParsePrecision(f.Precision); err == nil && p != kernels.F32 {
		o.Precision = p // of the self-test; fp32 is refused with a list of what there is
	}
	return o
}

// fallbackReason says why auto is the CPU, nil if it is a card. It looks for cards only where that matters.
func (f *DeviceFlags) fallbackReason() error {
	switch {
	case f.Device != "auto":
		return nil
	case f.Precision == kernels.F32.String():
		return errors.New("cuda: fp32 is the cpu's")
	}
	return cuda.Available()
}

// Cards describes the cards that the flags select, without opening them; none is the CPU. Of cuda:all, a card that
// can't be used is left out, and warn gets a line about it.
func (f *DeviceFlags) Cards(warn func(line string)) ([]kernels.Info, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.Device == "cpu" {
		return nil, nil
	}
	if why := f.fallbackReason(); why != nil {
		warn(fmt.Sprintf("computing on the cpu: %v", why))
		return nil, nil
	}
	there, err := cuda.Cards()
	if err != nil {
		return nil, err
	}
	return f.choose(there, warn)
}

// choose picks from the machine's cards.
func (f *DeviceFlags) choose(there []kernels.Info, warn func(line string)) ([]kernels.Info, error) {
	if f.Device != allCards {
		n, err := f.card()
		if err != nil {
			return nil, err
		}
		if n >= len(there) {
			return nil, fmt.Errorf("-device %s: this machine has cuda:0 to cuda:%d", f.Device, len(there)-1)
		}
		there = there[n : n+1]
	}
	var chosen []kernels.Info
	for _, card := range there {
		switch {
		case len(card.Precisions) > 0:
		case f.Device != allCards:
			return nil, errors.New(card.Detail)
		default:
			warn(fmt.Sprintf("leaving out %s: %s", card.Name, card.Detail))
			continue
		}
		if _, err := choosePrecision(f.Precision, card); err != nil {
			return nil, err
		}
		if f.GPUMemory > 0 {
			card.Memory = min(card.Memory, int64(f.GPUMemory))
		}
		chosen = append(chosen, card)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-device %s: none of the %d cards can be used", f.Device, len(there))
	}
	return chosen, nil
}

// card is the number in cuda:N, and 0 for cuda and auto.
func (f *DeviceFlags) card() (int, error) {
	if f.Device == "cuda" || f.Device == "auto" {
		return 0, nil
	}
	number, ok := strings.CutPrefix(f.Device, "cuda:")
	n, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil {
		return 0, Usagef("-device %q: must be %s", f.Device, f.deviceNames())
	}
	return int(n), nil
}

func (f *DeviceFlags) check() error {
	switch f.Device {
	case "auto":
	case "cpu":
		if f.GPUMemory != 0 {
			return Usagef("-gpu-memory %v: has no meaning for -device cpu: it is for cuda", &f.GPUMemory)
		}
	default:
		if _, err := f.card(); err != nil && !(f.Several && f.Device == allCards) {
			return err
		}
		if f.Threads != 0 {
			return Usagef("-threads %d: has no meaning for -device %s: it is for cpu", f.Threads, f.Device)
		}
		if f.Memory != 0 {
			return Usagef("-memory %v: has no meaning for -device %s: it is for cpu, -gpu-memory is for cuda", &f.Memory, f.Device)
		}
	}
	if f.Precision != "auto" {
		if _, err := kernels.ParsePrecision(f.Precision); err != nil {
			return Usagef("-precision %q: must be auto, fp32, bf16 or fp16", f.Precision)
		}
	}
	if f.Threads < 0 {
		return Usagef("-threads %d: must be 0 or more", f.Threads)
	}
	return nil
}

// Devices describes the CPU and the cards of this machine, one a line.
func Devices() ([]string, error) {
	host, err := cpu.New(cpu.Options{})
	if err != nil {
		return nil, err
	}
	lines := []string{line(host.Info())}
	if all := cpu.SystemMemory(); all > 0 {
		lines[0] += fmt.Sprintf("; -memory is 80 %% of the %.1f GiB that the system allows", float64(all)/(1<<30))
	}
	if err := host.Close(); err != nil {
		return nil, err
	}
	cards, err := cuda.Cards()
	for _, card := range cards {
		lines = append(lines, line(card))
	}
	if err != nil { // its text begins with "cuda:"
		lines = append(lines, err.Error())
	}
	return lines, nil
}

func line(d kernels.Info) string {
	if len(d.Precisions) == 0 {
		return fmt.Sprintf("%s: can't be used: %s", d.Name, d.Detail)
	}
	memory := ""
	if d.Memory > 0 {
		memory = fmt.Sprintf(", %.1f GiB", float64(d.Memory)/(1<<30))
	}
	return fmt.Sprintf("%s: %s%s, kernels %s, %s", d.Name, d.Detail, memory, d.Variant, precisions(d))
}

func precisions(d kernels.Info) string {
	var there []string
	for _, p := range d.Precisions {
		there = append(there, p.String())
	}
	return strings.Join(there, ", ")
}

// choosePrecision parses a -precision that check has passed.
func choosePrecision(name string, info kernels.Info) (kernels.DType, error) {
	if name == "auto" {
		return 0, nil
	}
	precision, err := kernels.ParsePrecision(name)
	if err != nil {
		return 0, err
	}
	if slices.Contains(info.Precisions, precision) {
		return precision, nil
	}
	return 0, fmt.Errorf("precision %s is not there on %s: it has %s", name, info.Name, precisions(info))
}
