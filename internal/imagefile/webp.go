package imagefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/draw"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// webpFile is a WebP file taken apart (https://developers.google.com/speed/webp/docs/riff_container).
type webpFile struct {
	metadata
	canvas image.Point // 0 where the frame alone has a size
	frame  string      // the first frame's kind, "VP8 " or "VP8L"
	data   []byte      // its bytes
	rect   image.Rectangle
	placed bool // the frame is an animation's, and rect says where it lies
}

// decodeWebP goes past golang.org/x/image/webp, which refuses animations and gives lossy pixels a range of brightness
// that they don't have. Alpha is not looked at: RGB has none.
func decodeWebP(data []byte, maxSide int) (*image.NRGBA, metadata, error) {
	f, err := parseWebP(data)
	if err != nil {
		return nil, metadata{}, err
	}
	size, err := f.frameSize()
	if err != nil {
		return nil, metadata{}, err
	}
	switch {
	case f.canvas == image.Point{}:
		f.canvas, f.rect = size, image.Rectangle{Max: size}
	case !f.placed:
		f.rect = image.Rectangle{Max: f.canvas}
	}
	if err := checkSize(f.canvas.X, f.canvas.Y, maxSide); err != nil {
		return nil, metadata{}, err
	}
	if f.rect.Size() != size || !f.rect.In(image.Rectangle{Max: f.canvas}) {
		return nil, metadata{}, fmt.Errorf("a frame of %v pixels at %v in an image of %v", size, f.rect, f.canvas)
	}
	img, err := f.decodeFrame()
	if err != nil || !f.placed {
		return img, f.metadata, err
	}
	// The rest of the canvas is transparent black in libwebp, whatever the background that the file asks for.
	out := image.NewNRGBA(image.Rectangle{Max: f.canvas})
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	draw.Draw(out, f.rect, img, image.Point{}, draw.Src)
	return out, f.metadata, nil
}

func webpMetadata(data []byte) (metadata, error) {
	f, err := parseWebP(data)
	return f.metadata, err
}

// webpSize is that of the canvas, or of the frame where it is alone.
func webpSize(data []byte) (image.Point, error) {
	f, err := parseWebP(data)
	if err != nil || f.canvas != (image.Point{}) {
		return f.canvas, err
	}
	return f.frameSize()
}

// parseWebP finds the chunks that count.
func parseWebP(data []byte) (f webpFile, err error) {
	const header = 12
	err = riffChunks(data[header:], func(name string, content []byte) error {
		switch {
		case name == "VP8X" && len(content) >= 10:
			f.canvas = image.Pt(1+u24(content[4:]), 1+u24(content[7:]))
		case (name == "VP8 " || name == "VP8L") && f.frame == "":
			f.frame, f.data = name, content
		case name == "ANMF" && f.frame == "":
			return f.firstFrame(content)
		case name == "EXIF" && f.exif == nil:
			f.exif = content
		case name == "XMP " && f.xmp == nil:
			f.xmp = content
		}
		return nil
	})
	if err == nil && f.frame == "" {
		err = errors.New("no image data")
	}
	return f, err
}

// firstFrame takes a frame of an animation.
func (f *webpFile) firstFrame(content []byte) error {
	const header = 16
	if len(content) < header {
		return errors.New("a frame is cut off")
	}
	at := image.Pt(2*u24(content), 2*u24(content[3:]))
	f.rect = image.Rectangle{at, at.Add(image.Pt(1+u24(content[6:]), 1+u24(content[9:])))}
	f.placed = true
	return riffChunks(content[header:], func(name string, content []byte) error {
		if (name == "VP8 " || name == "VP8L") && f.frame == "" {
			f.frame, f.data = name, content
		}
		return nil
	})
}

// frameSize reads the size in the frame's own header.
func (f *webpFile) frameSize() (image.Point, error) {
	if f.frame == "VP8L" {
		c, err := vp8l.DecodeConfig(bytes.NewReader(f.data))
		return image.Pt(c.Width, c.Height), err
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(f.data), len(f.data))
	h, err := d.DecodeFrameHeader()
	return image.Pt(h.Width, h.Height), err
}

func (f *webpFile) decodeFrame() (*image.NRGBA, error) {
	if f.frame == "VP8L" {
		img, err := vp8l.Decode(bytes.NewReader(f.data))
		if err != nil {
			return nil, err
		}
		return toRGB(img, false)
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(f.data), len(f.data))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	img, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return fromYCbCr(img, libwebpChroma, libwebpRGB), nil
}

// riffChunks gives each chunk to do, which may end it by an error.
func riffChunks(data []byte, do func(name string, content []byte) error) error {
	for len(data) >= 8 {
		name, n := string(data[:4]), uint64(binary.LittleEndian.Uint32(data[4:]))
		data = data[8:]
		if n > uint64(len(data)) {
			return fmt.Errorf("chunk %q is cut off", name)
		}
		if err := do(name, data[:n]); err != nil {
			return err
		}
		data = data[min(n+n%2, uint64(len(data))):]
	}
	return nil
}

func u24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
