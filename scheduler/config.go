package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Config is a scheduler_config.json: the fields of every supported class under diffusers' names. Fields that the class
// does not have hold their zero value and are ignored, unless they ask for something that it does not support.
//
// Use Parse, Default, With and As to get one. Fields may be changed afterwards; Schedule checks them. As and With start
// from the stored keys, not from changed fields.
type Config struct {
	Class string `json:"_class_name"`

	NumTrainTimesteps int       `json:"num_train_timesteps"`
	BetaStart         float64   `json:"beta_start"`
	BetaEnd           float64   `json:"beta_end"`
	BetaSchedule      string    `json:"beta_schedule"` // linear, scaled_linear, squaredcos_cap_v2; Heun: exp; DDPM: laplace, sigmoid
	TrainedBetas      []float64 `json:"trained_betas"` // instead of the three above when not empty
	RescaleZeroSNR    bool      `json:"rescale_betas_zero_snr"`
	// ZeroSNRTerminalAlpha is goxl's own key: it rescales the betas in every class that has them, and is the last
	// cumulative alpha then. ComfyUI's for models with zero terminal SNR is 4.8973451890853435e-08; null is diffusers'.
	ZeroSNRTerminalAlpha *float64 `json:"zero_snr_terminal_alpha"`

	PredictionType    string `json:"prediction_type"`    // epsilon, v_prediction, sample, flow_prediction
	TimestepSpacing   string `json:"timestep_spacing"`   // leading, trailing, linspace
	TimestepType      string `json:"timestep_type"`      // Euler: discrete, continuous
	InterpolationType string `json:"interpolation_type"` // Euler: linear, log_linear
	StepsOffset       int    `json:"steps_offset"`

	UseKarrasSigmas      bool     `json:"use_karras_sigmas"`
	UseExponentialSigmas bool     `json:"use_exponential_sigmas"`
	UseBetaSigmas        bool     `json:"use_beta_sigmas"`
	UseLuLambdas         bool     `json:"use_lu_lambdas"`
	UseFlowSigmas        bool     `json:"use_flow_sigmas"`
	FlowShift            float64  `json:"flow_shift"`
	ShiftTerminal        *float64 `json:"shift_terminal"` // last sigma of flow sigmas; null for the schedule's own
	SigmaMin             *float64 `json:"sigma_min"`      // lower end of the sigmas; null for the schedule's own
	SigmaMax             *float64 `json:"sigma_max"`
	FinalSigmasType      string   `json:"final_sigmas_type"`  // zero, sigma_min
	LambdaMinClipped     *float64 `json:"lambda_min_clipped"` // least half log SNR that is run; null for all

	// What diffusers lacks: one of Schedules in place of the class's own sigmas, and the options of k-diffusion's samplers.
	ScheduleType           string  `json:"schedule_type"` // "" is none; k-diffusion's samplers: automatic
	DiscardNextToLastSigma bool    `json:"discard_next_to_last_sigma"`
	EnableQuantization     bool    `json:"enable_quantization"`
	SGMNoiseMultiplier     bool    `json:"sgm_noise_multiplier"`
	Float64Sigmas          bool    `json:"float64_sigmas"`
	EtaAncestral           float64 `json:"eta_ancestral"` // 0 to 1
	SNoise                 float64 `json:"s_noise"`       // 0 to 2
	FinalDenoise           bool    `json:"final_denoise"`
	LCMDenoiser            bool    `json:"lcm_denoiser"`
	ModelSigmaRange        bool    `json:"model_sigma_range"`
	PathOfRun              bool    `json:"path_of_run"`

	ClipSample               bool    `json:"clip_sample"`
	ClipSampleRange          float64 `json:"clip_sample_range"`
	Thresholding             bool    `json:"thresholding"`
	DynamicThresholdingRatio float64 `json:"dynamic_thresholding_ratio"`
	SampleMaxValue           float64 `json:"sample_max_value"`
	SetAlphaToOne            bool    `json:"set_alpha_to_one"`
	SkipPRKSteps             bool    `json:"skip_prk_steps"` // PNDM
	// VarianceType is DDPM's fixed_small, fixed_small_log, fixed_large, learned or learned_range; any other value counts
	// as fixed_small, as in diffusers. In the DPM-Solvers and SA-Solver the learned ones alone mean something.
	VarianceType *string `json:"variance_type"`

	SolverOrder      int    `json:"solver_order"`   // 1 to 3
	AlgorithmType    string `json:"algorithm_type"` // dpmsolver++, dpmsolver, sde-dpmsolver++, sde-dpmsolver; SA: data_prediction, noise_prediction
	SolverType       string `json:"solver_type"`    // DPM-Solver: midpoint, heun; UniPC: bh1, bh2
	PredictX0        bool   `json:"predict_x0"`     // UniPC
	LowerOrderFinal  bool   `json:"lower_order_final"`
	EulerAtFinal     bool   `json:"euler_at_final"`
	DisableCorrector []int  `json:"disable_corrector"`
	PredictorOrder   int    `json:"predictor_order"` // SA-Solver: 1 to 4
	CorrectorOrder   int    `json:"corrector_order"` // SA-Solver: 1 to 4
	NoiseSamplerSeed *int64 `json:"noise_sampler_seed"`

	OriginalInferenceSteps int     `json:"original_inference_steps"`
	TimestepScaling        float64 `json:"timestep_scaling"`

	SigmaData     float64 `json:"sigma_data"`     // EDM
	SigmaSchedule string  `json:"sigma_schedule"` // EDM: karras, exponential
	Rho           float64 `json:"rho"`            // EDM: exponent of the Karras schedule

	Shift              float64 `json:"shift"` // flow matching
	StochasticSampling bool    `json:"stochastic_sampling"`
	InvertSigmas       bool    `json:"invert_sigmas"`

	// The keys that were given, not defaulted: those that from_config carries to another class.
	stored map[string]json.RawMessage
	// The reason, not visible in the fields, for which the class cannot run; nil if there is none.
	unsupported error
}

