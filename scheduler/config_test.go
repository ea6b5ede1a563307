package scheduler

import (
	"math"
	"slices"
	"strings"
	"testing"
)

const sdxlConfig = `{"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0", "beta_end": 0.012,
	"beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false, "interpolation_type": "linear",
	"num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": false,
	"skip_prk_steps": true, "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": null, "use_karras_sigmas": false}`

func sdxl(t testing.TB, name string, keys map[string]any) Config {
	t.Helper()
	cfg, err := Parse([]byte(sdxlConfig))
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		if cfg, err = cfg.As(name); err != nil {
			t.Fatal(err)
		}
	}
	if cfg, err = cfg.With(keys); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Every refusal names the field, the value and what is allowed.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"_class_name", `"FlowMatchHeunDiscreteScheduler"`, "_class_name"},
		{"_class_name", `7`, "_class_name"},
		{"prediction_type", `"flow"`, "prediction_type"},
		{"prediction_type", `3`, "prediction_type"},
		{"timestep_spacing", `"even"`, "timestep_spacing"},
		{"beta_schedule", `"sigmoid"`, "beta_schedule"},
		{"interpolation_type", `"cubic"`, "interpolation_type"},
		{"final_sigmas_type", `"one"`, "final_sigmas_type"},
		{"timestep_type", `"other"`, "timestep_type"},
		{"num_train_timesteps", `0`, "num_train_timesteps"},
		{"num_train_timesteps", `10.5`, "num_train_timesteps"},
		{"steps_offset", `-1`, "steps_offset"},
		{"beta_start", `0.5`, "beta_start"},
		{"trained_betas", `["a"]`, "trained_betas"},
		{"zero_snr_terminal_alpha", `0`, "zero_snr_terminal_alpha"},
		{"use_exponential_sigmas", `true`, "use_karras_sigmas"}, // next to use_karras_sigmas below
		{"sigma_min", `-1`, "sigma_min"},
		{"sigma_max", `0`, "sigma_max"},
		{"use_karras_sigmas", `"yes"`, "use_karras_sigmas"},
	} {
		config := map[string]string{"_class_name": `"EulerDiscreteScheduler"`, "use_karras_sigmas": "true", "num_train_timesteps": "1000"}
		config[c.key] = c.value
		if err := parsedCheck(object(config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: error %v does not name %s", c.key, c.value, err, c.want)
		}
	}
	for _, c := range []struct{ class, key, value string }{
		{DPMSolver, "algorithm_type", `"sde"`}, {DPMSolver, "solver_order", `4`}, {DPMSolver, "solver_type", `"euler"`},
		{DPMSolver, "sample_max_value", `"big"`}, {DPMSolver, "flow_shift", `"far"`}, {DPMSolver, "lambda_min_clipped", `"NaN"`},
		{DPMSolver, "variance_type", `7`}, {DPMSinglestep, "algorithm_type", `"sde-dpmsolver"`}, {UniPC, "solver_p", `{}`},
		{UniPC, "use_dynamic_shifting", `true`}, {UniPC, "shift_terminal", `0.1`}, {UniPC, "solver_type", `"bh3"`},
		{UniPC, "disable_corrector", `[0.5]`}, {DDIM, "clip_sample_range", `0`}, {LCM, "original_inference_steps", `0`},
		{LCM, "original_inference_steps", `1001`}, {EulerAncestral, "prediction_type", `"sample"`},
		{PNDM, "prediction_type", `"sample"`}, {DPM2, "prediction_type", `"sample"`}, {DEIS, "algorithm_type", `"sde-dpmsolver++"`},
		{DEIS, "solver_order", `0`}, {DEIS, "solver_type", `"rho"`}, {SASolver, "algorithm_type", `"dpmsolver++"`},
		{SASolver, "predictor_order", `0`}, {SASolver, "corrector_order", `5`}, {SASolver, "tau_func", `1`},
		{EDMEuler, "sigma_schedule", `"linear"`}, {EDMEuler, "sigma_data", `0`}, {EDMEuler, "rho", `-1`}, {EDMEuler, "sigma_max", `0.001`},
		{EDMDPMSolver, "algorithm_type", `"dpmsolver"`}, {FlowEuler, "shift", `0`},
		{FlowEuler, "use_dynamic_shifting", `true`}, {DPMSDE, "noise_sampler_seed", `-1`}, {DPMSDE, "noise_sampler_seed", `[1]`},
		{Heun, "beta_schedule", `"laplace"`}, {DDPM, "beta_schedule", `"exp"`},
	} {
		config := map[string]string{"_class_name": `"` + c.class + `"`, c.key: c.value}
		if err := parsedCheck(object(config)); err == nil || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: %s = %s: error %v does not name the key", c.class, c.key, c.value, err)
		}
	}
	for _, config := range []string{
		`{"_class_name": "DPMSolverMultistepScheduler", "thresholding": true, "dynamic_thresholding_ratio": 1.5}`,
		`{"_class_name": "DDPMScheduler", "thresholding": true, "sample_max_value": -1}`,
		`{"_class_name": "DPMSolverSinglestepScheduler", "thresholding": true, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}`,
		`{"_class_name": "UniPCMultistepScheduler", "predict_x0": false, "prediction_type": "flow_prediction"}`,
		`{"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true, "flow_shift": 0}`,
	} {
		if err := parsedCheck([]byte(config)); err == nil {
			t.Errorf("%s passes", config)
		}
	}
	for _, broken := range []string{``, `{`, `[]`, `null`, `{"_class_name": null}`} {
		if _, err := Parse([]byte(broken)); err == nil {
			t.Errorf("%q parses", broken)
		}
	}
}

