package sdxl

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// Spec is what the configurations of a model say: what its parts are and what it is run with. It needs no weights and
// no device. It is not changed after it was read, and any number of goroutines may use it.
type Spec struct {
	Path         string
	TextEncoder  *clip.Config // nil in a refiner
	TextEncoder2 clip.Config
	UNet         unet.Config
	VAE          vae.Config
	Scheduler    scheduler.Config

	defaults       defaults
	forceZeros     bool   // zeros for an absent negative prompt: force_zeros_for_empty_prompt
	borrows        bool   // configurations of its base's, which the folder lacks
	unetFile       string // Parts.UNet, whose name may tell a preset
	aestheticScore bool   // micro-conditioning has an aesthetic score in place of the target size
}

// ReadSpec reads the configurations of a model as Open takes it, with what is warned of in log; nil is silent. What is
// wrong comes back as a *ModelError. base is the model's base where it is a refiner whose folder lacks
// text_encoder_2 or vae, else nil.
func ReadSpec(path string, base *Spec, log *slog.Logger) (*Spec, error) {
	return ReadSpecParts(path, Parts{}, base, log)
}

// ReadSpecParts is ReadSpec of a model that takes parts from other files, as Open does with the Options of those names.
// Of Parts.VAE it reads the configuration where the model has no VAE of its own.
func ReadSpecParts(path string, p Parts, base *Spec, log *slog.Logger) (*Spec, error) {
	return specOf(path, p, base, log, func(log *slog.Logger) (*store, error) { return openStore(path, log) })
}

// ReadSpecFS is ReadSpec from a file system; see OpenFS.
func ReadSpecFS(fsys fs.FS, name string, base *Spec, log *slog.Logger) (*Spec, error) {
	return ReadSpecFSParts(fsys, name, Parts{}, base, log)
}

// ReadSpecFSParts is ReadSpecParts from a file system.
func ReadSpecFSParts(fsys fs.FS, name string, p Parts, base *Spec, log *slog.Logger) (*Spec, error) {
	return specOf(name, p, base, log, func(*slog.Logger) (*store, error) { return openFSStore(fsys, name) })
}

func specOf(path string, p Parts, base *Spec, log *slog.Logger, open func(*slog.Logger) (*store, error)) (*Spec, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	files, err := open(log)
	if err == nil {
		files, err = openStoreParts(files, p, base != nil, log)
	}
	if err != nil {
		return nil, &ModelError{path, err}
	}
	s, err := readSpec(files, path, base, log)
	err = errors.Join(err, files.Close())
	if err == nil {
		s.unetFile = p.UNet
		if err = s.fits(base); err != nil && s.borrows && !errors.Is(err, errOtherLatents) {
			err = foreignRefiner(base, err)
		}
	}
	if err != nil {
		return nil, &ModelError{path, err}
	}
	return s, nil
}

func foreignRefiner(base *Spec, err error) error {
	return fmt.Errorf("this refiner does not belong to the base %s, whose text encoder or VAE it would use: %w", base.Path, err)
}

// readSpec reads every configuration.
func readSpec(files *store, path string, base *Spec, log *slog.Logger) (s *Spec, err error) {
	r := specReader{files: files, log: log}
	s = &Spec{Path: path}
	if err := r.index(s); err != nil {
		return nil, err
	}
	if s.defaults, err = r.defaults(); err != nil {
		return nil, err
	}
	if s.Scheduler, err = r.scheduler(); err != nil {
		return nil, err
	}
	if err := s.predict(files.prediction); err != nil {
		return nil, err
	}
	if files.has("text_encoder") {
		config, err := r.encoder("text_encoder")
		if err != nil {
			return nil, err
		}
		s.TextEncoder = &config
	}
	if !files.has("text_encoder_2") && base != nil {
		s.TextEncoder2, s.borrows = base.TextEncoder2, true
	} else if s.TextEncoder2, err = r.encoder("text_encoder_2"); err != nil {
		return nil, err
	}
	if s.UNet, err = r.unet(); err != nil {
		return nil, err
	}
	if !files.has("vae") && base != nil {
		s.VAE, s.borrows = base.VAE, true
	} else if !files.has("vae") && files.otherVAE != "" {
		if s.VAE, _, _, err = r.otherVAE(files.otherVAE); err != nil {
			return nil, &PartError{"VAE", err}
		}
	} else if s.VAE, err = r.vae(files, "vae"); err != nil {
		return nil, err
	}
	return s, nil
}

// refiner reports whether the model has no first text encoder, and so no text-to-image.
func (s *Spec) refiner() bool { return s.TextEncoder == nil }

// timeIDs is how many numbers of micro-conditioning the UNet takes.
func (s *Spec) timeIDs() int {
	if s.aestheticScore {
		return 5
	}
	return 6
}

