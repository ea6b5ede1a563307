package singlefile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// In every published SDXL an attention head has 64 channels, and a group norm 32 groups.
const (
	headSize   = 64
	normGroups = 32
)

// unetConfig is that of SDXL's UNet, as wide and deep as the shapes say.
func (c *Checkpoint) unetConfig(s shapes) (config, error) {
	layout, ok := UNetLayoutOf(s.names)
	if !ok {
		return nil, fmt.Errorf("its way up is not the mirror of its way down")
	}
	m := config{
		"_class_name": "UNet2DConditionModel", "act_fn": "silu", "addition_embed_type": "text_time", "sample_size": 128,
		"in_channels": s.dim("conv_in.weight", 1), "out_channels": s.dim("conv_out.weight", 0),
		"conv_in_kernel": s.dim("conv_in.weight", 2), "conv_out_kernel": s.dim("conv_out.weight", 2),
		"flip_sin_to_cos": true, "freq_shift": 0, "norm_num_groups": normGroups, "norm_eps": 1e-5, "use_linear_projection": true,
		"cross_attention_dim": c.unet.Context, "projection_class_embeddings_input_dim": c.unet.Added,
		"addition_time_embed_dim": c.timeIDWidth(),
	}
	if embedding := s.dim("time_embedding.linear_1.weight", 0); embedding != 4*s.dim("conv_in.weight", 0) {
		m["time_embedding_dim"] = embedding
	}
	if n := s.dim("time_embedding.cond_proj.weight", 1); n > 0 {
		m["time_cond_proj_dim"] = n
	}
	var channels, heads, down, up, layers []any
	for b := range layout.Layers {
		width := s.dim(fmt.Sprintf("down_blocks.%d.resnets.0.conv1.weight", b), 0)
		if err := cmp.Or(c.needs(UNet, "attention_head_dim", width, headSize), c.needs(UNet, "norm_num_groups", width, normGroups)); err != nil {
			return nil, err
		}
		channels, heads, layers = append(channels, width), append(heads, max(1, width/headSize)), append(layers, layout.Layers[b])
		down = append(down, blockType("DownBlock2D", s.has(fmt.Sprintf("down_blocks.%d.attentions.", b))))
		up = append(up, blockType("UpBlock2D", layout.UpAttention[b]))
	}
	m["block_out_channels"], m["attention_head_dim"], m["layers_per_block"] = channels, heads, layers
	m["down_block_types"], m["up_block_types"] = down, up
	m["mid_block_type"] = middleType(s)
	depths(m, s, layout)
	return m, nil
}

func blockType(plain string, attention bool) string {
	if attention {
		return "CrossAttn" + plain
	}
	return plain
}

// middleType is nil of a UNet without a middle, as KOALA-700M's.
func middleType(s shapes) any {
	switch {
	case s.has("mid_block.attentions."):
		return "UNetMidBlock2DCrossAttn"
	case s.has("mid_block."):
		return "UNetMidBlock2D"
	}
	return nil
}

// depths counts transformer blocks: a number a level where the way up mirrors the way down, else, as SSD-1B has it, one
// for each attention of both. A level without attention has no use for its number; the last level's is the middle's.
func depths(m config, s shapes, layout UNetLayout) {
	n := len(layout.Layers)
	down, up := make([][]any, n), make([][]any, n)
	for b := range n {
		for j := range layout.Layers[b] {
			down[b] = append(down[b], s.count(fmt.Sprintf("down_blocks.%d.attentions.%d.transformer_blocks", b, j)))
		}
		for j := range layout.upLayers(b) {
			up[b] = append(up[b], s.count(fmt.Sprintf("up_blocks.%d.attentions.%d.transformer_blocks", b, j)))
		}
	}
	middle := s.count("mid_block.attentions.0.transformer_blocks")
	plain := make([]any, n)
	mirrored := true
	for b := range n {
		depth := max(1, down[b][0].(int))
		if b == n-1 && down[b][0] == 0 && middle > 0 {
			depth = middle
		}
		plain[b] = depth
		for _, list := range [][]any{down[b], up[n-1-b]} {
			for _, d := range list {
				mirrored = mirrored && (d == depth || d == 0 && list[0] == 0)
			}
		}
	}
	if mirrored && (middle == 0 || middle == plain[n-1]) {
		m["transformer_layers_per_block"] = plain
		return
	}
	m["transformer_layers_per_block"], m["reverse_transformer_layers_per_block"] = levels(down), levels(up)
}

// levels are the depths of each level, a level without attention as the number 1.
func levels(depths [][]any) (list []any) {
	for _, level := range depths {
		if level[0] == 0 {
			list = append(list, 1)
			continue
		}
		list = append(list, level)
	}
	return list
}

