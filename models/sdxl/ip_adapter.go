package sdxl

import (
	"encoding/json"
	"fmt"
	"image"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/unet"
)

// IPAdapter is an image prompt of a request: images that every cross-attention of the UNet reads beside the prompt. The
// negative side of guidance reads, as in diffusers, the embedding 0 or, with a plus adapter, that of an image whose
// normalised pixels are 0. Image prompts draw no noise.
type IPAdapter struct {
	// Path is the file, safetensors or torch.save's: an IP-Adapter of SDXL, base or plus, as h94/IP-Adapter publishes them.
	Path string
	// Encoder is the image encoder that the adapter was trained with, a CLIPVisionModelWithProjection: a folder with its
	// config.json, or a file of ViT-H/14's or ViT-bigG/14's. "" looks for a folder image_encoder beside the file, then for
	// ../models/image_encoder, as they lie in h94/IP-Adapter, and takes the first that fits.
	Encoder string
	// Images are read one after the other as one sequence. No side of one may be more than 100 times the other.
	Images []image.Image `json:"-"`
	Scale  *float64      // of all that the adapter adds; nil is 1, 0 leaves the adapter out
	// Scales takes the place of Scale: one for each block, as diffusers' set_ip_adapter_scale takes a dictionary. What it
	// does not name has 0; {"up": {"block_0": [0, 1, 0]}} is InstantStyle's style, with "down": {"block_2": [0, 1]} its
	// layout too.
	Scales BlockScales
	// Mask, of which white counts, says where the adapter acts; nil is everywhere. It is resized to the result's size as
	// a Control's image; but MaskPadding does not cut it, as padding_mask_crop does not cut diffusers' ip_adapter_masks: it
	// is of the part that is computed. It goes with one image: others are adapters of their own with the same Path.
	Mask image.Image `json:"-"`
}

// IPAdapterParameters says which image prompt a run had.
type IPAdapterParameters struct {
	Name    string      `json:"name"`              // the file's, without its extension
	Encoder string      `json:"encoder,omitempty"` // name of the folder or file; "" is the one that lies beside the adapter
	Images  int         `json:"images"`
	Scale   float64     `json:"scale"` // 0 where Scales has its place
	Scales  BlockScales `json:"scales,omitempty"`
	Mask    bool        `json:"mask,omitempty"`
}

// BlockScales are scales of a UNet's blocks with attention, in the form of JSON: "down" and "up" are a number for all
// blocks, or have a number for "block_1", say, or a list, one for each transformer of the block; "mid" is a number.
type BlockScales map[string]any

// ParseBlockScales reads BlockScales from JSON.
func ParseBlockScales(text string) (BlockScales, error) {
	var s BlockScales
	if err := json.Unmarshal([]byte(text), &s); err != nil || s == nil {
		return nil, fmt.Errorf(`scales %s: must be JSON such as {"down": {"block_2": [0, 1]}, "mid": 0.5, "up": 1}`, text)
	}
	return s, nil
}

// UnmarshalJSON implements json.Unmarshaler. Numbers are float64, whatever the decoder takes those of any type for.
func (s *BlockScales) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, (*map[string]any)(s))
}

// Limits of image prompts.
const (
	maxPromptImages = 64  // of an adapter
	maxAspect       = 100 // of an image's sides
	maxPrompts      = 16  // adapters of a request
)

// imagePrompt is an adapter of a resolved request.
type imagePrompt struct {
	IPAdapter
	scales []float64 // by cross-attention
	tokens int       // of all images; 0 until the file is open
}