// fits checks that the parts belong together and, for a refiner, that it can go on with its base's latents.
func (s *Spec) fits(base *Spec) error {
	if err := s.defaultSizeFits(); err != nil {
		return err
	}
	states := s.TextEncoder2.HiddenSize
	if s.TextEncoder != nil {
		states += s.TextEncoder.HiddenSize
	}
	if !s.TextEncoder2.WithProjection {
		return errors.New("text_encoder_2 is a CLIPTextModel, want a CLIPTextModelWithProjection")
	}
	c := s.UNet
	for _, want := range c.CrossAttentionDim {
		if states != want {
			return fmt.Errorf("the text encoders give hidden states of %d values, the UNet's cross_attention_dim is %d", states, want)
		}
	}
	if latents := s.VAE.LatentChannels; !slices.Contains([]int{latents, 2 * latents, 2*latents + 1}, c.InChannels) || c.OutChannels != latents {
		return fmt.Errorf("the UNet has %d input and %d output channels, the VAE %d latent channels", c.InChannels, c.OutChannels, s.VAE.LatentChannels)
	}
	if err := s.timeIDsFit(); err != nil {
		return err
	}
	if base == nil {
		return nil
	}
	if !s.aestheticScore {
		return fmt.Errorf("the model is a base: a refiner's UNet takes 5 added time ids, this one %d", s.timeIDs())
	}
	return base.sameLatents(s)
}

// timeIDsFit checks that the UNet takes as many added time ids as model_index.json says.
func (s *Spec) timeIDsFit() error {
	c := s.UNet
	width := c.ProjectionInputDim - s.TextEncoder2.ProjectionDim
	for _, n := range []int{5, 6} {
		if width == n*c.AdditionTimeDim {
			if s.timeIDs() != n {
				return fmt.Errorf("model_index.json has requires_aesthetics_score %v, but the UNet takes %d added time ids", s.aestheticScore, n)
			}
			return nil
		}
	}
	return fmt.Errorf("projection_class_embeddings_input_dim is %d: must be %d of the pooled text and 5 or 6 times addition_time_embed_dim %d",
		c.ProjectionInputDim, s.TextEncoder2.ProjectionDim, c.AdditionTimeDim)
}

// defaultSizeFits checks that a default size is one that can be asked for, as far as its magnitude goes.
func (s *Spec) defaultSizeFits() error {
	if h, w := s.defaults.height, s.defaults.width; max(h, w) > MaxSide {
		return fmt.Errorf("%s: height is %d, width %d; allowed: at most %d", defaultsFile, h, w, MaxSide)
	}
	most := MaxSide / s.VAE.ScaleFactor()
	for _, side := range s.UNet.SampleSize {
		if side < 1 || side > most {
			return fmt.Errorf(`unet/config.json: "sample_size" is %v; allowed: 1 to %d`, s.UNet.SampleSize, most)
		}
	}
	return nil
}

var errOtherLatents = errors.New("other latents")

// sameLatents checks that a refiner can go on with the latents of s. VAEs of other weights may do: published ones
// differ in details.
func (s *Spec) sameLatents(refiner *Spec) error {
	kind := func(c vae.Config) string {
		s := fmt.Sprintf("%d channels for %d×%d pixels, scaled by %v", c.LatentChannels, c.ScaleFactor(), c.ScaleFactor(), c.ScalingFactor)
		if c.LatentsMean != nil {
			s += fmt.Sprintf(" after mean %v, deviation %v", c.LatentsMean, c.LatentsStd)
		}
		return s
	}
	if got, want := kind(refiner.VAE), kind(s.VAE); got != want {
		return fmt.Errorf("this refiner does not belong to the base %s: %w: its latents have %s; the base's have %s", s.Path, errOtherLatents, got, want)
	}
	return nil
}

// Info describes a model.
type Info struct {
	Path          string
	Refiner       bool
	Width, Height int     // default size in pixels
	Steps         int     // default number of steps
	Guidance      float64 // default guidance scale
	Strength      float64 // default fraction of the steps that image-to-image runs
	ScaleFactor   int     // sizes are multiples of this
	Scheduler     string  // the class
	Sampler       string  // the name that stands for it in a Request; "" if none does
	Parameters    int64
}

// Info describes the model.
func (s *Spec) Info() Info {
	height, width := s.defaultSize()
	return Info{
		Path: s.Path, Refiner: s.refiner(), Width: width, Height: height, Steps: s.defaults.steps, Guidance: s.defaults.guidance,
		Strength: s.defaults.strength, ScaleFactor: s.VAE.ScaleFactor(), Scheduler: s.Scheduler.Class, Sampler: s.Scheduler.Name(),
		Parameters: s.countParameters(),
	}
}

// defaultSize is goxl.json's, else the UNet's sample_size in pixels.
func (s *Spec) defaultSize() (height, width int) {
	if s.defaults.height > 0 {
		return s.defaults.height, s.defaults.width
	}
	f := s.VAE.ScaleFactor()
	side := unet.PerLevel{128}
	if len(s.UNet.SampleSize) > 0 {
		side = s.UNet.SampleSize
	}
	return side.At(0) * f, side[len(side)-1] * f
}

// countParameters adds up the components, shared ones included.
func (s *Spec) countParameters() int64 {
	n := nn.Parameters(unet.New(s.UNet)) + nn.Parameters(clip.New(s.TextEncoder2)) + nn.Parameters(vae.New(s.VAE))
	if s.TextEncoder != nil {
		n += nn.Parameters(clip.New(*s.TextEncoder))
	}
	return n
}
