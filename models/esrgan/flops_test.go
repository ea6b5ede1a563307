package esrgan_test

import (
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
)

// TestFLOPs: those of a program, of a whole image, whose biases and copies are no products.
func TestFLOPs(t *testing.T) {
	dev := processor(t)
	for name, c := range stored {
		u, err := esrgan.OpenFile(dev, "testdata/"+name+".pth", kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := u.Products(24, 16)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.FLOPs(24 * 16); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}