// parsedCheck tells what Parse or, if that takes it, Check finds wrong with a config.
func parsedCheck(data []byte) error {
	cfg, err := Parse(data)
	if err != nil {
		return err
	}
	return cfg.Check()
}

func object(keys map[string]string) []byte {
	var members []string
	for key, value := range keys {
		members = append(members, `"`+key+`": `+value)
	}
	return []byte("{" + strings.Join(members, ", ") + "}")
}

// Python writes the default of lambda_min_clipped as a bare -Infinity, which is not JSON.
func TestParsePythonInfinity(t *testing.T) {
	cfg, err := Parse([]byte(`{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "_note": "-Infinity \" NaN"}`))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.SolverOrder != 2 || !cfg.LowerOrderFinal {
		t.Errorf("defaults are missing: %+v", cfg)
	}
}

func TestUseDefaultValuesAreNotStored(t *testing.T) {
	cfg, err := Parse([]byte(`{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "linspace", "clip_sample": false, "_use_default_values": ["timestep_spacing"]}`))
	if err != nil {
		t.Fatal(err)
	}
	ddim, err := cfg.As("ddim")
	if err != nil {
		t.Fatal(err)
	}
	if ddim.TimestepSpacing != "leading" || ddim.ClipSample {
		t.Errorf("spacing %s, clip %v; want DDIM's own leading and the stored false", ddim.TimestepSpacing, ddim.ClipSample)
	}
}

func TestAsListsNames(t *testing.T) {
	cfg := sdxl(t, "", nil)
	for _, name := range []string{"", "dpm", "lcm_karras", "_karras", "dpmpp_3m", "k_ddim_karras", "euler_comfy_beta"} {
		if _, err := cfg.As(name); err == nil || !strings.Contains(err.Error(), "dpmpp_2m_sde_karras") {
			t.Errorf("%q: error %v does not list the names", name, err)
		}
	}
}

