package weights

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestRecogniseFolder(t *testing.T) {
	index := func(class, more string) map[string]string {
		return map[string]string{indexFile: `{"_class_name":"` + class + `","unet":["diffusers","UNet2DConditionModel"]` + more + `}`}
	}
	const te = `,"text_encoder":["transformers","CLIPTextModel"]`
	inpainting := index("StableDiffusionXLInpaintPipeline", te)
	inpainting["unet/config.json"] = `{"in_channels":9}`
	for _, c := range []struct {
		files map[string]string
		want  Kind
		text  string
	}{
		{index("StableDiffusionXLPipeline", te), Kind{ModelFolder, SDXLBase, "StableDiffusionXLPipeline"}, "an SDXL base model folder (StableDiffusionXLPipeline)"},
		{index("StableDiffusionXLImg2ImgPipeline", te), Kind{ModelFolder, SDXLBase, "StableDiffusionXLImg2ImgPipeline"}, "an SDXL base"},
		{index("StableDiffusionXLImg2ImgPipeline", `,"text_encoder":[null,null]`), Kind{ModelFolder, SDXLRefiner, "StableDiffusionXLImg2ImgPipeline"}, "an SDXL refiner"},
		{index("StableDiffusionXLImg2ImgPipeline", ""), Kind{ModelFolder, SDXLRefiner, "StableDiffusionXLImg2ImgPipeline"}, "an SDXL refiner"},
		{inpainting, Kind{ModelFolder, SDXLInpainting, "StableDiffusionXLInpaintPipeline"}, "an SDXL inpainting"},
		{index("StableDiffusionXLPipeline", te+`,"scheduler":["diffusers","EDMDPMSolverMultistepScheduler"]`), Kind{ModelFolder, Playground25, "StableDiffusionXLPipeline"}, "a Playground v2.5 model folder"},
		{index("StableDiffusionXLControlNetPipeline", te+`,"controlnet":["diffusers","ControlNetModel"]`), Kind{ModelFolder, ControlNet, "StableDiffusionXLControlNetPipeline"}, "a ControlNet"},
		{index("StableDiffusionPipeline", te), Kind{ModelFolder, StableDiffusion, "StableDiffusionPipeline"}, "a Stable Diffusion 1 or 2 model folder"},
		{index("StableDiffusion3Pipeline", te), Kind{ModelFolder, SD3, "StableDiffusion3Pipeline"}, "a Stable Diffusion 3"},
		{index("FluxPipeline", ""), Kind{ModelFolder, Flux, "FluxPipeline"}, "a Flux"},
		{index("WanPipeline", ""), Kind{ModelFolder, UnknownFamily, "WanPipeline"}, "a model folder (WanPipeline)"},
		{map[string]string{"config.json": `{"_class_name":"UNet2DConditionModel"}`}, Kind{ComponentForm, UNet, "UNet2DConditionModel"}, "a UNet component"},
		{map[string]string{"config.json": `{"_class_name":"AutoencoderTiny"}`}, Kind{ComponentForm, TAESD, "AutoencoderTiny"}, "a TAESD"},
		{map[string]string{"config.json": `{"_class_name":"ControlNetModel"}`}, Kind{ComponentForm, ControlNet, "ControlNetModel"}, "a ControlNet component"},
		{map[string]string{"config.json": `{"architectures":["CLIPTextModel"],"hidden_size":768}`}, Kind{ComponentForm, TextEncoderL, "CLIPTextModel"}, "a CLIP"},
		{map[string]string{"config.json": `{"architectures":["CLIPTextModelWithProjection"],"hidden_size":1280}`}, Kind{ComponentForm, TextEncoderG, "CLIPTextModelWithProjection"}, "an OpenCLIP"},
		{map[string]string{"config.json": `{"architectures":["T5EncoderModel"]}`}, Kind{ComponentForm, UnknownFamily, "T5EncoderModel"}, "a component (T5"},
		{map[string]string{"config.json": `{}`}, Kind{Detail: "a folder with a config.json that names no class"}, "nothing that goxl knows"},
		{map[string]string{"model.safetensors": "x"}, Kind{Detail: "a folder around the file model.safetensors"}, "nothing"},
		{map[string]string{"pytorch_model.bin": "x"}, Kind{Form: Pickle}, "a Python pickle"},
		{map[string]string{"readme.txt": "x"}, Kind{Detail: "a folder without model_index.json"}, "nothing"},
	} {
		got, err := Recognise(layout(t, c.files))
		if err != nil || got != c.want || !strings.Contains(got.String(), c.text) {
			t.Errorf("%v: got %+v (%v), error %v; want %+v", c.files, got, got, err, c.want)
		}
	}
	for _, files := range []map[string]string{{indexFile: `{`}, {"config.json": `{`}, {"config.json": `{"hidden_size":"x"}`}} {
		var ce *ConfigError
		if _, err := Recognise(layout(t, files)); !errors.As(err, &ce) {
			t.Errorf("%v: error %v, want a ConfigError", files, err)
		}
	}
}

