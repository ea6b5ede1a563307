package scheduler

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Classes that diffusers lacks: k-diffusion's samplers, under the names of its functions, and those of A1111 that are
// functions of its own. They follow A1111 1.10 and k-diffusion 0.1.1; keys set what ComfyUI does otherwise.
const (
	KEuler          = "sample_euler"
	KEulerAncestral = "sample_euler_ancestral"
	KHeun           = "sample_heun"
	KLMS            = "sample_lms"
	KDPM2           = "sample_dpm_2"
	KDPM2Ancestral  = "sample_dpm_2_ancestral"
	KDPMFast        = "sample_dpm_fast"
	KDPMPP2SA       = "sample_dpmpp_2s_ancestral"
	KDPMPPSDE       = "sample_dpmpp_sde"
	KDPMPP2M        = "sample_dpmpp_2m"
	KDPMPP2MSDE     = "sample_dpmpp_2m_sde"
	KDPMPP3MSDE     = "sample_dpmpp_3m_sde"
	KRestart        = "restart_sampler"
	KLCM            = "sample_lcm"
	A1111DDIM       = "a1111_ddim"
	A1111UniPC      = "a1111_unipc"

	KEulerCFGPP              = "sample_euler_ancestral_cfg_pp"
	KDPMPP2SACFGPP           = "sample_dpmpp_2s_ancestral_cfg_pp"
	KDPMPP2MCFGPP            = "sample_dpmpp_2m_cfg_pp"
	KResMultistep            = "sample_res_multistep"
	KResMultistepCFGPP       = "sample_res_multistep_cfg_pp"
	KGradientEstimation      = "sample_gradient_estimation"
	KGradientEstimationCFGPP = "sample_gradient_estimation_cfg_pp"
	A1111DDIMCFGPP           = "a1111_ddim_cfgpp"
	A1111PLMS                = "a1111_plms"
)

// kDefaults are the keys of A1111's options that these classes read, with A1111's defaults. schedule_type is one of
// Schedules or automatic, which is all levels evenly spaced (uniform).
//
//   - discard_next_to_last_sigma computes one sigma more and drops the last but one.
//   - enable_quantization gives the model whole timesteps, as ComfyUI always does.
//   - sgm_noise_multiplier starts from noise times sqrt(1+sigma²), as ComfyUI always does at the highest sigma.
//   - float64_sigmas computes sigmas in float64, as ComfyUI always does; A1111 rounds cumulative alphas to float32.
//   - eta_ancestral (0 to 1) is the fraction of noise that ancestral and SDE samplers add, s_noise a factor of it.
//   - final_denoise ends LMS by the prediction itself, as ComfyUI does.
//   - lcm_denoiser has A1111's LCM take consistency functions at the 50 timesteps of the distillation.
//   - path_of_run has the Brownian path of an SDE sampler span the sigmas that are run, and begin each step at its sigma, as
//     ComfyUI does; A1111's path spans the whole schedule, and DPM++ SDE begins at the exponential of sigma's logarithm.
//   - model_sigma_range has DPM fast span the model's sigmas whatever the schedule, as A1111's text-to-image does.
func kDefaults(own map[string]any) map[string]any {
	all := defaultsWith(map[string]any{
		"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": false,
		"schedule_type": "automatic", "discard_next_to_last_sigma": false, "enable_quantization": false,
		"sgm_noise_multiplier": false, "float64_sigmas": false, "path_of_run": false,
		"eta_ancestral": 1.0, "s_noise": 1.0,
	})
	maps.Copy(all, own)
	return all
}

// kClass is a k-diffusion sampler: calls is the number of model evaluations of a step, history that of the tensors
// between evaluations.
func kClass(calls, history int, solve func(*kSolver), own map[string]any) *class {
	return &class{
		defaults: kDefaults(own), predictions: anyPrediction, sigmas: true, order: 1, calls: calls,
		setTimesteps: setTimestepsK, initNoise: kInitNoise, history: func(*Config) int { return history },
		solve: func(p *plan) []Step {
			k := &kSolver{p: p, b: newBasis(history), sigmas: p.sigmas[p.first : p.end+1]}
			solve(k)
			return k.steps
		},
	}
}

