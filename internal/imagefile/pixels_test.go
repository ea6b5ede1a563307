package imagefile

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// grainy is an image with slopes and noise of a few levels, as generated ones have.
func grainy(width, height, noise int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	r := rand.New(rand.NewPCG(1, 2))
	for y := range height {
		for x := range width {
			p := img.Pix[img.PixOffset(x, y):]
			for c := range 3 {
				p[c] = uint8(x/8 + y/16*c + r.IntN(noise))
			}
			p[3] = 255
		}
	}
	return img
}

// image/png reads back every pixel, of one strip and several, and of a part of a larger image.
func TestPixels(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 300}, {300, 1}, {7, 63}, {8, 64}, {9, 65}, {131, 193}} {
		for _, noise := range []int{1, 4, 256} {
			img := grainy(size[0], size[1], noise)
			for name, img := range map[string]*image.NRGBA{"whole": img, "part": img.SubImage(image.Rect(size[0]/3, size[1]/4, size[0], size[1])).(*image.NRGBA)} {
				data, err := Encode(img, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := png.Decode(bytes.NewReader(data))
				if err != nil {
					t.Fatalf("%v %s: %v", size, name, err)
				}
				b := img.Bounds()
				if got.Bounds().Size() != b.Size() {
					t.Fatalf("%v %s: %v pixels, want %v", size, name, got.Bounds(), b)
				}
				for y := range b.Dy() {
					for x := range b.Dx() {
						r, g, b, a := got.At(x, y).RGBA()
						if r2, g2, b2, a2 := img.At(img.Rect.Min.X+x, img.Rect.Min.Y+y).RGBA(); r != r2 || g != g2 || b != b2 || a != a2 {
							t.Fatalf("%v %s: pixel %d, %d is %v, want %v", size, name, x, y, got.At(x, y), img.At(img.Rect.Min.X+x, img.Rect.Min.Y+y))
						}
					}
				}
			}
		}
	}
}

// The bytes of a file do not depend on GOMAXPROCS, and are about as many as image/png's.
func TestFile(t *testing.T) {
	img := grainy(512, 512, 5)
	data, err := Encode(img, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if again, err := Encode(img, nil); err != nil || !bytes.Equal(data, again) {
		t.Errorf("GOMAXPROCS 1 gives another file, %v", err)
	}
	var other bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&other, img); err != nil {
		t.Fatal(err)
	}
	if len(data) > other.Len()*102/100 {
		t.Errorf("%d bytes, image/png makes %d", len(data), other.Len())
	}
}

func TestNoPixels(t *testing.T) {
	for _, size := range []image.Rectangle{image.Rect(0, 0, 0, 3), image.Rect(0, 0, 3, 0)} {
		if _, err := Encode(image.NewNRGBA(size), nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d×%d pixels: must be at least 1", size.Dx(), size.Dy())) {
			t.Errorf("%v: %v", size, err)
		}
	}
}

// BenchmarkEncode encodes an image of 1024×1024 pixels, and times image/png beside it.
func BenchmarkEncode(b *testing.B) {
	img := grainy(1024, 1024, 5)
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	for name, encode := range map[string]func() (int, error){
		"strips": func() (int, error) { data, err := Encode(img, nil); return len(data), err },
		"image/png": func() (int, error) {
			var w bytes.Buffer
			err := encoder.Encode(&w, img)
			return w.Len(), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n, err := encode()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(n), "bytes")
			}
		})
	}
}
