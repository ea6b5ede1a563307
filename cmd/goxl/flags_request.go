package main

import (
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
)

// side is -width or -height; 0 is not given.
type side struct {
	flag   string
	pixels int
}

// check finds what is wrong whatever the model, before anything is opened: flags alone.
func (g *generateFlags) check() error {
	r := &g.request
	for _, side := range []side{{"width", r.Width}, {"height", r.Height}} {
		if side.pixels < 0 || side.pixels > sdxl.MaxSide || side.pixels%8 != 0 {
			return cli.Usagef("-%s %d: must be a multiple of 8 from 8 to %d, or 0 for the model's own", side.flag, side.pixels, sdxl.MaxSide)
		}
		if side.pixels != 0 && g.imageLatents != "" {
			return cli.Usagef("-%s %d: must be absent where there is -image-latents, whose size the result has", side.flag, side.pixels)
		}
	}
	switch {
	case g.model == "":
		return cli.Usagef(`-model "": must be %s, a DIR, or synth: and one of %s`, cli.Demo, strings.Join(sdxl.SyntheticNames(), ", "))
	case g.imagesSet && (r.ImagesPerPrompt < 1 || r.ImagesPerPrompt > sdxl.MaxCount):
		return cli.Usagef("-n %d: must be 1 to %d", r.ImagesPerPrompt, sdxl.MaxCount)
	case r.Preset != "" && !slices.Contains(sdxl.PresetNames(), r.Preset):
		return cli.Usagef("-preset %q: must be one of %s", r.Preset, strings.Join(sdxl.PresetNames(), ", "))
	case g.image != "" && g.imageLatents != "":
		return cli.Usagef("-image-latents %s: must be absent where there is -image", g.imageLatents)
	case g.source() == "" && r.Strength != 0:
		return cli.Usagef("-strength %v: must be absent without an image", r.Strength)
	case g.previewTAESD != "" && g.preview == "":
		return cli.Usagef("-preview-taesd %s: must be beside -preview", g.previewTAESD)
	case g.prompts != "" && (g.prompt != nil || r.Prompt2 != ""):
		return cli.Usagef("-prompts %s: must be absent where there is -prompt", g.prompts)
	case g.negatives != "" && (g.prompts == "" || r.NegativePrompt != nil):
		return cli.Usagef("-negatives %s: must be beside -prompts, without -negative", g.negatives)
	case g.embeddings != "" && (g.prompt != nil || r.Prompt2 != "" || g.prompts != ""):
		return cli.Usagef("-embeddings %s: must be absent where there is a prompt", g.embeddings)
	case g.embeddings != "" && g.refiner != "":
		return cli.Usagef("-embeddings %s: must be absent where there is -refiner, which takes embeddings of another width: goxl refine -image-latents goes on", g.embeddings)
	case g.embeddings == "" && g.prompts == "" && g.prompt == nil:
		return cli.Usagef("missing -prompt")
	}
	if err := g.checkImagePrompts(); err != nil {
		return err
	}
	if err := g.checkControls(); err != nil {
		return err
	}
	if err := g.checkInpaint(); err != nil {
		return err
	}
	if r.LoRADir != "" {
		if info, err := os.Stat(r.LoRADir); err != nil || !info.IsDir() {
			return cli.Usagef("-lora-dir %s: must be a folder that is there", r.LoRADir)
		}
	}
	if r.Scheduler != "" {
		name, err := scheduler.Lookup(r.Scheduler)
		if err != nil {
			return cli.Usagef("-scheduler %q: must be one of %s", r.Scheduler, schedulerNames())
		}
		r.Scheduler = name
	}
	if g.prompt != nil {
		r.Prompt = *g.prompt
	}
	for flag, text := range map[string]*string{"prompt": &r.Prompt, "prompt-2": &r.Prompt2, "negative": r.NegativePrompt, "negative-2": r.NegativePrompt2} {
		if text != nil && !utf8.ValidString(*text) {
			return cli.Usagef("-%s %q: must be UTF-8 text", flag, *text)
		}
	}
	return nil
}

