//go:build emulate

package cuda

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/kerneltest"
)

var emulateFilter = flag.String("emulate.filter", "", "cases of the conformance table to emulate")

func TestEmulatedPrograms(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
		d, err := open(drv, Options{Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		checkPrograms(t, d)
		checkFused(t, d)
		checkLoad(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEmulated(t *testing.T) {
	e := newEmulator(t)
	drv, err := driver.New(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
		for _, edges := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v edges=%t", precision, edges), func(t *testing.T) {
				d, err := open(drv, Options{Precision: precision})
				if err != nil {
					t.Fatal(err)
				}
				var device kernels.Device = d
				if edges {
					device = temporaries{d}
				}
				kerneltest.Run(t, device, kerneltest.RunOptions{Filter: *emulateFilter, Only: kerneltest.Small})
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for _, only := range slices.Concat(tiles, hopperTiles, tmaTiles) {
		t.Run(only.kernel(), func(t *testing.T) {
			d, err := open(drv, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d.tiles = alone(only)
			filter := "^(linear|conv)/|^attention/.* 512"
			if only.tma { // what it computes at all; others stand in for it elsewhere
				filter = "^(linear|conv)/.*(many|rows 64|x8 to |nine channels)|^attention/odd.* 512"
				kerneltest.Run(t, temporaries{d}, kerneltest.RunOptions{Filter: "^(linear|conv)/.*many", Only: kerneltest.Small})
				checkFused(t, d)
			}
			kerneltest.Run(t, d, kerneltest.RunOptions{Filter: cmp.Or(*emulateFilter, filter), Only: kerneltest.Small})
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, only := range flashTiles {
		t.Run(only.kernel(), func(t *testing.T) {
			d, err := open(drv, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d.flash = []flashTile{only}
			o := kerneltest.RunOptions{Filter: cmp.Or(*emulateFilter, "^attention/"), Only: kerneltest.Small}
			kerneltest.Run(t, d, o)
			kerneltest.Run(t, temporaries{d}, o)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, spent := range e.spent {
		t.Logf("%s %v", name, spent.Round(time.Millisecond))
	}
}

// TestEmulatedUpdates updates weights of Hopper's kernels, and of those for every card.
func TestEmulatedUpdates(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	update := func(o Options, plan func(*testing.T) (*planner, []kernels.Value, kernels.Value), stored kernels.DType) {
		d, err := open(drv, o)
		if err != nil {
			t.Fatal(err)
		}
		checkUpdates(t, d, plan, stored)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	update(Options{Precision: kernels.F16}, block, kernels.F16)
	update(Options{Precision: kernels.BF16, Variant: "sm_80"}, residuals, kernels.F32)
}

func TestEmulatedResidency(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	checkResidency(t, func(o Options) *Device {
		d, err := open(drv, o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestEmulatedSelfCheck(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range []string{"sm_90a", "sm_80"} {
		for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
			d, err := open(drv, Options{Variant: variant, Precision: precision})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.SelfCheck(t.Context()); err != nil {
				t.Errorf("%s %v: %v", variant, precision, err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
