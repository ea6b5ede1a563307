package sdxl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"reflect"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer"
)

// Options says where and how a model runs.
type Options struct {
	Device    kernels.Device
	Precision kernels.DType // 0 is the device's default
	Variant   string        // of weight files, for instance "fp16"; "" chooses by precision
	Log       *slog.Logger  // nil is silent
}

// Pipeline is an open model. Its methods may be called from several goroutines; one run is computed at a time, by it and the pipelines it shares parts with.
type Pipeline struct {
	path      string
	options   Options
	encoder1  *textEncoder // nil in a refiner
	encoder2  *textEncoder
	unet      *denoiser
	vae       *autoencoder
	scheduler scheduler.Config

	defaults   defaults
	parameters int64
	forceZeros bool // zeros for an absent negative prompt
	timeIDs    int  // sizes that the UNet is told: 6, or 5 of a refiner that is told an aesthetic score

	closers []io.Closer   // what this pipeline opened itself, in order
	busy    chan struct{} // holds one token; whoever computes has it
	memory  *residency
}

// textEncoder is an encoder with its tokenizer and where it came from.
type textEncoder struct {
	*clip.Encoder
	tokenizer *tokenizer.Tokenizer
	source    kernels.Source
}

// autoencoder is a VAE and where it came from.
type autoencoder struct {
	*vae.Autoencoder
	source kernels.Source
}

// Open loads a model: a folder in diffusers layout, a hub cache entry with such a folder as its snapshot, or
// "synth:NAME" for one of SyntheticNames. What is wrong with it comes back as a *ModelError. A refiner opened so uses
// its own encoder and VAE; see OpenRefiner.
func Open(path string, o Options) (*Pipeline, error) {
	return open(path, o, nil, func(o Options) (*store, error) { return openStore(path, o) })
}

// OpenFS loads a model folder from a file system, for instance an embedded one; name is what Info and errors call it. Its weights are plain safetensors files, and are
// held in memory.
func OpenFS(fsys fs.FS, name string, o Options) (*Pipeline, error) {
	return open(name, o, nil, func(Options) (*store, error) { return openFSStore(fsys, name) })
}

func open(path string, o Options, base *Pipeline, files func(Options) (*store, error)) (*Pipeline, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{path: path, options: o, busy: make(chan struct{}, 1)}
	if base != nil {
		p.busy, p.memory = base.busy, base.memory
	} else {
		p.busy <- struct{}{}
		p.memory = newResidency(o.Device, o.Log)
	}
	if err := p.load(base, files); err != nil {
		return nil, &ModelError{path, errors.Join(err, p.Close())}
	}
	return p, nil
}

func (p *Pipeline) load(base *Pipeline, open func(Options) (*store, error)) error {
	files, err := open(p.options)
	if err != nil {
		return err
	}
	if err := p.readIndex(files); err != nil {
		return err
	}
	if p.defaults, err = p.readDefaults(files); err != nil {
		return err
	}
	if err := p.readScheduler(files); err != nil {
		return err
	}
	if files.has("text_encoder") {
		if p.encoder1, err = p.openEncoder(files, "text_encoder", "tokenizer", nil); err != nil {
			return err
		}
	}
	var shared *textEncoder
	if base != nil {
		shared = base.encoder2
	}
	if p.encoder2, err = p.openEncoder(files, "text_encoder_2", "tokenizer_2", shared); err != nil {
		return err
	}
	if err := p.openUNet(files); err != nil {
		return err
	}
	if err := p.openVAE(files, base); err != nil {
		return err
	}
	p.parameters = p.countParameters()
	err = p.fit()
	if err != nil && base != nil && (p.encoder2 == base.encoder2 || p.vae == base.vae) {
		return fmt.Errorf("this refiner does not belong to the base %s, whose text encoder or VAE it would share: %w", base.path, err)
	}
	return err
}

