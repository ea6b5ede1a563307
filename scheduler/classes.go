package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Class names as _class_name has them.
const (
	Euler          = "EulerDiscreteScheduler"
	EulerAncestral = "EulerAncestralDiscreteScheduler"
	Heun           = "HeunDiscreteScheduler"
	LMS            = "LMSDiscreteScheduler"
	DDIM           = "DDIMScheduler"
	DPMSolver      = "DPMSolverMultistepScheduler"
	UniPC          = "UniPCMultistepScheduler"
	LCM            = "LCMScheduler"
	TCD            = "TCDScheduler"
)

// class is what is particular to one scheduler: the keys of its constructor with their defaults, set_timesteps and
// step.
type class struct {
	defaults     map[string]any      // by JSON name; every key of the constructor that can change the results
	predictions  []string            // prediction types that its step supports
	timesteps    bool                // takes custom timesteps
	sigmas       bool                // takes custom sigmas
	order        int                 // model evaluations that the pipelines count as one step
	calls        int                 // model evaluations of a step where it has one timestep all the same; 0 is order
	setTimesteps func(*plan) error   // fills timesteps and sigmas
	solve        func(*plan) []Step  // the steps of [first, end)
	history      func(c *Config) int // tensors carried between steps
	initNoise    func(*plan) float64 // InitNoiseSigma; nil is plan.initNoiseSigma
}

// defaultsWith adds own to the part of the constructor that every class has.
func defaultsWith(own map[string]any) map[string]any {
	all := map[string]any{
		"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
		"trained_betas": nil, "prediction_type": "epsilon", "timestep_spacing": "linspace", "steps_offset": 0,
	}
	maps.Copy(all, own)
	return all
}

var (
	anyPrediction   = []string{"epsilon", "v_prediction", "sample"}
	sigmaConversion = map[string]any{"use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false, "schedule_type": nil}
)

func withConversion(own map[string]any) map[string]any {
	all := defaultsWith(sigmaConversion)
	maps.Copy(all, own)
	return all
}

var consistencyDefaults = defaultsWith(map[string]any{
	"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "original_inference_steps": 50,
	"clip_sample": false, "clip_sample_range": 1.0, "set_alpha_to_one": true, "timestep_spacing": "leading",
	"timestep_scaling": 10.0, "rescale_betas_zero_snr": false, "thresholding": false,
})

func noHistory(*Config) int { return 0 }

var classes = map[string]*class{
	Euler: {
		defaults: withConversion(map[string]any{
			"interpolation_type": "linear", "sigma_min": nil, "sigma_max": nil, "timestep_type": "discrete",
			"rescale_betas_zero_snr": false, "final_sigmas_type": "zero",
		}),
		predictions: append([]string{"original_sample"}, anyPrediction...), timesteps: true, sigmas: true, order: 1,
		setTimesteps: setTimestepsEuler, solve: solveEuler, history: noHistory,
	},
	EulerAncestral: {
		defaults:    defaultsWith(map[string]any{"rescale_betas_zero_snr": false, "schedule_type": nil}),
		predictions: []string{"epsilon", "v_prediction"}, order: 1,
		setTimesteps: setTimestepsEuler, solve: solveEulerAncestral, history: noHistory,
	},
	Heun: {
		defaults: withConversion(map[string]any{
			"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": false, "clip_sample_range": 1.0,
		}),
		predictions: anyPrediction, timesteps: true, order: 2,
		setTimesteps: setTimestepsHeun, solve: solveHeun, history: func(*Config) int { return 2 },
	},
	LMS: {
		defaults:    withConversion(nil),
		predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsEuler, solve: solveLMS, history: func(*Config) int { return lmsOrder - 1 },
	},
	DDIM: {
		defaults: defaultsWith(map[string]any{
			"clip_sample": true, "clip_sample_range": 1.0, "set_alpha_to_one": true, "timestep_spacing": "leading",
			"rescale_betas_zero_snr": false, "thresholding": false,
		}),
		predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsDDIM, solve: solveDDIM, history: noHistory,
	},
	DPMSolver: {
		defaults: withConversion(map[string]any{
			"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "lower_order_final": true,
			"euler_at_final": false, "final_sigmas_type": "zero", "rescale_betas_zero_snr": false, "thresholding": false,
			"use_lu_lambdas": false, "use_flow_sigmas": false, "use_dynamic_shifting": false, "variance_type": nil,
			"lambda_min_clipped": nil,
		}),
		predictions: anyPrediction, timesteps: true, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveDPM, history: func(c *Config) int { return c.SolverOrder - 1 },
	},
	UniPC: {
		defaults: withConversion(map[string]any{
			"solver_order": 2, "predict_x0": true, "solver_type": "bh2", "lower_order_final": true,
			"disable_corrector": nil, "solver_p": nil, "final_sigmas_type": "zero", "rescale_betas_zero_snr": false,
			"sigma_min": nil, "sigma_max": nil, "thresholding": false, "use_flow_sigmas": false,
			"use_dynamic_shifting": false, "shift_terminal": nil,
		}),
		predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveUniPC, history: func(c *Config) int { return c.SolverOrder + 1 },
	},
	LCM: {
		defaults: consistencyDefaults, predictions: anyPrediction, timesteps: true, order: 1,
		setTimesteps: setTimestepsConsistency, solve: solveLCM, history: noHistory,
	},
	TCD: {
		defaults: consistencyDefaults, predictions: anyPrediction, timesteps: true, order: 1,
		setTimesteps: setTimestepsConsistency, solve: solveTCD, history: noHistory,
	},
}

// classNames lists the supported classes, sorted.
func classNames() []string { return slices.Sorted(maps.Keys(classes)) }

// foreignKeys belong to scheduler classes of diffusers that are not supported, or change nothing in those that are. A
// stored config may carry them from one class to the next.
var foreignKeys = []string{
	"dynamic_thresholding_ratio", "flow_shift", "rho", "sample_max_value", "sigma_data", "sigma_schedule",
	"skip_prk_steps", "time_shift_type",
}

// knownKey says whether any scheduler of the compatible family has the key.
func knownKey(key string) bool {
	if slices.Contains(foreignKeys, key) {
		return true
	}
	for _, c := range classes {
		if _, ok := c.defaults[key]; ok {
			return true
		}
	}
	return false
}

// fixedKeys are the options with only one supported value (or set of values); any other changes the results.
var fixedKeys = map[string][]string{
	"interpolation_type":   {`"linear"`},
	"thresholding":         {`false`, `null`},
	"use_lu_lambdas":       {`false`, `null`},
	"use_flow_sigmas":      {`false`, `null`},
	"use_dynamic_shifting": {`false`, `null`},
	"shift_terminal":       {`null`},
	"solver_p":             {`null`},
	"predict_x0":           {`true`},
	"lambda_min_clipped":   {`"-Infinity"`, `null`},
	"variance_type":        {`null`, `"fixed_small"`, `"fixed_small_log"`, `"fixed_large"`, `"fixed_large_log"`},
}

// ignoresThresholding: TCD has the key but its step never looks at it.
var ignoresThresholding = map[string]bool{TCD: true}

func checkFixed(className, key string, value json.RawMessage) error {
	allowed, ok := fixedKeys[key]
	if !ok || key == "thresholding" && ignoresThresholding[className] {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return fmt.Errorf("scheduler: %s: %w", key, err)
	}
	if slices.Contains(allowed, compact.String()) {
		return nil
	}
	return fmt.Errorf("scheduler: %s: %s = %s is not supported; allowed: %s", className, key, compact.String(),
		strings.Join(allowed, ", "))
}
