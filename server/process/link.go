package process

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/models/sdxl"
)

// link is one side's ends of both pipes. A message is the length of a header, four bytes with the highest first, the
// header in JSON, and then raw data of the lengths that are in the header.
type link struct {
	in *bufio.Reader

	send sync.Mutex // guards out
	out  io.Writer
}

func newLink(in io.Reader, out io.Writer) *link { return &link{in: bufio.NewReader(in), out: out} }

// errHeader is a header that can't be written in JSON. Nothing of the message was sent.
var errHeader = errors.New("process: a message can't be sent")

// write sends a message.
func (l *link) write(header any, raw ...[]byte) error {
	text, err := json.Marshal(header)
	if err != nil {
		return fmt.Errorf("%w: %w", errHeader, err)
	}
	l.send.Lock()
	defer l.send.Unlock()
	if _, err := l.out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)); err != nil {
		return err
	}
	for _, r := range raw {
		if _, err := l.out.Write(r); err != nil {
			return err
		}
	}
	return nil
}

// maxHeader is far above what the longest request has.
const maxHeader = 16 << 20

// read reads the header of the next message. Its raw data must be read before the next header. The error is io.EOF where
// there is no message any more.
func (l *link) read(header any) error {
	var length [4]byte
	if _, err := io.ReadFull(l.in, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxHeader {
		return fmt.Errorf("process: a header of %d bytes: must be at most %d", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(l.in, text); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // in fields of any type
	if err := d.Decode(header); err != nil {
		return fmt.Errorf("process: a header of %d bytes that can't be read: %w", n, err)
	}
	return nil
}

// maxRaw is far above what the largest image has.
const maxRaw = 1 << 30

// raw reads n bytes.
func (l *link) raw(n int) ([]byte, error) {
	if n < 0 || n > maxRaw {
		return nil, fmt.Errorf("process: a message announces %d bytes: must be 0 to %d", n, maxRaw)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(l.in, b)
	return b, err
}

// pixels is an image without its pixels, which follow the header.
type pixels struct {
	Type    string
	Rect    image.Rectangle
	Stride  int
	Palette []color.NRGBA
	Bytes   int
}

// detach takes the pixels of an image apart. The image is one that a PNG can be decoded to.
func detach(img image.Image) (p pixels, raw []byte, err error) {
	switch m := img.(type) {
	case *image.NRGBA:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.RGBA:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.Gray:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.NRGBA64:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.RGBA64:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.Gray16:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
	case *image.Paletted:
		p, raw = pixels{Rect: m.Rect, Stride: m.Stride}, m.Pix
		for _, c := range m.Palette {
			p.Palette = append(p.Palette, color.NRGBAModel.Convert(c).(color.NRGBA))
		}
	default:
		return p, nil, fmt.Errorf("process: the image is a %T: must be of a type that package image/png decodes to", img)
	}
	p.Type, p.Bytes = fmt.Sprintf("%T", img), len(raw)
	return p, raw, nil
}

// pixelBytes is how many bytes of Pix a pixel has.
var pixelBytes = map[string]int{
	"*image.NRGBA": 4, "*image.RGBA": 4, "*image.Gray": 1, "*image.NRGBA64": 8, "*image.RGBA64": 8, "*image.Gray16": 2, "*image.Paletted": 1,
}

// check reports whether the announced bytes hold the announced rectangle: who reads pixels beyond them panics.
func (p pixels) check() error {
	each, known := pixelBytes[p.Type]
	if !known {
		return fmt.Errorf("process: a message has an image of type %q, which is unknown", p.Type)
	}
	width, height := p.Rect.Dx(), p.Rect.Dy()
	switch {
	case p.Rect != p.Rect.Canon() || width < 0 || width > maxRaw || height < 0 || height > maxRaw, p.Stride < each*width || p.Stride > maxRaw,
		width > 0 && height > 0 && p.Bytes < (height-1)*p.Stride+each*width:
		return fmt.Errorf("process: a message has a %s of %v with a stride of %d in %d bytes: must be all of its pixels", p.Type, p.Rect, p.Stride, p.Bytes)
	}
	return nil
}

// image reads the pixels.
func (p pixels) image(l *link) (image.Image, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	raw, err := l.raw(p.Bytes)
	if err != nil {
		return nil, err
	}
	switch p.Type {
	case "*image.NRGBA":
		return &image.NRGBA{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	case "*image.RGBA":
		return &image.RGBA{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	case "*image.Gray":
		return &image.Gray{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	case "*image.NRGBA64":
		return &image.NRGBA64{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	case "*image.RGBA64":
		return &image.RGBA64{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	case "*image.Gray16":
		return &image.Gray16{Pix: raw, Stride: p.Stride, Rect: p.Rect}, nil
	}
	palette := make(color.Palette, len(p.Palette))
	for i, c := range p.Palette {
		palette[i] = c
	}
	return &image.Paletted{Pix: raw, Stride: p.Stride, Rect: p.Rect, Palette: palette}, nil
}

// detachAll takes the pixels of several images apart.
func detachAll(images []*image.NRGBA) (list []pixels, raw [][]byte, err error) {
	for _, img := range images {
		p, pix, err := detach(img)
		if err != nil {
			return nil, nil, err
		}
		list, raw = append(list, p), append(raw, pix)
	}
	return list, raw, nil
}

// attachAll reads the pixels of several images.
func attachAll(list []pixels, l *link) (images []*image.NRGBA, err error) {
	for _, p := range list {
		img, err := p.image(l)
		if err != nil {
			return nil, err
		}
		n, ok := img.(*image.NRGBA)
		if !ok {
			return nil, fmt.Errorf("process: a result has a %T: must be a *image.NRGBA", img)
		}
		images = append(images, n)
	}
	return images, nil
}

// values are the raw bytes of numbers, in this machine's order, which the other side has too.
func values(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// tensor is without its values, which follow the header.
type tensor struct {
	Shape []int
	Count int
}

func detachTensor(x *sdxl.Tensor) (*tensor, []byte) {
	if x == nil {
		return nil, nil
	}
	return &tensor{x.Shape, len(x.Data)}, values(x.Data)
}

// read reads the values; of none, it is nil.
func (x *tensor) read(l *link) (*sdxl.Tensor, error) {
	if x == nil {
		return nil, nil
	}
	if x.Count < 0 || x.Count > maxRaw/4 {
		return nil, fmt.Errorf("process: a message announces %d values: must be 0 to %d", x.Count, maxRaw/4)
	}
	n := 1
	for _, d := range x.Shape {
		if n *= d; d < 0 || d > maxRaw || n > maxRaw { // beyond which it may overflow
			n = -1
			break
		}
	}
	if n != x.Count {
		return nil, fmt.Errorf("process: a message has a tensor of shape %v with %d values: must be as many as the shape has", x.Shape, x.Count)
	}
	data := make([]float32, x.Count)
	_, err := io.ReadFull(l.in, values(data))
	return &sdxl.Tensor{Shape: x.Shape, Data: data}, err
}
