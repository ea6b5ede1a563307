package scheduler

// CallsPerStep is the number of model evaluations (NFE) for each requested step: at most 2 for Heun, KDPM2 and
// DPM-Solver SDE, solvers of order 2; PNDM has up to nine more in all. name is one that As takes, or a class name.
func CallsPerStep(name string) int {
	if base, _, ok := splitName(name); ok {
		name = names[base].class
	}
	if c, ok := classes[name]; ok {
		return max(c.order, c.calls)
	}
	return 1
}

// NeedsUnconditional reports whether a sampler needs the model's output without the prompt at any scale of guidance, as
// CFG++ does. name is as in CallsPerStep.
func NeedsUnconditional(name string) bool {
	if base, _, ok := splitName(name); ok {
		name = names[base].class
	}
	c, ok := classes[name]
	return ok && c.unconditional
}
