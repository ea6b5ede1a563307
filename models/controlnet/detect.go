package controlnet

import (
	"encoding/json"
	"fmt"
	"maps"
	"sort"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// In every published SDXL an attention head has 64 channels, a group norm 32 groups, and a time id 256 numbers.
const (
	headSize   = 64
	normGroups = 32
	timeIDDim  = 256
)

// Detect reads the configuration of a net from the shapes of its tensors, which have diffusers' names. hidden are keys
// of it that no tensor shows, in JSON, in place of those of every published SDXL; nil for none. The configuration fits
// the tensors.
func Detect(src kernels.Source, hidden []byte) (Config, error) {
	const what = "the file's tensors"
	s := shapesOf(src)
	m := map[string]any{
		"_class_name": plainClass, "addition_embed_type": "text_time", "use_linear_projection": true,
		"in_channels": s.dim("conv_in.weight", 1), "layers_per_block": s.count("down_blocks.0.resnets"),
		"projection_class_embeddings_input_dim": s.dim("add_embedding.linear_1.weight", 1), "addition_time_embed_dim": timeIDDim,
		"norm_num_groups": normGroups,
	}
	if !s.has("add_embedding.") {
		m["addition_embed_type"] = nil
	}
	var channels, heads, depths, types []any
	levels := s.count("down_blocks")
	if levels == 0 || !s.has("controlnet_cond_embedding.") {
		return Config{}, fmt.Errorf("%s are not a ControlNet's: must have conv_in, down_blocks and controlnet_cond_embedding, or the original names of these", what)
	}
	for i := range levels {
		width := s.dim(fmt.Sprintf("down_blocks.%d.resnets.0.conv1.weight", i), 0)
		path := fmt.Sprintf("down_blocks.%d.attentions.0.transformer_blocks", i)
		depth, kind := s.count(path), "DownBlock2D"
		if depth > 0 {
			kind = "CrossAttnDownBlock2D"
			m["cross_attention_dim"] = s.dim(path+".0.attn2.to_k.weight", 1)
		}
		channels, heads, depths, types = append(channels, width), append(heads, max(1, width/headSize)), append(depths, max(1, depth)), append(types, kind)
	}
	m["mid_block_type"] = "UNetMidBlock2D"
	if depth := s.count("mid_block.attentions.0.transformer_blocks"); depth > 0 {
		m["mid_block_type"], depths[levels-1] = "UNetMidBlock2DCrossAttn", depth
		m["cross_attention_dim"] = s.dim("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1)
	} else if _, ok := m["cross_attention_dim"]; !ok {
		m["cross_attention_dim"] = 2048 // of a net that reads no text
	}
	m["block_out_channels"], m["attention_head_dim"], m["transformer_layers_per_block"], m["down_block_types"] = channels, heads, depths, types
	hints := []any{s.dim("controlnet_cond_embedding.conv_in.weight", 0)}
	for i := 1; i < s.count("controlnet_cond_embedding.blocks"); i += 2 {
		hints = append(hints, s.dim(fmt.Sprintf("controlnet_cond_embedding.blocks.%d.weight", i), 0))
	}
	m["conditioning_channels"], m["conditioning_embedding_out_channels"] = s.dim("controlnet_cond_embedding.conv_in.weight", 1), hints
	if types := s.dim(taskEmbedding, 0); types > 0 {
		m["_class_name"], m["num_control_type"] = unionClass, types
		m["num_trans_channel"], m["num_proj_channel"] = s.dim(taskEmbedding, 1), s.dim("spatial_ch_projs.weight", 0)
		m["num_trans_layer"] = s.count("transformer_layes")
	}
	if hidden != nil {
		var more map[string]any
		if err := json.Unmarshal(hidden, &more); err != nil {
			return Config{}, fmt.Errorf("the file's metadata: %w", err)
		}
		maps.Copy(m, more)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Config{}, err
	}
	c, err := ParseConfig(data, what)
	if err != nil {
		return c, err
	}
	return c, c.Fits(src, what)
}

// shapes are the tensors of a source, asked for their sizes.
type shapes struct {
	src   kernels.Source
	names []string // sorted
}

func shapesOf(src kernels.Source) shapes { return shapes{src, src.Names()} }

// dim is a dimension of a tensor, 0 if it has none.
func (s shapes) dim(name string, axis int) int {
	if !s.has(name) {
		return 0
	}
	_, shape, err := s.src.Describe(name)
	if err != nil || axis >= len(shape) {
		return 0
	}
	return shape[axis]
}

// has reports whether a name begins so.
func (s shapes) has(prefix string) bool {
	i := sort.SearchStrings(s.names, prefix)
	return i < len(s.names) && strings.HasPrefix(s.names[i], prefix)
}

// count is how many of path.0, path.1 … there are.
func (s shapes) count(path string) int {
	n := 0
	for s.has(fmt.Sprintf("%s.%d.", path, n)) {
		n++
	}
	return n
}
