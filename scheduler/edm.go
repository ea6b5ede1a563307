package scheduler

import (
	"maps"
	"math"
)

// edmDefaults adds own to the keys of the classes for models trained as in EDM (arXiv 2206.00364), which have no betas.
func edmDefaults(own map[string]any) map[string]any {
	all := map[string]any{
		"num_train_timesteps": 1000, "prediction_type": "epsilon", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5,
		"sigma_schedule": "karras", "rho": 7.0, "final_sigmas_type": "zero",
	}
	maps.Copy(all, own)
	return all
}

// setTimestepsEDM is set_timesteps of EDMEulerScheduler and EDMDPMSolverMultistepScheduler: noise levels between
// sigma_min and sigma_max; the model's timestep is a quarter of their logarithm.
func setTimestepsEDM(p *plan) error {
	c, n := p.c, p.steps
	low, high := *c.SigmaMin, *c.SigmaMax
	if c.SigmaSchedule == "exponential" {
		logs := make([]float32, n)
		linspaceTorch(logs, float32(math.Log(low)), float32(math.Log(high)))
		p.sigmas = make([]float64, n)
		for i, l := range logs {
			p.sigmas[n-1-i] = math.Exp(float64(l))
		}
	} else {
		p.sigmas = c.karrasEDM(low, high, n)
	}
	toFloat32(p.sigmas)
	p.timesteps = make([]float64, n)
	for i, s := range p.sigmas {
		p.timesteps[i] = 0.25 * float64(float32(math.Log(s)))
	}
	toFloat32(p.timesteps)
	final := 0.0
	if c.FinalSigmasType == "sigma_min" {
		final = p.sigmas[n-1]
		if c.Class == EDMDPMSolver {
			final = low
		}
	}
	p.sigmas = append(p.sigmas, final)
	toFloat32(p.sigmas)
	return nil
}

// karrasEDM are n sigmas from high down to low, evenly spaced in their rho-th roots: in float64 for Euler, in float32 for
// DPM-Solver++.
func (c *Config) karrasEDM(low, high float64, n int) []float64 {
	a, b := math.Pow(high, 1/c.Rho), math.Pow(low, 1/c.Rho)
	if c.Class == EDMEuler {
		list := linspace(0, 1, n)
		for i, r := range list {
			list[i] = math.Pow(a+r*(b-a), c.Rho)
		}
		return list
	}
	ramp := make([]float32, n)
	linspaceTorch(ramp, 0, 1)
	list := make([]float64, n)
	for i, r := range ramp {
		root := float32(r*float32(b-a)) + float32(a)
		list[i] = math.Pow(float64(root), c.Rho)
	}
	return list
}

// initialEDM is the noise of the highest level together with data of size one.
func initialEDM(p *plan) float64 { return math.Sqrt(*p.c.SigmaMax**p.c.SigmaMax + 1) }

// edmStep is a step without its map: the preconditioning of EDM's table 1, x0 = c_skip*x + c_out*m and an input of
// c_in*x.
func (p *plan) edmStep(i int) Step {
	sigma, data := p.sigmas[i], p.c.SigmaData
	sum := sigma*sigma + data*data
	step := Step{
		Timestep: p.timesteps[i], InputScale: 1 / math.Sqrt(sum),
		A: data * data / sum, B: p.edmOut(sigma), Alpha: 1, Sigma: sigma,
	}
	p.threshold(&step)
	return step
}

// edmOut is c_out.
func (p *plan) edmOut(sigma float64) float64 {
	out := sigma * p.c.SigmaData / math.Sqrt(sigma*sigma+p.c.SigmaData*p.c.SigmaData)
	if p.c.PredictionType == "v_prediction" {
		return -out
	}
	return out
}

// solveEDMEuler is EDMEulerScheduler.step without churn (s_churn), which no pipeline sets.
func solveEDMEuler(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		sigma, data := p.sigmas[i], p.c.SigmaData
		// (x - x0)/sigma, in x and m, where no large terms cancel.
		d := combine(term{sigma / (sigma*sigma + data*data), b.x}, term{-p.edmOut(sigma) / sigma, b.m})
		step := p.edmStep(i)
		step.Matrix = matrix(combine(term{1, b.x}, term{p.sigmas[i+1] - sigma, d}))
		steps = append(steps, step)
	}
	return steps
}
