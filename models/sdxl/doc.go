// Package sdxl is Stable Diffusion XL: text-to-image, and image-to-image and inpainting with a base or a refiner, also
// as an ensemble of experts.
//
//	dev, err := cpu.New(cpu.Options{})
//	host, err := sdxl.NewHost(dev, nil)
//	model, err := sdxl.Open(ctx, "stable-diffusion-xl-base-1.0", sdxl.Options{Host: host})
//	result, err := model.Generate(ctx, sdxl.Request{Prompt: "a lighthouse at dusk"})
//
// [Open] takes a folder in diffusers' layout, a checkpoint in one file (package singlefile), or a name of the hub that
// the hub's cache holds (package hub downloads it). [Options] puts another UNet, VAE or TAESD in. What is a request's
// own leaves the model as it is: [Request.LoRAs] change weights for one run (package lora), [Request.TextualInversions]
// give prompts names for vectors (package embedding), [Request.IPAdapters] are image prompts (package ipadapter),
// [Request.PromptStyle] says how prompts are read (package prompt), and [Request.Preset] is the settings of a few-step
// model. Without them prompts, weights and samplers are diffusers'.
//
// A seed gives diffusers' image: names, defaults, the order of random draws and the arithmetic follow diffusers 0.42
// pipelines/stable_diffusion_xl; a second pass in a larger size ([Hires]) draws from generators of the same seeds that
// begin anew. [Model.Start] gives the same run step by step, for sampling loops of one's own. A
// [Spec] checks requests without weights and without a device. [Model.Check] bisects a wrong image.
package sdxl
