package weights

import "strings"

// adapterParts are what the names of an adapter's tensors end with or contain, and the format that they show; "" of
// those that several formats have.
var adapterParts = []struct{ part, format string }{
	{".lora_A.", "PEFT names"}, {".lora_B.", "PEFT names"}, {".lora_A", "PEFT names"}, {".lora_magnitude_vector", "PEFT names"},
	{".lora.down.", "old diffusers names"}, {"_lora.down.", "old diffusers names"}, {".lora_linear_layer.", "old diffusers names"},
	{".lora_down.", ""}, {".lora_up.", ""}, {".lora_mid.", ""},
	{".hada_w1", "LoHa"}, {".lokr_w", "LoKr"}, {".oft_blocks", "OFT"}, {".oft_diag", "OFT"}, {".dora_scale", ""}, {".a1.weight", "GLoRA"},
}

// adapterPrefixes begin the names of those trainers' adapters, with what they are called.
var adapterPrefixes = []struct{ prefix, format string }{
	{"lora_unet_", "kohya names"}, {"lora_te_", "kohya names"}, {"lora_te1_", "kohya names"}, {"lora_te2_", "kohya names"},
	{"lycoris_", "LyCORIS names"}, {"oft_unet_", "kohya OFT"}, {"bundle_emb.", ""},
}

// recogniseLoRA detects an adapter, its format and, by the width of what its cross-attention reads, its family.
func recogniseLoRA(f tensorIndex) (Kind, bool) {
	adapter, format := 0, ""
	for _, name := range f.names {
		if strings.HasPrefix(name, "lora_controlnet") || strings.HasPrefix(name, "lllite_") {
			return Kind{}, false // see recogniseControl
		}
		part := ""
		found := false
		for _, p := range adapterPrefixes {
			if strings.HasPrefix(name, p.prefix) {
				part, found = p.format, true
			}
		}
		for _, p := range adapterParts {
			if !found && strings.Contains(name, p.part) {
				part, found = p.format, true
			}
		}
		if found || strings.HasSuffix(name, ".alpha") || strings.HasSuffix(name, ".diff") || strings.HasSuffix(name, ".diff_b") {
			adapter++
		}
		if format == "" {
			format = part
		}
	}
	if adapter == 0 || 2*adapter < len(f.names) {
		return Kind{}, false
	}
	return Kind{Form: LoRA, Family: adapterFamily(f), Detail: format}, true
}

// adapterFamily tells by the down matrices of cross-attention, whose columns are the width of the prompt embeddings.
func adapterFamily(f tensorIndex) Family {
	for _, name := range f.names {
		switch {
		case strings.Contains(name, "double_blocks"), strings.Contains(name, "single_transformer_blocks"):
			return Flux
		case strings.Contains(name, "joint_blocks"):
			return SD3
		}
		cross := strings.Contains(name, "attn2_to_k") || strings.Contains(name, "attn2.to_k") || strings.Contains(name, "attn2.processor.to_k")
		if !cross || !strings.Contains(name, "down") && !strings.Contains(name, "lora_A") {
			continue
		}
		switch f.dim(name, 1) {
		case 2048:
			return SDXLBase
		case 1280:
			return SDXLRefiner
		case 768, 1024:
			return StableDiffusion
		}
	}
	return UnknownFamily
}

// lllite is the detail of a ControlNet-LLLite.
const lllite = "ControlNet-LLLite"

// recogniseControl detects what steers a UNet beside the prompt.
func recogniseControl(f tensorIndex) (Kind, bool) {
	for _, c := range []struct {
		prefix string
		family Family
		detail string
	}{
		{"lora_controlnet", ControlNet, "Control-LoRA"}, {"lllite_", ControlNet, lllite},
		{"control_add_embedding.", ControlNet, "union"}, {"task_embedding", ControlNet, "union"},
		{"control_model.", ControlNet, ""}, {"controlnet_cond_embedding.", ControlNet, ""}, {"controlnet_", ControlNet, ""},
		{"input_hint_block.", ControlNet, "original names"}, {"zero_convs.", ControlNet, "original names"},
		{"image_proj.", IPAdapter, ipAdapterDetail(f)}, {"ip_adapter.", IPAdapter, ""},
		{"adapter.body.", T2IAdapter, ""}, {"body.0.resnets.0.block1.", T2IAdapter, ""}, {"body.0.block1.", T2IAdapter, "original names"},
	} {
		if f.has(c.prefix) {
			return Kind{Form: ComponentForm, Family: c.family, Detail: c.detail}, true
		}
	}
	return Kind{}, false
}

// forSDXL begins the detail of an IP-Adapter of SDXL that goxl computes.
const forSDXL = "SDXL"

// ipAdapterDetail tells an IP-Adapter's kind, its family by the width of its tokens, and of SDXL's the image encoder by
// the width of what it reads.
func ipAdapterDetail(f tensorIndex) string {
	const part = "image_proj."
	base, plus := f.dim(part+"proj.weight", 1), f.dim(part+"proj_in.weight", 1)
	family := map[int]string{2048: forSDXL, 768: "Stable Diffusion 1"}[f.dim("ip_adapter.1.to_k_ip.weight", 1)]
	kind, encoder := "", ""
	switch {
	case f.has(part + "perceiver_resampler."):
		return "FaceID plus"
	case base > 0:
		kind, encoder = "base", map[int]string{1024: "ViT-H/14", 1280: "ViT-bigG/14"}[base]
	case f.has(part + "proj.3."):
		return "full face"
	case f.has(part + "norm.weight"):
		return "FaceID"
	case plus > 0:
		kind, encoder = "plus", map[int]string{1280: "ViT-H/14", 1664: "ViT-bigG/14"}[plus]
	}
	switch {
	case family == "" || kind == "":
		return ""
	case encoder == "" || family != forSDXL:
		return family + ", " + kind
	}
	return family + ", " + kind + ", reads " + encoder
}
