package controlnet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// File is a ControlNet in one file.
type File struct {
	kernels.Source        // its tensors under diffusers' names, without Lora's
	Base           bool   // what it lacks, or adds to, is a UNet's: see Over
	Difference     bool   // its tensors that the UNet has are added to the UNet's
	Lora           []Lora // products that are added to the UNet's tensors

	stored kernels.Source // the file itself
}

// Lora is a product of a Control-LoRA.
type Lora struct {
	Tensor   string // that it is added to, under diffusers' name
	Up, Down string // in the file
}

// prefixes are what the names of a file may begin with.
var prefixes = []string{"control_model.", "controlnet."}

const (
	hintBlock  = "input_hint_block."
	loraMark   = "lora_controlnet"
	difference = "difference"
)

// ReadFile finds a ControlNet's tensors in a file of diffusers' or original names, plain or with a prefix. It reads no
// data.
func ReadFile(src kernels.Source) (*File, error) {
	f := &File{stored: src}
	byName := map[string]string{} // the file's name, by that without the prefix
	for _, name := range src.Names() {
		if strings.HasPrefix(name, "lllite_") {
			return nil, errors.New("the file is a ControlNet-LLLite, which patches the UNet's attention: must be a ControlNet or a Control-LoRA")
		}
		short := name
		for _, p := range prefixes {
			short = strings.TrimPrefix(short, p)
		}
		switch short {
		case loraMark:
			f.Base = true
			continue
		case difference:
			f.Base, f.Difference = true, true
			continue
		}
		if first, twice := byName[short]; twice {
			return nil, fmt.Errorf("tensors %s and %s both stand for %s", first, name, short)
		}
		byName[short] = name
	}
	rename := func(name string) string { return name }
	if slices.ContainsFunc(slices.Collect(maps.Keys(byName)), func(name string) bool { return strings.HasPrefix(name, hintBlock) }) {
		layout := layoutOf(byName)
		rename = func(name string) string { return diffusersName(layout, name) }
	}
	names := map[string]string{} // diffusers' name, by the file's
	for _, short := range slices.Sorted(maps.Keys(byName)) {
		name := byName[short]
		if module, ok := strings.CutSuffix(short, ".up"); ok && f.Base {
			f.Lora = append(f.Lora, Lora{rename(module + ".weight"), name, byName[module+".down"]})
			continue
		}
		if _, ok := strings.CutSuffix(short, ".down"); ok && f.Base {
			continue
		}
		names[name] = rename(short)
	}
	f.Source = weights.Rename(src, func(name string) string { return names[name] })
	return f, nil
}

// layoutOf reads the levels from original names.
func layoutOf(names map[string]string) singlefile.UNetLayout {
	has := func(prefix string) bool {
		for name := range names {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
	l := singlefile.UNetLayout{Layers: []int{0}}
	for n := 1; has(fmt.Sprintf("input_blocks.%d.", n)); n++ {
		if has(fmt.Sprintf("input_blocks.%d.0.op.", n)) {
			l.Layers = append(l.Layers, 0)
			continue
		}
		l.Layers[len(l.Layers)-1]++
	}
	l.UpAttention = make([]bool, len(l.Layers))
	return l
}

// diffusersName is diffusers' name of a tensor in original names; one that has none stays as it is.
func diffusersName(l singlefile.UNetLayout, name string) string {
	if rest, ok := strings.CutPrefix(name, hintBlock); ok {
		number, kind, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(number)
		const last = 14
		switch {
		case err != nil || n%2 != 0 || n > last:
			return name
		case n == 0:
			return "controlnet_cond_embedding.conv_in." + kind
		case n == last:
			return "controlnet_cond_embedding.conv_out." + kind
		}
		return fmt.Sprintf("controlnet_cond_embedding.blocks.%d.%s", n/2-1, kind)
	}
	if rest, ok := strings.CutPrefix(name, "zero_convs."); ok {
		number, kind, _ := strings.Cut(rest, ".0.")
		return fmt.Sprintf("controlnet_down_blocks.%s.%s", number, kind)
	}
	if kind, ok := strings.CutPrefix(name, "middle_block_out.0."); ok {
		return "controlnet_mid_block." + kind
	}
	if to, ok := l.Diffusers(name); ok {
		return to
	}
	return name
}
