package sdxl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// sideFiles are the weights at a path, and what configures them, if a file does.
type sideFiles struct {
	weights *weights.Component
	file    string // config.json; "" for none
	data    []byte // of it
}

// openSideFiles opens a folder with config.json, or a file of weights.
func openSideFiles(path string, v weights.Variant) (*sideFiles, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	f := &sideFiles{}
	if !info.IsDir() {
		if f.weights, err = weights.OpenComponent(path); err != nil {
			return nil, err
		}
		return f, nil
	}
	f.file = filepath.Join(path, "config.json")
	files := &store{path: path, fsys: os.DirFS(path), join: filepath.Join}
	if f.data, err = files.read("config.json"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: must be a folder with config.json, or a safetensors file", path)
		}
		return nil, err
	}
	if f.weights, err = weights.OpenComponentFolder(path, "unet", v); err != nil {
		return nil, err
	}
	return f, nil
}

// openedControl is a ControlNet's configuration and its tensors under diffusers' names.
type openedControl struct {
	config controlnet.Config
	source kernels.Source
	update *kernels.Update // of a Control-LoRA
	based  bool            // it is built on the UNet, without which nothing more is known of it

	products []controlnet.Lora // of a Control-LoRA
}

// control reads a ControlNet. base gives the UNet's tensors, which a Control-LoRA and a net of differences are built
// on; nil where they are not at hand.
func (f *sideFiles) control(base func() kernels.Source) (*openedControl, error) {
	if f.file != "" {
		c, err := controlnet.ParseConfig(f.data, f.file)
		if err == nil {
			err = c.Fits(f.weights, f.file)
		}
		return &openedControl{config: c, source: f.weights}, err
	}
	o, err := f.singleControl(base)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.weights.Path(), err)
	}
	return o, nil
}

func (f *sideFiles) singleControl(base func() kernels.Source) (*openedControl, error) {
	file, err := controlnet.ReadFile(f.weights)
	if err != nil {
		return nil, err
	}
	o := &openedControl{source: file, based: file.Base, products: file.Lora}
	if file.Base && base == nil {
		return o, nil
	}
	if file.Base {
		if o.source, o.update, err = file.Over(base()); err != nil {
			return nil, err
		}
	}
	var hidden []byte
	if text, ok := f.weights.Metadata()[singlefile.MetadataPrefix+"controlnet/config.json"]; ok {
		hidden = []byte(text)
	}
	o.config, err = controlnet.Detect(o.source, hidden)
	return o, err
}

// adapter is control of a T2I-Adapter.
func (f *sideFiles) adapter() (t2iadapter.Config, kernels.Source, error) {
	src := t2iadapter.Named(f.weights)
	if f.file != "" {
		c, err := t2iadapter.ParseConfig(f.data, f.file)
		if err == nil {
			err = c.Fits(src, f.file)
		}
		return c, src, err
	}
	c, err := t2iadapter.Detect(src)
	if err != nil {
		return c, nil, fmt.Errorf("%s: %w", f.weights.Path(), err)
	}
	return c, src, nil
}

// fitsControl checks that a ControlNet steers the model's UNet.
func (s *Spec) fitsControl(c controlnet.Config) error {
	const size = 64 // of latents, at which all shapes are looked at
	ours, theirs := s.UNet, c.UNet
	switch {
	case c.UNet.InChannels != s.VAE.LatentChannels:
		return fmt.Errorf("it reads latents of %d channels: must read the model's %d", theirs.InChannels, s.VAE.LatentChannels)
	case c.ScaleFactor() != s.VAE.ScaleFactor():
		return fmt.Errorf("its control images have %d pixels a side of a latent: must have the model's %d", c.ScaleFactor(), s.VAE.ScaleFactor())
	case c.ReadsText() && theirs.Context() != ours.Context():
		return fmt.Errorf("it reads prompt embeddings %d wide, of %s: must read the model's, %d wide", theirs.Context(), contextFamily(theirs.Context()), ours.Context())
	case theirs.ProjectionInputDim != ours.ProjectionInputDim:
		return fmt.Errorf("it reads pooled embeddings and time ids %d wide: must read the model's, %d wide", theirs.ProjectionInputDim, ours.ProjectionInputDim)
	case !slices.EqualFunc(theirs.Residuals(size, size), ours.Residuals(size, size), slices.Equal[[]int]):
		return fmt.Errorf("its levels have %v channels and %v blocks: must be the model's %v and %v", theirs.BlockOutChannels, theirs.LayersPerBlock, ours.BlockOutChannels, ours.LayersPerBlock)
	}
	return nil
}

// contextFamily names the models whose prompt embeddings have a width.
func contextFamily(width int) string {
	switch width {
	case 768:
		return "Stable Diffusion 1"
	case 1024:
		return "Stable Diffusion 2"
	case 1280:
		return "an SDXL refiner"
	case 2048:
		return "an SDXL base"
	}
	return "another model"
}

