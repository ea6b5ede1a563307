package weights

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// StoredSource is a source of tensors that lie in files, a [*File] or a [*Component].
type StoredSource interface {
	kernels.Source
	// Path names the source in errors.
	Path() string
	// Stored returns a tensor's element type by the file's name of it, its shape and its bytes.
	Stored(name string) (dtype string, shape []int, bytes int64, err error)
	// Raw returns a tensor's bytes as they are stored.
	Raw(name string) ([]byte, error)
	// Metadata is the free text beside the tensors.
	Metadata() map[string]string
}

// Names that stand beside the weight of a quantised module, after its path and a dot.
const (
	configName      = "comfy_quant"  // U8: the quantisation's JSON
	weightScale     = "weight_scale" // as comfy_quant has it
	oldWeightScale  = "scale_weight" // as the marker scaled_fp8 has it
	scaledMarker    = "scaled_fp8"   // beside modules; its value says how to multiply with them, not what they hold
	layersKey       = "_quantization_metadata"
	unetPrefix      = "model.diffusion_model."
	maxQuantConfig  = 64 << 10
	defaultRotation = 256
)

// besideWeights are the tensors of a quantised module that its value does not depend on: scales of what is multiplied
// with it, for engines that compute in 8 bits, and the scales themselves.
var besideWeights = []string{configName, weightScale, oldWeightScale, "scale_input", "input_scale", "weight_scale_2"}

// quantConfig is the JSON of a module's comfy_quant tensor, or of its entry in the file's metadata.
type quantConfig struct {
	Format    string `json:"format"`
	Rotated   *bool  `json:"convrot"`
	GroupSize *int   `json:"convrot_groupsize"`
	Params    struct {
		Rotated   bool `json:"convrot"`
		GroupSize int  `json:"convrot_groupsize"`
	} `json:"params"`
}

// group is how many elements of a row are rotated together, 0 if none are. ComfyUI looks into "params" for what the
// object itself lacks.
func (c quantConfig) group() int {
	rotated, size := c.Params.Rotated, c.Params.GroupSize
	if c.Rotated != nil {
		rotated = *c.Rotated
	}
	if c.GroupSize != nil {
		size = *c.GroupSize
	}
	switch {
	case !rotated:
		return 0
	case size == 0 && c.GroupSize == nil:
		return defaultRotation
	}
	return size
}

