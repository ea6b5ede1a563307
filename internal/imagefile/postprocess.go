package imagefile

import (
	"fmt"
	"strings"
)

// extrasKey is the text chunk in which A1111 says how an image was enlarged.
const extrasKey = "extras"

// Postprocessing is A1111's text of how an image was enlarged (scripts/postprocessing_upscale.py).
func (p Parameters) Postprocessing() string {
	u := p.Upscale
	if u == nil {
		return ""
	}
	var line []string
	add := func(key, value string) { line = append(line, key+": "+quoted(value)) }
	if u.Scale > 0 {
		add("Postprocess upscale by", number(u.Scale))
	} else {
		add("Postprocess upscale to", fmt.Sprintf("%dx%d", p.Width, p.Height))
	}
	add("Postprocess upscaler", upscalerName(u.Upscaler))
	if u.Second != "" {
		add("Postprocess upscaler 2", upscalerName(u.Second))
	}
	return strings.Join(line, ", ")
}

// upscaledInfotext is what was said of how the image before was made, and how it was enlarged.
func (p Parameters) upscaledInfotext() string {
	if p.SourceInfotext == "" {
		return p.Postprocessing()
	}
	return p.SourceInfotext + ", " + p.Postprocessing()
}

// upscaledTexts are Texts of an image that was enlarged: A1111's, and the parameters by their names.
func (p Parameters) upscaledTexts() (texts []Text) {
	add := func(key, value string) {
		if value != "" {
			texts = append(texts, Text{key, value})
		}
	}
	u := p.Upscale
	add(infotextKey, p.SourceInfotext)
	add(extrasKey, p.Postprocessing())
	add("image", p.Source)
	add("upscaler", u.Upscaler)
	add("upscaler_hash", u.Hash)
	if u.Second != "" {
		add("upscaler_2", u.Second)
		add("upscaler_2_hash", u.SecondHash)
		add("upscaler_2_visibility", number(u.SecondVisibility))
	}
	if u.Scale > 0 {
		add("scale", number(u.Scale))
	}
	add("resize", string(p.Resize))
	add("size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	if at := p.Interrupted; at != nil {
		add("interrupted", fmt.Sprintf("after %d of %d tiles", at.StepsDone, at.Steps))
	}
	add("device", p.Device)
	add("precision", p.Precision)
	add("version", p.Version)
	return texts
}
