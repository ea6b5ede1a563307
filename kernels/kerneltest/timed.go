package kerneltest

import "github.com/goxl/goxl/kernels"

// timedCases are what Bench times beyond the table: shapes of the real models whose operands take gigabytes in float32, products as devices join them (query, key and value of a
// layer in one), and the largest product that says what a device's libraries reach.
func timedCases() []Case {
	half := kernels.F16
	plain := kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true}
	cases := []Case{
		conv("base 1024 level 2 wide", plain, half, image{2, 32, 32, 2560, 0, 1280, 3}),
		conv("vae 1024 level 1", plain, half, image{1, 512, 512, 512, 0, 512, 3}),
		conv("vae 1024 level 2", plain, half, image{1, 1024, 1024, 256, 0, 256, 3}),
		conv("vae 1024 out", plain, half, image{1, 1024, 1024, 128, 0, 3, 3}),
		linear("base 1024 level 1 query, key, value", kernels.Linear{}, half, []int{2, 4096}, 640, 1920),
		linear("base 1024 level 2 query, key, value", kernels.Linear{}, half, []int{2, 1024}, 1280, 3840),
		linear("base 1024 level 2 wide", kernels.Linear{Bias: true}, half, []int{2, 1024}, 1280, 10240),
		linear("8192", kernels.Linear{Bias: true}, half, []int{1, 8192}, 8192, 8192),
	}
	for i := range cases {
		cases[i] = big(cases[i])
	}
	return cases
}
