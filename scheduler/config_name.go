package scheduler

import (
	"encoding/json"
	"maps"
	"slices"
)

// Name is the one of Names for the config's class, algorithm and kind of sigmas, a schedule type after it where it has
// one; "" if there is none. Other keys do not count: As with the name keeps what a config stores.
func (c Config) Name() string {
	encoded, err := json.Marshal(c)
	if err != nil { // a number that JSON lacks, which validate refuses
		return ""
	}
	var keys map[string]json.RawMessage
	if json.Unmarshal(encoded, &keys) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		if n.class != c.Class || !hasKeys(keys, n.keys) {
			continue
		}
		set := map[string]bool{"_karras": c.UseKarrasSigmas, "_exponential": c.UseExponentialSigmas, "_beta": c.UseBetaSigmas}
		for suffix := range suffixes {
			if set[suffix] {
				return name + suffix
			}
		}
		if own := n.keys["schedule_type"]; c.ScheduleType != "" && own != string(keys["schedule_type"]) && takesSchedule(c.Class) {
			return name + "_" + comfySchedule(c.ScheduleType)
		}
		return name
	}
	return ""
}

// hasKeys reports whether a config has the keys of a name, but for the schedule type.
func hasKeys(config map[string]json.RawMessage, keys map[string]string) bool {
	for key, value := range keys {
		if key != "schedule_type" && string(config[key]) != value {
			return false
		}
	}
	return true
}
