package scheduler

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// adoptSolver replaces another class's solver names by this class's, as the constructors do.
func (c *Config) adoptSolver() {
	switch c.Class {
	case DPMSolver, DPMSinglestep, EDMDPMSolver:
		if c.AlgorithmType == "deis" {
			c.AlgorithmType = "dpmsolver++"
		}
		if slices.Contains([]string{"logrho", "bh1", "bh2"}, c.SolverType) {
			c.SolverType = "midpoint"
		}
	case DEIS:
		if slices.Contains([]string{"dpmsolver", "dpmsolver++"}, c.AlgorithmType) {
			c.AlgorithmType = "deis"
		}
		if slices.Contains([]string{"midpoint", "heun", "bh1", "bh2"}, c.SolverType) {
			c.SolverType = "logrho"
		}
	case UniPC, A1111UniPC:
		if slices.Contains([]string{"midpoint", "heun", "logrho"}, c.SolverType) {
			c.SolverType = "bh2"
		}
	}
}

// checker collects what is wrong with a config.
type checker struct {
	c      *Config
	known  *class
	errors []error
}

func (k *checker) has(key string) bool { _, ok := k.known.defaults[key]; return ok }

// require adds an error unless ok.
func (k *checker) require(ok bool, key string, value any, allowed string) {
	if !ok {
		k.errors = append(k.errors, fmt.Errorf("scheduler: %s: %s = %v; allowed: %s", k.c.Class, key, value, allowed))
	}
}

// oneOf checks a key that the class has.
func (k *checker) oneOf(key, value string, allowed ...string) {
	if k.has(key) {
		k.require(slices.Contains(allowed, value), key, fmt.Sprintf("%q", value), strings.Join(allowed, ", "))
	}
}

