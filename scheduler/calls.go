package scheduler

import "strings"

// CallsPerStep is the number of model evaluations (NFE) for each requested step, at most: 2 for Heun, a solver of order
// 2. name is one of Names, or a class name.
func CallsPerStep(name string) int {
	base := name
	for suffix := range suffixes {
		base = strings.TrimSuffix(base, suffix)
	}
	if n, ok := names[base]; ok {
		name = n.class
	}
	if c, ok := classes[name]; ok {
		return c.order
	}
	return 1
}
