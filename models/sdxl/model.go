package sdxl

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer"
)

// Model is an open model. Its methods may be called from several goroutines; one call of the models of a host computes
// at a time. Its parts may be replaced while none does: by those of another model of the same host, or by others that
// [Host.Manage] manages. Each call checks that they are, and that they fit together. A run keeps the UNet that it was
// started with.
type Model struct {
	Tokenizer    *tokenizer.Tokenizer // of the first encoder; nil in a refiner
	TextEncoder  *clip.Encoder        // nil in a refiner
	Tokenizer2   *tokenizer.Tokenizer
	TextEncoder2 *clip.Encoder
	UNet         *unet.Denoiser
	VAE          *vae.Autoencoder
	TAESD        *taesd.Autoencoder // decodes in place of VAE; nil without
	PreviewTAESD *taesd.Autoencoder // makes previews in place of TAESD; nil without
	// Scheduler is the model's own, from scheduler_config.json. Its With and As are diffusers' from_config, for instance
	// with "timestep_spacing": "trailing" for distilled models. Request.Scheduler changes its class for a request.
	// Parameters name the class, not the other keys.
	Scheduler scheduler.Config

	host     *Host
	options  Options
	spec     *Spec                     // as it was read; Spec describes the parts as they are
	sources  map[string]kernels.Source // where components come from
	upscales *atomic.Bool              // it has used the host's upscaler
	closers  []io.Closer               // what this model opened itself, in order
	lender   string                    // Options.Missing, "" if nothing was taken from it
	adapters *adapters
	images   *imageModels
	sides    *sideNetworks
	previews map[*latentRGB]*rgbDecoder // those that were opened; closers has them
	holding  *nn.Network                // of programs that put latents back; nil before the first; closers has it
	costs    map[Size]time.Duration     // of a preview by TAESD, by the image's size; who computes has it
	opened   *unet.Denoiser             // whose weights hash is of
	hash     func() string
	progress *loadProgress // nil without Options.OnLoad
}

// Host is the one that the model was opened on.
func (m *Model) Host() *Host { return m.host }

// Spec describes the model with its parts as they are now; one that is nil and may not be is described as it was read.
func (m *Model) Spec() *Spec {
	s := *m.spec
	s.Scheduler, s.TextEncoder = m.Scheduler, nil
	if m.TextEncoder != nil {
		s.TextEncoder = &m.TextEncoder.Config
	}
	if m.TextEncoder2 != nil {
		s.TextEncoder2 = m.TextEncoder2.Config
	}
	if m.UNet != nil {
		s.UNet = m.UNet.Config
	}
	if m.VAE != nil {
		s.VAE = m.VAE.Config
	}
	return &s
}

// Info describes the model.
func (m *Model) Info() Info { return m.Spec().Info() }

// Resolve is Spec.Resolve, with what the model knows of its device.
func (m *Model) Resolve(r Request) (Parameters, error) {
	q, err := m.resolve(r)
	if err != nil {
		return Parameters{}, err
	}
	return q.Parameters, nil
}

func (m *Model) resolve(r Request) (*resolved, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	q, err := m.Spec().resolve(r)
	if err != nil {
		return nil, err
	}
	q.Device, q.Precision = m.host.device.Info().Name, m.precision().String()
	m.parts(&q.Parameters)
	return q, nil
}

// parts says what the model has from elsewhere. A refiner has its base's VAE and TAESD.
func (m *Model) parts(p *Parameters) {
	own, base := m.options, Options{}
	if b := m.options.Base; b != nil {
		base = b.options
	}
	for _, part := range []struct {
		to   *string
		path string
	}{{&p.UNet, own.UNet}, {&p.VAE, cmp.Or(own.VAE, base.VAE)}, {&p.TAESD, cmp.Or(own.TAESD, base.TAESD)}, {&p.Base, m.lender}} {
		if part.path != "" {
			*part.to = filepath.Base(part.path)
		}
	}
	p.Prediction = own.Prediction
}

// precision is that of the UNet.
func (m *Model) precision() kernels.DType {
	if p := m.options.Precision; p != 0 {
		return p
	}
	return m.host.device.Info().Precisions[0]
}

// check is fits as calls return it.
func (m *Model) check() error {
	if err := m.fits(); err != nil {
		return &ModelError{m.spec.Path, err}
	}
	return nil
}

// fits checks that the parts, which may have been replaced, belong together.
func (m *Model) fits() error {
	if m.TextEncoder2 == nil || m.Tokenizer2 == nil || m.UNet == nil || m.VAE == nil || (m.TextEncoder == nil) != (m.Tokenizer == nil) {
		return errors.New("a part is nil: only Tokenizer and TextEncoder may be, both together, in a refiner")
	}
	if m.Tokenizer != nil {
		if a, b := m.Tokenizer.MaxLength(), m.Tokenizer2.MaxLength(); a != b {
			return fmt.Errorf("tokenizer makes sequences of %d tokens, tokenizer_2 of %d", a, b)
		}
	}
	return cmp.Or(m.managed(), m.Spec().fits(nil), m.fitsTAESD(taesdPart, m.TAESD), m.fitsTAESD(previewTAESDPart, m.PreviewTAESD))
}

