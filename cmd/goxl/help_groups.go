package main

import (
	"flag"
	"fmt"
	"io"
)

// flagGroup is flags that help lists together, under a title.
type flagGroup struct {
	title string
	flags []string
}

// flagGroups has every flag of generate and refine, which are too many to be found by their names.
var flagGroups = []flagGroup{
	{"The model", []string{"model", "base", "refiner", "unet", "vae", "taesd", "lora", "lora-dir", "embedding", "prediction", "variant"}},
	{"What to make", []string{"prompt", "prompt-2", "negative", "negative-2", "prompts", "negatives", "embeddings", "prompt-style", "emphasis", "clip-skip", "width", "height", "n", "seed", "subseed", "subseed-strength", "latents"}},
	{"Image-to-image", []string{"image", "image-latents", "strength", "resize", "denoising-start"}},
	{"Inpainting", []string{"mask", "soft-mask", "mask-blur", "mask-invert", "inpaint-fill", "mask-padding", "outpaint", "keep-unmasked"}},
	{"Image prompts", []string{"ip-adapter", "ip-image", "ip-encoder", "ip-scales", "ip-mask"}},
	{"Control images", []string{"control", "control-image", "control-mode", "control-preprocessor", "control-guess", "t2i-adapter", "t2i-image"}},
	{"Sampling", []string{"preset", "steps", "scheduler", "guidance", "eta", "timesteps", "sigmas", "denoising-end", "interrupt"}},
	{"More of guidance", []string{"guidance-rescale", "guidance-start", "guidance-end", "pag-scale", "pag-adaptive-scale", "pag-layers", "freeu"}},
	{"A second pass in a larger size", []string{"hires", "hires-steps", "hires-strength", "upscaler", "hires-prompt", "hires-negative", "hires-scheduler"}},
	{"Micro-conditioning", []string{"original-size", "target-size", "crop", "negative-original-size", "negative-target-size", "negative-crop", "aesthetic-score", "negative-aesthetic-score"}},
	{"Output", []string{"o", "save-latents", "preview", "preview-taesd", "watermark", "quiet"}},
	{"The device", []string{"device", "precision", "gpu-memory", "memory", "threads"}},
}

// printFlags lists a command's flags: in groups where it makes images, by name elsewhere.
func printFlags(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprint(w, "\nFlags:\n")
	if fs.Lookup("prompt") == nil {
		fs.SetOutput(w)
		fs.PrintDefaults()
		return
	}
	for _, g := range flagGroups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, name := range g.flags {
			f := fs.Lookup(name)
			if f == nil {
				continue // of the other command
			}
			one := flag.NewFlagSet("", flag.ContinueOnError) // which prints in the order of names
			one.SetOutput(w)
			one.Var(f.Value, f.Name, f.Usage)
			one.Lookup(name).DefValue = f.DefValue
			one.PrintDefaults()
		}
	}
}
