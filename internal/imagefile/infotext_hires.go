package imagefile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// addHires adds what A1111 says of the second pass (modules/processing.py): of its scale and its size one.
func (p Parameters) addHires(add func(key, value string)) {
	h := p.Hires
	if h == nil {
		return
	}
	if h.Scheduler != "" {
		sampler, schedule := SamplerNames(h.Scheduler)
		add("Hires sampler", sampler)
		if schedule != "" {
			add("Hires schedule type", schedule)
		}
	}
	if h.Prompt != "" {
		add("Hires prompt", h.Prompt)
	}
	if h.NegativePrompt != nil && *h.NegativePrompt != "" {
		add("Hires negative prompt", *h.NegativePrompt)
	}
	if h.Scale > 0 {
		add("Hires upscale", strconv.FormatFloat(h.Scale, 'f', -1, 64))
	} else {
		add("Hires resize", fmt.Sprintf("%dx%d", h.Width, h.Height))
	}
	add("Hires steps", strconv.Itoa(h.Steps))
	add("Hires upscaler", upscalerName(h.Upscaler))
}

// upscalerName is A1111's name of an upscaler: that of a file without its extension, of others with a capital letter.
func upscalerName(name string) string {
	if slices.Contains(sdxl.HiresUpscalers(), name) {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	return strings.TrimSuffix(name, filepath.Ext(name))
}
