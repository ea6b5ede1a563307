package sdxl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// synthControls are the configurations of nets beside the UNet that can be synthesised: what each adds to that of its
// size.
var synthControls = map[string]map[string]any{
	"controlnet": {"_class_name": "ControlNetModel"},
	"controlnet-mid": {"_class_name": "ControlNetModel", "transformer_layers_per_block": []int{0, 0, 1},
		"down_block_types": []string{"DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"}},
	"controlnet-small": {"_class_name": "ControlNetModel", "transformer_layers_per_block": []int{0, 0, 0},
		"down_block_types": []string{"DownBlock2D", "DownBlock2D", "DownBlock2D"}, "mid_block_type": "UNetMidBlock2D"},
	"controlnet-union":  {"_class_name": "ControlNetUnionModel", "num_control_type": 6},
	"controlnet-promax": {"_class_name": "ControlNetUnionModel", "num_control_type": 8},
	"t2i-adapter":       {"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl", "in_channels": 3, "num_res_blocks": 2, "downscale_factor": 16},
}

// SyntheticControls lists the nets that SynthesiseControl knows: ControlNets by their size or kind, and a T2I-Adapter.
func SyntheticControls() []string { return slices.Sorted(maps.Keys(synthControls)) }

// SynthesiseControl writes a net of SyntheticControls with random (deterministic) weights as a folder in diffusers'
// layout, for the synthetic base, or with tiny for the tiny one. Nothing may be at dir but an empty folder. On an error
// nothing of it stays. A full ControlNet takes 2.5 GB in fp16.
func SynthesiseControl(ctx context.Context, name string, tiny bool, dtype kernels.DType, dir string) error {
	if _, ok := synthControls[name]; !ok {
		return fmt.Errorf("no synthetic net %q: must be one of %s", name, strings.Join(SyntheticControls(), ", "))
	}
	config, err := json.MarshalIndent(synthControlConfig(name, tiny), "", "  ")
	if err != nil {
		return err
	}
	shapes, err := controlShapes(name, config)
	if err != nil {
		return err
	}
	component := strings.ReplaceAll(name, "-", "_")
	tensors, err := weights.Tensors(weights.Synthetic(component, shapes, dtype))
	if err != nil {
		return err
	}
	return buildFolder(dir, func(building string) error {
		if err := os.WriteFile(filepath.Join(building, "config.json"), append(config, '\n'), 0o644); err != nil {
			return err
		}
		return weights.Write(filepath.Join(building, "diffusion_pytorch_model.safetensors"), interruptible(ctx, tensors), map[string]string{"format": "pt"})
	})
}

func controlShapes(name string, config []byte) (map[string][]int, error) {
	if name == "t2i-adapter" {
		c, err := t2iadapter.ParseConfig(config, name)
		if err != nil {
			return nil, err
		}
		return nn.Shapes(t2iadapter.New(c)), nil
	}
	c, err := controlnet.ParseConfig(config, name)
	if err != nil {
		return nil, err
	}
	return controlnet.Shapes(c), nil
}

func synthControlConfig(name string, tiny bool) map[string]any {
	own := synthControls[name]
	widths, dims := []int{320, 640, 1280}, map[string]any{
		"attention_head_dim": []int{5, 10, 20}, "cross_attention_dim": 2048, "norm_num_groups": 32, "addition_time_embed_dim": 256,
		"projection_class_embeddings_input_dim": 2816, "transformer_layers_per_block": []int{1, 2, 10}, "conditioning_embedding_out_channels": []int{16, 32, 96, 256},
	}
	union := own["num_control_type"] != nil
	if union {
		dims["conditioning_embedding_out_channels"] = []int{48, 96, 192, 384}
	}
	if tiny {
		widths, dims = []int{16, 32, 48}, map[string]any{
			"attention_head_dim": []int{1, 2, 3}, "cross_attention_dim": 80, "norm_num_groups": 8, "addition_time_embed_dim": 8,
			"projection_class_embeddings_input_dim": 96, "transformer_layers_per_block": []int{1, 1, 2}, "conditioning_embedding_out_channels": []int{4, 8, 12, 16},
		}
	}
	if name == "t2i-adapter" {
		m := maps.Clone(own)
		m["channels"] = append(slices.Clone(widths), widths[2])
		return m
	}
	m := map[string]any{
		"addition_embed_type": "text_time", "block_out_channels": widths, "use_linear_projection": true, "layers_per_block": 2,
		"down_block_types": []string{"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"}, "mid_block_type": "UNetMidBlock2DCrossAttn",
	}
	if union {
		delete(m, "mid_block_type") // which the class does not have
		m["num_trans_channel"], m["num_proj_channel"], m["num_trans_head"], m["num_trans_layer"] = widths[0], widths[0], 8, 1
	}
	maps.Copy(m, dims)
	maps.Copy(m, own)
	return m
}
