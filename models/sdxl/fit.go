package sdxl

import (
	"errors"
	"fmt"
)

// fit checks that the parts belong together.
func (p *Pipeline) fit() error {
	if err := p.defaultSizeFits(); err != nil {
		return err
	}
	states := p.encoder2.Config.HiddenSize
	if p.encoder1 != nil {
		states += p.encoder1.Config.HiddenSize
		if a, b := p.encoder1.tokenizer.MaxLength(), p.encoder2.tokenizer.MaxLength(); a != b {
			return fmt.Errorf("tokenizer makes sequences of %d tokens, tokenizer_2 of %d", a, b)
		}
	}
	if !p.encoder2.Config.WithProjection {
		return errors.New("text_encoder_2 is a CLIPTextModel, want a CLIPTextModelWithProjection")
	}
	c := p.unet.config
	for _, want := range c.CrossAttentionDim {
		if states != want {
			return fmt.Errorf("the text encoders give states of %d values, the UNet's cross_attention_dim is %d", states, want)
		}
	}
	if c.InChannels != p.vae.Config.LatentChannels || c.OutChannels != p.vae.Config.LatentChannels {
		return fmt.Errorf("the UNet has %d input and %d output channels, the VAE %d latent channels", c.InChannels, c.OutChannels, p.vae.Config.LatentChannels)
	}
	told := c.ProjectionInputDim - p.encoder2.Config.ProjectionDim
	for _, n := range []int{5, 6} {
		if told == n*c.AdditionTimeDim {
			want := n == 5
			if p.timeIDs == 5 != want {
				return fmt.Errorf("model_index.json has requires_aesthetics_score %v, but the UNet is told %d sizes", p.timeIDs == 5, n)
			}
			return nil
		}
	}
	return fmt.Errorf("projection_class_embeddings_input_dim is %d: must be %d of the pooled text and 5 or 6 times addition_time_embed_dim %d",
		c.ProjectionInputDim, p.encoder2.Config.ProjectionDim, c.AdditionTimeDim)
}

// defaultSizeFits checks that a default size is one that can be asked for, as far as its magnitude goes.
func (p *Pipeline) defaultSizeFits() error {
	if h, w := p.defaults.height, p.defaults.width; max(h, w) > MaxSide {
		return fmt.Errorf("%s: height is %d, width %d; allowed: at most %d", defaultsFile, h, w, MaxSide)
	}
	most := MaxSide / p.vae.Config.ScaleFactor()
	for _, side := range p.unet.config.SampleSize {
		if side < 1 || side > most {
			return fmt.Errorf(`unet/config.json: "sample_size" is %v; allowed: 1 to %d`, p.unet.config.SampleSize, most)
		}
	}
	return nil
}
