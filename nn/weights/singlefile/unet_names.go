package singlefile

import (
	"fmt"
	"strconv"
	"strings"
)

// UNetLayout is the part of a UNet's structure on which its names depend: generative-models counts blocks along the
// whole network, diffusers within a level.
type UNetLayout struct {
	Layers      []int  // residual blocks of each level on the way down; the way up has one more each
	UpAttention []bool // by block of the way up: it has attention
}

// The layouts of the published models.
var (
	BaseLayout    = UNetLayout{Layers: []int{2, 2, 2}, UpAttention: []bool{true, true, false}}
	RefinerLayout = UNetLayout{Layers: []int{2, 2, 2, 2}, UpAttention: []bool{false, true, true, false}}
)

// pair is a module's name in generative-models and in diffusers.
type pair struct{ original, diffusers string }

// unetEnds are the modules outside the blocks.
var unetEnds = []pair{
	{"time_embed.0", "time_embedding.linear_1"}, {"time_embed.2", "time_embedding.linear_2"},
	{"time_embed.cond_proj", "time_embedding.cond_proj"}, // of LCM, which no original code has
	{"label_emb.0.0", "add_embedding.linear_1"}, {"label_emb.0.2", "add_embedding.linear_2"},
	{"input_blocks.0.0", "conv_in"}, {"out.0", "conv_norm_out"}, {"out.2", "conv_out"},
	{"middle_block.1", "mid_block.attentions.0"},
}

// resnetParts are the modules of a residual block.
var resnetParts = []pair{
	{"in_layers.0", "norm1"}, {"in_layers.2", "conv1"}, {"emb_layers.1", "time_emb_proj"},
	{"out_layers.0", "norm2"}, {"out_layers.3", "conv2"}, {"skip_connection", "conv_shortcut"},
}

// Diffusers gives the name that diffusers has for a tensor or a module of generative-models, without a prefix:
// "input_blocks.4.1.proj_in.weight" is down_blocks.1.attentions.0.proj_in.weight of an SDXL base. It is false for names
// that the layout does not have.
func (l UNetLayout) Diffusers(name string) (string, bool) {
	for _, end := range unetEnds {
		if rest, ok := cutModule(name, end.original); ok {
			return end.diffusers + rest, true
		}
	}
	block, n, rest, ok := cutIndex(name)
	if !ok {
		return "", false
	}
	switch block {
	case "middle_block":
		if n == 0 || n == 2 {
			return resnetName("mid_block.resnets."+strconv.Itoa(n/2), rest)
		}
	case "input_blocks":
		return l.inputBlock(n, rest)
	case "output_blocks":
		return l.outputBlock(n, rest)
	}
	return "", false
}

func (l UNetLayout) inputBlock(n int, rest string) (string, bool) {
	for level, layers := range l.Layers {
		first := l.firstInput(level)
		switch {
		case n < first || n > first+layers:
		case n == first+layers:
			inner, ok := cutModule(rest, "0.op")
			if level == len(l.Layers)-1 {
				return "", false
			}
			return fmt.Sprintf("down_blocks.%d.downsamplers.0.conv%s", level, inner), ok
		default:
			return innerName(fmt.Sprintf("down_blocks.%d", level), n-first, rest)
		}
	}
	return "", false
}

func (l UNetLayout) outputBlock(n int, rest string) (string, bool) {
	for up := range l.Layers {
		first, layers := l.firstOutput(up), l.upLayers(up)
		if n < first || n >= first+layers {
			continue
		}
		path := fmt.Sprintf("up_blocks.%d", up)
		if n == first+layers-1 {
			for _, m := range []string{"1.conv", "2.conv"} {
				if inner, ok := cutModule(rest, m); ok {
					return path + ".upsamplers.0.conv" + inner, true
				}
			}
		}
		return innerName(path, n-first, rest)
	}
	return "", false
}

