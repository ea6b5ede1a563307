// Package sdxl is Stable Diffusion XL: text-to-image, and image-to-image with a base or a refiner, also as an ensemble
// of experts.
//
//	dev, err := cpu.New(cpu.Options{})
//	host, err := sdxl.NewHost(dev, nil)
//	model, err := sdxl.Open(ctx, "stable-diffusion-xl-base-1.0", sdxl.Options{Host: host})
//	result, err := model.Generate(ctx, sdxl.Request{Prompt: "a lighthouse at dusk"})
//
// A seed gives diffusers' image: names, defaults, the order of random draws and the arithmetic follow diffusers 0.42
// pipelines/stable_diffusion_xl. [Model.Start] gives the same run step by step, for sampling loops of one's own. A
// [Spec] checks requests without weights and without a device. [Model.Check] bisects a wrong image.
package sdxl
