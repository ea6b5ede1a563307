package sdxl

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// hiddenKeys is a file's metadata with what no shape of the tiny nets shows.
func (g *controlGoldens) hiddenKeys(name string) map[string]string {
	g.t.Helper()
	var config map[string]any
	if err := json.Unmarshal(g.nets[name].Config, &config); err != nil {
		g.t.Fatal(err)
	}
	maps.DeleteFunc(config, func(key string, _ any) bool {
		return !slices.Contains([]string{"addition_time_embed_dim", "attention_head_dim", "norm_num_groups", "num_trans_head"}, key)
	})
	data, err := json.Marshal(config)
	if err != nil {
		g.t.Fatal(err)
	}
	return map[string]string{singlefile.MetadataPrefix + "controlnet/config.json": string(data)}
}

// original is ControlNet's own name of a tensor.
func originalControlName(t *testing.T, name string) string {
	t.Helper()
	layout := singlefile.UNetLayout{Layers: []int{2, 2, 2}, UpAttention: make([]bool, 3)}
	var n int
	var kind string
	switch {
	case strings.HasPrefix(name, "controlnet_cond_embedding.conv_in."):
		return strings.Replace(name, "controlnet_cond_embedding.conv_in.", "input_hint_block.0.", 1)
	case strings.HasPrefix(name, "controlnet_cond_embedding.conv_out."):
		return strings.Replace(name, "controlnet_cond_embedding.conv_out.", "input_hint_block.14.", 1)
	case strings.HasPrefix(name, "controlnet_cond_embedding.blocks."):
		fmt.Sscanf(name, "controlnet_cond_embedding.blocks.%d.%s", &n, &kind)
		return fmt.Sprintf("input_hint_block.%d.%s", 2*n+2, kind)
	case strings.HasPrefix(name, "controlnet_down_blocks."):
		fmt.Sscanf(name, "controlnet_down_blocks.%d.%s", &n, &kind)
		return fmt.Sprintf("zero_convs.%d.0.%s", n, kind)
	case strings.HasPrefix(name, "controlnet_mid_block."):
		return strings.Replace(name, "controlnet_mid_block.", "middle_block_out.0.", 1)
	}
	original, ok := layout.Original(name)
	if !ok {
		t.Fatalf("%s has no original name", name)
	}
	return original
}

// write writes tensors as a file with a net's hidden keys.
func (g *controlGoldens) write(file, like string, tensors []weights.Tensor) string {
	g.t.Helper()
	path := filepath.Join(g.dir, file)
	if err := weights.Write(path, tensors, g.hiddenKeys(like)); err != nil {
		g.t.Fatal(err)
	}
	return path
}

func floatsOf(t *testing.T, w weights.Tensor) []float32 {
	t.Helper()
	data, err := w.Data()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func tensorOf(name string, shape []int, x []float32) weights.Tensor {
	return weights.NewTensor(name, kernels.F32, shape, kernels.FloatFactor(x).Data)
}

// TestControlFiles: a net in one file, in diffusers' and in original names, is the net of the folder, bit for bit.
func TestControlFiles(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	for _, name := range []string{"full", "mid", "small", "union", "promax"} {
		r := controlled(g, name)
		if name == "union" || name == "promax" {
			r.Controls[0].Mode = "tile"
			if name == "union" {
				r.Controls[0].Mode = "depth"
			}
		}
		want := generated(t, m, r)
		files := map[string]string{"diffusers": g.write(name+".safetensors", name, g.tensors(name))}
		if name != "union" && name != "promax" {
			plain, prefixed := g.tensors(name), g.tensors(name)
			for i := range plain {
				plain[i].Name = originalControlName(t, plain[i].Name)
				prefixed[i].Name = "control_model." + plain[i].Name
			}
			files["original"], files["control_model."] = g.write(name+"-original.safetensors", name, plain), g.write(name+"-prefixed.safetensors", name, prefixed)
		}
		for kind, path := range files {
			r.Controls[0].Path = path
			if err := m.Spec().CheckControls(r); err != nil {
				t.Errorf("%s in %s names: %v", name, kind, err)
			}
			if got := generated(t, m, r); !slices.Equal(got.Latents.Data, want.Latents.Data) {
				t.Errorf("%s in %s names differs from the folder", name, kind)
			}
		}
	}
}

// unetTensors are the tiny UNet's, by name.
func unetTensors(t *testing.T, m *Model) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	src := m.UNet.Source()
	for _, name := range src.Names() {
		dtype, shape, data, err := src.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = floatsOf(t, weights.NewTensor(name, dtype, shape, data))
	}
	return all
}

