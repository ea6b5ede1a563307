package server

import (
	"context"
	"encoding/json"
	"fmt"
	"image"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// sdInitImages is the field of the images that img2img begins with.
const sdInitImages = "init_images"

// sdSourceFields are those of these images.
type sdSourceFields struct {
	mode    int
	include bool // in the answer
	list    []json.RawMessage
	mask    sdMaskFields
}

// sourceFields reads them.
func (q *sdRequest) sourceFields() (from sdSourceFields) {
	f := q.fields
	from.mode = int(f.integer("resize_mode", limits{sdStretch, sdLatentUpscale, 0}, sdStretch))
	from.include = f.boolean("include_init_images", false)
	f.notes.items(sdInitImages, 1, sdxl.MaxCount, &jsonschema.Schema{Type: "string"})
	f.notes.need(sdInitImages)
	from.list = f.items(sdInitImages, sdxl.MaxCount)
	from.mask = q.maskFields()
	return from
}

// sdSource decodes what img2img begins with. Without a mask the images are brought to their size here; with one, it is
// the mask that has to be blurred before, or cut to, and that is the model's part.
func (s *Server) sdSource(ctx context.Context, q *sdRequest, from sdSourceFields) error {
	f, name, list := q.fields, sdInitImages, from.list
	switch {
	case len(list) == 0:
		return &failure{kind: noInitImage}
	case len(list) > 1 && len(list) > q.batch:
		return &failure{kind: badValue, detail: fmt.Sprintf("init_images has %d images: must be one, or at most batch_size, which is %d", len(list), q.batch)}
	case from.mode == sdLatentUpscale:
		return &failure{kind: notImplemented, detail: "resize_mode is 3: goxl has no latent upscale of an image; it takes 0, 1 and 2"}
	}
	if len(list) > 1 {
		q.batch = len(list) // as in A1111
	}
	if err := s.sdMask(ctx, q, from); err != nil {
		return err
	}
	for i, raw := range list {
		f.item(name, i, raw, "string_type", "string", func(one *fields) {
			data := one.sdImage(name)
			if data == nil {
				return
			}
			init, err := s.sdInit(ctx, q, from.mode, data)
			if err != nil {
				one.sdBadImage(name, raw, err)
				return
			}
			q.inits = append(q.inits, init)
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if !from.include { // nor are they kept in memory
		f.values[name], f.values["mask"] = json.RawMessage("null"), json.RawMessage("null")
		f.whole = json.RawMessage("{}")
	}
	q.uploads = append(q.uploads, q.inits...)
	return f.err()
}

// sdInit is an image that img2img begins with, in its size if there is no mask.
func (s *Server) sdInit(ctx context.Context, q *sdRequest, mode int, data []byte) (source, error) {
	if q.job.Request.Mask != nil {
		return s.uploaded(ctx, data)
	}
	return s.sdUpload(ctx, data, func(img *image.NRGBA) *image.NRGBA { return sdResize(mode, img, q.size.Width, q.size.Height) })
}

// sdUpload is an image that came with a request, after something was done with it.
func (s *Server) sdUpload(ctx context.Context, data []byte, do func(*image.NRGBA) *image.NRGBA) (from source, err error) {
	from.format = blob.PNG
	if from.id, err = s.newID(); err != nil {
		return from, err
	}
	return from, s.sdDecode(ctx, data, func(img *image.NRGBA, _ []imagefile.Text) (err error) {
		img = do(img)
		from.size = sdxl.Size{Height: img.Rect.Dy(), Width: img.Rect.Dx()}
		from.upload, err = imagefile.Encode(img, nil)
		return err
	})
}

// readsMask reports whether the model of a job is one for inpainting, whose UNet reads the mask.
func (s *Server) readsMask(j engine.Job) bool {
	spec := s.specs(j.Name).Base
	if j.Model == engine.Refiner {
		spec = s.specs(j.Name).Refiner
	}
	return spec.UNet.InChannels != spec.VAE.LatentChannels
}
