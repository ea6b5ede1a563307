package singlefile

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// The components of a model, as diffusers' folders are called.
const (
	UNet         = "unet"
	VAE          = "vae"
	TextEncoder  = "text_encoder"
	TextEncoder2 = "text_encoder_2"
)

// Checkpoint is an SDXL model in one file, or its UNet alone. Its sources are safe for concurrent use and valid until
// Close.
type Checkpoint struct {
	Kind  weights.Kind
	Notes []string // what was decided that a user may want to know, in sentences
	// Unclaimed are tensors that no component has and that are not known to be bookkeeping, sorted.
	Unclaimed []string

	path       string
	weights    *weights.Component
	metadata   map[string]string
	unet       weights.UNetTraits
	components map[string]*view
	configs    map[string]config
	files      fs.FS
}

// Open maps a safetensors file, or the index of such a file's shards, and finds the components in it, by names and
// shapes. What is not of the SDXL family is an error that says what it is and which flag takes it.
func Open(path string) (*Checkpoint, error) { return open(path, (*Checkpoint).read) }

// OpenVAE opens the VAE of a safetensors file: of a VAE alone, in diffusers' or original names, or of a whole
// checkpoint. Its configuration is there after Derive; a VAE of other widths may do without.
func OpenVAE(path string) (*Checkpoint, error) { return open(path, (*Checkpoint).readVAE) }

func open(path string, read func(*Checkpoint) error) (*Checkpoint, error) {
	w, err := weights.OpenComponent(path)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{path: path, weights: w, metadata: w.Metadata(), components: map[string]*view{}, configs: map[string]config{}}
	if err := read(c); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), w.Close())
	}
	return c, nil
}

func (c *Checkpoint) read() error {
	c.Kind = weights.RecogniseTensors(c.weights)
	if c.Kind.Form != weights.Checkpoint && c.Kind.Form != weights.BareUNet || c.Kind.Family != weights.UnknownFamily && !c.Kind.Family.SDXL() {
		return &KindError{Kind: c.Kind}
	}
	unet, ok := weights.FindUNet(c.weights)
	if !ok {
		return &KindError{Kind: c.Kind}
	}
	c.unet = unet
	s := &splitter{names: c.weights.Names(), src: c.weights, parts: map[string]map[string]part{}, claimed: map[string]bool{}}
	if err := s.unet(unet); err != nil {
		return err
	}
	if err := s.vae(vaePrefixes); err != nil {
		return err
	}
	if err := s.encoders(unet.Context); err != nil {
		return err
	}
	c.take(s)
	c.Unclaimed = s.unclaimed(unet.Prefix)
	return c.Derive()
}

// take makes a view of each component that was found.
func (c *Checkpoint) take(s *splitter) {
	for component, parts := range s.parts {
		c.components[component] = newView(c.weights, parts)
	}
}

func (c *Checkpoint) readVAE() error {
	c.Kind = weights.RecogniseTensors(c.weights)
	s := &splitter{names: c.weights.Names(), src: c.weights, parts: map[string]map[string]part{}, claimed: map[string]bool{}}
	if err := s.vae(append(vaePrefixes, "")); err != nil {
		return err
	}
	if s.parts[VAE] == nil {
		return fmt.Errorf("must be a VAE's weights, and this is %v", c.Kind)
	}
	c.take(s)
	if has(s.names, "decoder.conv_in.") { // a VAE alone: what is beside it is no other component
		c.Unclaimed = s.unclaimed("")
	}
	return nil
}

// KindError is a file that is no SDXL checkpoint.
type KindError struct{ Kind weights.Kind }

func (e *KindError) Error() string {
	text := fmt.Sprintf("this is %v, not an SDXL checkpoint", e.Kind)
	switch flag, more := e.Kind.Flag(); {
	case flag != "" && more != "":
		return fmt.Sprintf("%s: give it with %s, %s", text, flag, more)
	case flag != "":
		return fmt.Sprintf("%s: give it with %s", text, flag)
	case more != "":
		return text + ": " + more
	}
	return text
}

// Path is the file, or the index of the shards.
func (c *Checkpoint) Path() string { return c.path }

// Weights are the tensors as the file has them.
func (c *Checkpoint) Weights() *weights.Component { return c.weights }

// Has reports whether the file holds a component.
func (c *Checkpoint) Has(component string) bool { return c.components[component] != nil }

// Component gives a component's tensors under diffusers' names; nil where the file has none.
func (c *Checkpoint) Component(component string) Source {
	if v := c.components[component]; v != nil {
		return v
	}
	return nil
}

// Missing lists the components that a whole model of this kind has and the file has not.
func (c *Checkpoint) Missing() (missing []string) {
	parts := []string{TextEncoder, TextEncoder2, UNet, VAE}
	if c.Refiner() {
		parts = parts[1:]
	}
	for _, part := range parts {
		if !c.Has(part) {
			missing = append(missing, part)
		}
	}
	return missing
}

// Refiner reports whether the model is a refiner, which has no first text encoder.
func (c *Checkpoint) Refiner() bool { return c.Kind.Family == weights.SDXLRefiner }

// Files are the configurations of the components that the file holds, as a folder in diffusers' layout has them, from
// the published ones and the tensors' shapes. Tokenizers are not among them unless the file's metadata has them.
func (c *Checkpoint) Files() fs.FS { return c.files }

// Close unmaps the file.
func (c *Checkpoint) Close() error { return c.weights.Close() }

// bookkeeping are the tensors beside a model that trainers leave in a file: by prefix, or by suffix with a star in
// front. What they say is not used, apart from the marks of the prediction, which are read where it matters.
var bookkeeping = []string{
	"model_ema.", "denoiser.", "alphas_cumprod", "betas", "sqrt_", "log_one_minus", "posterior_", "logvar", "lvlb_weights", "cond_stage_model.",
	"optimizer", "global_step", "loss.", "scale_factor", "iteration", "epoch",
	"v_pred", "ztsnr", "edm_mean", "edm_std", "edm_vpred.", "scaled_fp8",
	"*.position_ids", "*position_ids", "*logit_scale", "*.scaled_fp8", "*clip_l.transformer.text_projection.weight",
}

func isBookkeeping(name string) bool {
	return slices.ContainsFunc(bookkeeping, func(rule string) bool {
		if suffix, ok := strings.CutPrefix(rule, "*"); ok {
			return strings.HasSuffix(name, suffix)
		}
		return strings.HasPrefix(name, rule)
	})
}
