// Package sdxl is Stable Diffusion XL: text to image, and the refiner as image to image or as the second of an ensemble of experts.
//
//	dev, err := cpu.New(cpu.Options{})
//	base, err := sdxl.Open("stable-diffusion-xl-base-1.0", sdxl.Options{Device: dev})
//	result, err := base.Generate(ctx, sdxl.NewRequest("a lighthouse at dusk"))
//
// A seed gives diffusers' picture: names, defaults, the order of random draws and the arithmetic follow diffusers 0.42
// pipelines/stable_diffusion_xl. [Pipeline.Start] gives the same run step by step, for sampling loops of one's own.
package sdxl
