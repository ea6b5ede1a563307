package sdxl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights/embedding"
	"github.com/goxl/goxl/nn/weights/lora"
)

// CheckLoRAs reads the files of a request's adapters, those that its prompts name too, and matches them with the tensors
// that the model must have: what Start would find wrong with them, before the model's weights are opened. Errors are a
// *RequestError.
func (s *Spec) CheckLoRAs(r Request) error {
	q, err := s.resolve(r)
	if err != nil || len(q.loras) == 0 {
		return err
	}
	if s.blocks() > maxBlocks {
		return nil // opening the weights says what is wrong with the configurations
	}
	targets := s.adapterTargets()
	for _, l := range q.loras {
		bundled, err := s.checkLoRA(l, targets)
		if err != nil {
			return err
		}
		q.request.TextualInversions = slices.Concat(q.request.TextualInversions, bundled)
	}
	return s.checkTextualInversions(q)
}

// adapterTargets are the tensors that adapters change, by the configurations.
func (s *Spec) adapterTargets() lora.Targets {
	targets := lora.Targets{"unet": nn.Shapes(unet.New(s.UNet)), "text_encoder_2": nn.Shapes(clip.New(s.TextEncoder2))}
	if s.TextEncoder != nil {
		targets["text_encoder"] = nn.Shapes(clip.New(*s.TextEncoder))
	}
	return targets
}

// maxBlocks is far more than the blocks of any model of the family, which has some 100: configurations of no more are
// listed in no time, before weights bear them out.
const maxBlocks = 1000

// blocks counts those of text encoders and the UNet, at least, and no further than beyond maxBlocks.
func (s *Spec) blocks() int {
	c := s.UNet
	n := min(s.TextEncoder2.Layers, maxBlocks)
	if s.TextEncoder != nil {
		n += min(s.TextEncoder.Layers, maxBlocks)
	}
	for level := range c.BlockOutChannels {
		deepest := 1
		for _, d := range []unet.Depths{c.TransformerLayers, c.ReverseLayers} {
			if len(d) > 0 {
				deepest = max(deepest, slices.Max(append(unet.PerLevel{1}, d.At(level)...)))
			}
		}
		n += min(c.LayersPerBlock.At(level), maxBlocks) * min(deepest, maxBlocks)
	}
	return n
}

// checkLoRA reads an adapter's file, and gives the embeddings in it.
func (s *Spec) checkLoRA(l LoRA, targets lora.Targets) (bundled []TextualInversion, err error) {
	f, err := lora.Open(l.Path)
	if err != nil {
		return nil, &RequestError{Field: "loras", Value: l.Path, Allowed: "a file with an adapter", Err: err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, _, err = f.Match(targets)
	if err == nil {
		bundled, err = s.bundledEmbeddings(f)
	}
	if err != nil {
		return nil, &RequestError{Field: "loras", Value: l.Path, Allowed: "an adapter for this model", Err: err}
	}
	return bundled, nil
}

// bundledEmbeddings are the textual inversions that an adapter's file brings along, for the model's encoders.
func (s *Spec) bundledEmbeddings(f *lora.File) (list []TextualInversion, err error) {
	found, err := embedding.Bundled(f, f.Path())
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		t := NewTextualInversion(e)
		for k, config := range []*clip.Config{s.TextEncoder, &s.TextEncoder2} {
			x := t.of(k)
			if config == nil || x == nil {
				continue
			}
			if w := config.HiddenSize; x.Shape[1] != w {
				return nil, fmt.Errorf("the embedding %q has vectors of %d numbers, the text encoder takes %d", e.Name, x.Shape[1], w)
			}
		}
		list = append(list, t)
	}
	return list, nil
}
