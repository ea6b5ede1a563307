package sdxl

import (
	"image"
	"math"

	"github.com/goxl/goxl/internal/resample"
)

// attentionMasks gives a mask for the queries of each level of the UNet, whose latents are height×width. Source:
// diffusers image_processor.py, IPAdapterMaskProcessor.
func attentionMasks(mask image.Image, size Size, height, width, levels int) map[int][]float32 {
	whole := binaryMask(mask, size)
	masks := map[int][]float32{}
	for level := range levels {
		masks[level] = downsampleMask(whole, size, positions(height, width, level))
	}
	return masks
}

// binaryMask is preprocess: Lanczos to the result's size, grey, 0 or 1.
func binaryMask(mask image.Image, size Size) []float32 {
	img := resample.Lanczos(toNRGBA(mask), size.Width, size.Height)
	out := make([]float32, size.Width*size.Height)
	for i := range out {
		pixel := img.Pix[i/size.Width*img.Stride+i%size.Width*4:]
		grey := (uint32(pixel[0])*19595 + uint32(pixel[1])*38470 + uint32(pixel[2])*7471 + 0x8000) >> 16 // Pillow's
		if grey >= 128 {
			out[i] = 1
		}
	}
	return out
}

// downsampleMask is downsample: bicubic to the shape of the queries, as far as the ratio of the mask's sides tells it;
// what is missing at the end is 0.
func downsampleMask(mask []float32, size Size, queries int) []float32 {
	ratio := float64(size.Width) / float64(size.Height)
	h := max(1, int(math.Sqrt(float64(queries)/ratio)))
	if queries%h != 0 {
		h++
	}
	w := queries / h
	out := make([]float32, queries)
	rows, columns := cubicWindows(size.Height, h), cubicWindows(size.Width, w)
	for y, r := range rows {
		for x, c := range columns {
			if y*w+x >= queries {
				continue
			}
			sum := 0.0
			for i, wy := range r.weight {
				for j, wx := range c.weight {
					sum += wy * wx * float64(mask[r.index[i]*size.Width+c.index[j]])
				}
			}
			out[y*w+x] = float32(sum)
		}
	}
	return out
}

// cubicWindow is what a sample reads of an axis.
type cubicWindow struct {
	index  [4]int
	weight [4]float64
}

// cubicWindows are torch's of F.interpolate(mode="bicubic"), without antialiasing.
func cubicWindows(in, out int) []cubicWindow {
	const a = -0.75
	inner := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
	outer := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
	list := make([]cubicWindow, out)
	for i := range list {
		at := float64(in)/float64(out)*(float64(i)+0.5) - 0.5
		first := math.Floor(at)
		t := at - first
		list[i].weight = [4]float64{outer(t + 1), inner(t), inner(1 - t), outer(2 - t)}
		for k := range 4 {
			list[i].index[k] = min(max(int(first)-1+k, 0), in-1)
		}
	}
	return list
}
