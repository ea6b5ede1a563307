package sdxl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Preset is what a few-step model, or one trained with flow matching, is run with, as its model card says. A request's own values win over it.
type Preset struct {
	Name      string
	Scheduler string         // a name that scheduler.Config.As takes
	Config    map[string]any // keys of the scheduler's config that replace the model's own: those that it was distilled for
	Steps     int            // num_inference_steps; of Timesteps, where there are some
	Timesteps []float64      // custom timesteps
	Guidance  float64        // guidance_scale
	Eta       float64        // of TCD
}

// NoPreset is the Request.Preset that turns off the one that goes with the model's file.
const NoPreset = "none"

var trailing = map[string]any{"timestep_spacing": "trailing"}

// presets have the numbers of the model cards on huggingface.co.
var presets = []Preset{
	// stabilityai/sdxl-turbo: one step, guidance 0, 512×512; its scheduler is EulerAncestralDiscreteScheduler, trailing.
	{Name: "turbo", Scheduler: "euler_a", Config: trailing, Steps: 1},

	// ByteDance/SDXL-Lightning: EulerDiscreteScheduler with timestep_spacing="trailing", the steps of the file, guidance 0.
	// The file of one step predicts x0: prediction_type="sample".
	{Name: "lightning1", Scheduler: "euler", Config: map[string]any{"timestep_spacing": "trailing", "prediction_type": "sample"}, Steps: 1},
	{Name: "lightning2", Scheduler: "euler", Config: trailing, Steps: 2},
	{Name: "lightning4", Scheduler: "euler", Config: trailing, Steps: 4},
	{Name: "lightning8", Scheduler: "euler", Config: trailing, Steps: 8},

	// ByteDance/Hyper-SD: LoRAs of 2, 4 and 8 steps with DDIMScheduler, timestep_spacing="trailing", guidance 0; the
	// CFG-preserved ones of 8 and 12 steps the same with guidance 5 to 8; the UNet of one step with LCMScheduler and
	// timesteps=[800]; the unified LoRA of 1 to 8 steps with TCDScheduler and eta=1.0, of which less gives more detail.
	{Name: "hyper1", Scheduler: "lcm", Steps: 1, Timesteps: []float64{800}},
	{Name: "hyper2", Scheduler: "ddim", Config: trailing, Steps: 2},
	{Name: "hyper4", Scheduler: "ddim", Config: trailing, Steps: 4},
	{Name: "hyper8", Scheduler: "ddim", Config: trailing, Steps: 8},
	{Name: "hyper-unified", Scheduler: "tcd", Steps: 1, Eta: 1},
	{Name: "hyper-cfg8", Scheduler: "ddim", Config: trailing, Steps: 8, Guidance: 5},
	{Name: "hyper-cfg12", Scheduler: "ddim", Config: trailing, Steps: 12, Guidance: 5},

	// tianweiy/DMD2: LCMScheduler, guidance 0, timesteps=[999, 749, 499, 249] of the UNet and the LoRA of four steps,
	// timesteps=[399] of the UNet of one.
	{Name: "dmd2-4", Scheduler: "lcm", Steps: 4, Timesteps: []float64{999, 749, 499, 249}},
	{Name: "dmd2-1", Scheduler: "lcm", Steps: 1, Timesteps: []float64{399}},

	// latent-consistency/lcm-sdxl, a UNet that embeds the guidance scale: LCMScheduler, 4 steps, guidance 8.
	{Name: "lcm", Scheduler: "lcm", Steps: 4, Guidance: 8},
	// latent-consistency/lcm-lora-sdxl: LCMScheduler, 4 steps, guidance 0, or 1 to 2.
	{Name: "lcm-lora", Scheduler: "lcm", Steps: 4},

	// h1t/TCD-SDXL-LoRA: TCDScheduler, 4 steps, guidance 0, eta=0.3.
	{Name: "tcd", Scheduler: "tcd", Steps: 4, Eta: 0.3},

	// wangfuyun/PCM_Weights, by the table of its Space radames/Phased-Consistency-Model-PCM: TCDScheduler with the
	// pipeline's eta of 0, the steps of the file, guidance 0 of smallcfg and 7.5 of normalcfg; lcmlike with LCMScheduler.
	{Name: "pcm2", Scheduler: "tcd", Steps: 2},
	{Name: "pcm4", Scheduler: "tcd", Steps: 4},
	{Name: "pcm8", Scheduler: "tcd", Steps: 8},
	{Name: "pcm16", Scheduler: "tcd", Steps: 16},
	{Name: "pcm-cfg4", Scheduler: "tcd", Steps: 4, Guidance: 7.5},
	{Name: "pcm-cfg8", Scheduler: "tcd", Steps: 8, Guidance: 7.5},
	{Name: "pcm-cfg16", Scheduler: "tcd", Steps: 16, Guidance: 7.5},
	{Name: "pcm-lcm", Scheduler: "lcm", Steps: 4},

	// fancyfeast/bigaspv2-5, which is trained with flow matching and takes as many steps as its base: Euler, schedule beta
	// at a shift of 1, guidance 4 to 6. The card names no number of steps. With the schedule normal it wants a shift of 3 to
	// 12, best 6.
	{Name: "bigasp2.5", Scheduler: "flow_euler_beta", Config: map[string]any{"shift": 1.0}, Steps: 28, Guidance: 5},
}

