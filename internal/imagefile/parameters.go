package imagefile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/goxl/goxl/models/sdxl"
)

// Parameters say how an image was made, so that it can be made again.
type Parameters struct {
	sdxl.Parameters
	Image   int    // of the batch, from 0
	Source  string // the name of the image that image-to-image began with; "" is none
	Version string // of the program
	// SourceInfotext is the infotext of an image that was enlarged, which the large one keeps; "" is none.
	SourceInfotext string
}

// Texts gives the parameters as [Encode] takes them: under diffusers' names, and all in one text "parameters" as A1111
// writes it and as the programs around it read it (see
// https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#png-info).
func (p Parameters) Texts() []Text {
	if p.Upscale != nil {
		return p.upscaledTexts()
	}
	prompt := p.Prompt(p.Image)
	texts := []Text{{infotextKey, p.Infotext()}, {"prompt", prompt.Prompt}}
	add := func(key, value string) { texts = append(texts, Text{key, value}) }
	if prompt.Prompt2 != "" {
		add("prompt_2", prompt.Prompt2)
	}
	if prompt.NegativePrompt != nil {
		add("negative_prompt", *prompt.NegativePrompt)
	}
	if n := prompt.NegativePrompt2; n != nil && *n != "" {
		add("negative_prompt_2", *n)
	}
	add("seed", strconv.FormatUint(p.seed(), 10))
	add("num_inference_steps", strconv.Itoa(p.Steps))
	add("guidance_scale", p.guidance())
	add("scheduler", p.scheduler())
	if p.Task == sdxl.ImageToImage || p.Task == sdxl.Inpaint {
		if p.Strength > 0 {
			add("strength", number(p.Strength))
		}
		add("image", p.Source)
	}
	if n := len(p.Experts); n > 0 {
		add("refiner", p.Experts[n-1].Model)
	}
	if p.DenoisingEnd > 0 {
		add("denoising_end", number(p.DenoisingEnd))
	}
	add("size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	for _, t := range p.others() {
		add(t.Key, t.Value)
	}
	add("model", p.Model)
	if p.ModelHash != "" {
		add("model_hash", p.ModelHash)
	}
	for _, t := range []Text{{"unet", p.UNet}, {"vae", p.VAE}, {"taesd", p.TAESD}, {"base", p.Base}, {"prediction", p.Prediction}, {"device", p.Device}, {"precision", p.Precision}} {
		if t.Value != "" {
			add(t.Key, t.Value)
		}
	}
	add("version", p.Version)
	if p.Images > 1 { // one of a batch can't be drawn alone, unless it has a seed of its own
		add("num_images_per_prompt", strconv.Itoa(p.ImagesPerPrompt))
		add("image_index", strconv.Itoa(p.Image))
	}
	return texts
}

