package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"unicode/utf8"
)

// mostParts is how many fields a form may have.
const mostParts = 256

// readOpenAI reads the body of a request for images: a JSON object, or, of an edit, a form.
func (s *Server) readOpenAI(x *exchange, route openAIRoute) (*fields, error) {
	most := int64(maxBody)
	if route == edit {
		most = maxJobBody
	}
	kind, parameters, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	form := route == edit && kind == "multipart/form-data"
	if !form && !isJSON(kind) {
		words := "Unsupported Media Type: must be application/json"
		if route == edit {
			words += " or multipart/form-data"
		}
		return nil, &failure{kind: badMedia, detail: words}
	}
	body, err := s.readBody(x, most)
	if err != nil {
		return nil, err
	}
	if form {
		return readForm(body, parameters["boundary"])
	}
	f, p := parseFields(body, x.r.Header.Get("Content-Type"))
	if p != nil {
		return nil, &failure{kind: invalid, problems: []problem{*p}}
	}
	return f, nil
}

// readForm reads the fields of a form, each a text, and the files image and mask. A name that ends with [] is a list, as OpenAI's
// clients write one, and so is a text that is a JSON list.
func readForm(body []byte, boundary string) (*fields, error) {
	f := &fields{values: map[string]json.RawMessage{}, whole: json.RawMessage("{}")}
	lists := map[string][]string{}
	images := 0
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err == nil && n == mostParts {
			err = fmt.Errorf("the form has more than %d fields", mostParts)
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(part)
		}
		if err != nil {
			return nil, &failure{kind: badBody, err: err}
		}
		name := part.FormName()
		base, isList := strings.CutSuffix(name, "[]")
		switch {
		case base == "image" && part.FileName() != "":
			if images++; images > 1 {
				f.report("image", "too_long", fmt.Sprintf("must be one image: there are %d or more", images), nil)
				return nil, f.err()
			}
			f.beside("image", data)
		case base == "mask" && part.FileName() != "":
			if f.uploads["mask"] != nil {
				f.report("mask", "too_long", "must be one mask: there are 2 or more", nil)
				return nil, f.err()
			}
			f.beside("mask", data)
		case part.FileName() != "":
			f.values[name] = json.RawMessage(`"(a file)"`)
		case !utf8.Valid(data):
			return nil, &failure{kind: badBody, err: errors.New("a field of the form is not UTF-8")}
		case isList:
			lists[base] = append(lists[base], string(data))
		case isJSONList(data) && !strings.HasPrefix(strings.TrimPrefix(name, "negative_"), "prompt"): // a prompt is a text, whatever it looks like
			f.values[name] = data
		default:
			if f.values[name], err = json.Marshal(string(data)); err != nil {
				return nil, err
			}
		}
	}
	for name, list := range lists {
		data, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		f.values[name] = data
	}
	return f, nil
}

// beside notes an image that came as a file beside the fields, as that of one of them.
func (f *fields) beside(name string, data []byte) {
	if f.uploads == nil {
		f.uploads = map[string][]byte{}
	}
	f.uploads[name], f.values[name] = data, json.RawMessage(`"(a file)"`)
}

func isJSONList(data []byte) bool { return bytes.HasPrefix(data, []byte("[")) && json.Valid(data) }
