package scheduler

// classes are the supported schedulers by class name.
var classes = map[string]*class{
	Euler: {
		defaults: withConversion(map[string]any{
			"interpolation_type": "linear", "sigma_min": nil, "sigma_max": nil, "timestep_type": "discrete",
			"rescale_betas_zero_snr": false, "final_sigmas_type": "zero",
		}),
		predictions: append([]string{"original_sample"}, anyPrediction...), timesteps: true, sigmas: true, order: 1, initNoise: initialVE,
		setTimesteps: setTimestepsEuler, solve: solveEuler, history: noHistory,
	},
	EulerAncestral: {
		defaults:    defaultsWith(map[string]any{"rescale_betas_zero_snr": false, "schedule_type": nil}),
		predictions: noiseOrV, order: 1, initNoise: initialVE,
		setTimesteps: setTimestepsEuler, solve: solveEulerAncestral, history: noHistory,
	},
	Heun: {
		defaults: withConversion(map[string]any{
			"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": false, "clip_sample_range": 1.0,
		}),
		predictions: anyPrediction, betas: []string{"exp"}, timesteps: true, order: 2, initNoise: initialVE,
		setTimesteps: setTimestepsHeun, solve: solveHeun, history: func(*Config) int { return 2 },
	},
	LMS: {
		defaults:    withConversion(nil),
		predictions: anyPrediction, order: 1, initNoise: initialVE,
		setTimesteps: setTimestepsEuler, solve: solveLMS, history: func(*Config) int { return lmsOrder - 1 },
	},
	DDIM: {
		defaults: defaultsWith(thresholdDefaults(map[string]any{
			"clip_sample": true, "clip_sample_range": 1.0, "set_alpha_to_one": true, "timestep_spacing": "leading",
			"rescale_betas_zero_snr": false,
		})),
		predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsDDIM, solve: solveDDIM, history: noHistory,
	},
	DDPM: {
		defaults: defaultsWith(thresholdDefaults(map[string]any{
			"variance_type": "fixed_small", "clip_sample": true, "clip_sample_range": 1.0, "timestep_spacing": "leading",
			"rescale_betas_zero_snr": false,
		})),
		predictions: anyPrediction, betas: []string{"laplace", "sigmoid"}, timesteps: true, order: 1,
		setTimesteps: setTimestepsDDPM, solve: solveDDPM, history: noHistory,
	},
	PNDM: {
		defaults: defaultsWith(map[string]any{
			"skip_prk_steps": false, "set_alpha_to_one": false, "timestep_spacing": "leading",
		}),
		predictions: noiseOrV, order: 1,
		setTimesteps: setTimestepsPNDM, solve: solvePNDM, history: func(*Config) int { return pndmHistory },
	},
	DEIS: {
		defaults: withConversion(thresholdDefaults(map[string]any{
			"solver_order": 2, "algorithm_type": "deis", "solver_type": "logrho", "lower_order_final": true,
			"use_flow_sigmas": false, "flow_shift": 1.0, "use_dynamic_shifting": false,
		})),
		predictions: anyOrFlow, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveDEIS, history: func(c *Config) int { return c.SolverOrder - 1 },
	},
	DPMSolver: {
		defaults: withConversion(thresholdDefaults(map[string]any{
			"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "lower_order_final": true,
			"euler_at_final": false, "final_sigmas_type": "zero", "rescale_betas_zero_snr": false,
			"use_lu_lambdas": false, "use_flow_sigmas": false, "flow_shift": 1.0, "use_dynamic_shifting": false,
			"variance_type": nil, "lambda_min_clipped": nil,
		})),
		predictions: anyOrFlow, timesteps: true, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveDPM, history: func(c *Config) int { return c.SolverOrder - 1 },
	},
	DPMSinglestep: {
		defaults: withConversion(thresholdDefaults(map[string]any{
			"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "lower_order_final": false,
			"final_sigmas_type": "zero", "use_flow_sigmas": false, "flow_shift": 1.0, "use_dynamic_shifting": false,
			"variance_type": nil, "lambda_min_clipped": nil,
		})),
		predictions: anyOrFlow, timesteps: true, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveSinglestep, history: func(c *Config) int { return c.SolverOrder },
	},
	DPMSDE: {
		defaults:    withConversion(map[string]any{"beta_start": 0.00085, "beta_end": 0.012, "noise_sampler_seed": nil}),
		predictions: noiseOrV, order: 2, initNoise: initialVE,
		setTimesteps: setTimestepsSDE, solve: solveSDE, history: func(*Config) int { return 1 },
	},
	DPM2: {
		defaults:    withConversion(map[string]any{"beta_start": 0.00085, "beta_end": 0.012}),
		predictions: noiseOrV, order: 2, initNoise: initialVE,
		setTimesteps: setTimestepsDPM2, solve: solveDPM2, history: func(*Config) int { return 1 },
	},
	DPM2Ancestral: {
		defaults:    withConversion(map[string]any{"beta_start": 0.00085, "beta_end": 0.012}),
		predictions: noiseOrV, order: 2, initNoise: initialVE,
		setTimesteps: setTimestepsDPM2, solve: solveDPM2, history: func(*Config) int { return 1 },
	},
	UniPC: {
		defaults: withConversion(thresholdDefaults(map[string]any{
			"solver_order": 2, "predict_x0": true, "solver_type": "bh2", "lower_order_final": true,
			"disable_corrector": nil, "solver_p": nil, "final_sigmas_type": "zero", "rescale_betas_zero_snr": false,
			"sigma_min": nil, "sigma_max": nil, "use_flow_sigmas": false, "flow_shift": 1.0,
			"use_dynamic_shifting": false, "shift_terminal": nil,
		})),
		predictions: anyOrFlow, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveUniPC, history: func(c *Config) int { return c.SolverOrder + 1 },
	},
	SASolver: {
		defaults: withConversion(thresholdDefaults(map[string]any{
			"predictor_order": 2, "corrector_order": 2, "tau_func": nil, "algorithm_type": "data_prediction",
			"lower_order_final": true, "use_flow_sigmas": false, "flow_shift": 1.0, "lambda_min_clipped": nil,
			"variance_type": nil,
		})),
		predictions: anyOrFlow, order: 1,
		setTimesteps: setTimestepsMultistep, solve: solveSA, history: historySA,
	},
	EDMEuler: {
		defaults:    edmDefaults(nil),
		predictions: noiseOrV, order: 1, initNoise: initialEDM,
		setTimesteps: setTimestepsEDM, solve: solveEDMEuler, history: noHistory,
	},
	EDMDPMSolver: {
		defaults: edmDefaults(thresholdDefaults(map[string]any{
			"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "lower_order_final": true,
			"euler_at_final": false,
		})),
		predictions: noiseOrV, order: 1, initNoise: initialEDM,
		setTimesteps: setTimestepsEDM, solve: solveDPM, history: func(c *Config) int { return c.SolverOrder - 1 },
	},
	FlowEuler: {
		defaults: map[string]any{
			"num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": false, "invert_sigmas": false, "shift_terminal": nil,
			"use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false, "stochastic_sampling": false,
		},
		timesteps: true, sigmas: true, order: 1,
		setTimesteps: setTimestepsFlow, solve: solveFlow, history: noHistory,
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
