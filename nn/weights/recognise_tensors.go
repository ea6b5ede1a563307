package weights

import (
	"slices"
	"strings"
)

// recogniseTensors detects what a safetensors file holds by the names and shapes of its tensors.
func recogniseTensors(f *File) Kind {
	if k, ok := recogniseLoRA(f.names); ok {
		return k
	}
	has := func(name string) bool { return f.entries[name] != nil }
	prefixed := func(prefix string) bool {
		i, found := slices.BinarySearch(f.names, prefix)
		return found || i < len(f.names) && strings.HasPrefix(f.names[i], prefix)
	}
	dim := func(name string, i int) int {
		if e := f.entries[name]; e != nil && i < len(e.shape) {
			return e.shape[i]
		}
		return 0
	}
	const openCLIP = ".model.transformer.resblocks.9.mlp.c_proj.bias"
	switch {
	case has("edm_mean"), has("edm_std"):
		return Kind{Form: Checkpoint, Family: Playground25}
	case has("conditioner.embedders.1" + openCLIP):
		if dim("model.diffusion_model.input_blocks.0.0.weight", 1) == 9 {
			return Kind{Form: Checkpoint, Family: SDXLInpainting}
		}
		return Kind{Form: Checkpoint, Family: SDXLBase}
	case has("conditioner.embedders.0" + openCLIP):
		return Kind{Form: Checkpoint, Family: SDXLRefiner}
	case prefixed("model.diffusion_model.joint_blocks."):
		return Kind{Form: Checkpoint, Family: SD3}
	case prefixed("model.diffusion_model.double_blocks."), prefixed("double_blocks."):
		return Kind{Form: Checkpoint, Family: Flux}
	case prefixed("cond_stage_model.") && prefixed("model.diffusion_model."):
		return Kind{Form: Checkpoint, Family: StableDiffusion}
	case prefixed("control_model."), prefixed("controlnet_cond_embedding."):
		return Kind{Form: ComponentForm, Family: ControlNet}
	case prefixed("model.diffusion_model.input_blocks."):
		return Kind{Form: ComponentForm, Family: UNet, Detail: "original names, no text encoder or VAE beside it"}
	case has("conv_in.weight") && prefixed("time_embedding."):
		return Kind{Form: ComponentForm, Family: UNet}
	case has("decoder.conv_in.weight"), has("first_stage_model.decoder.conv_in.weight"):
		return Kind{Form: ComponentForm, Family: VAE}
	case has("encoder.layers.0.weight"), has("decoder.layers.0.weight"):
		return Kind{Form: ComponentForm, Family: TAESD}
	case dim("0.weight", 1) == 3 && has("1.conv.0.weight"), dim("1.weight", 1) == 4 && has("3.conv.0.weight"):
		return Kind{Form: ComponentForm, Family: TAESD, Detail: "original names"}
	}
	for _, prefix := range []string{"text_model.", ""} {
		switch dim(prefix+"embeddings.token_embedding.weight", 1) {
		case 768:
			return Kind{Form: ComponentForm, Family: TextEncoderL}
		case 1280:
			return Kind{Form: ComponentForm, Family: TextEncoderG}
		}
	}
	if len(f.names) == 0 {
		return Kind{Detail: "a safetensors file without tensors"}
	}
	return Kind{Detail: "a safetensors file whose first tensor is " + quote(f.names[0])}
}

// recogniseLoRA detects the format of an adapter.
func recogniseLoRA(names []string) (Kind, bool) {
	kohya := len(names) > 0
	for _, name := range names {
		switch {
		case strings.Contains(name, ".lora_A."), strings.Contains(name, ".lora_B."):
			return Kind{Form: LoRA, Detail: "PEFT names"}, true
		case strings.Contains(name, ".processor.to_") && strings.Contains(name, "_lora."),
			strings.Contains(name, ".lora.down."), strings.Contains(name, ".lora_linear_layer."):
			return Kind{Form: LoRA, Detail: "old diffusers names"}, true
		}
		kohya = kohya && (strings.HasPrefix(name, "lora_unet_") || strings.HasPrefix(name, "lora_te_") ||
			strings.HasPrefix(name, "lora_te1_") || strings.HasPrefix(name, "lora_te2_"))
	}
	return Kind{Form: LoRA, Detail: "kohya names"}, kohya
}
