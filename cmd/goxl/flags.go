package main

import (
	"errors"
	"flag"
	"math"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer/prompt"
)

const (
	modelUsage   = "the `model`: demo, which is built in, a folder in diffusers' layout, a checkpoint in one file, ORG/NAME[@REVISION] of the hub, which is downloaded once, or %s for random weights%s"
	taesdUsage   = "decode by a TAESD in the VAE's place, in a tenth of the time with less detail: the `PATH` of taesdxl's folder, or of a safetensors file such as taesdxl_decoder"
	vaeUsage     = "another VAE: the `PATH` of its folder, of a model's, or of a file that has the shapes of the model's own, in diffusers' or original names"
	variantUsage = "`name` of the weight files, for instance fp16; without it, what suits the precision"
)

// generateFlags are the flags of generate and refine: what they compute with, where results go, and every field
// of a request under diffusers' names.
type generateFlags struct {
	model, base, refiner, unet, vae, taesd, variant string
	missing                                         string // a model for what a single file lacks
	prediction                                      string // in place of what the model's files say
	out, saveLatents, preview                       string
	previewTAESD                                    string
	image, imageLatents, mask                       string   // files
	animations                                      []string // flags whose files are some
	latents, embeddings                             string   // files

	inversions []string // -embedding

	imagePrompts []imagePromptFlag

	previewEvery int // steps
	control      controlFlags

	hires    sdxl.Hires
	hiresSet bool // -hires was given

	request   sdxl.Request // what the flags say; files are not read yet
	prompt    *string      // nil is not given
	prompts   string       // a file with a prompt a line
	negatives string       // a file with a negative prompt a line
	imagesSet bool         // -n was given
	endSet    bool         // -denoising-end was given
	quiet     bool
	steps     int    // that the request resolves to
	preset    string // what a preset sets, "" is none
	device    cli.DeviceFlags
}

