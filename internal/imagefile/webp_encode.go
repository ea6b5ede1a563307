package imagefile

import (
	"bytes"
	"fmt"
	"image"

	"github.com/deepteams/webp"
)

// EncodeWebP returns an opaque image as a lossy WebP of a quality from 1 to 100, libwebp's scale. A comment that is not
// "" stands in EXIF's UserComment, as in a JPEG (see [EncodeJPEG]). An image without pixels, or with a side of more than
// 16383, is an error. Equal images make equal files, but for whether the process may use one CPU (GOMAXPROCS) or more,
// by which the encoder divides its work.
func EncodeWebP(img *image.NRGBA, comment string, quality int) ([]byte, error) {
	if quality < 1 || quality > 100 {
		return nil, fmt.Errorf("encoding WebP: the quality is %d: must be 1 to 100", quality)
	}
	if err := checkSides("WebP", img, webp.MaxDimension); err != nil {
		return nil, err
	}
	options := webp.DefaultOptions() // cwebp's: method 4
	options.Quality = float32(quality)
	if comment != "" {
		options.EXIF = commentEXIF(comment)
	}
	var out bytes.Buffer
	if err := webp.Encode(&out, img, options); err != nil {
		return nil, fmt.Errorf("encoding WebP: %w", err)
	}
	return out.Bytes(), nil
}
