package scheduler

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// scheduleTypes are the values of schedule_type: the sigmas of n steps, descending, the final one included. They are
// those of A1111's modules/sd_schedulers.py ("Schedule type"), align_your_steps_32 of Forge's; turbo, linear_quadratic
// and what begins with comfy_ are those of ComfyUI's comfy/samplers.py and its nodes of schedulers. low and high bound
// them where the function takes bounds.
var scheduleTypes = map[string]func(l *levels, low, high float64, n int) []float64{
	"uniform": func(l *levels, _, _ float64, n int) []float64 {
		return appendZero(l.at(linspace32(l.top(), l.bottom(), n)))
	},
	"normal": func(l *levels, low, high float64, n int) []float64 {
		return appendZero(l.at(linspace32(l.timestep(high), l.timestep(low), n)))
	},
	"sgm_uniform": func(l *levels, low, high float64, n int) []float64 {
		return appendZero(l.at(linspace32(l.timestep(high), l.timestep(low), n+1)[:n]))
	},
	"karras": func(_ *levels, low, high float64, n int) []float64 { return appendZero(karrasSigmas(low, high, n)) },
	"exponential": func(_ *levels, low, high float64, n int) []float64 {
		return appendZero(exponentials(linspace32(math.Log(high), math.Log(low), n)))
	},
	"polyexponential": func(_ *levels, low, high float64, n int) []float64 { // with rho 1, A1111's default
		ramp := linspace32(1, 0, n)
		for i, r := range ramp {
			ramp[i] = affine32(r, math.Log(high)-math.Log(low), math.Log(low))
		}
		return appendZero(exponentials(ramp))
	},
	"kl_optimal": func(_ *levels, low, high float64, n int) []float64 { // which ends at low, not at zero
		return tangents(low, high, n+1)
	},
	"comfy_kl_optimal": func(_ *levels, low, high float64, n int) []float64 { return appendZero(tangents(low, high, n)) },
	"align_your_steps": func(_ *levels, _, _ float64, n int) []float64 {
		return appendZero(interpolateLog(alignYourSteps, n))
	},
	"align_your_steps_32": func(_ *levels, _, _ float64, n int) []float64 {
		return appendZero(interpolateLog(alignYourSteps32, n))
	},
	"comfy_align_your_steps": func(_ *levels, _, _ float64, n int) []float64 {
		return appendZero(interpolateLog(comfyAlignYourSteps, n+1)[:n])
	},
	"simple": func(l *levels, _, _ float64, n int) []float64 {
		var list []float64
		for i := range n {
			list = append(list, l.sigmas[len(l.sigmas)-1-int(float64(i)*(float64(len(l.sigmas))/float64(n)))])
		}
		return appendZero(list)
	},
	"ddim_uniform": func(l *levels, _, _ float64, n int) []float64 { // which may have one sigma more than asked for
		var list []float64
		for i := 1; i < len(l.sigmas); i += max(len(l.sigmas)/n, 1) {
			list = append(list, l.sigmas[i])
		}
		reverse(list)
		return appendZero(list)
	},
	"beta": func(_ *levels, low, high float64, n int) []float64 {
		ramp := linspace(0, 1, n)
		for i, r := range ramp {
			ramp[i] = low + betaQuantile(1-r)*(high-low)
		}
		return appendZero(ramp)
	},
	"comfy_beta": func(l *levels, _, _ float64, n int) []float64 { // which leaves out repeated levels
		var list []float64
		before, last := -1, len(l.sigmas)-1
		for i := range n {
			index := int(math.RoundToEven(betaQuantile(1-float64(i)/float64(n)) * float64(last)))
			if index != before {
				list = append(list, l.sigmas[index])
			}
			before = index
		}
		return appendZero(list)
	},
	"turbo":            turboSigmas,
	"linear_quadratic": linearQuadraticSigmas,
}

// NVIDIA's schedules for SDXL, https://research.nvidia.com/labs/toronto-ai/AlignYourSteps/howto.html: as A1111, ComfyUI
// and Forge write them.
var (
	alignYourSteps      = []float64{14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029}
	comfyAlignYourSteps = []float64{
		14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
		0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
	}
	alignYourSteps32 = []float64{
		14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457, 2.74396527, 2.29968659,
		1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443, 0.80290886, 0.69660121, 0.60436903, 0.52852552,
		0.46773344, 0.41393379, 0.36258186, 0.31008517, 0.26518925, 0.22326461, 0.17653877, 0.13959192, 0.10587381, 0.05519369,
		0.02877334, 0.015,
	}
)

// Schedules lists the schedule types that may follow a sampler's name, sorted: A1111's and ComfyUI's names of them.
func Schedules() []string {
	list := slices.Collect(maps.Keys(scheduleTypes))
	list = slices.DeleteFunc(list, func(name string) bool { return comfySchedule(name) != name })
	slices.Sort(list)
	return list
}

