package singlefile

import (
	"fmt"
	"strings"
)

// VAELayout is the number of levels of an autoencoder: its original code counts them from the finest to the coarsest on
// both sides, diffusers along the network.
type VAELayout int

// VAELayoutOf reads the layout from a VAE's tensors, sorted and in either naming.
func VAELayoutOf(names []string) VAELayout {
	n := 0
	for _, list := range []string{"encoder.down", "decoder.up", "encoder.down_blocks", "decoder.up_blocks"} {
		n = max(n, count(names, list))
	}
	return VAELayout(n)
}

// vaeParts are the modules of a level and of the middle.
var vaeParts = []pair{
	{"nin_shortcut", "conv_shortcut"}, {"norm1", "norm1"}, {"norm2", "norm2"}, {"conv1", "conv1"}, {"conv2", "conv2"},
}

// vaeAttention are the modules of the middle's attention. Later names are other spellings of the same: those of
// diffusers before 0.12, and its own.
var vaeAttention = []pair{
	{"norm", "group_norm"}, {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"},
	{"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"},
	{"group_norm", "group_norm"}, {"to_q", "to_q"}, {"to_k", "to_k"}, {"to_v", "to_v"}, {"to_out.0", "to_out.0"},
}

// Diffusers gives the name that diffusers has for a VAE's tensor, in either naming, without a prefix:
// "decoder.up.3.block.0.conv1.weight" is decoder.up_blocks.0.resnets.0.conv1.weight of a VAE of four levels. It is false
// for names that the layout does not have.
func (l VAELayout) Diffusers(name string) (string, bool) {
	side, rest, _ := strings.Cut(name, ".")
	switch side {
	case "quant_conv", "post_quant_conv":
		return name, rest != ""
	case "encoder", "decoder":
	default:
		return "", false
	}
	for _, p := range []pair{{"conv_in", "conv_in"}, {"conv_out", "conv_out"}, {"norm_out", "conv_norm_out"}, {"conv_norm_out", "conv_norm_out"}} {
		if inner, ok := cutModule(rest, p.original); ok {
			return side + "." + p.diffusers + inner, true
		}
	}
	if inner, ok := strings.CutPrefix(rest, "mid."); ok {
		return vaeMiddle(side, inner)
	}
	if inner, ok := strings.CutPrefix(rest, "mid_block.attentions.0."); ok {
		return vaeModule(side+".mid_block.attentions.0", inner, vaeAttention)
	}
	if strings.HasPrefix(rest, "mid_block.") || strings.HasPrefix(rest, "down_blocks.") || strings.HasPrefix(rest, "up_blocks.") {
		return name, true
	}
	list, level, rest, ok := cutIndex(rest)
	if !ok || level >= int(l) {
		return "", false
	}
	sampler := "downsample"
	switch {
	case side == "encoder" && list == "down":
	case side == "decoder" && list == "up":
		sampler, level = "upsample", int(l)-1-level
	default:
		return "", false
	}
	path := fmt.Sprintf("%s.%s_blocks.%d", side, list, level)
	if inner, ok := cutModule(rest, sampler+".conv"); ok {
		return fmt.Sprintf("%s.%srs.0.conv%s", path, sampler, inner), true
	}
	block, n, rest, ok := cutIndex(rest)
	if !ok || block != "block" {
		return "", false
	}
	return vaeModule(fmt.Sprintf("%s.resnets.%d", path, n), rest, vaeParts)
}

func vaeMiddle(side, rest string) (string, bool) {
	part, inner, _ := strings.Cut(rest, ".")
	switch part {
	case "block_1":
		return vaeModule(side+".mid_block.resnets.0", inner, vaeParts)
	case "block_2":
		return vaeModule(side+".mid_block.resnets.1", inner, vaeParts)
	case "attn_1":
		return vaeModule(side+".mid_block.attentions.0", inner, vaeAttention)
	}
	return "", false
}

func vaeModule(path, rest string, parts []pair) (string, bool) {
	for _, p := range parts {
		if inner, ok := cutModule(rest, p.original); ok {
			return path + "." + p.diffusers + inner, true
		}
	}
	return "", false
}

// Original is the reverse of Diffusers, for names of diffusers' own.
func (l VAELayout) Original(name string) (string, bool) {
	side, rest, _ := strings.Cut(name, ".")
	if side == "quant_conv" || side == "post_quant_conv" {
		return name, rest != ""
	}
	for _, p := range []pair{{"conv_in", "conv_in"}, {"conv_out", "conv_out"}, {"norm_out", "conv_norm_out"},
		{"mid.block_1", "mid_block.resnets.0"}, {"mid.block_2", "mid_block.resnets.1"}} {
		if inner, ok := cutModule(rest, p.diffusers); ok {
			return side + "." + p.original + strings.Replace(inner, ".conv_shortcut", ".nin_shortcut", 1), true
		}
	}
	if inner, ok := strings.CutPrefix(rest, "mid_block.attentions.0."); ok {
		return originalVAE(side+".mid.attn_1", inner, vaeAttention)
	}
	list, level, rest, ok := cutIndex(rest)
	if !ok || level >= int(l) {
		return "", false
	}
	list, isBlock := strings.CutSuffix(list, "_blocks")
	if !isBlock || list != map[string]string{"encoder": "down", "decoder": "up"}[side] {
		return "", false
	}
	if side == "decoder" {
		level = int(l) - 1 - level
	}
	path := fmt.Sprintf("%s.%s.%d", side, list, level)
	part, n, rest, ok := cutIndex(rest)
	switch {
	case !ok:
		return "", false
	case part == "resnets":
		return originalVAE(fmt.Sprintf("%s.block.%d", path, n), rest, vaeParts)
	case n == 0 && part == list+"samplers":
		inner, ok := cutModule(rest, "conv")
		return fmt.Sprintf("%s.%ssample.conv%s", path, list, inner), ok
	}
	return "", false
}

func originalVAE(path, rest string, parts []pair) (string, bool) {
	for _, p := range parts {
		if inner, ok := cutModule(rest, p.diffusers); ok {
			return path + "." + p.original + inner, true
		}
	}
	return "", false
}
