package cuda

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestManifest ties the committed images to the sources that they were made from.
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
			t.Errorf("%s has changed since the images were compiled: run kernels/cuda/build.sh", path)
		}
	}
	if len(m.Sources) != len(sources) {
		t.Errorf("the manifest lists %d sources, there are %d: run kernels/cuda/build.sh", len(m.Sources), len(sources))
	}
	files, err := filepath.Glob("images/*.ptx.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(m.Images) {
		t.Errorf("the manifest lists %d images, there are %d", len(m.Images), len(files))
	}
	for _, path := range files {
		text, err := readImage(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.Images[path].SHA256 != hash(text) {
			t.Errorf("%s is not the image that the manifest describes", path)
		}
	}
}

// TestImages holds the images against what the oldest card and driver take.
func TestImages(t *testing.T) {
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	kernels := map[string][]string{}
	for path, image := range m.Images {
		text, err := readImage(path)
		if err != nil {
			t.Fatal(err)
		}
		header, most := []string{"\n.version 7.0\n", "\n.target sm_80\n"}, mostShared
		if strings.Contains(path, hopperImage) {
			header, most = []string{"\n.version 8.0\n", "\n.target sm_90a\n"}, hopperShared
		}
		for _, want := range header {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not say %q", path, strings.TrimSpace(want))
			}
		}
		for name, static := range image.Kernels {
			kernels[name] = append(kernels[name], path)
			if static > most/2 {
				t.Errorf("%s: kernel %s declares %d bytes of shared memory", path, name, static)
			}
		}
	}
	for name, paths := range kernels {
		if len(paths) != 2 {
			t.Errorf("kernel %s is in %v, want one image of each precision", name, paths)
		}
	}
	for _, tile := range slices.Concat(tiles, hopperTiles) {
		if _, ok := kernels[tile.kernel()]; !ok {
			t.Errorf("no image has the kernel of tile %+v", tile)
		}
	}
	for _, f := range flashTiles {
		if _, ok := kernels[f.kernel()]; !ok {
			t.Errorf("no image has the kernel of tile %+v", f)
		}
	}
	names := []string{}
	for name := range parameterSize {
		names = append(names, name)
	}
	slices.Sort(names)
	for name := range kernels {
		if !slices.Contains(names, kernelFamily(name)) {
			t.Errorf("kernel %s is in no table", name)
		}
	}
}