func TestRecogniseFile(t *testing.T) {
	const base1, base0 = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias"
	const in = "model.diffusion_model.input_blocks.0.0.weight"
	type shapes = map[string][]int
	for _, c := range []struct {
		tensors shapes
		form    Form
		family  Family
		detail  string
	}{
		{shapes{base1: {1}, in: {1, 4, 3, 3}}, Checkpoint, SDXLBase, ""},
		{shapes{base1: {1}, in: {1, 9, 3, 3}}, Checkpoint, SDXLInpainting, ""},
		{shapes{base1: {1}}, Checkpoint, SDXLBase, ""},
		{shapes{base0: {1}, in: {1, 4, 3, 3}}, Checkpoint, SDXLRefiner, ""},
		{shapes{base1: {1}, "edm_mean": {1}}, Checkpoint, Playground25, ""},
		{shapes{in: {1, 4, 3, 3}, "cond_stage_model.transformer.x": {1}}, Checkpoint, StableDiffusion, ""},
		{shapes{"model.diffusion_model.joint_blocks.0.x": {1}}, Checkpoint, SD3, ""},
		{shapes{"double_blocks.0.img_attn.x": {1}}, Checkpoint, Flux, ""},
		{shapes{"control_model.x": {1}}, ComponentForm, ControlNet, ""},
		{shapes{"controlnet_cond_embedding.conv_in.weight": {1}, "conv_in.weight": {1}}, ComponentForm, ControlNet, ""},
		{shapes{in: {1, 4, 3, 3}}, ComponentForm, UNet, "original names"},
		{shapes{"conv_in.weight": {1}, "time_embedding.linear_1.weight": {1, 1}}, ComponentForm, UNet, ""},
		{shapes{"decoder.conv_in.weight": {1}}, ComponentForm, VAE, ""},
		{shapes{"encoder.layers.0.weight": {1}}, ComponentForm, TAESD, ""},
		{shapes{"0.weight": {64, 3, 3, 3}, "1.conv.0.weight": {64, 64, 3, 3}}, ComponentForm, TAESD, "original"},
		{shapes{"1.weight": {64, 4, 3, 3}, "3.conv.0.weight": {64, 64, 3, 3}}, ComponentForm, TAESD, "original"},
		{shapes{"text_model.embeddings.token_embedding.weight": {2, 768}}, ComponentForm, TextEncoderL, ""},
		{shapes{"embeddings.token_embedding.weight": {2, 768}}, ComponentForm, TextEncoderL, ""},
		{shapes{"text_model.embeddings.token_embedding.weight": {2, 1280}}, ComponentForm, TextEncoderG, ""},
		{shapes{"lora_unet_a.lora_down.weight": {1}, "lora_te1_b.alpha": {}}, LoRA, UnknownFamily, "kohya"},
		{shapes{"lora_unet_a.lora_down.weight": {1}, "hada_w1": {}}, UnknownForm, UnknownFamily, `first tensor is "hada_w1"`},
		{shapes{"unet.a.lora_A.weight": {1}}, LoRA, UnknownFamily, "PEFT"},
		{shapes{"unet.a.processor.to_q_lora.down.weight": {1}}, LoRA, UnknownFamily, "old diffusers"},
		{shapes{"unet.a.lora_linear_layer.down.weight": {1}}, LoRA, UnknownFamily, "old diffusers"},
		{shapes{}, UnknownForm, UnknownFamily, "without tensors"},
		{shapes{"latents": {1, 4, 8, 8}}, UnknownForm, UnknownFamily, `first tensor is "latents"`},
	} {
		list, err := Tensors(Synthetic("", c.tensors, kernels.F16))
		if err != nil {
			t.Fatal(err)
		}
		// A safetensors file is known by its content where its name does not say.
		for _, name := range []string{"m.safetensors", "m"} {
			path := filepath.Join(t.TempDir(), name)
			if err := Write(path, list, nil); err != nil {
				t.Fatal(err)
			}
			got, err := Recognise(path)
			if err != nil || got.Form != c.form || got.Family != c.family || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("%v: got %v, error %v; want form %d, %v (%s)", c.tensors, got, err, c.form, c.family, c.detail)
			}
		}
	}
}

func TestRecogniseOther(t *testing.T) {
	dir := layout(t, map[string]string{"a.ckpt": "PK\x03\x04", "b": "\x80\x02}q\x00", "c.gguf": "GGUF\x03\x00\x00\x00\x00\x00", "d.onnx": "x", "e": "", "f.txt": "hello, world",
		"g.safetensors": "cut"})
	for name, want := range map[string]Kind{
		"a.ckpt": {Form: Pickle}, "b": {Form: Pickle}, "c.gguf": {Detail: "a GGUF file"}, "d.onnx": {Detail: "an ONNX file"},
		"e": {Detail: "not a safetensors file"}, "f.txt": {Detail: "not a safetensors file"},
	} {
		if got, err := Recognise(filepath.Join(dir, name)); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v; want %+v", name, got, err, want)
		}
	}
	var fe *FileError
	if _, err := Recognise(filepath.Join(dir, "g.safetensors")); !errors.As(err, &fe) {
		t.Errorf("damaged file: error %v", err)
	}
	if got, err := Recognise("stabilityai/stable-diffusion-xl-base-1.0"); err != nil || got.Form != HubName || !strings.HasPrefix(got.String(), "a path that does not exist; if it names a model on a hub") {
		t.Errorf("hub name: %v, error %v", got, err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), "none", "./a/b", "a/b/c"} {
		if _, err := Recognise(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v, want not exist", path, err)
		}
	}
}
