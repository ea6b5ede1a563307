package server

import (
	"context"
	"encoding/json"
	"fmt"
	"image"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// sdUnitImage is an image of a unit with its mask, "" without one, in base64.
type sdUnitImage struct {
	Image string
	Mask  string
}

// unitImages reads the images of a unit, in one of the forms that the extension takes: a text, with the mask beside it or
// not; [image, mask]; {"image", "mask"}; or a list of such objects.
func (f *fields) unitImages() (list []sdUnitImage) {
	const name = "image"
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	f.notes.form(name, &jsonschema.Schema{Type: "object"})
	f.notes.form(name, &jsonschema.Schema{Type: "array"})
	mask := f.optionalText("mask")
	raw := f.given(name)
	if raw == nil {
		return nil
	}
	var text string
	var one sdUnitImage
	var several []json.RawMessage
	var pair []string
	switch {
	case json.Unmarshal(raw, &text) == nil:
		if text == "" {
			return nil
		}
		return []sdUnitImage{{text, or(mask, "")}}
	case raw[0] == '{' && json.Unmarshal(raw, &one) == nil && one.Image != "":
		return []sdUnitImage{one}
	case json.Unmarshal(raw, &pair) == nil && len(pair) == 2:
		return []sdUnitImage{{pair[0], pair[1]}}
	case json.Unmarshal(raw, &several) == nil && len(several) > 0 && len(several) <= mostInputs:
		for _, item := range several {
			var one sdUnitImage
			if json.Unmarshal(item, &one) != nil || one.Image == "" {
				list = nil
				break
			}
			list = append(list, one)
		}
	}
	if list == nil {
		f.values[name] = quoted(raw)
		f.report(name, "value_error", fmt.Sprintf(`Value error, must be an image in base64, {"image": IMAGE, "mask": IMAGE}, or a list of up to %d of these`, mostInputs), nil)
	}
	return list
}

// put gives the job what a unit asks for.
func (u *sdUnitReader) put(one *fields, family weights.Family, c sdxl.Control, images []sdUnitImage, region *string) {
	r := &u.q.job.Request
	if family != weights.IPAdapter && len(images) > 1 {
		one.values["image"] = json.RawMessage("null")
		one.report("image", "value_error", "Value error, must be one image: an IP-Adapter alone has several", nil)
		return
	}
	var inputs []source
	switch init := u.q.inits; {
	case len(images) > 0:
		for _, img := range images {
			input := u.input(one, family, img)
			if u.err != nil || len(one.problems) > 0 {
				return
			}
			inputs = append(inputs, input)
		}
	case len(init) > 0: // which goes the way of the image that it is
		inputs, c.Resize = init[:1], ""
	default:
		one.report("image", "missing", "Field required: txt2img has no image to take in its place", nil)
		return
	}
	first := sdxl.Blank{Size: inputs[0].size}
	switch family {
	case weights.ControlNet:
		c.Image = first
		u.q.images[fmt.Sprintf("controls[%d].image", len(r.Controls))] = inputs[0].id
		r.Controls = append(r.Controls, c)
	case weights.T2IAdapter:
		u.q.images[fmt.Sprintf("t2i_adapters[%d].image", len(r.T2IAdapters))] = inputs[0].id
		r.T2IAdapters = append(r.T2IAdapters, sdxl.T2IAdapter{Path: c.Path, Image: first, Scale: c.Scale, Resize: c.Resize})
	default:
		a := sdxl.IPAdapter{Path: c.Path, Scale: c.Scale}
		for k, input := range inputs {
			u.q.images[fmt.Sprintf("ip_adapters[%d].images[%d]", len(r.IPAdapters), k)] = input.id
			a.Images = append(a.Images, sdxl.Blank{Size: input.size})
		}
		if region != nil && *region != "" {
			mask := u.upload(one, "effective_region_mask", *region)
			a.Mask = sdxl.Blank{Size: mask.size}
			u.q.images[fmt.Sprintf("ip_adapters[%d].mask", len(r.IPAdapters))] = mask.id
		}
		r.IPAdapters = append(r.IPAdapters, a)
	}
}

// input is an image of a unit, or its mask if that counts: one that is neither black nor white all over.
func (u *sdUnitReader) input(one *fields, family weights.Family, img sdUnitImage) source {
	if img.Mask != "" {
		counts := false
		mask := u.decode(one, "mask", img.Mask, func(img *image.NRGBA) {
			low, high := false, false
			for i := 0; i < len(img.Pix); i += 4 {
				low, high = low || img.Pix[i] < 250, high || img.Pix[i] > 5
			}
			counts = low && high
		})
		switch {
		case mask.id == "" || !counts:
		case family == weights.IPAdapter:
			u.err = &failure{kind: notImplemented, detail: pathText(one.path) + ".mask: goxl has no mask of what an image prompt reads; effective_region_mask says where it acts"}
			return source{}
		default:
			u.q.uploads = append(u.q.uploads, mask)
			return mask
		}
	}
	return u.upload(one, "image", img.Image)
}

// upload is an image that is kept for the job.
func (u *sdUnitReader) upload(one *fields, name, text string) source {
	from := u.decode(one, name, text, func(*image.NRGBA) {})
	if from.id != "" {
		u.q.uploads = append(u.q.uploads, from)
	}
	return from
}

// decode reads an image in base64. It has no id after a report.
func (u *sdUnitReader) decode(one *fields, name, text string, look func(*image.NRGBA)) (from source) {
	if u.err != nil || len(one.problems) > 0 {
		return source{}
	}
	data, err := sdBase64(text)
	if err == nil {
		from, err = u.s.sdUpload(u.ctx, data, func(img *image.NRGBA) *image.NRGBA { look(img); return img })
	}
	switch {
	case u.ctx.Err() != nil:
		u.err = context.Cause(u.ctx)
		return source{}
	case err != nil:
		shown, _ := json.Marshal(beginning(text)) // a text has a form
		one.sdBadImage(name, shown, err)
		return source{}
	}
	return from
}
