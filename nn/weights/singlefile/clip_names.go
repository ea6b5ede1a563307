package singlefile

import (
	"fmt"
	"strings"
)

// openCLIPModules are the modules of OpenCLIP's text tower outside its layers; positional_embedding and
// text_projection are parameters, without ".weight".
var openCLIPModules = []pair{
	{"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
	{"positional_embedding", "text_model.embeddings.position_embedding.weight"},
	{"ln_final.weight", "text_model.final_layer_norm.weight"}, {"ln_final.bias", "text_model.final_layer_norm.bias"},
	{"text_projection", "text_projection.weight"}, {"text_projection.weight", "text_projection.weight"},
}

// openCLIPParts are the modules of a layer. in_proj is the three of queries, keys and values; see fusedParts.
var openCLIPParts = []pair{
	{"ln_1", "layer_norm1"}, {"ln_2", "layer_norm2"}, {"attn.out_proj", "self_attn.out_proj"}, {"mlp.c_fc", "mlp.fc1"}, {"mlp.c_proj", "mlp.fc2"},
}

// fusedParts are the thirds of attn.in_proj_weight and in_proj_bias, in their order.
var fusedParts = [3]string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}

const openCLIPLayers = "transformer.resblocks"

// openCLIPTensors are the tensors of transformers that one of OpenCLIP stands for: one, or the three of a fused one;
// nil if it is none of the text tower's.
func openCLIPTensors(name string) []string {
	for _, m := range openCLIPModules {
		if name == m.original {
			return []string{m.diffusers}
		}
	}
	rest, ok := strings.CutPrefix(name, openCLIPLayers+".")
	if !ok {
		return nil
	}
	layer, rest, ok := cutNumber(rest)
	if !ok {
		return nil
	}
	path := fmt.Sprintf("text_model.encoder.layers.%d.", layer)
	if kind, ok := strings.CutPrefix(rest, "attn.in_proj_"); ok && (kind == "weight" || kind == "bias") {
		var names []string
		for _, part := range fusedParts {
			names = append(names, path+part+"."+kind)
		}
		return names
	}
	for _, p := range openCLIPParts {
		if inner, ok := cutModule(rest, p.original); ok {
			return []string{path + p.diffusers + inner}
		}
	}
	return nil
}

// openCLIPName is the tensor of OpenCLIP that holds one of transformers, which may be a third of it.
func openCLIPName(name string) (string, bool) {
	for _, m := range openCLIPModules {
		if name == m.diffusers {
			return m.original, true
		}
	}
	rest, ok := strings.CutPrefix(name, "text_model.encoder.layers.")
	if !ok {
		return "", false
	}
	layer, rest, ok := cutNumber(rest)
	if !ok {
		return "", false
	}
	path := fmt.Sprintf("%s.%d.", openCLIPLayers, layer)
	for _, part := range fusedParts {
		if inner, ok := cutModule(rest, part); ok && inner != "" {
			return path + "attn.in_proj_" + inner[1:], true
		}
	}
	for _, p := range openCLIPParts {
		if inner, ok := cutModule(rest, p.diffusers); ok {
			return path + p.original + inner, true
		}
	}
	return "", false
}