// TestDifferenceFile: a file of differences to the UNet's weights is the net that it was made of, to the rounding of
// the differences, whatever LoRA the base has.
func TestDifferenceFile(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	base := unetTensors(t, m)
	tensors := g.tensors("full")
	deltas := 0
	for i, w := range tensors {
		values := floatsOf(t, w)
		if of, ok := base[w.Name]; ok {
			deltas++
			for k := range values {
				values[k] -= of[k]
			}
		}
		tensors[i] = tensorOf("control_model."+originalControlName(t, w.Name), w.Shape, values)
	}
	if deltas < 100 {
		t.Fatalf("%d differences", deltas)
	}
	tensors = append(tensors, tensorOf("difference", []int{1}, []float32{1}))
	r := controlled(g, "full")
	want := generated(t, m, r)
	path := g.write("difference.safetensors", "full", tensors)
	r.Controls[0].Path = path
	r.LoRAs = []LoRA{adapterFile(t, m, "adapter", 1, false)}
	generated(t, m, r)
	r.LoRAs = nil
	if err := m.Spec().CheckControls(r); err != nil {
		t.Error(err)
	}
	if far := moved(want.Latents, generated(t, m, r).Latents); far > 2e-5 {
		t.Errorf("the net of differences is %g from the net", far)
	}
}

// TestControlLoRA: a file that has products for some layers, some layers whole and lacks others is the net of the
// base's weights, changed so.
func TestControlLoRA(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	base := unetTensors(t, m)
	random := rand.New(rand.NewPCG(5, 5))
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(0.1 * random.NormFloat64())
		}
		return x
	}
	var file, merged []weights.Tensor
	products := 0
	for _, w := range g.tensors("full") {
		of, inBase := base[w.Name]
		name := originalControlName(t, w.Name)
		rows, columns := kernels.Matrix(w.Shape)
		module, isWeight := strings.CutSuffix(name, ".weight")
		switch {
		case !inBase:
			file, merged = append(file, tensorOf(name, w.Shape, floatsOf(t, w))), append(merged, w)
		case isWeight && len(w.Shape) > 1 && random.IntN(4) > 0:
			products++
			const rank = 3
			up, down := draw(rows*rank), draw(rank*columns)
			upShape, downShape := []int{rows, rank}, append([]int{rank}, w.Shape[1:]...)
			if len(w.Shape) == 4 {
				upShape = []int{rows, rank, 1, 1}
			}
			file = append(file, tensorOf(module+".up", upShape, up), tensorOf(module+".down", downShape, down))
			sum := slices.Clone(of)
			for i := range rows {
				for j := range columns {
					var product float32
					for k := range rank {
						product += up[i*rank+k] * down[k*columns+j]
					}
					sum[i*columns+j] += product
				}
			}
			merged = append(merged, tensorOf(w.Name, w.Shape, sum))
		case !isWeight || len(w.Shape) == 1: // norms and biases are there whole
			file, merged = append(file, tensorOf(name, w.Shape, floatsOf(t, w))), append(merged, w)
		default:
			merged = append(merged, tensorOf(w.Name, w.Shape, of))
		}
	}
	if products < 40 {
		t.Fatalf("%d products", products)
	}
	file = append(file, tensorOf("lora_controlnet", []int{1}, []float32{0}))
	r := controlled(g, "full")
	r.Controls[0].Path = g.write("merged.safetensors", "full", merged)
	want := generated(t, m, r)
	r.Controls[0].Path = g.write("control-lora.safetensors", "full", file)
	if err := m.Spec().CheckControls(r); err != nil {
		t.Error(err)
	}
	got := generated(t, m, r)
	if far := moved(want.Latents, got.Latents); far > 2e-5 {
		t.Errorf("the Control-LoRA is %g from the merged net", far)
	}
	r.LoRAs = []LoRA{adapterFile(t, m, "adapter", 1, false)}
	withLoRA := generated(t, m, r)
	r.Controls[0].Path = filepath.Join(g.dir, "merged.safetensors")
	if far := moved(withLoRA.Latents, generated(t, m, r).Latents); far > 2e-5 {
		t.Errorf("a LoRA of the base changes the Control-LoRA: %g", far)
	}
	r.LoRAs = nil

	first := strings.TrimSuffix(file[slices.IndexFunc(file, func(w weights.Tensor) bool { return strings.HasSuffix(w.Name, ".up") })].Name, "up")
	broken := slices.DeleteFunc(slices.Clone(file), func(w weights.Tensor) bool { return w.Name == first+"down" })
	var bad *RequestError
	r.Controls[0].Path = g.write("broken.safetensors", "full", broken)
	if _, err := m.Generate(t.Context(), r); !errors.As(err, &bad) || !strings.Contains(err.Error(), ".down") {
		t.Errorf("a product without its half: error %v", err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "short.safetensors"), []byte("short"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Controls[0].Path = filepath.Join(g.dir, "short.safetensors")
	if _, err := m.Generate(t.Context(), r); !errors.As(err, &bad) {
		t.Errorf("a truncated file: error %v", err)
	}
}
