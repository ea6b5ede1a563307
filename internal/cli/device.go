package cli

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// DeviceFlags are -device, -precision and -threads.
type DeviceFlags struct {
	Device    string
	Precision string
	Threads   int

	CPU cpu.Options // further options of the cpu, for programs that have more flags; Threads above counts
}

// Register adds the flags to fs.
func (f *DeviceFlags) Register(fs *flag.FlagSet) {
	fs.StringVar(&f.Device, "device", "auto", "compute `device`: auto, cpu, cuda or cuda:N; auto is the cpu")
	fs.StringVar(&f.Precision, "precision", "auto", "arithmetic: auto, fp32, bf16 or fp16, of which each device has some; auto is the `type` that it prefers")
	fs.IntVar(&f.Threads, "threads", 0, "processor `threads` to compute with; 0 is one for each that the system gives")
}

// Open opens the device. The precision is zero for auto. A word that no device could be called by is a usage error; a device or
// precision that is not there is an error that lists what is.
func (f *DeviceFlags) Open() (kernels.Device, kernels.DType, error) {
	if err := f.check(); err != nil {
		return nil, 0, err
	}
	if f.Device != "auto" && f.Device != "cpu" {
		return nil, 0, fmt.Errorf("device %q is not there: this build has cpu", f.Device)
	}
	o := f.CPU
	o.Threads = f.Threads
	device, err := cpu.New(o)
	if err != nil {
		return nil, 0, err
	}
	precision, err := choosePrecision(f.Precision, device.Info())
	if err != nil {
		device.Close() // nothing was computed yet; the error that the user can act on is the other one
		return nil, 0, err
	}
	return device, precision, nil
}

func (f *DeviceFlags) check() error {
	switch number, isNumbered := strings.CutPrefix(f.Device, "cuda:"); {
	case isNumbered:
		if _, err := strconv.ParseUint(number, 10, 16); err != nil {
			return Usagef("-device %q: must be auto, cpu, cuda or cuda:N", f.Device)
		}
	case !slices.Contains([]string{"auto", "cpu", "cuda"}, f.Device):
		return Usagef("-device %q: must be auto, cpu, cuda or cuda:N", f.Device)
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

// choosePrecision reads a word that check has passed.
func choosePrecision(word string, info kernels.Info) (kernels.DType, error) {
	if word == "auto" {
		return 0, nil
	}
	precision, err := kernels.ParsePrecision(word)
	if err != nil {
		return 0, err
	}
	if slices.Contains(info.Precisions, precision) {
		return precision, nil
	}
	var there []string
	for _, p := range info.Precisions {
		there = append(there, p.String())
	}
	return 0, fmt.Errorf("precision %s is not there on %s: it has %s", word, info.Name, strings.Join(there, ", "))
}
