package sdxl

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// weightFiles lists the weight files of a model folder.
func weightFiles(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.safetensors"))
	if err != nil || len(files) < 3 {
		t.Fatalf("weight files %v, %v", files, err)
	}
	return files
}

// shard splits a weights file in two and writes their index, both in the spelling that diffusers uses now.
func shard(t *testing.T, file, variant string) {
	t.Helper()
	f, err := weights.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(file, ".safetensors")
	where := map[string]string{}
	for i, part := range [][]weights.Tensor{tensors[:len(tensors)/2], tensors[len(tensors)/2:]} {
		name := fmt.Sprintf("%s%s-%05d-of-00002.safetensors", base, variant, i+1)
		if err := weights.Write(name, part, nil); err != nil {
			t.Fatal(err)
		}
		for _, tt := range part {
			where[tt.Name] = filepath.Base(name)
		}
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": where})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".safetensors.index"+variant+".json", index, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// TestStorage opens base and refiner saved plain, as fp16 variant, and sharded: the same numbers in another form give the same image, to the bit.
func TestStorage(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	forms := map[string]func(file string){
		"plain":      func(string) {},
		"variant":    func(file string) { os.Rename(file, strings.TrimSuffix(file, "safetensors")+"fp16.safetensors") },
		"shards":     func(file string) { shard(t, file, "") },
		"fp16shards": func(file string) { shard(t, file, ".fp16") },
	}
	for _, dtype := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
		var want [2][]float32
		for _, form := range []string{"plain", "variant", "shards", "fp16shards"} {
			t.Run(dtype.String()+" "+form, func(t *testing.T) {
				var dirs [2]string
				for i, name := range []string{"tiny", "tiny-refiner"} {
					dirs[i] = filepath.Join(t.TempDir(), name)
					if err := Synthesise(t.Context(), name, dtype, dirs[i]); err != nil {
						t.Fatal(err)
					}
					for _, file := range weightFiles(t, dirs[i]) {
						forms[form](file)
					}
				}
				base, err := Open(t.Context(), dirs[0], Options{Host: hostOf(m.dev)})
				if err != nil {
					t.Fatal(err)
				}
				defer base.Close()
				refiner, err := refinerOf(t, base, dirs[1])
				if err != nil {
					t.Fatal(err)
				}
				defer refiner.Close()
				drawn, err := base.Generate(context.Background(), small())
				if err != nil {
					t.Fatal(err)
				}
				r := small()
				r.Image = image.NewNRGBA(image.Rect(0, 0, 48, 40))
				refined, err := refiner.Generate(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				for i, got := range [][]float32{drawn.Latents.Data, refined.Latents.Data} {
					if want[i] == nil {
						want[i] = got
					}
					if !slices.Equal(got, want[i]) {
						t.Errorf("image %d differs from the plain form's", i)
					}
				}
			})
		}
	}
}

// TestSynthesiseKeepsWhatIsThere refuses to write over a folder, or a file.
func TestSynthesiseKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	mine := filepath.Join(dir, "mine")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, mine); err == nil || !strings.Contains(err.Error(), mine) {
		t.Errorf("a file: error %v", err)
	}
	if info, err := os.Stat(mine); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the file is %v, %v", info, err)
	}
	if err := Synthesise(t.Context(), "huge", kernels.F32, filepath.Join(dir, "new")); err == nil {
		t.Error("an unknown name was taken")
	}
}
