package sdxl

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

func bad(field string, value any, allowed string, args ...any) error {
	return &RequestError{Field: field, Value: value, Allowed: fmt.Sprintf(allowed, args...)}
}

// resolvePrompts lists the prompts and counts the images.
func (s *Spec) resolvePrompts(q *resolved) error {
	r := &q.request
	one := Prompt{r.Prompt, r.Prompt2, r.NegativePrompt, r.NegativePrompt2}
	count := 1
	switch {
	case len(r.Prompts) > 0 && one != (Prompt{}):
		return bad("prompt", fmt.Sprintf("%q", r.Prompt), "absent, and its relatives too, where there are prompts for each image")
	case r.Embeddings != nil && (len(r.Prompts) > 0 || r.Prompt != "" || r.Prompt2 != ""):
		return bad("prompt", fmt.Sprintf("%q", r.Prompt), "absent where there are embeddings")
	case r.Embeddings != nil && r.Embeddings.Negative != nil && one != (Prompt{}):
		return bad("negative_prompt", fmt.Sprintf("%q", or(r.NegativePrompt, "")), "absent where there are negative_prompt_embeds")
	case r.Embeddings != nil:
		if err := s.checkEmbeddings(r.Embeddings); err != nil {
			return err
		}
		q.EmbeddingsGiven, count = true, r.Embeddings.Prompt.Shape[0]
		if one != (Prompt{}) {
			q.Prompts = slices.Repeat([]Prompt{one}, count)
		}
	case len(r.Prompts) > 0:
		q.Prompts, count = slices.Clone(r.Prompts), len(r.Prompts)
	default:
		q.Prompts = []Prompt{one}
	}
	if count > MaxCount {
		field := "prompt"
		if q.EmbeddingsGiven {
			field = "prompt_embeds"
		}
		return bad(field, fmt.Sprintf("a list of %d", count), "at most %d, the images of a batch", MaxCount)
	}
	if r.ImagesPerPrompt < 0 || count*q.ImagesPerPrompt > MaxCount || q.ImagesPerPrompt > MaxCount {
		allowed := fmt.Sprintf("1 to %d", MaxCount)
		if count > 1 {
			allowed += fmt.Sprintf(" images in all, of %d prompts", count)
		}
		return bad("num_images_per_prompt", q.ImagesPerPrompt, "%s", allowed)
	}
	q.Images = count * q.ImagesPerPrompt
	if len(r.Seeds) > 0 && len(r.Seeds) != q.Images {
		return bad("seed", fmt.Sprintf("a list of %d", len(r.Seeds)), "one, or a list of %d, one for each image", q.Images)
	}
	for _, p := range q.Prompts {
		texts := map[string]string{"prompt": p.Prompt, "prompt_2": p.Prompt2, "negative_prompt": or(p.NegativePrompt, ""), "negative_prompt_2": or(p.NegativePrompt2, "")}
		for _, field := range slices.Sorted(maps.Keys(texts)) {
			if !utf8.ValidString(texts[field]) {
				return bad(field, fmt.Sprintf("%q", texts[field]), "UTF-8 text")
			}
		}
	}
	return nil
}

// checkEmbeddings checks shapes and, since no NaN may reach the UNet, values.
func (s *Spec) checkEmbeddings(e *Embeddings) error {
	width, pooled := s.UNet.Context(), s.TextEncoder2.ProjectionDim
	if err := e.Prompt.Check("prompt_embeds", 0, 0, width); err != nil {
		return &RequestError{Field: "prompt_embeds", Value: shapeOf(e.Prompt), Allowed: fmt.Sprintf("[N, T, %d]", width), Err: err}
	}
	n, tokens := e.Prompt.Shape[0], e.Prompt.Shape[1]
	for _, t := range []struct {
		field    string
		tensor   *Tensor
		want     []int
		optional bool
	}{
		{"pooled_prompt_embeds", e.Pooled, []int{n, pooled}, false},
		{"negative_prompt_embeds", e.Negative, []int{n, tokens, width}, true},
		{"negative_pooled_prompt_embeds", e.NegativePooled, []int{n, pooled}, e.Negative == nil},
	} {
		if t.tensor == nil && t.optional {
			continue
		}
		if err := t.tensor.Check(t.field, t.want...); err != nil {
			return &RequestError{Field: t.field, Value: shapeOf(t.tensor), Allowed: fmt.Sprint(t.want), Err: err}
		}
	}
	for _, f := range []field[*Tensor]{
		{"prompt_embeds", e.Prompt}, {"pooled_prompt_embeds", e.Pooled},
		{"negative_prompt_embeds", e.Negative}, {"negative_pooled_prompt_embeds", e.NegativePooled},
	} {
		if err := checkFinite(f.name, f.value); err != nil {
			return err
		}
	}
	if e.Negative == nil && e.NegativePooled != nil {
		return bad("negative_pooled_prompt_embeds", shapeOf(e.NegativePooled), "absent where negative_prompt_embeds is")
	}
	return nil
}

