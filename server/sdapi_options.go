package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// sdSettings are what A1111's options say, as far as they act on a request.
type sdSettings struct {
	name     string // of the server's models
	model    engine.Model
	clipSkip int // layers, as sdxl.Request has it
	format   blob.Type
	quality  int
	previews bool
	every    int // steps between previews; 0 is none
	emphasis sdxl.Emphasis
	eta      float64 // of DDIM, where the request gives none
	crop     [2]int  // top, left
	scores   [2]*float64
}

// sdOption is an option that acts here.
type sdOption struct {
	name      string
	otherwise func(s *Server) any
	read      func(s *Server, f *fields, name string, v *sdSettings) error // what is wrong is reported, or the error
}

func sdAlways(v any) func(*Server) any { return func(*Server) any { return v } }

var sdOptions = []sdOption{
	{"sd_model_checkpoint", func(s *Server) any { return s.config.allModels()[0].Name }, func(s *Server, f *fields, name string, v *sdSettings) (err error) {
		if text := f.optionalText(name); text != nil {
			v.name, v.model, err = s.sdModel(name, *text)
		}
		return err
	}},
	{"sd_vae", sdAlways("Automatic"), func(_ *Server, f *fields, name string, _ *sdSettings) error {
		f.choice(name, []string{"Automatic", "None"})
		return nil
	}},
	{"CLIP_stop_at_last_layers", sdAlways(1), func(_ *Server, f *fields, name string, v *sdSettings) error {
		// A1111 counts from the last layer, of which SDXL always skips one.
		v.clipSkip = max(0, int(f.integer(name, limits{1, 12, 0}, 1))-2)
		return nil
	}},
	{"samples_format", sdAlways("png"), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.format = sdFormats[f.choice(name, slices.Sorted(maps.Keys(sdFormats)))]
		return nil
	}},
	{"jpeg_quality", sdAlways(80), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.quality = int(f.integer(name, limits{1, 100, 0}, 80))
		return nil
	}},
	{"live_previews_enable", sdAlways(true), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.previews = f.boolean(name, true)
		return nil
	}},
	{"show_progress_every_n_steps", sdAlways(10), func(_ *Server, f *fields, name string, v *sdSettings) error {
		if n, _ := f.wholeNumber(name, big.NewInt(-1), MostSteps, 0, nil); n != nil {
			v.every = max(0, int(n.Int64())) // -1 is at the end, which the answer is
		}
		return nil
	}},
	{"emphasis", sdAlways("Original"), func(_ *Server, f *fields, name string, v *sdSettings) error {
		if v.emphasis = sdxl.EmphasisOriginal; f.choice(name, []string{"Original", "No norm"}) == "No norm" {
			v.emphasis = sdxl.EmphasisNoNorm
		}
		return nil
	}},
	{"eta_ddim", sdAlways(0), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.eta = f.number(name, interval{min: 0, max: 1}, 0)
		return nil
	}},
	{"sdxl_crop_top", sdAlways(0), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.crop[0] = int(f.integer(name, limits{0, maxCoord, 0}, 0))
		return nil
	}},
	{"sdxl_crop_left", sdAlways(0), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.crop[1] = int(f.integer(name, limits{0, maxCoord, 0}, 0))
		return nil
	}},
	{"sdxl_refiner_high_aesthetic_score", sdAlways(6), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.scores[0] = f.optionalNumber(name, interval{min: -maxScore, max: maxScore})
		return nil
	}},
	{"sdxl_refiner_low_aesthetic_score", sdAlways(2.5), func(_ *Server, f *fields, name string, v *sdSettings) error {
		v.scores[1] = f.optionalNumber(name, interval{min: -maxScore, max: maxScore})
		return nil
	}},
}

// sdFormats are the values of samples_format.
var sdFormats = map[string]blob.Type{"png": blob.PNG, "jpg": blob.JPEG, "jpeg": blob.JPEG, "webp": blob.WebP}

// sdFixed are options with the one value that they have here. Another one is not honoured.
var sdFixed = map[string]any{
	"randn_source": "CPU", "eta_noise_seed_delta": 0.0, "initial_noise_multiplier": 1.0, "img2img_fix_steps": false, "img2img_color_correction": false,
	"enable_pnginfo": true,
}

// sdModelName is A1111's name of a model: its title, which is its name here, without the ending of a file.
func sdModelName(title string) string {
	return strings.TrimSuffix(strings.TrimSuffix(title, ".safetensors"), ".ckpt")
}

