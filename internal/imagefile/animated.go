package imagefile

import (
	"bytes"
	"image"
)

// FirstFrame is the first frame of an animation.
type FirstFrame struct{ *image.NRGBA }

// DecodeFrame is [Decode] without the texts. What it gives of an animation is a FirstFrame, of other images an
// *image.NRGBA.
func DecodeFrame(data []byte, maxSide int) (image.Image, error) {
	img, _, err := Decode(data, maxSide)
	switch {
	case err != nil:
		return nil, err
	case Animated(data):
		return FirstFrame{img}, nil
	}
	return img, nil
}

// Animated reports whether data is an animation, of which [Decode] takes the first frame: an animated PNG or WebP. What
// can't be read is none.
func Animated(data []byte) bool {
	if like(data, "RIFF....WEBP") {
		const flags, animation = 20, 0x02 // of the chunk VP8X, which comes first
		return len(data) > flags && string(data[12:16]) == "VP8X" && data[flags]&animation != 0
	}
	if !bytes.HasPrefix(data, []byte(signature)) {
		return false
	}
	for rest := data[len(signature):]; len(rest) > 0; {
		name, _, after, err := nextChunk(rest)
		if err != nil || name == "IDAT" {
			return false
		}
		if name == "acTL" {
			return true
		}
		rest = after
	}
	return false
}
