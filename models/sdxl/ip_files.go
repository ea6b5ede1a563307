package sdxl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/ipadapter"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// imageModels are the IP-Adapters and image encoders that a model has opened: those of the last request and, up to a
// budget of memory, of others. Who has the right to compute uses them.
type imageModels struct {
	budget int64
	open   []*imageModel // the last used first
}

// imageModel is an IP-Adapter or an image encoder.
type imageModel struct {
	key     string
	bytes   int64
	file    *weights.Component
	host    *Host
	network *nn.Network
	adapter *ipadapter.Adapter  // nil in an encoder
	encoder *clip.VisionEncoder // nil in an adapter
	blank   []float32           // an encoder's hidden states of an image of zeros; nil until they are needed
}

// Close implements io.Closer.
func (c *imageModel) Close() error {
	c.host.Forget(c.network)
	return errors.Join(c.network.Close(), c.file.Close())
}

// find gives the one of a key, the last used from now on, nil for none.
func (c *imageModels) find(key string) *imageModel {
	i := slices.IndexFunc(c.open, func(m *imageModel) bool { return m.key == key })
	if i < 0 {
		return nil
	}
	found := c.open[i]
	c.open = slices.Insert(slices.Delete(c.open, i, i+1), 0, found)
	return found
}

// trim closes those that were not used for the longest time beyond the budget, but none of the first ones.
func (c *imageModels) trim(keep int) error {
	var all []error
	sum := int64(0)
	kept := c.open[:0:0]
	for i, m := range c.open {
		if sum += m.bytes; i >= keep && sum > c.budget {
			all = append(all, m.Close())
			continue
		}
		kept = append(kept, m)
	}
	c.open = kept
	return errors.Join(all...)
}

// Close closes all.
func (c *imageModels) Close() error {
	var all []error
	for _, m := range c.open {
		all = append(all, m.Close())
	}
	c.open = nil
	return errors.Join(all...)
}

// imageFileKey tells a file from one that took its place.
func imageFileKey(kind, path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return kind + " " + path
	}
	return fmt.Sprintf("%s %s %d %d", kind, path, info.Size(), info.ModTime().UnixNano())
}

// openIPAdapter gives the adapter of a file.
func (m *Model) openIPAdapter(path string) (*imageModel, error) {
	key := imageFileKey("adapter", path)
	if found := m.images.find(key); found != nil {
		return found, nil
	}
	file, err := weights.OpenComponent(path)
	if err != nil {
		return nil, err
	}
	config, err := ipadapter.Detect(file)
	var a *ipadapter.Adapter
	if err == nil {
		a, err = ipadapter.Open(m.host.device, file, config, m.kernelOptions())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	m.unclaimed("ip_adapter", a.Unclaimed)
	return m.keepImageModel(&imageModel{key: key, file: file, network: a.Network, adapter: a}, "ip_adapter")
}

// fitsAdapter checks an adapter against the UNet.
func (m *Model) fitsAdapter(c ipadapter.Config) error {
	if width := m.UNet.Config.Context(); c.Context != width {
		return fmt.Errorf("image tokens of width %d: must be %d, as the UNet's prompt embeddings (768 are those of Stable Diffusion 1)", c.Context, width)
	}
	attentions := m.UNet.Config.CrossAttentions()
	if len(c.Layers) != len(attentions) {
		return fmt.Errorf("keys and values for %d cross-attentions: must be for %d, as the UNet has", len(c.Layers), len(attentions))
	}
	for i, a := range attentions {
		if c.Layers[i] != a.Channels {
			return fmt.Errorf("keys of %d channels for the cross-attention in %s: must be %d, as the UNet's", c.Layers[i], a.Path, a.Channels)
		}
	}
	return nil
}

// keepImageModel puts a new one under the host's planner and keeps it.
func (m *Model) keepImageModel(c *imageModel, name string) (*imageModel, error) {
	c.host = m.host
	m.host.Manage(name, c.network)
	c.network.OnOverflow(overflowed(m.options.Log, name))
	for _, tensor := range c.file.Names() {
		_, _, bytes, err := c.file.Stored(tensor)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.bytes += bytes
	}
	m.images.open = slices.Insert(m.images.open, 0, c)
	return c, nil
}

// openEncoder gives the encoder of a folder or file, which must fit the adapter.
func (m *Model) openEncoder(path string, of ipadapter.Config) (*imageModel, error) {
	file, config, err := m.encoderFile(path)
	if err != nil {
		return nil, err
	}
	if err := fitsEncoder(config, of); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	key := imageFileKey("encoder", file.Path())
	if found := m.images.find(key); found != nil {
		return found, file.Close()
	}
	e, err := clip.OpenVision(m.host.device, file, config, m.kernelOptions())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file.Path(), err), file.Close())
	}
	m.unclaimed("image_encoder", e.Unclaimed)
	return m.keepImageModel(&imageModel{key: key, file: file, network: e.Network, encoder: e}, "image_encoder")
}