// quantFormats are the formats of comfy_quant that are read, and the element type of their weights.
var quantFormats = map[string]string{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8_tensorwise": "I8"}

const quantFormatNames = "float8_e4m3fn, float8_e5m2, int8_tensorwise"

// Dequantise returns the weights that a file with scales stands for, under the names of an ordinary checkpoint: float8
// with the marker scaled_fp8 and a scale_weight beside each weight, and float8 or int8 with a comfy_quant beside it (or
// an entry in the file's metadata) and a weight_scale, whose int8 rows may be rotated (convrot). The bookkeeping is
// hidden. A source without any of it is returned as it is.
//
// A weight is its stored number times its scale, computed in float32 as ComfyUI's comfy_kitchen does, and then rounded
// once to float16; it stays float32 where its scale leaves float16's range. It is made when it is read, and kept until
// Release. Errors are a [*FileError]: a format that is not read, and scales or rotations that do not fit the weight.
func Dequantise(src StoredSource) (kernels.Source, error) {
	d := &dequantised{StoredSource: src, weights: map[string]*quantised{}}
	names := src.Names()
	configs, err := quantConfigs(src, names)
	if err != nil {
		return nil, err
	}
	marked := false
	for _, name := range names {
		module, last := cutModule(name)
		switch last {
		case scaledMarker:
			marked = true
		case weightScale, oldWeightScale:
			if _, ok := configs[module]; !ok && has(names, inModule(module, "weight")) {
				configs[module] = quantConfig{} // a scale alone: the weight's own type says what it is
			}
		}
	}
	if len(configs) == 0 && !marked {
		return src, nil
	}
	for module, config := range configs {
		name := inModule(module, "weight")
		if !has(names, name) {
			continue // binding reports it, if the model has it
		}
		if d.weights[name], err = newQuantised(src, names, module, config); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		module, last := cutModule(name)
		_, quantised := configs[module]
		if last == scaledMarker || slices.Contains(besideWeights, last) && (quantised || marked) {
			continue
		}
		d.names = append(d.names, name)
	}
	return d, nil
}

// quantConfigs reads the configurations of all modules, by their path.
func quantConfigs(src StoredSource, names []string) (map[string]quantConfig, error) {
	configs := map[string]quantConfig{}
	if text, ok := src.Metadata()[layersKey]; ok {
		var metadata struct {
			Layers map[string]quantConfig `json:"layers"`
		}
		if err := json.Unmarshal([]byte(text), &metadata); err != nil {
			return nil, &FileError{File: src.Path(), What: fmt.Sprintf("%s is not as ComfyUI writes it", layersKey), Err: err}
		}
		for module, config := range metadata.Layers {
			if !has(names, inModule(module, "weight")) { // some tools leave the prefix out
				module = unetPrefix + module
			}
			configs[module] = config
		}
	}
	for _, name := range names {
		module, last := cutModule(name)
		if last != configName {
			continue
		}
		fail := func(what string, err error, allowed string) error {
			return &FileError{File: src.Path(), Tensor: name, What: what, Err: err, Allowed: allowed}
		}
		dtype, _, size, err := src.Stored(name)
		if err != nil {
			return nil, err
		}
		if dtype != "U8" || size > maxQuantConfig {
			return nil, fail(fmt.Sprintf("%d bytes of %s", size, dtype), nil, fmt.Sprintf("JSON of at most %d bytes as U8", maxQuantConfig))
		}
		text, err := src.Raw(name)
		if err != nil {
			return nil, err
		}
		var config quantConfig
		if err := json.Unmarshal(text, &config); err != nil {
			return nil, fail("not a quantisation's JSON", err, "")
		}
		if config.Format == "" {
			return nil, fail("it has no format", nil, quantFormatNames)
		}
		configs[module] = config
	}
	return configs, nil
}

// newQuantised checks what stands beside a module's weight.
func newQuantised(src StoredSource, names []string, module string, config quantConfig) (*quantised, error) {
	name := inModule(module, "weight")
	fail := func(tensor, allowed, format string, a ...any) error {
		return &FileError{File: src.Path(), Tensor: tensor, What: fmt.Sprintf(format, a...), Allowed: allowed}
	}
	stored, shape, _, err := src.Stored(name)
	if err != nil {
		return nil, err
	}
	q := &quantised{stored: stored, shape: shape, group: config.group()}
	want, known := quantFormats[config.Format]
	switch {
	case config.Format != "" && !known:
		return nil, fail(name, quantFormatNames, "quantised as %s", quote(config.Format))
	case config.Format != "" && stored != want:
		return nil, fail(name, want, "quantised as %s, but stored as %s", config.Format, stored)
	case q.limit() == 0:
		return nil, fail(name, "I8, F8_E4M3, F8_E5M2, F32, F16, BF16", "it has a scale, but is stored as %s", stored)
	}
	if q.group != 0 {
		if err := checkRotation(q); err != nil {
			return nil, fail(name, fmt.Sprintf("4, 16, 64, … %d, of I8 with two dimensions whose second is a multiple of it", maxRotation),
				"rotated in groups of %d, with shape %v of %s", q.group, shape, stored)
		}
	}
	scaleName := inModule(module, weightScale)
	if !has(names, scaleName) {
		scaleName = inModule(module, oldWeightScale)
	}
	switch {
	case has(names, scaleName):
		if q.scales, err = readScales(src, scaleName, shape); err != nil {
			return nil, err
		}
	case stored == "I8":
		return nil, fail(name, "a tensor "+quote(inModule(module, weightScale)), "I8 without its scale")
	default:
		q.scales = []float32{1}
	}
	q.dtype = q.readAs()
	return q, nil
}

// readScales returns the scales of a weight, one of all or one of each row.
func readScales(src StoredSource, name string, weight []int) ([]float32, error) {
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		return nil, err
	}
	n := kernels.Elements(shape)
	perRow := len(weight) > 1 && len(shape) > 0 && shape[0] == weight[0] && n == weight[0]
	if n != 1 && !perRow {
		return nil, &FileError{File: src.Path(), Tensor: name, What: fmt.Sprintf("shape %v beside a weight of %v", shape, weight), Allowed: "one scale, or one for each row"}
	}
	scales := make([]float32, n)
	floats(scales, dtype, data)
	for i, s := range scales {
		if math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return nil, &FileError{File: src.Path(), Tensor: name, What: fmt.Sprintf("scale %d is %v", i, s), Allowed: "finite numbers"}
		}
	}
	return scales, nil
}

// cutModule splits a tensor's name into its module's path and its name there.
func cutModule(name string) (module, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// inModule is the name of a module's tensor.
func inModule(module, last string) string {
	if module == "" {
		return last
	}
	return module + "." + last
}

// has reports whether sorted names have a name.
func has(names []string, name string) bool {
	_, found := slices.BinarySearch(names, name)
	return found
}