// managed checks that the planner of the model's host has every part. It does not have those of another host, whose
// models may compute at the same time, and those that are closed.
func (m *Model) managed() error {
	parts := map[string]*nn.Network{"text_encoder_2": m.TextEncoder2.Network, "unet": m.UNet.Network, "vae": m.VAE.Network}
	if m.TextEncoder != nil {
		parts["text_encoder"] = m.TextEncoder.Network
	}
	if m.TAESD != nil {
		parts["taesd"] = m.TAESD.Network
	}
	if m.PreviewTAESD != nil {
		parts["preview_taesd"] = m.PreviewTAESD.Network
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if !m.host.manages(parts[name]) {
			return fmt.Errorf("%s is closed, or not of the model's host: must be a part of an open model of that host, or one that Host.Manage manages", name)
		}
	}
	return nil
}

// Hash identifies the UNet's weights: the first ten hexadecimal digits of a SHA-256 of the names, types and shapes of
// its tensors, and of the first and last 4 KiB of each. It is the same for every file layout of the same weights, and
// so is not the hash of a file. It is "" for a UNet that the model did not open.
func (m *Model) Hash() string { return m.hashOf(m.UNet) }

func (m *Model) hashOf(u *unet.Denoiser) string {
	if u != m.opened {
		return ""
	}
	return m.hash()
}

// fingerprint is Hash's function, which computes once.
func fingerprint(src kernels.Source) func() string {
	return sync.OnceValue(func() string {
		h := sha256.New()
		if err := weights.Fingerprint(h, src); err != nil {
			return "" // it was read before and can't be read now: there is no hash
		}
		return hex.EncodeToString(h.Sum(nil))[:10]
	})
}

// EncodeImage gives the latents [1, C, H, W] of an image, scaled as the UNet takes them. Its size must be a multiple of
// the scale factor. Noise is a draw of the posterior's distribution, nil for its mode.
func (m *Model) EncodeImage(ctx context.Context, img image.Image, noise *scheduler.Generator) (*Tensor, error) {
	if img == nil {
		return nil, bad("image", "absent", "an image")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	b := img.Bounds()
	if _, err := checkSize(Size{b.Dy(), b.Dx()}, m.VAE.Config.ScaleFactor()); err != nil {
		return nil, err
	}
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	moments, err := m.encodeImage(ctx, img)
	if err != nil {
		return nil, err
	}
	return m.sample(moments, noise), m.host.memory.done(ctx, m.VAE.Network)
}

// encodeImage gives the posterior of an image's latents.
func (m *Model) encodeImage(ctx context.Context, img image.Image, taps ...nn.Tap) (vae.Image, error) {
	b := img.Bounds()
	if err := m.tile(false, false, Size{b.Dy(), b.Dx()}); err != nil {
		return vae.Image{}, err
	}
	return m.VAE.EncodeImage(ctx, toNRGBA(img), taps...)
}

// sample draws scaled latents [1, C, H, W] from a posterior, or takes its mode without a generator.
func (m *Model) sample(moments vae.Image, noise *scheduler.Generator) *Tensor {
	draw := nn.NewTensor(1, m.VAE.Config.LatentChannels, moments.Height, moments.Width)
	if noise != nil {
		noise.Randn(draw.Data)
	}
	z := m.VAE.Sample(moments, channelsLast(draw))
	m.VAE.Scale(z)
	return channelsFirst(draw.Shape, z.Data)
}

// Decode gives the images of latents [N, C, H, W] as Result.Latents and OnStep have them.
func (m *Model) Decode(ctx context.Context, latents *Tensor) ([]*image.NRGBA, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := checkLatents("latents", latents, 0, m.VAE.Config.LatentChannels, 0, 0); err != nil {
		return nil, err
	}
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	var images []*image.NRGBA
	for i := range latents.Shape[0] {
		img, err := m.decode(ctx, latents, i, false, func() {}, nil)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	return images, nil
}

// Close frees what the model opened itself. No run may be open.
func (m *Model) Close() error {
	all := []error{m.sides.close()}
	for i := len(m.closers) - 1; i >= 0; i-- {
		all = append(all, m.closers[i].Close())
	}
	m.closers = nil
	if m.upscales.Swap(false) {
		all = append(all, m.host.CloseUpscaler())
	}
	return errors.Join(append(all, m.adapters.close())...)
}
