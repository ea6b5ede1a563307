package process

import (
	"fmt"
	"image"

	"github.com/goxl/goxl/models/sdxl"
)

// inputs are the images of a request without their pixels, which follow the header: each image once, for the fields that
// have it.
type inputs struct {
	Pixels []pixels     `json:",omitempty"`
	Fields []inputField `json:",omitempty"` // in the order of sdxl.Request.Images
}

// inputField is a field of a request, as sdxl.Request.Images names it, and which of Pixels it has.
type inputField struct {
	Name  string
	Image int
}

// detachInputs takes the pixels of a request's images apart.
func detachInputs(r *sdxl.Request) (in inputs, raw [][]byte, err error) {
	for i, a := range r.IPAdapters {
		for k, img := range a.Images {
			if img == nil { // which the other side would take for the next one's place
				return in, nil, fmt.Errorf("process: ip_adapters[%d].images[%d] of a request is nil: must be an image", i, k)
			}
		}
	}
	at := map[image.Image]int{}
	for _, of := range r.Images() {
		p, pix, err := detach(of.Image)
		if err != nil {
			return in, nil, fmt.Errorf("%s of a request: %w", of.Field, err)
		}
		i, sent := at[of.Image] // a pointer, as of every type that detach takes
		if !sent {
			i = len(in.Pixels)
			at[of.Image], in.Pixels, raw = i, append(in.Pixels, p), append(raw, pix)
		}
		in.Fields = append(in.Fields, inputField{of.Field, i})
	}
	return in, raw, nil
}

// attach reads the pixels and puts the images into the request.
func (in inputs) attach(r *sdxl.Request, l *link) error {
	images := make([]image.Image, len(in.Pixels))
	for i, p := range in.Pixels {
		var err error
		if images[i], err = p.image(l); err != nil {
			return err
		}
	}
	for _, f := range in.Fields {
		if f.Image < 0 || f.Image >= len(images) {
			return fmt.Errorf("process: %s of a request is image %d: must be one of the %d that were sent", f.Name, f.Image, len(images))
		}
		if err := r.SetImage(f.Name, images[f.Image]); err != nil {
			return err
		}
	}
	return nil
}
