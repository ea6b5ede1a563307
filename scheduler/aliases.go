package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// kNames are the names of k-diffusion's samplers: with k_ as A1111 computes them, after A1111's own aliases, with
// comfy_ as ComfyUI does, after its names. Their schedule type is A1111's default of the sampler and ComfyUI's first
// choice.
var kNames = map[string]named{
	"k_euler":             kName(KEuler, "automatic"),
	"k_euler_a":           kName(KEulerAncestral, "automatic"),
	"k_lms":               kName(KLMS, "automatic", "final_denoise", "false"),
	"k_heun":              kName(KHeun, "automatic"),
	"k_dpm_2":             kName(KDPM2, "karras", "discard_next_to_last_sigma", "true"),
	"k_dpm_2_a":           kName(KDPM2Ancestral, "karras", "discard_next_to_last_sigma", "true"),
	"k_dpm_fast":          kName(KDPMFast, "automatic", "model_sigma_range", "true"),
	"k_dpmpp_2s_a":        kName(KDPMPP2SA, "karras"),
	"k_dpmpp_sde":         kName(KDPMPPSDE, "karras"),
	"k_dpmpp_2m":          kName(KDPMPP2M, "karras"),
	"k_dpmpp_2m_sde":      kName(KDPMPP2MSDE, "exponential", "solver_type", `"midpoint"`),
	"k_dpmpp_2m_sde_heun": kName(KDPMPP2MSDE, "exponential", "solver_type", `"heun"`),
	"k_dpmpp_3m_sde":      kName(KDPMPP3MSDE, "exponential", "discard_next_to_last_sigma", "true"),
	"k_restart":           kName(KRestart, "karras"),
	"k_lcm":               kName(KLCM, "automatic", "lcm_denoiser", "true"),
	"k_ddim":              kName(A1111DDIM, "automatic"),
	"k_ddim_cfgpp":        kName(A1111DDIMCFGPP, "automatic"),
	"k_plms":              kName(A1111PLMS, "automatic"),
	"k_unipc":             kName(A1111UniPC, "automatic", "solver_type", `"bh1"`, "solver_order", "3", "lower_order_final", "true"),

	"comfy_euler":              comfyName(KEuler),
	"comfy_euler_ancestral":    comfyName(KEulerAncestral),
	"comfy_lms":                comfyName(KLMS, "final_denoise", "true"),
	"comfy_heun":               comfyName(KHeun),
	"comfy_dpm_2":              comfyName(KDPM2, "discard_next_to_last_sigma", "true"),
	"comfy_dpm_2_ancestral":    comfyName(KDPM2Ancestral, "discard_next_to_last_sigma", "true"),
	"comfy_dpm_fast":           comfyName(KDPMFast, "eta_ancestral", "0", "model_sigma_range", "false"),
	"comfy_dpmpp_2s_ancestral": comfyName(KDPMPP2SA),
	"comfy_dpmpp_sde":          comfyName(KDPMPPSDE),
	"comfy_dpmpp_2m":           comfyName(KDPMPP2M),
	"comfy_dpmpp_2m_sde":       comfyName(KDPMPP2MSDE, "solver_type", `"midpoint"`),
	"comfy_dpmpp_2m_sde_heun":  comfyName(KDPMPP2MSDE, "solver_type", `"heun"`),
	"comfy_dpmpp_3m_sde":       comfyName(KDPMPP3MSDE),
	"comfy_lcm":                comfyName(KLCM, "lcm_denoiser", "false"),

	"comfy_euler_cfg_pp":                   comfyName(KEulerCFGPP, "eta_ancestral", "0"),
	"comfy_euler_ancestral_cfg_pp":         comfyName(KEulerCFGPP),
	"comfy_dpmpp_2s_ancestral_cfg_pp":      comfyName(KDPMPP2SACFGPP),
	"comfy_dpmpp_2m_cfg_pp":                comfyName(KDPMPP2MCFGPP),
	"comfy_res_multistep":                  comfyName(KResMultistep, "eta_ancestral", "0"),
	"comfy_res_multistep_cfg_pp":           comfyName(KResMultistepCFGPP, "eta_ancestral", "0"),
	"comfy_res_multistep_ancestral":        comfyName(KResMultistep),
	"comfy_res_multistep_ancestral_cfg_pp": comfyName(KResMultistepCFGPP),
	"comfy_gradient_estimation":            comfyName(KGradientEstimation),
	"comfy_gradient_estimation_cfg_pp":     comfyName(KGradientEstimationCFGPP),
}

