package cuda

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
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

// excerpt is the text of an image without all of its kernels but one.
func excerpt(image []byte, kernel string) ([]byte, error) {
	const entry = ".visible .entry "
	var text []byte
	found, kept := false, true
	for line := range bytes.Lines(image) {
		if name, ok := bytes.CutPrefix(line, []byte(entry)); ok {
			name, _, _ = bytes.Cut(name, []byte("("))
			kept = string(name) == kernel
			found = found || kept
		}
		if kept {
			text = append(text, line...)
		}
		if bytes.Equal(line, []byte("}\n")) {
			kept = true
		}
	}
	if !found {
		return nil, fmt.Errorf("cuda: the image has no kernel %s", kernel)
	}
	return text, nil
}

// library holds the kernels of one precision. Each is a module of its own, loaded when it is asked for: the driver's compiler takes up to 1.5 seconds for one kernel
// that it has not seen, and 20 for all.
type library struct {
	context   *driver.Context
	suffix    string // of the images: ".f16.ptx.gz"
	carve     bool   // all kernels divide the multiprocessors' memory alike
	mu        sync.Mutex
	images    map[string][]byte // by path
	modules   []*driver.Module
	functions map[string]*driver.Function
}

func newLibrary(c *driver.Context, precision kernels.DType, carve bool) *library {
	suffix := ".f16.ptx.gz"
	if precision == kernels.BF16 {
		suffix = ".bf16.ptx.gz"
	}
	return &library{context: c, suffix: suffix, carve: carve, images: map[string][]byte{}, functions: map[string]*driver.Function{}}
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
	if l.images[path] == nil {
		if l.images[path], err = readImage(path); err != nil {
			return nil, err
		}
	}
	text, err := excerpt(l.images[path], name)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
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
