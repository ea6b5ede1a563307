package sdxl

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/standin"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/hub"
	"github.com/goxl/goxl/nn/weights/singlefile"
	"github.com/goxl/goxl/tokenizer"
)

// synthetic holds the configurations of SyntheticNames; their weights are computed. Written by
// tools/reference/configs.py.
//
//go:embed all:synthetic
var synthetic embed.FS

// SyntheticPrefix begins the path of a model of SyntheticNames.
const SyntheticPrefix = "synth:"

const indexFile = "model_index.json"

// SyntheticNames lists the models that need no files: full and tiny, base and refiner. Their weights are random but
// deterministic (weights.Synthetic), so that their images are noise; they are for tests and timing.
func SyntheticNames() []string { return []string{"base", "refiner", "tiny", "tiny-refiner"} }

// store is where the files of a model come from.
type store struct {
	path  string
	fsys  fs.FS
	index weights.Index
	// weights opens the tensors of a component; shapes gives those that a synthetic one gets. The closer may be nil.
	weights    func(component string, v weights.Variant, shapes func() map[string][]int) (kernels.Source, io.Closer, error)
	join       func(elem ...string) string // how path and file are joined
	closer     io.Closer                   // of what weights opens for no component alone; may be nil
	single     *singlefile.Checkpoint      // of a single file
	otherVAE   string                      // Options.VAE
	prediction string                      // Options.Prediction
	lender     string                      // Options.Missing, if something was taken from it
	others     map[string]*store           // where components come from that are not this one's own; see complete
}

// of is where a component comes from.
func (s *store) of(component string) *store {
	if other := s.others[component]; other != nil {
		return other
	}
	return s
}

// ofFile is where a component's file comes from.
func (s *store) ofFile(file string) *store {
	component, _, _ := strings.Cut(file, "/")
	return s.of(component)
}

// Close closes what belongs to no component.
func (s *store) Close() error {
	var errs []error
	for _, other := range s.others {
		errs = append(errs, other.Close()) // one may be several components', and closing twice is harmless
	}
	if s.closer != nil {
		errs = append(errs, s.closer.Close())
	}
	return errors.Join(errs...)
}

func openStore(name string, log *slog.Logger) (*store, error) {
	if synthetic, ok := strings.CutPrefix(name, SyntheticPrefix); ok {
		return openSynthetic(name, synthetic)
	}
	path, partial, err := locate(name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return openSingle(path, log)
	}
	folder, err := weights.OpenFolder(path)
	if err != nil {
		return nil, err
	}
	open := func(component string, v weights.Variant, _ func() map[string][]int) (kernels.Source, io.Closer, error) {
		if partial != nil {
			return nil, nil, partial
		}
		c, err := folder.Component(component, v)
		if err != nil {
			return nil, nil, err
		}
		return c, c, nil
	}
	if folder.Dir() != name {
		log.Info("opening a snapshot of the hub cache entry", "model", name, "snapshot", folder.Dir())
	}
	return &store{path: folder.Dir(), fsys: folder.FS(), index: folder.Index(), weights: open, join: filepath.Join}, nil
}

// locate is where the hub's cache has a model of that name, or the name itself, if there is a path of that name or no
// model of the hub can have it. Nothing is downloaded. partial is the error of a model whose weights are not in the cache.
func locate(name string) (path string, partial, err error) {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return name, nil, nil
	}
	n, err := hub.ParseName(name)
	if err != nil {
		return name, nil, nil
	}
	client := &hub.Client{Settings: hub.FromEnvironment()}
	if path, err = client.Find(n); err == nil {
		return path, nil, nil
	}
	missing := fmt.Errorf("no such file or folder (%w), and of the hub: %w", fs.ErrNotExist, err)
	if path, err = client.FindSettings(n); err == nil {
		return path, missing, nil
	}
	return "", nil, missing
}

// openSynthetic opens one of SyntheticNames.
func openSynthetic(name, model string) (*store, error) {
	if !slices.Contains(SyntheticNames(), model) {
		return nil, fmt.Errorf("no synthetic model %q: must be one of %s", model, strings.Join(SyntheticNames(), ", "))
	}
	fsys, err := fs.Sub(synthetic, "synthetic/"+model)
	if err != nil {
		return nil, err
	}
	s := &store{path: name, fsys: fsys, join: path.Join}
	s.weights = func(component string, _ weights.Variant, shapes func() map[string][]int) (kernels.Source, io.Closer, error) {
		return weights.Synthetic(component, shapes(), syntheticDType(model)), nil, nil
	}
	return s, s.readIndex()
}

