package scheduler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// named is a scheduler under its command-line name: the class and the keys that the name itself decides.
type named struct {
	class string
	keys  map[string]string
}

var names = map[string]named{
	"euler":        {class: Euler},
	"euler_a":      {class: EulerAncestral},
	"heun":         {class: Heun},
	"lms":          {class: LMS},
	"ddim":         {class: DDIM},
	"ddpm":         {class: DDPM},
	"pndm":         {class: PNDM},
	"deis":         {class: DEIS, keys: map[string]string{"algorithm_type": `"deis"`}},
	"dpmpp_2m":     {class: DPMSolver, keys: map[string]string{"algorithm_type": `"dpmsolver++"`}},
	"dpmpp_2m_sde": {class: DPMSolver, keys: map[string]string{"algorithm_type": `"sde-dpmsolver++"`}},
	"dpmpp_2s":     {class: DPMSinglestep, keys: map[string]string{"algorithm_type": `"dpmsolver++"`}},
	"dpmpp_sde":    {class: DPMSDE},
	"kdpm2":        {class: DPM2},
	"kdpm2_a":      {class: DPM2Ancestral},
	"unipc":        {class: UniPC},
	"sa_solver":    {class: SASolver, keys: map[string]string{"algorithm_type": `"data_prediction"`}},
	"lcm":          {class: LCM},
	"tcd":          {class: TCD},
	"edm_euler":    {class: EDMEuler},
	"edm_dpmpp_2m": {class: EDMDPMSolver, keys: map[string]string{"algorithm_type": `"dpmsolver++"`}},
	"flow_euler":   {class: FlowEuler},
}

var suffixes = map[string]string{
	"_karras":      "use_karras_sigmas",
	"_exponential": "use_exponential_sigmas",
	"_beta":        "use_beta_sigmas",
}

// Names lists the samplers' names: diffusers' with the suffixes that its classes have, then those of ComfyUI's (comfy_)
// and A1111's (k_) samplers, each sorted. As also accepts them with one of Schedules after the name.
func Names() []string {
	var list []string
	for base, n := range names {
		list = append(list, base)
		for suffix, key := range suffixes {
			if _, ok := classes[n.class].defaults[key]; ok {
				list = append(list, base+suffix)
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(namePrefix(a), namePrefix(b)), cmp.Compare(a, b))
	})
	return list
}

// namePrefix is what the names of another program's samplers begin with.
func namePrefix(name string) string {
	for _, prefix := range []string{"k_", "comfy_"} {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// As changes the class as diffusers' Other.from_config(config) does: keys that the config stores carry over, also those
// that its own class does not have; keys that its class had only defaulted do not, and the new class uses its own
// defaults. So a config that stores clip_sample=false keeps DDIM from clipping, and one that lacks it does not.
//
// The name is one of Names, or one of those whose sigmas can be chosen with one of Schedules after it: Lookup finds it.
// A suffix sets that sigma option and clears the others; without one they stay as stored.
func (c Config) As(name string) (Config, error) {
	base, schedule, ok := splitName(name)
	if !ok {
		return Config{}, unknownName(name)
	}
	n := names[base]
	keys := c.cloneStored()
	for key, value := range n.keys {
		keys[key] = json.RawMessage(value)
	}
	if schedule != "" {
		setSchedule(keys, base, schedule)
	}
	return fromStored(n.class, keys)
}

// setSchedule stores the keys of a schedule after the name of a sampler: diffusers' own where the class has one, else
// schedule_type.
func setSchedule(keys map[string]json.RawMessage, base, schedule string) {
	class := names[base].class
	delete(keys, "schedule_type")
	own := false
	if !isK(class) {
		for s, key := range suffixes {
			_, has := classes[class].defaults[key]
			on := has && s == "_"+schedule
			own = own || on
			keys[key] = json.RawMessage(fmt.Sprint(on))
		}
	}
	if comfy := "comfy_" + schedule; strings.HasPrefix(base, "comfy_") && scheduleTypes[comfy] != nil {
		schedule = comfy
	}
	if !own {
		keys["schedule_type"] = json.RawMessage(strconv.Quote(schedule))
	}
}

// Substitutes lists the names, sorted, that As accepts for this config and whose models predict the same: diffusers'
// compatibles. EDM's classes and flow matching's stand for themselves.
func (c Config) Substitutes() []string {
	return slices.DeleteFunc(Names(), func(name string) bool {
		other, err := c.As(name)
		return err != nil || other.family() != c.family()
	})
}

// family is the kind of model that a class samples from: "edm", "flow", or "" for all with betas.
func (c Config) family() string {
	switch c.Class {
	case EDMEuler, EDMDPMSolver:
		return "edm"
	case FlowEuler:
		return "flow"
	}
	return ""
}

// With sets stored keys by their JSON names, as keyword arguments of from_config do: cfg.With(map[string]any{
// "timestep_spacing": "trailing"}). An unknown key or value is an error.
func (c Config) With(keys map[string]any) (Config, error) {
	stored := c.cloneStored()
	for key, value := range keys {
		if !knownKey(key) {
			return Config{}, fmt.Errorf("scheduler: %s: unknown key %q", c.Class, key)
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return Config{}, fmt.Errorf("scheduler: %s: %w", key, err)
		}
		stored[key] = encoded
	}
	return fromStored(c.Class, stored)
}

func (c Config) cloneStored() map[string]json.RawMessage {
	if c.stored == nil {
		return map[string]json.RawMessage{}
	}
	return maps.Clone(c.stored)
}
