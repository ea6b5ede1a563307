package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// What -refiner says beside a refiner's name.
const (
	autoRefiner = "auto"
	noRefiner   = "none" // as the empty text
)

// models are the flags that say what to compute with.
type models struct {
	model, refiner   string
	name             string  // of model; "" is the last part of its path
	more             []entry // further models
	given            bool    // -model was
	folder           string  // -models
	memory           cli.Size
	unet, vae, taesd string
	missing          string // a model for what a single file lacks
	prediction       string // in place of what the model's files say
	variant          string
	previews         previews
	device           cli.DeviceFlags
}

func (m *models) register(fs *flag.FlagSet) {
	m.model = cli.Demo
	fs.Var((*modelFlag)(m), "model", "a model, as `[NAME=]PATH`: demo, which is built in, a folder in diffusers' layout, a checkpoint in one file, ORG/NAME[@REVISION] of the hub, which is downloaded once, or synth:base or synth:tiny for random weights; may be repeated: requests name the model by NAME, or the last part of PATH, and get the first if they name none")
	fs.StringVar(&m.folder, "models", "", "a `DIR` of further models: every folder in diffusers' layout and every checkpoint in one file below it, which requests name by its path in there without its ending; the first is the default without -model")
	fs.Var(&m.memory, "models-memory", "most memory that the models which are open at once may take by the size of their weights, a `size` such as 64GiB, of all devices together; the one that no request has used for longest is closed for another; 0 is half of the system's")
	fs.StringVar(&m.refiner, "refiner", autoRefiner, "the refiner of every model that it fits, whose weights are loaded when they are first needed: demo, which is built in, a `DIR`, a checkpoint in one file, ORG/NAME[@REVISION] of the hub, synth:refiner or synth:tiny-refiner; auto is demo with -model demo, else none; with none, what needs one is answered 501")
	fs.StringVar(&m.missing, "base", "", "the model whose text encoders, tokenizers and VAE are used where -model is a file that lacks them: a `DIR`, a checkpoint in one file, ORG/NAME[@REVISION] of the hub, synth:base or synth:tiny")
	fs.StringVar(&m.unet, "unet", "", "another UNet for the first model: a `FILE` of a UNet alone, or of a checkpoint, in diffusers' or original names")
	fs.Func("prediction", "what the UNet of the first model predicts, a `kind`, where the model's files don't say so: "+strings.Join(sdxl.Predictions(), ", ")+"; v_zsnr is v with zero terminal SNR, as ComfyUI has it", func(s string) error {
		if m.prediction = s; !slices.Contains(sdxl.Predictions(), s) {
			return errors.New("must be one of " + strings.Join(sdxl.Predictions(), ", "))
		}
		return nil
	})
	fs.StringVar(&m.vae, "vae", "", "another VAE: the `PATH` of its folder, of a model's, or of a file that has the shapes of the model's own, in diffusers' or original names")
	fs.StringVar(&m.taesd, "taesd", "", "decode by a TAESD in the VAE's place, in a tenth of the time with less detail: the `PATH` of taesdxl's folder, or of a safetensors file such as taesdxl_decoder")
	m.previews.register(fs)
	fs.StringVar(&m.variant, "variant", "", "`name` of the weight files, for instance fp16; without it, what suits the precision")
	m.device.Several = true
	m.device.Register(fs)
}

// args are the flags of a process that computes with the same on one device.
func (m *models) args(device string) ([]string, error) {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return nil, err
	}
	if refiner == "" {
		refiner = noRefiner
	}
	d := m.device
	list := []string{"-model", m.first().flag()}
	for _, e := range m.more {
		list = append(list, "-model", e.flag())
	}
	list = append(list, "-models-memory", m.memory.String(), "-refiner", refiner, "-base", m.missing, "-unet", m.unet, "-vae", m.vae, "-taesd", m.taesd, "-variant", m.variant,
		"-device", device, "-precision", d.Precision, "-gpu-memory", d.GPUMemory.String())
	list = append(list, m.previews.args()...)
	if m.prediction != "" {
		list = append(list, "-prediction", m.prediction)
	}
	return list, nil
}

// chosenRefiner is the name of the refiner, "" for none.
func (m *models) chosenRefiner() (string, error) {
	switch {
	case m.refiner == "" || m.refiner == noRefiner || m.refiner == autoRefiner && m.model != cli.Demo:
		return "", nil
	case m.refiner == autoRefiner:
		return cli.Demo, nil
	case m.refiner == cli.Demo && m.model != cli.Demo:
		return "", cli.Usagef("-refiner demo: belongs to -model demo, not to %s", m.model)
	}
	return m.refiner, nil
}

// parts are what the model takes from other files.
func (m *models) parts() sdxl.Parts {
	return sdxl.Parts{UNet: m.unet, VAE: m.vae, Missing: m.missing, Prediction: m.prediction}
}

// fetch downloads the models that are names of the hub, with settings alone those without their weights.
func (m *models) fetch(ctx context.Context, settings bool, log *slog.Logger) error {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return err
	}
	names := []string{m.model, refiner, m.missing}
	for _, e := range m.more {
		names = append(names, e.path)
	}
	v := m.device.Variant(m.variant)
	v.None = settings
	return cli.Fetch(ctx, v, log, names...)
}

// specs reads the configurations of the models that open opens.
func (m *models) specs() (s engine.Specs, err error) {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return s, err
	}
	if s.Base, err = cli.ReadSpecParts(m.model, m.parts(), nil, nil); err != nil {
		return s, err
	}
	if s.Base.Info().Refiner {
		return s, cli.Usagef("-model %s: is a refiner: must be a base model, with the refiner in -refiner", m.model)
	}
	if refiner != "" {
		if s.Refiner, err = cli.ReadSpec(refiner, s.Base, nil); err != nil {
			return s, fmt.Errorf("-refiner: %w", err)
		}
	}
	return s, nil
}
