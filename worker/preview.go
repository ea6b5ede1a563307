package worker

import (
	"bytes"
	"image"
	"image/jpeg"
	"log/slog"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

const (
	// previewQuality is that of previews, which are small and soon replaced.
	previewQuality = 80
	// previewSide is the longest side of a preview, ComfyUI's: one of a TAESD has the image's size, and events with it
	// would be many times as large, up to what NATS carries.
	previewSide = 512
)

// preview sends the watchers of a job what its images are going to be.
func (p *Pool) preview(l Lease, step int, images []*image.NRGBA) {
	for i, img := range images {
		img = resample.Within(img, previewSide)
		var b bytes.Buffer
		// Previews are opaque, so that the bytes are those of an RGBA image, which the encoder knows.
		err := jpeg.Encode(&b, &image.RGBA{Pix: img.Pix, Stride: img.Stride, Rect: img.Rect}, &jpeg.Options{Quality: previewQuality})
		if err != nil {
			p.config.Log.Warn("a preview can't be encoded", slog.String("job", l.Job().ID), slog.String("error", err.Error()))
			return
		}
		l.Event(job.Event{Kind: job.KindPreview, Step: step, Preview: b.Bytes(), PreviewType: string(blob.JPEG), Image: i})
	}
}
