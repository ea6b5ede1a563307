package sdxl

import (
	"fmt"
	"image"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/resample"
)

// Filter enlarges images without a model: Lanczos or nearest neighbour, as Pillow does.
type Filter struct {
	Name  string // "lanczos" or "nearest"
	Scale float64
}

// filters resize to a size.
var filters = map[string]func(img *image.NRGBA, width, height int) *image.NRGBA{
	"lanczos": resample.Lanczos, "nearest": resample.Nearest,
}

// MaxUpscale is the largest scale of an image that is enlarged.
const MaxUpscale = 16

// ParseFilter reads "lanczos:2" or "nearest:1.5": a name and a scale. It returns nil for what begins with no filter's
// name, which is a file.
func ParseFilter(s string) (*Filter, error) {
	name, scale, ok := strings.Cut(s, ":")
	if filters[name] == nil {
		return nil, nil
	}
	f := &Filter{Name: name}
	var err error
	if f.Scale, err = strconv.ParseFloat(scale, 64); !ok || err != nil || !(f.Scale > 0 && f.Scale <= MaxUpscale) {
		return nil, fmt.Errorf("must be %s: and a scale above 0 up to %d", name, MaxUpscale)
	}
	return f, nil
}

// Upscale resizes an image by the scale. A result with a side of less than 1 or more than 65535 pixels is an error.
func (f *Filter) Upscale(img *image.NRGBA) (*image.NRGBA, error) {
	size := img.Rect.Size()
	width, height := int(float64(size.X)*f.Scale+0.5), int(float64(size.Y)*f.Scale+0.5)
	if min(width, height) < 1 || max(width, height) > 1<<16-1 {
		return nil, fmt.Errorf("image of %d×%d pixels at scale %g: a side must become 1 to %d pixels", size.X, size.Y, f.Scale, 1<<16-1)
	}
	return filters[f.Name](img, width, height), nil
}