// readPrompts reads the files that say how many images there are.
func (g *generateFlags) readPrompts() (err error) {
	r := &g.request
	if g.embeddings != "" {
		r.Embeddings, err = readEmbeddings(g.embeddings)
		return err
	}
	if g.prompts == "" {
		return nil
	}
	lines, err := readLines("prompts", g.prompts)
	if err != nil {
		return err
	}
	negatives := make([]*string, len(lines))
	for i := range negatives {
		negatives[i] = r.NegativePrompt
	}
	if g.negatives != "" {
		list, err := readLines("negatives", g.negatives)
		if err != nil {
			return err
		}
		if len(list) != len(lines) {
			return cli.Usagef("-negatives %s: has %d lines: must have one for each of the %d of -prompts", g.negatives, len(list), len(lines))
		}
		for i := range list {
			negatives[i] = &list[i]
		}
	}
	for i, line := range lines {
		r.Prompts = append(r.Prompts, sdxl.Prompt{Prompt: line, NegativePrompt: negatives[i], NegativePrompt2: r.NegativePrompt2})
	}
	r.NegativePrompt, r.NegativePrompt2 = nil, nil
	return nil
}

// Most bytes of a text file with prompts, and of an image file.
const (
	maxPrompts = 1 << 20
	maxImage   = 1 << 30
)

// readFile reads what a flag names, a pipe too, of at most so many bytes: a device has no end.
func readFile(flag, path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("-%s: %w", flag, err)
	case int64(len(data)) > most:
		return nil, fmt.Errorf("-%s %s: more than %d MiB: must be at most that", flag, path, most>>20)
	}
	return data, nil
}

// readLines reads a text file of at most as many lines as there may be images.
func readLines(flag, path string) ([]string, error) {
	data, err := readFile(flag, path, maxPrompts)
	if err != nil {
		return nil, err
	}
	const byteOrderMark = "\ufeff" // of editors on Windows
	text := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(string(data), byteOrderMark), "\r\n", "\n"), "\n")
	lines := strings.Split(text, "\n")
	switch {
	case text == "":
		return nil, cli.Usagef("-%s %s: is empty: must have 1 to %d lines", flag, path, sdxl.MaxCount)
	case len(lines) > sdxl.MaxCount:
		return nil, cli.Usagef("-%s %s: has %d lines: must have 1 to %d", flag, path, len(lines), sdxl.MaxCount)
	case !utf8.ValidString(text):
		return nil, cli.Usagef("-%s %s: must be UTF-8 text", flag, path)
	}
	return lines, nil
}

// read reads the other files that the request is made of.
func (g *generateFlags) read() (err error) {
	r := &g.request
	if r.TextualInversions, err = cli.ReadTextualInversions(g.inversions); err != nil {
		return err
	}
	if err := g.readControls(); err != nil {
		return err
	}
	if g.image != "" {
		if r.Image, err = g.readImage("image", g.image); err != nil {
			return err
		}
	}
	if g.mask != "" {
		if r.Mask, err = g.readImage("mask", g.mask); err != nil {
			return err
		}
	}
	if err := g.readImagePrompts(); err != nil {
		return err
	}
	if g.imageLatents != "" {
		if r.ImageLatents, err = readLatents("image-latents", g.imageLatents); err != nil {
			return err
		}
	}
	if g.latents != "" {
		r.Latents, err = readLatents("latents", g.latents)
	}
	return err
}

// readImage reads the image file that a flag names, and notes where more than its first frame is left out.
func (g *generateFlags) readImage(flag, path string) (image.Image, error) {
	data, err := readFile(flag, path, maxImage)
	if err != nil {
		return nil, err
	}
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return nil, fmt.Errorf("-%s %s: %w", flag, path, err)
	}
	if imagefile.Animated(data) {
		g.animations = append(g.animations, flag)
	}
	return img, nil
}

// images is how many the request asks for.
func (g *generateFlags) images() int {
	n := max(1, len(g.request.Prompts))
	if e := g.request.Embeddings; e != nil && e.Prompt != nil && len(e.Prompt.Shape) > 0 {
		n = e.Prompt.Shape[0]
	}
	return n * max(1, g.request.ImagesPerPrompt)
}

// source is the name of the image that image-to-image begins with, "" if there is none.
func (g *generateFlags) source() string {
	if g.image != "" {
		return g.image
	}
	return g.imageLatents
}