// openEncoder loads a text encoder, or returns shared if the folder lacks it or holds the same.
func (p *Pipeline) openEncoder(files *store, name, tokens string, shared *textEncoder) (*textEncoder, error) {
	if !files.has(name) && shared != nil {
		p.options.Log.Info("sharing the base's component", "component", name, "reason", "the folder has none")
		return shared, nil
	}
	config, err := p.encoderConfig(files, name)
	if err != nil {
		return nil, err
	}
	src, err := p.source(files, name, func() map[string][]int { return nn.Shapes(clip.New(config)) })
	if err != nil {
		return nil, err
	}
	if err := config.Fits(src, files.name(name+"/config.json")); err != nil {
		return nil, err
	}
	if shared != nil && reflect.DeepEqual(config, shared.Config) {
		same, err := weights.Equal(src, shared.source)
		if err != nil {
			return nil, err
		}
		if same {
			p.options.Log.Info("sharing the base's component", "component", name, "reason", "the same weights")
			return shared, nil
		}
	}
	e := &textEncoder{source: src}
	if e.tokenizer, err = files.tokenizer(tokens); err != nil {
		return nil, err
	}
	if got, most := e.tokenizer.MaxLength(), config.MaxPositions; got > most {
		return nil, fmt.Errorf("%s: sequences of %d tokens, %s takes at most %d", files.name(tokens), got, name, most)
	}
	// Special tokens that no file declares may have no embedding: prompts that hold them are refused.
	if got, most := e.tokenizer.VocabSize()-e.tokenizer.Undeclared(), config.VocabSize; got > most {
		return nil, fmt.Errorf("%s: %d token ids, %s knows %d", files.name(tokens), got, name, most)
	}
	if e.Encoder, err = clip.Open(p.options.Device, src, config, p.kernelOptions()); err != nil {
		return nil, fmt.Errorf("%s: %w", files.name(name), err)
	}
	p.manage(name, e.Network)
	p.unclaimed(name, e.Unclaimed)
	return e, nil
}

func (p *Pipeline) openUNet(files *store) error {
	const file = "unet/config.json"
	data, err := files.read(file)
	if err != nil {
		return err
	}
	config, err := unet.ParseConfig(data, files.name(file))
	if err != nil {
		return err
	}
	p.warnUnknown(files, file, config.Unknown)
	src, err := p.source(files, "unet", func() map[string][]int { return nn.Shapes(unet.New(config)) })
	if err != nil {
		return err
	}
	if err := config.Fits(src, files.name(file)); err != nil {
		return err
	}
	model := unet.New(config)
	bound, err := nn.Bind(model, src)
	if err != nil {
		return fmt.Errorf("%s: %w", files.name("unet"), err)
	}
	network, err := nn.NewNetwork(p.options.Device, bound, p.kernelOptions())
	if err != nil {
		return err
	}
	p.manage("unet", network)
	p.unclaimed("unet", bound.Unclaimed)
	p.unet = &denoiser{Network: network, config: config, model: model, source: src}
	return nil
}

func (p *Pipeline) openVAE(files *store, base *Pipeline) error {
	const name = "vae"
	if !files.has(name) && base != nil {
		p.options.Log.Info("sharing the base's component", "component", name, "reason", "the folder has none")
		p.vae = base.vae
		return nil
	}
	file := name + "/config.json"
	data, err := files.read(file)
	if err != nil {
		return err
	}
	config, err := vae.ParseConfig(data, files.name(file))
	if err != nil {
		return err
	}
	p.warnUnknown(files, file, config.Unknown)
	config.Unknown = nil // two models share a VAE whatever else their files say
	src, err := p.source(files, name, func() map[string][]int { return nn.Shapes(vae.New(config)) })
	if err != nil {
		return err
	}
	if err := config.Fits(src, files.name(file)); err != nil {
		return err
	}
	if base != nil && reflect.DeepEqual(config, base.vae.Config) {
		same, err := weights.Equal(src, base.vae.source)
		if err != nil {
			return err
		}
		if same {
			p.options.Log.Info("sharing the base's component", "component", name, "reason", "the same weights")
			p.vae = base.vae
			return nil
		}
	}
	opened, err := vae.Open(p.options.Device, src, config, p.kernelOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", files.name(name), err)
	}
	p.manage(name, opened.Network)
	p.unclaimed(name, opened.Unclaimed)
	p.vae = &autoencoder{Autoencoder: opened, source: src}
	return nil
}

// unclaimed warns of a component's tensors that nothing uses, as diffusers does.
func (p *Pipeline) unclaimed(component string, names []string) {
	if len(names) > 0 {
		p.options.Log.Warn("tensors that the model does not have are not used", "component", component, "count", len(names), "tensors", nn.Shorten(names))
	}
}

// source opens a component's tensors; Close closes them.
func (p *Pipeline) source(files *store, component string, shapes func() map[string][]int) (kernels.Source, error) {
	src, closer, err := files.weights(component, shapes)
	if err != nil {
		return nil, err
	}
	if closer != nil {
		p.closers = append(p.closers, closer)
	}
	return src, nil
}

func (p *Pipeline) kernelOptions() kernels.Options {
	return kernels.Options{Precision: p.options.Precision}
}

// Close frees what the pipeline opened. No run may be under way.
func (p *Pipeline) Close() error {
	var all []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		all = append(all, p.closers[i].Close())
	}
	p.closers = nil
	return errors.Join(all...)
}
