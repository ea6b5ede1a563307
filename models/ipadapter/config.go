// Package ipadapter is IP-Adapter of SDXL, base and plus: it turns what an image encoder says of images into keys and
// values that each cross-attention of a UNet reads beside those of the prompt.
//
// Source: diffusers 0.42 models/embeddings.py (ImageProjection, IPAdapterPlusImageProjection), loaders/unet.py
// (_convert_ip_adapter_image_proj_to_diffusers, _convert_ip_adapter_attn_to_diffusers) and
// models/attention_processor.py (IPAdapterAttnProcessor2_0).
package ipadapter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Config is what an adapter's file says by its names and shapes.
type Config struct {
	Plus    bool // IP-Adapter plus: a resampler of hidden states in place of a projection of the image embedding
	Width   int  // of what the image encoder gives: of plus its hidden size, else its projection_dim
	Tokens  int  // of an image
	Context int  // width of the UNet's prompt embeddings, which the tokens have too

	// Of plus.
	Hidden       int // of the resampler
	Depth        int
	Heads        int
	Intermediate int // of its feed-forward parts

	Layers []int // channels of the UNet's cross-attentions, in the order of the file: down, up, middle
}

// Names in a file.
const (
	projectionPrefix = "image_proj."
	layerPrefix      = "ip_adapter."
)

// baseTokens is what the base adapter makes of an image, in every published file.
const baseTokens = 4

// headSize is that of the resampler's attention.
const headSize = 64

// Detect reads the configuration of an adapter from its file. Adapters of other kinds, FaceID's among them, are errors
// that name them.
func Detect(src kernels.Source) (Config, error) {
	dims := func(name string, rank int) []int {
		_, shape, err := src.Describe(name)
		if err != nil || len(shape) != rank {
			return nil
		}
		return shape
	}
	has := func(name string) bool { _, _, err := src.Describe(projectionPrefix + name); return err == nil }
	var c Config
	switch {
	case has("perceiver_resampler.proj_in.weight"):
		return c, fmt.Errorf("an IP-Adapter FaceID plus, which reads faces' InsightFace embeddings beside images: %s", allowed)
	case has("proj.weight"):
		proj := dims(projectionPrefix+"proj.weight", 2)
		if proj == nil || proj[0]%baseTokens != 0 {
			return c, fmt.Errorf("%sproj.weight is of %v: must be a matrix with a multiple of %d rows", projectionPrefix, shapeOf(src, "proj.weight"), baseTokens)
		}
		c = Config{Width: proj[1], Tokens: baseTokens, Context: proj[0] / baseTokens}
	case has("proj.3.weight"):
		return c, fmt.Errorf("an IP-Adapter full face, of which there is none for SDXL: %s", allowed)
	case has("norm.weight"):
		return c, fmt.Errorf("an IP-Adapter FaceID, which reads faces' InsightFace embeddings in place of images: %s", allowed)
	case has("latents"):
		latents, in, out := dims(projectionPrefix+"latents", 3), dims(projectionPrefix+"proj_in.weight", 2), dims(projectionPrefix+"proj_out.weight", 2)
		query, up := dims(projectionPrefix+"layers.0.0.to_q.weight", 2), dims(projectionPrefix+"layers.0.1.1.weight", 2)
		if latents == nil || in == nil || out == nil || query == nil || up == nil || query[0]%headSize != 0 || latents[1] < 1 || latents[1] > maxTokens {
			return c, fmt.Errorf("a resampler with latents of %v and layers.0.0.to_q.weight of %v: must be 1 to %d latents, and heads of %d channels",
				shapeOf(src, "latents"), shapeOf(src, "layers.0.0.to_q.weight"), maxTokens, headSize)
		}
		c = Config{Plus: true, Width: in[1], Tokens: latents[1], Context: out[0], Hidden: latents[2], Heads: query[0] / headSize, Intermediate: up[0]}
		for dims(fmt.Sprintf("%slayers.%d.0.to_q.weight", projectionPrefix, c.Depth), 2) != nil {
			c.Depth++
		}
	default:
		return c, fmt.Errorf("no %sproj.weight and no %slatents: %s", projectionPrefix, projectionPrefix, allowed)
	}
	for {
		k := dims(fmt.Sprintf("%s%d.to_k_ip.weight", layerPrefix, 2*len(c.Layers)+1), 2)
		if k == nil {
			break
		}
		c.Layers = append(c.Layers, k[0])
	}
	if len(c.Layers) == 0 {
		return c, fmt.Errorf("no %s1.to_k_ip.weight: %s", layerPrefix, allowed)
	}
	return c, nil
}

const (
	allowed   = "must be an IP-Adapter of SDXL, base or plus, as ip-adapter_sdxl_vit-h and ip-adapter-plus_sdxl_vit-h are"
	maxTokens = 1024
)

func shapeOf(src kernels.Source, name string) any {
	_, shape, err := src.Describe(projectionPrefix + name)
	if err != nil {
		return "nothing"
	}
	return shape
}

// Kind is what the adapter is called.
func (c Config) Kind() string {
	if c.Plus {
		return "IP-Adapter plus"
	}
	return "IP-Adapter"
}

// index gives the place of a layer's tensor, whose names have every second number, 1, 3, …, and the rest of its name.
func index(name string) (i int, rest string, ok bool) {
	after, ok := strings.CutPrefix(name, layerPrefix)
	if !ok {
		return 0, "", false
	}
	number, rest, _ := strings.Cut(after, ".")
	n, err := strconv.Atoi(number)
	return n / 2, rest, err == nil && n%2 == 1
}
