package sdxl

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// TestPresetsMatchDiffusers runs each preset, and what a request gives beside one, as its model card says.
func TestPresetsMatchDiffusers(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/presets.safetensors")
	var cases []struct {
		goldenCase
		Preset string
	}
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	m, seen := newModels(t), map[string]bool{}
	for _, c := range cases {
		seen[c.Preset] = true
		r := c.request(t, g)
		r.Preset, r.LatentsOnly = c.Preset, true
		result, err := m.open(c.Model).Generate(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		want, _ := g.Floats(c.Name)
		golden.Near(t, c.Name, result.Latents.Data, want, 5e-5)
		if result.Parameters.Preset != c.Preset || result.Parameters.PresetFrom != "" {
			t.Errorf("%s: the parameters have preset %q from %q", c.Name, result.Parameters.Preset, result.Parameters.PresetFrom)
		}
	}
	for _, p := range Presets() {
		if !seen[p.Name] {
			t.Errorf("no golden of preset %s", p.Name)
		}
	}
}

func TestPresetRunsOneSampleAStep(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	for _, p := range Presets() {
		q, err := base.resolve(Request{Preset: p.Name})
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		if q.guided() != (p.Guidance > 1) || len(q.schedule.Steps) != p.Steps || q.Steps != p.Steps {
			t.Errorf("%s: guided %v with guidance %v; %d evaluations, %d steps, want %d", p.Name, q.guided(), p.Guidance, len(q.schedule.Steps), q.Steps, p.Steps)
		}
		if name, err := scheduler.Lookup(p.Scheduler); err != nil || name != p.Scheduler {
			t.Errorf("%s: scheduler %s: %v", p.Name, p.Scheduler, err)
		}
	}
}

// What a request gives wins; what it does not give is the preset's, not the model's.
func TestRequestWinsOverPreset(t *testing.T) {
	t.Parallel()
	base, refiner := specsOf(t)
	resolve := func(s *Spec, r Request) Parameters {
		t.Helper()
		p, err := s.Resolve(r)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := resolve(base, Request{Preset: "dmd2-4"})
	if p.Scheduler != "lcm" || !slices.Equal(p.Timesteps, []float64{999, 749, 499, 249}) || p.Steps != 4 || p.Guidance != 0 {
		t.Errorf("%v", p)
	}
	p = resolve(base, Request{Preset: "dmd2-4", Steps: 6, Scheduler: "DPM++ 2M Karras", GuidancePerStep: []float64{3, 1}})
	if p.Scheduler != "k_dpmpp_2m_karras" || p.Timesteps != nil || p.Steps != 6 || p.Guidance != 3 {
		t.Errorf("%v", p)
	}
	p = resolve(base, Request{Preset: "tcd", Sigmas: []float64{10, 1, 0}, Scheduler: "euler", Eta: new(0.0), Guidance: new(5.0)})
	if p.Scheduler != "euler" || p.Steps != 2 || p.Eta != 0 || p.Guidance != 5 {
		t.Errorf("%v", p)
	}
	if p = resolve(base, Request{Preset: "tcd"}); p.Eta != 0.3 {
		t.Errorf("%v", p)
	}
	// The model's own file has a preset, a refiner none.
	named := *base
	named.Path = "models/sdxl_lightning_4step.safetensors"
	p = resolve(&named, Request{})
	if want := "preset lightning4: euler, trailing, 4 steps, guidance 0 (from the name sdxl_lightning_4step.safetensors; -preset none turns it off)"; p.PresetNote() != want {
		t.Errorf("%q, want %q", p.PresetNote(), want)
	}
	if p = resolve(&named, Request{Preset: NoPreset}); p.Preset != "" || p.Steps != 50 || p.Guidance != 5 || p.PresetNote() != "" {
		t.Errorf("%v", p)
	}
	if p = resolve(&named, Request{Preset: "hyper1"}); p.PresetNote() != "preset hyper1: lcm, 1 step, timesteps 800, guidance 0" {
		t.Errorf("%q", p.PresetNote())
	}
	if p = resolve(base, Request{Preset: "bigasp2.5"}); p.PresetNote() != "preset bigasp2.5: flow_euler_beta, shift 1, 28 steps, guidance 5" {
		t.Errorf("%q", p.PresetNote())
	}
	other := *refiner
	other.Path = named.Path
	if p = resolve(&other, Request{Image: Blank{Size{64, 64}}}); p.Preset != "" {
		t.Errorf("%v", p)
	}
	// A LoRA tells it before the UNet, the UNet before the model.
	named.unetFile = "dmd2_sdxl_4step_unet_fp16.bin"
	if p = resolve(&named, Request{}); p.Preset != "dmd2-4" {
		t.Errorf("%v", p)
	}
	if p = resolve(&named, Request{LoRAs: []LoRA{{Path: "style.safetensors"}, {Path: "Hyper-SDXL-8steps-lora.safetensors"}}}); p.Preset != "hyper8" || p.PresetFrom != "the name Hyper-SDXL-8steps-lora.safetensors" {
		t.Errorf("%v", p)
	}
	named.unetFile = ""
	// In an ensemble the first expert's is for all.
	p, err := ResolveEnsemble(Request{Steps: 4}, []*Spec{&named, refiner}, []float64{0.5, 0})
	if err != nil || p.Preset != "lightning4" || p.Guidance != 0 || p.Scheduler != "euler" {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := base.Resolve(Request{Preset: "lightning3"}); err == nil || !strings.Contains(err.Error(), "lightning2, lightning4") {
		t.Errorf("%v", err)
	}
	if _, err := base.Resolve(Request{Preset: "lightning1", Scheduler: "euler_a"}); err == nil || !strings.Contains(err.Error(), "preset") {
		t.Errorf("%v", err)
	}
}

func TestPresetOf(t *testing.T) {
	for path, want := range map[string]string{
		"sdxl_lightning_4step_unet.safetensors": "lightning4", "/m/sdxl_lightning_1step_x0.safetensors": "lightning1",
		"sdxl_lightning_1step_unet_x0.safetensors": "lightning1", "SDXL_Lightning_8step_lora.safetensors": "lightning8",
		"Hyper-SDXL-4steps-lora.safetensors": "hyper4", "Hyper-SDXL-1step-lora.safetensors": "hyper-unified",
		"Hyper-SDXL-1step-Unet-Comfyui.fp16.safetensors": "hyper1", "Hyper-SDXL-12steps-CFG-lora.safetensors": "hyper-cfg12",
		"dmd2_sdxl_4step_lora_fp16.safetensors": "dmd2-4", "dmd2_sdxl_1step_unet_fp16.bin": "dmd2-1", "dmd2_sdxl_4step_unet.bin": "dmd2-4",
		"sd_xl_turbo_1.0_fp16.safetensors": "turbo", "models/sdxl-turbo": "turbo", "models/sdxl-turbo/": "turbo",
		"/c/models--stabilityai--sdxl-turbo/snapshots/71153311d3dbb46851df1931d3ca6e939de83304": "turbo",
		"lcm-lora-sdxl/pytorch_lora_weights.safetensors":                                        "lcm-lora", "latent-consistency/lcm-sdxl": "lcm",
		"/c/models--latent-consistency--lcm-lora-sdxl/snapshots/a18548/pytorch_lora_weights.safetensors": "lcm-lora",
		"TCD-SDXL-LoRA/pytorch_lora_weights.safetensors":                                                 "tcd", "pcm_sdxl_smallcfg_2step_converted.safetensors": "pcm2",
		"pcm_sdxl_smallcfg_16step_converted.safetensors": "pcm16", "pcm_sdxl_normalcfg_8step_converted_fp16.safetensors": "pcm-cfg8",
		"pcm_sdxl_lcmlike_lora_converted.safetensors": "pcm-lcm",
		"bigASP_v2.5.safetensors":                     "bigasp2.5", "/m/bigasp_v25.safetensors": "bigasp2.5", "bigaspV2_v20.safetensors": "",
		"/c/models--fancyfeast--bigaspv2-5/snapshots/71153311d3dbb46851df1931d3ca6e939de83304": "bigasp2.5",
		"": "", "/": "", "synth:tiny": "", "pytorch_lora_weights.safetensors": "", "sd_xl_base_1.0.safetensors": "", "snapshots/x": "",
		"dreamshaperXL_lightningDPMSDE.safetensors": "", "Hyper-SD15-4steps-lora.safetensors": "", "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors": "",
		"my-turbo-merge.safetensors": "", "sdxl_lightning_3step.safetensors": "",
	} {
		name, from := PresetOf(path, "")
		if name != want || (from == "") != (want == "") {
			t.Errorf("%s: %q from %q, want %q", path, name, from, want)
		}
		if name != "" && presetNamed(name) == nil {
			t.Errorf("%s: no preset %s", path, name)
		}
	}
	hash := "A764E6859B6E04047CD761C08FF0CEE96413A8E004C9F07707530CD776B19141"
	if name, from := PresetOf("renamed.safetensors", hash); name != "lcm-lora" || !strings.Contains(from, "SHA-256") {
		t.Errorf("%s from %s", name, from)
	}
	for hash, name := range presetHashes {
		if len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" || presetNamed(name) == nil {
			t.Errorf("hash %s of %s", hash, name)
		}
	}
}

// TestPresetOfRenamed: a LoRA is known by its content, whatever its name, and by what it holds now.
func TestPresetOfRenamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "speed.safetensors")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("published")
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("published")))
	presetHashes[hash] = "hyper4"
	t.Cleanup(func() { delete(presetHashes, hash) })
	s, refiner := specsOf(t)
	r := Request{LoRAs: []LoRA{{Path: file + ".absent"}, {Path: filepath.Dir(file)}, {Path: file}}}
	tagged := Request{Prompt: "a <lora:speed:0.5>", LoRADir: filepath.Dir(file)}
	for range 2 {
		for _, r := range []Request{r, tagged} {
			if r := s.ChoosePreset(r); r.Preset != "hyper4" || !strings.Contains(r.PresetFrom, "SHA-256") {
				t.Errorf("%q from %q", r.Preset, r.PresetFrom)
			}
			if p, err := s.Resolve(r); err != nil || p.Preset != "" {
				t.Errorf("Resolve, which reads no file: preset %q, %v", p.Preset, err)
			}
			if p, err := s.Resolve(s.ChoosePreset(r)); err != nil || p.Preset != "hyper4" || p.PresetFrom != "the file's SHA-256" || p.Steps != 4 {
				t.Errorf("%v, %v", p, err)
			}
			if r.Preset = NoPreset; s.ChoosePreset(r).Preset != NoPreset {
				t.Error("a preset in the place of none")
			}
		}
	}
	if r := refiner.ChoosePreset(r); r.Preset != "" {
		t.Errorf("a refiner has preset %s", r.Preset)
	}
	write("something else")
	if r := s.ChoosePreset(r); r.Preset != "" {
		t.Errorf("%q of a file that has changed", r.Preset)
	}
}

