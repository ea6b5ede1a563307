package kernels

import (
	"math"
	"testing"
)

// halfValue is the definition of a 16-bit float with the given bits of fraction: sign, exponent, fraction.
func halfValue(h uint16, fraction int) float64 {
	exponents := 15 - fraction
	bias := 1<<(exponents-1) - 1
	e := int(h) >> fraction & (1<<exponents - 1)
	f := float64(h & (1<<fraction - 1))
	var v float64
	switch e {
	case 1<<exponents - 1:
		v = math.Inf(1)
		if f != 0 {
			v = math.NaN()
		}
	case 0:
		v = math.Ldexp(f, 1-bias-fraction)
	default:
		v = math.Ldexp(f+math.Ldexp(1, fraction), e-bias-fraction)
	}
	if h&0x8000 != 0 {
		v = math.Copysign(v, -1)
	}
	return v
}

var halves = []struct {
	name     string
	fraction int
	from     func(uint16) float32
	to       func(float32) uint16
}{{"fp16", 10, FromF16, ToF16}, {"bf16", 7, FromBF16, ToBF16}}

// TestHalfWiden holds all 65536 values to the definition, and back.
func TestHalfWiden(t *testing.T) {
	for _, f := range halves {
		for i := range 1 << 16 {
			h := uint16(i)
			got, want := float64(f.from(h)), halfValue(h, f.fraction)
			if math.IsNaN(want) {
				if !math.IsNaN(got) || !math.IsNaN(float64(f.from(f.to(float32(got))))) {
					t.Fatalf("%s %#04x is %v there and %v back, want NaN", f.name, h, got, f.from(f.to(float32(got))))
				}
				continue
			}
			if got != want || math.Signbit(got) != math.Signbit(want) {
				t.Fatalf("%s %#04x is %v, want %v", f.name, h, got, want)
			}
			if back := f.to(float32(want)); back != h {
				t.Fatalf("%s %#04x comes back as %#04x", f.name, h, back)
			}
		}
	}
}

// TestHalfRound walks from each finite value to its next: what is below the middle goes down, above it up, the middle
// to the even one. Beyond the largest, the next would be the power of two that is infinite.
func TestHalfRound(t *testing.T) {
	for _, f := range halves {
		infinite := uint16(1<<15 - 1<<f.fraction)
		for h := uint16(0); h < infinite; h++ {
			low, high := halfValue(h, f.fraction), halfValue(h+1, f.fraction)
			if h+1 == infinite {
				high = 2*low - halfValue(h-1, f.fraction)
			}
			middle := float32(low + (high-low)/2) // exact: one more bit
			even := h + h&1
			for _, test := range []struct {
				v    float32
				want uint16
			}{
				{middle, even},
				{math.Nextafter32(middle, 0), h},
				{math.Nextafter32(middle, math.MaxFloat32), h + 1},
				{math.Nextafter32(float32(low), math.MaxFloat32), h},
			} {
				if float64(test.v) <= low || float64(test.v) >= high {
					continue // no float32 there: bf16 subnormals are float32's own
				}
				if got := f.to(test.v); got != test.want {
					t.Fatalf("%s of %v is %#04x, want %#04x", f.name, test.v, got, test.want)
				}
				if got := f.to(-test.v); got != test.want|0x8000 {
					t.Fatalf("%s of %v is %#04x, want %#04x", f.name, -test.v, got, test.want|0x8000)
				}
			}
		}
		for _, v := range []float32{float32(math.Inf(1)), math.MaxFloat32} {
			if got := f.to(v); got != infinite {
				t.Errorf("%s of %v is %#04x, want %#04x", f.name, v, got, infinite)
			}
		}
		if got := f.to(math.SmallestNonzeroFloat32); got != 0 {
			t.Errorf("%s of the smallest float32 is %#04x, want 0", f.name, got)
		}
		for _, bits := range []uint32{0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0x7fc00000} { // a payload must not become Inf or 0
			if got := f.from(f.to(math.Float32frombits(bits))); got == got {
				t.Errorf("%s of NaN %#x is %v", f.name, bits, got)
			}
		}
	}
	if ToF16(65519.996) != 0x7bff || ToF16(65520) != 0x7c00 {
		t.Errorf("fp16 of 65519.996 and 65520 is %#04x and %#04x, want 0x7bff and 0x7c00", ToF16(65519.996), ToF16(65520))
	}
}

func TestDTypeNames(t *testing.T) {
	for d, want := range map[DType]struct {
		name string
		size int
	}{F32: {"fp32", 4}, F16: {"fp16", 2}, BF16: {"bf16", 2}, I32: {"int32", 4}, U8: {"uint8", 1}, 0: {"DType(0)", 0}, 9: {"DType(9)", 0}} {
		if d.String() != want.name || d.Size() != want.size {
			t.Errorf("%d is %s of %d bytes, want %s of %d", uint8(d), d, d.Size(), want.name, want.size)
		}
	}
	for _, d := range []DType{F32, F16, BF16} {
		if got, err := ParsePrecision(d.String()); got != d || err != nil {
			t.Errorf("ParsePrecision(%q) = %v, %v", d.String(), got, err)
		}
	}
	for _, s := range []string{"", "int32", "float16", "FP16"} {
		if _, err := ParsePrecision(s); err == nil {
			t.Errorf("ParsePrecision(%q) gave no error", s)
		}
	}
}
