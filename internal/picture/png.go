package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
)

// Encode returns an opaque image as PNG with the texts in their order, directly after the header, where readers find them without the pixels.
// A key that is not a PNG keyword is an error, and so is an image without pixels; a value may be any string (see [Text]).
func Encode(img *image.NRGBA, texts []Text) ([]byte, error) {
	header, data, err := encodePixels(img)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(signature)+len(header)+len(data)+1024)
	out = append(append(out, signature...), header...)
	for _, t := range texts {
		chunk, err := t.chunk()
		if err != nil {
			return nil, err
		}
		out = append(out, chunk...)
	}
	return append(append(out, data...), frame("IEND")...), nil
}

// Decode reads a PNG and its texts. A picture with a side of more than maxSide pixels is refused before its pixels get memory.
func Decode(data []byte, maxSide int) (image.Image, []Text, error) {
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("decoding PNG: %w", err)
	}
	if config.Width > maxSide || config.Height > maxSide {
		return nil, nil, fmt.Errorf("decoding PNG: %d×%d pixels: must be at most %d a side", config.Width, config.Height, maxSide)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("decoding PNG: %w", err)
	}
	texts, err := Texts(data)
	return img, texts, err
}

// Texts reads the tEXt and iTXt chunks of a PNG and passes over its pixels. Compressed text is an error: Encode writes none.
func Texts(data []byte) ([]Text, error) {
	if !bytes.HasPrefix(data, []byte(signature)) {
		return nil, errors.New("reading PNG texts: no PNG signature")
	}
	var texts []Text
	for rest := data[len(signature):]; len(rest) > 0; {
		name, content, after, err := nextChunk(rest)
		if err != nil {
			return nil, fmt.Errorf("reading PNG texts: %w", err)
		}
		rest = after
		var t Text
		switch name {
		case "tEXt":
			t, err = parseLatin1(content)
		case "iTXt":
			t, err = parseUTF8(content)
		case "IEND":
			return texts, nil
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading PNG texts: %w", err)
		}
		texts = append(texts, t)
	}
	return nil, errors.New("reading PNG texts: the file ends before its IEND chunk")
}
