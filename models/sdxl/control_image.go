package sdxl

import (
	"image"

	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// ControlImage is what a ControlNet gets of an image: resized to a size by Lanczos' filter, and what the preprocessor of
// a name, as preprocess.Apply takes it, makes of that; "" is nothing. What is of another size then is resized again.
func ControlImage(img image.Image, preprocessor string, size Size) (*image.NRGBA, error) {
	n := atSize(img, size)
	if preprocessor == "" {
		return n, nil
	}
	n, err := preprocess.Apply(preprocessor, n)
	if err != nil {
		return nil, err
	}
	return atSize(n, size), nil
}