// scheduleSigmas are the sigmas of n steps by schedule_type, the final one included.
func (p *plan) scheduleSigmas(l *levels, n int) ([]float64, error) {
	kind := p.c.ScheduleType
	if kind == "automatic" {
		kind = "uniform"
	}
	low, high := l.sigmas[0], l.sigmas[len(l.sigmas)-1]
	for _, bound := range []struct{ given, into *float64 }{{p.c.SigmaMin, &low}, {p.c.SigmaMax, &high}} {
		if bound.given != nil {
			*bound.into = *bound.given
		}
	}
	if !(low > 0 && low < high && !math.IsInf(high, 1)) {
		return nil, fmt.Errorf("scheduler: %s: sigma_min, sigma_max = %v, %v; allowed: positive, sigma_min the smaller", p.c.Class, low, high)
	}
	if kind == "turbo" && n > turboSteps {
		return nil, fmt.Errorf("scheduler: %s: %d steps with schedule_type turbo; allowed: 1 to %d", p.c.Class, n, turboSteps)
	}
	list := scheduleTypes[kind](l, low, high, n)
	for i, s := range list {
		if math.IsNaN(s) || i > 0 && s > list[i-1] {
			return nil, fmt.Errorf("scheduler: %s: schedule_type %s gives sigma %v after %v with %d steps; must descend", p.c.Class, kind, s, list[max(i-1, 0)], n)
		}
	}
	return list, nil
}

// scheduled replaces timesteps and sigmas of diffusers' sigma-based classes where the config has a schedule_type, which
// diffusers lacks: the sigmas over the training range and, where whole is set, whole timesteps, the nearest ones. It
// reports whether it did.
func (p *plan) scheduled(whole bool) (bool, error) {
	if p.c.ScheduleType == "" {
		return false, nil
	}
	p.hasSchedule = true
	if len(p.o.Timesteps) > 0 || len(p.o.Sigmas) > 0 {
		return false, fmt.Errorf("scheduler: %s: custom timesteps and sigmas do not go with schedule_type %s", p.c.Class, p.c.ScheduleType)
	}
	var err error
	if p.sigmas, err = p.scheduleSigmas(newLevels(p.c, p.train), p.steps); err != nil {
		return false, err
	}
	if last := len(p.sigmas) - 1; p.sigmas[last] == 0 {
		p.sigmas[last] = p.finalSigma()
		if p.c.Class == DEIS || p.c.Class == SASolver { // whose last step stays where it is, not at zero
			p.sigmas[last] = p.sigmas[last-1]
		}
	}
	toFloat32(p.sigmas)
	p.timesteps = p.timestepsOf(p.sigmas[:len(p.sigmas)-1])
	if whole {
		roundEven(p.timesteps)
	}
	toFloat32(p.timesteps)
	return true, nil
}

func (l *levels) bottom() float64 { return float64(l.stride) - 1 }
func (l *levels) top() float64    { return float64(len(l.sigmas)*l.stride) - 1 }

// at are the sigmas at timesteps.
func (l *levels) at(timesteps []float64) []float64 {
	list := make([]float64, len(timesteps))
	for i, t := range timesteps {
		list[i] = l.sigma(t)
	}
	return list
}

func appendZero(list []float64) []float64 { return append(list, 0) }

// interpolateLog spreads a list over n values, linearly in the logarithm.
func interpolateLog(list []float64, n int) []float64 {
	if n == len(list) {
		return slices.Clone(list)
	}
	last := len(list) - 1
	out := make([]float64, n)
	for i, position := range linspace(float64(last), 0, n) { // from the end: numpy's loglinear_interp of the reversed list
		low := min(int(position), last-1)
		w := position - float64(low)
		a, b := math.Log(list[low]), math.Log(list[low+1])
		out[n-1-i] = math.Exp(a + w*(b-a))
	}
	return out
}

// turboSteps is the number of timesteps that SDXL-Turbo was distilled on.
const turboSteps = 10

// turboSigmas is ComfyUI's SDTurboScheduler: the highest n of the timesteps 999, 899 … 99.
func turboSigmas(l *levels, _, _ float64, n int) []float64 {
	var list []float64
	for i := range n {
		list = append(list, l.sigma(float64(100*(turboSteps-i)-1)))
	}
	return appendZero(list)
}

// linearQuadraticSigmas is ComfyUI's linear_quadratic: half of the steps reduce sigma by a fortieth in all, the others
// by more and more.
func linearQuadraticSigmas(l *levels, _, _ float64, n int) []float64 {
	const threshold = 0.025
	highest := l.sigmas[len(l.sigmas)-1]
	list := []float64{highest}
	linear := n / 2
	m, half := float64(n), float64(linear)
	for i := 1; i < n; i++ {
		x := float64(i)
		done := x * threshold / half
		if i >= linear {
			difference, rest := half-threshold*m, m-half
			quadratic := difference / (half * rest * rest)
			done = quadratic*x*x + (threshold/half-2*difference/(rest*rest))*x + quadratic*half*half
		}
		list = append(list, float64(float32(1-done)*float32(highest)))
	}
	return appendZero(list)
}