func TestSuffixReplacesStoredSigmas(t *testing.T) {
	cfg := sdxl(t, "", map[string]any{"use_karras_sigmas": true})
	beta, err := cfg.As("heun_beta")
	if err != nil {
		t.Fatal(err)
	}
	if beta.UseKarrasSigmas || !beta.UseBetaSigmas {
		t.Errorf("karras %v, beta %v", beta.UseKarrasSigmas, beta.UseBetaSigmas)
	}
}

func TestScheduleRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"euler", Options{}, "exactly one"},
		{"euler", Options{Steps: 4, Timesteps: []float64{1}}, "exactly one"},
		{"euler", Options{Steps: -1}, "steps"},
		{"euler", Options{Steps: 1001}, "1000"},
		{"unipc", Options{Steps: 1000}, "leading"},
		{"ddim", Options{Steps: 1000}, "not finite"}, // timestep 1000 by the offset
		{"lcm", Options{Steps: 51}, "original_inference_steps"},
		{"euler", Options{Steps: 4, Strength: 1.5}, "Strength"},
		{"euler", Options{Steps: 4, Strength: math.NaN()}, "Strength"},
		{"euler", Options{Steps: 4, Strength: 0.1}, "no step left"},
		{"euler", Options{Steps: 4, Strength: 0.1, DenoisingEnd: 0.5}, "no step left"},
		{"euler", Options{Steps: 4, DenoisingStart: 0.8, DenoisingEnd: 0.8}, "DenoisingEnd"},
		{"euler", Options{Steps: 4, DenoisingStart: 1}, "DenoisingStart"},
		{"euler", Options{Steps: 4, DenoisingStart: 0.5, Strength: 0.5}, "exclude"},
		{"tcd", Options{Steps: 4, Eta: -0.1}, "Eta"},
		{"ddim", Options{Timesteps: []float64{5}}, "custom timesteps"},
		{"lms", Options{Timesteps: []float64{5}}, "custom timesteps"},
		{"dpmpp_2m", Options{Sigmas: []float64{5, 0}}, "custom sigmas"},
		{"dpmpp_2m", Options{Timesteps: []float64{5.5}}, "whole"},
		{"euler", Options{Timesteps: []float64{5, 5}}, "descend"},
		{"euler", Options{Timesteps: []float64{1000}}, "999"},
		{"euler", Options{Timesteps: []float64{math.NaN()}}, "timestep 0"},
		{"euler_karras", Options{Timesteps: []float64{500}}, "Karras"},
		{"euler", Options{Sigmas: []float64{5}}, "at least 2"},
		{"euler", Options{Sigmas: []float64{5, 6, 0}}, "descend"},
		{"euler", Options{Sigmas: []float64{math.Inf(1), 0}}, "descend"},
	} {
		if _, err := sdxl(t, c.name, nil).Schedule(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: error %v does not say %q", c.name, c.o, err, c.want)
		}
	}
	cfg := sdxl(t, "euler_a", nil)
	cfg.UseKarrasSigmas = true
	if _, err := cfg.Schedule(Options{Steps: 4}); err == nil || !strings.Contains(err.Error(), "use_karras_sigmas") {
		t.Errorf("euler_a with Karras sigmas: %v", err)
	}
	if _, err := (Config{}).Schedule(Options{Steps: 4}); err == nil {
		t.Error("the zero Config runs")
	}
}

func TestApplyRefusesLengths(t *testing.T) {
	s, err := sdxl(t, "euler_a", nil).Schedule(Options{Steps: 3})
	if err != nil {
		t.Fatal(err)
	}
	heun, err := sdxl(t, "heun", nil).Schedule(Options{Steps: 3})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 4)
	if s.Steps[0].Apply(x, x[:3], x, nil) == nil || s.Steps[0].Apply(x, x, nil, nil) == nil ||
		s.Steps[0].Apply(x, x, x, [][]float32{x}) == nil || heun.Steps[0].Apply(x, x, nil, [][]float32{x, nil}) == nil {
		t.Error("a wrong length passes")
	}
}

