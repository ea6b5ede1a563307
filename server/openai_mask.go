package server

import (
	"context"
	"encoding/json"
	"image"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
)

// editTask is what an edit is, by what of the image it names.
func (f *fields) editTask() sdxl.Task {
	if f.inpaints() {
		return sdxl.Inpaint
	}
	return sdxl.ImageToImage
}

// readEditMask makes the mask of an edit, whose transparent pixels are edited, one as POST /v1/jobs has it, whose white
// ones are: what is half transparent is grey.
func (s *Server) readEditMask(x *exchange, f *fields) error {
	const name = "mask"
	f.notes.form(name, editedForms)
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	raw := f.given(name)
	if raw == nil || len(f.problems) > 0 {
		return nil
	}
	data, err := s.editMask(x, f, name, raw)
	if data == nil || err != nil {
		return err
	}
	mask, err := s.transparent(x.r.Context(), data)
	switch {
	case x.r.Context().Err() != nil:
		return context.Cause(x.r.Context())
	case err != nil:
		f.values[name] = quoted(raw)
		f.report(name, "value_error", "Value error, "+err.Error(), nil)
		return nil
	case mask == nil:
		return &failure{kind: noAlpha, problems: []problem{{
			Type: "value_error", Loc: f.place(name), Msg: answers[noAlpha].detail + ": its transparent pixels say what is edited",
		}}}
	}
	f.set(name, json.RawMessage(`"(a file)"`))
	f.beside(name, mask)
	return nil
}

// editMask is the file of the mask; nil after a report.
func (s *Server) editMask(x *exchange, f *fields, name string, raw json.RawMessage) ([]byte, error) {
	if data, beside := f.uploads[name]; beside {
		return data, nil
	}
	text, ok := f.editedImage(name, raw, `{"image_url": URL} or {"file_id": ID}`)
	if !ok {
		return nil, nil
	}
	if blob.IsID(text) {
		if _, err := s.sourceSize(x, text); err != nil {
			return nil, err
		}
		data, _, err := s.store.Read(text)
		return data, err
	}
	data, err := decodeImage(text)
	if err != nil {
		f.values[name] = quotedText(beginning(text))
		f.report(name, "value_error", "Value error, must be an image in base64 in a data URL, or the id of an image: "+err.Error(), nil)
		return nil, nil
	}
	return data, nil
}

// transparent is a PNG that is as white as an image is transparent, nil of an image without alpha.
func (s *Server) transparent(ctx context.Context, data []byte) (mask []byte, err error) {
	err = s.sdDecode(ctx, data, func(*image.NRGBA, []imagefile.Text) error {
		alpha, err := imagefile.Alpha(data, sdxl.MaxSide)
		if alpha == nil || err != nil {
			return err
		}
		mask, err = imagefile.Encode(mapGrey(alpha, func(p []uint8) uint8 { return 255 - p[0] }), nil)
		return err
	})
	return mask, err
}
