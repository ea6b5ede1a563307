package cpu

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels/kerneltest"
)

// everyVariant lists what the package has for any machine, the best first.
var everyVariant = []string{"avx512", "avx2", "portable"}

// eachDevice runs the test on a device of every variant; those that this machine or build lacks say so, or fail as
// internal/require has it.
func eachDevice(t *testing.T, f func(t *testing.T, d *Device)) {
	for _, name := range variantNames() {
		if !slices.Contains(everyVariant, name) {
			t.Errorf("variant %s is not in the tests' list", name)
		}
	}
	for _, name := range everyVariant {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(variantNames(), name) {
				require.Lacks(t, name, "these kernels are not in this "+runtime.GOARCH+" build, or not for this CPU")
			}
			f(t, newTestDevice(t, Options{Variant: name}))
		})
	}
}

// TestVariants says of which variants this machine tests nothing.
func TestVariants(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		if got := d.Info().Variant; !strings.HasSuffix(t.Name(), "/"+got) {
			t.Errorf("%s has the kernels %s", t.Name(), got)
		}
	})
}

// TestConformance runs the small and odd shapes of kernels/kerneltest's table on every variant. The real shapes take
// minutes: make conformance.
func TestConformance(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) { kerneltest.Run(t, d, kerneltest.RunOptions{Only: kerneltest.Small}) })
}
