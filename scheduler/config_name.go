package scheduler

import "strconv"

// Name is the one of Names that stands for the config's class, algorithm and kind of sigmas; "" if none does. Other
// keys do not count: As with the name keeps what a config stores.
func (c Config) Name() string {
	for name, n := range names {
		algorithm, told := n.keys["algorithm_type"]
		if n.class != c.Class || told && algorithm != strconv.Quote(c.AlgorithmType) {
			continue
		}
		set := map[string]bool{"_karras": c.UseKarrasSigmas, "_exponential": c.UseExponentialSigmas, "_beta": c.UseBetaSigmas}
		for suffix := range suffixes {
			if set[suffix] {
				return name + suffix
			}
		}
		return name
	}
	return ""
}
