package vae

import (
	"context"
	"image"
	"math"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// TestImages holds pixels against values: a part of a larger image is encoded as its values are, whatever its
// transparency, and what is decoded into pixels is what diffusers' rounding makes of the values; whole and in tiles.
func TestImages(t *testing.T) {
	ctx := context.Background()
	c, src := synthetic(t, "../sdxl/synthetic/tiny")
	a := opened(t, processor(t), src, c, kernels.Options{Precision: kernels.F32}, 0)
	f, size := c.ScaleFactor(), c.SampleSize
	large := image.NewNRGBA(image.Rect(-3, 2, 2*size+5, 2*size+5))
	for i := range large.Pix {
		large.Pix[i] = uint8(i * i / 7)
	}
	for _, tile := range []int{0, size} {
		a.Tile = tile
		part := large.SubImage(image.Rect(1, 3, 1+size+4*f, 3+size)).(*image.NRGBA)
		x := NewImage(part.Rect.Dy(), part.Rect.Dx(), 3)
		for i := range x.Data {
			at := part.PixOffset(part.Rect.Min.X+i/3%x.Width, part.Rect.Min.Y+i/3/x.Width)
			x.Data[i] = 2*(float32(part.Pix[at+i%3])/255) - 1
		}
		want, err := a.Encode(ctx, x)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.EncodeImage(ctx, part)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Data, want.Data) {
			t.Errorf("tile %d: an image is encoded in another way than its values", tile)
		}

		z := noise(size/f, size/f+4, c.LatentChannels)
		for i := range z.Data {
			z.Data[i] *= 4
		}
		values, err := a.Decode(ctx, z)
		if err != nil {
			t.Fatal(err)
		}
		img, err := a.DecodeImage(ctx, z)
		if err != nil {
			t.Fatal(err)
		}
		if b := img.Rect; b != image.Rect(0, 0, values.Width, values.Height) {
			t.Fatalf("tile %d: an image of %v for values of %d×%d", tile, b, values.Width, values.Height)
		}
		levels := map[uint8]bool{}
		for i, v := range values.Data {
			v = min(max(float32(v/2)+0.5, 0), 1)
			want := uint8(math.RoundToEven(float64(float32(v * 255))))
			levels[want] = true
			if got := img.Pix[i/3*4+i%3]; got != want {
				t.Fatalf("tile %d: channel %d of pixel %d is %d, want %d for %v", tile, i%3, i/3, got, want, values.Data[i])
			}
			if img.Pix[i/3*4+3] != 255 {
				t.Fatalf("tile %d: pixel %d lets through", tile, i/3)
			}
		}
		if len(levels) < 100 {
			t.Errorf("tile %d: %d levels, too few to tell anything", tile, len(levels))
		}
	}
}

// TestPixels rounds values, halves between two levels among them, as kernels/ref does.
func TestPixels(t *testing.T) {
	for _, size := range [][2]int{{1031, 300}, {1, 7}, {7, 1}} {
		x := noise(size[0], size[1], 3)
		for i := range x.Data {
			if i%5 == 0 {
				x.Data[i] = 2*(float32(i%256)+0.5)/255 - 1
			}
		}
		got := x.Pixels()
		want, err := ref.Run(kernels.ToPixels{}, []ref.Tensor{{Shape: []int{1, size[0], size[1], 3}, F: x.Data}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Pix, want[0].B) {
			t.Errorf("%v: other bytes", size)
		}
	}
}
