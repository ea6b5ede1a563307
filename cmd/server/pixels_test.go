package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
)

// pixelsOf are those of a PNG.
func pixelsOf(t *testing.T, file string) string {
	t.Helper()
	img, err := png.Decode(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	out := image.NewNRGBA(b)
	for i := range b.Dx() * b.Dy() {
		out.Set(i%b.Dx(), i/b.Dx(), img.At(b.Min.X+i%b.Dx(), b.Min.Y+i/b.Dx()))
	}
	return fmt.Sprint(b) + string(out.Pix)
}

// encoded is an image in base64.
func encoded(t *testing.T, at func(x, y int) color.Color) string {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		img.Set(i%64, i/64, at(i%64, i/64))
	}
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(file.Bytes())
}