// timeIDWidth is the width of one number of micro-conditioning: what is left beside the pooled text, shared by the six
// of a base or the five of a refiner; 256 in every published model, and where the second encoder is not there to ask.
func (c *Checkpoint) timeIDWidth() int {
	v := c.components[TextEncoder2]
	if v == nil {
		return 256
	}
	ids := 6
	if c.Refiner() {
		ids = 5
	}
	return max(1, (c.unet.Added-shapesOf(v).dim("text_projection.weight", 0))/ids)
}

// eulerConfig is the published scheduler of base and refiner.
func eulerConfig() config {
	return config{
		"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
		"prediction_type": "epsilon", "interpolation_type": "linear", "timestep_spacing": "leading", "steps_offset": 1, "use_karras_sigmas": false,
		"trained_betas": nil, "clip_sample": false, "set_alpha_to_one": false, "skip_prk_steps": true, "sample_max_value": 1.0,
	}
}

// ComfyZeroSNRAlpha is the last cumulative alpha of a zero terminal SNR schedule in ComfyUI, whose images files with the
// mark ztsnr are made for; diffusers has 2⁻²⁴. Source: comfy/model_sampling.py, rescale_zero_terminal_snr_sigmas.
const ComfyZeroSNRAlpha = 4.8973451890853435e-08

// ZeroSNRRescale is the guidance rescale that the paper of zero terminal SNR, arXiv 2305.08891, pairs with it.
const ZeroSNRRescale = 0.7

// Prediction says in words what the UNet predicts and by which schedule.
func (c *Checkpoint) Prediction() string {
	m := c.configs["scheduler/scheduler_config.json"]
	text := map[any]string{"epsilon": "noise", "v_prediction": "v"}[m["prediction_type"]]
	if m["sigma_data"] != nil {
		text += fmt.Sprintf(", EDM with sigma %v to %v", m["sigma_min"], m["sigma_max"])
	}
	if m["rescale_betas_zero_snr"] == true {
		text += ", zero terminal SNR"
	}
	return text
}

// Marked reports whether tensors beside the UNet say what it predicts, so that its scheduler is not the published one.
func (c *Checkpoint) Marked() bool {
	names := c.weights.Names()
	return slices.ContainsFunc([]string{"v_pred", "ztsnr", "edm_vpred.sigma_max", "edm_mean", "edm_std"}, func(mark string) bool { return has(names, mark) })
}

// schedulerConfig is the published one, changed by the marks beside the UNet that say what it predicts.
func (c *Checkpoint) schedulerConfig() (config, error) {
	names := c.weights.Names()
	switch {
	case c.Kind.Family == weights.Playground25:
		return config{
			"_class_name": "EDMDPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "euler_at_final": false, "final_sigmas_type": "zero",
			"lower_order_final": true, "num_train_timesteps": 1000, "prediction_type": "epsilon", "rho": 7.0, "sigma_data": 0.5, "sigma_max": 80.0,
			"sigma_min": 0.002, "solver_order": 2, "solver_type": "midpoint",
		}, nil
	case has(names, "edm_vpred.sigma_max"):
		m := config{"_class_name": "EDMEulerScheduler", "num_train_timesteps": 1000, "prediction_type": "v_prediction", "rho": 7.0,
			"sigma_data": 1.0, "sigma_max": 120.0, "sigma_min": 0.002, "sigma_schedule": "exponential"}
		for _, key := range []string{"sigma_max", "sigma_min"} {
			if !has(names, "edm_vpred."+key) {
				continue
			}
			values, err := c.numbers("edm_vpred." + key)
			if err != nil {
				return nil, err
			}
			if len(values) == 1 {
				m[key] = values[0]
			}
		}
		return m, nil
	}
	m := eulerConfig()
	if said := cmp.Or(c.metadata["modelspec.prediction_type"], c.metadata["modelspec.predict_key"]); !c.Marked() && strings.HasPrefix(said, "v") {
		c.Notes = append(c.Notes, "the file's metadata says that its UNet predicts v, but no tensor marks it so: if images are noise, say v_prediction or v_zsnr with -prediction")
	}
	if has(names, "v_pred") {
		m["prediction_type"] = "v_prediction"
		c.Notes = append(c.Notes, "the file is marked v_pred: its UNet predicts v")
	}
	if has(names, "ztsnr") {
		m["rescale_betas_zero_snr"], m["zero_snr_terminal_alpha"], m["timestep_spacing"] = true, ComfyZeroSNRAlpha, "trailing"
		c.Notes = append(c.Notes, "the file is marked ztsnr: zero terminal SNR with ComfyUI's last alpha, trailing timesteps and guidance rescale 0.7")
	}
	return m, nil
}
