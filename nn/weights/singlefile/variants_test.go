package singlefile_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
	"github.com/goxl/goxl/scheduler"
)

// renamed moves the tensors whose names begin so.
func renamed(shapes map[string][]int, from, to string) map[string][]int {
	out := map[string][]int{}
	for name, shape := range shapes {
		if rest, ok := strings.CutPrefix(name, from); ok {
			name = to + rest
		}
		out[name] = shape
	}
	return out
}

// with copies shapes and adds more; a nil shape deletes.
func with(shapes map[string][]int, more map[string][]int) map[string][]int {
	out := maps.Clone(shapes)
	for name, shape := range more {
		if out[name] = shape; shape == nil {
			delete(out, name)
		}
	}
	return out
}

// TestOtherForms opens base models whose parts lie under the other names that tools write: every tensor of every
// component is there with its shape, and nothing is left over.
func TestOtherForms(t *testing.T) {
	base := original(t, synthetic+"base")
	const g, l, v = "conditioner.embedders.1.model.", "conditioner.embedders.0.transformer.text_model.", "first_stage_model."
	plainG := maps.Clone(base)
	maps.DeleteFunc(plainG, func(name string, _ []int) bool { return strings.HasPrefix(name, g) })
	data, err := os.ReadFile(filepath.Join(synthetic, "base", "text_encoder_2", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	transformersG := func(prefix string) map[string][]int {
		out := maps.Clone(plainG)
		for name, shape := range componentShapes(t, "text_encoder_2", data) {
			out[prefix+name] = shape
		}
		return out
	}
	vaeAttention := func(names ...string) map[string][]int {
		out := maps.Clone(base)
		for _, side := range []string{"encoder", "decoder"} {
			for i, old := range []string{"norm", "q", "k", "v", "proj_out"} {
				for _, kind := range []string{"weight", "bias"} {
					path := v + side + ".mid.attn_1."
					shape := out[path+old+"."+kind]
					delete(out, path+old+"."+kind)
					if kind == "weight" && i > 0 { // as a convolution
						shape = append(slices.Clone(shape), 1, 1)
					}
					out[path+names[i]+"."+kind] = shape
				}
			}
		}
		return out
	}
	for what, shapes := range map[string]map[string][]int{
		"G in transformers names":                  transformersG(g),
		"G beside L":                               transformersG("conditioner.embedders.1.transformer."),
		"G with a linear projection":               with(base, map[string][]int{g + "text_projection": nil, g + "text_projection.weight": {1280, 1280}}),
		"L without text_model":                     renamed(base, l, "conditioner.embedders.0.transformer."),
		"VAE at vae":                               renamed(base, v, "vae."),
		"VAE with convolutions":                    vaeAttention("norm", "q", "k", "v", "proj_out"),
		"VAE with old names":                       vaeAttention("group_norm", "query", "key", "value", "proj_attn"),
		"VAE with diffusers' names of attention":   vaeAttention("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
		"UNet at model.model, beside the others":   renamed(base, "model.diffusion_model.", "model.model."),
		"a projection of L that nothing uses":      with(base, map[string][]int{"conditioner.embedders.0.transformer.text_projection.weight": {768, 768}}),
		"averaged weights":                         with(base, map[string][]int{"model_ema.diffusion_modelinput_blocks00weight": {320, 4, 3, 3}, "model_ema.num_updates": {}}),
		"bookkeeping of trainers":                  with(base, map[string][]int{"betas": {1000}, "posterior_variance": {1000}, "logvar": {1000}, "sqrt_recip_alphas_cumprod": {1000}, "global_step": {}, "optimizer.x": {1}, "cond_stage_model.x": {1}}),
		"bookkeeping of encoders":                  with(base, map[string][]int{l + "embeddings.position_ids": {1, 77}, g + "logit_scale": {}, g + "transformer.text_model.embeddings.position_ids": {1, 77}}),
		"the marks of a prediction, under nothing": with(base, map[string][]int{"v_pred": {0}, "ztsnr": {0}}),
	} {
		c := open(t, sparse(t, shapes, nil))
		if c.Kind.Family != weights.SDXLBase || len(c.Missing()) > 0 || len(c.Unclaimed) > 0 {
			t.Errorf("%s: %v, missing %v, unclaimed %v", what, c.Kind, c.Missing(), c.Unclaimed)
			continue
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
			config := read(t, c.Files(), component+"/config.json")
			published, err := os.ReadFile(filepath.Join(synthetic, "base", component, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			sameConfig(t, component, config, published)
			want := componentShapes(t, component, config)
			if got := c.Component(component).Names(); len(got) != len(want) {
				t.Errorf("%s: %s has %d tensors, want %d", what, component, len(got), len(want))
			}
			for name, shape := range want {
				_, got, err := c.Component(component).Describe(name)
				if n := len(got); n == 4 && len(shape) == 2 {
					got = got[:2]
				}
				if err != nil || !slices.Equal(got, shape) {
					t.Errorf("%s: %s %s is %v, %v; want %v", what, component, name, got, err, shape)
				}
			}
		}
	}
}

// TestLeftOver opens files with parts missing, doubled, damaged or of nothing that is known.
func TestLeftOver(t *testing.T) {
	base := original(t, synthetic+"base")
	const g, l, v, u = "conditioner.embedders.1.", "conditioner.embedders.0.", "first_stage_model.", "model.diffusion_model."
	drop := func(prefix string) map[string][]int {
		out := maps.Clone(base)
		maps.DeleteFunc(out, func(name string, _ []int) bool { return strings.HasPrefix(name, prefix) })
		return out
	}
	for what, c := range map[string]struct {
		shapes             map[string][]int
		missing, unclaimed []string
	}{
		"no VAE":      {drop(v), []string{"vae"}, nil},
		"no G":        {drop(g), []string{"text_encoder_2"}, nil},
		"no L":        {drop(l), []string{"text_encoder"}, nil},
		"no encoders": {drop("conditioner."), []string{"text_encoder", "text_encoder_2"}, nil},
		"unknown tensors": {with(base, map[string][]int{u + "input_blocks.1.0.in_layers.7.weight": {1}, "hypernet.x": {1}, g + "model.transformer.resblocks.0.attn.in_proj_scale": {1}, v + "loss.x": {1}}), nil,
			[]string{g + "model.transformer.resblocks.0.attn.in_proj_scale", v + "loss.x", "hypernet.x", u + "input_blocks.1.0.in_layers.7.weight"}},
	} {
		opened := open(t, sparse(t, c.shapes, nil))
		if !slices.Equal(opened.Missing(), c.missing) || !slices.Equal(opened.Unclaimed, c.unclaimed) {
			t.Errorf("%s: missing %v, unclaimed %v", what, opened.Missing(), opened.Unclaimed)
		}
	}
	for what, c := range map[string]struct {
		shapes   map[string][]int
		metadata map[string]string
		want     []string
	}{
		"one tensor twice":      {with(base, map[string][]int{v + "decoder.mid.attn_1.to_q.weight": {512, 512}}), nil, []string{v + "decoder.mid.attn_1.q.weight", v + "decoder.mid.attn_1.to_q.weight", "both"}},
		"half a way up":         {drop(u + "output_blocks.4."), nil, []string{"mirror of its way down"}},
		"widths of no model":    {with(original(t, synthetic+"tiny"), nil), nil, []string{"no multiple of", "metadata must give"}},
		"metadata of no object": {base, map[string]string{"goxl:unet/config.json": "[1]"}, []string{"metadata goxl:unet/config.json", "JSON object"}},
		"a UNet of SD 1.5":      {map[string][]int{u + "input_blocks.0.0.weight": {320, 4, 3, 3}, u + "time_embed.0.weight": {1}, u + "output_blocks.0.0.x": {1}, u + "middle_block.1.transformer_blocks.0.attn2.to_k.weight": {8, 768}}, nil, []string{"Stable Diffusion 1 or 2", "only the SDXL family"}},
		"a LoRA":                {map[string][]int{"lora_unet_x.lora_down.weight": {1}}, nil, []string{"a LoRA adapter", "give it with -lora"}},
		"a VAE":                 {map[string][]int{"decoder.conv_in.weight": {1}}, nil, []string{"a VAE component", "give it with -vae"}},
		"a ControlNet":          {map[string][]int{"control_model.x": {1}}, nil, []string{"a ControlNet component", "give it with -control, with a -control-image"}},
		"Flux":                  {map[string][]int{"double_blocks.0.x": {1}}, nil, []string{"a Flux", "only the SDXL family"}},
		"an embedding":          {map[string][]int{"clip_g": {2, 1280}, "clip_l": {2, 768}}, nil, []string{"textual inversion", "give it with -embedding"}},
		"a TAESD":               {map[string][]int{"decoder.layers.0.weight": {1}}, nil, []string{"TAESD", "give it with -taesd"}},
		"nothing":               {map[string][]int{}, nil, []string{"without tensors"}},
		"an encoder alone":      {map[string][]int{"text_model.embeddings.token_embedding.weight": {9, 768}}, nil, []string{"text encoder component", "from a model alone"}},
	} {
		opened, err := singlefile.Open(sparse(t, c.shapes, c.metadata))
		if err == nil {
			t.Errorf("%s: opened as %v", what, opened.Kind)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", what, err, w)
			}
		}
	}
	// A fused tensor that does not split is an error where it is used, with its name.
	name := g + "model.transformer.resblocks.3.attn.in_proj_weight"
	c := open(t, sparse(t, with(base, map[string][]int{name: {3841, 1280}, g + "model.text_projection": {1280}}), nil))
	for _, tensor := range []string{"text_model.encoder.layers.3.self_attn.k_proj.weight", "text_projection.weight", "none"} {
		_, _, err := c.Component("text_encoder_2").Describe(tensor)
		_, _, _, again := c.Component("text_encoder_2").Tensor(tensor)
		if err == nil || again == nil || c.Component("text_encoder_2").Storage("none") != kernels.Made {
			t.Errorf("%s: %v, %v", tensor, err, again)
		}
	}
}

// TestSchedulesOfMarks reads what stands in the marks of EDM models.
func TestSchedulesOfMarks(t *testing.T) {
	base := original(t, synthetic+"base")
	path := func(marks map[string][]float32) string {
		shapes := maps.Clone(base)
		for name, values := range marks {
			shapes[name] = []int{len(values)}
		}
		file := sparse(t, shapes, nil)
		fill(t, file, marks)
		return file
	}
	config := func(c *singlefile.Checkpoint, file string) map[string]any {
		var m map[string]any
		if err := json.Unmarshal(read(t, c.Files(), file), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	playground := open(t, path(map[string][]float32{"edm_mean": {-1.5, 1.875, -1.375, 2.5}, "edm_std": {8.5, 5.875, 6.5, 5.25}}))
	s, v := config(playground, "scheduler/scheduler_config.json"), config(playground, "vae/config.json")
	if playground.Kind.Family != weights.Playground25 || s["_class_name"] != "EDMDPMSolverMultistepScheduler" || s["sigma_data"] != 0.5 || s["sigma_max"] != 80. || s["sigma_min"] != 0.002 ||
		v["scaling_factor"] != 0.5 || !slices.Equal(v["latents_mean"].([]any), []any{-1.5, 1.875, -1.375, 2.5}) || !slices.Equal(v["latents_std"].([]any), []any{8.5, 5.875, 6.5, 5.25}) {
		t.Errorf("Playground: %v, %v, %v", playground.Kind, s, v)
	}
	for what, want := range map[string]float64{"CosXL": 120, "its own range": 80} {
		marks := map[string][]float32{"edm_vpred.sigma_max": {float32(want)}}
		if what != "CosXL" {
			marks["edm_vpred.sigma_min"] = []float32{0.5}
		}
		c := open(t, path(marks))
		s := config(c, "scheduler/scheduler_config.json")
		if c.Kind.Family != weights.CosXL || s["_class_name"] != "EDMEulerScheduler" || s["prediction_type"] != "v_prediction" || s["sigma_data"] != 1. || s["sigma_max"] != want ||
			s["sigma_min"] != map[bool]float64{true: 0.002, false: 0.5}[what == "CosXL"] {
			t.Errorf("%s: %v, %v", what, c.Kind, s)
		}
	}
	zero := open(t, path(map[string][]float32{"v_pred": nil, "ztsnr": nil}))
	if s := config(zero, "scheduler/scheduler_config.json"); s["zero_snr_terminal_alpha"] != singlefile.ComfyZeroSNRAlpha || s["rescale_betas_zero_snr"] != true || s["prediction_type"] != "v_prediction" || len(zero.Notes) != 2 {
		t.Errorf("ztsnr: %v, notes %v", s, zero.Notes)
	}
	for said, notes := range map[string]int{"v": 1, "epsilon": 0} {
		c := open(t, sparse(t, base, map[string]string{"modelspec.prediction_type": said}))
		if s := config(c, "scheduler/scheduler_config.json"); s["prediction_type"] != "epsilon" || len(c.Notes) != notes {
			t.Errorf("metadata that says %s: %v, notes %v", said, s["prediction_type"], c.Notes)
		}
	}
	var bad []error
	for _, marks := range []map[string][]float32{{"edm_mean": {1, 2, 3, 4}}, {"edm_mean": {1, 2, 3, float32(math.NaN())}, "edm_std": {1, 2, 3, 4}}, {"edm_vpred.sigma_max": {float32(math.Inf(1))}}} {
		_, err := singlefile.Open(path(marks))
		bad = append(bad, err)
	}
	if slices.Contains(bad, nil) {
		t.Errorf("marks that can't be used: %v", errors.Join(bad...))
	}
}

// fill writes the values of small tensors into a file of sparse.
func fill(t *testing.T, path string, tensors map[string][]float32) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 8)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, binary.LittleEndian.Uint64(head))
	if _, err := f.ReadAt(text, 8); err != nil {
		t.Fatal(err)
	}
	var header map[string]struct {
		Offsets []int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		t.Fatal(err)
	}
	for name, values := range tensors {
		var halves []byte
		for _, v := range values {
			halves = binary.LittleEndian.AppendUint16(halves, kernels.ToF16(v))
		}
		if len(halves) == 0 {
			continue
		}
		if _, err := f.WriteAt(halves, 8+int64(len(text))+header[name].Offsets[0]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSchedulers: each scheduler that a file stands for is one that goxl runs, with no key that it does not know.
func TestSchedulers(t *testing.T) {
	base := original(t, synthetic+"base")
	for what, marks := range map[string]map[string][]int{
		"none": nil, "v": {"v_pred": {0}}, "zero SNR": {"v_pred": {0}, "ztsnr": {0}}, "Playground": {"edm_mean": {4}, "edm_std": {4}}, "CosXL": {"edm_vpred.sigma_max": {0}},
	} {
		c := open(t, sparse(t, with(base, marks), nil))
		config, err := scheduler.Parse(read(t, c.Files(), "scheduler/scheduler_config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := config.Check(); err != nil || len(config.Unknown()) > 0 {
			t.Errorf("%s: %v, unknown keys %v", what, err, config.Unknown())
		}
		if _, err := config.Schedule(scheduler.Options{Steps: 20}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
