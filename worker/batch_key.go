package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// BatchKey is the job.Job.Batch of a task that was resolved: tasks with the same key can share their steps. They may
// differ in prompts, seeds, sizes of micro-conditioning, images to begin with, masks and images of image prompts, and in
// what becomes of their images. It is "" for a task that is computed alone, as those with ControlNets, T2I-Adapters or a
// second pass are.
func BatchKey(t Task) string {
	p := t.Job.Parameters
	alone := p.EmbeddingsGiven || len(p.Controls) > 0 || len(p.T2IAdapters) > 0 || p.Hires != nil || t.Job.Upscale != nil
	if t.Job.Model == engine.Ensemble || alone {
		return ""
	}
	seeds := len(p.Seeds)
	p.Prompts, p.Seed, p.Seeds, p.NoiseGiven, p.TextualInversions, p.ClipSkip, p.Watermark = nil, 0, nil, false, nil, 0, false
	p.OriginalSize, p.TargetSize, p.NegativeOriginalSize, p.NegativeTargetSize = sdxl.Size{}, sdxl.Size{}, sdxl.Size{}, sdxl.Size{}
	p.Crop, p.NegativeCrop, p.AestheticScore, p.NegativeAestheticScore = [2]int{}, [2]int{}, nil, nil
	p.Preset, p.PresetFrom = "", "" // what it says is in the others
	if p.Task == sdxl.Inpaint {
		p.Task = sdxl.ImageToImage // of which each has its own latents put back
	}
	p.Mask, p.SoftMask, p.MaskBlur, p.MaskInvert, p.MaskPadding, p.KeepUnmasked = false, false, 0, false, nil, nil
	p.InpaintFill, p.Outpaint, p.Resize = "", sdxl.Border{}, ""
	data, err := json.Marshal(struct {
		Name         string
		Model        engine.Model
		Seeds        int
		PreviewEvery int
		Parameters   sdxl.Parameters
	}{t.Job.Name, t.Job.Model, seeds, t.PreviewEvery, p})
	if err != nil { // a NaN, which nothing that was resolved has
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
