package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

const unetStem = "diffusion_pytorch_model"

// shardedUNet writes the tensors t0 to t4 of a UNet into three shards and their index, and returns its folder.
func shardedUNet(t *testing.T) (dir string, tensors []Tensor) {
	t.Helper()
	for i := range 5 {
		tensors = append(tensors, NewTensor(fmt.Sprintf("t%d", i), kernels.F16, []int{1}, []byte{byte(i), 1}))
	}
	dir = layout(t, map[string]string{indexFile: baseIndex})
	writeShards(t, filepath.Join(dir, "unet"), unetStem, "", false, tensors, 3)
	return filepath.Join(dir, "unet"), tensors
}

func shardFile(i int) string { return fmt.Sprintf("%s-%05d-of-00003.safetensors", unetStem, i) }

// editWeightMap changes the index of a folder's shards.
func editWeightMap(t *testing.T, dir string, change func(weightMap map[string]string)) {
	t.Helper()
	path := filepath.Join(dir, unetStem+".safetensors.index.json")
	weightMap, err := readIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	change(weightMap)
	data, err := json.Marshal(map[string]any{"weight_map": weightMap})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestShardIndexesThatAreOff loads shards whose index is wrong about them: what counts is what the shards hold.
func TestShardIndexesThatAreOff(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string, m map[string]string){
		"right":                   func(*testing.T, string, map[string]string) {},
		"wrong shard":             func(_ *testing.T, _ string, m map[string]string) { m["t0"] = shardFile(3) },
		"every shard wrong":       func(_ *testing.T, _ string, m map[string]string) { m["t0"], m["t4"] = m["t4"], m["t0"] },
		"one left out":            func(_ *testing.T, _ string, m map[string]string) { delete(m, "t3") },
		"a whole shard left out":  func(_ *testing.T, _ string, m map[string]string) { delete(m, "t4") },
		"one too many":            func(_ *testing.T, _ string, m map[string]string) { m["ghost"] = shardFile(2) },
		"a shard of another name": func(_ *testing.T, _ string, m map[string]string) { m["t4"] = "gone.safetensors" },
		"damaged shard that is not named": func(t *testing.T, dir string, m map[string]string) {
			if err := os.WriteFile(filepath.Join(dir, shardFile(4)), []byte("cut"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a stray whole file": func(t *testing.T, dir string, m map[string]string) {
			stray := []Tensor{NewTensor("t0", kernels.F16, []int{1}, []byte{99, 99}), NewTensor("other", kernels.F16, []int{1}, []byte{99, 99})}
			if err := Write(filepath.Join(dir, unetStem+".safetensors"), stray, nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		dir, tensors := shardedUNet(t)
		editWeightMap(t, dir, func(m map[string]string) { change(t, dir, m) })
		folder, err := OpenFolder(filepath.Dir(dir))
		if err != nil {
			t.Fatal(err)
		}
		src, err := folder.Component("unet", Variant{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := []string{"t0", "t1", "t2", "t3", "t4"}; !slices.Equal(src.Names(), want) {
			t.Errorf("%s: tensors %v", name, src.Names())
		}
		for i, want := range tensors {
			data, _ := want.Data()
			if _, _, got, err := src.Tensor(want.Name); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: tensor %d holds %v, error %v", name, i, got, err)
			}
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestShardsThatAreMissing has tensors that only a shard that is not there could hold.
func TestShardsThatAreMissing(t *testing.T) {
	dir, _ := shardedUNet(t)
	if err := os.Remove(filepath.Join(dir, shardFile(2))); err != nil {
		t.Fatal(err)
	}
	_, err := OpenComponent(filepath.Join(dir, unetStem+".safetensors.index.json"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), shardFile(2)) || !strings.Contains(err.Error(), `"t2"`) {
		t.Errorf("error %v", err)
	}
	// An index that outlived all its shards does not stand in the way of the whole file that replaced them.
	for i := range 3 {
		os.Remove(filepath.Join(dir, shardFile(i+1)))
	}
	if err := Write(filepath.Join(dir, unetStem+".safetensors"), []Tensor{NewTensor("whole", kernels.F16, []int{1}, make([]byte, 2))}, nil); err != nil {
		t.Fatal(err)
	}
	folder, err := OpenFolder(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	src, err := folder.Component("unet", Variant{})
	if err != nil || !slices.Equal(src.Names(), []string{"whole"}) {
		t.Fatalf("error %v", err)
	}
	src.Close()
}

// TestShardsThatShareATensor reads a tensor that two shards hold as the reference does: the last shard has the last
// word.
func TestShardsThatShareATensor(t *testing.T) {
	dir, _ := shardedUNet(t)
	for i, value := range map[int]byte{1: 11, 3: 33} {
		shared := []Tensor{NewTensor("shared", kernels.F16, []int{1}, []byte{value, value}), NewTensor(fmt.Sprint("own", i), kernels.F16, []int{1}, make([]byte, 2))}
		if err := Write(filepath.Join(dir, shardFile(i)), shared, nil); err != nil {
			t.Fatal(err)
		}
	}
	editWeightMap(t, dir, func(m map[string]string) {
		clear(m)
		m["shared"], m["own3"], m["t2"] = shardFile(1), shardFile(3), shardFile(2)
	})
	src, err := OpenComponent(filepath.Join(dir, unetStem+".safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, _, data, err := src.Tensor("shared"); err != nil || data[0] != 33 {
		t.Errorf("data %v, error %v", data, err)
	}
}

// TestRecogniseShards: an index is what its shards are together, and one that lacks a shard is damaged.
func TestRecogniseShards(t *testing.T) {
	tensors := []Tensor{
		NewTensor("decoder.conv_in.weight", kernels.F16, []int{1}, []byte{1, 1}), NewTensor("decoder.conv_out.weight", kernels.F16, []int{1}, []byte{2, 1}),
		NewTensor("encoder.conv_in.weight", kernels.F16, []int{1}, []byte{3, 1}),
	}
	for _, variant := range []string{"", "fp16"} {
		dir := t.TempDir()
		writeShards(t, dir, unetStem, variant, false, tensors, 3)
		index := filepath.Join(dir, unetStem+".safetensors.index.json")
		if variant != "" {
			index = filepath.Join(dir, unetStem+".safetensors.index.fp16.json")
		}
		k, err := Recognise(index)
		if flag, _ := k.Flag(); err != nil || k.Form != ComponentForm || k.Family != VAE || flag != "-vae" || k.Detail != "3 shards by their index" {
			t.Errorf("%s: %v, %v", index, k, err)
		}
		weightMap, err := readIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		gone := weightMap["encoder.conv_in.weight"]
		if err := os.Remove(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
		var bad *FileError
		if k, err := Recognise(index); !errors.As(err, &bad) || !strings.Contains(err.Error(), gone) {
			t.Errorf("without a shard: %v, %v", k, err)
		}
	}
	file := filepath.Join(layout(t, map[string]string{indexFile: baseIndex}), indexFile)
	if k, err := Recognise(file); err != nil || !strings.Contains(k.Detail, "give the folder") {
		t.Errorf("%v, %v", k, err)
	}
}
