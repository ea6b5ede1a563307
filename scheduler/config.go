package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
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
	BetaSchedule      string    `json:"beta_schedule"` // linear, scaled_linear, squaredcos_cap_v2
	TrainedBetas      []float64 `json:"trained_betas"` // instead of the four above when not empty
	RescaleZeroSNR    bool      `json:"rescale_betas_zero_snr"`

	PredictionType  string `json:"prediction_type"`  // epsilon, v_prediction, sample
	TimestepSpacing string `json:"timestep_spacing"` // leading, trailing, linspace
	TimestepType    string `json:"timestep_type"`    // Euler: discrete, continuous
	StepsOffset     int    `json:"steps_offset"`

	UseKarrasSigmas      bool     `json:"use_karras_sigmas"`
	UseExponentialSigmas bool     `json:"use_exponential_sigmas"`
	UseBetaSigmas        bool     `json:"use_beta_sigmas"`
	SigmaMin             *float64 `json:"sigma_min"` // lower end of those three; null for the schedule's own
	SigmaMax             *float64 `json:"sigma_max"`
	FinalSigmasType      string   `json:"final_sigmas_type"` // zero, sigma_min

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

	ClipSample      bool    `json:"clip_sample"`
	ClipSampleRange float64 `json:"clip_sample_range"`
	SetAlphaToOne   bool    `json:"set_alpha_to_one"`

	SolverOrder      int    `json:"solver_order"`   // 1 to 3
	AlgorithmType    string `json:"algorithm_type"` // dpmsolver++, sde-dpmsolver++
	SolverType       string `json:"solver_type"`    // DPM-Solver: midpoint, heun; UniPC: bh1, bh2
	LowerOrderFinal  bool   `json:"lower_order_final"`
	EulerAtFinal     bool   `json:"euler_at_final"`
	DisableCorrector []int  `json:"disable_corrector"`

	OriginalInferenceSteps int     `json:"original_inference_steps"`
	TimestepScaling        float64 `json:"timestep_scaling"`

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

// adoptSolver replaces another class's solver names by this class's, as the constructors do.
func (c *Config) adoptSolver() {
	switch c.Class {
	case DPMSolver:
		if c.AlgorithmType == "deis" {
			c.AlgorithmType = "dpmsolver++"
		}
		if slices.Contains([]string{"logrho", "bh1", "bh2"}, c.SolverType) {
			c.SolverType = "midpoint"
		}
	case UniPC, A1111UniPC:
		if slices.Contains([]string{"midpoint", "heun", "logrho"}, c.SolverType) {
			c.SolverType = "bh2"
		}
	}
}

func (c *Config) validate() error {
	known, ok := classes[c.Class]
	if !ok {
		return fmt.Errorf("scheduler: _class_name: %q is not built in; built in are %s", c.Class, strings.Join(classNames(), ", "))
	}
	if c.unsupported != nil {
		return c.unsupported
	}
	bad := func(key string, value any, allowed string) error {
		return fmt.Errorf("scheduler: %s: %s = %v; allowed: %s", c.Class, key, value, allowed)
	}
	oneOf := func(key, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return bad(key, fmt.Sprintf("%q", value), strings.Join(allowed, ", "))
	}
	has := func(key string) bool { _, ok := known.defaults[key]; return ok }

	checks := []error{
		oneOf("prediction_type", c.PredictionType, known.predictions...),
		oneOf("timestep_spacing", c.TimestepSpacing, "leading", "trailing", "linspace"),
	}
	if c.NumTrainTimesteps < 2 || c.NumTrainTimesteps > 1<<20 {
		checks = append(checks, bad("num_train_timesteps", c.NumTrainTimesteps, "2 to 1048576"))
	}
	if len(c.TrainedBetas) > 0 {
		if len(c.TrainedBetas) != c.NumTrainTimesteps {
			checks = append(checks, bad("trained_betas", fmt.Sprintf("%d values", len(c.TrainedBetas)), "num_train_timesteps values"))
		}
	} else {
		checks = append(checks, oneOf("beta_schedule", c.BetaSchedule, "linear", "scaled_linear", "squaredcos_cap_v2"))
		if !(c.BetaStart > 0 && c.BetaStart <= c.BetaEnd && c.BetaEnd < 1) {
			checks = append(checks, bad("beta_start, beta_end", fmt.Sprint(c.BetaStart, ", ", c.BetaEnd), "0 < beta_start <= beta_end < 1"))
		}
	}
	if c.StepsOffset < 0 || c.StepsOffset >= c.NumTrainTimesteps {
		checks = append(checks, bad("steps_offset", c.StepsOffset, "0 to num_train_timesteps-1"))
	}
	if has("final_sigmas_type") {
		checks = append(checks, oneOf("final_sigmas_type", c.FinalSigmasType, "zero", "sigma_min"))
	}
	if has("timestep_type") {
		checks = append(checks, oneOf("timestep_type", c.TimestepType, "discrete", "continuous"))
	}
	conversions := 0
	for _, option := range []struct {
		key string
		on  bool
	}{
		{"use_karras_sigmas", c.UseKarrasSigmas}, {"use_exponential_sigmas", c.UseExponentialSigmas},
		{"use_beta_sigmas", c.UseBetaSigmas}, {"rescale_betas_zero_snr", c.RescaleZeroSNR},
	} {
		if option.on && !has(option.key) {
			checks = append(checks, bad(option.key, true, "false: the class does not have it"))
		}
		if option.on && option.key != "rescale_betas_zero_snr" {
			conversions++
		}
	}
	if conversions > 1 {
		checks = append(checks, bad("use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas", "more than one true", "at most one"))
	}
	if (c.SigmaMin != nil || c.SigmaMax != nil) && conversions == 1 {
		for _, bound := range []*float64{c.SigmaMin, c.SigmaMax} {
			if bound != nil && !(*bound > 0 && !math.IsInf(*bound, 1)) {
				checks = append(checks, bad("sigma_min, sigma_max", *bound, "null or a positive number"))
			}
		}
		if c.SigmaMin != nil && c.SigmaMax != nil && *c.SigmaMin >= *c.SigmaMax {
			checks = append(checks, bad("sigma_min", *c.SigmaMin, "below sigma_max"))
		}
	}
	if has("clip_sample_range") && c.ClipSample && !(c.ClipSampleRange > 0) {
		checks = append(checks, bad("clip_sample_range", c.ClipSampleRange, "a positive number"))
	}
	if has("solver_order") && (c.SolverOrder < 1 || c.SolverOrder > 3) {
		checks = append(checks, bad("solver_order", c.SolverOrder, "1, 2, 3"))
	}
	if has("algorithm_type") {
		checks = append(checks, oneOf("algorithm_type", c.AlgorithmType, "dpmsolver++", "sde-dpmsolver++"))
	}
	switch c.Class {
	case DPMSolver:
		checks = append(checks, oneOf("solver_type", c.SolverType, "midpoint", "heun"))
	case UniPC:
		checks = append(checks, oneOf("solver_type", c.SolverType, "bh1", "bh2"))
	}
	if has("original_inference_steps") && (c.OriginalInferenceSteps < 1 || c.OriginalInferenceSteps > c.NumTrainTimesteps) {
		checks = append(checks, bad("original_inference_steps", c.OriginalInferenceSteps, "1 to num_train_timesteps"))
	}
	checks = append(checks, c.validateSchedule())
	return errors.Join(checks...)
}
