package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// sdInfo is A1111's info of an answer, which has it as a text in JSON. The lists have an entry for each image that was
// made.
type sdInfo struct {
	Prompt             string         `json:"prompt"`
	AllPrompts         []string       `json:"all_prompts"`
	NegativePrompt     string         `json:"negative_prompt"`
	AllNegativePrompts []string       `json:"all_negative_prompts"`
	Seed               uint64         `json:"seed"`
	AllSeeds           []uint64       `json:"all_seeds"`
	Subseed            uint64         `json:"subseed"`
	AllSubseeds        []uint64       `json:"all_subseeds"`
	SubseedStrength    float64        `json:"subseed_strength"`
	Width              int            `json:"width"`
	Height             int            `json:"height"`
	SamplerName        string         `json:"sampler_name"`
	CFGScale           float64        `json:"cfg_scale"`
	Steps              int            `json:"steps"`
	BatchSize          int            `json:"batch_size"`
	RestoreFaces       bool           `json:"restore_faces"`
	FaceRestoration    *string        `json:"face_restoration_model"`
	ModelName          string         `json:"sd_model_name"`
	ModelHash          *string        `json:"sd_model_hash"`
	VAEName            *string        `json:"sd_vae_name"`
	VAEHash            *string        `json:"sd_vae_hash"`
	SeedResizeFromW    int            `json:"seed_resize_from_w"`
	SeedResizeFromH    int            `json:"seed_resize_from_h"`
	DenoisingStrength  *float64       `json:"denoising_strength"`
	Extra              map[string]any `json:"extra_generation_params"`
	IndexOfFirstImage  int            `json:"index_of_first_image"`
	Infotexts          []string       `json:"infotexts"`
	Styles             []string       `json:"styles"`
	JobTimestamp       string         `json:"job_timestamp"`
	ClipSkip           int            `json:"clip_skip"`
	Inpainting         bool           `json:"is_using_inpainting_conditioning"`
	Version            string         `json:"version"`

	// Beyond A1111's: fields that nothing came of, what a client should know, jobs that were interrupted or skipped.
	Ignored     []string `json:"goxl_ignored"`
	Warnings    []string `json:"goxl_warnings"`
	Interrupted bool     `json:"goxl_interrupted"`
}

// newInfo is the info of a request before its images.
func (q *sdRequest) newInfo(s *Server, t *sdTask) *sdInfo {
	r := &q.job.Request
	i := &sdInfo{
		Prompt: r.Prompt, NegativePrompt: or(r.NegativePrompt, ""), Seed: q.seed, Subseed: q.subseed, SubseedStrength: r.SubseedStrength, CFGScale: *r.Guidance, Steps: r.Steps, BatchSize: q.batch,
		AllPrompts: []string{}, AllNegativePrompts: []string{}, AllSeeds: []uint64{}, AllSubseeds: []uint64{}, Infotexts: []string{}, Styles: []string{},
		Width: q.size.Width, Height: q.size.Height, SeedResizeFromW: -1, SeedResizeFromH: -1, Extra: map[string]any{}, ClipSkip: 1, JobTimestamp: sdTimestamp(t.began),
		ModelName: sdModelName(q.job.Name), Version: "goxl " + s.config.Version,
		Ignored: append([]string{}, q.ignored...), Warnings: append([]string{}, q.warnings...), Interrupted: t.interrupted || len(t.skipped) > 0,
	}
	if q.job.Model == engine.Refiner {
		i.ModelName = sdModelName(Model{Specs: s.specs(q.job.Name)}.refinerName())
	}
	switch {
	case q.img2img:
		i.DenoisingStrength, i.Inpainting = &r.Strength, r.Mask != nil && s.readsMask(q.job)
	case r.Hires != nil:
		i.DenoisingStrength = &r.Hires.Strength
	}
	if r.ClipSkip > 0 {
		i.ClipSkip = r.ClipSkip + 2
	}
	i.SamplerName, _ = imagefile.SamplerNames(r.Scheduler)
	return i
}

// or is what p points to, or otherwise if it points to nothing.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// add adds the images of a job, which was made with the parameters.
func (i *sdInfo) add(q *sdRequest, version string, j job.Job, p sdxl.Parameters) {
	if p.ModelHash != "" {
		i.ModelHash = &p.ModelHash
	}
	if vae := cmp.Or(p.VAE, p.TAESD); vae != "" {
		i.VAEName = &vae
	}
	sampler, schedule := imagefile.SamplerNames(p.Scheduler)
	if i.SamplerName = sampler; schedule != "" {
		i.Extra["Schedule type"] = schedule
	}
	if n := len(p.Experts); n > 0 {
		i.Extra["Refiner"], i.Extra["Refiner switch at"] = p.Experts[n-1].Model, p.DenoisingEnd
	}
	i.Extra["RNG"] = "CPU"
	for k, b := range j.Outputs {
		seed := or(b.Seed, p.Seed)
		subseed := q.subseed + (seed - q.seed)
		if p.SubseedStrength > 0 {
			subseed = p.Subseed + uint64(k)
		}
		i.AllPrompts, i.AllNegativePrompts = append(i.AllPrompts, i.Prompt), append(i.AllNegativePrompts, i.NegativePrompt)
		i.AllSeeds, i.AllSubseeds = append(i.AllSeeds, seed), append(i.AllSubseeds, subseed)
		text, _ := imagefile.InfotextOf(imagefile.Parameters{Parameters: p, Image: k, Version: version}.Texts())
		i.Infotexts = append(i.Infotexts, text)
		sdInfotextExtra(text, i.Extra)
	}
	for _, w := range j.Warnings {
		if !slices.Contains(i.Warnings, w) {
			i.Warnings = append(i.Warnings, w)
		}
	}
}

// text is the info in JSON.
func (i *sdInfo) text() (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(i)
	return strings.TrimSuffix(b.String(), "\n"), err
}
