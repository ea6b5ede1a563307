package imagefile

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
)

// Decode reads an image as diffusers' load_image does: turned as its EXIF or XMP orientation says, then as Pillow's
// convert("RGB") makes it, so a transparent pixel keeps its colour and 16-bit grey is clipped at 255. Of an animation
// it is the first frame. The result is opaque. PNG and lossless WebP are Pillow's pixels exactly, lossy WebP too, and
// JPEG is within 3 of libjpeg-turbo's. An image with a side of more than maxSide pixels is refused before its pixels
// get memory. Data that is none of the three formats is a [FormatError]. The texts are those of [Texts].
func Decode(data []byte, maxSide int) (*image.NRGBA, []Text, error) {
	f, err := recognise(data)
	if err != nil {
		return nil, nil, err
	}
	img, m, err := f.decode(data, maxSide)
	if err != nil {
		return nil, nil, fmt.Errorf("decoding %s: %w", f.name, err)
	}
	return oriented(img, m.orientation()), m.all(), nil
}

// Texts reads the text chunks of a PNG in their order, and "UserComment" of EXIF, where programs keep the parameters of
// a JPEG or WebP; it passes over the pixels. Texts that are damaged are left out. The error is one of the file's
// structure, or a [FormatError].
func Texts(data []byte) ([]Text, error) {
	f, err := recognise(data)
	if err != nil {
		return nil, err
	}
	m, err := f.metadata(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s texts: %w", f.name, err)
	}
	return m.all(), nil
}

// Format names the format of an image, PNG, JPEG or WebP, by its first 16 bytes. What is none of the three is a
// [FormatError].
func Format(data []byte) (string, error) {
	f, err := recognise(data)
	return f.name, err
}

// Size tells how large [Decode] makes an image, from its header and its orientation.
func Size(data []byte) (width, height int, err error) {
	f, err := recognise(data)
	if err != nil {
		return 0, 0, err
	}
	size, err := f.size(data)
	if err != nil {
		return 0, 0, fmt.Errorf("reading %s header: %w", f.name, err)
	}
	m, err := f.metadata(data)
	if err != nil {
		return 0, 0, fmt.Errorf("reading %s metadata: %w", f.name, err)
	}
	if o := m.orientation(); 5 <= o && o <= 8 {
		size.X, size.Y = size.Y, size.X
	}
	return size.X, size.Y, nil
}

// FormatError says that data is no image of a format that is read.
type FormatError struct {
	Found string // the name of a format that is not read; "" is unknown
}

func (e *FormatError) Error() string {
	if e.Found == "" {
		return "not a PNG, JPEG or WebP image"
	}
	return fmt.Sprintf("this is %s: must be a PNG, JPEG or WebP image", e.Found)
}

// format is one that is read.
type format struct {
	name     string
	decode   func(data []byte, maxSide int) (*image.NRGBA, metadata, error)
	metadata func(data []byte) (metadata, error)
	size     func(data []byte) (image.Point, error) // before it is turned upright
}

// foreign are other formats by what their files begin with; a dot stands for any byte.
var foreign = []struct{ magic, name string }{
	{"GIF8", "a GIF image"}, {"BM....\x00\x00\x00\x00", "a BMP image"}, {"II*\x00", "a TIFF image"}, {"MM\x00*", "a TIFF image"},
	{"....ftypavif", "an AVIF image"}, {"....ftypavis", "an AVIF image"}, {"....ftyphei", "an HEIF image"}, {"....ftyphev", "an HEIF image"},
	{"....ftypmif1", "an HEIF image"}, {"\x00\x00\x00\x0cJXL ", "a JPEG XL image"}, {"\xff\x0a", "a JPEG XL image"},
	{"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"},
}

func recognise(data []byte) (format, error) {
	switch {
	case bytes.HasPrefix(data, []byte(signature)):
		return format{"PNG", decodePNG, pngMetadata, headerSize(png.DecodeConfig)}, nil
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return format{"JPEG", decodeJPEG, jpegMetadata, headerSize(jpeg.DecodeConfig)}, nil
	case like(data, "RIFF....WEBP"):
		return format{"WebP", decodeWebP, webpMetadata, webpSize}, nil
	}
	for _, f := range foreign {
		if like(data, f.magic) {
			return format{}, &FormatError{f.name}
		}
	}
	return format{}, &FormatError{}
}

// headerSize reads the size of an image by a decoder of its header.
func headerSize(decode func(io.Reader) (image.Config, error)) func(data []byte) (image.Point, error) {
	return func(data []byte) (image.Point, error) {
		c, err := decode(bytes.NewReader(data))
		return image.Pt(c.Width, c.Height), err
	}
}

func like(data []byte, magic string) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '.' && data[i] != magic[i] {
			return false
		}
	}
	return true
}

// checkSize refuses what is larger than maxSide, or has no pixels.
func checkSize(width, height, maxSide int) error {
	switch {
	case width < 1 || height < 1:
		return fmt.Errorf("%d×%d pixels: must be at least 1 a side", width, height)
	case width > maxSide || height > maxSide:
		return fmt.Errorf("%d×%d pixels: must be at most %d a side", width, height, maxSide)
	}
	return nil
}
