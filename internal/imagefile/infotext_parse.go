package imagefile

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Keys of infotext for the two prompts.
const (
	InfotextPrompt   = "Prompt"
	InfotextNegative = "Negative prompt"
)

var (
	infotextParameter = regexp.MustCompile(`\s*([\pL\pN_][\pL\pN_ \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`)
	infotextSize      = regexp.MustCompile(`^(\d+)x(\d+)$`)
)

// InfotextOf finds A1111's infotext among the texts of a file: the text "parameters" of a PNG, or else the user comment
// of a JPEG or WebP; "" if there is none. The rest are the others.
func InfotextOf(texts []Text) (infotext string, rest []Text) {
	for _, key := range []string{infotextKey, "UserComment"} {
		for i, t := range texts {
			if t.Key == key {
				rest = append(append(rest, texts[:i]...), texts[i+1:]...)
				return t.Value, rest
			}
		}
	}
	return "", texts
}

// ParseInfotext reads A1111's infotext as its parse_generation_parameters does (modules/infotext_utils.py): the prompts,
// and what the last line says by its own names, sizes in two. What it does not say is not there; see FillInfotext.
func ParseInfotext(text string) map[string]string {
	values := map[string]string{}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := lines[len(lines)-1]
	lines = lines[:len(lines)-1]
	if len(infotextParameter.FindAllString(last, -1)) < 3 {
		lines, last = append(lines, last), ""
	}
	prompts := [2]string{}
	which := 0
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, InfotextNegative+":"); ok {
			which, line = 1, strings.TrimSpace(rest)
		}
		if prompts[which] != "" {
			prompts[which] += "\n"
		}
		prompts[which] += line
	}
	for _, found := range infotextParameter.FindAllStringSubmatch(last, -1) {
		key, value := found[1], found[2]
		if value == "" {
			continue // A1111 drops it with an error
		}
		value = unquoted(value)
		if size := infotextSize.FindStringSubmatch(value); size != nil {
			values[key+"-1"], values[key+"-2"] = size[1], size[2]
		} else {
			values[key] = value
		}
	}
	values[InfotextPrompt], values[InfotextNegative] = prompts[0], prompts[1]
	return values
}

// unquoted undoes quoted.
func unquoted(value string) string {
	var s string
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' && json.Unmarshal([]byte(value), &s) == nil {
		return s
	}
	return value
}

// FillInfotext adds to the values of ParseInfotext what A1111's parser takes for granted where an infotext does not say
// otherwise. It leaves out Emphasis, which A1111 adds where a prompt has weights.
func FillInfotext(values map[string]string) map[string]any {
	all := map[string]any{
		"Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler", "Hires schedule type": "Use same scheduler",
		"Hires checkpoint": "Use same checkpoint", "Hires prompt": "", "Hires negative prompt": "", "Mask mode": "Inpaint masked",
		"Masked content": "original", "Inpaint area": "Whole picture", "Masked area padding": 32, "RNG": "GPU", "Schedule type": "Automatic",
		"Schedule max sigma": 0, "Schedule min sigma": 0, "Schedule rho": 0, "VAE Encoder": "Full", "VAE Decoder": "Full", "FP8 weight": "Disable",
		"Refiner switch by sampling steps": false,
	}
	for key, value := range values {
		all[key] = value
	}
	if all["FP8 weight"] != "Disable" && values["Cache FP16 weight for LoRA"] == "" {
		all["Cache FP16 weight for LoRA"] = false
	}
	return all
}