var kClasses = map[string]*class{
	KEuler:          kClass(1, 0, solveKEuler, nil),
	KEulerAncestral: kClass(1, 0, solveKEulerAncestral, nil),
	KHeun:           kClass(2, 2, solveKHeun, nil),
	KLMS:            kClass(1, lmsOrder-1, solveKLMS, map[string]any{"final_denoise": false}),
	KDPM2:           kClass(2, 1, solveKDPM2, nil),
	KDPM2Ancestral:  kClass(2, 1, solveKDPM2Ancestral, nil),
	KDPMFast:        kClass(1, 2, solveKDPMFast, map[string]any{"model_sigma_range": true}),
	KDPMPP2SA:       kClass(2, 1, solveKDPMPP2SA, nil),
	KDPMPPSDE:       kClass(2, 1, solveKDPMPPSDE, nil),
	KDPMPP2M:        kClass(1, 1, solveKDPMPP2M, nil),
	KDPMPP2MSDE:     kClass(1, 1, solveKDPMPP2MSDE, map[string]any{"solver_type": "midpoint"}),
	KDPMPP3MSDE:     kClass(1, 2, solveKDPMPP3MSDE, nil),
	KRestart:        kClass(2, 2, solveKRestart, nil),
	KLCM:            kClass(1, 0, solveKLCM, map[string]any{"lcm_denoiser": true}),

	KEulerCFGPP:              cfgppClass(1, 0, solveKEulerCFGPP, nil),
	KDPMPP2SACFGPP:           cfgppClass(2, 1, solveKDPMPP2SACFGPP, nil),
	KDPMPP2MCFGPP:            cfgppClass(1, 1, solveKDPMPP2MCFGPP, nil),
	KResMultistep:            kClass(1, 1, resMultistep(false), nil),
	KResMultistepCFGPP:       cfgppClass(1, 1, resMultistep(true), nil),
	KGradientEstimation:      kClass(1, 1, gradientEstimation(false), nil),
	KGradientEstimationCFGPP: cfgppClass(1, 1, gradientEstimation(true), nil),

	A1111DDIM: {
		defaults: kDefaults(nil), predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsA1111DDIM, solve: solveA1111DDIM, history: noHistory,
	},
	A1111DDIMCFGPP: {
		defaults: kDefaults(nil), predictions: anyPrediction, order: 1, unconditional: true,
		setTimesteps: setTimestepsA1111DDIM, solve: solveA1111DDIM, history: func(*Config) int { return 1 },
	},
	A1111PLMS: {
		defaults: kDefaults(nil), predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsA1111DDIM, solve: solveA1111PLMS, history: func(*Config) int { return plmsHistory },
	},
	A1111UniPC: {
		defaults:    kDefaults(map[string]any{"solver_order": 3, "solver_type": "bh1", "lower_order_final": true}),
		predictions: anyPrediction, order: 1,
		setTimesteps: setTimestepsA1111UniPC, solve: solveUniPC, history: func(c *Config) int { return c.SolverOrder + 1 },
	},
}

// The maps of diffusers' classes and names take these in here, so that they stay together.
func init() {
	maps.Copy(classes, kClasses)
	maps.Copy(names, kNames)
}

func isK(className string) bool { return kClasses[className] != nil }

// validateSchedule checks schedule_type and the keys of k-diffusion's samplers.
func (c *Config) validateSchedule() error {
	if none := c.ScheduleType == "" && !isK(c.Class) || c.ScheduleType == "automatic" && isK(c.Class); !none && scheduleTypes[c.ScheduleType] == nil {
		return fmt.Errorf("scheduler: %s: schedule_type = %q; allowed: %s", c.Class, c.ScheduleType, strings.Join(slices.Sorted(maps.Keys(scheduleTypes)), ", "))
	}
	if !isK(c.Class) {
		return nil
	}
	for _, f := range []struct {
		key       string
		value, to float64
	}{{"eta_ancestral", c.EtaAncestral, 1}, {"s_noise", c.SNoise, 2}} {
		if !(f.value >= 0 && f.value <= f.to) {
			return fmt.Errorf("scheduler: %s: %s = %v; allowed: 0 to %v", c.Class, f.key, f.value, f.to)
		}
	}
	if c.Class == KDPMPP2MSDE && c.SolverType != "midpoint" && c.SolverType != "heun" {
		return fmt.Errorf("scheduler: %s: solver_type = %q; allowed: midpoint, heun", c.Class, c.SolverType)
	}
	if c.Class == A1111UniPC && c.SolverType != "bh1" && c.SolverType != "bh2" {
		return fmt.Errorf("scheduler: %s: solver_type = %q; allowed: bh1, bh2", c.Class, c.SolverType)
	}
	if c.LCMDenoiser && c.NumTrainTimesteps != 1000 {
		return fmt.Errorf("scheduler: %s: num_train_timesteps = %d; allowed: 1000 with lcm_denoiser", c.Class, c.NumTrainTimesteps)
	}
	return nil
}

