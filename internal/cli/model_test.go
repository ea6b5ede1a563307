//go:build !nodemo

package cli

import (
	"testing"
	"time"

	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

// TestOpenDemo opens the embedded model by its name; any other name is a folder.
func TestOpenDemo(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	started := time.Now()
	base, err := OpenModel(Demo, sdxl.Options{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	t.Logf("base opened in %v", time.Since(started))
	if _, err := OpenModel("demonstration", sdxl.Options{Device: dev}); err == nil {
		t.Error("a folder that is not there was opened")
	}
}
