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
	DDPM           = "DDPMScheduler"
	PNDM           = "PNDMScheduler"
	DEIS           = "DEISMultistepScheduler"
	DPMSolver      = "DPMSolverMultistepScheduler"
	DPMSinglestep  = "DPMSolverSinglestepScheduler"
	DPMSDE         = "DPMSolverSDEScheduler"
	DPM2           = "KDPM2DiscreteScheduler"
	DPM2Ancestral  = "KDPM2AncestralDiscreteScheduler"
	UniPC          = "UniPCMultistepScheduler"
	SASolver       = "SASolverScheduler"
	LCM            = "LCMScheduler"
	TCD            = "TCDScheduler"
	EDMEuler       = "EDMEulerScheduler"
	EDMDPMSolver   = "EDMDPMSolverMultistepScheduler"
	FlowEuler      = "FlowMatchEulerDiscreteScheduler"
)

// class is what is particular to one scheduler: the keys of its constructor with their defaults, set_timesteps and
// step.
type class struct {
	defaults     map[string]any      // by JSON name; every key of the constructor that can change the results
	predictions  []string            // prediction types that its step supports
	timesteps    bool                // takes custom timesteps
	sigmas       bool                // takes custom sigmas
	betas        []string            // beta schedules of its own, over those that every class with betas has
	order        int                 // model evaluations that the pipelines count as one step
	calls        int                 // model evaluations of a step where it has one timestep all the same; 0 is order
	setTimesteps func(*plan) error   // fills timesteps and sigmas
	solve        func(*plan) []Step  // the steps of [first, end)
	history      func(c *Config) int // tensors carried between steps
	initNoise    func(*plan) float64 // InitNoiseSigma; nil for 1
	// unconditional: the last history tensor is the model's unconditional output, not the solver's.
	unconditional bool
}

// defaultsWith adds own to the part of the constructor that every class has.
func defaultsWith(own map[string]any) map[string]any {
	all := map[string]any{
		"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
		"trained_betas": nil, "prediction_type": "epsilon", "timestep_spacing": "linspace", "steps_offset": 0,
		"zero_snr_terminal_alpha": nil,
	}
	maps.Copy(all, own)
	return all
}

// thresholdDefaults adds own to dynamic thresholding.
func thresholdDefaults(own map[string]any) map[string]any {
	all := map[string]any{"thresholding": false, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
	maps.Copy(all, own)
	return all
}

var (
	noiseOrV        = []string{"epsilon", "v_prediction"}
	anyPrediction   = []string{"epsilon", "v_prediction", "sample"}
	anyOrFlow       = []string{"epsilon", "v_prediction", "sample", "flow_prediction"}
	sigmaConversion = map[string]any{"use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false, "schedule_type": nil}
)

func withConversion(own map[string]any) map[string]any {
	all := defaultsWith(sigmaConversion)
	maps.Copy(all, own)
	return all
}

var consistencyDefaults = defaultsWith(thresholdDefaults(map[string]any{
	"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "original_inference_steps": 50,
	"clip_sample": false, "clip_sample_range": 1.0, "set_alpha_to_one": true, "timestep_spacing": "leading",
	"timestep_scaling": 10.0, "rescale_betas_zero_snr": false,
}))

func noHistory(*Config) int { return 0 }

// classNames lists the supported classes of diffusers, sorted.
func classNames() []string { return slices.DeleteFunc(slices.Sorted(maps.Keys(classes)), isK) }

// foreignKeys change nothing in the classes that are supported, or are those of flow matching's dynamic shifting, which
// is refused. A stored config may carry them from one class to the next.
var foreignKeys = []string{"time_shift_type", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"}

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
	"use_dynamic_shifting": {`false`, `null`},
	"solver_p":             {`null`},
	"tau_func":             {`null`},
}

// ignoresThresholding: TCD has the key but its step never looks at it.
var ignoresThresholding = map[string]bool{TCD: true}

// ignoresDynamicShifting: these have the key, but shift only by the mu that their caller gives, and SDXL's pipelines
// give none. The others refuse to run without it.
var ignoresDynamicShifting = map[string]bool{DPMSolver: true, DPMSinglestep: true, DEIS: true}

func checkFixed(className, key string, value json.RawMessage) error {
	allowed, ok := fixedKeys[key]
	if !ok || key == "use_dynamic_shifting" && ignoresDynamicShifting[className] {
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
