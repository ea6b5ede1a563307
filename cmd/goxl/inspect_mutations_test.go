package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
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
)

// mutant is a model folder that is changed and restored again.
type mutant struct {
	t       *testing.T
	dir     string
	r       *rand.Rand
	files   map[string][]byte // as they were, by slash-separated path
	touched []string
}

func newMutant(t *testing.T, dir string, seed uint64) *mutant {
	m := &mutant{t: t, dir: dir, r: rand.New(rand.NewPCG(seed, 13)), files: map[string][]byte{}}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			m.files[path], err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mutant) write(path string, data []byte) {
	m.touched = append(m.touched, path)
	write(m.t, filepath.Join(m.dir, filepath.FromSlash(path)), string(data))
}

func (m *mutant) remove(path string) {
	m.touched = append(m.touched, path)
	if err := os.Remove(filepath.Join(m.dir, filepath.FromSlash(path))); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mutant) restore() {
	for _, path := range m.touched {
		if old, ok := m.files[path]; ok {
			write(m.t, filepath.Join(m.dir, filepath.FromSlash(path)), string(old))
		} else if err := os.RemoveAll(filepath.Join(m.dir, filepath.FromSlash(path))); err != nil {
			m.t.Fatal(err)
		}
	}
	m.touched = nil
}

// one picks from a list, which it sorts so that the choice is the same every time.
func (m *mutant) one(list []string) string {
	slices.Sort(list)
	return list[m.r.IntN(len(list))]
}

func (m *mutant) named(suffix string) string {
	var list []string
	for path := range m.files {
		if strings.HasSuffix(path, suffix) {
			list = append(list, path)
		}
	}
	return m.one(list)
}

// mutate changes one thing and says what.
func (m *mutant) mutate() string {
	switch n := m.r.IntN(20); {
	case n < 9:
		return m.mutateJSON()
	case n < 15:
		return m.mutateTensor()
	case n < 17:
		return m.mutateShards()
	}
	return m.mutateFile()
}

// mutateJSON gives a key of a configuration another value.
func (m *mutant) mutateJSON() string {
	file := m.named(".json")
	var content map[string]any
	if err := json.Unmarshal(m.files[file], &content); err != nil {
		m.t.Fatal(err)
	}
	key := "unknown"
	if m.r.IntN(12) > 0 {
		key = m.one(slices.Collect(maps.Keys(content)))
	}
	values := []any{nil, true, false, 0, 1, 2, 3, -1, 8, 0.5, 1e-30, 1e30, 1 << 31, int64(1) << 62, "", "silu", []any{}, []any{1, 2}, []any{nil, nil}, map[string]any{}}
	switch old := content[key].(type) {
	case float64:
		values = append(values, 2*old, old/2, old+1, old-1, []any{old}, fmt.Sprint(old))
	case []any:
		values = append(values, old[1:], append(slices.Clone(old), old[len(old)-1]), slices.Repeat([]any{2}, len(old)))
	case string:
		values = append(values, old+"x", strings.ToLower(old), "CLIPTextModel", "StableDiffusionXLImg2ImgPipeline", "DDIMScheduler", "PNDMScheduler", "v_prediction", "sample")
	}
	if k := m.r.IntN(len(values) + 2); k < len(values) {
		content[key] = values[k]
	} else {
		delete(content, key)
	}
	data, err := json.Marshal(content)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(file, data)
	return fmt.Sprintf("%s: %s is %.80s", file, key, fmt.Sprint(content[key]))
}

// tensors are those of a weights file, in memory of their own.
func (m *mutant) tensors(file string) map[string]weights.Tensor {
	f, err := weights.Parse(file, slices.Clone(m.files[file]))
	if err != nil {
		m.t.Fatal(err)
	}
	list, err := weights.Tensors(f)
	if err != nil {
		m.t.Fatal(err)
	}
	tensors := map[string]weights.Tensor{}
	for _, x := range list {
		tensors[x.Name] = x
	}
	return tensors
}

