package imagefile

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
)

func decodePNG(data []byte, maxSide int) (*image.NRGBA, metadata, error) {
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, metadata{}, err
	}
	if err := checkSize(config.Width, config.Height, maxSide); err != nil {
		return nil, metadata{}, err
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, metadata{}, err
	}
	m, err := pngMetadata(data)
	if err != nil {
		return nil, metadata{}, err
	}
	const colourType, grey = 25, 0 // its offset in a file whose header was read
	rgb, err := toRGB(img, data[colourType] == grey)
	return rgb, m, err
}

// toRGB takes what the decoders give to RGB as Pillow's convert does: transparency is dropped, not applied. Of 16 bits
// the upper 8 count, but 16-bit grey without an alpha channel is clipped at 255, since Pillow holds it as integers.
func toRGB(img image.Image, grey bool) (*image.NRGBA, error) {
	b := img.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	var row func(y int, dst []byte)
	each := func(pix []byte, stride, size, red, green, blue int) {
		row = func(y int, dst []byte) {
			src := pix[y*stride:]
			for i, j := 0, 0; i < len(dst); i, j = i+4, j+size {
				dst[i], dst[i+1], dst[i+2], dst[i+3] = src[j+red], src[j+green], src[j+blue], 255
			}
		}
	}
	clip := func(pix []byte, stride, size int) {
		row = func(y int, dst []byte) {
			src := pix[y*stride:]
			for i, j := 0, 0; i < len(dst); i, j = i+4, j+size {
				v := src[j+1]
				if src[j] > 0 {
					v = 255
				}
				dst[i], dst[i+1], dst[i+2], dst[i+3] = v, v, v, 255
			}
		}
	}
	switch img := img.(type) {
	case *image.Gray:
		each(img.Pix, img.Stride, 1, 0, 0, 0)
	case *image.NRGBA:
		each(img.Pix, img.Stride, 4, 0, 1, 2)
	case *image.RGBA: // opaque
		each(img.Pix, img.Stride, 4, 0, 1, 2)
	case *image.RGBA64: // opaque
		each(img.Pix, img.Stride, 8, 0, 2, 4)
	case *image.NRGBA64:
		if grey {
			clip(img.Pix, img.Stride, 8)
		} else {
			each(img.Pix, img.Stride, 8, 0, 2, 4)
		}
	case *image.Gray16:
		clip(img.Pix, img.Stride, 2)
	case *image.Paletted:
		row = palettedRow(img)
	default:
		return nil, fmt.Errorf("pixels of type %T", img)
	}
	for y := range b.Dy() {
		row(y, out.Pix[y*out.Stride:][:4*b.Dx()])
	}
	return out, nil
}

// palettedRow looks colours up. image/png makes a colour that the palette lacks black, as Pillow does.
func palettedRow(img *image.Paletted) func(y int, dst []byte) {
	colours := make([][4]byte, len(img.Palette))
	for i, c := range img.Palette {
		colours[i] = opaque(c)
	}
	return func(y int, dst []byte) {
		for x, v := range img.Pix[y*img.Stride:][:len(dst)/4] {
			copy(dst[4*x:], colours[v][:])
		}
	}
}

func opaque(c color.Color) [4]byte {
	switch c := c.(type) {
	case color.NRGBA:
		return [4]byte{c.R, c.G, c.B, 255}
	case color.RGBA: // opaque
		return [4]byte{c.R, c.G, c.B, 255}
	}
	r, g, b, _ := c.RGBA()
	return [4]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8), 255}
}

// pngMetadata reads the chunks beside the pixels. Texts that are damaged are passed over, as Pillow does.
func pngMetadata(data []byte) (metadata, error) {
	var m metadata
	var profile []byte
	memory := maxTexts
	for rest := data[len(signature):]; len(rest) > 0; {
		name, content, after, err := nextChunk(rest)
		if err != nil {
			return metadata{}, err
		}
		rest = after
		parse := map[string]func([]byte) (Text, bool){"tEXt": parseLatin1, "zTXt": parseDeflated, "iTXt": parseUTF8}[name]
		switch {
		case parse != nil:
			if memory <= 0 {
				continue
			}
			if t, ok := parse(content); ok {
				memory -= len(t.Value)
				m.add(t)
			}
		case name == "eXIf":
			profile = content
		case name == "IEND":
			if profile != nil {
				m.exif = profile
			}
			return m, nil
		}
	}
	return metadata{}, errors.New("the file ends before its IEND chunk")
}
