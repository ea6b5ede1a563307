package server

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// unheeded are fields of OpenAI's that mean nothing here, with the values that they may have; none is any string. Where
// a field asks for nothing by a value, that is the second.
var unheeded = []struct {
	name    string
	values  []string
	nothing string
}{
	{"quality", []string{"auto", "low", "medium", "high", "hd", "standard"}, "auto"},
	{"background", []string{"transparent", "opaque", "auto"}, ""},
	{"moderation", []string{"low", "auto"}, ""},
	{"style", []string{"vivid", "natural"}, ""},
	{"input_fidelity", []string{"high", "low"}, ""},
	{"user", nil, ""},
}

var sizeText = regexp.MustCompile(`^([0-9]{1,6})x([0-9]{1,6})$`)

// openAISize reads the field size as width and height. Of an edit, whose image has a size, it gives the text; "" is none.
func openAISize(f *fields, route openAIRoute) string {
	text := f.optionalText("size")
	if text == nil || *text == "auto" {
		return ""
	}
	sides := sizeText.FindStringSubmatch(*text)
	switch {
	case sides == nil:
		f.report("size", "value_error", `Value error, must be "auto" or WIDTHxHEIGHT, as "1024x1024"`, nil)
	case route == edit:
		return *text
	case f.given("width") != nil || f.given("height") != nil:
		f.report("size", "value_error", `Value error, must be "auto" or left out beside width and height`, nil)
	default:
		f.set("width", json.RawMessage(trimZeros(sides[1])))
		f.set("height", json.RawMessage(trimZeros(sides[2])))
	}
	return ""
}

// trimZeros makes digits a number of JSON, which begins with no zero.
func trimZeros(digits string) string {
	if digits = strings.TrimLeft(digits, "0"); digits == "" {
		return "0"
	}
	return digits
}

// readStream reads whether the images are streamed, and how.
func (q *openAIRequest) readStream(f *fields) {
	q.stream = f.boolean("stream", false)
	q.partial = int(f.integer("partial_images", limits{0, partialImagesMost, 0}, 0))
	switch {
	case q.stream && q.n > 1:
		f.values["n"] = json.RawMessage(strconv.Itoa(q.n))
		f.report("n", "less_than_equal", "Input should be 1 with stream", nil)
		f.values["n"] = json.RawMessage("1")
	case !q.stream && q.partial > 0:
		q.partial = 0
		q.ignore("partial_images", "partial_images: there are none without stream")
	}
}

// readUnheeded reads the fields that have no effect.
func (q *openAIRequest) readUnheeded(f *fields) {
	for _, u := range unheeded {
		var value string
		if u.values == nil {
			if text := f.optionalText(u.name); text != nil {
				value = *text
			}
		} else {
			value = f.choice(u.name, u.values)
		}
		switch {
		case value == "" || value == u.nothing:
		case u.name == "background" && value != "transparent": // which every image is
		case u.name == "background":
			q.ignore(u.name, "background: images are opaque")
		default:
			q.ignore(u.name, u.name+" has no effect")
		}
	}
}

// readCompression makes output_compression output_quality, unless there is one. PNG has neither.
func (q *openAIRequest) readCompression(f *fields) {
	const name, own = "output_compression", "output_quality"
	if format := f.given("output_format"); format == nil || string(format) == `"png"` {
		for _, field := range []string{name, own} {
			if f.given(field) != nil {
				f.percent(field)
				q.ignore(field, field+" has no effect on PNG, which loses nothing")
			}
		}
		return
	}
	if f.given(name) == nil {
		return
	}
	quality := max(1, f.percent(name)) // no format has a quality of 0
	if f.given(own) == nil {
		f.set(own, json.RawMessage(strconv.FormatUint(quality, 10)))
	} else {
		q.ignore(name, name+" has no effect beside "+own)
	}
}

// percent reads a whole number of a field that is there.
func (f *fields) percent(name string) uint64 {
	v, _ := f.wholeNumber(name, new(big.Int), 100, 0, nil)
	if v == nil {
		return 0
	}
	return v.Uint64()
}

func (q *openAIRequest) ignore(field, why string) {
	q.ignored, q.warnings = append(q.ignored, field), append(q.warnings, why)
}