// encoderFile opens the weights of an image encoder, and reads their configuration or tells it by the shapes.
func (m *Model) encoderFile(path string) (file *weights.Component, config clip.VisionConfig, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, config, err
	}
	if !info.IsDir() {
		if file, err = weights.OpenComponent(path); err != nil {
			return nil, config, err
		}
		if config, err = clip.DetectVision(file); err != nil {
			return nil, config, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
		}
		return file, config, nil
	}
	if config, err = m.encoderConfig(path); err != nil {
		return nil, config, err
	}
	if file, err = weights.OpenComponentFolder(path, "text_encoder", loader{Model: m}.variant()); err != nil {
		return nil, config, err
	}
	if err = config.Fits(file, filepath.Join(path, "config.json")); err != nil {
		return nil, config, errors.Join(err, file.Close())
	}
	return file, config, nil
}

// encoderConfig reads that of a folder.
func (m *Model) encoderConfig(dir string) (clip.VisionConfig, error) {
	files := &store{path: dir, fsys: os.DirFS(dir), join: filepath.Join}
	data, err := files.read("config.json")
	if err != nil {
		return clip.VisionConfig{}, err
	}
	config, err := clip.ParseVisionConfig(data, filepath.Join(dir, "config.json"))
	if err != nil {
		return config, err
	}
	specReader{files, m.options.Log}.warnUnknown("config.json", config.Unknown)
	return config, nil
}

// fitsEncoder checks an encoder against the adapter that reads it.
func fitsEncoder(c clip.VisionConfig, of ipadapter.Config) error {
	own, what := c.ProjectionDim, "image embeddings"
	if of.Plus {
		own, what = c.HiddenSize, "hidden states"
	}
	if own == of.Width {
		return nil
	}
	name := func(s string) string {
		if s == "" {
			return ""
		}
		return " (" + s + ")"
	}
	return fmt.Errorf("%s of width %d%s: must be %d%s, which the %s reads", what, own, name(c.Name()), of.Width, name(encoderOf(of)), of.Kind())
}

// encoderOf names the published encoder that an adapter was trained with, "" where the width does not tell.
func encoderOf(of ipadapter.Config) string {
	switch {
	case of.Plus && of.Width == 1280, !of.Plus && of.Width == 1024:
		return "ViT-H/14"
	case of.Plus && of.Width == 1664, !of.Plus && of.Width == 1280:
		return "ViT-bigG/14"
	}
	return ""
}

// EncoderPlaces are the folders in which the image encoder of an IP-Adapter without one of its own is looked for, the
// first that fits.
func EncoderPlaces(adapter string) []string {
	dir := filepath.Dir(adapter)
	return []string{filepath.Join(dir, "image_encoder"), filepath.Join(dir, "..", "models", "image_encoder")}
}

// findEncoder looks for an adapter's encoder where h94/IP-Adapter has it.
func (m *Model) findEncoder(adapter string, of ipadapter.Config) (*imageModel, error) {
	places := EncoderPlaces(adapter)
	var all []error
	for _, place := range places {
		found, err := m.openEncoder(place, of)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("neither %s nor %s is there: must be named", places[0], places[1])
	}
	return nil, errors.Join(all...)
}