// kName is a name of A1111's; pairs are further keys and values.
func kName(class, schedule string, pairs ...string) named {
	keys := map[string]string{
		"schedule_type": `"` + schedule + `"`, "enable_quantization": "false", "sgm_noise_multiplier": "false",
		"eta_ancestral": "1", "s_noise": "1", "discard_next_to_last_sigma": "false", "float64_sigmas": "false",
		"path_of_run": "false",
	}
	for i := 0; i < len(pairs); i += 2 {
		keys[pairs[i]] = pairs[i+1]
	}
	return named{class: class, keys: keys}
}

// comfyName is a name of ComfyUI's.
func comfyName(class string, pairs ...string) named {
	return kName(class, "simple", append([]string{"enable_quantization", "true", "sgm_noise_multiplier", "true", "float64_sigmas", "true", "path_of_run", "true"}, pairs...)...)
}

// comfySchedule is the schedule type without the mark of those that ComfyUI computes otherwise than A1111.
func comfySchedule(kind string) string { return strings.TrimPrefix(kind, "comfy_") }

// splitName splits a name into one of names and one of Schedules, "" if none follows it.
func splitName(name string) (base, schedule string, ok bool) {
	if _, ok := names[name]; ok {
		return name, "", true
	}
	for _, s := range Schedules() {
		if cut, has := strings.CutSuffix(name, "_"+s); has {
			if n, ok := names[cut]; ok && (takesSchedule(n.class) || hasSuffix(n.class, "_"+s)) {
				return cut, s, true
			}
		}
	}
	return "", "", false
}

// hasSuffix reports whether a class has the option that a suffix sets.
func hasSuffix(className, suffix string) bool {
	_, ok := classes[className].defaults[suffixes[suffix]]
	return ok
}

// Sampler is the one of Names that a name begins with, without the schedule type that As takes after it; "" of others.
func Sampler(name string) string {
	if slices.Contains(Names(), name) {
		return name
	}
	base, _, _ := splitName(name)
	return base
}

// takesSchedule reports whether a class has a choice of sigmas.
func takesSchedule(className string) bool {
	_, ok := classes[className].defaults["schedule_type"]
	return ok && !strings.HasPrefix(className, "a1111_")
}

// Labels of A1111 and names of ComfyUI that are not a name with another prefix, as normalise leaves them.
var (
	a1111Samplers = map[string]string{
		"euler": "k_euler", "euler_a": "k_euler_a", "k_euler_ancestral": "k_euler_a", "lms": "k_lms", "heun": "k_heun",
		"dpm2": "k_dpm_2", "dpm2_a": "k_dpm_2_a", "dpm_fast": "k_dpm_fast", "dpm++_2s_a": "k_dpmpp_2s_a",
		"dpm++_sde": "k_dpmpp_sde", "dpm++_2m": "k_dpmpp_2m", "dpm++_2m_sde": "k_dpmpp_2m_sde",
		"dpm++_2m_sde_heun": "k_dpmpp_2m_sde_heun", "dpm++_3m_sde": "k_dpmpp_3m_sde", "restart": "k_restart", "lcm": "k_lcm",
		"ddim": "k_ddim", "ddim_cfg++": "k_ddim_cfgpp", "ddim_cfgpp": "k_ddim_cfgpp", "plms": "k_plms", "unipc": "k_unipc",
	}
	a1111Schedules = map[string]string{"sgmuniform": "sgm_uniform", "ddim": "ddim_uniform", "automatic": ""}
	comfySamplers  = map[string]string{"ddim": "comfy_euler"}
)

// normalise brings a label into the form of a name: "DPM++ 2M Karras" is dpm++_2m_karras.
func normalise(label string) string {
	return strings.ToLower(strings.Join(strings.FieldsFunc(label, func(r rune) bool { return strings.ContainsRune(" \t_/,", r) }), "_"))
}

