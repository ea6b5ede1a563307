package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// A card is opened with what the flags say.
func TestCardOptions(t *testing.T) {
	fs, d := flags(&bytes.Buffer{})
	if err := Parse(fs, strings.Fields("-device cuda:3 -gpu-memory 11GiB -precision bf16")); err != nil {
		t.Fatal(err)
	}
	d.Kernels = "sm_80"
	n, err := d.card()
	warned := ""
	o := d.cardOptions(n, func(line string) { warned = line })
	if err != nil || o.Device != 3 || o.Memory != 11<<30 || o.Precision != kernels.BF16 || o.Variant != "sm_80" || o.Warn == nil {
		t.Errorf("options %+v, %v", o, err)
	}
	if o.Warn("x"); warned != "x" {
		t.Error("a warning of the card gets lost")
	}
	for _, precision := range []string{"auto", "fp32"} { // which the card chooses, or refuses with a list
		d.Precision = precision
		if o := d.cardOptions(0, nil); o.Precision != 0 {
			t.Errorf("%s: %+v", precision, o)
		}
	}
}