// writeTensors writes what weights.Write would, without waiting for the disk.
func (m *mutant) writeTensors(file string, tensors map[string]weights.Tensor) {
	header, body := map[string]any{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		x := tensors[name]
		data, err := x.Data()
		if err != nil {
			m.t.Fatal(err)
		}
		header[name] = map[string]any{"dtype": "F32", "shape": x.Shape, "data_offsets": []int{len(body), len(body) + len(data)}}
		body = append(body, data...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(file, slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, body))
}

// mutateTensor changes a tensor of a weights file.
func (m *mutant) mutateTensor() string {
	file := m.named(".safetensors")
	tensors := m.tensors(file)
	name := m.one(slices.Collect(maps.Keys(tensors)))
	x := tensors[name]
	old, err := x.Data()
	if err != nil {
		m.t.Fatal(err)
	}
	data := slices.Clone(old)
	what := ""
	switch kind := m.r.IntN(8); kind {
	case 0:
		what = "is missing"
		delete(tensors, name)
	case 1:
		what = "has another name"
		delete(tensors, name)
		tensors[m.one([]string{name + "s", strings.ToUpper(name), "model." + name, strings.Replace(name, ".0.", ".5.", 1) + "."})] = x
	case 2:
		other := m.one([]string{"logit_scale", "model_ema.decay", "vision_model.x.weight", "time_embedding.cond_proj.weight", "text_model.encoder.layers.9.x", "down_blocks.7.resnets.0.conv1.weight", "class_embedding.weight"})
		what = "has " + other + " beside it"
		tensors[other] = x
	case 3:
		shape := slices.Clone(x.Shape)
		slices.Reverse(shape)
		what = fmt.Sprintf("has shape %v", shape)
		x.Shape = shape
		tensors[name] = x
	case 4:
		shape := append(slices.Clone(x.Shape), 1, 1)
		what = fmt.Sprintf("has shape %v", shape)
		x.Shape = shape
		tensors[name] = x
	default:
		value := []float32{float32(math.NaN()), float32(math.Inf(-1)), 3e38, 1e20, 0, -7}[m.r.IntN(6)]
		at := m.r.IntN(len(data) / 4)
		if strings.HasSuffix(name, "token_embedding.weight") {
			at %= x.Shape[1] // the first row, which starts every prompt: no prompt reads all of them
		}
		what = fmt.Sprintf("holds %v at %d", value, at)
		binary.LittleEndian.PutUint32(data[4*at:], math.Float32bits(value))
		tensors[name] = weights.NewTensor(name, kernels.F32, x.Shape, data)
	}
	m.writeTensors(file, tensors)
	return fmt.Sprintf("%s: %s %s", file, name, what)
}

// mutateShards cuts the UNet into two shards and gets their index wrong.
func (m *mutant) mutateShards() string {
	const whole, stem = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model"
	tensors := m.tensors(whole)
	names := slices.Sorted(maps.Keys(tensors))
	cut := 1 + m.r.IntN(len(names)-1)
	weightMap := map[string]string{}
	for i, part := range [][]string{names[:cut], names[cut:]} {
		shard := fmt.Sprintf("%s-%05d-of-00002.safetensors", stem, i+1)
		kept := map[string]weights.Tensor{}
		for _, name := range part {
			kept[name], weightMap[name] = tensors[name], filepath.Base(shard)
		}
		m.writeTensors(shard, kept)
	}
	name, what := m.one(names), ""
	switch m.r.IntN(6) {
	case 0:
		what = "leaves out " + name
		delete(weightMap, name)
	case 1:
		what = "has a tensor too many"
		weightMap["ghost"] = weightMap[name]
	case 2:
		what = "has " + name + " in another shard"
		weightMap[name] = weightMap[names[m.r.IntN(2)*(len(names)-1)]]
	case 3:
		what = "has " + name + " in a shard that is not there"
		weightMap[name] = "gone.safetensors"
	case 4:
		what = "is right"
		m.remove(whole)
	case 5:
		what = "has lost its second shard"
		m.remove(strings.TrimSuffix(whole, ".safetensors") + "-00002-of-00002.safetensors")
		if m.r.IntN(2) == 0 {
			what += " and the whole file"
			m.remove(whole)
		}
	}
	data, err := json.Marshal(map[string]any{"weight_map": weightMap})
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(stem+".safetensors.index.json", data)
	return "the index of shards " + what
}

// mutateFile damages a file, whatever it is.
func (m *mutant) mutateFile() string {
	file := m.named("")
	data := slices.Clone(m.files[file])
	switch m.r.IntN(8) {
	case 0:
		m.remove(file)
		return file + " is gone"
	case 1:
		m.write(file, nil)
		return file + " is empty"
	case 2:
		n := m.r.IntN(len(data))
		m.write(file, data[:n])
		return fmt.Sprintf("%s ends after %d bytes", file, n)
	case 3:
		m.write(file, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"))
		return file + " is a pointer"
	case 4:
		m.write(file, append(data, ' '))
		return file + " has a space more"
	case 5:
		m.remove(file)
		m.write(strings.TrimSuffix(file, filepath.Ext(file))+".fp16"+filepath.Ext(file), data)
		return file + " is a variant"
	case 6:
		m.remove(file)
		m.write(strings.TrimSuffix(file, filepath.Ext(file))+".bin", data)
		return file + " is called .bin"
	}
	at := m.r.IntN(min(len(data), 4000))
	data[at] ^= 1 << m.r.IntN(8)
	m.write(file, data)
	return fmt.Sprintf("%s has a bit flipped in byte %d", file, at)
}
