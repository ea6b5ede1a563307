package sdxl

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"image"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/tokenizer"
)

func TestRequestErrors(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	bad := "\xff"
	for name, c := range map[string]struct {
		change func(*Request)
		refine bool
		field  string
		want   string
	}{
		"prompt not UTF-8":          {func(r *Request) { r.Prompt = bad }, false, "prompt", "UTF-8"},
		"negative not UTF-8":        {func(r *Request) { r.NegativePrompt = &bad }, false, "negative_prompt", "UTF-8"},
		"an image a pixel wide":     {func(r *Request) { r.Width, r.Height, r.Image = 0, 0, image.NewNRGBA(image.Rect(0, 0, 1, 500)) }, true, "width", "is 1: must be a multiple of 8"},
		"too many prompts":          {func(r *Request) { r.Prompt, r.Prompts = "", make([]Prompt, 65) }, false, "prompt", "a list of 65: must be at most 64"},
		"too many in all":           {func(r *Request) { r.Prompt, r.Prompts, r.ImagesPerPrompt = "", make([]Prompt, 3), 22 }, false, "num_images_per_prompt", "of 3 prompts"},
		"latents of none":           {func(r *Request) { r.Image, r.ImageLatents = nil, &Tensor{Shape: []int{0, 4, 8, 8}} }, true, "image", "[N 4 H W]"},
		"width":                     {func(r *Request) { r.Width = 65 }, false, "width", "a multiple of 8 from 8 to 8192"},
		"height":                    {func(r *Request) { r.Height = -8 }, false, "height", "a multiple of 8"},
		"negative steps":            {func(r *Request) { r.Steps = -1 }, false, "num_inference_steps", "1 to 1000"},
		"too many steps":            {func(r *Request) { r.Steps = 1001 }, false, "num_inference_steps", "1 to 1000"},
		"scheduler":                 {func(r *Request) { r.Scheduler = "ddpm++" }, false, "scheduler", "dpmpp_2m_karras"},
		"count":                     {func(r *Request) { r.ImagesPerPrompt = -1 }, false, "num_images_per_prompt", "1 to 64"},
		"guidance":                  {func(r *Request) { r.Guidance = new(math.NaN()) }, false, "guidance_scale", "finite"},
		"guidance beyond float32":   {func(r *Request) { r.Guidance = new(1e300) }, false, "guidance_scale", "finite number of float32"},
		"guidance of a step":        {func(r *Request) { r.GuidancePerStep = []float64{1, -1e300} }, false, "guidance_scale", "finite number of float32"},
		"rescale":                   {func(r *Request) { r.GuidanceRescale = new(1.5) }, false, "guidance_rescale", "0 to 1"},
		"guidance start":            {func(r *Request) { r.GuidanceStart = 1 }, false, "guidance_start", "is 1: must be 0 and more, below 1"},
		"guidance start, no number": {func(r *Request) { r.GuidanceStart = math.NaN() }, false, "guidance_start", "is NaN"},
		"guidance end":              {func(r *Request) { r.GuidanceEnd = 1.5 }, false, "guidance_end", "to 1"},
		"an end before the start":   {func(r *Request) { r.GuidanceStart, r.GuidanceEnd = 0.5, 0.4 }, false, "guidance_end", "guidance_start, which is 0.5"},
		"an interval with CFG++":    {func(r *Request) { r.GuidanceEnd, r.Scheduler = 0.5, "euler_cfg_pp" }, false, "guidance_end", "CFG++"},
		"PAG":                       {func(r *Request) { r.PAGScale = -1 }, false, "pag_scale", "0, or a number above it"},
		"PAG of no number":          {func(r *Request) { r.PAGScale = math.NaN() }, false, "pag_scale", "finite"},
		"adaptive PAG":              {func(r *Request) { r.PAGAdaptiveScale = math.Inf(1) }, false, "pag_adaptive_scale", "finite"},
		"PAG with CFG++":            {func(r *Request) { r.PAGScale, r.Scheduler = 3, "euler_cfg_pp" }, false, "pag_scale", "CFG++"},
		"PAG of no layer":           {func(r *Request) { r.PAGScale, r.PAGAppliedLayers = 3, []string{"mid", "down_blocks.9"} }, false, "pag_applied_layers", `is "down_blocks.9": must be what is found in the path`},
		"PAG of no expression":      {func(r *Request) { r.PAGScale, r.PAGAppliedLayers = 3, []string{"("} }, false, "pag_applied_layers", "mid_block"},
		"PAG of too many layers":    {func(r *Request) { r.PAGScale, r.PAGAppliedLayers = 3, make([]string, 65) }, false, "pag_applied_layers", "at most 64"},
		"FreeU":                     {func(r *Request) { r.FreeU = &FreeU{0.9, 0, 1.3, 1.4} }, false, "freeu.s2", "is 0: must be above 0"},
		"FreeU of no number":        {func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, math.NaN()} }, false, "freeu.b2", "above 0"},
		"eta":                       {func(r *Request) { r.Eta = new(-1.0) }, false, "eta", "0 to 1"},
		"clip skip":                 {func(r *Request) { r.ClipSkip = 99 }, false, "clip_skip", "0 to"},
		"denoising end":             {func(r *Request) { r.DenoisingEnd = 1 }, false, "denoising_end", "above 0 and below 1"},
		"latents":                   {func(r *Request) { r.Latents = nn.NewTensor(1, 4, 1, 1) }, false, "latents", "[1 4 5 6]"},
		"timesteps of no use":       {func(r *Request) { r.Timesteps = []float64{1, 999} }, false, "timesteps", "must descend"},
		"image and latents":         {func(r *Request) { r.ImageLatents = nn.NewTensor(1, 4, 1, 1) }, true, "image", "one image"},
		"strength":                  {func(r *Request) { r.Strength = -0.5 }, true, "strength", "above 0"},
		"too few steps":             {func(r *Request) { r.Steps, r.Strength = 3, 0.3 }, true, "num_inference_steps", "at least 4, so that strength 0.3"},
		"denoising start":           {func(r *Request) { r.DenoisingStart = -0.1 }, true, "denoising_start", "above 0 and below 1"},
		"denoising start and end":   {func(r *Request) { r.DenoisingStart, r.DenoisingEnd = 0.5, 0.3 }, true, "denoising_start", "below denoising_end, which is 0.3"},
		"an image of no size":       {func(r *Request) { r.Image = image.NewNRGBA(image.Rect(0, 0, 0, 64)) }, true, "image", "is 0×64 pixels: must be 1 or more"},
		"another width":             {func(r *Request) { r.Width = 60 }, true, "width", "a multiple of 8"},
		"another height":            {func(r *Request) { r.Image, r.ImageLatents, r.Height = nil, nn.NewTensor(1, 4, 8, 6), 40 }, true, "height", "absent, or the image's 64"},
		"latents of another kind":   {func(r *Request) { r.Image, r.ImageLatents = nil, nn.NewTensor(1, 5, 8, 8) }, true, "image", "[N 4 H W]"},
		"latents of more":           {func(r *Request) { r.Image, r.ImageLatents = nil, nn.NewTensor(2, 4, 8, 8) }, true, "num_images_per_prompt", "a multiple of the 2"},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := small(), base
			if c.refine {
				r.Image = image.NewNRGBA(image.Rect(0, 0, 48, 40))
				p = refiner
			}
			c.change(&r)
			_, err := p.Generate(context.Background(), r)
			var wrong *RequestError
			if !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one of %s with %q", err, c.field, c.want)
			}
			if _, resolved := p.Resolve(r); resolved == nil || resolved.Error() != err.Error() {
				t.Errorf("Resolve says %v, the run %v", resolved, err)
			}
		})
	}
	if _, err := Ensemble(context.Background(), small(), Expert{base, 1.5}, Expert{Model: refiner}); err == nil {
		t.Error("an ensemble split at 1.5 was taken")
	}
	if _, err := base.Generate(context.Background(), small()); err != nil {
		t.Errorf("after bad requests: %v", err)
	}
}

