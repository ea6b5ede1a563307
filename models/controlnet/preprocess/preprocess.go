// Package preprocess makes control images of photographs by the small algorithms that need no model, with the results
// of OpenCV as the extension sd-webui-controlnet calls it, bit for bit. Images keep their size, but for TileResample's.
package preprocess

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strconv"
	"strings"
)

// preprocessor is an algorithm by the extension's name of it.
type preprocessor struct {
	name     string
	aliases  []string
	defaults []float64
	least    []float64 // of each number
	most     []float64
	apply    func(img *image.NRGBA, numbers []float64) *image.NRGBA
}

// list is all of them. Numbers are those that the extension calls threshold_a and threshold_b.
var list = []preprocessor{
	{"canny", nil, []float64{100, 200}, []float64{0, 0}, []float64{10000, 10000}, func(img *image.NRGBA, n []float64) *image.NRGBA { return Canny(img, n[0], n[1]) }},
	{"invert", nil, nil, nil, nil, func(img *image.NRGBA, _ []float64) *image.NRGBA { return Invert(img) }},
	{"tile_resample", []string{"tile"}, []float64{1}, []float64{1}, []float64{64}, func(img *image.NRGBA, n []float64) *image.NRGBA { return TileResample(img, n[0]) }},
	{"blur_gaussian", []string{"blur"}, []float64{9}, []float64{0.01}, []float64{64}, func(img *image.NRGBA, n []float64) *image.NRGBA { return BlurGaussian(img, n[0]) }},
	{"recolor_luminance", []string{"recolor"}, []float64{1}, []float64{0.1}, []float64{2}, func(img *image.NRGBA, n []float64) *image.NRGBA { return RecolorLuminance(img, n[0]) }},
	{"recolor_intensity", nil, []float64{1}, []float64{0.1}, []float64{2}, func(img *image.NRGBA, n []float64) *image.NRGBA { return RecolorIntensity(img, n[0]) }},
}

// models are preprocessors that need a model of their own: what they make has to be made elsewhere.
var models = []string{
	"anime_face_segment", "clip_vision", "densepose", "depth", "dsine", "dw_openpose", "hed", "lineart", "mediapipe", "mlsd", "normal", "oneformer",
	"openpose", "pidinet", "scribble", "segmentation", "seg", "softedge", "teed", "zoe",
}

// Names lists the preprocessors; [Apply] says how they take numbers.
func Names() []string {
	var names []string
	for _, p := range list {
		names = append(names, p.name)
	}
	return names
}

// Check returns the error that Apply would have for a name, whatever the image.
func Check(name string) error {
	_, _, err := find(name)
	return err
}

// Apply runs the preprocessor of a name on an image whose origin is at 0, 0 and whose alpha is not looked at. The name
// may have numbers behind it with colons between, in place of the defaults: canny:100:200 is its two thresholds,
// tile_resample:2 the factor by which it makes the image smaller, blur_gaussian:9 the standard deviation in pixels,
// recolor_luminance:1 and recolor_intensity:1 the gamma.
func Apply(name string, img *image.NRGBA) (*image.NRGBA, error) {
	p, numbers, err := find(name)
	if err != nil {
		return nil, err
	}
	return p.apply(img, numbers), nil
}

func find(name string) (preprocessor, []float64, error) {
	base, rest, given := strings.Cut(name, ":")
	i := slices.IndexFunc(list, func(p preprocessor) bool { return p.name == base || slices.Contains(p.aliases, base) })
	if i < 0 {
		for _, m := range models {
			if strings.HasPrefix(base, m) {
				return preprocessor{}, nil, fmt.Errorf("%s needs a model, which goxl does not have: give the image that it makes as the control image", base)
			}
		}
		return preprocessor{}, nil, fmt.Errorf("there is no preprocessor %q", base)
	}
	p := list[i]
	if !given {
		return p, p.defaults, nil
	}
	numbers := slices.Clone(p.defaults)
	parts := strings.Split(rest, ":")
	if len(parts) > len(numbers) {
		return p, nil, fmt.Errorf("%s has %d numbers behind it: must have at most %d", name, len(parts), len(numbers))
	}
	for k, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || math.IsNaN(v) || v < p.least[k] || v > p.most[k] {
			return p, nil, fmt.Errorf("number %q of %s: must be %v to %v", part, base, p.least[k], p.most[k])
		}
		numbers[k] = v
	}
	return p, numbers, nil
}

// grey is an image of one channel.
func grey(width, height int, at func(x, y int) uint8) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			v := at(x, y)
			copy(out.Pix[y*out.Stride+4*x:], []uint8{v, v, v, 0xff})
		}
	}
	return out
}

// Invert is 255 − v of each channel.
func Invert(img *image.NRGBA) *image.NRGBA {
	b := img.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			from, to := img.Pix[y*img.Stride+4*x:][:4], out.Pix[y*out.Stride+4*x:][:4]
			to[0], to[1], to[2], to[3] = 255-from[0], 255-from[1], 255-from[2], 0xff
		}
	}
	return out
}
