package imagefile

import "image"

// chroma gives row y of a plane of chroma at the size of luma, of which dst has the width: plane has columns in rows of
// that stride.
type chroma func(dst, plane []byte, stride, columns, rows, y int, ratio image.YCbCrSubsampleRatio)

// fromYCbCr takes an image to RGB. Its chroma is brought to full size by up, and each pixel by rgb.
func fromYCbCr(img *image.YCbCr, up chroma, rgb func(y, cb, cr int) (r, g, b uint8)) *image.NRGBA {
	bounds := img.Bounds()
	width, height := bounds.Dx(), bounds.Dy()
	across, down := sampling(img.SubsampleRatio)
	columns, rows := (width+across-1)/across, (height+down-1)/down
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	cb, cr := make([]byte, width), make([]byte, width)
	for y := range height {
		up(cb, img.Cb, img.CStride, columns, rows, y, img.SubsampleRatio)
		up(cr, img.Cr, img.CStride, columns, rows, y, img.SubsampleRatio)
		luma, dst := img.Y[y*img.YStride:], out.Pix[y*out.Stride:]
		for x := range width {
			p := dst[4*x:][:4]
			p[0], p[1], p[2] = rgb(int(luma[x]), int(cb[x]), int(cr[x]))
			p[3] = 255
		}
	}
	return out
}

// sampling is how many pixels a sample of chroma covers, across and down.
func sampling(ratio image.YCbCrSubsampleRatio) (across, down int) {
	switch ratio {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// neighbours are the rows of chroma for row y of luma where one covers two: the row that it lies in, and the nearest
// other one, or the same at the edge.
func neighbours(plane []byte, stride, columns, rows, y int) (near, far []byte) {
	other := y/2 - 1
	if y%2 == 1 {
		other = y/2 + 1
	}
	other = min(max(other, 0), rows-1)
	return plane[y/2*stride:][:columns], plane[other*stride:][:columns]
}

// libjpegChroma is libjpeg-turbo's "fancy upsampling" (jdsample.c): a triangle filter where a sample covers two pixels,
// repetition elsewhere.
func libjpegChroma(dst, plane []byte, stride, columns, rows, y int, ratio image.YCbCrSubsampleRatio) {
	across, down := sampling(ratio)
	switch {
	case across == 2 && columns > 2 && down == 1:
		in := plane[y*stride:][:columns]
		for x := range dst {
			v, i := int(in[x/2]), x/2
			switch {
			case x == 0 || x == 2*columns-1:
			case x%2 == 0:
				v = (3*v + int(in[i-1]) + 1) >> 2
			default:
				v = (3*v + int(in[i+1]) + 2) >> 2
			}
			dst[x] = uint8(v)
		}
	case across == 2 && columns > 2 && down == 2:
		near, far := neighbours(plane, stride, columns, rows, y)
		sum := func(i int) int { return 3*int(near[i]) + int(far[i]) }
		for x := range dst {
			i, v := x/2, 0
			switch {
			case x == 0:
				v = (4*sum(0) + 8) >> 4
			case x == 2*columns-1:
				v = (4*sum(i) + 7) >> 4
			case x%2 == 0:
				v = (3*sum(i) + sum(i-1) + 8) >> 4
			default:
				v = (3*sum(i) + sum(i+1) + 7) >> 4
			}
			dst[x] = uint8(v)
		}
	case across == 1 && down == 2:
		near, far := neighbours(plane, stride, columns, rows, y)
		bias := 1 + y%2
		for x := range dst {
			dst[x] = uint8((3*int(near[x]) + int(far[x]) + bias) >> 2)
		}
	default:
		in := plane[y/down*stride:]
		for x := range dst {
			dst[x] = in[x/across]
		}
	}
}

// libjpegRGB is libjpeg's conversion in 16 bits of fraction (jdcolor.c).
func libjpegRGB(y, cb, cr int) (r, g, b uint8) {
	const half = 1 << 15
	cb, cr = cb-128, cr-128
	return clamp(y + (91881*cr+half)>>16), clamp(y + (-22554*cb-46802*cr+half)>>16), clamp(y + (116130*cb+half)>>16)
}

// libwebpChroma is libwebp's fancy upsampler (dsp/upsampling.c), of 4:2:0 alone: each pixel is 9, 3, 3 and 1 parts of
// the four samples around it.
func libwebpChroma(dst, plane []byte, stride, columns, rows, y int, _ image.YCbCrSubsampleRatio) {
	near, far := neighbours(plane, stride, columns, rows, y)
	dst[0] = uint8((3*int(near[0]) + int(far[0]) + 2) >> 2)
	for i := 1; 2*i-1 < len(dst); i++ {
		n0, f0 := int(near[i-1]), int(far[i-1])
		if i == columns { // the last pixel of an even width
			dst[2*i-1] = uint8((3*n0 + f0 + 2) >> 2)
			return
		}
		n1, f1 := int(near[i]), int(far[i])
		sum := n0 + n1 + f0 + f1 + 8
		dst[2*i-1] = uint8(((sum+2*(n1+f0))>>3 + n0) >> 1)
		if 2*i < len(dst) {
			dst[2*i] = uint8(((sum+2*(n0+f1))>>3 + n1) >> 1)
		}
	}
}

// libwebpRGB is libwebp's conversion (dsp/yuv.h) of what video calls limited range, which VP8 has: black is 16, white
// 235.
func libwebpRGB(y, u, v int) (r, g, b uint8) {
	luma := (y * 19077) >> 8
	return clamp((luma + (v*26149)>>8 - 14234) >> 6), clamp((luma - (u*6419)>>8 - (v*13320)>>8 + 8708) >> 6), clamp((luma + (u*33050)>>8 - 17685) >> 6)
}

func clamp(v int) uint8 { return uint8(min(max(v, 0), 255)) }
