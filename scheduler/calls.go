package scheduler

import "strings"

// CallsPerStep is how often the model is called for each step that is asked for, at most: 2 for Heun. name is one of
// Names, or a class name.
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