// A1111 is the name for A1111's sampler and schedule type, by its labels or aliases, in whatever case: ("DPM++ 2M",
// "Karras") is k_dpmpp_2m_karras. The type may be "", or end the sampler's label as in A1111 before 1.9: ("DPM++ 2M
// Karras", ""). DDIM and UniPC ignore it, as in A1111.
func A1111(sampler, scheduleType string) (string, error) {
	given := strings.TrimSpace(sampler + " " + scheduleType)
	s, kind := normalise(sampler), normalise(scheduleType)
	base, found := a1111Base(s)
	if !found {
		base, kind, found = cutSchedule(s, kind, a1111Base)
	}
	if other, ok := a1111Schedules[kind]; ok {
		kind = other
	}
	if !found || kind != "" && !slices.Contains(Schedules(), kind) {
		return "", unknownName(given)
	}
	if kind == "" || !takesSchedule(names[base].class) {
		return base, nil
	}
	return base + "_" + kind, nil
}

func a1111Base(s string) (string, bool) {
	if strings.HasPrefix(s, "k_") && names[s].class != "" {
		return s, true
	}
	base, ok := a1111Samplers[s]
	return base, ok
}

// ComfyUI is the name for ComfyUI's sampler_name and scheduler: ("dpmpp_2m_sde_gpu", "karras") is
// comfy_dpmpp_2m_sde_karras. The scheduler may be "", which is its first one, simple.
func ComfyUI(sampler, scheduler string) (string, error) {
	s, kind := normalise(sampler), normalise(scheduler)
	base, found := comfyBase(s)
	if !found {
		base, kind, found = cutSchedule(s, kind, comfyBase)
	}
	if !found || kind != "" && !slices.Contains(Schedules(), kind) {
		return "", unknownName(strings.TrimSpace(sampler + " " + scheduler))
	}
	if kind == "" {
		return base, nil
	}
	return base + "_" + kind, nil
}

func comfyBase(s string) (string, bool) {
	s = strings.TrimSuffix(s, "_gpu")
	if base, ok := comfySamplers[s]; ok {
		return base, true
	}
	s = "comfy_" + strings.TrimPrefix(s, "comfy_")
	return s, names[s].class != ""
}

// cutSchedule takes a schedule type off the end of a label, where none is given apart.
func cutSchedule(label, kind string, base func(string) (string, bool)) (sampler, schedule string, found bool) {
	if kind != "" {
		return "", kind, false
	}
	kinds := Schedules()
	for other := range a1111Schedules {
		kinds = append(kinds, other)
	}
	for _, kind := range kinds {
		if cut, ok := strings.CutSuffix(label, "_"+kind); ok {
			if sampler, found := base(cut); found {
				return sampler, kind, true
			}
		}
	}
	return "", "", false
}

// Lookup is the name, as As takes it, for a name of goxl's, A1111's or ComfyUI's, a schedule type after it. What is
// spelled as one of goxl's names is that: euler and ddim are diffusers', and so is ComfyUI's euler. Else case does not
// count, and a label of A1111's is A1111's: "Euler", "DDIM". "a1111:" or "comfyui:" before it asks for that program's:
// "a1111:euler", "comfyui:euler karras". An error lists the names.
func Lookup(name string) (string, error) {
	for prefix, find := range map[string]func(string, string) (string, error){"a1111:": A1111, "comfyui:": ComfyUI} {
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return find(name[len(prefix):], "")
		}
	}
	if isOwn(name) {
		return name, nil
	}
	if found, err := A1111(name, ""); err == nil {
		return found, nil
	}
	if found, err := ComfyUI(name, ""); err == nil && !isOwn(normalise(name)) {
		return found, nil
	}
	if own := normalise(name); isOwn(own) {
		return own, nil
	}
	return "", unknownName(name)
}

func isOwn(name string) bool {
	_, _, ok := splitName(name)
	return ok
}

func unknownName(name string) error {
	return fmt.Errorf("scheduler: unknown name %q; allowed: %s; those whose sigmas can be chosen also with one of %s after the name, as in euler_sgm_uniform; A1111's and ComfyUI's names of these, as in DPM++ 2M Karras",
		name, strings.Join(Names(), ", "), strings.Join(Schedules(), ", "))
}