// setTimestepsK computes sigmas by schedule_type, and the timestep of each but the last.
func setTimestepsK(p *plan) error {
	if p.c.Class == KRestart && p.o.DenoisingEnd > 0 && p.o.DenoisingEnd < 1 {
		return fmt.Errorf("scheduler: %s: DenoisingEnd = %v; allowed: none, since its steps are those of a whole run", p.c.Class, p.o.DenoisingEnd)
	}
	p.levels = newLevels(p.c, p.train)
	var err error
	if len(p.o.Sigmas) > 0 {
		if p.sigmas, err = p.customSigmas(); err != nil {
			return err
		}
	} else {
		n := p.steps
		if p.c.DiscardNextToLastSigma {
			n++
		}
		if p.sigmas, err = p.scheduleSigmas(p.levels, n); err != nil {
			return err
		}
		if last := len(p.sigmas) - 1; p.c.DiscardNextToLastSigma && last > 1 {
			p.sigmas = append(p.sigmas[:last-1], p.sigmas[last])
		}
	}
	toFloat32(p.sigmas)
	for _, s := range p.sigmas[:len(p.sigmas)-1] {
		p.timesteps = append(p.timesteps, p.levels.timestep(s))
	}
	return nil
}

// kInitNoise is what unit noise is multiplied by for text-to-image.
func kInitNoise(p *plan) float64 {
	first, highest := p.sigmas[0], p.levels.sigmas[len(p.levels.sigmas)-1]
	// ComfyUI takes a sigma for the highest as math.isclose does with a relative tolerance of 1e-5.
	if p.c.SGMNoiseMultiplier && first >= highest*(1-1e-5) {
		return math.Sqrt(1 + first*first)
	}
	return first
}

// kSolver collects the evaluations of a run of a k-diffusion sampler.
type kSolver struct {
	p      *plan
	b      basis
	sigmas []float64 // of the steps to run, and the one at which the last of them ends
	steps  []Step
}

// step is an evaluation of the model at a sigma: latents are variance exploding (VE).
func (k *kSolver) step(sigma float64) Step {
	a, b := veX0(k.p.c.PredictionType, sigma)
	return Step{
		Timestep: k.p.levels.timestep(sigma), InputScale: 1 / math.Sqrt(sigma*sigma+1),
		A: a, B: b, Alpha: 1, Sigma: sigma,
	}
}

// evaluate appends an evaluation at sigma that leaves x and the first history tensors as given, the others zero.
func (k *kSolver) evaluate(sigma float64, x row, history ...row) {
	step := k.step(sigma)
	step.Noise = x[3] != 0
	rows := append([]row{x}, history...)
	for len(rows) < 1+len(k.b.h) {
		rows = append(rows, make(row, len(x)))
	}
	step.Matrix = matrix(rows...)
	k.steps = append(k.steps, step)
}

// derivative is (x - x0)/sigma, k-diffusion's to_d.
func (k *kSolver) derivative(sigma float64) row {
	return k.b.veDerivative(k.p.c.PredictionType, sigma, 0)
}

// pathBetween has the last evaluation take its noise, if it adds some, from the Brownian path between two sigmas.
func (k *kSolver) pathBetween(from, to float64) {
	if step := &k.steps[len(k.steps)-1]; step.Noise {
		step.Path = [2]float64{from, to}
		sigmas := k.p.sigmas
		if k.p.c.PathOfRun {
			sigmas = k.sigmas
		}
		if sigmas[len(sigmas)-1] == 0 {
			sigmas = sigmas[:len(sigmas)-1]
		}
		k.p.pathRange = [2]float64{sigmas[len(sigmas)-1], sigmas[0]}
	}
}

// noise is the term of unit noise with a deviation.
func (k *kSolver) noise(deviation float64) term { return term{deviation * k.p.c.SNoise, k.b.noise} }

// ancestral is get_ancestral_step: the sigma to step down to, and the deviation of the noise that leads up to to.
func (k *kSolver) ancestral(from, to float64) (down, up float64) {
	up = min(to, k.p.c.EtaAncestral*math.Sqrt(to*to*(from*from-to*to)/(from*from)))
	return math.Sqrt(to*to - up*up), up
}
