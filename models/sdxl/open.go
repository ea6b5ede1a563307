package sdxl

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Options says where and how a model runs.
type Options struct {
	Host      *Host         // required, unless Base is given
	Base      *Model        // of a refiner: text_encoder_2 and VAE are the base's where the folder lacks them or holds the same; it is closed after the refiner
	Precision kernels.DType // 0 is the base's, or the device's default
	Variant   string        // of weight files, for instance "fp16"; "" is the base's, or chooses by precision
	// VAE takes the place of the model's own: a safetensors file in diffusers' or original names, or a checkpoint in one
	// file that has one, which the model's vae/config.json describes; a folder with a config.json and such a file; or a
	// model folder, whose component vae it is.
	VAE string
	// TAESD decodes the images in the VAE's place, in a tenth of the time and with less detail: a safetensors file of a
	// TAESDXL's decoder, or of both halves, in diffusers' names or the original ones; or a folder with such a file,
	// config.json beside it or not. A refiner has its base's. Images are encoded by the VAE all the same.
	TAESD string
	// PreviewTAESD makes previews alone, of a file or folder as TAESD's: the images stay the VAE's, or TAESD's. A refiner
	// has its base's.
	PreviewTAESD string
	// PreviewMethod is how previews are made; "" is the base's, or PreviewAuto.
	PreviewMethod PreviewMethod
	// UNet takes the place of the model's own: a safetensors file of a UNet, in diffusers' or original names, or a
	// checkpoint in one file, whose UNet it is. Marks in it of what it predicts change the scheduler too.
	UNet string
	// Missing is a model, as Open takes it, whose text encoders, tokenizers and VAE are used where the model is a single
	// file that lacks them. It must be there even if nothing is taken from it, which is warned of.
	Missing string
	// Prediction says what the UNet predicts, one of Predictions, where its files don't: v_zsnr is v with zero terminal SNR
	// as ComfyUI has it, trailing timesteps and guidance rescale 0.7. "" is what they say.
	Prediction string
	// AdapterMemory is how many bytes of the host's memory sets of LoRA may take between requests, so that one that was
	// used before need not be read again, and as many the files of IP-Adapters and their image encoders; 0 is 2 GiB. Those of
	// the last request stay in any case.
	AdapterMemory int64
	// OnLoad is told how many bytes of the weights were read, for the first time each, of how many in all; nil is not. Most
	// are read by the first run, so it is called then, from any goroutine; it must return soon, and not use the model.
	OnLoad func(done, total int64)
	Log    *slog.Logger // nil is the base's, or silent
}

// Open loads a model (from_pretrained, from_single_file): a folder in diffusers layout, a hub cache entry with such a
// folder as its snapshot, a name of the hub such as "stabilityai/stable-diffusion-xl-base-1.0[@revision]" that its cache
// holds (package hub downloads it), a checkpoint in one file, or "synth:NAME" for one of SyntheticNames. What is wrong
// with it comes back as a *ModelError, and nothing stays open. Loading ends early with ctx. A refiner opened without a
// base uses its own encoder and VAE.
func Open(ctx context.Context, path string, o Options) (*Model, error) {
	return open(ctx, path, o, func(log *slog.Logger) (*store, error) { return openStore(path, log) })
}

// OpenFS loads a model folder from a file system, for instance an embedded one; name is what Info and errors call it.
// Its weights are plain safetensors files, and are held in memory.
func OpenFS(ctx context.Context, fsys fs.FS, name string, o Options) (*Model, error) {
	return open(ctx, name, o, func(*slog.Logger) (*store, error) { return openFSStore(fsys, name) })
}

func open(ctx context.Context, path string, o Options, files func(*slog.Logger) (*store, error)) (*Model, error) {
	if o.Base != nil {
		if o.Host == nil {
			o.Host = o.Base.host
		}
		if o.Host != o.Base.host {
			return nil, &ModelError{path, errors.New("Options.Host is not the base's: a refiner runs where its base does")}
		}
		of := o.Base.options
		o.Precision, o.Variant = cmp.Or(o.Precision, of.Precision), cmp.Or(o.Variant, of.Variant)
		o.PreviewMethod = cmp.Or(o.PreviewMethod, of.PreviewMethod)
		if o.Log == nil {
			o.Log = of.Log
		}
	}
	if o.Host == nil || o.Host.device == nil {
		return nil, &ModelError{path, errors.New("Options.Host is nil, or not made by NewHost: must be the host of a device, see NewHost")}
	}
	if err := o.checkPreviews(); err != nil {
		return nil, &ModelError{path, err}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Model{host: o.Host, options: o, sources: map[string]kernels.Source{}, adapters: newAdapters(o.AdapterMemory), sides: newSideNetworks(), upscales: &atomic.Bool{}}
	m.images = &imageModels{budget: cmp.Or(o.AdapterMemory, defaultAdapterMemory)}
	m.closers = append(m.closers, m.images)
	if o.OnLoad != nil {
		m.progress = &loadProgress{tell: o.OnLoad}
	}
	if err := m.load(ctx, path, files); err != nil {
		return nil, &ModelError{path, errors.Join(err, m.Close())}
	}
	return m, nil
}

func (m *Model) load(ctx context.Context, path string, open func(*slog.Logger) (*store, error)) error {
	files, err := open(m.options.Log)
	if err != nil {
		return err
	}
	if files, err = openStoreParts(files, m.options.parts(), m.options.Base != nil, m.options.Log); err != nil {
		return err
	}
	m.closers, m.lender = append(m.closers, files), files.lender
	var base *Spec
	if m.options.Base != nil {
		base = m.options.Base.Spec()
	}
	if m.spec, err = readSpec(files, path, base, m.options.Log); err != nil {
		return err
	}
	m.spec.unetFile = m.options.UNet
	m.Scheduler = m.spec.Scheduler
	l := loader{m, files}
	for _, part := range []func() error{l.textEncoder, l.textEncoder2, l.unet, l.vae, l.taesds} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := part(); err != nil {
			return err
		}
	}
	err = m.fits()
	if err == nil {
		err = m.Spec().fits(base)
	}
	if b := m.options.Base; err != nil && b != nil && m.spec.refiner() && (m.TextEncoder2 == b.TextEncoder2 || m.VAE == b.VAE) && !errors.Is(err, errOtherLatents) {
		return foreignRefiner(b.spec, err)
	}
	return err
}

// manage puts a component under the host's planner; Close takes it out again and closes it.
func (m *Model) manage(name string, n *nn.Network) {
	if m.spec.refiner() && name != "text_encoder" {
		name = "refiner's " + name
	}
	m.host.Manage(name, n)
	n.OnOverflow(overflowed(m.options.Log, name))
	m.closers = append(m.closers, managed{m.host, n})
}

// managed is a component to close.
type managed struct {
	host    *Host
	network *nn.Network
}

func (c managed) Close() error {
	c.host.Forget(c.network)
	return c.network.Close()
}

// unclaimed warns of a component's tensors that nothing uses, as diffusers does.
func (m *Model) unclaimed(component string, names []string) {
	if len(names) > 0 {
		m.options.Log.Warn("tensors that the model does not have are not used", "component", component, "count", len(names), "tensors", nn.Shorten(names))
	}
}

func (m *Model) kernelOptions() kernels.Options {
	return kernels.Options{Precision: m.options.Precision}
}
