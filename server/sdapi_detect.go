package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"net/http"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// sdDetected is the answer of POST /controlnet/detect.
type sdDetected struct {
	Images []string `json:"images" jsonschema:"PNG in base64."`
	Info   string   `json:"info"`
}

// sdDetection is what POST /controlnet/detect asks for.
type sdDetection struct {
	module     sdModule
	images     []json.RawMessage
	resolution int // of the shorter side; 0 is the image's own
	thresholds [2]float64
}

// mostDetected is how many images one request may have.
const mostDetected = 16

// sdDetectImages is the field of the images.
const sdDetectImages = "controlnet_input_images"

// sdDetection reads its fields.
func (f *fields) sdDetection() (d sdDetection) {
	d.module = f.module("controlnet_module")
	f.rename("controlnet_images", sdDetectImages) // as the webuiapi client has it
	f.notes.items(sdDetectImages, 1, mostDetected, &jsonschema.Schema{Type: "string"})
	f.notes.need(sdDetectImages)
	if d.images = f.items(sdDetectImages, mostDetected); len(d.images) == 0 && len(f.problems) == 0 {
		f.report(sdDetectImages, "value_error", "Value error, No image selected", nil)
	}
	number := interval{min: -1, max: 1e6}
	d.resolution = int(f.number("controlnet_processor_res", number, -1))
	if r := sdResolution; float64(d.resolution) < r.Min || float64(d.resolution) > r.Max {
		d.resolution = int(r.Value)
	}
	if !d.module.resolution {
		d.resolution = 0
	}
	d.thresholds = [2]float64{f.number("controlnet_threshold_a", number, -1), f.number("controlnet_threshold_b", number, -1)}
	f.items("controlnet_masks", mostDetected)
	f.boolean("low_vram", false)
	if slices.ContainsFunc(sdImagePrompts, func(m sdModule) bool { return m.name == d.module.name }) {
		f.report("controlnet_module", "value_error", "Value error, Module not supported: it makes no image", nil)
	}
	return d
}

// apply makes a control image.
func (d sdDetection) apply(img *image.NRGBA) (*image.NRGBA, error) {
	if size := img.Rect.Size(); d.resolution > 0 {
		k := float64(d.resolution) / float64(min(size.X, size.Y))
		img = resample.Lanczos(img, max(1, int(float64(size.X)*k+0.5)), max(1, int(float64(size.Y)*k+0.5)))
	}
	name := d.module.preprocessor(d.thresholds)
	if name == "" {
		return img, nil
	}
	return preprocess.Apply(name, img)
}

// sdDetect answers POST /controlnet/detect with the control images that a module makes.
func (s *Server) sdDetect(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	d := f.sdDetection()
	answer := sdDetected{Images: []string{}, Info: "Success"}
	for i, raw := range d.images {
		if len(f.problems) > 0 {
			break
		}
		f.item(sdDetectImages, i, raw, "string_type", "string", func(one *fields) {
			data := one.sdImage(sdDetectImages)
			if data == nil {
				return
			}
			encoded, err := s.sdDetectOne(x.r.Context(), d, data)
			if err != nil {
				one.sdBadImage(sdDetectImages, raw, err)
				return
			}
			answer.Images = append(answer.Images, encoded)
		})
	}
	if ctx := x.r.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := f.err(); err != nil {
		return err
	}
	return x.reply(http.StatusOK, answer)
}

// sdDetectOne is the control image of an image as PNG in base64.
func (s *Server) sdDetectOne(ctx context.Context, d sdDetection, data []byte) (encoded string, err error) {
	err = s.sdDecode(ctx, data, func(img *image.NRGBA, _ []imagefile.Text) error {
		if size := img.Rect.Size(); max(size.X, size.Y) > maxDetectedAspect*min(size.X, size.Y) {
			return fmt.Errorf("it has %d×%d pixels: no side may be more than %d times the other", size.X, size.Y, maxDetectedAspect)
		}
		out, err := d.apply(img)
		if err != nil {
			return err
		}
		png, err := imagefile.Encode(out, nil)
		encoded = base64.StdEncoding.EncodeToString(png)
		return err
	})
	return encoded, err
}

// maxDetectedAspect limits how long the longer side may become.
const maxDetectedAspect = 8