// Default returns the class as diffusers constructs it without arguments.
func Default(className string) (Config, error) {
	return fromStored(className, map[string]json.RawMessage{})
}

// Parse reads a scheduler_config.json. Keys beginning with "_" are metadata; other keys that the class does not have
// are kept for As, and Unknown lists those that no class has. 1.0 is a whole number; null and 0 are false, as in
// Python. It is an error if the file is not an object that names a class. A class that is not built in, and an
// unsupported value that would change the results, are accepted, so that As can replace them; Check and Schedule refuse
// them.
func Parse(data []byte) (Config, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(quoteNonFinite(data), &raw); err != nil {
		return Config{}, fmt.Errorf("scheduler: config: %w", err)
	}
	var className string
	if err := json.Unmarshal(raw["_class_name"], &className); err != nil || className == "" {
		return Config{}, fmt.Errorf("scheduler: _class_name: missing or not a string; allowed: %s", strings.Join(classNames(), ", "))
	}
	if defaulted, ok := raw["_use_default_values"]; ok {
		var keys []string
		if err := json.Unmarshal(defaulted, &keys); err != nil {
			return Config{}, fmt.Errorf("scheduler: _use_default_values: %w", err)
		}
		for _, key := range keys {
			delete(raw, key)
		}
	}
	maps.DeleteFunc(raw, func(key string, _ json.RawMessage) bool { return strings.HasPrefix(key, "_") })
	return read(className, raw), nil
}

// Unknown lists the stored keys that no scheduler has, sorted. They change nothing.
func (c Config) Unknown() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.stored)), knownKey)
}

// Check says why Schedule can't run the config; nil if it can.
func (c Config) Check() error { return c.validate() }

// fromStored is read and validate.
func fromStored(className string, stored map[string]json.RawMessage) (Config, error) {
	cfg := read(className, stored)
	if err := cfg.validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// read builds the class from the given keys, and from its own defaults for the rest.
func read(className string, stored map[string]json.RawMessage) Config {
	cfg := Config{Class: className, stored: stored}
	if known, ok := classes[className]; ok {
		if err := cfg.fill(known); err != nil {
			return Config{Class: className, stored: stored, unsupported: err}
		}
		cfg.adoptSolver()
		if !isK(className) && cfg.ScheduleType == "automatic" {
			cfg.ScheduleType = ""
		}
	}
	return cfg
}

// fill sets the fields that a class has.
func (c *Config) fill(known *class) error {
	merged := maps.Clone(known.defaults)
	for _, key := range slices.Sorted(maps.Keys(c.stored)) {
		// sigma_min and sigma_max act on every class: diffusers keeps a foreign key in the config and reads it from
		// there.
		def, own := known.defaults[key]
		if !own && key != "sigma_min" && key != "sigma_max" {
			continue
		}
		value := canonical(c.stored[key], def)
		if def != nil && (key == "sigma_min" || key == "sigma_max") && string(value) == "null" {
			continue // EDM's have numbers by default; other classes store null
		}
		if key == "lambda_min_clipped" && string(value) == `"-Infinity"` {
			value = json.RawMessage("null")
		}
		if err := checkFixed(c.Class, key, value); err != nil {
			return err
		}
		merged[key] = value
	}
	encoded, err := json.Marshal(merged)
	if err != nil {
		return fmt.Errorf("scheduler: %s: %w", c.Class, err)
	}
	if err := json.Unmarshal(encoded, c); err != nil {
		if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("scheduler: %s: %s: a JSON %s where %s is wanted", c.Class, mistyped.Field, mistyped.Value, mistyped.Type)
		}
		return fmt.Errorf("scheduler: %s: %w", c.Class, err)
	}
	return nil
}
