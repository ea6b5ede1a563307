package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Folder is a model folder in diffusers layout: model_index.json and one folder a component.
type Folder struct {
	dir   string
	index Index
}

// Index is the content of model_index.json.
type Index struct {
	Class      string                     // _class_name, for instance "StableDiffusionXLPipeline"
	Components map[string]Class           // by folder name; a component that the model does without has an empty Class
	Options    map[string]json.RawMessage // the other settings, for instance force_zeros_for_empty_prompt
}

// Class is the class that loads a component: a library ("diffusers", "transformers") and its class.
type Class struct{ Library, Name string }

const indexFile = "model_index.json"

// OpenFolder opens a model folder; of a hub cache entry (models--organisation--name) it opens a snapshot, the one that
// refs/main names or else the newest. Of a path that is something else, the error says what.
func OpenFolder(dir string) (*Folder, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, notAFolder(dir)
	}
	dir, err := snapshot(dir)
	if err != nil {
		return nil, err
	}
	data, err := readSmall(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notAFolder(dir)
	}
	if err != nil {
		return nil, err
	}
	index, err := ParseIndex(data, filepath.Join(dir, indexFile))
	if err != nil {
		return nil, err
	}
	return &Folder{dir: dir, index: index}, nil
}

func notAFolder(path string) error {
	kind, err := Recognise(path)
	if err != nil {
		return err
	}
	if kind.Form == HubName {
		return fmt.Errorf("%s is %v: %w", path, kind, fs.ErrNotExist)
	}
	return fmt.Errorf("%s is %v, not a model folder in diffusers layout (a folder with %s)", path, kind, indexFile)
}

// ParseIndex reads a model_index.json, the content of file.
func ParseIndex(data []byte, file string) (Index, error) {
	members, err := parseObject(data, file)
	if err != nil {
		return Index{}, err
	}
	index := Index{Components: map[string]Class{}, Options: map[string]json.RawMessage{}}
	for _, m := range members {
		var pair []*string
		switch isPair := json.Unmarshal(m.value, &pair) == nil && len(pair) == 2; {
		case m.key == "_class_name":
			if json.Unmarshal(m.value, &index.Class) != nil {
				return Index{}, &ConfigError{File: file, Key: m.key, Value: shortJSON(m.value), Allowed: "a string"}
			}
		case strings.HasPrefix(m.key, "_"):
		case !isPair:
			index.Options[m.key] = m.value
		case pair[0] == nil && pair[1] == nil:
			index.Components[m.key] = Class{}
		case pair[0] == nil || pair[1] == nil:
			return Index{}, &ConfigError{File: file, Key: m.key, Value: shortJSON(m.value), Allowed: "[library, class] or [null, null]"}
		default:
			index.Components[m.key] = Class{*pair[0], *pair[1]}
		}
	}
	if index.Class == "" {
		return Index{}, &ConfigError{File: file, Key: "_class_name", Allowed: "missing; a model index needs it"}
	}
	return index, nil
}

// Dir is the folder's path, a snapshot's of a hub cache entry.
func (f *Folder) Dir() string { return f.dir }

// Index returns what model_index.json says. It is shared and must not be changed.
func (f *Folder) Index() Index { return f.index }

// FS reads the folder's files. It follows symbolic links out of the folder: the hub's cache stores models so.
func (f *Folder) FS() fs.FS { return os.DirFS(f.dir) }

// ReadFile reads a configuration or tokenizer file by its slash-separated path in the folder.
func (f *Folder) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return readSmall(filepath.Join(f.dir, filepath.FromSlash(name)))
}

// Has reports whether the model uses a component and the folder holds it.
func (f *Folder) Has(component string) bool {
	if f.index.Components[component] == (Class{}) || !plainName(component) {
		return false
	}
	info, err := os.Stat(filepath.Join(f.dir, component))
	return err == nil && info.IsDir()
}

