package singlefile_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/nn/weights"
)

// TestIndexOfShards: a checkpoint in shards opens by its index, with the tensors of all of them.
func TestIndexOfShards(t *testing.T) {
	whole, dir := original(t, synthetic+"base"), t.TempDir()
	owner := map[string]string{}
	var shards [3]map[string][]int
	for i, name := range slices.Sorted(maps.Keys(whole)) {
		k := i % len(shards)
		if shards[k] == nil {
			shards[k] = map[string][]int{}
		}
		shards[k][name], owner[name] = whole[name], fmt.Sprintf("model-%05d-of-%05d.safetensors", k+1, len(shards))
	}
	for k, shapes := range shards {
		if err := os.Rename(sparse(t, shapes, nil), filepath.Join(dir, fmt.Sprintf("model-%05d-of-%05d.safetensors", k+1, len(shards)))); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "weight_map": owner})
	if err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(dir, "model.safetensors.index.json")
	if err := os.WriteFile(index, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, one := open(t, index), open(t, sparse(t, whole, nil))
	if c.Kind != one.Kind || c.Kind.Form != weights.Checkpoint || len(c.Unclaimed)+len(c.Missing()) > 0 {
		t.Errorf("%v, missing %v, unclaimed %v", c.Kind, c.Missing(), c.Unclaimed)
	}
	for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
		if got, want := c.Component(component).Names(), one.Component(component).Names(); !slices.Equal(got, want) {
			t.Errorf("%s has %d tensors, want the %d of the file", component, len(got), len(want))
		}
	}
}
