package worker

import (
	"cmp"
	"fmt"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

// DefaultQuality is that of a JPEG or WebP whose request gives none.
const DefaultQuality = 90

// mediaType is the type of the task's images.
func (t *Task) mediaType() blob.Type { return cmp.Or(t.Format, blob.PNG) }

// encode makes the file of image i of the batch, which has the parameters in it: a PNG in its texts, a JPEG and a WebP in
// their EXIF.
func (c *computed) encode(i int, version string) ([]byte, error) {
	img := c.result.Images[i]
	p := imagefile.Parameters{
		Parameters: c.result.Parameters, Image: i, Source: c.task.Images["image"], Version: version, SourceInfotext: c.task.SourceInfotext,
	}
	quality := cmp.Or(c.task.Quality, DefaultQuality)
	switch c.task.mediaType() {
	case blob.PNG:
		return imagefile.Encode(img, p.Texts())
	case blob.JPEG:
		return imagefile.EncodeJPEG(img, p.Infotext(), quality)
	case blob.WebP:
		return imagefile.EncodeWebP(img, p.Infotext(), quality)
	}
	return nil, fmt.Errorf("worker: images of type %q: must be %s, %s or %s", c.task.Format, blob.PNG, blob.JPEG, blob.WebP)
}

// blob is the record of image i, which takes so many bytes.
func (c *computed) blob(i, bytes int) job.Blob {
	size := c.result.Images[i].Bounds().Size()
	b := job.Blob{
		Role: "image", ID: c.task.Outputs[i], Type: string(c.task.mediaType()), Width: size.X, Height: size.Y, Bytes: int64(bytes),
	}
	if c.task.Job.Upscale != nil { // which has no noise
		return b
	}
	seed := c.result.Parameters.Seed
	if seeds := c.result.Parameters.Seeds; i < len(seeds) {
		seed = seeds[i]
	}
	b.Seed = &seed
	return b
}
