package worker

import (
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// TestBatchKeys: what GenerateBatch computes alone has no key, and is not waited for.
func TestBatchKeys(t *testing.T) {
	key := func(p sdxl.Parameters) string {
		return BatchKey(Task{Job: engine.Job{Model: engine.Base, Parameters: p}})
	}
	if key(sdxl.Parameters{}) == "" || key(sdxl.Parameters{}) == key(sdxl.Parameters{Steps: 3}) {
		t.Error("tasks that are computed together have no key, or different ones the same")
	}
	for what, p := range map[string]sdxl.Parameters{
		"embeddings": {EmbeddingsGiven: true}, "a second pass": {Hires: &sdxl.HiresParameters{}},
		"ControlNets": {Controls: make([]sdxl.ControlParameters, 1)}, "T2I-Adapters": {T2IAdapters: make([]sdxl.T2IAdapterParameters, 1)},
	} {
		if got := key(p); got != "" {
			t.Errorf("%s: key %s, want none", what, got)
		}
	}
}
