package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
)

// Answers about one image, or several.
type (
	sdPNGInfoView struct {
		Info       string            `json:"info" jsonschema:"The infotext."`
		Items      map[string]string `json:"items" jsonschema:"The other texts."`
		Parameters map[string]any    `json:"parameters" jsonschema:"The infotext by its keys."`
	}
	sdExtraView struct {
		Info  string `json:"html_info"`
		Image string `json:"image" jsonschema:"PNG in base64."`
	}
	sdExtrasView struct {
		Info   string   `json:"html_info"`
		Images []string `json:"images" jsonschema:"PNG in base64."`
	}
)

// sdPNGInfo answers POST /sdapi/v1/png-info with what an image says of how it was made.
func (s *Server) sdPNGInfo(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	raw := f.given("image")
	data := f.sdImage("image")
	if err := f.err(); err != nil {
		return err
	}
	texts, err := imagefile.Texts(data)
	if err != nil {
		f.sdBadImage("image", raw, err)
		return f.err()
	}
	text, rest := imagefile.InfotextOf(texts)
	items := map[string]string{}
	for _, t := range rest {
		items[t.Key] = t.Value
	}
	return x.reply(http.StatusOK, sdPNGInfoView{text, items, imagefile.FillInfotext(imagefile.ParseInfotext(text))})
}

// The upscalers, which need no model.
const (
	sdNone    = "None"
	sdLanczos = "Lanczos"
	sdNearest = "Nearest"
)

var sdUpscalerNames = []string{sdNone, sdLanczos, sdNearest}

// sdExtras is what extra-single-image and extra-batch-images do with an image.
type sdExtras struct {
	upscaler string
	by       float64 // 0 goes by the size
	size     image.Point
	crop     bool
}

// sdExtras reads the fields that both have.
func (f *fields) sdExtras() (e sdExtras, err error) {
	name := func(field string) string {
		f.notes.words(field, sdUpscalerNames)
		name := or(f.optionalText(field), sdNone)
		known := false
		for _, n := range sdUpscalerNames {
			known = known || n == name
		}
		if !known && err == nil && len(f.problems) == 0 {
			err = sdRefuse(badValue, "Upscaler not found: "+field, " is %q: must be one of %s", beginning(name), strings.Join(sdUpscalerNames, ", "))
		}
		return name
	}
	visible := interval{min: 0, max: 1}
	for _, field := range []string{"gfpgan_visibility", "codeformer_visibility"} {
		if f.number(field, visible, 0) > 0 && err == nil {
			err = &failure{kind: notImplemented, detail: field + ": goxl has no restoration of faces"}
		}
	}
	e.upscaler = name("upscaler_1")
	if second := name("upscaler_2"); second != sdNone && f.number("extras_upscaler_2_visibility", visible, 0) > 0 && err == nil {
		err = &failure{kind: notImplemented, detail: "upscaler_2: goxl mixes no two upscalers"}
	}
	mode := f.integer("resize_mode", limits{0, 1, 0}, 0)
	by := f.number("upscaling_resize", interval{min: 0, max: sdxl.MaxSide, aboveMin: true}, 2)
	side := limits{1, sdxl.MaxSide, 0}
	e.size = image.Pt(int(f.integer("upscaling_resize_w", side, 512)), int(f.integer("upscaling_resize_h", side, 512)))
	e.crop = f.boolean("upscaling_crop", true)
	if mode == 0 {
		e.by = by
	}
	if problems := f.err(); problems != nil {
		return e, problems
	}
	return e, err
}

// apply is A1111's postprocessing of an image by an upscaler (scripts/postprocessing_upscale.py and modules/upscaler.py),
// with what it says of it.
func (e sdExtras) apply(img *image.NRGBA) (out *image.NRGBA, info []string, err error) {
	if e.upscaler == sdNone {
		return img, nil, nil
	}
	size := img.Bounds().Size()
	by := e.by
	if by == 0 {
		by = max(float64(e.size.X)/float64(size.X), float64(e.size.Y)/float64(size.Y))
		info = append(info, fmt.Sprintf("Postprocess upscale to: %dx%d", e.size.X, e.size.Y))
	} else {
		info = append(info, "Postprocess upscale by: "+strconv.FormatFloat(by, 'f', -1, 64))
	}
	info = append(info, "Postprocess upscaler: "+e.upscaler)
	// Multiples of 8 pixels.
	w, h := int(float64(size.X)*by)/8*8, int(float64(size.Y)*by)/8*8
	if w < 8 || h < 8 || w > sdxl.MaxSide || h > sdxl.MaxSide {
		return nil, nil, fmt.Errorf("the result has %d×%d pixels: must be 8 to %d a side", w, h, sdxl.MaxSide)
	}
	resize := resample.Lanczos
	if e.upscaler == sdNearest {
		resize = resample.Nearest
	}
	if size.X < w || size.Y < h {
		img = resize(img, int(float64(size.X)*by), int(float64(size.Y)*by))
	}
	if img.Bounds().Size() != image.Pt(w, h) {
		img = resample.Lanczos(img, w, h)
	}
	if e.by > 0 || !e.crop {
		return img, info, nil
	}
	out = image.NewNRGBA(image.Rectangle{Max: e.size})
	draw.Draw(out, out.Bounds(), image.NewUniform(color.NRGBA{A: 255}), image.Point{}, draw.Src)
	draw.Draw(out, img.Bounds().Add(image.Pt(e.size.X/2-w/2, e.size.Y/2-h/2)), img, image.Point{}, draw.Src)
	return out, append(info, "Postprocess crop to: "+fmt.Sprintf("%dx%d", e.size.X, e.size.Y)), nil
}

