package imagefile

import "image"

// Encode returns an opaque image as PNG with the texts in their order, directly after the header, where readers find
// them without the pixels. A key that is not a PNG keyword is an error, and so is an image without pixels; a value may
// be any string (see [Text]).
func Encode(img *image.NRGBA, texts []Text) ([]byte, error) {
	header, data, err := encodePixels(img)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(signature)+len(header)+len(data)+1024)
	out = append(append(out, signature...), header...)
	for _, t := range texts {
		chunk, err := t.chunk()
		if err != nil {
			return nil, err
		}
		out = append(out, chunk...)
	}
	return append(append(out, data...), frame("IEND")...), nil
}
