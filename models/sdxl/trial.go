package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Trial finds out whether the model works, beyond what opening it checks: it runs one step of the smallest image, by
// text-to-image or, with a refiner, image-to-image, and encodes an image. It also looks for NaN and Inf in the token
// embeddings, of which a prompt reads a few alone. An error about numbers that are not finite names the weights that
// hold such. It reads all weights.
func (m *Model) Trial(ctx context.Context) error {
	if err := m.check(); err != nil {
		return err
	}
	side := max(m.VAE.Config.ScaleFactor(), 8)
	blank := image.NewNRGBA(image.Rect(0, 0, side, side))
	r := Request{Prompt: "a lighthouse", Width: side, Height: side, Steps: 1, Strength: 1}
	if m.spec.refiner() {
		r.Image = blank
	}
	if m.UNet.Config.InChannels == 2*m.UNet.Config.OutChannels+1 { // an inpainting model
		r.Image, r.Mask, r.MaskInvert = blank, blank, true
	}
	_, err := m.Generate(ctx, r)
	if err == nil && !m.spec.refiner() { // the half of the autoencoder that text-to-image does not use
		_, err = m.EncodeImage(ctx, blank, nil)
	}
	suffix := "embeddings.token_embedding.weight"
	if errors.Is(err, kernels.ErrNotFinite) {
		suffix = ""
	}
	var found []string
	for component, src := range m.sources {
		for _, name := range notFinite(src, suffix) {
			found = append(found, component+" "+name)
		}
	}
	slices.Sort(found)
	switch {
	case len(found) == 0:
		return err
	case err == nil:
		return fmt.Errorf("weights hold NaN or Inf: %s", nn.Shorten(found))
	}
	return fmt.Errorf("%w; weights hold NaN or Inf: %s", err, nn.Shorten(found))
}

// notFinite lists the tensors that hold NaN or Inf, of those whose names end so.
func notFinite(src kernels.Source, suffix string) (names []string) {
	for _, name := range src.Names() {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		dtype, _, data, err := src.Tensor(name)
		if err == nil && !weights.Finite(dtype, data) { // of a type that no model takes, nothing is used
			names = append(names, name)
		}
	}
	_ = src.Release() // memory given back late is no reason to refuse a model
	return names
}
