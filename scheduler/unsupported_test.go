package scheduler

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What keeps a config's own class from running, Check and Schedule tell; another class takes over its keys.
func TestUnsupportedRunsOnlyAsAnother(t *testing.T) {
	const betas = `, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "skip_prk_steps": true}`
	for config, want := range map[string]string{
		`{"_class_name": "IPNDMScheduler"`:                                             "IPNDMScheduler",
		`{"_class_name": "SomebodysOwnScheduler", "own": 3`:                            "SomebodysOwnScheduler",
		`{"_class_name": "UniPCMultistepScheduler", "solver_p": {"a": 1}`:              "solver_p",
		`{"_class_name": "UniPCMultistepScheduler", "use_dynamic_shifting": true`:      "use_dynamic_shifting",
		`{"_class_name": "UniPCMultistepScheduler", "shift_terminal": 0.1`:             "shift_terminal",
		`{"_class_name": "EulerAncestralDiscreteScheduler", "prediction_type": "none"`: "prediction_type",
		`{"_class_name": "SASolverScheduler", "tau_func": "f"`:                         "tau_func",
		`{"_class_name": "SASolverScheduler", "predictor_order": 5`:                    "predictor_order",
		`{"_class_name": "DPMSolverMultistepScheduler", "solver_order": "two"`:         "solver_order",
		`{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"`: "final_sigmas_type",
		`{"_class_name": "EulerDiscreteScheduler", "interpolation_type": "cubic"`:      "interpolation_type",
		`{"_class_name": "DDIMScheduler", "thresholding": true, "sample_max_value": 0`: "sample_max_value",
	} {
		cfg, err := Parse([]byte(config + betas))
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check says %v, which does not name %s", config, err, want)
		}
		if _, err := cfg.Schedule(Options{Steps: 4}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Schedule says %v, which does not name %s", config, err, want)
		}
		name := "heun"
		if want == "prediction_type" { // which is every class's
			continue
		}
		as, err := cfg.As(name)
		if err != nil {
			t.Errorf("%s as %s: %v", config, name, err)
			continue
		}
		if as.BetaEnd != 0.012 || as.Check() != nil {
			t.Errorf("%s as %s: beta_end %v, %v", config, name, as.BetaEnd, as.Check())
		}
		if _, err := as.Schedule(Options{Steps: 4}); err != nil {
			t.Error(err)
		}
	}
}

// Unknown keys change nothing, as in diffusers, but can be asked for. They go over to another class.
func TestUnknownKeys(t *testing.T) {
	plain := sdxl(t, "", nil)
	config := strings.Replace(sdxlConfig, "{", `{"noise_seed": 7, "shifts": 3.0, "predict_epsilon": true, "corrector_orders": {"a": 1}, `, 1)
	cfg, err := Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"corrector_orders", "noise_seed", "predict_epsilon", "shifts"}
	for _, name := range []string{"", "euler", "dpmpp_2m_sde_karras"} {
		got, same := cfg, plain
		if name != "" {
			if got, err = cfg.As(name); err != nil {
				t.Fatal(err)
			}
			if same, err = plain.As(name); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got.Unknown(), want) || len(same.Unknown()) != 0 {
			t.Errorf("%q: unknown %q and %q, want %q and none", name, got.Unknown(), same.Unknown(), want)
		}
		a, err := got.Schedule(Options{Steps: 7})
		if err != nil {
			t.Fatal(err)
		}
		b, err := same.Schedule(Options{Steps: 7})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%q: unknown keys change the schedule", name)
		}
	}
	// What a program sets itself is another matter.
	if _, err := plain.With(map[string]any{"no_such_option": 1}); err == nil || !strings.Contains(err.Error(), "no_such_option") {
		t.Errorf("With an unknown key: %v", err)
	}
}

// JSON has one kind of number and Python tests anything for truth: a whole number may be written 1.0, and false 0 or
// null.
func TestValuesOfOtherTypes(t *testing.T) {
	want := sdxl(t, "", nil)
	for _, change := range [][2]string{
		{`"steps_offset": 1`, `"steps_offset": 1.0`},
		{`"num_train_timesteps": 1000`, `"num_train_timesteps": 1e3`},
		{`"use_karras_sigmas": false`, `"use_karras_sigmas": 0`},
		{`"use_karras_sigmas": false`, `"use_karras_sigmas": null`},
		{`"clip_sample": false`, `"clip_sample": 0`},
		{`"trained_betas": null`, `"trained_betas": []`},
	} {
		if !strings.Contains(sdxlConfig, change[0]) {
			t.Fatalf("%s is not there", change[0])
		}
		got, err := Parse([]byte(strings.Replace(sdxlConfig, change[0], change[1], 1)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"euler", "ddim"} {
			a, err := got.As(name)
			if err != nil {
				t.Errorf("%s: %v", change[1], err)
				continue
			}
			b, err := want.As(name)
			if err != nil {
				t.Fatal(err)
			}
			a.stored, b.stored, a.TrainedBetas = nil, nil, nil
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s as %s: %+v, want %+v", change[1], name, a, b)
			}
		}
	}
	cfg, err := Parse([]byte(`{"_class_name": "UniPCMultistepScheduler", "solver_order": 3.0, "predict_x0": 1, "lower_order_final": 0, "disable_corrector": [0.0, 2]}`))
	if err != nil || cfg.Check() != nil {
		t.Fatal(err, cfg.Check())
	}
	if cfg.SolverOrder != 3 || cfg.LowerOrderFinal || !slices.Equal(cfg.DisableCorrector, []int{0, 2}) {
		t.Errorf("%+v", cfg)
	}
}
