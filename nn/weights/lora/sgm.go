package lora

import (
	"strconv"
	"strings"
)

// inner are the names within a residual block, in diffusers and in the original code.
var inner = map[string]string{
	"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
	"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}

// outer are the modules outside of the blocks.
var outer = map[string]string{
	"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
	"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
	"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}

// originals translates the modules of a UNet from diffusers' names to those of the original code (sgm), in which most
// LoRA files are written. How many blocks there are follows from the names.
type originals struct {
	down, up, mid map[string]string // by diffusers' prefix, of a resnet, an attention or a sampler
}

// newOriginals counts the blocks of the UNet that has these modules.
func newOriginals(modules []string) originals {
	parts := map[string]bool{} // "down_blocks.0.resnets.1", "mid_block.attentions.0"
	for _, m := range modules {
		fields := strings.Split(m, ".")
		n := 4
		if fields[0] == "mid_block" {
			n = 3
		}
		if len(fields) > n {
			parts[strings.Join(fields[:n], ".")] = true
		}
	}
	o := originals{map[string]string{}, map[string]string{}, map[string]string{}}
	at := 1 // input_blocks.0 is conv_in
	for b := 0; parts[path("down_blocks", b, "resnets", 0)]; b++ {
		for j := 0; parts[path("down_blocks", b, "resnets", j)]; j++ {
			o.down[path("down_blocks", b, "resnets", j)] = path("input_blocks", at, "0")
			o.down[path("down_blocks", b, "attentions", j)] = path("input_blocks", at, "1")
			at++
		}
		if sampler := path("down_blocks", b, "downsamplers", 0); parts[sampler] {
			o.down[sampler] = path("input_blocks", at, "0")
			at++
		}
	}
	at = 0
	for b := 0; parts[path("up_blocks", b, "resnets", 0)]; b++ {
		last := "1" // where an upsampler stands: behind the attention, if there is one
		for j := 0; parts[path("up_blocks", b, "resnets", j)]; j++ {
			o.up[path("up_blocks", b, "resnets", j)] = path("output_blocks", at, "0")
			if attention := path("up_blocks", b, "attentions", j); parts[attention] {
				o.up[attention] = path("output_blocks", at, "1")
				last = "2"
			}
			at++
		}
		o.up[path("up_blocks", b, "upsamplers", 0)] = path("output_blocks", at-1, last)
	}
	at = 0
	for _, m := range []string{"mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"} {
		if parts[m] {
			o.mid[m] = path("middle_block", at)
			at++
		}
	}
	return o
}

// name is the original name of a module, "" if there is none.
func (o originals) name(module string) string {
	if name, ok := outer[module]; ok {
		return name
	}
	fields := strings.Split(module, ".")
	table, n := o.mid, 3
	switch fields[0] {
	case "down_blocks":
		table, n = o.down, 4
	case "up_blocks":
		table, n = o.up, 4
	}
	if len(fields) <= n {
		return ""
	}
	block, ok := table[strings.Join(fields[:n], ".")]
	if !ok {
		return ""
	}
	rest := strings.Join(fields[n:], ".")
	switch kind := fields[n-2]; kind {
	case "resnets":
		if rest, ok = inner[rest]; !ok {
			return ""
		}
	case "downsamplers":
		rest = strings.Replace(rest, "conv", "op", 1)
	}
	return block + "." + rest
}

// path joins names and numbers with dots.
func path(parts ...any) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		switch p := p.(type) {
		case int:
			b.WriteString(strconv.Itoa(p))
		case string:
			b.WriteString(p)
		}
	}
	return b.String()
}