// A perfect model leads any deterministic scheduler from noise to the clean latents.
func TestPerfectModelIsRecovered(t *testing.T) {
	const clean, noise = 0.7, -1.3
	for _, name := range Names() {
		cfg := sdxl(t, name, nil)
		if family := strings.Split(name, "_")[0]; family == "edm" || family == "flow" {
			continue // whose models predict something else; below
		}
		o := Options{Steps: 12}
		s, err := cfg.Schedule(o)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(s.Steps, func(step Step) bool { return step.Noise }) {
			continue
		}
		scale, sigma := s.AddNoise(0)
		x := []float32{float32(scale*clean + sigma*noise)}
		h := make([][]float32, s.History)
		for i := range h {
			h[i] = make([]float32, 1)
		}
		for i := range s.Steps {
			if s.Unconditional {
				h[len(h)-1][0] = noise
			}
			if err := s.Steps[i].Apply(x, []float32{noise}, nil, h); err != nil {
				t.Fatal(err)
			}
		}
		if name == "comfy_dpm_fast" {
			continue // which ends at the schedule's last but one sigma
		}
		// What DDIM's and TCD's last level (timestep 0, sigma 0.03, A1111's DDIM 1 and 0.04) leaves of the noise; the others
		// end at zero.
		if limit := 0.06; !(math.Abs(float64(x[0])-clean) < limit) {
			t.Errorf("%s ends at %v, want %v", name, x[0], clean)
		}
	}
}

// So it is with the models of the other families: EDM's, of which one predicts (x0 - c_skip*x)/c_out, and flow
// matching's, which predict noise minus data.
func TestPerfectModelOfOtherFamilies(t *testing.T) {
	const clean, noise = 0.7, -1.3
	for _, class := range []string{EDMEuler, EDMDPMSolver, FlowEuler} {
		for _, prediction := range []string{"epsilon", "v_prediction"} {
			cfg, err := Default(class)
			if err != nil {
				t.Fatal(err)
			}
			if cfg, err = cfg.With(map[string]any{"prediction_type": prediction, "shift": 3.0, "sigma_data": 0.5}); err != nil {
				t.Fatal(err)
			}
			s, err := cfg.Schedule(Options{Steps: 12})
			if err != nil {
				t.Fatal(err)
			}
			scale, sigma := s.AddNoise(0)
			x := []float32{float32(scale*clean + sigma*noise)}
			h := make([][]float32, s.History)
			for i := range h {
				h[i] = make([]float32, 1)
			}
			for i := range s.Steps {
				step := &s.Steps[i]
				m := (clean - step.A*float64(x[0])) / step.B
				if err := step.Apply(x, []float32{float32(m)}, nil, h); err != nil {
					t.Fatal(err)
				}
			}
			if !(math.Abs(float64(x[0])-clean) < 1e-4) {
				t.Errorf("%s %s ends at %v, want %v", class, prediction, x[0], clean)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sdxlConfig))
	f.Add([]byte(`{"_class_name": "UniPCMultistepScheduler", "solver_order": 3, "disable_corrector": [1]}`))
	f.Add([]byte(`{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(data)
		if err != nil || cfg.NumTrainTimesteps > 2000 {
			return
		}
		for _, name := range []string{"euler_karras", "heun_beta", "lms", "ddim", "dpmpp_2m_sde_exponential", "unipc", "lcm", "tcd",
			"ddpm", "pndm", "deis_karras", "dpmpp_2s", "dpmpp_sde", "kdpm2", "kdpm2_a_beta", "sa_solver", "edm_euler", "edm_dpmpp_2m", "flow_euler"} {
			as, err := cfg.As(name)
			if err != nil {
				continue
			}
			s, err := as.Schedule(Options{Steps: 6, Eta: 0.5, Strength: 0.7})
			if err == nil && len(s.Steps) == 0 {
				t.Error("a schedule without steps")
			}
		}
	})
}