func (g *generateFlags) register(fs *flag.FlagSet) {
	r := &g.request
	text(fs, "prompt", "the prompt, a `text`, which may be empty; required unless there is -prompts or -embeddings", &g.prompt)
	fs.StringVar(&r.Prompt2, "prompt-2", "", "the prompt for the second text encoder, a `text`; without it -prompt")
	text(fs, "negative", "the negative prompt, a `text`; an empty one is encoded, and so is none unless the model has force_zeros_for_empty_prompt", &r.NegativePrompt)
	text(fs, "negative-2", "the negative prompt for the second text encoder, a `text`; without it -negative", &r.NegativePrompt2)
	name(fs, "prompts", "in place of -prompt, a text `file` with a prompt on each line, all in one batch; -negative is for all of them", &g.prompts)
	name(fs, "negatives", "with -prompts, a text `file` with a negative prompt for each of them", &g.negatives)
	name(fs, "embeddings", "a safetensors `file` of prompt embeddings in place of -prompt: tensors, F32, prompt_embeds [n, tokens, width], pooled_prompt_embeds [n, width] and optionally negative_prompt_embeds and negative_pooled_prompt_embeds", &g.embeddings)
	fs.Func("prompt-style", "how prompts are read, a `name`: plain, the default, is diffusers' (no syntax, cut at 77 tokens); long is plain text of any length; a1111, comfy and compel have the syntax of A1111, ComfyUI and compel; adapters that a prompt names are those of -lora-dir", func(s string) error {
		r.PromptStyle = prompt.Style(s)
		return oneOf(prompt.Styles(), r.PromptStyle)
	})
	fs.Func("emphasis", "how weights act with -prompt-style a1111, a `name`: original, the default, keeps the mean; nonorm does not, A1111's \"No norm\"", func(s string) error {
		r.Emphasis = sdxl.Emphasis(s)
		return oneOf(sdxl.Emphases(), r.Emphasis)
	})
	fs.Func("embedding", "a textual inversion: `FILE[:NAME]`; prompts have NAME where it stands, with -prompt-style comfy embedding:NAME; without NAME it is the file's without extension; may be repeated, two files of one NAME being those of the two text encoders", func(s string) error {
		g.inversions = append(g.inversions, s)
		return nil
	})
	number(fs, "steps", "`number` of denoising steps; without it the model's own, or 50", "must be a whole number from 1 to the scheduler's num_train_timesteps, mostly 1000", atLeast(1, &r.Steps))
	numbers(fs, "timesteps", "custom timesteps in place of -steps, descending `numbers` with commas between them", &r.Timesteps)
	numbers(fs, "sigmas", "custom sigmas in place of -steps, descending `numbers` with commas between them, the last one (mostly 0) included", &r.Sigmas)
	fs.Func("guidance", "guidance `scale`; at 1 and below there is no guidance, and -negative is not used; a list with commas has a scale for each step, of both passes with -hires, the last for the rest too; without it the model's own, or 5", g.setGuidance)
	g.registerGuidance(fs)
	fs.Func("eta", "`η` of DDIM and TCD, 0 to 1", func(s string) error {
		eta, err := strconv.ParseFloat(s, 64)
		if err != nil || !(eta >= 0 && eta <= 1) {
			return errors.New("must be 0 to 1")
		}
		r.Eta = &eta
		return nil
	})
	number(fs, "clip-skip", "`layers` of the text encoders to skip for -prompt, beyond the one that SDXL always skips: diffusers' clip_skip, whatever the prompt style. Forge's clip skip n is n-2 here; ComfyUI's CLIPSetLastLayer -n is n-2, there for the negative prompt too; A1111's does nothing with SDXL", "must be 0 or more", atLeast(0, &r.ClipSkip))
	fs.Func("seed", "a `number` from 0 to 18446744073709551615; -1, or no -seed, is random, printed, and stored in the image; a list with commas has a seed for each image of the batch", g.setSeed)
	g.registerSubseed(fs)
	fs.Func("n", "`number` of images for each prompt, in one batch; several images are written to out-0.png, out-1.png …", g.setImages)
	fs.StringVar(&r.Scheduler, "scheduler", "", "`name` of the sampler, one of\n"+wrap(scheduler.Names(), 88)+
		"\nmost with a schedule type behind it and _ between, one of\n"+wrap(scheduler.Schedules(), 88)+
		"\nor A1111's or ComfyUI's own name, \"DPM++ 2M Karras\" or \"dpmpp_2m_sde_gpu beta\"; k_ begins A1111's samplers, comfy_ ComfyUI's; without it the model's own, which must be one of these kinds")
	fs.StringVar(&r.Preset, "preset", "", "scheduler, steps and guidance of a few-step model by `name`; other flags win over it; without it, the file of -lora, of a LoRA that the prompt names, of -unet or -model chooses by its name, a LoRA by its SHA-256 too; none turns that off; one of\n"+wrap(sdxl.PresetNames(), 88))
	number(fs, "interrupt", "stop after this `number` of steps and decode what is there", "must be a whole number from 1 on", atLeast(1, &r.Interrupt))
	sizeFlag(fs, "original-size", "micro-conditioning: the original size, `WIDTHxHEIGHT`; without it the image's", &r.OriginalSize)
	sizeFlag(fs, "target-size", "micro-conditioning: the target size, `WIDTHxHEIGHT`; without it the image's", &r.TargetSize)
	crop(fs, "crop", "micro-conditioning: the crop's `TOP,LEFT`", &r.CropTop, &r.CropLeft)
	sizeFlag(fs, "negative-original-size", "micro-conditioning of the negative prompt: its original size, `WIDTHxHEIGHT`", &r.NegativeOriginalSize)
	sizeFlag(fs, "negative-target-size", "micro-conditioning of the negative prompt: its target size, `WIDTHxHEIGHT`", &r.NegativeTargetSize)
	crop(fs, "negative-crop", "micro-conditioning of the negative prompt: its crop's `TOP,LEFT`", &r.NegativeCropTop, &r.NegativeCropLeft)
	optional(fs, "aesthetic-score", "micro-conditioning of a refiner: the aesthetic `score`; without it 6", &r.AestheticScore)
	optional(fs, "negative-aesthetic-score", "micro-conditioning of a refiner: the aesthetic `score` of the negative prompt; without it 2.5", &r.NegativeAestheticScore)
	fraction(fs, "strength", "image-to-image: how much of the image is noised, a `fraction` of the steps, above 0, up to 1, which keeps next to nothing; without it the model's own, or 0.3", true, &r.Strength)
	fraction(fs, "denoising-start", "image-to-image: the `fraction` of the steps that are done already, above 0 and below 1; replaces -strength", false, &r.DenoisingStart)
	name(fs, "image-latents", "in place of -image, a safetensors `file` that -save-latents wrote", &g.imageLatents)
	fs.Func("lora", "an adapter, LoRA or a relative of it: `FILE[:STRENGTH]`, 1 without a strength, or parts with colons between them: te=, te1=, te2=, unet=, down=, mid=, up=, single blocks in00= to out08=, lbw=, dyn=; may be repeated, applied in order; what was found in it is printed", g.addLoRA)
	name(fs, "lora-dir", "a `folder` of adapters, and of folders of them, that the prompt names as in <lora:NAME:0.8>, in every prompt style", &r.LoRADir)
	g.registerImagePrompts(fs)
	g.registerControls(fs)
	g.registerInpaint(fs)
	g.registerParts(fs)
	name(fs, "taesd", taesdUsage, &g.taesd)
	fs.StringVar(&g.variant, "variant", "", variantUsage)
	fs.StringVar(&g.out, "o", "out.png", "the PNG `file` to write, whose directory must exist, or - for standard output; devices and pipes are written to, links followed")
	name(fs, "save-latents", "a safetensors `file`, or as -o, to write the final latents to, before the VAE: tensor \"latents\", F32, [n, 4, height/8, width/8]", &g.saveLatents)
	fs.Func("preview", previewUsage, g.setPreview)
	name(fs, "preview-taesd", previewTAESDUsage, &g.previewTAESD)
	fs.BoolVar(&r.Watermark, "watermark", false, "put diffusers' invisible watermark into the images")
	fs.BoolVar(&g.quiet, "quiet", false, "print no progress and no notes; warnings, errors and a random seed are still printed")
	g.device.Register(fs)
}

