package worker

import (
	"bytes"
	"image"
	"image/jpeg"
	"log/slog"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

// previewQuality is that of previews, which are small and soon replaced.
const previewQuality = 80

// preview tells the watchers of a job what its images are going to be.
func (p *Pool) preview(l Lease, step int, images []*image.NRGBA) {
	for i, img := range images {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: previewQuality}); err != nil {
			p.config.Log.Warn("a preview can't be encoded", slog.String("job", l.Job().ID), slog.String("error", err.Error()))
			return
		}
		l.Event(job.Event{Kind: job.KindPreview, Step: step, Preview: b.Bytes(), PreviewType: string(blob.JPEG), Image: i})
	}
}
