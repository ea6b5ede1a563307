package clip

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// OpenAI's mean and standard deviation of each channel.
var (
	imageMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	imageStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// Preprocess gives an image's pixels [3, size, size] as image encoders take them, bit for bit as transformers'
// CLIPImageProcessorPil: on white where it is transparent, its shorter side resized to size by Pillow's bicubic filter,
// cut at the centre and normalised. CLIPImageProcessor without Pil, which resizes by torchvision, differs by up to
// two levels of 255 in less than a hundredth of the values. The image has a pixel at least.
func Preprocess(img *image.NRGBA, size int) []float32 {
	img = onWhite(img)
	w, h := img.Rect.Dx(), img.Rect.Dy()
	width, height := size, size
	if w <= h {
		height = int(float64(size*h) / float64(w))
	} else {
		width = int(float64(size*w) / float64(h))
	}
	img = resample.Bicubic(img, width, height, resample.Box{Right: float64(w), Bottom: float64(h)})
	left, top := (width-size)/2, (height-size)/2
	var levels [3][256]float32
	for c := range levels {
		for v := range levels[c] {
			scaled := float32(float64(v) * (1.0 / 255))
			levels[c][v] = (scaled - imageMean[c]) / imageStd[c]
		}
	}
	out := make([]float32, 3*size*size)
	for y := range size {
		row := img.Pix[img.PixOffset(left, top+y):]
		for x := range size {
			for c := range levels {
				out[(c*size+y)*size+x] = levels[c][row[4*x+c]]
			}
		}
	}
	return out
}

// onWhite is Pillow's alpha_composite of an image over white. Source: src/libImaging/AlphaComposite.c.
func onWhite(img *image.NRGBA) *image.NRGBA {
	const bits = 7
	out := image.NewNRGBA(image.Rect(0, 0, img.Rect.Dx(), img.Rect.Dy()))
	for y := range out.Rect.Dy() {
		from := img.Pix[img.PixOffset(img.Rect.Min.X, img.Rect.Min.Y+y):]
		to := out.Pix[out.PixOffset(0, y):]
		for x := range out.Rect.Dx() {
			own := uint32(from[4*x+3]) << bits
			white := 255<<bits - own
			for c := range 3 {
				sum := uint32(from[4*x+c])*own + 255*white + 0x80<<bits
				to[4*x+c] = uint8((sum>>8 + sum) >> 8 >> bits)
			}
			to[4*x+3] = 255
		}
	}
	return out
}
