package sdxl

import (
	"fmt"
	"image"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// Control is a ControlNet of a request, with the image that it steers by. Several are added up, in any order; those of
// one union are evaluated together, as one net with several control images.
//
// The image is resized to the result's size by Lanczos' filter, as in diffusers. Beside Request.Image it goes the same
// way as that, so that what shows the same place lies at the same place: one as wide for its height as Request.Image gets
// the same border (Request.Outpaint) and the same Request.Resize, and with MaskPadding each is first resized to the
// size of Request.Image and its border, then cut to the part that is computed, as in diffusers. In sd-webui-controlnet
// the image of img2img as a control image has the resize mode of img2img, and others one of their own, which is Resize here;
// without it those of another shape are stretched. The second pass of Hires has the part of it that is kept. It draws no random numbers:
// noise is what it is without.
type Control struct {
	Path         string      // a folder in diffusers' layout, or a safetensors file
	Image        image.Image `json:"-"`
	Scale        *float64    // controlnet_conditioning_scale; nil is 1
	Start        float64     // control_guidance_start: the fraction of the steps at which it begins
	End          float64     // control_guidance_end: the fraction at which it ends, above Start; 0 is 1
	Mode         string      // control_mode of a union: the kind of its image, a name of controlnet.Modes or a number
	Preprocessor string      // what makes the control image of Image at the result's size, as preprocess.Apply takes it; "" is nothing
	Resize       Resize      // how Image alone gets the size, before Preprocessor, as sd-webui-controlnet's resize mode; "" is as above
	GuessMode    bool        // guess_mode: the negative side of guidance is not steered, and the first levels less
}

// T2IAdapter is a T2I-Adapter of a request, with the image that it steers by, which is resized as a Control's. Several are
// added up. In diffusers they are for text-to-image alone; here they act in image-to-image too.
type T2IAdapter struct {
	Path   string      // a folder in diffusers' layout, or a safetensors file
	Image  image.Image `json:"-"`
	Scale  *float64    // adapter_conditioning_scale; nil is 1
	Resize Resize      // as a Control's
}

// ControlParameters says which ControlNet a run had.
type ControlParameters struct {
	Name         string  `json:"name"` // the folder's or the file's
	Scale        float64 `json:"scale"`
	Start        float64 `json:"start,omitempty"`
	End          float64 `json:"end"`
	Mode         string  `json:"mode,omitempty"`
	Preprocessor string  `json:"preprocessor,omitempty"`
	Resize       Resize  `json:"resize,omitempty"`
	GuessMode    bool    `json:"guess_mode,omitempty"`
}

// T2IAdapterParameters says which T2I-Adapter a run had.
type T2IAdapterParameters struct {
	Name   string  `json:"name"` // the folder's or the file's
	Scale  float64 `json:"scale"`
	Resize Resize  `json:"resize,omitempty"`
}

// maxControls is how many ControlNets, and how many T2I-Adapters, a request may have.
const maxControls = 16

const (
	controlsField = "controls"
	adaptersField = "t2i_adapters"
)

// resolveControls checks what steers the UNet by images, but for the files, which are looked at when they are opened.
func (s *Spec) resolveControls(q *resolved) error {
	r := &q.request
	for _, f := range []field[int]{{controlsField, len(r.Controls)}, {adaptersField, len(r.T2IAdapters)}} {
		switch {
		case f.value > maxControls:
			return bad(f.name, fmt.Sprintf("a list of %d", f.value), "at most %d", maxControls)
		case f.value > 0 && s.refiner():
			return bad(f.name, fmt.Sprintf("a list of %d", f.value), "absent for a refiner: they are made for a base")
		}
	}
	for _, c := range r.Controls {
		p, err := c.resolve()
		if err != nil {
			return err
		}
		q.Controls = append(q.Controls, p)
	}
	for _, a := range r.T2IAdapters {
		scale := or(a.Scale, 1)
		if err := checkSteering(adaptersField, a.Path, a.Image, scale, a.Resize); err != nil {
			return err
		}
		q.T2IAdapters = append(q.T2IAdapters, T2IAdapterParameters{Name: controlName(a.Path), Scale: scale, Resize: a.Resize})
	}
	return nil
}

func (c Control) resolve() (ControlParameters, error) {
	p := ControlParameters{
		Name: controlName(c.Path), Scale: or(c.Scale, 1), Start: c.Start, End: c.End,
		Mode: c.Mode, Preprocessor: c.Preprocessor, Resize: c.Resize, GuessMode: c.GuessMode,
	}
	if p.End == 0 {
		p.End = 1
	}
	if err := checkSteering(controlsField, c.Path, c.Image, p.Scale, c.Resize); err != nil {
		return p, err
	}
	if !(p.Start >= 0 && p.Start < p.End && p.End <= 1) {
		return p, bad(controlsField, fmt.Sprintf("%s from %v to %v", c.Path, p.Start, p.End), "with a start from 0 on that is below its end, which is at most 1")
	}
	if c.Preprocessor != "" {
		if err := preprocess.Check(c.Preprocessor); err != nil {
			return p, &RequestError{Field: controlsField, Value: fmt.Sprintf("%s with preprocessor %q", c.Path, c.Preprocessor), Allowed: "with one of " + strings.Join(preprocess.Names(), ", "), Err: err}
		}
	}
	return p, nil
}

// checkSteering checks what ControlNets and T2I-Adapters have in common.
func checkSteering(field, path string, img image.Image, scale float64, resize Resize) error {
	switch {
	case path == "":
		return bad(field, "without a path", "a folder or a file each")
	case img == nil:
		return bad(field, path, "with an image")
	case img.Bounds().Empty():
		return bad(field, path+" with an empty image", "with an image of at least one pixel")
	case math.IsNaN(scale) || !isFinite(scale):
		return bad(field, fmt.Sprintf("%s with scale %v", path, scale), "with a finite scale")
	case resize != "" && !slices.Contains(Resizes(), resize):
		return bad(field, fmt.Sprintf("%s with resize %q", path, resize), "with one of %v, or none", Resizes())
	}
	return nil
}

// controlName is what a ControlNet is called: its folder's name, or its file's without the extension.
func controlName(path string) string {
	base := filepath.Base(path)
	if ext := filepath.Ext(base); ext == ".safetensors" || ext == ".bin" || ext == ".pth" {
		return strings.TrimSuffix(base, ext)
	}
	return base
}
