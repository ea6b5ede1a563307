package cases

import (
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Timed returns the real shapes of the table, and more that are timed and not checked: shapes of the real models whose
// operands take gigabytes in float32, products as devices join them (query, key and value of a layer in one), and the
// largest product, which shows what a device's libraries reach. Names are unique.
func Timed() []Case {
	half := kernels.F16
	plain := kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true}
	more := []Case{
		conv("base 1024 level 2 wide", plain, half, image{2, 32, 32, 2560, 0, 1280, 3}),
		conv("vae 1024 level 1", plain, half, image{1, 512, 512, 512, 0, 512, 3}),
		conv("vae 1024 level 2", plain, half, image{1, 1024, 1024, 256, 0, 256, 3}),
		conv("vae 1024 out", plain, half, image{1, 1024, 1024, 128, 0, 3, 3}),
		linear("base 1024 level 1 query, key, value", kernels.Linear{}, half, []int{2, 4096}, 640, 1920),
		linear("base 1024 level 2 query, key, value", kernels.Linear{}, half, []int{2, 1024}, 1280, 3840),
		linear("base 1024 level 2 wide", kernels.Linear{Bias: true}, half, []int{2, 1024}, 1280, 10240),
		linear("8192", kernels.Linear{Bias: true}, half, []int{1, 8192}, 8192, 8192),
	}
	timed := slices.DeleteFunc(All(), func(c Case) bool { return !c.Big })
	for _, c := range more {
		timed = append(timed, big(c))
	}
	return timed
}