// TestPresetOfTag: the file that a prompt names chooses a preset by its name, as one that is listed does.
func TestPresetOfTag(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"style", "lcm-lora-sdxl"} {
		if err := os.WriteFile(filepath.Join(dir, name+".safetensors"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := specsOf(t)
	for _, style := range prompt.Styles() {
		r := Request{Prompt: "a <lora:style:1> <lora:lcm-lora-sdxl:1>", LoRADir: dir, PromptStyle: style}
		if p, err := s.Resolve(r); err != nil || p.Preset != "lcm-lora" || p.PresetFrom != "the name lcm-lora-sdxl.safetensors" || p.Scheduler != "lcm" || p.Steps != 4 {
			t.Errorf("%s: %v, %v", style, p, err)
		}
		r.Steps, r.Preset = 7, "tcd"
		if p, err := s.Resolve(r); err != nil || p.Preset != "tcd" || p.Steps != 7 {
			t.Errorf("%s, another preset: %v, %v", style, p, err)
		}
	}
}

// Callers get copies of the list, and names are unique.
func TestPresetsAreTheirOwn(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Presets() {
		names[p.Name] = true
	}
	if len(names) != len(presets) || len(PresetNames()) != len(presets)+1 || !slices.IsSorted(PresetNames()) {
		t.Errorf("%d of %d presets: %v", len(names), len(presets), slices.Sorted(maps.Keys(names)))
	}
	if a, b := Presets(), Presets(); &a[0] == &b[0] || !reflect.DeepEqual(a, b) {
		t.Error("the list is not copied")
	}
}
