package sdxl

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// Parts are what a model takes from other files than its own, and what is said of it in place of its files; see
// Options.
type Parts struct {
	UNet       string
	VAE        string
	Missing    string
	Prediction string
}

func (o Options) parts() Parts {
	return Parts{UNet: o.UNet, VAE: o.VAE, Missing: o.Missing, Prediction: o.Prediction}
}

// predictions are the keys of the scheduler for what Options.Prediction says.
var predictions = map[string]map[string]any{
	"epsilon":      {"prediction_type": "epsilon"},
	"v_prediction": {"prediction_type": "v_prediction"},
	"v_zsnr": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": true, "timestep_spacing": "trailing",
		"zero_snr_terminal_alpha": singlefile.ComfyZeroSNRAlpha},
}

// Predictions lists what Options.Prediction may be.
func Predictions() []string { return slices.Sorted(maps.Keys(predictions)) }

// predict sets what the UNet predicts; "" leaves what the files say.
func (s *Spec) predict(kind string) (err error) {
	if kind == "" {
		return nil
	}
	keys, ok := predictions[kind]
	if !ok {
		return fmt.Errorf("prediction %q: must be one of %s", kind, strings.Join(Predictions(), ", "))
	}
	if s.Scheduler, err = s.Scheduler.With(keys); err == nil && keys["rescale_betas_zero_snr"] != nil {
		s.defaults.rescale = singlefile.ZeroSNRRescale
	}
	return err
}

// openStoreParts opens a model with its parts from elsewhere. Of a UNet alone, the model is the one that it lacks
// everything else of. borrows says that a base has a refiner's second encoder and VAE.
func openStoreParts(files *store, p Parts, borrows bool, log *slog.Logger) (_ *store, err error) {
	if c := files.single; c != nil && c.Kind.Form == weights.BareUNet && p.Missing != "" && p.UNet == "" {
		model, err := openStore(p.Missing, log)
		if err != nil {
			return nil, errors.Join(&PartError{"base", err}, files.Close())
		}
		model.lender, p.Missing = p.Missing, ""
		model.take(files, singlefile.UNet)
		files = model
	}
	if err := files.complete(p, borrows, log); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return files, nil
}

// take has components come from another store.
func (s *store) take(from *store, components ...string) {
	if s.others == nil {
		s.others = map[string]*store{}
	}
	for _, component := range components {
		s.others[component] = from
	}
	if c := from.single; c != nil && slices.Contains(components, singlefile.UNet) && c.Marked() {
		s.others["scheduler"] = from
		if _, err := fs.Stat(from.fsys, defaultsFile); err == nil {
			s.others[defaultsFile] = from
		}
	}
}

// complete takes the UNet that was chosen, and what is missing from where it can be had.
func (s *store) complete(p Parts, borrows bool, log *slog.Logger) error {
	if p.UNet != "" {
		unet, err := openSingle(p.UNet, log)
		if err != nil {
			return &PartError{"UNet", err}
		}
		s.take(unet, singlefile.UNet)
	}
	if err := s.completeFrom(p.Missing, log); err != nil {
		return err
	}
	s.otherVAE, s.prediction = p.VAE, p.Prediction
	if s.single == nil {
		return nil // reading the configuration names the file that a folder lacks
	}
	missing := slices.DeleteFunc(s.lacking(), func(component string) bool {
		return borrows && (component == singlefile.TextEncoder2 || component == singlefile.VAE) || component == singlefile.VAE && p.VAE != ""
	})
	if len(missing) == 0 {
		return nil
	}
	how := "give a model that has them, with -base"
	if slices.Equal(missing, []string{singlefile.VAE}) {
		how = "give one with -vae, or a model that has one with -base"
	}
	return fmt.Errorf("the file has no %s: %s", strings.Join(missing, ", "), how)
}

// completeFrom takes what is missing from another model, if one is given: it must be there even if nothing is taken.
func (s *store) completeFrom(model string, log *slog.Logger) error {
	if model == "" {
		return nil
	}
	missing := s.lacking()
	quiet := log
	if len(missing) == 0 {
		quiet = slog.New(slog.DiscardHandler) // what would be said of it does not matter
	}
	from, err := openStore(model, quiet)
	if err != nil {
		return &PartError{"base", err}
	}
	used := false
	for _, component := range missing {
		if !from.has(component) {
			continue
		}
		used = true
		s.take(from, component)
		if tokens := map[string]string{singlefile.TextEncoder: "tokenizer", singlefile.TextEncoder2: "tokenizer_2"}[component]; tokens != "" {
			s.take(from, tokens)
		}
		log.Info("using another model's component", "component", component, "model", model, "reason", "the file has none")
	}
	if used {
		s.lender = model
		return nil
	}
	if len(missing) == 0 {
		log.Warn("nothing is taken from the base: the model lacks no component", "base", model)
	}
	return from.Close()
}

// lacking lists the components with weights that the model needs and has not.
func (s *store) lacking() (list []string) {
	needed := []string{singlefile.TextEncoder, singlefile.TextEncoder2, singlefile.UNet, singlefile.VAE}
	if class, ok := s.index.Components[singlefile.TextEncoder]; ok && class == (weights.Class{}) || s.single == nil && !s.has(singlefile.TextEncoder) {
		needed = needed[1:] // a refiner
	}
	for _, component := range needed {
		if !s.has(component) {
			list = append(list, component)
		}
	}
	return list
}
