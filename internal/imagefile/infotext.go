package imagefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// infotextKey is the text chunk in which A1111 and what follows it look for infotext.
const infotextKey = "parameters"

// samplers are A1111's names of samplers by scheduler's.
var samplers = map[string]string{
	"euler": "Euler", "euler_a": "Euler a", "heun": "Heun", "lms": "LMS", "ddim": "DDIM", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE", "unipc": "UniPC",
	"lcm": "LCM", "tcd": "TCD",
}

// schedules are A1111's names of schedules by the endings of scheduler's names.
var schedules = map[string]string{"_karras": "Karras", "_exponential": "Exponential", "_beta": "Beta"}

// samplerName splits a name of scheduler into A1111's two; what it does not know it gives back.
func samplerName(name string) (sampler, schedule string) {
	for ending, label := range schedules {
		if base, ok := strings.CutSuffix(name, ending); ok && samplers[base] != "" {
			return samplers[base], label
		}
	}
	if sampler := samplers[name]; sampler != "" {
		return sampler, ""
	}
	return name, ""
}

// infotext is A1111's text of the parameters (modules/processing.py, create_infotext): the prompt, the negative prompt
// on a line of its own, and a line of the rest. The noise is torch's of a CPU, which A1111 has to be told.
func (f Facts) infotext() string {
	var line []string
	add := func(key, value string) { line = append(line, key+": "+quoted(value)) }
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	name := f.Sampler
	if name == "" {
		name = f.Scheduler
	}
	sampler, schedule := samplerName(name)
	add("Steps", strconv.Itoa(f.Steps))
	add("Sampler", sampler)
	if schedule != "" {
		add("Schedule type", schedule)
	}
	add("CFG scale", number(f.Guidance))
	add("Seed", strconv.FormatUint(f.Seed, 10))
	add("Size", fmt.Sprintf("%dx%d", f.Width, f.Height))
	add("Model", f.Model)
	if f.Source != "" {
		add("Denoising strength", number(f.Strength))
	}
	add("RNG", "CPU")
	if f.Refiner != "" {
		add("Refiner", f.Refiner)
		add("Refiner switch at", number(f.DenoisingEnd))
	}
	add("Version", "goxl "+f.Version)

	text := f.Prompt
	if f.Negative != nil && *f.Negative != "" {
		text += "\nNegative prompt: " + *f.Negative
	}
	// As Python's strip, which also takes the separators of ASCII for white space.
	return strings.TrimFunc(text+"\n"+strings.Join(line, ", "), func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f })
}

// quoted is A1111's quote: a value that could be taken for more than one is written as JSON.
func quoted(value string) string {
	if !strings.ContainsAny(value, ",\n:") {
		return value
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return value // no string is an error
	}
	return strings.TrimSuffix(b.String(), "\n")
}
