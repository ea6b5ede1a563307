package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"strings"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
)

// sdBase64 reads an image as A1111's clients send it, in base64, alone or in a data URL. The error is for the client.
func sdBase64(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return nil, errors.New("goxl fetches no URLs: must be an image in base64, alone or in a data URL")
	}
	data, err := decodeImage(text)
	if err != nil {
		return nil, fmt.Errorf("must be an image in base64, alone or in a data URL: %w", err)
	}
	return data, nil
}

// sdImage reads one image of a field, and reports what is wrong with it. It returns nil after a report.
func (f *fields) sdImage(name string) []byte {
	text := f.given(name)
	data, err := sdBase64(f.text(name))
	if len(f.problems) == 0 && err != nil {
		f.sdBadImage(name, text, err)
	}
	if len(f.problems) > 0 {
		return nil
	}
	return data
}

// sdBadImage reports an image, of which the client is shown the beginning.
func (f *fields) sdBadImage(name string, raw json.RawMessage, err error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if shown, merr := json.Marshal(beginning(text)); merr == nil {
			f.values[name] = shown
		}
	}
	f.report(name, "value_error", "Value error, "+err.Error(), nil)
}

// sdDecode decodes an image, as many at once as uploads may be, and does with it what is to be done before others are.
// Its errors are about the image, those of do, or the cause of ctx's end.
func (s *Server) sdDecode(ctx context.Context, data []byte, do func(*image.NRGBA, []imagefile.Text) error) error {
	done, err := s.mayDecode(ctx)
	if err != nil {
		return err
	}
	defer done()
	img, texts, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return fmt.Errorf("must be an image: %w", err)
	}
	return do(img, texts)
}

// Ways to bring an image to a size, A1111's resize_mode.
const (
	sdStretch = iota
	sdCrop
	sdFill
	sdLatentUpscale // which is not done here
)

// sdResize brings an image to a size as A1111's resize_image does without an upscaler (modules/images.py).
func sdResize(mode int, img *image.NRGBA, width, height int) *image.NRGBA {
	switch mode {
	case sdCrop:
		return resample.Crop(img, width, height)
	case sdFill:
		return resample.Fill(img, width, height)
	}
	return resample.Lanczos(img, width, height)
}
