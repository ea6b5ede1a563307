package server

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/controlnet/preprocess"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// maxControls is how many ControlNets, T2I-Adapters or IP-Adapters a request may have.
const maxControls = 16

// scales is what a scale may be. The models set no limit; far above what anyone asks for, arithmetic overflows.
var scales = interval{min: -1000, max: 1000}

var controlDocs = []fieldDoc{
	{"model", "A name of controls of GET /v1/options: its path in the server's folder, with or without the extension."},
	{"image", "The control image, or what the preprocessor makes one of, as the id of an image or in base64. It is resized to the result's size."},
	{"scale", "controlnet_conditioning_scale; 1 if absent."},
	{"start", "The fraction of the steps at which it begins."},
	{"end", "The fraction of the steps at which it ends, above start."},
	{"mode", "Of a union, the kind of the image: a name of control_modes of GET /v1/options, or its number."},
	{"preprocessor", "What makes the control image: a name of control_preprocessors of GET /v1/options, with numbers after colons or not, as canny:100:200. " +
		"Absent, or none, the image is the control image."},
	{"resize", "How the image alone gets the result's size; absent, it goes with the image that the request begins with, or is stretched."},
	{"guess_mode", "The negative side of guidance is not steered, and the first levels less."},
}

var t2iAdapterDocs = []fieldDoc{
	{"model", "A name of t2i_adapters of GET /v1/options."},
	{"image", "The image that it steers by, as the id of an image or in base64. It is resized to the result's size."},
	{"scale", "adapter_conditioning_scale; 1 if absent."},
	{"resize", "As of controls."},
}

// steered reports whether a request has what is made for a base.
func (f *fields) steered() bool {
	return slices.ContainsFunc([]string{"control", "controls", "t2i_adapters", "ip_adapters"}, func(name string) bool {
		raw := f.given(name)
		return raw != nil && string(raw) != "[]"
	})
}

// controls reads the ControlNets.
func (s *Server) controls(f *fields, in *inputs) (list []sdxl.Control) {
	name := "controls"
	if f.given("control") != nil {
		if f.given(name) != nil {
			f.report("control", "value_error", "Value error, must be absent beside controls, of which it is another name", nil)
		}
		name = "control"
	}
	f.notes.anotherName("control", "controls")
	f.objects(name, maxControls, controlDocs, func(i int, one *fields) {
		c := sdxl.Control{Path: s.controlFiles(weights.ControlNet).required(one, "model")}
		c.Image = in.required(one, "image", fmt.Sprintf("controls[%d].image", i))
		c.Scale = one.optionalNumber("scale", scales)
		before := len(one.problems)
		c.Start = one.number("start", interval{min: 0, max: 1, belowMax: true}, 0)
		if c.End = one.number("end", interval{min: 0, max: 1, aboveMin: true}, 1); c.End <= c.Start && len(one.problems) == before {
			one.report("end", "value_error", fmt.Sprintf("Value error, must be above start, which is %g", c.Start), nil)
		}
		c.Mode = one.controlMode("mode")
		c.Preprocessor = one.preprocessor("preprocessor")
		c.Resize = sdxl.Resize(one.choice("resize", names(sdxl.Resizes())))
		c.GuessMode = one.boolean("guess_mode", false)
		list = append(list, c)
	})
	return list
}

// controlMode reads the kind of a union's control image, a name or a number; "" without one.
func (f *fields) controlMode(name string) string {
	known := slices.Concat(controlnet.Modes...)
	if raw := f.given(name); raw == nil || raw[0] != '"' {
		if n, _ := f.wholeNumber(name, new(big.Int), maxMode, 0, nil); n != nil {
			return n.String()
		}
	}
	f.notes.form(name, &jsonschema.Schema{Type: "string", Examples: values(known)})
	raw := f.given(name)
	if raw == nil || raw[0] != '"' { // reported, unless there is none
		return ""
	}
	text := f.optionalText(name)
	if n, err := strconv.ParseUint(*text, 10, 0); *text != "" && !slices.Contains(known, *text) && (err != nil || n > maxMode) {
		expected := oneOf(known)
		f.report(name, "literal_error", "Input should be "+expected+", or a number", map[string]any{"expected": expected})
	}
	return *text
}

// maxMode is the highest number of a union's kinds of images that a request may name.
const maxMode = 1000

// preprocessor reads what makes a control image; "" is nothing.
func (f *fields) preprocessor(name string) string {
	f.notes.form(name, &jsonschema.Schema{Type: "string", Examples: values(preprocess.Names())})
	text := f.optionalText(name)
	if text == nil || *text == "" || *text == "none" {
		return ""
	}
	if err := preprocess.Check(*text); err != nil {
		f.report(name, "value_error", "Value error, must be one of "+wordList(preprocess.Names())+": "+err.Error(), nil)
		f.problems[len(f.problems)-1].logged = "Value error, no preprocessor" // err quotes the client
		return ""
	}
	return *text
}

// t2iAdapters reads the T2I-Adapters.
func (s *Server) t2iAdapters(f *fields, in *inputs) (list []sdxl.T2IAdapter) {
	f.objects("t2i_adapters", maxControls, t2iAdapterDocs, func(i int, one *fields) {
		a := sdxl.T2IAdapter{Path: s.controlFiles(weights.T2IAdapter).required(one, "model")}
		a.Image = in.required(one, "image", fmt.Sprintf("t2i_adapters[%d].image", i))
		a.Scale = one.optionalNumber("scale", scales)
		a.Resize = sdxl.Resize(one.choice("resize", names(sdxl.Resizes())))
		list = append(list, a)
	})
	return list
}
