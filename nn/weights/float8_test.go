package weights

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestFloat8 reads every float8 as torch's float16 of it; NaN is any NaN of the same sign.
func TestFloat8(t *testing.T) {
	f, err := Open("testdata/float8.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, wantNaN := range map[string]int{"e4m3": 3, "e5m2": 9} { // of 509 bit patterns
		dtype, shape, got, err := f.Tensor(name)
		if err != nil || dtype != kernels.F16 || !slices.Equal(shape, []int{509}) || len(got) != 2*509 {
			t.Fatalf("%s: %v %v, %d bytes, error %v", name, dtype, shape, len(got), err)
		}
		_, _, want, err := f.Tensor(name + ".fp16")
		if err != nil {
			t.Fatal(err)
		}
		nan := 0
		for i := range 509 {
			g, w := binary.LittleEndian.Uint16(got[2*i:]), binary.LittleEndian.Uint16(want[2*i:])
			if isNaN := w&0x7fff > 0x7c00; isNaN {
				nan++
				if g&0x7fff <= 0x7c00 || (g^w)&0x8000 != 0 {
					t.Errorf("%s: %#02x is %#04x, want a NaN of the same sign as %#04x", name, byte(i), g, w)
				}
			} else if g != w {
				t.Errorf("%s: %#02x is %#04x, want %#04x", name, byte(i), g, w)
			}
		}
		if nan < wantNaN {
			t.Errorf("%s: the golden has %d NaN, want at least %d", name, nan, wantNaN)
		}
		if s := f.Storage(name); s != kernels.Made {
			t.Errorf("%s: storage %d, want %d", name, s, kernels.Made)
		}
	}
}

// TestFloat8Parts widens data that several goroutines share, cut at no round place.
func TestFloat8Parts(t *testing.T) {
	data := make([]byte, 5*parallelGrain+13)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	got := fp16OfE4M3(data)
	for i, b := range data {
		if g := binary.LittleEndian.Uint16(got[2*i:]); g != e4m3[b] {
			t.Fatalf("element %d: %#04x, want %#04x", i, g, e4m3[b])
		}
	}
}

// BenchmarkFloat8 widens as many elements as SDXL's largest tensors have, 10240×1280. The UNet has 196 times as many.
func BenchmarkFloat8(b *testing.B) {
	data := make([]byte, 10240*1280)
	for i := range data {
		data[i] = byte(i * 7)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		fp16OfE4M3(data)
	}
}
