package worker

import (
	"fmt"
	"image"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// storedImage is an image of a task.
type storedImage struct {
	Field string    `json:"field"` // as sdxl.Request.Images names it
	ID    string    `json:"id"`
	Size  sdxl.Size `json:"size"`
}

// encodeImages lists the images of a task's request.
func (t *Task) encodeImages() (list []storedImage, err error) {
	for _, of := range t.Job.Request.Images() {
		blank, ok := of.Image.(sdxl.Blank)
		if !ok {
			return nil, fmt.Errorf("worker: %s of a request is a %T: must be an sdxl.Blank, with the id of the image in Images", of.Field, of.Image)
		}
		if t.Images[of.Field] == "" {
			return nil, fmt.Errorf("worker: %s of a request has no id in Images", of.Field)
		}
		list = append(list, storedImage{of.Field, t.Images[of.Field], blank.Size})
	}
	if len(list) != len(t.Images) {
		return nil, fmt.Errorf("worker: Images has %d ids and the request %d images: must be as many", len(t.Images), len(list))
	}
	return list, nil
}

// decodeImages puts images without pixels into the request.
func (t *Task) decodeImages(list []storedImage) error {
	for _, of := range list {
		if err := t.Job.Request.SetImage(of.Field, sdxl.Blank{Size: of.Size}); err != nil {
			return fmt.Errorf("worker: a job's request: %w", err)
		}
		if t.Images == nil {
			t.Images = map[string]string{}
		}
		t.Images[of.Field] = of.ID
	}
	return nil
}

// loadImages decodes the images that the job begins with, each once, of which it has the sizes until then.
func (p *Pool) loadImages(l Lease, c *computed) error {
	r := &c.task.Job.Request
	changed := false
	loaded := map[string]image.Image{}
	for _, of := range r.Images() {
		id := c.task.Images[of.Field]
		img := loaded[id]
		if img == nil {
			var err error
			if img, err = l.Blobs().Load(id); err != nil {
				return err
			}
			loaded[id] = img
		}
		if first, ok := img.(imagefile.FirstFrame); ok {
			c.warnings = append(c.warnings, of.Field+" is an animation, of which the first frame is used")
			img = first.NRGBA
		}
		if err := r.SetImage(of.Field, img); err != nil {
			return err
		}
		changed = changed || img.Bounds().Size() != of.Image.Bounds().Size()
	}
	if !changed {
		return nil
	}
	// Another file took one's place, or its orientation exchanges width and height.
	warning, err := p.config.Resolve(&c.task)
	if warning != "" {
		c.warnings = append(c.warnings, warning)
	}
	return err
}

// ResultSize is the size of the images of a task that was resolved.
func (t *Task) ResultSize() sdxl.Size {
	var begins sdxl.Size
	if img := t.Job.Request.Image; img != nil {
		size := img.Bounds().Size()
		begins = sdxl.Size{Height: size.Y, Width: size.X}
	}
	return t.Job.Parameters.ResultSize(begins)
}

// dropImages lets the pixels go, which are not needed beside the next job's.
func (c *computed) dropImages() {
	r := &c.task.Job.Request
	r.Image, r.Mask, r.Controls, r.T2IAdapters, r.IPAdapters = nil, nil, nil, nil, nil
}
