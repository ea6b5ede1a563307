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

//go:embed ptx
var ptxFiles embed.FS

// manifest is ptx/manifest.json, written by build.sh.
type manifest struct {
	Generator string            `json:"generator"`
	Compiler  string            `json:"compiler"`
	Flags     string            `json:"flags"`
	Sources   map[string]string `json:"sources"` // SHA-256 by path
	Modules   map[string]struct {
		SHA256  string         `json:"sha256"`  // of the text
		Kernels map[string]int `json:"kernels"` // bytes of static shared memory, at most
	} `json:"modules"` // by path
}

var readManifest = sync.OnceValues(func() (*manifest, error) {
	text, err := ptxFiles.ReadFile("ptx/manifest.json")
	if err != nil {
		return nil, err
	}
	m := new(manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("cuda: manifest: %w", err)
	}
	return m, nil
})

// readModule returns the text of a PTX module.
func readModule(path string) ([]byte, error) {
	packed, err := ptxFiles.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("cuda: module %s: %w", path, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("cuda: module %s: %w", path, err)
	}
	return text, nil
}

// splitKernels splits a PTX module into modules of one kernel each, by name. Each repeats what the module declares
// outside of kernels.
func splitKernels(module []byte) map[string][]byte {
	const entry = ".visible .entry "
	var around []byte
	kernels, name := map[string][]byte{}, ""
	for line := range bytes.Lines(module) {
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

// kernelTexts caches the kernels of the modules that were read, by path and name.
var kernelTexts struct {
	sync.Mutex
	modules map[string]map[string][]byte
}

// readKernel returns the PTX of one kernel of a module, as a module of its own.
func readKernel(path, name string) ([]byte, error) {
	kernelTexts.Lock()
	defer kernelTexts.Unlock()
	if kernelTexts.modules[path] == nil {
		module, err := readModule(path)
		if err != nil {
			return nil, err
		}
		if kernelTexts.modules == nil {
			kernelTexts.modules = map[string]map[string][]byte{}
		}
		kernelTexts.modules[path] = splitKernels(module)
	}
	if text, ok := kernelTexts.modules[path][name]; ok {
		return text, nil
	}
	return nil, fmt.Errorf("cuda: module %s has no kernel %s", path, name)
}

// library loads the kernels of one precision. Each is loaded as a module of its own when it is first needed: the
// driver's JIT compiler takes up to 1.5 seconds for one kernel that is not in its cache, and 20 for all.
type library struct {
	context   *driver.Context
	suffix    string // of the modules' paths: ".f16.ptx.gz"
	carve     bool   // all kernels prefer the same shared memory carveout
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
	path, err := l.module(name)
	if err != nil {
		return nil, err
	}
	text, err := readKernel(path, name)
	if err != nil {
		return nil, err
	}
	loaded, err := l.context.LoadModule(text)
	if err != nil {
		return nil, fmt.Errorf("module %s, kernel %s: %w", path, name, full(err))
	}
	l.modules = append(l.modules, loaded)
	f, err := loaded.Function(name)
	if err != nil {
		return nil, err
	}
	m, err := readManifest()
	if err != nil {
		return nil, err
	}
	limit := maxShared
	if strings.Contains(path, hopperModule) {
		limit = hopperShared
	}
	if err := f.SetMaxDynamicShared(limit - m.Modules[path].Kernels[name]); err != nil {
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

// module returns the path of the module that has a kernel.
func (l *library) module(name string) (found string, err error) {
	m, err := readManifest()
	if err != nil {
		return "", err
	}
	for path, module := range m.Modules {
		if _, has := module.Kernels[name]; has && strings.HasSuffix(path, l.suffix) {
			found = path
		}
	}
	if found == "" {
		return "", fmt.Errorf("cuda: no module has a kernel %s", name)
	}
	return found, nil
}

// The most shared memory that a block may have: 99 KB on every card from compute capability 8.0 on, 227 KB on Hopper.
const (
	maxShared    = 99 << 10
	hopperShared = 227 << 10
)

// hopperModule is in the names of modules for compute capability 9.0 alone.
const hopperModule = "_sm90a."

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
