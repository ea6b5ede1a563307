package driver_test

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

func TestTensorMap(t *testing.T) {
	p := newParts(t, drivertest.New(drivertest.H100))
	if m := must(p.context.EncodeTiled(tiled(p.memory)))(t); m[0] != uint64(p.memory) || m[1] != 2 {
		t.Errorf("map is %x", m)
	}
	for want, change := range map[string]func(*driver.Tiled){
		"element type is 99":        func(d *driver.Tiled) { d.Type = 99 },
		"0 dimensions":              func(d *driver.Tiled) { *d = driver.Tiled{Type: d.Type, Address: d.Address} },
		"2 strides":                 func(d *driver.Tiled) { d.Stride = []int64{128, 128} },
		"address is 0x8":            func(d *driver.Tiled) { d.Address = 8 },
		"size 1 is 0":               func(d *driver.Tiled) { d.Size[1] = 0 },
		"box size 0 is 257":         func(d *driver.Tiled) { d.Box[0] = 257 },
		"step 1 is 9":               func(d *driver.Tiled) { d.Step = []uint32{1, 9} },
		"stride of dimension 1 is":  func(d *driver.Tiled) { d.Stride[0] = 100 },
		"inner box is 14 bytes":     func(d *driver.Tiled) { d.Box[0] = 7 },
		"a swizzle of 64":           func(d *driver.Tiled) { d.Swizzle = driver.Swizzle64 },
		"swizzle and promotion are": func(d *driver.Tiled) { d.Promotion = 4 },
	} {
		d := tiled(p.memory)
		change(&d)
		if _, err := p.context.EncodeTiled(d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestImageMap(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	if m := must(p.context.EncodeIm2col(convolved(p.memory)))(t); m[0] != uint64(p.memory) || m[1] != 4 {
		t.Errorf("map is %x", m)
	}
	calls := f.Count("cuTensorMapEncodeIm2col")
	for want, change := range map[string]func(*driver.Im2col){
		"element type is 7":             func(d *driver.Im2col) { d.Type = driver.Float32 },
		"address is 0x8":                func(d *driver.Im2col) { d.Address = 8 },
		"address is 0x0":                func(d *driver.Im2col) { d.Address = 0 },
		"size 3 is 0":                   func(d *driver.Im2col) { d.Size[3] = 0 },
		"stride 1 is 8 bytes":           func(d *driver.Im2col) { d.Stride[1] = 8 },
		"step is 9":                     func(d *driver.Im2col) { d.Step = 9 },
		"channels are 12":               func(d *driver.Im2col) { d.Channels = 12 },
		"channels are 72":               func(d *driver.Im2col) { d.Channels = 72 },
		"pixels are 257":                func(d *driver.Im2col) { d.Pixels = 257 },
		"bounds are [-129 -1]":          func(d *driver.Im2col) { d.Low[0] = -129 },
		"bounds are [-1 -1] and [-1 12": func(d *driver.Im2col) { d.High[1] = 128 },
	} {
		d := convolved(p.memory)
		change(&d)
		if _, err := p.context.EncodeIm2col(d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
	if n := f.Count("cuTensorMapEncodeIm2col"); n != calls {
		t.Errorf("%d wrong maps reached the driver", n-calls)
	}
}
