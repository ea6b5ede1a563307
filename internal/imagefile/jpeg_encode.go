package imagefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
)

// EncodeJPEG returns an opaque image as a baseline JPEG (4:2:0) of a quality from 1 to 100, libjpeg's scale. A comment
// that is not "" stands in EXIF's UserComment, where A1111 and the programs around it look for infotext (see
// [Parameters.Infotext]); [Texts] reads it back. An image without pixels, or with a side of more than 65535, is an
// error.
func EncodeJPEG(img *image.NRGBA, comment string, quality int) ([]byte, error) {
	if quality < 1 || quality > 100 {
		return nil, fmt.Errorf("encoding JPEG: the quality is %d: must be 1 to 100", quality)
	}
	if err := checkSides("JPEG", img, 1<<16-1); err != nil {
		return nil, err
	}
	var pixels bytes.Buffer
	// What is opaque is the same with its alpha multiplied or not, and image/jpeg is fast for the former.
	same := &image.RGBA{Pix: img.Pix, Stride: img.Stride, Rect: img.Rect}
	if err := jpeg.Encode(&pixels, same, &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("encoding JPEG: %w", err)
	}
	if comment == "" {
		return pixels.Bytes(), nil
	}
	const start = 2 // bytes of the marker that a file begins with
	out := append(make([]byte, 0, pixels.Len()+2*len(comment)+256), pixels.Bytes()[:start]...)
	out = appendEXIFSegments(out, commentEXIF(comment))
	return append(out, pixels.Bytes()[start:]...), nil
}

// appendEXIFSegments writes an EXIF block as APP1 segments. One has at most 64 KiB; what does not fit goes on in the
// next one, as Pillow and this package read it.
func appendEXIFSegments(out, exif []byte) []byte {
	const prefix = "Exif\x00\x00"
	const most = 1<<16 - 1 - 2 - len(prefix)
	for len(exif) > 0 {
		n := min(len(exif), most)
		out = append(out, 0xff, 0xe1)
		out = binary.BigEndian.AppendUint16(out, uint16(2+len(prefix)+n))
		out = append(append(out, prefix...), exif[:n]...)
		exif = exif[n:]
	}
	return out
}

// checkSides refuses an image that a format can't hold.
func checkSides(format string, img *image.NRGBA, most int) error {
	size := img.Bounds().Size()
	if size.X < 1 || size.Y < 1 || size.X > most || size.Y > most {
		return fmt.Errorf("encoding %s: %d×%d pixels: must be 1 to %d a side", format, size.X, size.Y, most)
	}
	return nil
}