// checkIPAdapters resolves the image prompts, but for what their files say.
func (s *Spec) checkIPAdapters(q *resolved) error {
	if len(q.request.IPAdapters) == 0 {
		return nil
	}
	if n := len(q.request.IPAdapters); n > maxPrompts {
		return bad("ip_adapters", fmt.Sprintf("a list of %d", n), "at most %d", maxPrompts)
	}
	attentions := s.UNet.CrossAttentions()
	for i, a := range q.request.IPAdapters {
		field := func(name string) string { return fmt.Sprintf("ip_adapters[%d].%s", i, name) }
		switch {
		case a.Path == "":
			return bad(field("path"), `""`, "the file of an IP-Adapter")
		case len(a.Images) < 1 || len(a.Images) > maxPromptImages:
			return bad(field("images"), fmt.Sprintf("%d images", len(a.Images)), "1 to %d", maxPromptImages)
		case a.Scale != nil && a.Scales != nil:
			return bad(field("scale"), *a.Scale, "absent where there are scales")
		case a.Mask != nil && len(a.Images) > 1:
			return bad(field("mask"), fmt.Sprintf("one for %d images", len(a.Images)), "with one image: others are adapters of their own, of the same path")
		case a.Mask != nil && a.Mask.Bounds().Empty():
			return bad(field("mask"), "empty", "an image")
		}
		for k, img := range a.Images {
			if err := checkPromptImage(fmt.Sprintf("%s[%d]", field("images"), k), img); err != nil {
				return err
			}
		}
		scales, err := a.Scales.expand(field("scales"), attentions, s.UNet)
		if err != nil {
			return err
		}
		scale := or(a.Scale, 1)
		if a.Scales == nil {
			if !isFinite(scale) {
				return bad(field("scale"), scale, "a finite number of float32")
			}
			scales = slices.Repeat([]float64{scale}, len(attentions))
		} else {
			scale = 0
		}
		p := IPAdapterParameters{Name: loraName(a.Path), Images: len(a.Images), Scale: scale, Scales: a.Scales, Mask: a.Mask != nil}
		if a.Encoder != "" {
			p.Encoder = filepath.Base(filepath.Clean(a.Encoder))
		}
		q.IPAdapters = append(q.IPAdapters, p)
		if slices.ContainsFunc(scales, func(v float64) bool { return v != 0 }) {
			q.images = append(q.images, imagePrompt{IPAdapter: a, scales: scales})
		}
	}
	return nil
}

func checkPromptImage(field string, img image.Image) error {
	if img == nil || img.Bounds().Empty() {
		return bad(field, "absent", "an image")
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w > maxAspect*h || h > maxAspect*w {
		return bad(field, fmt.Sprintf("%d×%d", w, h), "an image of which no side is more than %d times the other", maxAspect)
	}
	return nil
}

// expand gives the scale of each cross-attention. Source: diffusers loaders/unet_loader_utils.py,
// _maybe_expand_lora_scales, with default_scale 0; unlike there, a block without attention is an error.
func (s BlockScales) expand(field string, attentions []unet.CrossAttention, c unet.Config) ([]float64, error) {
	if s == nil {
		return nil, nil
	}
	by := map[string]float64{} // transformer's path
	depth := map[string]int{}  // block's path to its transformers
	for _, a := range attentions {
		block, number, _ := strings.Cut(a.Path, ".attentions.")
		n, _ := strconv.Atoi(number)
		depth[block] = max(depth[block], n+1)
	}
	set := func(name, block string, value any) error {
		list, err := numbersOf(name, value)
		switch {
		case err != nil:
			return err
		case depth[block] == 0:
			return bad(name, value, "absent: the UNet has no attention there")
		case len(list) == 1:
			list = slices.Repeat(list, depth[block])
		case len(list) != depth[block]:
			return bad(name, value, "a number, or a list of %d, one for each transformer", depth[block])
		}
		for j, v := range list {
			by[fmt.Sprintf("%s.attentions.%d", block, j)] = v
		}
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		value, name := s[key], field+"."+key
		var err error
		switch key {
		case "mid":
			err = set(name, "mid_block", value)
		case "down", "up":
			blocks, nested := value.(map[string]any)
			for i := range c.BlockOutChannels {
				block, one := fmt.Sprintf("%s_blocks.%d", key, i), fmt.Sprintf("block_%d", i)
				v, given := blocks[one]
				switch {
				case nested && given:
					err = set(name+"."+one, block, v)
				case !nested && depth[block] > 0:
					err = set(name, block, value)
				}
				if err != nil {
					return nil, err
				}
			}
			for _, one := range slices.Sorted(maps.Keys(blocks)) {
				if i, e := strconv.Atoi(strings.TrimPrefix(one, "block_")); e != nil || i < 0 || i >= len(c.BlockOutChannels) || one != fmt.Sprintf("block_%d", i) {
					return nil, bad(name, fmt.Sprintf("with %q", one), "a number, or one for block_0 to block_%d", len(c.BlockOutChannels)-1)
				}
			}
		default:
			err = bad(field, fmt.Sprintf("with %q", key), "down, mid and up")
		}
		if err != nil {
			return nil, err
		}
	}
	scales := make([]float64, len(attentions))
	for i, a := range attentions {
		scales[i] = by[a.Path]
	}
	return scales, nil
}

// numbersOf is a number, or a list of them, as JSON gives it.
func numbersOf(name string, value any) ([]float64, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var out []float64
	for _, v := range list {
		n, ok := v.(float64)
		if !ok || !isFinite(n) || math.IsNaN(n) {
			return nil, bad(name, value, "a number, or a list of numbers, finite in float32")
		}
		out = append(out, n)
	}
	return out, nil
}