// openFSStore opens a model folder in a file system.
func openFSStore(fsys fs.FS, name string) (*store, error) {
	s := &store{path: name, fsys: fsys, join: path.Join}
	s.weights = func(component string, _ weights.Variant, _ func() map[string][]int) (kernels.Source, io.Closer, error) {
		file := weightsFile(component)
		data, err := fs.ReadFile(s.fsys, file)
		if err != nil {
			return nil, nil, s.missing(file, err)
		}
		f, err := weights.Parse(s.name(file), data)
		if err != nil {
			return nil, nil, err
		}
		return f, f, nil
	}
	return s, s.readIndex()
}

// weightsFile is where diffusers stores a component's tensors.
func weightsFile(component string) string {
	if strings.HasPrefix(component, "text_encoder") {
		return component + "/model.safetensors"
	}
	return component + "/diffusion_pytorch_model.safetensors"
}

func (s *store) readIndex() error {
	data, err := s.read(indexFile)
	if err != nil {
		return err
	}
	s.index, err = weights.ParseIndex(data, s.name(indexFile))
	return err
}

// syntheticDType is the width in which a synthetic model is stored: full models as they are published, tiny ones exact.
func syntheticDType(name string) kernels.DType {
	if strings.HasPrefix(name, "tiny") {
		return kernels.F32
	}
	return kernels.F16
}

// name is what errors call a file.
func (s *store) name(file string) string {
	s = s.ofFile(file)
	return s.join(s.path, file)
}

// maxConfig bounds the files that read takes; the largest of a model, a tokenizer's, has 3 MB.
const maxConfig = 32 << 20

// read reads a configuration.
func (s *store) read(file string) ([]byte, error) {
	s = s.ofFile(file)
	info, err := fs.Stat(s.fsys, file)
	if err != nil {
		return nil, s.missing(file, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil, &weights.ConfigError{File: s.name(file), Allowed: fmt.Sprintf("not a regular file of at most %d bytes", maxConfig)}
	}
	data, err := fs.ReadFile(s.fsys, file)
	if err != nil {
		return nil, s.missing(file, err)
	}
	if what := standin.Describe(data); what != "" {
		return nil, &weights.ConfigError{File: s.name(file), Allowed: "this is " + what}
	}
	return data, nil
}

// missing names the component that lacks a file, where that is why it could not be read.
func (s *store) missing(file string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		if cause := (*fs.PathError)(nil); errors.As(err, &cause) { // whose path begins in the folder
			err = cause.Err
		}
		return fmt.Errorf("%s: %w", s.name(file), err)
	}
	component, _ := path.Split(file)
	return fmt.Errorf("%s is missing: the model needs the component %s", s.name(file), strings.TrimSuffix(component, "/"))
}

// has reports whether the model's index and files name a component.
func (s *store) has(component string) bool {
	s = s.of(component)
	if class, ok := s.index.Components[component]; ok && class == (weights.Class{}) {
		return false
	}
	_, err := fs.Stat(s.fsys, component)
	return err == nil
}

// tokenizer loads a tokenizer folder; one that has no vocabulary gets CLIP's own.
func (s *store) tokenizer(folder string) (*tokenizer.Tokenizer, error) {
	s = s.of(folder)
	load := tokenizer.Load
	if !tokenizer.HasVocabulary(s.fsys, folder) {
		load = tokenizer.LoadCLIP
		if _, err := fs.Stat(s.fsys, path.Join(folder, "tokenizer_config.json")); err != nil {
			load = plainCLIP
		}
	}
	t, err := load(s.fsys, folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return t, nil
}

// plainCLIP is the tokenizer of a folder of which nothing is there: the published padding goes by its name.
func plainCLIP(_ fs.FS, folder string) (*tokenizer.Tokenizer, error) {
	pad := "<|endoftext|>"
	if folder == "tokenizer_2" {
		pad = "!"
	}
	return tokenizer.CLIP(pad)
}
