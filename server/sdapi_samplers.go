package server

import (
	"slices"
	"strings"

	"github.com/goxl/goxl/scheduler"
)

// sdSampler is one of A1111's samplers, as GET /sdapi/v1/samplers has it.
type sdSampler struct {
	Name    string            `json:"name"`
	Aliases []string          `json:"aliases"`
	Options map[string]string `json:"options"`
}

// sdSamplers are A1111's (modules/sd_samplers_kdiffusion.py, sd_samplers_timesteps.py and sd_samplers_lcm.py), in its
// order and with its options.
var sdSamplers = []sdSampler{
	{"DPM++ 2M", []string{"k_dpmpp_2m"}, map[string]string{"scheduler": "karras"}},
	{"DPM++ SDE", []string{"k_dpmpp_sde"}, map[string]string{"scheduler": "karras", "second_order": "True", "brownian_noise": "True"}},
	{"DPM++ 2M SDE", []string{"k_dpmpp_2m_sde"}, map[string]string{"scheduler": "exponential", "brownian_noise": "True"}},
	{"DPM++ 2M SDE Heun", []string{"k_dpmpp_2m_sde_heun"}, map[string]string{"scheduler": "exponential", "brownian_noise": "True", "solver_type": "heun"}},
	{"DPM++ 2S a", []string{"k_dpmpp_2s_a"}, map[string]string{"scheduler": "karras", "uses_ensd": "True", "second_order": "True"}},
	{"DPM++ 3M SDE", []string{"k_dpmpp_3m_sde"}, map[string]string{"scheduler": "exponential", "discard_next_to_last_sigma": "True", "brownian_noise": "True"}},
	{"Euler a", []string{"k_euler_a", "k_euler_ancestral"}, map[string]string{"uses_ensd": "True"}},
	{"Euler", []string{"k_euler"}, map[string]string{}},
	{"LMS", []string{"k_lms"}, map[string]string{}},
	{"Heun", []string{"k_heun"}, map[string]string{"second_order": "True"}},
	{"DPM2", []string{"k_dpm_2"}, map[string]string{"scheduler": "karras", "discard_next_to_last_sigma": "True", "second_order": "True"}},
	{"DPM2 a", []string{"k_dpm_2_a"}, map[string]string{"scheduler": "karras", "discard_next_to_last_sigma": "True", "uses_ensd": "True", "second_order": "True"}},
	{"DPM fast", []string{"k_dpm_fast"}, map[string]string{"uses_ensd": "True"}},
	{"DPM adaptive", []string{"k_dpm_ad"}, map[string]string{"uses_ensd": "True"}},
	{"Restart", []string{"restart"}, map[string]string{"scheduler": "karras", "second_order": "True"}},
	{"DDIM", []string{"ddim"}, map[string]string{}},
	{"DDIM CFG++", []string{"ddim_cfgpp"}, map[string]string{}},
	{"PLMS", []string{"plms"}, map[string]string{}},
	{"UniPC", []string{"unipc"}, map[string]string{}},
	{"LCM", []string{"k_lcm"}, map[string]string{}},
}

// sdAliases are null where there are none.
type sdAliases []string

// sdScheduler is one of A1111's schedule types, as GET /sdapi/v1/schedulers has it.
type sdScheduler struct {
	Name           string    `json:"name"`
	Label          string    `json:"label"`
	Aliases        sdAliases `json:"aliases"`
	DefaultRho     float64   `json:"default_rho"`
	NeedInnerModel bool      `json:"need_inner_model"`
}

// sdSchedulers are A1111's (modules/sd_schedulers.py), in its order.
var sdSchedulers = []sdScheduler{
	{"automatic", "Automatic", nil, -1, false},
	{"uniform", "Uniform", nil, -1, true},
	{"karras", "Karras", nil, 7, false},
	{"exponential", "Exponential", nil, -1, false},
	{"polyexponential", "Polyexponential", nil, 1, false},
	{"sgm_uniform", "SGM Uniform", []string{"SGMUniform"}, -1, true},
	{"kl_optimal", "KL Optimal", nil, -1, false},
	{"align_your_steps", "Align Your Steps", nil, -1, false},
	{"simple", "Simple", nil, -1, true},
	{"normal", "Normal", nil, -1, true},
	{"ddim", "DDIM", nil, -1, true},
	{"beta", "Beta", nil, -1, true},
}

// sdHasSampler reports whether requests may ask for a sampler, and what the scheduler calls it.
func (s *Server) sdHasSampler(sampler, schedule string) (name string, ok bool) {
	name, err := scheduler.A1111(sampler, schedule)
	if err != nil {
		return "", false
	}
	return name, slices.Contains(s.config.Schedulers, scheduler.Sampler(name))
}

// sdSamplers are those of A1111's samplers that there are here.
func (s *Server) sdSamplers() []sdSampler {
	return slices.DeleteFunc(slices.Clone(sdSamplers), func(one sdSampler) bool {
		_, ok := s.sdHasSampler(one.Name, "")
		return !ok
	})
}

// sdSchedulers are those of A1111's schedule types that there are here.
func (s *Server) sdSchedulers() []sdScheduler {
	return slices.DeleteFunc(slices.Clone(sdSchedulers), func(one sdScheduler) bool {
		_, err := scheduler.A1111("Euler", one.Label)
		return err != nil
	})
}

// sdSamplerNames are A1111's names of the samplers and schedule types.
func (s *Server) sdSamplerNames() (samplers, schedules []string) {
	for _, one := range s.sdSamplers() {
		samplers = append(samplers, one.Name)
	}
	for _, one := range s.sdSchedulers() {
		schedules = append(schedules, one.Label)
	}
	return samplers, schedules
}

// sdSampler is the scheduler's name for A1111's two, of which the second may be "" or end the first, and counts there as
// in A1111. What is not there is answered with what is, and with the name of its field, which begins with prefix.
func (s *Server) sdSampler(prefix, sampler, schedule string) (string, error) {
	if name, ok := s.sdHasSampler(sampler, schedule); ok {
		return name, nil
	}
	if _, err := scheduler.A1111("Euler", schedule); err == nil {
		if name, ok := s.sdHasSampler(sampler, ""); ok {
			return name, nil
		}
	}
	samplers, schedules := s.sdSamplerNames()
	if _, ok := s.sdHasSampler(sampler, ""); ok {
		return "", sdRefuse(badValue, "Scheduler not found: "+prefix+"scheduler", " is %q: must be one of %s", beginning(schedule), strings.Join(schedules, ", "))
	}
	return "", sdRefuse(badValue, "Sampler not found: "+prefix+"sampler_name", " is %q: must be one of %s; a schedule type may follow, one of %s",
		beginning(sampler), strings.Join(samplers, ", "), strings.Join(schedules, ", "))
}
