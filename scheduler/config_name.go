package scheduler

import "strconv"

// Name is the one of Names for the config's class, algorithm and kind of sigmas; "" if there is none. Other keys do not
// count: As with the name keeps what a config stores.
func (c Config) Name() string {
	for name, n := range names {
		algorithm, fixed := n.keys["algorithm_type"]
		if n.class != c.Class || fixed && algorithm != strconv.Quote(c.AlgorithmType) {
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
