//go:build conformance

package cpu

import (
	"testing"

	"github.com/goxl/goxl/kernels/kerneltest"
)

// TestConformanceReal runs the real shapes of kernels/kerneltest's table, which take minutes, on every variant but the
// portable one, on which they would take hours.
func TestConformanceReal(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		if d.Info().Variant == "portable" {
			t.Skip("too slow for real shapes")
		}
		kerneltest.Run(t, d, kerneltest.RunOptions{Only: kerneltest.Real})
	})
}
