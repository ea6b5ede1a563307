package scheduler

import (
	"fmt"
	"math"
)

// spacedTimesteps returns n timesteps, descending, as Euler, Heun, LMS and DDIM space them. linspace is left
// fractional.
func (c *Config) spacedTimesteps(n int) ([]float64, error) {
	switch c.TimestepSpacing {
	case "leading":
		return c.leading(c.NumTrainTimesteps/n, n, 0), nil
	case "trailing":
		return trailing(c.NumTrainTimesteps, float64(c.NumTrainTimesteps)/float64(n)), nil
	case "linspace":
		list := linspace(0, float64(c.NumTrainTimesteps-1), n)
		reverse(list)
		return list, nil
	}
	return nil, fmt.Errorf("scheduler: timestep_spacing: unknown %q", c.TimestepSpacing)
}

// multistepTimesteps returns n whole timesteps below total, descending, as the DPM-Solvers, DEIS, UniPC and SA-Solver
// space them: leading and linspace make n+1 points and drop the lowest. The single-step solver knows linspace alone.
func (c *Config) multistepTimesteps(n, total int) ([]float64, error) {
	if total < 1 {
		return nil, fmt.Errorf("scheduler: %s: lambda_min_clipped = %v leaves no timestep", c.Class, *c.LambdaMinClipped)
	}
	spacing := c.TimestepSpacing
	if c.Class == DPMSinglestep {
		spacing = "linspace"
	}
	switch spacing {
	case "leading":
		ratio := total / (n + 1)
		if ratio == 0 {
			return nil, fmt.Errorf("scheduler: %s: %d steps with leading spacing; allowed: 1 to %d", c.Class, n, total-1)
		}
		return c.leading(ratio, n, 1), nil
	case "trailing":
		return trailing(total, float64(c.NumTrainTimesteps)/float64(n)), nil
	case "linspace":
		list := linspace(0, float64(total-1), n+1)
		roundEven(list)
		reverse(list)
		return list[:n], nil
	}
	return nil, fmt.Errorf("scheduler: timestep_spacing: unknown %q", spacing)
}

// leading returns the multiples (n-1+skip)*ratio, …, skip*ratio, each plus steps_offset.
func (c *Config) leading(ratio, n, skip int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = float64((n-1-i+skip)*ratio + c.StepsOffset)
	}
	return list
}

// trailing is numpy's arange(total, 0, -distance).round() - 1. For some distances (1000/61, 1000/103, …) rounding in the
// length gives one more point, which is timestep -1; diffusers runs it, and so does goxl.
func trailing(total int, distance float64) []float64 {
	step := -distance
	length := int(math.Ceil(-float64(total) / step))
	// numpy takes its increment from the first two values, not from the argument.
	increment := (float64(total) + step) - float64(total)
	list := make([]float64, length)
	for i := range list {
		list[i] = math.RoundToEven(float64(total)+float64(float64(i)*increment)) - 1
	}
	return list
}

// linspace is numpy.linspace in float64, ends included; of one point it is the start.
func linspace(start, stop float64, n int) []float64 {
	list := make([]float64, n)
	if n == 1 {
		list[0] = start
		return list
	}
	step := (stop - start) / float64(n-1)
	for i := range list {
		list[i] = float64(float64(i)*step) + start
	}
	list[n-1] = stop
	return list
}

func reverse(list []float64) {
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
}

func roundEven(list []float64) {
	for i, v := range list {
		list[i] = math.RoundToEven(v)
	}
}

func truncate(list []float64) {
	for i, v := range list {
		list[i] = math.Trunc(v)
	}
}

// toFloat32 rounds in place to float32, the type in which the reference stores timesteps and sigmas.
func toFloat32(list []float64) {
	for i, v := range list {
		list[i] = float64(float32(v))
	}
}

// consistencyTimesteps picks n of the original_inference_steps timesteps that LCM and TCD were distilled on.
func (c *Config) consistencyTimesteps(n int) ([]float64, error) {
	original := c.OriginalInferenceSteps
	if n > original {
		return nil, fmt.Errorf("scheduler: %s: %d steps; allowed: 1 to original_inference_steps = %d", c.Class, n, original)
	}
	ratio := c.NumTrainTimesteps / original
	list := make([]float64, n)
	step := float64(original) / float64(n)
	for i := range list {
		index := int(math.Floor(float64(i) * step))
		list[i] = float64((original-index)*ratio - 1)
	}
	return list, nil
}
