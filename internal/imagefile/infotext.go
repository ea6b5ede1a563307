package imagefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/goxl/goxl/models/sdxl"
)

// infotextKey is the text chunk in which A1111 and what follows it look for infotext.
const infotextKey = "parameters"

// samplers are A1111's names of samplers by scheduler's; for those that A1111 lacks, SD.Next's, Invoke's DPM++ 2S, and
// ComfyUI's in A1111's spelling.
var samplers = map[string]string{
	"euler": "Euler", "euler_a": "Euler a", "heun": "Heun", "lms": "LMS", "ddim": "DDIM", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE", "unipc": "UniPC",
	"lcm": "LCM", "tcd": "TCD", "dpm_2": "DPM2", "dpm_2_a": "DPM2 a", "dpm_fast": "DPM fast", "dpmpp_2s_a": "DPM++ 2S a",
	"dpmpp_sde": "DPM++ SDE", "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun", "dpmpp_3m_sde": "DPM++ 3M SDE", "restart": "Restart",
	"ddpm": "DDPM", "pndm": "PNDM", "deis": "DEIS", "sa_solver": "SA Solver", "kdpm2": "DPM2", "kdpm2_a": "DPM2 a", "dpmpp_2s": "DPM++ 2S",
	"edm_euler": "Euler EDM", "edm_dpmpp_2m": "DPM++ 2M EDM", "flow_euler": "Euler FlowMatch",
	"ddim_cfgpp": "DDIM CFG++", "plms": "PLMS", "euler_cfg_pp": "Euler CFG++", "euler_ancestral_cfg_pp": "Euler a CFG++",
	"dpmpp_2m_cfg_pp": "DPM++ 2M CFG++", "dpmpp_2s_ancestral_cfg_pp": "DPM++ 2S a CFG++", "res_multistep": "Res Multistep",
	"res_multistep_cfg_pp": "Res Multistep CFG++", "res_multistep_ancestral": "Res Multistep a",
	"res_multistep_ancestral_cfg_pp": "Res Multistep a CFG++", "gradient_estimation": "Gradient Estimation",
	"gradient_estimation_cfg_pp": "Gradient Estimation CFG++",
	"euler_ancestral":            "Euler a", "dpm_2_ancestral": "DPM2 a", "dpmpp_2s_ancestral": "DPM++ 2S a",
}

// schedules are A1111's names of schedules by the endings of scheduler's names; the last three are ComfyUI's and Forge's.
var schedules = map[string]string{
	"_karras": "Karras", "_exponential": "Exponential", "_beta": "Beta", "_polyexponential": "Polyexponential", "_uniform": "Uniform",
	"_sgm_uniform": "SGM Uniform", "_kl_optimal": "KL Optimal", "_align_your_steps": "Align Your Steps", "_simple": "Simple",
	"_normal": "Normal", "_ddim_uniform": "DDIM", "_align_your_steps_32": "Align Your Steps 32", "_turbo": "Turbo",
	"_linear_quadratic": "Linear Quadratic",
}

// SamplerNames splits a name of scheduler into A1111's two; what it does not know it gives back. A1111's own samplers
// (k_) and ComfyUI's (comfy_) have the labels of those that work alike.
func SamplerNames(name string) (sampler, schedule string) {
	plain := strings.TrimPrefix(strings.TrimPrefix(name, "k_"), "comfy_")
	if sampler := samplers[plain]; sampler != "" {
		return sampler, ""
	}
	for ending, label := range schedules {
		if base, ok := strings.CutSuffix(plain, ending); ok && samplers[base] != "" {
			return samplers[base], label
		}
	}
	return name, ""
}

// Infotext is A1111's text of the parameters (modules/processing.py, create_infotext): the prompt, the negative prompt
// on a line of its own, and a line of the rest. The noise is torch's of a CPU, for A1111: RNG: CPU.
func (p Parameters) Infotext() string {
	if p.Upscale != nil {
		return p.upscaledInfotext()
	}
	var line []string
	add := func(key, value string) { line = append(line, key+": "+quoted(value)) }
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	sampler, schedule := SamplerNames(p.scheduler())
	add("Steps", strconv.Itoa(p.Steps))
	add("Sampler", sampler)
	if schedule != "" {
		add("Schedule type", schedule)
	}
	add("CFG scale", number(p.Guidance))
	add("Seed", strconv.FormatUint(p.seed(), 10))
	add("Size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	if p.ModelHash != "" {
		add("Model hash", p.ModelHash)
	}
	add("Model", strings.TrimSuffix(strings.TrimSuffix(p.Model, ".safetensors"), ".ckpt")) // as A1111 names a checkpoint
	if p.UNet != "" {
		add("UNet", p.UNet) // A1111 knows no such thing; its model is the checkpoint
	}
	if p.VAE != "" {
		add("VAE", p.VAE)
	}
	if p.TAESD != "" {
		add("VAE Decoder", "TAESD")
	}
	if p.SubseedStrength > 0 {
		add("Variation seed", strconv.FormatUint(p.subseed(), 10))
		add("Variation seed strength", number(p.SubseedStrength))
	}
	if p.Task != sdxl.TextToImage && p.Strength > 0 {
		add("Denoising strength", number(p.Strength))
	}
	p.addInpaint(add)
	p.addGuidance(add)
	if h := p.Hires; h != nil {
		add("Denoising strength", number(h.Strength))
	}
	if p.ClipSkip > 0 {
		add("Clip skip", strconv.Itoa(p.ClipSkip+2)) // A1111 counts from the last layer, of which SDXL always skips one
	}
	p.addControls(add)
	if hashes := p.loraHashes(); hashes != "" {
		add("Lora hashes", hashes)
	}
	if p.Emphasis == sdxl.EmphasisNoNorm {
		add("Emphasis", "No norm")
	}
	add("RNG", "CPU")
	p.addHires(add)
	if n := len(p.Experts); n > 0 {
		add("Refiner", p.Experts[n-1].Model)
		add("Refiner switch at", number(p.DenoisingEnd))
	}
	if at := p.Interrupted; at != nil { // A1111 does not say so
		add("Interrupted", fmt.Sprintf("after %d of %d steps", at.StepsDone, at.Steps))
	}
	add("Version", "goxl "+p.Version)

	prompt := p.Prompt(p.Image)
	text := prompt.Prompt
	if n := prompt.NegativePrompt; n != nil && *n != "" {
		text += "\nNegative prompt: " + *n
	}
	// As Python's strip, which also takes the separators of ASCII for white space.
	return strings.TrimFunc(text+"\n"+strings.Join(line, ", "), func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f })
}

// loraHashes lists the adapters as A1111 does (extensions-builtin/Lora/extra_networks_lora.py): each name once, without
// the characters that divide the list; the last hash of a name counts.
func (p Parameters) loraHashes() string {
	var names []string
	hashes := map[string]string{}
	for _, l := range p.LoRAs {
		name := strings.NewReplacer(":", "", ",", "").Replace(l.Name)
		if l.Name == "" || l.ShortHash == "" {
			continue
		}
		if hashes[name] == "" {
			names = append(names, name)
		}
		hashes[name] = l.ShortHash
	}
	for i, name := range names {
		names[i] = name + ": " + hashes[name]
	}
	return strings.Join(names, ", ")
}

// quoted is A1111's quote: a value that could be taken for more than one is written as JSON.
func quoted(value string) string {
	if !strings.ContainsAny(value, ",\n:") {
		return value
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return value // no string is an error
	}
	return strings.TrimSuffix(b.String(), "\n")
}