// others are the parameters that are not what they mostly are, under diffusers' names and as JSON.
func (p Parameters) others() (texts []Text) {
	own := sdxl.Size{Height: p.Height, Width: p.Width}
	for _, o := range []struct {
		key   string
		given bool
		value any
	}{
		{"prompt_style", p.PromptStyle != "", p.PromptStyle},
		{"preset", p.Preset != "", p.Preset},
		{"emphasis", p.Emphasis != "", p.Emphasis},
		{"textual_inversions", len(p.TextualInversions) > 0, p.TextualInversions},
		{"guidance_rescale", p.GuidanceRescale != 0, p.GuidanceRescale},
		{"guidance_start", p.GuidanceStart != 0, p.GuidanceStart},
		{"guidance_end", p.GuidanceEnd != 0, p.GuidanceEnd},
		{"pag_scale", p.PAGScale != 0, p.PAGScale},
		{"pag_adaptive_scale", p.PAGAdaptiveScale != 0, p.PAGAdaptiveScale},
		{"pag_applied_layers", len(p.PAGAppliedLayers) > 0, p.PAGAppliedLayers},
		{"freeu", p.FreeU != nil, p.FreeU},
		{"eta", p.Eta != 0, p.Eta},
		{"clip_skip", p.ClipSkip != 0, p.ClipSkip},
		{"timesteps", len(p.Timesteps) > 0, p.Timesteps},
		{"sigmas", len(p.Sigmas) > 0, p.Sigmas},
		{"interrupt", p.Interrupt != 0, p.Interrupt},
		{"interrupted", p.Interrupted != nil, p.Interrupted},
		{"denoising_start", p.DenoisingStart != 0, p.DenoisingStart},
		{"subseed", p.SubseedStrength != 0, p.subseed()},
		{"subseed_strength", p.SubseedStrength != 0, p.SubseedStrength},
		{"latents_given", p.NoiseGiven, true},
		{"embeddings_given", p.EmbeddingsGiven, true},
		{"original_size", p.OriginalSize != own && p.OriginalSize != (sdxl.Size{}), p.OriginalSize},
		{"target_size", p.TargetSize != own && p.TargetSize != (sdxl.Size{}), p.TargetSize},
		{"crops_coords_top_left", p.Crop != [2]int{}, p.Crop},
		{"negative_original_size", p.NegativeOriginalSize != (sdxl.Size{}), p.NegativeOriginalSize},
		{"negative_target_size", p.NegativeTargetSize != (sdxl.Size{}), p.NegativeTargetSize},
		{"negative_crops_coords_top_left", p.NegativeCrop != [2]int{}, p.NegativeCrop},
		{"aesthetic_score", p.AestheticScore != nil && *p.AestheticScore != 6, p.AestheticScore},
		{"negative_aesthetic_score", p.NegativeAestheticScore != nil && *p.NegativeAestheticScore != 2.5, p.NegativeAestheticScore},
		{"experts", len(p.Experts) > 2, p.Experts},
		{"loras", len(p.LoRAs) > 0, p.LoRAs},
		{"controls", len(p.Controls) > 0, p.Controls},
		{"t2i_adapters", len(p.T2IAdapters) > 0, p.T2IAdapters},
		{"ip_adapters", len(p.IPAdapters) > 0, p.IPAdapters},
		{"hires", p.Hires != nil, p.Hires},
		{"watermark", p.Watermark, true},
		{"resize", p.Resize != "", p.Resize},
		{"mask", p.Mask, true},
		{"soft_mask", p.SoftMask, true},
		{"mask_blur", p.MaskBlur != 0, p.MaskBlur},
		{"mask_invert", p.MaskInvert, true},
		{"inpaint_fill", p.InpaintFill != "" && p.InpaintFill != sdxl.FillOriginal, p.InpaintFill},
		{"mask_padding", p.MaskPadding != nil, p.MaskPadding},
		{"outpaint", p.Outpaint != sdxl.Border{}, p.Outpaint},
		{"keep_unmasked", p.KeepUnmasked != nil && !*p.KeepUnmasked, false},
	} {
		if !o.given {
			continue
		}
		data, err := json.Marshal(o.value)
		if err != nil { // a NaN, which no request has
			continue
		}
		texts = append(texts, Text{o.key, string(data)})
	}
	return texts
}

// seed is the image's own where it has one, else the batch's.
func (p Parameters) seed() uint64 {
	if p.Image < len(p.Seeds) {
		return p.Seeds[p.Image]
	}
	return p.Seed
}

// subseed is the image's own.
func (p Parameters) subseed() uint64 { return p.Subseed + uint64(p.Image) }

// guidance is the scale, or the scales of the steps.
func (p Parameters) guidance() string {
	if len(p.GuidancePerStep) == 0 {
		return number(p.Guidance)
	}
	data, err := json.Marshal(slices.Clone(p.GuidancePerStep))
	if err != nil {
		return number(p.Guidance)
	}
	return string(data)
}

// scheduler is the name, or the class of one without a name.
func (p Parameters) scheduler() string {
	if p.Scheduler != "" {
		return p.Scheduler
	}
	return p.SchedulerClass
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
