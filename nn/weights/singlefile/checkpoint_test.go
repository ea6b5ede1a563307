package singlefile_test

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// sparse writes a safetensors file of float16 tensors that are all holes: of any size, on no disk.
func sparse(t testing.TB, shapes map[string][]int, metadata map[string]string) string {
	t.Helper()
	header, at := map[string]any{}, 0
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		n := 2 * kernels.Elements(shapes[name])
		header[name] = map[string]any{"dtype": "F16", "shape": append([]int{}, shapes[name]...), "data_offsets": []int{at, at + n}}
		at += n
	}
	if metadata != nil {
		header["__metadata__"] = metadata
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, strings.Repeat(" ", -len(text)&7)...)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(path, append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(8+len(text)+at)); err != nil {
		t.Fatal(err)
	}
	return path
}

// original are the shapes of a model folder's tensors as a single file has them.
func original(t testing.TB, folder string) map[string][]int {
	t.Helper()
	all := map[string][]int{}
	_, err := os.Stat(filepath.Join(folder, "text_encoder"))
	for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
		data, readErr := os.ReadFile(filepath.Join(folder, component, "config.json"))
		if readErr != nil {
			continue
		}
		list, err := singlefile.Tensors(component, weights.Synthetic(component, componentShapes(t, component, data), kernels.F16), err != nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range list {
			all[tensor.Name] = tensor.Shape
		}
	}
	return all
}

func componentShapes(t testing.TB, component string, config []byte) map[string][]int {
	t.Helper()
	switch component {
	case "unet":
		c, err := unet.ParseConfig(config, component)
		if err != nil {
			t.Fatal(err)
		}
		return nn.Shapes(unet.New(c))
	case "vae":
		c, err := vae.ParseConfig(config, component)
		if err != nil {
			t.Fatal(err)
		}
		return nn.Shapes(vae.New(c))
	}
	c, err := clip.ParseConfig(config, component)
	if err != nil {
		t.Fatal(err)
	}
	return nn.Shapes(clip.New(c))
}

func open(t testing.TB, path string) *singlefile.Checkpoint {
	t.Helper()
	c, err := singlefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func read(t testing.TB, files fs.FS, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPublishedConfigurations: from the names and shapes of the published models alone come configurations that say
// what the published ones say, and every tensor has its shape.
func TestPublishedConfigurations(t *testing.T) {
	for folder, family := range map[string]weights.Family{synthetic + "base": weights.SDXLBase, synthetic + "refiner": weights.SDXLRefiner} {
		tensors := original(t, folder)
		tensors["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = []int{1, 77}
		tensors["model_ema.decay"], tensors["alphas_cumprod"], tensors["conditioner.embedders.1.model.logit_scale"] = []int{}, []int{1000}, []int{}
		tensors["denoiser.sigmas"], tensors["extra.weight"] = []int{1000}, []int{2}
		start := time.Now()
		c := open(t, sparse(t, tensors, nil))
		if spent := time.Since(start); spent > 2*time.Second {
			t.Errorf("%s: opened in %v, want at most 2 s", folder, spent)
		}
		if c.Kind.Form != weights.Checkpoint || c.Kind.Family != family || len(c.Missing()) > 0 || !slices.Equal(c.Unclaimed, []string{"extra.weight"}) {
			t.Errorf("%s: %v, missing %v, unclaimed %v", folder, c.Kind, c.Missing(), c.Unclaimed)
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
			file := component + "/config.json"
			want, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				continue // a refiner's first encoder
			}
			sameConfig(t, component, read(t, c.Files(), file), want)
			for name, shape := range componentShapes(t, component, want) {
				if _, got, err := c.Component(component).Describe(name); err != nil || !slices.Equal(got, shape) {
					t.Errorf("%s %s: %v, %v; want %v", component, name, got, err, shape)
				}
			}
		}
		var index [2]weights.Index
		for i, data := range [][]byte{read(t, c.Files(), "model_index.json"), read(t, os.DirFS(folder), "model_index.json")} {
			var err error
			if index[i], err = weights.ParseIndex(data, "model_index.json"); err != nil {
				t.Fatal(err)
			}
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae", "scheduler"} {
			if got, want := index[0].Components[component], index[1].Components[component]; got != want {
				t.Errorf("%s: model_index.json has %v, want %v", component, got, want)
			}
		}
		if got, want := index[0].Class, index[1].Class; got != want {
			t.Errorf("class %s, want %s", got, want)
		}
		var scheduler [2]map[string]any
		for i, data := range [][]byte{read(t, c.Files(), "scheduler/scheduler_config.json"), read(t, os.DirFS(folder), "scheduler/scheduler_config.json")} {
			if err := json.Unmarshal(data, &scheduler[i]); err != nil {
				t.Fatal(err)
			}
			delete(scheduler[i], "_diffusers_version")
		}
		if !reflect.DeepEqual(scheduler[0], scheduler[1]) {
			t.Errorf("scheduler %v, want %v", scheduler[0], scheduler[1])
		}
	}
}

// sameConfig compares configurations as the models read them.
func sameConfig(t *testing.T, component string, got, want []byte) {
	t.Helper()
	var a, b any
	var err error
	switch component {
	case "unet":
		var x, y unet.Config
		if x, err = unet.ParseConfig(got, component); err == nil {
			y, err = unet.ParseConfig(want, component)
		}
		for _, c := range []*unet.Config{&x, &y} { // a number for every level is the list of it
			if len(c.TransformerLayers) == 1 {
				c.TransformerLayers = slices.Repeat(c.TransformerLayers, len(c.BlockOutChannels))
			}
			for _, list := range []*unet.PerLevel{&c.LayersPerBlock, &c.AttentionHeads, &c.CrossAttentionDim} {
				if len(*list) == 1 {
					*list = slices.Repeat(*list, len(c.BlockOutChannels))
				}
			}
			for i, block := range c.DownBlockTypes[:len(c.DownBlockTypes)-1] { // the last one's is the middle's
				if block == "DownBlock2D" { // which has no use for its depth
					c.TransformerLayers[i] = unet.PerLevel{1}
				}
			}
		}
		a, b = x, y
	case "vae":
		var x, y vae.Config
		if x, err = vae.ParseConfig(got, component); err == nil {
			y, err = vae.ParseConfig(want, component)
		}
		a, b = x, y
	default:
		var x, y clip.Config
		if x, err = clip.ParseConfig(got, component); err == nil {
			y, err = clip.ParseConfig(want, component)
		}
		if component == "text_encoder" {
			x.ProjectionDim, y.ProjectionDim = 0, 0 // which has no tensor
		}
		a, b = x, y
	}
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s: configuration\n%+v, %v\nwant\n%+v", component, a, err, b)
	}
}

// BenchmarkOpen opens a full base of 7 GB and describes every tensor.
func BenchmarkOpen(b *testing.B) {
	path := sparse(b, original(b, synthetic+"base"), nil)
	for b.Loop() {
		c, err := singlefile.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
			src := c.Component(component)
			for _, name := range src.Names() {
				if _, _, err := src.Describe(name); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