// Presets lists the presets, sorted by name.
func Presets() []Preset {
	list := slices.Clone(presets)
	slices.SortFunc(list, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// PresetNames lists what Request.Preset may be: the names of Presets, and none.
func PresetNames() []string {
	list := []string{NoPreset}
	for _, p := range Presets() {
		list = append(list, p.Name)
	}
	slices.Sort(list)
	return list
}

func presetNamed(name string) *Preset {
	for i := range presets {
		if presets[i].Name == name {
			return &presets[i]
		}
	}
	return nil
}

// usePreset fills a request's absent values in from the preset that it asks for or that goes with a file's name, if there
// is one. A refiner has none of its own.
func (s *Spec) usePreset(q *resolved) error {
	r := &q.request
	name, from := r.Preset, r.PresetFrom
	if name == "" && !s.refiner() {
		name, from = s.filePreset(q.loras, func(string) string { return "" })
	}
	if name == "" || name == NoPreset {
		return nil
	}
	p := presetNamed(name)
	if p == nil {
		return bad("preset", fmt.Sprintf("%q", name), "one of %s", strings.Join(PresetNames(), ", "))
	}
	q.preset, q.Preset, q.PresetFrom = p, p.Name, from
	if r.Scheduler == "" {
		r.Scheduler = p.Scheduler
	}
	if r.Steps == 0 && len(r.Timesteps) == 0 && len(r.Sigmas) == 0 {
		if r.Timesteps = slices.Clone(p.Timesteps); len(p.Timesteps) == 0 {
			r.Steps = p.Steps
		}
	}
	if r.Guidance == nil && len(r.GuidancePerStep) == 0 {
		r.Guidance = new(p.Guidance)
	}
	if r.Eta == nil {
		r.Eta = new(p.Eta)
	}
	return nil
}

// ChoosePreset is the request with the preset that goes with a file of it, if it asks for none: a LoRA's, one that a prompt
// names too, whose SHA-256 is a published file's whatever it is called. It reads each such file once. Resolve, which reads
// none, goes by names alone; Generate, Start and Ensemble choose so themselves.
func (s *Spec) ChoosePreset(r Request) Request {
	if r.Preset != "" || s.refiner() {
		return r
	}
	q := &resolved{request: r, Parameters: Parameters{ImagesPerPrompt: cmp.Or(r.ImagesPerPrompt, 1)}}
	if s.resolveLoRAsOf(q) != nil {
		return r // Resolve says what is wrong
	}
	r.Preset, r.PresetFrom = s.filePreset(q.loras, hashOfFile)
	return r
}

// AdapterHashes are the SHA-256 of the files of a request's adapters, those that its prompts name too, in the order of
// Parameters.LoRAs; "" of one that can't be read, and nil for a request that Resolve refuses. Each file is read once.
func (s *Spec) AdapterHashes(r Request) (list []string) {
	q := &resolved{request: r, Parameters: Parameters{ImagesPerPrompt: cmp.Or(r.ImagesPerPrompt, 1)}}
	if s.resolveLoRAsOf(q) != nil {
		return nil
	}
	for _, l := range q.loras {
		list = append(list, hashOfFile(l.Path))
	}
	return list
}

// filePreset is the preset of the first file that has one: of the LoRA, the UNet in the place of the model's own, the
// model. hash is the SHA-256 of a LoRA whose name has none.
func (s *Spec) filePreset(loras []LoRA, hash func(path string) string) (name, from string) {
	for _, l := range loras {
		if name, from = PresetOf(l.Path, ""); name == "" {
			name, from = PresetOf(l.Path, hash(l.Path))
		}
		if name != "" {
			return name, from
		}
	}
	for _, file := range []string{s.unetFile, s.Path} {
		if name, from = PresetOf(file, ""); name != "" {
			break
		}
	}
	return name, from
}

// PresetNote is a line about the preset that was used, for people; "" if there was none.
func (p *Parameters) PresetNote() string {
	preset := presetNamed(p.Preset)
	if preset == nil {
		return ""
	}
	parts := []string{p.Scheduler}
	if spacing, ok := preset.Config["timestep_spacing"]; ok {
		parts = append(parts, fmt.Sprint(spacing))
	}
	if prediction, ok := preset.Config["prediction_type"]; ok {
		parts = append(parts, fmt.Sprintf("prediction %v", prediction))
	}
	if shift, ok := preset.Config["shift"]; ok {
		parts = append(parts, fmt.Sprintf("shift %v", shift))
	}
	unit := "steps"
	if p.Steps == 1 {
		unit = "step"
	}
	parts = append(parts, fmt.Sprintf("%d %s", p.Steps, unit))
	if len(p.Timesteps) > 0 {
		parts = append(parts, "timesteps "+strings.Trim(fmt.Sprint(p.Timesteps), "[]"))
	}
	parts = append(parts, fmt.Sprintf("guidance %v", p.Guidance))
	if p.Eta != 0 {
		parts = append(parts, fmt.Sprintf("eta %v", p.Eta))
	}
	note := "preset " + p.Preset + ": " + strings.Join(parts, ", ")
	if p.PresetFrom != "" {
		note += fmt.Sprintf(" (from %s; -preset none turns it off)", p.PresetFrom)
	}
	return note
}
