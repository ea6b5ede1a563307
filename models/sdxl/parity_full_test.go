//go:build parity

package sdxl

import (
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// fullTolerance is the relative error that a full-size component may have against diffusers in float32.
const fullTolerance = 1e-4

// TestParityFull compares every full-size component, with synthetic fp16 weights at 512×512, with diffusers. See the Makefile's parity-full.
func TestParityFull(t *testing.T) {
	p := parity{golden.Open(t, testdata+"/full.safetensors"), cpuDevice(t), func(string) float64 { return fullTolerance }}
	p.compare(t)
}