// schedulerNames says which names -scheduler takes.
func schedulerNames() string {
	return strings.Join(scheduler.Names(), ", ") + ", also with an ending of _" + strings.Join(scheduler.Schedules(), ", _") + ", or A1111's or ComfyUI's name of one"
}

// registerEnd adds -denoising-end, whose meaning differs.
func (g *generateFlags) registerEnd(fs *flag.FlagSet, usage string) {
	fs.Func("denoising-end", usage, func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0 && f < 1) {
			return errors.New("must be above 0 and below 1")
		}
		g.request.DenoisingEnd, g.endSet = f, true
		return nil
	})
}

func (g *generateFlags) setGuidance(s string) error {
	list, err := parseNumbers(s)
	if err != nil {
		return errors.New("must be a finite number, or a list of them with commas between")
	}
	g.request.Guidance, g.request.GuidancePerStep = &list[0], nil
	if len(list) > 1 {
		g.request.Guidance, g.request.GuidancePerStep = nil, list
	}
	return nil
}

func (g *generateFlags) setSeed(s string) error {
	g.request.Seed, g.request.Seeds = nil, nil
	if s == "-1" { // as A1111
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		seed, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			g.request.Seeds = nil
			return errors.New("must be 0 to 18446744073709551615, or -1 for a random one, or a list of seeds")
		}
		g.request.Seeds = append(g.request.Seeds, seed)
	}
	if len(g.request.Seeds) == 1 {
		g.request.Seed, g.request.Seeds = &g.request.Seeds[0], nil
	}
	return nil
}

func (g *generateFlags) addLoRA(s string) error {
	file, strengths, err := lora.ParsePath(s)
	if err != nil {
		return err
	}
	g.request.LoRAs = append(g.request.LoRAs, sdxl.LoRA{Path: file, Strengths: strengths})
	return nil
}

