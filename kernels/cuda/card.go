package cuda

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// Available returns the error that Open would return for card 0, or nil.
func Available() error {
	d, err := driver.Open()
	if err != nil {
		return err
	}
	_, err = lookAt(d, Options{})
	return err
}

// Cards describes the machine's cards, without taking their memory. A card that Open would refuse has no Precisions,
// and its Detail says why. The error says why there are no cards.
func Cards() ([]kernels.Info, error) {
	d, err := driver.Open()
	if err != nil {
		return nil, err
	}
	return cards(d), nil
}

func cards(d *driver.Driver) []kernels.Info {
	var all []kernels.Info
	for i := range d.Devices() {
		info, err := lookAt(d, Options{Device: i})
		if err != nil {
			info = kernels.Info{Name: name(i), Detail: err.Error()}
		}
		all = append(all, info)
	}
	return all
}

func lookAt(d *driver.Driver, o Options) (kernels.Info, error) {
	card, err := d.Device(o.Device)
	if err != nil {
		return kernels.Info{}, err
	}
	return describe(card, o)
}

func name(card int) string { return fmt.Sprintf("cuda:%d", card) }

// describe returns the Info of a device on that card, or what is wrong with the card or the options.
func describe(card *driver.Device, o Options) (kernels.Info, error) {
	none := kernels.Info{}
	if o.Memory < 0 {
		return none, fmt.Errorf("cuda: memory is %d bytes, want 0 (all) or more", o.Memory)
	}
	precisions := []kernels.DType{kernels.F16, kernels.BF16}
	switch o.Precision {
	case 0, kernels.F16:
	case kernels.BF16:
		precisions[0], precisions[1] = kernels.BF16, kernels.F16
	default:
		return none, fmt.Errorf("cuda: precision %v: this device computes in fp16 or bf16", o.Precision)
	}
	if err := usable(card); err != nil {
		return none, err
	}
	variants := []string{"sm_80"}
	if card.Capability == (driver.Capability{Major: 9, Minor: 0}) && card.Driver >= 12000 { // PTX 8.0
		variants = []string{"sm_90a", "sm_80"}
	}
	if o.Variant == "" {
		o.Variant = variants[0]
	}
	if !slices.Contains(variants, o.Variant) {
		return none, fmt.Errorf("cuda: variant %q: device %d (%s) runs %s", o.Variant, o.Device, card.Name, strings.Join(variants, ", "))
	}
	memory := card.Memory
	if o.Memory > 0 {
		memory = min(memory, o.Memory)
	}
	return kernels.Info{
		Name:       name(o.Device),
		Detail:     fmt.Sprintf("%s, compute capability %v, driver for CUDA %v", card.Name, card.Capability, card.Driver),
		Precisions: precisions,
		Memory:     memory,
		Variant:    o.Variant,
		Variants:   variants,
	}, nil
}

func usable(card *driver.Device) error {
	if !card.Capability.AtLeast(8, 0) {
		return fmt.Errorf("cuda: device %d (%s) has compute capability %v, at least 8.0 is needed", card.Ordinal, card.Name, card.Capability)
	}
	if card.SharedPerBlock < maxShared {
		return fmt.Errorf("cuda: device %d (%s) gives a block %d bytes of shared memory, %d are needed",
			card.Ordinal, card.Name, card.SharedPerBlock, maxShared)
	}
	return nil
}

// faultParams are the parameters of kernel fault.
type faultParams struct{ Unused uint64 }

// Fault launches a kernel that traps and returns the driver's error, to test that a program survives it. The device is
// lost after it, and the card to this process.
func (d *Device) Fault(ctx context.Context) error {
	if err := d.engine.LockContext(ctx); err != nil {
		return err
	}
	defer d.engine.Unlock()
	f, err := d.libraries[d.Info().Precisions[0]].function("fault")
	if err != nil {
		return err
	}
	one := driver.Dim{X: 1, Y: 1, Z: 1}
	l, err := f.Prepare(driver.Config{Grid: one, Block: one}, faultParams{})
	if err != nil {
		return err
	}
	if err := d.stream.Launch(l); err != nil {
		return err
	}
	return d.stream.Synchronize()
}