// edit changes a JSON file of a model folder.
func edit(t *testing.T, file string, change func(map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	change(content)
	if data, err = json.Marshal(content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes the tensors of a weights file.
func rewrite(t *testing.T, file string, change func(map[string]weights.Tensor)) {
	t.Helper()
	f, err := weights.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]weights.Tensor{}
	for _, tt := range list {
		tensors[tt.Name] = tt
	}
	change(tensors)
	list = list[:0]
	for name, tt := range tensors {
		tt.Name = name
		list = append(list, tt)
	}
	if err := weights.Write(file, list, nil); err != nil {
		t.Fatal(err)
	}
}

func TestModelErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	const unetFile = "unet/diffusion_pytorch_model.safetensors"
	set := func(key string, value any) func(map[string]any) {
		return func(c map[string]any) { c[key] = value }
	}
	for name, c := range map[string]struct {
		spoil func(dir string)
		want  []string
	}{
		"no scheduler":        {func(d string) { os.RemoveAll(d + "/scheduler") }, []string{"scheduler_config.json is missing", "the component scheduler"}},
		"no UNet":             {func(d string) { os.RemoveAll(d + "/unet") }, []string{"unet/config.json is missing"}},
		"no UNet weights":     {func(d string) { os.Remove(d + "/" + unetFile) }, []string{"unet"}},
		"no VAE":              {func(d string) { os.RemoveAll(d + "/vae") }, []string{"the component vae"}},
		"no tokenizer file":   {func(d string) { os.WriteFile(d+"/tokenizer/tokenizer.json", []byte("{"), 0o644) }, []string{"tokenizer.json"}},
		"empty folder":        {func(d string) { os.RemoveAll(d); os.Mkdir(d, 0o755) }, []string{"not a model folder"}},
		"option not computed": {func(d string) { edit(t, d+"/unet/config.json", set("class_embed_type", "timestep")) }, []string{`"class_embed_type" is "timestep"; allowed: null`}},
		"VAE shift":           {func(d string) { edit(t, d+"/vae/config.json", set("shift_factor", 0.1)) }, []string{"shift_factor", "0.1"}},
		"activation":          {func(d string) { edit(t, d+"/text_encoder/config.json", set("hidden_act", "relu")) }, []string{"hidden_act", "relu", "quick_gelu or gelu"}},
		"SD 1.5":              {func(d string) { edit(t, d+"/model_index.json", set("_class_name", "StableDiffusionPipeline")) }, []string{"StableDiffusionPipeline", "must be StableDiffusionXLPipeline"}},
		"ControlNet": {func(d string) {
			edit(t, d+"/model_index.json", set("_class_name", "StableDiffusionXLControlNetPipeline"))
		}, []string{"ControlNet", "must be StableDiffusionXLPipeline"}},
		"aesthetics":    {func(d string) { edit(t, d+"/model_index.json", set("requires_aesthetics_score", true)) }, []string{"requires_aesthetics_score true", "takes 6 added time ids"}},
		"other encoder": {func(d string) { edit(t, d+"/unet/config.json", set("cross_attention_dim", 48)) }, []string{"unet", "to_k.weight"}},
		"missing tensor": {func(d string) {
			rewrite(t, d+"/"+unetFile, func(m map[string]weights.Tensor) { delete(m, "conv_in.bias") })
		}, []string{"unet", "1 missing tensors: conv_in.bias"}},
		"tensors of a module that is left out": {func(d string) {
			rewrite(t, d+"/"+unetFile, func(m map[string]weights.Tensor) {
				m["time_embedding.cond_proj.weight"] = m["conv_in.bias"]
			})
		}, []string{"unet", "1 tensors of modules that the configuration leaves out: time_embedding.cond_proj.weight"}},
		"tensors of a class embedding": {func(d string) {
			rewrite(t, d+"/"+unetFile, func(m map[string]weights.Tensor) {
				m["class_embedding.linear_1.weight"], m["encoder_hid_proj.weight"], m["position_net.linears.0.weight"] = m["conv_in.bias"], m["conv_in.bias"], m["conv_in.bias"]
			})
		}, []string{"unet", "leaves out: class_embedding.linear_1.weight, encoder_hid_proj.weight, position_net.linears.0.weight"}},
		"tensors of a layer more": {func(d string) {
			rewrite(t, d+"/text_encoder/model.safetensors", func(m map[string]weights.Tensor) {
				m["text_model.encoder.layers.77.mlp.fc1.bias"] = m["text_model.final_layer_norm.bias"]
			})
		}, []string{"text_encoder", "leaves out: text_model.encoder.layers.77.mlp.fc1.bias"}},
		"tensors of a VAE without its attention": {func(d string) {
			edit(t, d+"/vae/config.json", set("mid_block_add_attention", false))
		}, []string{"vae", "modules that the configuration leaves out: decoder.mid_block.attentions.0."}},
		"mostly another model": {func(d string) {
			rewrite(t, d+"/vae/diffusion_pytorch_model.safetensors", func(m map[string]weights.Tensor) {
				for _, x := range slices.Collect(maps.Keys(m)) {
					m["vision_model."+x] = m["quant_conv.bias"]
				}
				m["vision_model.more"] = m["quant_conv.bias"]
			})
		}, []string{"vae", "unknown tensors, more than the", "vision_model."}},
		"misshaped tensor": {func(d string) {
			rewrite(t, d+"/"+unetFile, func(m map[string]weights.Tensor) {
				x := m["conv_in.bias"]
				x.Shape = append([]int{1}, x.Shape...)
				m["conv_in.bias"] = x
			})
		}, []string{"1 wrong tensors: conv_in.bias [1"}},
		"truncated weights": {func(d string) { os.Truncate(d+"/"+unetFile, 5000) }, []string{unetFile}},
		"one tensor of a checkpoint": {func(d string) {
			os.RemoveAll(d)
			one := weights.NewTensor("conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", kernels.F32, []int{1}, make([]byte, 4))
			if err := weights.Write(d, []weights.Tensor{one}, nil); err != nil {
				t.Fatal(err)
			}
		}, []string{"a file whose first tensor is \"conditioner.embedders.1.", "not an SDXL checkpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "model")
			if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
				t.Fatal(err)
			}
			c.spoil(dir)
			p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
			if err == nil {
				p.Close()
				t.Fatal("the model opened")
			}
			var wrong *ModelError
			if !errors.As(err, &wrong) || wrong.Path != dir {
				t.Errorf("%T: %v, want a *ModelError of the folder", err, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
	for path, want := range map[string]string{
		"synth:huge": "must be one of base, refiner, tiny, tiny-refiner",
		"stabilityai/stable-diffusion-xl-base-1.0": "hub",
		"demo":                                "demo",
		filepath.Join(t.TempDir(), "no-such"): "no such file",
	} {
		if _, err := Open(t.Context(), path, Options{Host: hostOf(m.dev)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestTypedCauses unwraps what a model error is about.
func TestTypedCauses(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir+"/vae/diffusion_pytorch_model.safetensors", func(m map[string]weights.Tensor) { delete(m, "quant_conv.bias") })
	_, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
	var bind *nn.BindError
	if !errors.As(err, &bind) || len(bind.Missing) != 1 {
		t.Errorf("%v, want a *nn.BindError with one missing tensor", err)
	}
	r := small()
	r.Prompt = "\xff"
	_, err = m.open("tiny").Generate(context.Background(), r)
	var text *tokenizer.InvalidUTF8Error
	if errors.As(err, &text) {
		t.Error("the check lets bad text through to the tokenizer")
	}
}

// TestNotFinite has weights that overflow: the error names the first operation that gave Inf or NaN.
func TestNotFinite(t *testing.T) {
	m := newModels(t)
	for file, c := range map[string]struct{ tensor, want string }{
		"unet/diffusion_pytorch_model.safetensors": {"mid_block.resnets.0.conv1.bias", "mid_block.resnets.0.conv1"},
		"vae/diffusion_pytorch_model.safetensors":  {"decoder.conv_in.bias", "decoder.conv_in"},
		"text_encoder/model.safetensors":           {"text_model.encoder.layers.0.mlp.fc1.bias", "layers.0.mlp.fc1"},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
			t.Fatal(err)
		}
		rewrite(t, dir+"/"+file, func(m map[string]weights.Tensor) {
			x := m[c.tensor]
			data := make([]byte, 4*x.Shape[0])
			binary.LittleEndian.PutUint32(data, math.Float32bits(float32(math.NaN())))
			m[c.tensor] = weights.NewTensor(x.Name, kernels.F32, x.Shape, data)
		})
		p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, err := p.Generate(context.Background(), small()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q named", file, err, c.want)
		}
	}
}
