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
	prompts := func(scale float64) []sdxl.IPAdapterParameters {
		return []sdxl.IPAdapterParameters{{Name: "x", Images: 1, Scale: scale}}
	}
	mask := sdxl.Parameters{
		Task: sdxl.Inpaint, Mask: true, SoftMask: true, MaskBlur: 3, MaskInvert: true, MaskPadding: new(8), KeepUnmasked: new(true),
		InpaintFill: sdxl.FillNoise, Outpaint: sdxl.Border{Left: 8}, Resize: sdxl.ResizeCrop,
	}
	if key(mask) == "" || key(mask) != key(sdxl.Parameters{Task: sdxl.ImageToImage}) || key(mask) == key(sdxl.Parameters{Task: sdxl.TextToImage}) {
		t.Error("masks do not share the steps of image-to-image, or share those of text-to-image")
	}
	of := func(scale float64) string { return key(sdxl.Parameters{IPAdapters: prompts(scale)}) }
	if of(1) == "" || of(1) == of(0.5) || of(1) == key(sdxl.Parameters{}) {
		t.Error("image prompts do not share steps with their like alone")
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
