package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// sdScripts is the field of scripts that are always on.
const sdScripts = "alwayson_scripts"

// sdControlNet is the one of them that is here: the extension sd-webui-controlnet.
const sdControlNet = "controlnet"

// sdUnit is a unit of the extension as it came.
type sdUnit struct {
	place []any // in the body
	raw   json.RawMessage
}

// readScripts reads which units there are, those that are enabled, and refuses other scripts.
func (q *sdRequest) readScripts(s *Server) error {
	f := q.fields
	if f.notes != nil {
		unit := f.notes.objectOf(sdUnitDocs, func(one *fields) { (&sdUnitReader{s: s, q: q}).read(one) })
		args := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{"args": {Type: "array", Items: unit}}}
		f.notes.form(sdScripts, &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{sdControlNet: args}})
	}
	raw := f.given(sdScripts)
	var scripts map[string]struct{ Args json.RawMessage }
	if raw != nil && (raw[0] != '{' || json.Unmarshal(raw, &scripts) != nil) {
		f.report(sdScripts, "dict_type", "Input should be a valid dictionary", nil)
		return nil
	}
	for _, script := range slices.Sorted(maps.Keys(scripts)) {
		var units []json.RawMessage
		switch kind := strings.ToLower(script); {
		case kind != sdControlNet && kind != "ip-adapter":
			return sdRefuse(noScript, "always on script", " %s not found", beginning(script))
		case len(scripts[script].Args) > 0 && json.Unmarshal(scripts[script].Args, &units) != nil:
			f.report(sdScripts, "list_type", "Input should be a valid list: args of "+kind, nil)
			return nil
		}
		for i, unit := range units {
			var one fields
			switch text := string(unit); {
			case text == "null" || text == "false" || text == "true": // the extension's own form has switches before the units
			case unit[0] == '{' && json.Unmarshal(unit, &one.values) == nil && !one.boolean("enabled", true):
			default:
				q.units = append(q.units, sdUnit{[]any{sdScripts, script, "args", i}, unit})
			}
		}
	}
	q.fillUnits()
	if len(q.units) > maxControls {
		f.report(sdScripts, "too_long", fmt.Sprintf("Value error, %d units are enabled: must be at most %d", len(q.units), maxControls), nil)
	}
	return nil
}

var sdUnitKey = regexp.MustCompile(`^ControlNet ([0-9]{1,2})$`)

// sdInfotextUnit reads the value of a key such as "ControlNet 0", which says the settings of a unit (the extension's
// internal_controlnet/args.py, parse).
func sdInfotextUnit(text string) map[string]json.RawMessage {
	settings := map[string]json.RawMessage{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(strings.TrimSpace(part), ": ")
		if !found {
			continue
		}
		raw, _ := json.Marshal(value) // a string has a form
		switch {
		case value == "True" || value == "False":
			raw = json.RawMessage(strings.ToLower(value))
		case sdNumber.MatchString(value):
			raw = json.RawMessage(value)
		}
		settings[strings.ReplaceAll(strings.ToLower(key), " ", "_")] = raw
	}
	return settings
}

// fillUnits gives the units what infotext says of them and they do not. Infotext has no images: only img2img has one for
// a unit that the request has not.
func (q *sdRequest) fillUnits() {
	for _, key := range slices.Sorted(maps.Keys(q.infotextUnits)) {
		n, _ := strconv.Atoi(sdUnitKey.FindStringSubmatch(key)[1])
		if n == len(q.units) && q.img2img {
			q.units = append(q.units, sdUnit{[]any{sdScripts, "ControlNet", "args", n}, json.RawMessage("{}")})
		}
		var unit map[string]json.RawMessage
		if n >= len(q.units) || json.Unmarshal(q.units[n].raw, &unit) != nil {
			q.ignored = append(q.ignored, "infotext."+key)
			continue
		}
		for name, raw := range sdInfotextUnit(q.infotextUnits[key]) {
			if _, given := unit[name]; !given {
				unit[name] = raw
			}
		}
		q.units[n].raw, _ = json.Marshal(unit) // of JSON
	}
}

// withoutUnitImages is the field of scripts without the images of units, which an answer does not repeat.
func withoutUnitImages(raw json.RawMessage) json.RawMessage {
	var scripts map[string]map[string]json.RawMessage
	if json.Unmarshal(raw, &scripts) != nil {
		return raw
	}
	for _, script := range scripts {
		var units []json.RawMessage
		if json.Unmarshal(script["args"], &units) != nil {
			continue
		}
		for i, one := range units {
			var unit map[string]json.RawMessage
			if json.Unmarshal(one, &unit) != nil || unit == nil {
				continue
			}
			for _, name := range []string{"image", "input_image", "mask", "mask_image", "effective_region_mask"} {
				if _, given := unit[name]; given {
					unit[name] = json.RawMessage("null")
				}
			}
			units[i], _ = json.Marshal(unit) // of JSON
		}
		script["args"], _ = json.Marshal(units)
	}
	out, err := json.Marshal(scripts)
	if err != nil {
		return raw
	}
	return out
}
