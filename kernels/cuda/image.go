package cuda

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

//go:embed images
var images embed.FS

// manifest is images/manifest.json, written by build.sh.
type manifest struct {
	Generator string            `json:"generator"`
	Compiler  string            `json:"compiler"`
	Flags     string            `json:"flags"`
	Sources   map[string]string `json:"sources"` // SHA-256 by path
	Images    map[string]struct {
		SHA256  string         `json:"sha256"`  // of the text
		Kernels map[string]int `json:"kernels"` // bytes of static shared memory, at most
	} `json:"images"`
}

var readManifest = sync.OnceValues(func() (*manifest, error) {
	text, err := images.ReadFile("images/manifest.json")
	if err != nil {
		return nil, err
	}
	m := new(manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("cuda: manifest: %w", err)
	}
	return m, nil
})

// readImage returns the PTX of an image.
func readImage(path string) ([]byte, error) {
	packed, err := images.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("cuda: image %s: %w", path, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("cuda: image %s: %w", path, err)
	}
	return text, nil
}

// cut are the kernels of an image by name, each a text with all that the image has around kernels.
func cut(image []byte) map[string][]byte {
	const entry = ".visible .entry "
	var around []byte
	kernels, name := map[string][]byte{}, ""
	for line := range bytes.Lines(image) {
		if begins, ok := bytes.CutPrefix(line, []byte(entry)); ok {
			begins, _, _ = bytes.Cut(begins, []byte("("))
			name = string(begins)
		}
		if name == "" {
			around = append(around, line...)
			continue
		}
		kernels[name] = append(kernels[name], line...)
		if string(line) == "}\n" {
			name = ""
		}
	}
	for name, text := range kernels {
		kernels[name] = slices.Concat(around, text)
	}
	return kernels
}

// texts are the kernels of the images that were asked for, by path and name.
var texts struct {
	sync.Mutex
	images map[string]map[string][]byte
}

// readKernel returns the PTX of one kernel of an image.
func readKernel(path, name string) ([]byte, error) {
	texts.Lock()
	defer texts.Unlock()
	if texts.images[path] == nil {
		image, err := readImage(path)
		if err != nil {
			return nil, err
		}
		if texts.images == nil {
			texts.images = map[string]map[string][]byte{}
		}
		texts.images[path] = cut(image)
	}
	if text, ok := texts.images[path][name]; ok {
		return text, nil
	}
	return nil, fmt.Errorf("cuda: image %s has no kernel %s", path, name)
}

// library holds the kernels of one precision. Each is a module of its own, loaded when it is asked for: the driver's compiler takes up to 1.5 seconds for one kernel
// that it has not seen, and 20 for all.
type library struct {
	context   *driver.Context
	suffix    string // of the images: ".f16.ptx.gz"
	carve     bool   // all kernels divide the multiprocessors' memory alike
	mu        sync.Mutex
	modules   []*driver.Module
	functions map[string]*driver.Function
}

func newLibrary(c *driver.Context, precision kernels.DType, carve bool) *library {
	suffix := ".f16.ptx.gz"
	if precision == kernels.BF16 {
		suffix = ".bf16.ptx.gz"
	}
	return &library{context: c, suffix: suffix, carve: carve, functions: map[string]*driver.Function{}}
}

// function returns a kernel that may use as much shared memory as the engine ever asks for.
func (l *library) function(name string) (*driver.Function, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.functions[name]; ok {
		return f, nil
	}
	path, err := l.image(name)
	if err != nil {
		return nil, err
	}
	text, err := readKernel(path, name)
	if err != nil {
		return nil, err
	}
	module, err := l.context.LoadModule(text)
	if err != nil {
		return nil, fmt.Errorf("image %s, kernel %s: %w", path, name, full(err))
	}
	l.modules = append(l.modules, module)
	f, err := module.Function(name)
	if err != nil {
		return nil, err
	}
	m, err := readManifest()
	if err != nil {
		return nil, err
	}
	limit := mostShared
	if strings.Contains(path, hopperImage) {
		limit = hopperShared
	}
	if err := f.SetMaxDynamicShared(limit - m.Images[path].Kernels[name]); err != nil {
		return nil, err
	}
	if l.carve {
		if err := f.PreferShared(); err != nil {
			return nil, err
		}
	}
	l.functions[name] = f
	return f, nil
}

// image is the path of the image that a kernel is taken from.
func (l *library) image(name string) (found string, err error) {
	m, err := readManifest()
	if err != nil {
		return "", err
	}
	for path, image := range m.Images {
		if _, has := image.Kernels[name]; has && strings.HasSuffix(path, l.suffix) {
			found = path
		}
	}
	if found == "" {
		return "", fmt.Errorf("cuda: no image has a kernel %s", name)
	}
	return found, nil
}

// The shared memory that a block may have: 99 KB on every card of the family sm_80, 227 KB on Hopper.
const (
	mostShared   = 99 << 10
	hopperShared = 227 << 10
)

// hopperImage is in the names of images for capability 9.0 alone.
const hopperImage = "_sm90a."

func (l *library) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first error
	for _, m := range l.modules {
		if err := m.Close(); first == nil {
			first = err
		}
	}
	l.modules = nil
	clear(l.functions)
	return first
}