// within checks a number that the class has.
func (k *checker) within(key string, value float64, ok bool, allowed string) {
	if k.has(key) {
		k.require(ok && !math.IsNaN(value) && !math.IsInf(value, 0), key, value, allowed)
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
	k := &checker{c: c, known: known}
	k.oneOf("prediction_type", c.PredictionType, known.predictions...)
	k.oneOf("timestep_spacing", c.TimestepSpacing, "leading", "trailing", "linspace")
	k.require(c.NumTrainTimesteps >= 1 && c.NumTrainTimesteps <= 1<<20, "num_train_timesteps", c.NumTrainTimesteps, "1 to 1048576")
	k.betas()
	k.require(c.StepsOffset >= 0 && c.StepsOffset < max(c.NumTrainTimesteps, 2), "steps_offset", c.StepsOffset, "0 to num_train_timesteps-1")
	k.oneOf("final_sigmas_type", c.FinalSigmasType, "zero", "sigma_min")
	k.oneOf("timestep_type", c.TimestepType, "discrete", "continuous")
	k.oneOf("interpolation_type", c.InterpolationType, "linear", "log_linear")
	k.sigmas()
	k.within("clip_sample_range", c.ClipSampleRange, !c.ClipSample || c.ClipSampleRange > 0, "a positive number")
	if c.Thresholding && !ignoresThresholding[c.Class] {
		k.within("dynamic_thresholding_ratio", c.DynamicThresholdingRatio, c.DynamicThresholdingRatio >= 0 && c.DynamicThresholdingRatio <= 1, "0 to 1")
		k.within("sample_max_value", c.SampleMaxValue, c.SampleMaxValue > 0, "a positive number")
	}
	k.solver()
	if k.has("original_inference_steps") {
		k.require(c.OriginalInferenceSteps >= 1 && c.OriginalInferenceSteps <= c.NumTrainTimesteps, "original_inference_steps", c.OriginalInferenceSteps, "1 to num_train_timesteps")
	}
	if c.NoiseSamplerSeed != nil {
		k.require(*c.NoiseSamplerSeed >= 0, "noise_sampler_seed", *c.NoiseSamplerSeed, "null or a number from 0")
	}
	k.within("sigma_data", c.SigmaData, c.SigmaData > 0, "a positive number")
	k.within("rho", c.Rho, c.Rho > 0, "a positive number")
	k.oneOf("sigma_schedule", c.SigmaSchedule, "karras", "exponential")
	k.within("shift", c.Shift, c.Shift > 0, "a positive number")
	return errors.Join(append(k.errors, c.validateSchedule())...)
}

// betas checks the training schedule.
func (k *checker) betas() {
	c := k.c
	if !k.has("beta_schedule") {
		return
	}
	if alpha := c.ZeroSNRTerminalAlpha; alpha != nil {
		k.require(*alpha > 0 && *alpha < 1, "zero_snr_terminal_alpha", *alpha, "null or a number between 0 and 1")
	}
	if len(c.TrainedBetas) > 0 {
		k.require(len(c.TrainedBetas) <= 1<<20, "trained_betas", fmt.Sprintf("%d values", len(c.TrainedBetas)), "up to 1048576 values")
		return
	}
	k.oneOf("beta_schedule", c.BetaSchedule, append([]string{"linear", "scaled_linear", "squaredcos_cap_v2"}, k.known.betas...)...)
	k.require(c.BetaStart > 0 && c.BetaStart <= c.BetaEnd && c.BetaEnd < 1, "beta_start, beta_end",
		fmt.Sprint(c.BetaStart, ", ", c.BetaEnd), "0 < beta_start <= beta_end < 1")
}

// sigmas checks the options that replace the sigmas.
func (k *checker) sigmas() {
	c := k.c
	conversions := 0
	for _, option := range []struct {
		key string
		on  bool
	}{
		{"use_karras_sigmas", c.UseKarrasSigmas}, {"use_exponential_sigmas", c.UseExponentialSigmas},
		{"use_beta_sigmas", c.UseBetaSigmas}, {"rescale_betas_zero_snr", c.RescaleZeroSNR},
	} {
		k.require(!option.on || k.has(option.key), option.key, true, "false: the class does not have it")
		if option.on && option.key != "rescale_betas_zero_snr" {
			conversions++
		}
	}
	k.require(conversions <= 1, "use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas", "more than one true", "at most one")
	if k.has("sigma_data") {
		k.require(c.SigmaMin != nil && c.SigmaMax != nil, "sigma_min, sigma_max", nil, "positive numbers")
	}
	if conversions == 1 || k.has("sigma_data") {
		for _, bound := range []*float64{c.SigmaMin, c.SigmaMax} {
			if bound != nil {
				k.require(*bound > 0 && !math.IsInf(*bound, 1), "sigma_min, sigma_max", *bound, "null or a positive number")
			}
		}
		if c.SigmaMin != nil && c.SigmaMax != nil {
			k.require(*c.SigmaMin < *c.SigmaMax, "sigma_min", *c.SigmaMin, "below sigma_max")
		}
	}
	k.within("flow_shift", c.FlowShift, !c.UseFlowSigmas || c.FlowShift > 0, "a positive number")
	if c.ShiftTerminal != nil && k.has("shift_terminal") {
		k.require(c.UseFlowSigmas || c.Class == FlowEuler, "shift_terminal", *c.ShiftTerminal, "null: it goes with use_flow_sigmas alone")
		k.require(*c.ShiftTerminal >= 0 && *c.ShiftTerminal < 1, "shift_terminal", *c.ShiftTerminal, "null or 0 to below 1")
	}
	k.require(c.LambdaMinClipped == nil || !math.IsNaN(*c.LambdaMinClipped), "lambda_min_clipped", "NaN", "null or a number")
}

// solver checks the orders and kinds of the multistep and single-step solvers.
func (k *checker) solver() {
	c := k.c
	if k.has("solver_order") {
		k.require(c.SolverOrder >= 1 && c.SolverOrder <= 3, "solver_order", c.SolverOrder, "1, 2, 3")
	}
	noise := c.AlgorithmType == "dpmsolver" || c.AlgorithmType == "sde-dpmsolver" || c.Class == UniPC && !c.PredictX0 || c.AlgorithmType == "noise_prediction"
	k.require(!noise || c.PredictionType != "flow_prediction", "prediction_type", `"flow_prediction"`, "another, where the solver works with the predicted noise")
	switch c.Class {
	case DPMSolver:
		k.oneOf("algorithm_type", c.AlgorithmType, "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
	case DPMSinglestep:
		k.oneOf("algorithm_type", c.AlgorithmType, "dpmsolver", "dpmsolver++", "sde-dpmsolver++")
		k.require(c.AlgorithmType != "dpmsolver" || !c.Thresholding, "thresholding", true, "false with algorithm_type dpmsolver")
	case EDMDPMSolver:
		k.oneOf("algorithm_type", c.AlgorithmType, "dpmsolver++", "sde-dpmsolver++")
	case DEIS:
		k.oneOf("algorithm_type", c.AlgorithmType, "deis")
		k.oneOf("solver_type", c.SolverType, "logrho")
	case SASolver:
		k.oneOf("algorithm_type", c.AlgorithmType, "data_prediction", "noise_prediction")
		k.require(c.PredictorOrder >= 1 && c.PredictorOrder <= 4, "predictor_order", c.PredictorOrder, "1 to 4")
		k.require(c.CorrectorOrder >= 1 && c.CorrectorOrder <= 4, "corrector_order", c.CorrectorOrder, "1 to 4")
		k.require(c.AlgorithmType != "noise_prediction" || !c.Thresholding, "thresholding", true, "false with algorithm_type noise_prediction")
	case UniPC:
		k.oneOf("solver_type", c.SolverType, "bh1", "bh2")
	}
	if c.Class == DPMSolver || c.Class == DPMSinglestep {
		k.require(!noise || c.FinalSigmasType != "zero", "final_sigmas_type", `"zero"`, "sigma_min with algorithm_type "+c.AlgorithmType)
	}
	if c.Class == DPMSolver || c.Class == DPMSinglestep || c.Class == EDMDPMSolver {
		k.oneOf("solver_type", c.SolverType, "midpoint", "heun")
	}
}
