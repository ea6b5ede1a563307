package server

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
)

// maxLoRAs is how many adapters a request may have.
const maxLoRAs = 32

// loraForms are how a body names an adapter.
var loraForms = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
	{Type: "string", Description: `"NAME" or "NAME:STRENGTH"`, Examples: []any{"pixel-art", "pixel-art:0.8"}},
	{
		Type: "object", Required: []string{"name"}, PropertyOrder: []string{"name", "strength"},
		Properties: map[string]*jsonschema.Schema{
			"name": {Type: "string"},
			"strength": {
				AnyOf:       []*jsonschema.Schema{{Type: "number"}, {Type: "string"}, {Type: "null"}},
				Description: `1 if absent. A string may name parts of the model, as "unet=0.8,te=0.5".`,
			},
		},
	},
}}

// loras reads a list of adapters by their names in a folder: each "NAME" or "NAME:STRENGTH", or an object with name and
// strength, a number or what lora.ParseStrengths reads. A name that is not there is answered with those that are.
func (f *fields) loras(name, folder string) (list []sdxl.LoRA) {
	f.notes.items(name, 0, maxLoRAs, loraForms)
	for i, raw := range f.items(name, maxLoRAs) {
		f.item(name, i, raw, "string_type", "string", func(one *fields) {
			l, err := parseLoRA(raw, folder)
			if err != nil {
				one.report(name, "value_error", "Value error, "+err.Error(), nil)
				one.problems[0].logged = "Value error, no adapter, or no strength of one" // err quotes the client
				return
			}
			list = append(list, l)
		})
	}
	return list
}

func parseLoRA(raw json.RawMessage, folder string) (l sdxl.LoRA, err error) {
	var name, strength string
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &name); err != nil {
			return l, errors.New("must be UTF-8 text")
		}
		name, strength, _ = strings.Cut(name, ":")
	} else {
		var object struct {
			Name     *string
			Strength json.RawMessage
		}
		if json.Unmarshal(raw, &object) != nil || object.Name == nil {
			return l, errors.New(`must be "NAME", "NAME:STRENGTH" or {"name": NAME, "strength": STRENGTH}`)
		}
		name, strength = *object.Name, string(object.Strength)
		if len(object.Strength) > 0 && object.Strength[0] == '"' {
			if err := json.Unmarshal(object.Strength, &strength); err != nil {
				return l, errors.New("strength must be UTF-8 text")
			}
		}
		if strength == "null" {
			strength = ""
		}
	}
	if folder == "" {
		return l, errors.New("this server has no folder of adapters (-lora-dir)")
	}
	if l.Path, err = lora.Find(folder, name); err != nil {
		var unknown *lora.FolderError
		if errors.As(err, &unknown) {
			unknown.Folder = "adapters" // where the folder lies is nobody's business
			return l, err
		}
		return l, errors.New("the server's folder of adapters can't be read")
	}
	l.Strengths, err = lora.ParseStrengths(strength)
	return l, err
}
