package server

import (
	"encoding/json"
	"fmt"
	"image"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// mostPromptImages is how many images an IP-Adapter may read.
const mostPromptImages = mostInputs

var ipAdapterDocs = []fieldDoc{
	{"model", "A name of ip_adapters of GET /v1/options."},
	{"encoder", "The image encoder that the adapter was trained with, a name of image_encoders of GET /v1/options. Absent, it is the one that lies beside the adapter."},
	{"image", "The image that is read, as the id of an image or in base64."},
	{"images", "Several of them, read as one sequence, in place of image."},
	{"scale", "How much the images count; 1 if absent."},
	{"scales", `In place of scale, one for each block, as diffusers' set_ip_adapter_scale takes them: {"up": {"block_0": [0, 1, 0]}}.`},
	{"mask", "Where the adapter acts: white is. It goes with one image."},
}

// ipAdapters reads the image prompts.
func (s *Server) ipAdapters(f *fields, in *inputs) (list []sdxl.IPAdapter) {
	f.objects("ip_adapters", maxControls, ipAdapterDocs, func(i int, one *fields) {
		role := func(name string) string { return fmt.Sprintf("ip_adapters[%d].%s", i, name) }
		a := sdxl.IPAdapter{Path: s.ipAdapterFiles(weights.IPAdapter).required(one, "model")}
		a.Encoder = s.ipAdapterFiles(weights.ImageEncoder).optional(one, "encoder")
		a.Images = in.promptImages(one, role)
		a.Scale = one.optionalNumber("scale", scales)
		if a.Scales = one.blockScales("scales"); a.Scale != nil && a.Scales != nil {
			one.report("scale", "value_error", "Value error, must be absent beside scales", nil)
		}
		if a.Mask = in.optional(one, "mask", role("mask")); a.Mask != nil && len(a.Images) > 1 {
			one.report("mask", "value_error", "Value error, must be with one image: others are adapters of their own, of the same model", nil)
		}
		list = append(list, a)
	})
	return list
}

// promptImages reads the images of an adapter.
func (in *inputs) promptImages(f *fields, role func(string) string) (list []image.Image) {
	of := func(k int) string { return fmt.Sprintf("%s[%d]", role("images"), k) }
	f.notes.items("images", 1, mostPromptImages, &jsonschema.Schema{Type: "string"})
	several := f.given("images")
	switch first := in.optional(f, "image", of(0)); {
	case f.notes != nil:
	case f.given("image") != nil && several != nil:
		f.report("image", "value_error", "Value error, must be absent beside images", nil)
	case f.given("image") != nil:
		return []image.Image{first}
	case several == nil:
		f.report("image", "missing", "Field required", nil)
	case string(several) == "[]":
		f.tooShort("images", 1, 0)
	}
	for k, raw := range f.items("images", mostPromptImages) {
		f.item("images", k, raw, "string_type", "string", func(one *fields) { list = append(list, in.required(one, "images", of(k))) })
	}
	return list
}

// blockScales reads scales of a UNet's blocks; what they may be depends on the UNet.
func (f *fields) blockScales(name string) (s sdxl.BlockScales) {
	f.notes.form(name, &jsonschema.Schema{Type: "object"})
	raw := f.given(name)
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		f.report(name, "dict_type", "Input should be a valid dictionary", nil)
	}
	return s
}
