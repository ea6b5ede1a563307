package scheduler

import "math"

// solveKRestart is A1111's restart_sampler (arXiv 2306.14878): Heun steps, and from 20 steps on a return from sigma
// 0.1 to 2 by noise, once or twice, for which steps are taken from the schedule.
func solveKRestart(k *kSolver) {
	type interval struct{ from, to float64 }
	sigmas := k.sigmas
	steps := len(sigmas) - 1
	restartSteps, times := 9, 1
	if steps >= 36 {
		restartSteps, times = steps/4, 2
	}
	back := -1
	if steps >= 20 {
		sigmas = karrasSigmas(sigmas[steps-1], sigmas[0], steps-restartSteps*times)
		sigmas = append(sigmas, 0)
		toFloat32(sigmas)
		back = nearest(sigmas, 0.1)
	}
	var list []interval
	for i, from := range sigmas[:len(sigmas)-1] {
		list = append(list, interval{from, sigmas[i+1]})
		top := nearest(sigmas, 2)
		if i+1 != back || top >= back {
			continue
		}
		again := karrasSigmas(sigmas[back], sigmas[top], restartSteps+1)
		toFloat32(again)
		again[0], again[restartSteps] = sigmas[top], sigmas[back] // what rounding leaves is no return
		for range times {
			for j, from := range again[:len(again)-1] {
				list = append(list, interval{from, again[j+1]})
			}
		}
	}
	for i, step := range list {
		var up float64
		if i+1 < len(list) && list[i+1].from > step.to {
			next := list[i+1].from
			up = math.Sqrt(next*next - step.to*step.to)
		}
		k.heunStep(step.from, step.to, up)
	}
}

// nearest is the index of the value nearest to the wanted one, the first of several.
func nearest(list []float64, wanted float64) int {
	best := 0
	for i, v := range list {
		if math.Abs(v-wanted) < math.Abs(list[best]-wanted) {
			best = i
		}
	}
	return best
}
