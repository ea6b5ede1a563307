package kerneltest

import (
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestCompare(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	tests := []struct {
		name             string
		got, want, plain []float64
		scale            []float64
		floor            float64
		share            Share
		err              string
	}{
		{"exact", []float64{1, 2}, []float64{1, 2}, []float64{1, 2}, []float64{1, 1}, 0, Share{}, ""},
		{"as plain code", []float64{1.5, 2}, []float64{1, 2}, []float64{1.5, 2}, []float64{1, 1}, 0, Share{0.5, 0.5}, ""},
		{"all of the budget", []float64{2, 2}, []float64{1, 2}, []float64{1.5, 2}, []float64{1, 1}, 0, Share{1, 1}, ""},
		{"more than it", []float64{2.25, 2}, []float64{1, 2}, []float64{1.5, 2}, []float64{1, 1}, 0, Share{1.25, 1.25}, "element 0"},
		{"worst element hidden in the mean", []float64{1.5, 2, 3, 4}, []float64{1, 2, 3, 4}, []float64{1.125, 2.125, 3.125, 4.125}, []float64{1, 1, 1, 1}, 0, Share{1, 2}, "element 0"},
		{"mean too bad, no element is", []float64{1.5, 2.5}, []float64{1, 2}, []float64{1.25, 2}, []float64{1, 1}, 0, Share{math.Sqrt2, 1}, "rms 141%"},
		{"floor", []float64{1.25}, []float64{1}, []float64{1}, []float64{1}, 0.5, Share{0.5, 0.5}, ""},
		{"no floor and an exact yardstick", []float64{1.25}, []float64{1}, []float64{1}, []float64{1}, 0, Share{inf, inf}, "beyond"},
		{"scaled", []float64{1004}, []float64{1000}, []float64{1000}, []float64{1024}, 0x1p-7, Share{0.5, 0.5}, ""},
		{"zero truth, zero scale", []float64{0}, []float64{0}, []float64{0}, []float64{0}, 0, Share{}, ""},
		{"zero truth, something got", []float64{1e-30}, []float64{0}, []float64{0}, []float64{0}, 0.5, Share{inf, inf}, "beyond"},
		{"NaN got", []float64{1, nan}, []float64{1, 2}, []float64{1, 2}, []float64{1, 1}, 1e9, Share{}, "element 1 is NaN"},
		{"NaN for NaN", []float64{nan}, []float64{nan}, []float64{nan}, []float64{1}, 1, Share{}, "element 0 is NaN"},
		{"Inf for Inf", []float64{inf}, []float64{inf}, []float64{inf}, []float64{1}, 1, Share{}, "element 0 is +Inf"},
		{"NaN truth", []float64{1}, []float64{nan}, []float64{1}, []float64{1}, 1, Share{}, "cannot judge"},
		{"NaN yardstick", []float64{1}, []float64{1}, []float64{nan}, []float64{1}, 1, Share{}, "cannot judge"},
		{"infinite yardstick", []float64{1}, []float64{1}, []float64{inf}, []float64{1}, 1, Share{}, "cannot judge"},
		{"infinite scale", []float64{1}, []float64{1}, []float64{1}, []float64{inf}, 1, Share{}, "cannot judge"},
		{"negative scale", []float64{1}, []float64{1}, []float64{1}, []float64{-1}, 1, Share{}, "cannot judge"},
		{"NaN floor", []float64{1}, []float64{1}, []float64{1}, []float64{1}, nan, Share{}, "floor"},
		{"nothing", nil, nil, nil, nil, 1, Share{}, "nothing to compare"},
		{"too little", []float64{1}, []float64{1, 2}, []float64{1, 2}, []float64{1, 1}, 1, Share{}, "unequal"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := Judged{Want: test.want, Scale: test.scale, Floor: test.floor, Got: float32s(test.got), Plain: float32s(test.plain)}
			for i := range test.want {
				j.Elements = append(j.Elements, i)
			}
			share, err := Compare(j)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
			if !close(share.RMS, test.share.RMS) || !close(share.Max, test.share.Max) {
				t.Errorf("got share %v, want %v", share, test.share)
			}
		})
	}
}

func close(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*math.Abs(b) }

func float32s(v []float64) []float32 {
	f := make([]float32, len(v))
	for i := range v {
		f[i] = float32(v[i])
	}
	return f
}

func TestFirstBad(t *testing.T) {
	big := float32(math.MaxFloat32)
	inf := float32(math.Inf(1))
	for _, test := range []struct {
		v    []float32
		want int
	}{{nil, -1}, {[]float32{0, big, -big, 1e-45}, -1}, {[]float32{1, inf}, 1}, {[]float32{-inf}, 0}, {[]float32{1, 2, nan, inf}, 2}} {
		if got := firstBad(test.v); got != test.want {
			t.Errorf("firstBad(%v) = %d, want %d", test.v, got, test.want)
		}
	}
}

func TestFloor(t *testing.T) {
	if f := floor(kernels.Concat{}, kernels.F32); f != 0 {
		t.Errorf("floor of moved data is %v, want 0", f)
	}
	for precision, want := range map[kernels.DType]float64{
		kernels.F32: 0x1p-21, kernels.F16: 0x1p-21 + 0x1p-11, kernels.BF16: 0x1p-21 + 0x1p-8, // four units of float32, and half a unit of the 16 bits
	} {
		if got := floor(kernels.Add{}, precision); got != want {
			t.Errorf("the floor in %v is %v, want %v", precision, got, want)
		}
	}
}
