package scheduler

import (
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{
		"euler": "euler", "Euler": "k_euler", "DDIM": "k_ddim", "dpmpp_2m_karras": "dpmpp_2m_karras", "UniPC": "k_unipc", "ddim": "ddim",
		"euler_a": "euler_a", "Euler a": "k_euler_a", "Euler a Karras": "k_euler_a_karras", "DPMPP_2M_Karras": "dpmpp_2m_karras", "TCD": "tcd",
		"euler_sgm_uniform": "euler_sgm_uniform", "Heun SGM Uniform": "k_heun_sgm_uniform", "euler_a_karras": "euler_a_karras",
		"dpmpp_2m_align_your_steps_32": "dpmpp_2m_align_your_steps_32", "unipc_polyexponential": "unipc_polyexponential",
		"DPM++ 2M Karras": "k_dpmpp_2m_karras", "dpm++ 2m sde heun exponential": "k_dpmpp_2m_sde_heun_exponential",
		"DPM++ 2M SDE Heun": "k_dpmpp_2m_sde_heun", "DPM++ 3M SDE": "k_dpmpp_3m_sde", "DPM2 a Karras": "k_dpm_2_a_karras",
		"Restart": "k_restart", "DPM fast": "k_dpm_fast", "DPM++ SDE SGMUniform": "k_dpmpp_sde_sgm_uniform", "k_euler_ancestral": "k_euler_a",
		"DPM++ 2S a Align Your Steps": "k_dpmpp_2s_a_align_your_steps", "Restart DDIM": "k_restart_ddim_uniform",
		"DPM++ 2M Automatic": "k_dpmpp_2m", "k_dpmpp_2m_Beta": "k_dpmpp_2m_beta",
		"euler_ancestral": "comfy_euler_ancestral", "dpmpp_2m_sde_gpu": "comfy_dpmpp_2m_sde",
		"dpmpp_2m_sde_gpu karras": "comfy_dpmpp_2m_sde_karras", "dpm_2_ancestral/beta": "comfy_dpm_2_ancestral_beta",
		"dpmpp_3m_sde_gpu_exponential": "comfy_dpmpp_3m_sde_exponential",
		"a1111:Euler":                  "k_euler", "A1111:euler a simple": "k_euler_a_simple", "a1111:DDIM Karras": "k_ddim", "a1111:UniPC": "k_unipc",
		"a1111:LCM": "k_lcm", "comfyui:euler": "comfy_euler", "ComfyUI:ddim ddim_uniform": "comfy_euler_ddim_uniform",
		"PLMS": "k_plms", "DDIM CFG++": "k_ddim_cfgpp", "ddim_cfgpp": "k_ddim_cfgpp", "dpmpp_2m_cfg_pp beta": "comfy_dpmpp_2m_cfg_pp_beta",
		"comfyui:lcm sgm_uniform": "comfy_lcm_sgm_uniform", "comfy_heun_linear_quadratic": "comfy_heun_linear_quadratic",
	} {
		got, err := Lookup(name)
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
			continue
		}
		if _, err := sdxl(t, "", nil).As(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	for _, name := range []string{"", "DPM adaptive", "Euler Bong", "k_ddim_karras_karras", "a1111:", "a1111:dpmpp_2m_sde_gpu", "comfyui:Euler a", "_", "++", "karras"} {
		if got, err := Lookup(name); err == nil || !strings.Contains(err.Error(), "dpmpp_2m_sde_karras") || !strings.Contains(err.Error(), "sgm_uniform") {
			t.Errorf("%q is %q, error %v, which does not list the names", name, got, err)
		}
	}
}

// Every pair that A1111 and ComfyUI offer has a name, and the config of the name has that name again.
func TestPairs(t *testing.T) {
	pair := func(got string, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
			return
		}
		c, err := sdxl(t, "", nil).As(got)
		if err != nil {
			t.Error(err)
			return
		}
		if c.Name() != got {
			t.Errorf("%s is named %s", got, c.Name())
		}
		if _, err := c.Schedule(Options{Steps: 8}); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	for _, sampler := range []string{
		"DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS", "Heun",
		"DPM2", "DPM2 a", "DPM fast", "Restart", "LCM", "DDIM", "DDIM CFG++", "PLMS", "UniPC",
	} {
		for _, schedule := range []string{
			"Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Align Your Steps", "Simple",
			"Normal", "DDIM", "Beta", "",
		} {
			name, err := A1111(sampler, schedule)
			if strings.HasSuffix(name, "_"+comfySchedule(names[splitBase(name)].schedule())) {
				name = splitBase(name) // the sampler's own
			}
			pair(name, err)
		}
	}
	for _, sampler := range []string{
		"euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpmpp_2s_ancestral", "dpmpp_sde",
		"dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu",
		"dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "lcm", "ddim", "euler_cfg_pp", "euler_ancestral_cfg_pp",
		"dpmpp_2s_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
		"res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp",
	} {
		for _, schedule := range []string{
			"sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic", "kl_optimal", "",
		} {
			name, err := ComfyUI(sampler, schedule)
			pair(name, err)
		}
	}
}

func splitBase(name string) string {
	base, _, _ := splitName(name)
	return base
}

func (n named) schedule() string { return strings.Trim(n.keys["schedule_type"], `"`) }

// Samplers that diffusers has take schedules that it lacks: the sigmas of the whole training range.
func TestScheduleOfDiffusersSampler(t *testing.T) {
	for _, name := range []string{"euler", "euler_a", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "unipc"} {
		for _, kind := range Schedules() {
			if kind == "turbo" {
				continue
			}
			c, err := sdxl(t, "", nil).As(name + "_" + kind)
			if err != nil {
				t.Error(err)
				continue
			}
			if own := c.UseKarrasSigmas || c.UseExponentialSigmas || c.UseBetaSigmas; own == (c.ScheduleType != "") {
				t.Errorf("%s_%s: schedule_type %q beside diffusers' own %v", name, kind, c.ScheduleType, own)
			}
			s, err := c.Schedule(Options{Steps: 10})
			if err != nil {
				t.Errorf("%s_%s: %v", name, kind, err)
				continue
			}
			if c.ScheduleType == "" {
				continue
			}
			k, err := sdxl(t, "k_euler", map[string]any{"schedule_type": kind}).Schedule(Options{Steps: 10})
			if err != nil {
				t.Fatal(err)
			}
			got, want := sigmasOf(s), sigmasOf(k)
			if !slices.EqualFunc(got, want, func(a, b float64) bool { return (budget{}).near("", a, b, b, 3e-5) }) {
				t.Errorf("%s_%s: sigmas %v, want %v", name, kind, got, want)
			}
		}
	}
}

// sigmasOf lists a schedule's sigmas in the form of VE latents, a repeated one once.
func sigmasOf(s *Schedule) []float64 {
	var list []float64
	for _, step := range s.Steps {
		list = append(list, float64(float32(step.Sigma/step.Alpha)))
	}
	return slices.Compact(list)
}

func TestScheduleTypeRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		keys map[string]any
		o    Options
		want string
	}{
		{"euler", map[string]any{"schedule_type": "even"}, Options{Steps: 4}, "schedule_type"},
		{"k_euler", map[string]any{"schedule_type": ""}, Options{Steps: 4}, "schedule_type"},
		{"euler_simple", nil, Options{Timesteps: []float64{999, 500}}, "schedule_type"},
		{"k_euler_turbo", nil, Options{Steps: 11}, "1 to 10"},
		{"k_euler_karras", map[string]any{"sigma_min": 3.0, "sigma_max": 2.0}, Options{Steps: 4}, "sigma_min"},
		{"k_euler_a", map[string]any{"eta_ancestral": 1.5}, Options{Steps: 4}, "eta_ancestral"},
		{"k_euler_a", map[string]any{"s_noise": -1.0}, Options{Steps: 4}, "s_noise"},
		{"k_dpmpp_2m_sde", map[string]any{"solver_type": "bh1"}, Options{Steps: 4}, "solver_type"},
		{"k_restart", nil, Options{Steps: 30, DenoisingEnd: 0.8}, "DenoisingEnd"},
		{"k_ddim", nil, Options{Steps: 1}, "at least 2"},
		{"k_euler", nil, Options{Timesteps: []float64{999, 500}}, "custom timesteps"},
		{"k_euler_align_your_steps", map[string]any{"sigma_max": 0.5}, Options{Steps: 4}, ""},
		{"comfy_euler_kl_optimal", nil, Options{Steps: 1}, "descend"},
	} {
		s, err := func() (*Schedule, error) {
			cfg, err := sdxl(t, "", nil).As(c.name)
			if err != nil {
				t.Fatal(err)
			}
			if cfg, err = cfg.With(c.keys); err != nil {
				return nil, err
			}
			return cfg.Schedule(c.o)
		}()
		if c.want == "" && (err != nil || len(s.Steps) == 0) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %v, %+v: error %v does not say %q", c.name, c.keys, c.o, err, c.want)
		}
	}
}
