package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
		{map[string]string{"config.json": `{"architectures":["CLIPVisionModelWithProjection"]}`}, Kind{ComponentForm, ImageEncoder, "CLIPVisionModelWithProjection"}, "a CLIP image encoder"},
		{map[string]string{"config.json": `{"architectures":["T5EncoderModel"]}`}, Kind{ComponentForm, UnknownFamily, "T5EncoderModel"}, "a component (T5"},
		{map[string]string{"config.json": `{}`}, Kind{Detail: "a folder with a config.json that names no class"}, "nothing that goxl knows"},
		{map[string]string{"model.safetensors": "x"}, Kind{Detail: "a folder around the file model.safetensors"}, "nothing"},
		{map[string]string{"pytorch_model.bin": "x"}, Kind{Detail: "a folder around the file pytorch_model.bin"}, "nothing"},
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
	type shapes = map[string][]int
	// net is a UNet in original names: two blocks a level, of the given depths, and what more there is beside it.
	net := func(prefix string, in, context, added int, depths []int, more shapes) shapes {
		s := shapes{"input_blocks.0.0.weight": {8, in, 3, 3}, "time_embed.0.weight": {8, 8}, "output_blocks.0.0.in_layers.0.weight": {8}, "middle_block.0.in_layers.0.weight": {8}}
		if added > 0 {
			s["label_emb.0.0.weight"] = []int{8, added}
		}
		for i, depth := range depths {
			path := fmt.Sprintf("input_blocks.%d.", 1+i)
			s[path+"0.in_layers.0.weight"] = []int{8}
			for k := range depth {
				s[fmt.Sprintf("%s1.transformer_blocks.%d.attn2.to_k.weight", path, k)] = []int{8, context}
			}
		}
		all := maps.Clone(more)
		if all == nil {
			all = shapes{}
		}
		for name, shape := range s {
			all[prefix+name] = shape
		}
		return all
	}
	const sgm, token0, token1 = "model.diffusion_model.", "conditioner.embedders.0.model.token_embedding.weight", "conditioner.embedders.1.model.token_embedding.weight"
	base, vae := shapes{token1: {9, 1280}}, shapes{"first_stage_model.decoder.conv_in.weight": {1}}
	with := func(s shapes, names ...string) shapes {
		s = maps.Clone(s)
		for _, name := range names {
			s[name] = []int{1}
		}
		return s
	}
	ten := []int{0, 0, 2, 2, 10, 10}
	for _, c := range []struct {
		tensors shapes
		form    Form
		family  Family
		detail  string
	}{
		{net(sgm, 4, 2048, 2816, ten, base), Checkpoint, SDXLBase, ""},
		{net(sgm, 4, 2048, 2816, ten, vae), Checkpoint, SDXLBase, ""},
		{net(sgm, 4, 2048, 2816, ten, with(base, "v_pred")), Checkpoint, SDXLBase, "v-prediction"},
		{net(sgm, 4, 2048, 2816, ten, with(base, "v_pred", "ztsnr")), Checkpoint, SDXLBase, "v-prediction, zero terminal SNR"},
		{net(sgm, 9, 2048, 2816, ten, base), Checkpoint, SDXLInpainting, ""},
		{net(sgm, 8, 2048, 2816, ten, base), Checkpoint, SDXLInstruct, ""},
		{net(sgm, 8, 2048, 2816, ten, with(base, "edm_vpred.sigma_max")), Checkpoint, SDXLInstruct, "v-prediction, EDM"},
		{net(sgm, 4, 2048, 2816, ten, with(base, "edm_vpred.sigma_max")), Checkpoint, CosXL, "v-prediction, EDM"},
		{net(sgm, 4, 2048, 2816, ten, with(base, "edm_mean", "edm_std")), Checkpoint, Playground25, "EDM"},
		{net(sgm, 4, 2048, 2816, []int{0, 0, 2, 2, 4, 4}, base), Checkpoint, SSD1B, ""},
		{net(sgm, 4, 2048, 2816, []int{0, 0, 1, 1, 2, 2}, base), Checkpoint, SegmindVega, ""},
		{net(sgm, 4, 2048, 2816, []int{0, 2, 5}, base), Checkpoint, KOALA700M, ""},
		{net(sgm, 4, 2048, 2816, []int{0, 2, 6}, base), Checkpoint, KOALA1B, ""},
		{net(sgm, 4, 1280, 2560, []int{0, 0, 4, 4, 4, 4, 0, 0}, shapes{token0: {9, 1280}}), Checkpoint, SDXLRefiner, ""},
		{net(sgm, 4, 80, 96, []int{0, 1}, shapes{token1: {9, 48}}), Checkpoint, SDXLBase, ""},
		{net(sgm, 4, 48, 88, []int{0, 1}, shapes{token0: {9, 48}}), Checkpoint, SDXLRefiner, ""},
		{net(sgm, 4, 48, 88, []int{0, 1}, shapes{"conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": {9, 48}}), Checkpoint, SDXLRefiner, ""},
		{net(sgm, 4, 2048, 2816, ten, nil), BareUNet, SDXLBase, ""},
		{net("", 4, 2048, 2816, ten, nil), BareUNet, SDXLBase, ""},
		{net("diffusion_model.", 9, 2048, 2816, ten, nil), BareUNet, SDXLInpainting, ""},
		{net("model.model.", 4, 1280, 2560, []int{0, 4}, nil), BareUNet, SDXLRefiner, ""},
		{net("net.", 4, 80, 96, []int{0, 4}, nil), BareUNet, UnknownFamily, ""},
		{net("", 4, 768, 0, []int{1, 1}, nil), BareUNet, StableDiffusion, ""},
		{net(sgm, 4, 1024, 0, []int{1, 1}, vae), Checkpoint, StableDiffusion, ""},
		{net(sgm, 4, 768, 0, []int{1, 1}, with(vae, "cond_stage_model.transformer.x")), Checkpoint, StableDiffusion, ""},
		{shapes{"model.diffusion_model.joint_blocks.0.x": {1}}, Checkpoint, SD3, ""},
		{shapes{"double_blocks.0.img_attn.x": {1}}, Checkpoint, Flux, ""},
		{shapes{"control_model.x": {1}}, ComponentForm, ControlNet, ""},
		{shapes{"controlnet_cond_embedding.conv_in.weight": {1}, "conv_in.weight": {1}}, ComponentForm, ControlNet, ""},
		{shapes{"conv_in.weight": {8, 4, 3, 3}, "time_embedding.linear_1.weight": {8, 8}, "up_blocks.0.resnets.0.norm1.weight": {8}, "down_blocks.0.resnets.0.norm1.weight": {8},
			"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": {8, 2048}, "add_embedding.linear_1.weight": {8, 2816}, "v_pred": {0}}, BareUNet, SDXLBase, "v-prediction"},
		{shapes{"control_add_embedding.linear_1.weight": {1}}, ComponentForm, ControlNet, "union"},
		{shapes{"lora_controlnet": {1}, "input_blocks.0.0.up": {1}}, ComponentForm, ControlNet, "Control-LoRA"},
		{shapes{"image_proj.proj.weight": {1}, "ip_adapter.1.to_k_ip.weight": {1}}, ComponentForm, IPAdapter, ""},
		{shapes{"image_proj.proj.weight": {8192, 1280}, "ip_adapter.1.to_k_ip.weight": {640, 2048}}, ComponentForm, IPAdapter, "SDXL, base, reads ViT-bigG/14"},
		{shapes{"image_proj.proj_in.weight": {1280, 1280}, "ip_adapter.1.to_k_ip.weight": {640, 2048}}, ComponentForm, IPAdapter, "SDXL, plus, reads ViT-H/14"},
		{shapes{"image_proj.proj.weight": {3072, 1024}, "ip_adapter.1.to_k_ip.weight": {320, 768}}, ComponentForm, IPAdapter, "Stable Diffusion 1, base"},
		{shapes{"image_proj.norm.weight": {2048}, "image_proj.proj.0.weight": {1024, 512}, "ip_adapter.1.to_k_ip.weight": {640, 2048}}, ComponentForm, IPAdapter, "FaceID"},
		{shapes{"vision_model.embeddings.position_embedding.weight": {257, 1664}, "visual_projection.weight": {1280, 1664}}, ComponentForm, ImageEncoder, "ViT-bigG/14"},
		{shapes{"adapter.body.0.resnets.0.block1.weight": {1}}, ComponentForm, T2IAdapter, ""},
		{shapes{"body.0.block1.weight": {1}, "conv_in.weight": {320, 768, 3, 3}}, ComponentForm, T2IAdapter, "original"},
		{shapes{"body.0.rdb1.conv1.weight": {1}}, ComponentForm, ESRGAN, ""},
		{shapes{"params_ema.body.0.rdb1.conv1.weight": {1}}, ComponentForm, ESRGAN, ""},
		{shapes{"RRDB_trunk.0.RDB1.conv1.weight": {1}}, ComponentForm, ESRGAN, ""},
		{shapes{"model.1.sub.0.RDB1.conv1.0.weight": {1}}, ComponentForm, ESRGAN, ""},
		{shapes{"params.body.0.weight": {8, 3, 3, 3}, "params.body.1.weight": {8}, "params.body.2.weight": {8, 8, 3, 3}}, ComponentForm, ESRGAN, ""},
		{shapes{"clip_l": {2, 768}, "clip_g": {2, 1280}}, EmbeddingForm, SDXLBase, ""},
		{shapes{"emb_params": {2, 768}}, EmbeddingForm, StableDiffusion, ""},
		{shapes{"<cat>": {1280}}, EmbeddingForm, UnknownFamily, ""},
		{shapes{"token_embedding.weight": {2, 1280}, "transformer.resblocks.0.ln_1.bias": {1280}}, ComponentForm, TextEncoderG, "OpenCLIP"},
		{shapes{"decoder.conv_in.weight": {1}}, ComponentForm, VAE, ""},
		{shapes{"encoder.layers.0.weight": {1}}, ComponentForm, TAESD, ""},
		{shapes{"0.weight": {64, 3, 3, 3}, "1.conv.0.weight": {64, 64, 3, 3}}, ComponentForm, TAESD, "original"},
		{shapes{"1.weight": {64, 4, 3, 3}, "3.conv.0.weight": {64, 64, 3, 3}}, ComponentForm, TAESD, "original"},
		{shapes{"text_model.embeddings.token_embedding.weight": {2, 768}}, ComponentForm, TextEncoderL, ""},
		{shapes{"embeddings.token_embedding.weight": {2, 768}}, ComponentForm, TextEncoderL, ""},
		{shapes{"text_model.embeddings.token_embedding.weight": {2, 1280}}, ComponentForm, TextEncoderG, ""},
		{shapes{"lora_unet_a.lora_down.weight": {1}, "lora_te1_b.alpha": {}}, LoRA, UnknownFamily, "kohya"},
		{shapes{"lora_unet_a.lora_down.weight": {1}, "b": {}, "c": {}}, UnknownForm, UnknownFamily, `first tensor is "b"`},
		{shapes{"lora_unet_a_attn2_to_k.lora_down.weight": {4, 2048}}, LoRA, SDXLBase, "kohya"},
		{shapes{"lora_unet_a_attn2_to_k.lora_down.weight": {4, 768}}, LoRA, StableDiffusion, "kohya"},
		{shapes{"lora_unet_double_blocks_0.lora_down.weight": {4, 768}}, LoRA, Flux, "kohya"},
		{shapes{"unet.x.attn2.to_k.lora_A.weight": {4, 2048}}, LoRA, SDXLBase, "PEFT"},
		{shapes{"lycoris_a.hada_w1_a": {4, 8}, "lycoris_a.alpha": {}}, LoRA, UnknownFamily, "LyCORIS"},
		{shapes{"diffusion_model.a.lokr_w1": {4, 8}}, LoRA, UnknownFamily, "LoKr"},
		{shapes{"oft_unet_a.oft_blocks": {4, 8, 8}}, LoRA, UnknownFamily, "OFT"},
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
	const neither = "not a safetensors file or pickle of PyTorch"
	dir := layout(t, map[string]string{"a.ckpt": "PK\x03\x04", "b": "\x80\x02}q\x00", "c.gguf": "GGUF\x03\x00\x00\x00\x00\x00", "d.onnx": "x", "e": "", "f.txt": "hello, world",
		"g.safetensors": "cut", "h.ckpt": "x"})
	for name, want := range map[string]Kind{
		"c.gguf": {Detail: "a GGUF file"}, "d.onnx": {Detail: "an ONNX file"},
		"e": {Detail: neither}, "f.txt": {Detail: neither}, "h.ckpt": {Detail: neither},
	} {
		if got, err := Recognise(filepath.Join(dir, name)); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v; want %+v", name, got, err, want)
		}
	}
	var fe *FileError
	for _, name := range []string{"a.ckpt", "b", "g.safetensors"} {
		if _, err := Recognise(filepath.Join(dir, name)); !errors.As(err, &fe) || filepath.Base(fe.File) != name {
			t.Errorf("damaged file %s: error %v", name, err)
		}
	}
	if got, err := Recognise(pickles + "checkpoint.ckpt"); err != nil || got.Detail != `a file whose first tensor is "bias"` {
		t.Errorf("a pickle: %v, error %v", got, err)
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

// TestFlagsOfImagePrompts has what takes IP-Adapters and their encoders, or says why nothing does.
func TestFlagsOfImagePrompts(t *testing.T) {
	for k, want := range map[Kind]string{
		{Form: ComponentForm, Family: IPAdapter, Detail: "SDXL, plus, reads ViT-H/14"}: "-ip-adapter",
		{Form: ComponentForm, Family: IPAdapter}:                                       "-ip-adapter",
		{Form: ComponentForm, Family: IPAdapter, Detail: "FaceID"}:                     "",
		{Form: ComponentForm, Family: IPAdapter, Detail: "Stable Diffusion 1, plus"}:   "",
		{Form: ComponentForm, Family: ImageEncoder}:                                    "-ip-encoder",
	} {
		flag, more := k.Flag()
		if flag != want || more == "" {
			t.Errorf("%v: flag %q, %q, want %q", k, flag, more, want)
		}
	}
}
