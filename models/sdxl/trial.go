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

// Trial finds out whether the model can draw, beyond what opening it checks: it draws one step of the smallest image,
// from text or, with a refiner, from an image, and encodes an image. It also looks for NaN and Inf in the token
// embeddings, of which a prompt reads a few alone. An error about numbers that are not finite names the weights that
// hold such. It reads all weights.
func (p *Pipeline) Trial(ctx context.Context) error {
	side := max(p.vae.Config.ScaleFactor(), 8)
	blank := image.NewNRGBA(image.Rect(0, 0, side, side))
	r := p.NewRequest("a lighthouse")
	r.Width, r.Height, r.Steps, r.Strength = side, side, 1, 1
	var err error
	if p.encoder1 == nil {
		r.Image = blank
		_, err = p.Refine(ctx, r)
	} else if _, err = p.Generate(ctx, r); err == nil {
		err = p.encodes(ctx, blank)
	}
	spoiled := p.notFinite(errors.Is(err, kernels.ErrNotFinite))
	switch {
	case len(spoiled) == 0:
		return err
	case err == nil:
		return fmt.Errorf("weights hold NaN or Inf: %s", nn.Shorten(spoiled))
	}
	return fmt.Errorf("%w; weights hold NaN or Inf: %s", err, nn.Shorten(spoiled))
}

// encodes tries the half of the autoencoder that drawing from text does not use.
func (p *Pipeline) encodes(ctx context.Context, img *image.NRGBA) error {
	select {
	case <-p.busy:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.busy <- struct{}{} }()
	_, err := p.vae.EncodeImage(ctx, img)
	return errors.Join(err, p.memory.done(ctx, p.vae.Network))
}

// notFinite lists the tensors that hold NaN or Inf, of all or of the token embeddings alone.
func (p *Pipeline) notFinite(all bool) []string {
	sources := map[string]kernels.Source{"text_encoder_2": p.encoder2.source, "unet": p.unet.source, "vae": p.vae.source}
	if p.encoder1 != nil {
		sources["text_encoder"] = p.encoder1.source
	}
	var found []string
	for component, src := range sources {
		for _, name := range src.Names() {
			if !all && !strings.HasSuffix(name, "embeddings.token_embedding.weight") {
				continue
			}
			dtype, _, data, err := src.Tensor(name)
			if err == nil && !weights.Finite(dtype, data) { // of a type that no model takes, nothing is used
				found = append(found, component+" "+name)
			}
		}
		_ = src.Release() // memory given back late is no reason to refuse a model
	}
	slices.Sort(found)
	return found
}
