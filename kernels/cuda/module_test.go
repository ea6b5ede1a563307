package cuda

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
)

// TestManifest ties the committed modules to the sources that they were made from.
func TestManifest(t *testing.T) {
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	hash := func(text []byte) string {
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	}
	sources := []string{"build.sh"}
	for _, pattern := range []string{"src/*", "gen/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, paths...)
	}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.Sources[path] != hash(text) {
			t.Errorf("%s has changed since the modules were compiled: run kernels/cuda/build.sh", path)
		}
	}
	if len(m.Sources) != len(sources) {
		t.Errorf("the manifest lists %d sources, there are %d: run kernels/cuda/build.sh", len(m.Sources), len(sources))
	}
	files, err := filepath.Glob("ptx/*.ptx.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(m.Modules) {
		t.Errorf("the manifest lists %d modules, there are %d", len(m.Modules), len(files))
	}
	for _, path := range files {
		text, err := readModule(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.Modules[path].SHA256 != hash(text) {
			t.Errorf("%s is not the module that the manifest describes", path)
		}
	}
}

// sharedArray is how clang declares shared memory of a size that it knows; manifest.json has the sum of a module.
var sharedArray = regexp.MustCompile(`^\.shared \.align \d+ \.b8 \S+\[(\d+)\];$`)

// checkMemory holds what a module declares of memory: no stack, because none of its kernels spills or indexes a local
// array before ptxas has seen it, and of shared memory what the manifest says of every kernel.
func checkMemory(t *testing.T, path string, text []byte, static map[string]int) {
	t.Helper()
	sum := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ".local"):
			t.Errorf("%s: a kernel has local memory: %s", path, line)
		case strings.HasPrefix(line, ".shared"):
			m := sharedArray.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s: shared memory of unknown size: %s", path, line)
			}
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	for name, n := range static {
		if n != sum {
			t.Errorf("%s: the manifest gives %s %d bytes of shared memory, the module declares %d", path, name, n, sum)
		}
	}
}

// TestSharedMemory compiles every case of the conformance table and the models' plans for either family, and checks the
// shared memory of every launch, static and dynamic, against what a block may have: 99 KB for kernels of the portable
// modules, on Hopper too, and Hopper's limit for its own.
func TestSharedMemory(t *testing.T) {
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	consumer, _ := fakeDevice(t, Options{}, 64<<30)
	for _, d := range []*Device{consumer, onHopper(t)} {
		most, in := map[string]int{}, map[string]string{}
		check := func(model modelPlan, precision kernels.DType) {
			w, err := d.NewWeights(model.source)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			p, err := d.newProgram(model.plan, w.(*weights), precision, d.target())
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range p.nodes {
				for _, l := range n.launches {
					path, err := d.libraries[precision].module(l.kernel)
					if err != nil {
						t.Fatal(err)
					}
					most[l.kernel], in[l.kernel] = max(most[l.kernel], l.shared+m.Modules[path].Kernels[l.kernel]), path
				}
			}
		}
		for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
			for _, c := range cases.All() {
				p := planOf(t, c)
				check(modelPlan{p, sourceOf(p)}, precision)
			}
		}
		check(step(t, d), kernels.F16)
		check(decode(t, d), kernels.F16)
		for kernel, n := range most {
			limit := maxShared
			if strings.Contains(in[kernel], hopperModule) {
				if limit = hopperShared; d == consumer {
					t.Errorf("%s is launched on %s, from %s", kernel, d.Info().Detail, in[kernel])
				}
			}
			if n > limit {
				t.Errorf("%s of %s takes %d bytes of shared memory, %d are granted", kernel, in[kernel], n, limit)
			}
		}
		t.Logf("%s: %d kernels, at most %d bytes", d.Info().Variant, len(most), slices.Max(slices.Collect(maps.Values(most))))
	}
}

// checkSplit splits a module into its kernels, which together are all of it: what is in front of the first of them is
// all that is around them.
func checkSplit(t *testing.T, path string, text []byte, kernels map[string]int) {
	t.Helper()
	const entry = ".visible .entry "
	parts := splitKernels(text)
	if !slices.Equal(slices.Sorted(maps.Keys(parts)), slices.Sorted(maps.Keys(kernels))) {
		t.Errorf("%s: split into %v, the manifest has %v", path, slices.Sorted(maps.Keys(parts)), slices.Sorted(maps.Keys(kernels)))
	}
	total, around := 0, -1
	for name, one := range parts {
		at := bytes.Index(one, []byte("\n"+entry+name+"(")) + 1
		if n := bytes.Count(one, []byte("\n"+entry)); n != 1 || at == 0 || !bytes.HasSuffix(one, []byte("\n}\n")) {
			t.Errorf("%s: what is split off for %s has %d kernels, or not that one, or does not end", path, name, n)
			continue
		}
		if around >= 0 && at != around {
			t.Errorf("%s: %d bytes around %s, %d around others", path, at, name, around)
		}
		around = at
		total += len(one) - at
	}
	if total+around != len(text) {
		t.Errorf("%s: %d bytes, its kernels and what is around them %d", path, len(text), total+around)
	}
	if _, err := readKernel(path, "nothing"); err == nil {
		t.Errorf("%s has a kernel that is called nothing", path)
	}
}

// TestModules holds the modules against what the oldest card and driver take.
func TestModules(t *testing.T) {
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string][]string{}
	for path, module := range m.Modules {
		text, err := readModule(path)
		if err != nil {
			t.Fatal(err)
		}
		checkMemory(t, path, text, module.Kernels)
		header, most := []string{"\n.version 7.0\n", "\n.target sm_80\n"}, maxShared
		if strings.Contains(path, hopperModule) {
			header, most = []string{"\n.version 8.0\n", "\n.target sm_90a\n"}, hopperShared
		}
		for _, want := range header {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not say %q", path, strings.TrimSpace(want))
			}
		}
		checkSplit(t, path, text, module.Kernels)
		for name, static := range module.Kernels {
			entries[name] = append(entries[name], path)
			if static > most/2 {
				t.Errorf("%s: kernel %s declares %d bytes of shared memory", path, name, static)
			}
		}
	}
	for name, paths := range entries {
		if len(paths) != 2 {
			t.Errorf("kernel %s is in %v, want one module of each precision", name, paths)
		}
	}
	for _, tile := range slices.Concat(tiles, hopperTiles, tmaTiles) {
		if _, ok := entries[tile.kernel()]; !ok {
			t.Errorf("no module has the kernel of tile %+v", tile)
		}
	}
	for _, f := range flashTiles {
		if _, ok := entries[f.kernel()]; !ok {
			t.Errorf("no module has the kernel of tile %+v", f)
		}
	}
	names := []string{}
	for name := range parameterSize {
		names = append(names, name)
	}
	slices.Sort(names)
	for name := range entries {
		if !slices.Contains(names, kernelFamily(name)) {
			t.Errorf("kernel %s is in no table", name)
		}
	}
}