func (g *generateFlags) setImages(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return errors.New("must be a whole number")
	}
	g.request.ImagesPerPrompt, g.imagesSet = n, true
	return nil
}

// text is a flag whose empty value differs from no value.
func text(fs *flag.FlagSet, name, usage string, to **string) {
	fs.Func(name, usage, func(s string) error {
		*to = &s
		return nil
	})
}

// name is a flag of a file, a folder or a model, which an empty name, perhaps of an unset variable, is not.
func name(fs *flag.FlagSet, name, usage string, to *string) {
	fs.Func(name, usage, func(s string) error {
		if s == "" {
			return errors.New("must be a name, or the flag absent")
		}
		*to = s
		return nil
	})
}

// number is a flag of a whole number.
func number(fs *flag.FlagSet, name, usage, allowed string, set func(int) bool) {
	fs.Func(name, usage, func(s string) error {
		if n, err := strconv.Atoi(s); err != nil || !set(n) {
			return errors.New(allowed)
		}
		return nil
	})
}

// atLeast takes numbers from least on.
func atLeast(least int, to *int) func(int) bool {
	return func(n int) bool {
		*to = n
		return n >= least
	}
}

// fraction is a flag of a number above 0 and below 1, or up to 1.
func fraction(fs *flag.FlagSet, name, usage string, whole bool, to *float64) {
	fs.Func(name, usage, func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		switch {
		case whole && (err != nil || !(f > 0 && f <= 1)):
			return errors.New("must be above 0, up to 1")
		case !whole && (err != nil || !(f > 0 && f < 1)):
			return errors.New("must be above 0 and below 1")
		}
		*to = f
		return nil
	})
}

// optional is a flag of a finite number.
func optional(fs *flag.FlagSet, name, usage string, to **float64) {
	fs.Func(name, usage, func(s string) error {
		list, err := parseNumbers(s)
		if err != nil || len(list) != 1 {
			return errors.New("must be a finite number")
		}
		*to = &list[0]
		return nil
	})
}

// numbers is a flag of a list.
func numbers(fs *flag.FlagSet, name, usage string, to *[]float64) {
	fs.Func(name, usage, func(s string) (err error) {
		*to, err = parseNumbers(s)
		return err
	})
}

func parseNumbers(s string) (list []float64, err error) {
	for part := range strings.SplitSeq(s, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errors.New("must be finite numbers with commas between them")
		}
		list = append(list, f)
	}
	return list, nil
}

// sizeFlag is a flag of a width and a height.
func sizeFlag(fs *flag.FlagSet, name, usage string, to *sdxl.Size) {
	fs.Func(name, usage, func(s string) error {
		w, h, _ := strings.Cut(s, "x")
		width, werr := strconv.Atoi(w)
		height, herr := strconv.Atoi(h)
		if werr != nil || herr != nil || min(width, height) < 1 {
			return errors.New("must be WIDTHxHEIGHT, such as 1024x768")
		}
		*to = sdxl.Size{Height: height, Width: width}
		return nil
	})
}

// crop is a flag of a top and a left edge.
func crop(fs *flag.FlagSet, name, usage string, top, left *int) {
	fs.Func(name, usage, func(s string) (err error) {
		t, l, _ := strings.Cut(s, ",")
		var terr, lerr error
		*top, terr = strconv.Atoi(t)
		*left, lerr = strconv.Atoi(l)
		if terr != nil || lerr != nil {
			return errors.New("must be TOP,LEFT, such as 0,64")
		}
		return nil
	})
}

// wrap joins words with commas into lines of about width characters.
func wrap(words []string, width int) string {
	var b strings.Builder
	line := 0
	for i, w := range words {
		if i > 0 {
			b.WriteByte(',')
			if line += len(w) + 2; line > width {
				b.WriteByte('\n')
				line = len(w)
			} else {
				b.WriteByte(' ')
			}
		} else {
			line = len(w)
		}
		b.WriteString(w)
	}
	return b.String()
}