// innerName names what a block of a level holds: a residual block, and attention behind it.
func innerName(path string, layer int, rest string) (string, bool) {
	if inner, ok := cutModule(rest, "0"); ok && inner != "" {
		return resnetName(fmt.Sprintf("%s.resnets.%d", path, layer), inner[1:])
	}
	inner, ok := cutModule(rest, "1")
	return fmt.Sprintf("%s.attentions.%d%s", path, layer, inner), ok
}

func resnetName(path, rest string) (string, bool) {
	for _, p := range resnetParts {
		if inner, ok := cutModule(rest, p.original); ok {
			return path + "." + p.diffusers + inner, true
		}
	}
	return "", false
}

// Original is the reverse of Diffusers.
func (l UNetLayout) Original(name string) (string, bool) {
	for _, end := range unetEnds {
		if rest, ok := cutModule(name, end.diffusers); ok {
			return end.original + rest, true
		}
	}
	if rest, ok := strings.CutPrefix(name, "mid_block.resnets."); ok {
		layer, rest, ok := cutNumber(rest)
		if !ok || layer > 1 {
			return "", false
		}
		return originalResnet(fmt.Sprintf("middle_block.%d", 2*layer), rest)
	}
	block, level, rest, ok := cutIndex(name)
	if !ok || level >= len(l.Layers) {
		return "", false
	}
	part, layer, rest, ok := cutIndex(rest)
	if !ok {
		return "", false
	}
	list, first, layers := "input_blocks", l.firstInput(level), l.Layers[level]
	switch block {
	case "down_blocks":
		if inner, ok := cutModule(rest, "conv"); ok && part == "downsamplers" && layer == 0 {
			return fmt.Sprintf("%s.%d.0.op%s", list, first+layers, inner), true
		}
	case "up_blocks":
		list, first, layers = "output_blocks", l.firstOutput(level), l.upLayers(level)
		if inner, ok := cutModule(rest, "conv"); ok && part == "upsamplers" && layer == 0 {
			position := 1
			if l.UpAttention[level] {
				position = 2
			}
			return fmt.Sprintf("%s.%d.%d.conv%s", list, first+layers-1, position, inner), true
		}
	default:
		return "", false
	}
	switch {
	case layer >= layers:
	case part == "resnets":
		return originalResnet(fmt.Sprintf("%s.%d.0", list, first+layer), rest)
	case part == "attentions":
		return strings.TrimSuffix(fmt.Sprintf("%s.%d.1.%s", list, first+layer, rest), "."), true
	}
	return "", false
}

func originalResnet(path, rest string) (string, bool) {
	for _, p := range resnetParts {
		if inner, ok := cutModule(rest, p.diffusers); ok {
			return path + "." + p.original + inner, true
		}
	}
	return "", false
}

// firstInput is the number of a level's first block; each level but the last ends with a block that halves the image.
func (l UNetLayout) firstInput(level int) int {
	n := 1
	for _, layers := range l.Layers[:level] {
		n += layers + 1
	}
	return n
}

func (l UNetLayout) firstOutput(up int) int {
	n := 0
	for u := range up {
		n += l.upLayers(u)
	}
	return n
}

// upLayers is the residual blocks of a block of the way up.
func (l UNetLayout) upLayers(up int) int { return l.Layers[len(l.Layers)-1-up] + 1 }

// cutModule cuts a module's path off a name; what is left is "" or begins with a dot.
func cutModule(name, module string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(name, module)
	return rest, ok && (rest == "" || rest[0] == '.')
}

// cutIndex splits "list.3.rest"; the rest may be "".
func cutIndex(name string) (list string, n int, rest string, ok bool) {
	list, rest, ok = strings.Cut(name, ".")
	if !ok {
		return "", 0, "", false
	}
	n, rest, ok = cutNumber(rest)
	return list, n, rest, ok
}

// cutNumber splits "3.rest"; a number that is written in another way is none.
func cutNumber(name string) (n int, rest string, ok bool) {
	digits, rest, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(digits)
	return n, rest, err == nil && n >= 0 && strconv.Itoa(n) == digits
}
