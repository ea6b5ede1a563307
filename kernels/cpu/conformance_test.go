package cpu

import (
	"testing"

	"github.com/goxl/goxl/kernels/kerneltest"
)

// TestConformance runs the table of kernels/kerneltest: all of it on the best variant, the small and odd shapes on every other that this machine has.
func TestConformance(t *testing.T) {
	best := chooseBest(t)
	for _, name := range best.Info().Variants {
		t.Run(name, func(t *testing.T) {
			dev, err := New(Options{Variant: name})
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			second := name != best.Info().Variant
			kerneltest.Run(t, dev, kerneltest.RunOptions{SmallOnly: second || testing.Short()})
		})
	}
}

func chooseBest(t *testing.T) *Device {
	dev, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}
