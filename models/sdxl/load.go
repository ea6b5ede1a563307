package sdxl

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/tokenizer"
)

// loader opens the parts of a model whose configurations were read.
type loader struct {
	*Model
	files *store
}

func (l loader) textEncoder() (err error) {
	if l.spec.TextEncoder == nil {
		return nil
	}
	l.TextEncoder, l.Tokenizer, err = l.encoder("text_encoder", "tokenizer", *l.spec.TextEncoder)
	return err
}

// textEncoder2 takes the base's if the folder lacks it or holds the same.
func (l loader) textEncoder2() (err error) {
	const name = "text_encoder_2"
	if l.lacks(name) {
		b := l.options.Base
		l.TextEncoder2, l.Tokenizer2, l.sources[name] = b.TextEncoder2, b.Tokenizer2, b.sources[name]
		return nil
	}
	l.TextEncoder2, l.Tokenizer2, err = l.encoder(name, "tokenizer_2", l.spec.TextEncoder2)
	return err
}

// lacks reports whether the folder lacks a component, which is then the base's.
func (l loader) lacks(name string) bool {
	if l.files.has(name) || l.options.Base == nil {
		return false
	}
	l.options.Log.Info("using the base's component", "component", name, "reason", "the folder has none")
	return true
}

// equals reports whether the base's component has the same configuration and weights.
func (l loader) equals(name string, config, baseConfig any, src kernels.Source) (bool, error) {
	b := l.options.Base
	if b == nil || b.sources[name] == nil || !reflect.DeepEqual(config, baseConfig) {
		return false, nil
	}
	same, err := weights.Equal(src, b.sources[name])
	if same {
		l.options.Log.Info("using the base's component", "component", name, "reason", "the same weights")
	}
	return same, err
}

// encoder loads a text encoder with its tokenizer.
func (l loader) encoder(name, tokens string, config clip.Config) (*clip.Encoder, *tokenizer.Tokenizer, error) {
	src, err := l.source(name, func() map[string][]int { return nn.Shapes(clip.New(config)) })
	if err != nil {
		return nil, nil, err
	}
	if err := config.Fits(src, l.files.name(name+"/config.json")); err != nil {
		return nil, nil, err
	}
	if b := l.options.Base; b != nil && name == "text_encoder_2" {
		if same, err := l.equals(name, config, b.TextEncoder2.Config, src); same || err != nil {
			return b.TextEncoder2, b.Tokenizer2, err
		}
	}
	tok, err := l.files.tokenizer(tokens)
	if err != nil {
		return nil, nil, err
	}
	if got, most := tok.MaxLength(), config.MaxPositions; got > most {
		return nil, nil, fmt.Errorf("%s: sequences of %d tokens, %s takes at most %d", l.files.name(tokens), got, name, most)
	}
	// Special tokens that no file declares may have no embedding: prompts that hold them are refused.
	if got, most := tok.VocabSize()-tok.Undeclared(), config.VocabSize; got > most {
		return nil, nil, fmt.Errorf("%s: %d token ids, %s knows %d", l.files.name(tokens), got, name, most)
	}
	read, err := l.progress.of(src)
	if err != nil {
		return nil, nil, err
	}
	e, err := clip.Open(l.host.device, read, config, l.kernelOptions())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", l.files.name(name), err)
	}
	l.manage(name, e.Network)
	l.unclaimed(name, e.Unclaimed)
	return e, tok, nil
}

func (l loader) unet() error {
	const name = "unet"
	config := l.spec.UNet
	src, err := l.source(name, func() map[string][]int { return nn.Shapes(unet.New(config)) })
	if err != nil {
		return err
	}
	if err := config.Fits(src, l.files.name(name+"/config.json")); err != nil {
		return err
	}
	read, err := l.progress.of(src)
	if err != nil {
		return err
	}
	u, err := unet.Open(l.host.device, read, config, l.kernelOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", l.files.name(name), err)
	}
	l.manage(name, u.Network)
	l.unclaimed(name, u.Unclaimed)
	l.UNet, l.opened, l.hash = u, u, fingerprint(src)
	return nil
}

func (l loader) vae() error {
	const name = "vae"
	if l.options.VAE != "" {
		return l.otherVAE(l.options.VAE)
	}
	if b := l.options.Base; b != nil && b.options.VAE != "" {
		l.options.Log.Info("using the base's component", "component", name, "reason", "it was chosen in place of the model's own")
		l.VAE, l.sources[name] = b.VAE, b.sources[name]
		return nil
	}
	if l.lacks(name) {
		l.VAE, l.sources[name] = l.options.Base.VAE, l.options.Base.sources[name]
		return nil
	}
	config := l.spec.VAE
	src, err := l.source(name, func() map[string][]int { return nn.Shapes(vae.New(config)) })
	if err != nil {
		return err
	}
	if b := l.options.Base; b != nil {
		if same, err := l.equals(name, config, b.VAE.Config, src); same || err != nil {
			l.VAE = b.VAE
			return err
		}
	}
	return l.openVAE(l.files.name(name), l.files.name(name+"/config.json"), src, config)
}

// openVAE opens the VAE at path, which file configures.
func (l loader) openVAE(path, file string, src kernels.Source, config vae.Config) error {
	if err := config.Fits(src, file); err != nil {
		if !strings.HasPrefix(file, path) { // a file of weights alone, which file is not beside
			return fmt.Errorf("%s: %w", path, err)
		}
		return err
	}
	read, err := l.progress.of(src)
	if err != nil {
		return err
	}
	opened, err := vae.Open(l.host.device, read, config, l.kernelOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l.manage("vae", opened.Network)
	l.unclaimed("vae", opened.Unclaimed)
	l.VAE = opened
	return nil
}

// source opens a component's tensors; Close closes them.
func (l loader) source(component string, shapes func() map[string][]int) (kernels.Source, error) {
	src, closer, err := l.files.of(component).weights(component, l.variant(), shapes)
	if err != nil {
		return nil, err
	}
	if closer != nil {
		l.closers = append(l.closers, closer)
	}
	l.sources[component] = src
	return src, nil
}

// variant is of the weight files.
func (l loader) variant() weights.Variant {
	return weights.Variant{Name: l.options.Variant, Precision: l.precision()}
}
