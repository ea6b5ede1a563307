package server

import (
	"context"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// sdUnitDocs are the members of a unit, by the extension's names of them.
var sdUnitDocs = []fieldDoc{
	{"enabled", "False leaves the unit out."},
	{"module", "What makes the control image, a name of GET /controlnet/module_list; none takes the image as it is. Those of image prompts go with an IP-Adapter."},
	{"model", "A name of GET /controlnet/model_list, with a hash in brackets behind it or not: a ControlNet, a T2I-Adapter or an IP-Adapter."},
	{"weight", "How much it counts."},
	{"image", "The image in base64, alone or in a data URL, or an object with image and mask, or of an IP-Adapter a list of them. Of img2img it may be absent: the unit has the first of init_images then."},
	{"mask", "Where it is not all black or all white it takes the place of image, as in the extension."},
	{"resize_mode", "How the image gets the size: Just Resize, Crop and Resize or Resize and Fill, or their numbers from 0 on."},
	{"control_mode", "Balanced; ControlNet is more important, which is guess mode here; My prompt is more important, which is computed as Balanced, with a warning. Or their numbers from 0 on."},
	{"guidance_start", "The fraction of the steps at which it begins, of ControlNets."},
	{"guidance_end", "The fraction of the steps at which it ends, of ControlNets."},
	{"processor_res", "Has no effect: the module works at the size of the result."},
	{"threshold_a", "The module's first number; one beyond its limits is the module's own."},
	{"threshold_b", "The module's second number."},
	{"pixel_perfect", "The module works at the size of the result in any case."},
	{"low_vram", "Has no effect."},
	{"hr_option", "Both passes have it; another is answered 501 where there are two."},
	{"union_control_type", "Of a union, the kind of the image."},
	{"effective_region_mask", "Where an IP-Adapter acts, white; of others it is answered 501."},
	{"advanced_weighting", "Weights of layers are answered 501."},
	{"ipadapter_input", "An embedding in place of the image is answered 501."},
	{"inpaint_crop_input_image", "False has no effect: the image is cut as that of img2img is."},
	{"save_detected_map", "Has no effect: control images are not among those of an answer."},
}

// Words of units, the numbers of which some clients send.
var (
	sdUnitResizes = []string{"Just Resize", "Crop and Resize", "Resize and Fill"}
	sdUnitModes   = []string{"Balanced", "My prompt is more important", "ControlNet is more important"}
	sdUnitPasses  = []string{"Both", "Low res only", "High res only"}
)

// sdOldResizes are names of ways to resize that the extension had before.
var sdOldResizes = map[string]string{
	"Inner Fit (Scale to Fit)": "Crop and Resize", "Outer Fit (Shrink to Fit)": "Resize and Fill", "Scale to Fit (Inner Fit)": "Crop and Resize", "Envelope (Outer Fit)": "Resize and Fill",
}

// sdUnitAliases are names of members that the extension had before, with their names of today, and one of Forge's.
var sdUnitAliases = [][2]string{{"input_image", "image"}, {"mask_image", "mask"}, {"guidance", "guidance_end"}, {"lowvram", "low_vram"}}

// sdUnionTypes are the kinds of a union's images by the extension's names of them.
var sdUnionTypes = map[string]string{
	"Unknown": "", "OpenPose": "openpose", "Depth": "depth", "Soft Edge": "softedge", "Hard Edge": "canny", "Normal Map": "normal", "Segmentation": "segment",
	"Tile": "tile", "Inpaint": "inpaint",
}

// sdUnitReader reads units into the job of a request.
type sdUnitReader struct {
	s   *Server
	ctx context.Context
	q   *sdRequest
	err error // not of a field's value

	total inputTotal // of the units' images
}

// sdUnits reads the units, once it is known what img2img begins with.
func (s *Server) sdUnits(ctx context.Context, q *sdRequest) error {
	u := &sdUnitReader{s: s, ctx: ctx, q: q}
	f := q.fields
	for _, unit := range q.units {
		f.members(unit.raw, unit.place, u.read)
		if u.err != nil {
			return u.err
		}
	}
	q.units = nil
	if raw := f.given(sdScripts); raw != nil {
		f.values[sdScripts] = withoutUnitImages(raw)
	}
	q.ignored = append(q.ignored, f.strange...)
	return f.err()
}

// read reads the members of a unit, and puts what they ask for into the job.
func (u *sdUnitReader) read(one *fields) {
	for _, pair := range sdUnitAliases {
		one.rename(pair[0], pair[1])
	}
	one.boolean("enabled", true)
	c, module := sdxl.Control{}, one.module("module")
	family := weights.ControlNet
	c.Path, family = u.model(one, slices.ContainsFunc(sdImagePrompts, func(m sdModule) bool { return m.name == module.name }))
	c.Scale = new(one.number("weight", interval{min: 0, max: 2}, 1))
	c.Resize = sdResizes[one.wordOrNumber("resize_mode", sdUnitResizes, 1)]
	before := len(one.problems)
	c.Start = one.number("guidance_start", interval{min: 0, max: 1}, 0)
	if c.End = one.number("guidance_end", interval{min: 0, max: 1}, 1); c.End <= c.Start && len(one.problems) == before {
		one.report("guidance_end", "value_error", fmt.Sprintf("Value error, must be above guidance_start, which is %g", c.Start), nil)
	}
	level := interval{min: -1, max: 1e6}
	c.Preprocessor = module.preprocessor([2]float64{one.number("threshold_a", level, -1), one.number("threshold_b", level, -1)})
	u.controlMode(one, &c, family)
	c.Mode = sdUnionTypes[one.choice("union_control_type", []string{"Unknown", "OpenPose", "Depth", "Soft Edge", "Hard Edge", "Normal Map", "Segmentation", "Tile", "Inpaint"})]
	u.withoutEffect(one, module)
	u.refuse(one, family, c)
	images := one.unitImages()
	region := one.optionalText("effective_region_mask")
	if one.notes != nil || u.err != nil || len(one.problems) > 0 {
		return
	}
	u.put(one, family, c, images, region)
}

// wordOrNumber reads one of a few words, or the number of one from 0 on, and gives the number.
func (f *fields) wordOrNumber(name string, words []string, otherwise int) int {
	f.notes.words(name, words)
	raw := f.given(name)
	if raw == nil {
		return otherwise
	}
	if raw[0] != '"' {
		n, _ := f.wholeNumber(name, new(big.Int), uint64(len(words)-1), 0, nil)
		if n == nil {
			return otherwise
		}
		return int(n.Int64())
	}
	text := *f.optionalText(name)
	if newer := sdOldResizes[text]; newer != "" {
		text = newer
	}
	if i := slices.Index(words, text); i >= 0 {
		return i
	}
	f.choice(name, words)
	return otherwise
}

var sdModelHash = regexp.MustCompile(` \[[0-9a-f]{8,10}\]$`)

// model reads the name of a model, and tells of what kind it is.
func (u *sdUnitReader) model(one *fields, prompts bool) (path string, family weights.Family) {
	const name = "model"
	one.notes.form(name, &jsonschema.Schema{Type: "string"})
	text := or(one.optionalText(name), "None")
	if one.notes != nil || len(one.problems) > 0 {
		return "", weights.ControlNet
	}
	files := u.s.controlFiles(weights.UnknownFamily)
	files.what = "ControlNet or T2I-Adapter"
	if prompts {
		files = u.s.ipAdapterFiles(weights.IPAdapter)
	}
	if text == "" || text == "None" {
		names, err := files.all()
		if err != nil {
			u.err = err
			return "", files.family
		}
		one.report(name, "value_error", fmt.Sprintf("Value error, must be the name of a %s; there are: %s", files.what, wordList(names)), nil)
		return "", files.family
	}
	path = files.find(one, name, sdModelHash.ReplaceAllString(text, ""))
	if prompts {
		return path, weights.IPAdapter
	}
	switch family := u.s.kinds.of(path); family {
	case weights.ControlNet, weights.T2IAdapter:
		return path, family
	case weights.UnknownFamily: // whoever opens it says what is wrong
		return path, weights.ControlNet
	default:
		one.report(name, "value_error", fmt.Sprintf("Value error, it is of the kind %s: must be a %s", family, files.what), nil)
		return "", weights.ControlNet
	}
}

// controlMode reads which side counts more. The extension's modes but Balanced weigh the levels, and one of them leaves
// out the negative side, as diffusers' guess mode does with other weights.
func (u *sdUnitReader) controlMode(one *fields, c *sdxl.Control, family weights.Family) {
	const name = "control_mode"
	mode := one.wordOrNumber(name, sdUnitModes, 0)
	at := pathText(one.path) + "." + name
	switch {
	case mode == 0 || one.notes != nil:
	case family != weights.ControlNet:
		u.q.ignored = append(u.q.ignored, at)
	case mode == 1:
		u.q.warnings = append(u.q.warnings, at+`: goxl weighs no levels on both sides of guidance: it is computed as "Balanced"`)
	default:
		c.GuessMode = true
		u.q.warnings = append(u.q.warnings, at+": it is computed as diffusers' guess mode, whose levels count from 0.1 to 1")
	}
}

// withoutEffect reads the members of which nothing comes, and names those that ask for something.
func (u *sdUnitReader) withoutEffect(one *fields, module sdModule) {
	perfect := one.boolean("pixel_perfect", false)
	size := one.number("processor_res", interval{min: -1, max: 1e6}, -1)
	for _, m := range []struct {
		name string
		asks bool
	}{
		{"processor_res", module.resolution && !perfect && size > 0 && int(size) != min(u.q.size.Width, u.q.size.Height)},
		{"low_vram", one.boolean("low_vram", false)},
		{"inpaint_crop_input_image", !one.boolean("inpaint_crop_input_image", true) && u.q.job.Request.MaskPadding != nil},
		{"save_detected_map", one.boolean("save_detected_map", false)},
	} {
		if m.asks && one.notes == nil {
			u.q.ignored = append(u.q.ignored, pathText(one.path)+"."+m.name)
		}
	}
}

// refuse is about what the library has not.
func (u *sdUnitReader) refuse(one *fields, family weights.Family, c sdxl.Control) {
	pass := one.wordOrNumber("hr_option", sdUnitPasses, 0)
	for _, m := range []struct {
		name, what string
		is         bool
	}{
		{"guidance_start", "fraction at which image prompts and T2I-Adapters begin", family != weights.ControlNet && c.Start > 0},
		{"guidance_end", "fraction at which image prompts and T2I-Adapters end", family != weights.ControlNet && c.End < 1},
		{"hr_option", "unit of one pass alone", pass > 0 && u.q.job.Request.Hires != nil},
		{"effective_region_mask", "region of a ControlNet or T2I-Adapter", family != weights.IPAdapter && one.has("effective_region_mask")},
		{"advanced_weighting", "weights of layers", one.has("advanced_weighting")},
		{"ipadapter_input", "embedding in place of an image", one.has("ipadapter_input")},
	} {
		if m.is && u.err == nil && one.notes == nil {
			u.err = &failure{kind: notImplemented, detail: fmt.Sprintf("%s.%s: goxl has no %s", pathText(one.path), m.name, m.what)}
		}
	}
}

// has reports whether a field is given, and no empty text.
func (f *fields) has(name string) bool {
	raw := f.given(name)
	return raw != nil && strings.TrimSpace(string(raw)) != `""`
}
