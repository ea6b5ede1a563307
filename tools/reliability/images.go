package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/image/webp"

	"github.com/goxl/goxl/internal/imagefile"
)

// want is what an image must be.
type want struct {
	width, height int
	prompt        string
	steps         int
	seed          uint64
	kind          string // media type
	recipe        string // of images that must be equal pixel by pixel; "" is none
}

// images limits how many images are coded and decoded at once, so that the clients leave CPUs to the server, whose answers
// they time.
var images = make(chan struct{}, max(1, runtime.NumCPU()/4))

// check decodes an image and says what it is not as wanted. The decoders are the standard library's and x/image's.
func (w want) check(data []byte) (pixels [sha256.Size]byte, err error) {
	images <- struct{}{}
	defer func() { <-images }()
	var img image.Image
	switch w.kind {
	case "image/png":
		img, err = png.Decode(bytes.NewReader(data))
	case "image/jpeg":
		img, err = jpeg.Decode(bytes.NewReader(data))
	case "image/webp":
		img, err = webp.Decode(bytes.NewReader(data))
	default:
		err = fmt.Errorf("unknown type %q", w.kind)
	}
	if err != nil {
		return pixels, fmt.Errorf("it is not a %s: %w", w.kind, err)
	}
	if s := img.Bounds().Size(); s.X != w.width || s.Y != w.height {
		return pixels, fmt.Errorf("it has %d×%d pixels, want %d×%d", s.X, s.Y, w.width, w.height)
	}
	texts, err := imagefile.Texts(data)
	if err != nil {
		return pixels, fmt.Errorf("its texts: %w", err)
	}
	infotext, _ := imagefile.InfotextOf(texts)
	values := imagefile.ParseInfotext(infotext)
	for _, v := range [][2]string{
		{imagefile.InfotextPrompt, w.prompt}, {"Steps", strconv.Itoa(w.steps)}, {"Seed", strconv.FormatUint(w.seed, 10)},
	} {
		if values[v[0]] != v[1] {
			return pixels, fmt.Errorf("its parameters have %s %q, want %q", v[0], values[v[0]], v[1])
		}
	}
	hash := sha256.New()
	b := img.Bounds()
	row := make([]byte, 0, 8*b.Dx())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		row = row[:0]
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, b, a := img.At(x, y).RGBA()
			row = append(row, byte(r>>8), byte(g>>8), byte(b>>8), byte(a>>8))
		}
		hash.Write(row)
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// recipes are the pixels of what was computed, to see that the same request gives the same image.
type recipes struct {
	mu       sync.Mutex
	of       map[string][sha256.Size]byte
	compared int
}

// compare notes an image, or tells that it differs from one by the same recipe.
func (r *recipes) compare(recipe string, pixels [sha256.Size]byte) error {
	if recipe == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.of[recipe]
	if !known {
		if r.of == nil {
			r.of = map[string][sha256.Size]byte{}
		}
		r.of[recipe] = pixels
		return nil
	}
	r.compared++
	if before != pixels {
		return fmt.Errorf("it differs from the one that the same request gave before: %s", recipe)
	}
	return nil
}

// noise is an image of random pixels, as a file.
func noise(random *rand.Rand, width, height int, kind string) ([]byte, error) {
	images <- struct{}{}
	defer func() { <-images }()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = byte(random.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	switch kind {
	case "image/jpeg":
		return imagefile.EncodeJPEG(img, "", 90)
	case "image/webp":
		return imagefile.EncodeWebP(img, "", 90)
	}
	return imagefile.Encode(img, nil)
}

func dataURL(kind string, data []byte) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)
}
