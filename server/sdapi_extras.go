package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"net/http"
	"regexp"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
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

// sdTextKey is a key that a PNG's text may have.
var sdTextKey = regexp.MustCompile(`^[!-~]([ -~]{0,77}[!-~])?$`)

// sdProcess does with an image what is asked for by filters, and gives it as sdEncode does.
func (s *Server) sdProcess(ctx context.Context, data []byte, e sdExtras) (encoded, info string, err error) {
	err = s.sdDecode(ctx, data, func(img *image.NRGBA, texts []imagefile.Text) error {
		if e.upscaler.name != sdNone {
			to, err := e.enlarged(img.Bounds().Size())
			if err != nil {
				return err
			}
			img, info = e.filtered(img, to), to.info
		}
		encoded, err = sdEncode(img, texts, info)
		return err
	})
	return encoded, info, err
}

// sdEncode is an image as PNG in base64, with the texts that it had before, and what was done to it.
func sdEncode(img *image.NRGBA, texts []imagefile.Text, info string) (string, error) {
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
	if info != "" {
		keep = append(keep, imagefile.Text{Key: "postprocessing", Value: info})
	}
	png, err := imagefile.Encode(img, keep)
	return base64.StdEncoding.EncodeToString(png), err
}

// sdHTML is what was done to an image as A1111 shows it.
func sdHTML(info string) string { return "<p>" + html.EscapeString(info) + "</p>" }

// sdExtraSingle answers POST /sdapi/v1/extra-single-image.
func (s *Server) sdExtraSingle(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	e, err := s.sdExtras(f)
	if err != nil {
		return err
	}
	raw := f.given("image")
	data := f.sdImage("image")
	if err := f.err(); err != nil {
		return err
	}
	images, info, err := s.sdEnlarge(x, e, [][]byte{data}, func(_ int, err error) error {
		f.sdBadImage("image", raw, err)
		return f.err()
	})
	if err != nil {
		return err
	}
	return x.reply(http.StatusOK, sdExtraView{sdHTML(info), images[0]})
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
	e, err := s.sdExtras(f)
	if err != nil {
		return err
	}
	list := f.sdFiles(name)
	var all [][]byte
	var files []json.RawMessage
	for i, raw := range list {
		var file struct{ Data json.RawMessage }
		if json.Unmarshal(raw, &file) != nil || len(file.Data) == 0 {
			f.values[name] = json.RawMessage("null")
			f.report(name, "value_error", fmt.Sprintf("Value error, must be a list of {\"data\": IMAGE, \"name\": NAME}: item %d is not", i), nil)
			break
		}
		f.item(name, i, file.Data, "string_type", "string", func(one *fields) {
			all, files = append(all, one.sdImage(name)), append(files, file.Data)
		})
		if len(f.problems) > 0 {
			break
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	images, info, err := s.sdEnlarge(x, e, all, func(i int, err error) error {
		f.item(name, i, files[i], "string_type", "string", func(one *fields) { one.sdBadImage(name, files[i], err) })
		return f.err()
	})
	if err != nil {
		return err
	}
	return x.reply(http.StatusOK, sdExtrasView{sdHTML(info), images})
}
