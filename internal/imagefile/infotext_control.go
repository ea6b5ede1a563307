package imagefile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// resizeModes are the extension's names of ways to resize.
var resizeModes = map[sdxl.Resize]string{"": "Just Resize", sdxl.ResizeStretch: "Just Resize", sdxl.ResizeCrop: "Crop and Resize", sdxl.ResizeFill: "Resize and Fill"}

// addControls adds ControlNets, then T2I-Adapters, then image prompts as the units of the extension sd-webui-controlnet
// (scripts/infotext.py), which knows of no difference.
func (p Parameters) addControls(add func(key, value string)) {
	n := 0
	unit := func(text string) {
		add(fmt.Sprintf("ControlNet %d", n), text)
		n++
	}
	for _, c := range p.Controls {
		unit(controlUnit(c))
	}
	for _, a := range p.T2IAdapters {
		unit(unitText("none", a.Name, a.Scale, "Resize Mode: "+resizeModes[a.Resize]))
	}
	for _, a := range p.IPAdapters {
		unit(unitText("ip-adapter-auto", a.Name, a.Scale))
	}
}

// unitText is what every unit says, and more.
func unitText(module, model string, weight float64, more ...string) string {
	fields := []string{"Module: " + module, "Model: " + strings.NewReplacer(",", "", ":", "", "\n", "").Replace(model), "Weight: " + shortest(weight)}
	return strings.Join(append(fields, more...), ", ")
}

func shortest(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// controlUnit is a ControlNet. Its preprocessor works at the result's size. The control mode that is nearest to guess mode
// is the one whose negative side is not steered either.
func controlUnit(c sdxl.ControlParameters) string {
	module, numbers, _ := strings.Cut(c.Preprocessor, ":")
	if module == "" {
		module = "none"
	}
	more := []string{"Resize Mode: " + resizeModes[c.Resize]}
	for i, n := range strings.Split(numbers, ":") {
		if n != "" && i < 2 {
			more = append(more, []string{"Threshold A: ", "Threshold B: "}[i]+n)
		}
	}
	more = append(more, "Guidance Start: "+shortest(c.Start), "Guidance End: "+shortest(c.End), "Pixel Perfect: True")
	if c.GuessMode {
		more = append(more, "Control Mode: ControlNet is more important")
	} else {
		more = append(more, "Control Mode: Balanced")
	}
	return unitText(module, c.Name, c.Scale, more...)
}