// sdModel finds a model by its title or name, or the first one whose refiner it is; field is what named it.
func (s *Server) sdModel(field, name string) (of string, model engine.Model, err error) {
	is := func(title string) bool { return title != "" && (name == title || name == sdModelName(title)) }
	all := s.config.allModels()
	for _, m := range all {
		if is(m.Name) {
			return m.Name, engine.Base, nil
		}
	}
	for _, m := range all {
		if is(m.refinerName()) {
			return m.Name, engine.Refiner, nil
		}
	}
	return "", "", sdRefuse(badValue, "Model not found: "+field, " is %q: must be one of %s", beginning(name), strings.Join(s.modelNames(), ", "))
}

// sdReadOptions reads the options of an object. Those that it gives and that nothing comes of are named in ignored.
// What is wrong is reported to f under loc, or the error.
func (s *Server) sdReadOptions(f *fields, loc []any, given map[string]json.RawMessage, v *sdSettings) (ignored []string, err error) {
	for _, o := range sdOptions {
		raw, ok := given[o.name]
		if !ok {
			continue
		}
		one := &fields{values: map[string]json.RawMessage{o.name: raw}, whole: raw}
		if err := o.read(s, one, o.name, v); err != nil {
			return nil, err
		}
		for _, p := range one.problems {
			p.Loc = append(slices.Clone(loc), p.Loc[1:]...)
			f.problems = append(f.problems, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.ContainsFunc(sdOptions, func(o sdOption) bool { return o.name == name }) {
			continue
		}
		var value any
		fixed, known := sdFixed[name]
		if err := json.Unmarshal(given[name], &value); err != nil || !known || !reflect.DeepEqual(value, fixed) {
			ignored = append(ignored, name)
		}
	}
	return ignored, nil
}

// sdSettings are the options as a user has set them.
func (s *Server) sdSettings(owner string) (sdSettings, error) {
	v := sdSettings{
		name: s.config.allModels()[0].Name, model: engine.Base, format: blob.PNG, quality: 80, previews: true, every: 10, emphasis: sdxl.EmphasisOriginal,
	}
	s.sdapi.mu.Lock()
	set := maps.Clone(s.sdapi.options[owner])
	s.sdapi.mu.Unlock()
	_, err := s.sdReadOptions(&fields{}, nil, set, &v) // which were read before
	return v, err
}

// sdKeepOptions sets a user's options that were read without an error.
func (s *Server) sdKeepOptions(owner string, given map[string]json.RawMessage) {
	s.sdapi.mu.Lock()
	defer s.sdapi.mu.Unlock()
	for _, o := range sdOptions {
		if raw, ok := given[o.name]; ok {
			if s.sdapi.options == nil {
				s.sdapi.options = map[string]map[string]json.RawMessage{}
			}
			if s.sdapi.options[owner] == nil {
				s.sdapi.options[owner] = map[string]json.RawMessage{}
			}
			if delete(s.sdapi.options[owner], o.name); string(raw) != "null" {
				s.sdapi.options[owner][o.name] = raw
			}
		}
	}
}

// sdGetOptions answers GET /sdapi/v1/options with those that act here, and those that have one value.
func (s *Server) sdGetOptions(x *exchange) error {
	answer := map[string]any{}
	maps.Copy(answer, sdFixed)
	for _, o := range sdOptions {
		answer[o.name] = o.otherwise(s)
	}
	s.sdapi.mu.Lock()
	for name, raw := range s.sdapi.options[x.owner()] {
		answer[name] = raw
	}
	s.sdapi.mu.Unlock()
	return x.reply(http.StatusOK, answer)
}

// sdSetOptions answers POST /sdapi/v1/options. What it sets holds for this user's requests of this API,
// until the server ends.
func (s *Server) sdSetOptions(x *exchange) error {
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	var v sdSettings
	ignored, err := s.sdReadOptions(f, []any{"body"}, f.values, &v)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	s.sdKeepOptions(x.owner(), f.values)
	sdIgnored(x, ignored)
	return x.reply(http.StatusOK, nil)
}

// sdIgnored names in the answer's header what the request has and nothing came of.
func sdIgnored(x *exchange, names []string) {
	var list []string
	for _, name := range names {
		list = append(list, strings.Map(func(r rune) rune { // a client may name a field anything
			if r < ' ' || r > '~' || r == ',' {
				return '?'
			}
			return r
		}, beginning(name)))
	}
	const most = 64
	if n := len(list); n > most {
		list = append(list[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(list) > 0 {
		x.Header().Set("X-Goxl-Ignored", strings.Join(list, ", "))
	}
}
