package imagefile

import (
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// controlUnit is a ControlNet as the extension sd-webui-controlnet writes it (scripts/infotext.py). The image is resized
// to the result's size, and a preprocessor works at that. Its control modes are not guess mode, which is left out.
func controlUnit(c sdxl.ControlParameters) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	module, _, _ := strings.Cut(c.Preprocessor, ":")
	if module == "" {
		module = "none"
	}
	fields := []string{
		"Module: " + module, "Model: " + strings.NewReplacer(",", "", ":", "", "\n", "").Replace(c.Name), "Weight: " + number(c.Scale), "Resize Mode: Just Resize",
		"Guidance Start: " + number(c.Start), "Guidance End: " + number(c.End), "Pixel Perfect: True",
	}
	if !c.GuessMode {
		fields = append(fields, "Control Mode: Balanced")
	}
	return strings.Join(fields, ", ")
}