// fitsAdapter checks that a T2I-Adapter steers the model's UNet at a size.
func (s *Spec) fitsAdapter(c t2iadapter.Config, size Size) error {
	if size.Height%c.Downscale != 0 || size.Width%c.Downscale != 0 {
		return fmt.Errorf("the image is %d×%d: sides must be multiples of the adapter's %d", size.Width, size.Height, c.Downscale)
	}
	f := s.VAE.ScaleFactor()
	want := s.UNet.Features(size.Height/f, size.Width/f)
	var have [][]int
	h, w := size.Height/c.Downscale, size.Width/c.Downscale
	for i, width := range c.Widths {
		if i == 2 {
			h, w = (h+1)/2, (w+1)/2
		}
		have = append(have, []int{h, w, width})
	}
	if !slices.EqualFunc(have, want, slices.Equal[[]int]) {
		return fmt.Errorf("its features are %v: must be the UNet's %v, [height, width, channels] a level", have, want)
	}
	return nil
}

// CheckControls opens the files of a request's ControlNets and T2I-Adapters, and checks that they fit the model,
// without a device.
func (s *Spec) CheckControls(r Request) error {
	q, err := s.resolve(r)
	if err != nil {
		return err
	}
	for _, c := range r.Controls {
		files, err := openSideFiles(c.Path, weights.Variant{})
		if err == nil {
			err = s.checkControl(files, c.Mode)
			err = errors.Join(err, files.weights.Close())
		}
		if err != nil {
			return badFile(controlsField, c.Path, "a ControlNet for this model", err)
		}
	}
	for _, a := range r.T2IAdapters {
		files, err := openSideFiles(a.Path, weights.Variant{})
		if err == nil {
			var config t2iadapter.Config
			if config, _, err = files.adapter(); err == nil {
				err = s.fitsAdapter(config, q.size)
			}
			if h := q.Hires; err == nil && h != nil {
				err = s.fitsAdapter(config, Size{h.Height, h.Width})
			}
			err = errors.Join(err, files.weights.Close())
		}
		if err != nil {
			return badFile(adaptersField, a.Path, "a T2I-Adapter for this model", err)
		}
	}
	return nil
}

func (s *Spec) checkControl(files *sideFiles, mode string) error {
	o, err := files.control(nil)
	if err != nil || o.based && o.config.UNet.BlockOutChannels == nil {
		return err
	}
	if err := s.fitsControl(o.config); err != nil {
		return err
	}
	_, err = modeOf(o.config, mode)
	return err
}

// badFile is the error of a file that can't be used. What is not the file's fault is no *RequestError: want of memory, and
// a context that ended.
func badFile(field, path, allowed string, err error) error {
	for _, cause := range []error{kernels.ErrMemory, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%s %s: %w", field, path, err)
		}
	}
	return &RequestError{Field: field, Value: path, Allowed: allowed, Err: err}
}

// openControl opens a ControlNet, or returns the one that is open.
func (m *Model) openControl(ctx context.Context, path string) (*sideNetwork, error) {
	base := m.UNet.Network
	return m.openSide(path, fmt.Sprintf("controlnet of %p", base), func(files *sideFiles) (*sideNetwork, []string, []string, error) {
		o, err := files.control(base.Source)
		if err == nil {
			err = m.Spec().fitsControl(o.config)
		}
		if err != nil {
			return nil, nil, nil, err
		}
		n, err := controlnet.Open(m.host.device, o.source, o.config, m.kernelOptions())
		if err != nil {
			return nil, nil, nil, err
		}
		if err := n.Update(ctx, o.update); err != nil {
			return nil, nil, nil, errors.Join(err, n.Close())
		}
		return &sideNetwork{control: n}, n.Unclaimed, o.config.Unknown, nil
	})
}

// openAdapter is openControl of a T2I-Adapter, for images of a size.
func (m *Model) openAdapter(path string, size Size) (*sideNetwork, error) {
	return m.openSide(path, "t2iadapter", func(files *sideFiles) (*sideNetwork, []string, []string, error) {
		config, src, err := files.adapter()
		if err == nil {
			err = m.Spec().fitsAdapter(config, size)
		}
		if err != nil {
			return nil, nil, nil, err
		}
		a, err := t2iadapter.Open(m.host.device, src, config, m.kernelOptions())
		if err != nil {
			return nil, nil, nil, err
		}
		return &sideNetwork{adapter: a}, a.Unclaimed, config.Unknown, nil
	})
}

// openSide opens a network, puts it under the host's planner and warns of what nothing uses.
func (m *Model) openSide(path, name string, open func(*sideFiles) (n *sideNetwork, unclaimed, unknown []string, err error)) (*sideNetwork, error) {
	key, err := fileKey(path)
	if err != nil {
		return nil, err
	}
	return m.sides.acquire(name+" "+key, func() (*sideNetwork, error) {
		files, err := openSideFiles(path, weights.Variant{Name: m.options.Variant, Precision: m.precision()})
		if err != nil {
			return nil, err
		}
		n, unclaimed, unknown, err := open(files)
		if err != nil {
			return nil, errors.Join(err, files.weights.Close())
		}
		m.unclaimed(controlName(path), unclaimed)
		if len(unknown) > 0 {
			m.options.Log.Warn("keys of a configuration that its class does not have are not used", "file", files.file, "keys", unknown)
		}
		component, _, _ := strings.Cut(name, " ")
		m.host.Manage(component, n.network())
		n.network().OnOverflow(overflowed(m.options.Log, component))
		n.close = func() error {
			m.host.Forget(n.network())
			return errors.Join(n.network().Close(), files.weights.Close())
		}
		return n, nil
	})
}