// flagOf maps diffusers' names of a request's fields to flags.
var flagOf = map[string]string{
	"prompt": "prompt", "prompt_2": "prompt-2", "negative_prompt": "negative", "negative_prompt_2": "negative-2", "height": "height", "width": "width",
	"num_images_per_prompt": "n", "num_inference_steps": "steps", "timesteps": "timesteps", "sigmas": "sigmas", "guidance_scale": "guidance",
	"guidance_rescale": "guidance-rescale", "eta": "eta", "clip_skip": "clip-skip", "seed": "seed", "subseed_strength": "subseed-strength", "scheduler": "scheduler", "interrupt": "interrupt",
	"guidance_start": "guidance-start", "guidance_end": "guidance-end", "pag_scale": "pag-scale", "pag_adaptive_scale": "pag-adaptive-scale",
	"pag_applied_layers": "pag-layers", "freeu.s1": "freeu", "freeu.s2": "freeu", "freeu.b1": "freeu", "freeu.b2": "freeu",
	"preset": "preset", "denoising_end": "denoising-end", "denoising_start": "denoising-start", "latents": "latents", "image": "image", "strength": "strength",
	"original_size": "original-size", "target_size": "target-size", "negative_original_size": "negative-original-size",
	"negative_target_size": "negative-target-size", "aesthetic_score": "aesthetic-score", "negative_aesthetic_score": "negative-aesthetic-score",
	"mask_image": "mask", "mask": "mask", "ip_adapters": "ip-adapter", "soft_mask": "soft-mask", "mask_blur": "mask-blur", "mask_invert": "mask-invert", "inpaint_fill": "inpaint-fill",
	"mask_padding": "mask-padding", "outpaint": "outpaint", "keep_unmasked": "keep-unmasked", "resize": "resize",
	"hires": "hires", "hires.scale": "hires", "hires.width": "hires", "hires.height": "hires", "hires.steps": "hires-steps",
	"hires.strength": "hires-strength", "hires.upscaler": "upscaler", "hires.prompt": "hires-prompt", "loras": "lora", "controls": "control", "t2i_adapters": "t2i-adapter", "preview": "preview", "prompt_style": "prompt-style", "emphasis": "emphasis", "textual_inversions": "embedding",
	"prompt_embeds": "embeddings", "pooled_prompt_embeds": "embeddings", "negative_prompt_embeds": "embeddings", "negative_pooled_prompt_embeds": "embeddings",
}

// asUsage is asUsage for the flags that the image and its size are from.
func (g *generateFlags) asUsage(err error) error {
	var bad *sdxl.RequestError
	if g.imageLatents != "" && errors.As(err, &bad) && bad.Field == "image" {
		return cli.Usagef("-image-latents %s: has shape %v: must be %s", g.imageLatents, bad.Value, bad.Allowed)
	}
	if errors.As(err, &bad) && bad.Field == "loras" && !slices.ContainsFunc(g.request.LoRAs, func(l sdxl.LoRA) bool { return l.Path == bad.Value }) {
		return cli.Usagef("-lora-dir %s: the adapter %v of the prompt: must be %s: %v", g.request.LoRADir, bad.Value, bad.Allowed, bad.Err)
	}
	return asUsage(err, g.image != "")
}

// asUsage turns an invalid request into a usage error that names the flag. image says that the size is that of -image.
func asUsage(err error, image bool) error {
	var bad *sdxl.RequestError
	if !errors.As(err, &bad) {
		return err
	}
	name, ok := flagOf[bad.Field]
	for _, find := range []func(string) (string, bool){imagePromptFlagOf, controlImageFlagOf} {
		if of, is := find(bad.Field); is {
			name, ok = of, true
		}
	}
	switch {
	case !ok:
		return cli.Usagef("%v", bad)
	case name == "embeddings":
		return cli.Usagef("-embeddings: %v", bad)
	case image && (name == "width" || name == "height"):
		return cli.Usagef("-image is %v pixels in %s: must be %s", bad.Value, name, bad.Allowed)
	case bad.Err != nil:
		return cli.Usagef("-%s %v: must be %s: %v", name, bad.Value, bad.Allowed, bad.Err)
	}
	return cli.Usagef("-%s %v: must be %s", name, bad.Value, bad.Allowed)
}