// sdTextKey is a key that a PNG's text may have.
var sdTextKey = regexp.MustCompile(`^[!-~]([ -~]{0,77}[!-~])?$`)

// sdProcess does with an image what is asked for, and gives it as PNG in base64 with the texts that it had.
func (s *Server) sdProcess(ctx context.Context, data []byte, e sdExtras) (encoded, info string, err error) {
	err = s.sdDecode(ctx, data, func(img *image.NRGBA, texts []imagefile.Text) error {
		out, steps, err := e.apply(img)
		if err != nil {
			return err
		}
		infotext, rest := imagefile.InfotextOf(texts)
		var keep []imagefile.Text
		if infotext != "" {
			keep = append(keep, imagefile.Text{Key: "parameters", Value: infotext})
		}
		for _, t := range rest {
			if sdTextKey.MatchString(t.Key) {
				keep = append(keep, t)
			}
		}
		info = strings.Join(steps, ", ")
		if info != "" {
			keep = append(keep, imagefile.Text{Key: "postprocessing", Value: info})
		}
		png, err := imagefile.Encode(out, keep)
		encoded = base64.StdEncoding.EncodeToString(png)
		return err
	})
	return encoded, "<p>" + html.EscapeString(info) + "</p>", err
}

// sdExtraSingle answers POST /sdapi/v1/extra-single-image.
func (s *Server) sdExtraSingle(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	e, err := f.sdExtras()
	if err != nil {
		return err
	}
	raw := f.given("image")
	data := f.sdImage("image")
	if err := f.err(); err != nil {
		return err
	}
	encoded, info, err := s.sdProcess(x.r.Context(), data, e)
	switch {
	case x.r.Context().Err() != nil:
		return context.Cause(x.r.Context())
	case err != nil:
		f.sdBadImage("image", raw, err)
		return f.err()
	}
	return x.reply(http.StatusOK, sdExtraView{info, encoded})
}

// sdMostExtras is how many images extra-batch-images takes.
const sdMostExtras = 64

// sdFiles reads a list of images with their names.
func (f *fields) sdFiles(name string) []json.RawMessage {
	f.notes.items(name, 0, sdMostExtras, &jsonschema.Schema{
		Type: "object", Required: []string{"data"}, PropertyOrder: []string{"data", "name"},
		Properties: map[string]*jsonschema.Schema{"data": {Type: "string", Description: "An image in base64."}, "name": {Type: "string"}},
	})
	f.notes.need(name)
	if f.given(name) == nil {
		f.report(name, "missing", "Field required", nil)
	}
	return f.items(name, sdMostExtras)
}

// sdExtraBatch answers POST /sdapi/v1/extra-batch-images.
func (s *Server) sdExtraBatch(x *exchange) error {
	const name = "imageList"
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	e, err := f.sdExtras()
	if err != nil {
		return err
	}
	list := f.sdFiles(name)
	images, info := []string{}, ""
	for i, raw := range list {
		var file struct{ Data json.RawMessage }
		if json.Unmarshal(raw, &file) != nil || len(file.Data) == 0 {
			f.values[name] = json.RawMessage("null")
			f.report(name, "value_error", fmt.Sprintf("Value error, must be a list of {\"data\": IMAGE, \"name\": NAME}: item %d is not", i), nil)
			break
		}
		f.item(name, i, file.Data, "string_type", "string", func(one *fields) {
			data := one.sdImage(name)
			if data == nil {
				return
			}
			encoded, words, err := s.sdProcess(x.r.Context(), data, e)
			if err != nil {
				one.sdBadImage(name, file.Data, err)
				return
			}
			images, info = append(images, encoded), words
		})
		if len(f.problems) > 0 {
			break
		}
	}
	if ctx := x.r.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := f.err(); err != nil {
		return err
	}
	return x.reply(http.StatusOK, sdExtrasView{info, images})
}