// Variant says which of a component's weight files to take where there are several.
type Variant struct {
	// Name is the variant that the user asked for ("fp16" stands for model.fp16.safetensors). A component that lacks it
	// is read from its plain file, as diffusers does, unless no component of the folder has it.
	Name string
	// Precision chooses where Name is empty: F32 prefers the plain files, any other the fp16 variant; failing that, the
	// other of the two, and then the only variant there is.
	Precision kernels.DType
	// None is for who needs settings and vocabularies alone. It is of PipelineFiles.
	None bool
}

// wanted lists variants by preference; "" is the plain file.
func (v Variant) wanted() []string {
	switch {
	case v.Name != "":
		return []string{v.Name, ""}
	case v.Precision == kernels.F32:
		return []string{"", "fp16"}
	}
	return []string{"fp16", ""}
}

// Component opens the weights of a component: "unet", "vae", "text_encoder", "text_encoder_2". Of safetensors files and
// pickles of PyTorch (.bin), which run no code, it takes the first. The caller closes it.
func (f *Folder) Component(name string, variant Variant) (*Component, error) {
	path, err := f.weightFile(name, variant)
	if err != nil {
		return nil, err
	}
	return OpenComponent(path)
}

func (f *Folder) weightFile(name string, variant Variant) (string, error) {
	if !plainName(name) {
		return "", fmt.Errorf("%s: component %s; allowed: the name of a folder in it", f.dir, quote(name))
	}
	dir := filepath.Join(f.dir, name)
	entries, err := os.ReadDir(dir)
	switch class, listed := f.index.Components[name]; {
	case listed && class == Class{}:
		return "", fmt.Errorf("%s: component %s: %s says that the model does without it", f.dir, name, indexFile)
	case errors.Is(err, fs.ErrNotExist) && listed:
		return "", fmt.Errorf("%s: component %s: %s lists it but its folder is missing, the model is incomplete: %w", f.dir, name, indexFile, fs.ErrNotExist)
	case err != nil:
		return "", fmt.Errorf("%s: component %s: %w", f.dir, name, err)
	}
	found := variants(dir, name, entries)
	if len(found) == 0 {
		return "", noWeights(dir, name, entries)
	}
	if variant.Name != "" && found[variant.Name] == "" && !slices.Contains(f.Variants(), variant.Name) {
		return "", fmt.Errorf("%s: no component has the variant %s; there are: %s", f.dir, quote(variant.Name), listVariants(f.Variants()))
	}
	return variant.choose(dir, found)
}

// choose gives the path of the weight file that suits, of those found in a component's folder.
func (v Variant) choose(dir string, found map[string]string) (string, error) {
	for _, name := range v.wanted() {
		if file := found[name]; file != "" {
			return filepath.Join(dir, file), nil
		}
	}
	if len(found) == 1 && v.Name == "" {
		for _, file := range found {
			return filepath.Join(dir, file), nil
		}
	}
	var have []string
	for name := range found {
		have = append(have, name)
	}
	slices.Sort(have)
	return "", fmt.Errorf("%s has no %s weights; choose a variant of: %s", dir, listVariants(v.wanted()), listVariants(have))
}

// OpenComponentFolder opens the weights in a folder that holds a component alone, whatever the folder's name: dir of
// the component named as in a model folder ("unet", "vae", …). The caller closes it.
func OpenComponentFolder(dir, component string, variant Variant) (*Component, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := variants(dir, component, entries)
	if len(found) == 0 {
		return nil, noWeights(dir, component, entries)
	}
	path, err := variant.choose(dir, found)
	if err != nil {
		return nil, err
	}
	return OpenComponent(path)
}

// Variants lists the variants that any component of the model has, sorted; "" stands for plain files.
func (f *Folder) Variants() []string {
	var all []string
	for name := range f.index.Components {
		if !f.Has(name) {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(f.dir, name))
		if err != nil {
			continue // Component reports it
		}
		for v := range variants(filepath.Join(f.dir, name), name, entries) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