func shapeOf(t *Tensor) any {
	if t == nil {
		return "absent"
	}
	return fmt.Sprintf("%v with %d values", t.Shape, len(t.Data))
}

// field is a field of a request by diffusers' name.
type field[T any] struct {
	name  string
	value T
}

// imageInputs refuses tasks that leave out what a UNet reads beside the latents: of inpainting a mask and the masked
// image. That of InstructPix2Pix and CosXL Edit, the image to edit, no request can hold.
func (s *Spec) imageInputs(t Task) error {
	switch latents := s.VAE.LatentChannels; {
	case s.UNet.InChannels == 2*latents+1 && t != Inpaint:
		return bad("mask_image", "absent", "given, beside an image: the UNet reads %d channels, the latents of a masked image and its mask among them (inpainting)", s.UNet.InChannels)
	case s.UNet.InChannels == 2*latents:
		return bad("image", "absent", "the UNet reads %d channels, the latents of the image to edit among them (InstructPix2Pix); goxl does not take that yet: a model of %d channels", s.UNet.InChannels, latents)
	}
	return nil
}

// isFinite reports whether a number is one as the device takes it, in float32.
func isFinite(v float64) bool { return math.Abs(v) <= math.MaxFloat32 }

// checkNumbers is about the fields that stand for themselves.
func checkNumbers(q *resolved) error {
	r := &q.request
	// In order, so that a request with several errors always gives the same one.
	for _, f := range []field[float64]{{"guidance_scale", q.Guidance}, {"aesthetic_score", or(q.AestheticScore, 0)}, {"negative_aesthetic_score", or(q.NegativeAestheticScore, 0)}} {
		if !isFinite(f.value) {
			return bad(f.name, f.value, "a finite number of float32")
		}
	}
	for _, f := range []field[float64]{{"guidance_rescale", q.GuidanceRescale}, {"eta", q.Eta}} {
		if !(f.value >= 0 && f.value <= 1) {
			return bad(f.name, f.value, "0 to 1")
		}
	}
	for _, f := range []field[float64]{{"denoising_end", r.DenoisingEnd}, {"denoising_start", r.DenoisingStart}} {
		if f.value != 0 && !(f.value > 0 && f.value < 1) {
			return bad(f.name, f.value, "above 0 and below 1")
		}
	}
	if q.DenoisingStart != 0 && r.DenoisingEnd != 0 && q.DenoisingStart >= r.DenoisingEnd {
		return bad("denoising_start", r.DenoisingStart, "below denoising_end, which is %v", r.DenoisingEnd)
	}
	if r.Interrupt < 0 {
		return bad("interrupt", r.Interrupt, "a number of steps from 1 on, or 0 to run them all")
	}
	for _, f := range []field[Size]{
		{"original_size", r.OriginalSize}, {"target_size", r.TargetSize},
		{"negative_original_size", r.NegativeOriginalSize}, {"negative_target_size", r.NegativeTargetSize},
	} {
		if f.value != (Size{}) && min(f.value.Height, f.value.Width) < 1 {
			return bad(f.name, fmt.Sprintf("(%d, %d)", f.value.Height, f.value.Width), "a height and a width from 1 on")
		}
	}
	switch {
	case q.Task == TextToImage && r.DenoisingStart != 0:
		return bad("denoising_start", r.DenoisingStart, "absent without an image")
	case q.Task == TextToImage && r.Strength != 0 && !(r.Strength > 0 && r.Strength <= 1), q.Task.ofImage() && q.DenoisingStart == 0 && !(q.Strength > 0 && q.Strength <= 1):
		return bad("strength", r.Strength, "above 0, up to 1")
	}
	return nil
}

func (s *Spec) checkClipSkip(q *resolved) error {
	layers := s.TextEncoder2.Layers
	if s.TextEncoder != nil {
		layers = min(layers, s.TextEncoder.Layers)
	}
	if q.ClipSkip < 0 || q.ClipSkip > layers-1 {
		return bad("clip_skip", q.ClipSkip, "0 to %d", layers-1)
	}
	return nil
}
