package weights

import "strings"

// Form is the way in which weights are stored.
type Form uint8

// The forms that [Recognise] detects.
const (
	UnknownForm   Form = iota
	ModelFolder        // diffusers layout, with model_index.json
	Checkpoint         // a whole model in one safetensors file, or a UNet and some of the rest
	BareUNet           // a UNet in one safetensors file, without text encoders and VAE
	ComponentForm      // another component: a folder with config.json, or a safetensors file
	LoRA               // an adapter
	EmbeddingForm      // a textual inversion
	HubName            // no path that exists, and formed like a hub's "organisation/name"
)

// Family is the architecture that weights belong to.
type Family uint8

// The families that [Recognise] detects.
const (
	UnknownFamily Family = iota
	SDXLBase
	SDXLRefiner
	SDXLInpainting // nine input channels
	SDXLInstruct   // eight: InstructPix2Pix, CosXL Edit
	SSD1B
	SegmindVega
	KOALA700M
	KOALA1B
	Playground25    // SDXL base with EDM scheduling and its own latent statistics
	CosXL           // SDXL base, v-prediction with EDM scheduling
	StableDiffusion // 1.x and 2.x
	ControlNet
	T2IAdapter
	IPAdapter
	SD3
	Flux
	UNet // components of which no more is known
	VAE
	TAESD
	ESRGAN
	TextEncoderL // CLIP ViT-L/14, text_encoder
	TextEncoderG // OpenCLIP ViT-bigG/14, text_encoder_2
	ImageEncoder // CLIPVisionModelWithProjection
)

var familyNames = map[Family]string{
	SDXLBase: "SDXL base", SDXLRefiner: "SDXL refiner", SDXLInpainting: "SDXL inpainting", SDXLInstruct: "SDXL InstructPix2Pix",
	SSD1B: "SSD-1B", SegmindVega: "Segmind-Vega", KOALA700M: "KOALA-700M", KOALA1B: "KOALA-1B", Playground25: "Playground v2.5", CosXL: "CosXL",
	StableDiffusion: "Stable Diffusion 1 or 2", ControlNet: "ControlNet", T2IAdapter: "T2I-Adapter", IPAdapter: "IP-Adapter", SD3: "Stable Diffusion 3", Flux: "Flux",
	UNet: "UNet", VAE: "VAE", TAESD: "TAESD (tiny VAE)", ESRGAN: "ESRGAN upscaler", TextEncoderL: "CLIP ViT-L text encoder", TextEncoderG: "OpenCLIP ViT-bigG text encoder", ImageEncoder: "CLIP image encoder",
}

func (f Family) String() string { return familyNames[f] }

// SDXL reports whether goxl's pipeline is that of the family.
func (f Family) SDXL() bool { return f >= SDXLBase && f <= CosXL }

// Kind is what a path holds.
type Kind struct {
	Form   Form
	Family Family
	Detail string // the class, the adapter's format, or what was found instead; may be empty
}

var formNames = map[Form]string{
	ModelFolder: "model folder", Checkpoint: "single-file checkpoint", BareUNet: "UNet alone, without text encoders and VAE", ComponentForm: "component",
	LoRA: "LoRA adapter", EmbeddingForm: "textual inversion embedding",
	HubName: "a path that does not exist; if it names a model on a hub, goxl pull downloads it",
}

// String names the kind with its article, as in "an SDXL base model folder (StableDiffusionXLPipeline)".
func (k Kind) String() string {
	noun := formNames[k.Form]
	if noun == "" {
		noun = "nothing that goxl knows"
	}
	if k.Family != UnknownFamily {
		noun = k.Family.String() + " " + noun
	}
	switch {
	case k.Form == UnknownForm, k.Form == HubName: // sentences of their own
	case strings.HasPrefix(noun, "SD"), strings.HasPrefix(noun, "SS"), strings.HasPrefix(noun, "OpenCLIP"), strings.HasPrefix(noun, "IP"), strings.HasPrefix(noun, "ES"):
		noun = "an " + noun
	default:
		noun = "a " + noun
	}
	if k.Detail != "" {
		noun += " (" + k.Detail + ")"
	}
	return noun
}

// Flag is the flag of goxl that takes a path of the kind, "" if none does; more is what to add, in words.
func (k Kind) Flag() (flag, more string) {
	switch {
	case k.Form == ModelFolder && k.Family.SDXL(), k.Form == Checkpoint && k.Family.SDXL():
		return "-model", ""
	case k.Form == BareUNet && k.Family != StableDiffusion:
		return "-unet", "over a -model that has text encoders and a VAE"
	case k.Form == LoRA && (k.Family == UnknownFamily || k.Family.SDXL()):
		return "-lora", ""
	case k.Form == EmbeddingForm && k.Family != StableDiffusion:
		return "-embedding", ""
	case k.Form == ComponentForm && k.Family == VAE:
		return "-vae", ""
	case k.Form == ComponentForm && k.Family == TAESD:
		return "-taesd", ""
	case k.Family == ControlNet && k.Detail == lllite:
		return "", "it patches the UNet's attention, which goxl does not do"
	case k.Family == ControlNet && k.Form == ComponentForm:
		return "-control", "with a -control-image"
	case k.Family == T2IAdapter && k.Form == ComponentForm:
		return "-t2i-adapter", "with a -t2i-image"
	case k.Family == ControlNet && k.Form == ModelFolder:
		return "", "its folder controlnet is given with -control, beside a -model"
	case k.Family == IPAdapter && (k.Detail == "" || strings.HasPrefix(k.Detail, forSDXL)):
		return "-ip-adapter", "with -ip-encoder and -ip-image"
	case k.Family == IPAdapter:
		return "", "only IP-Adapters of SDXL, base and plus, are supported"
	case k.Family == ImageEncoder:
		return "-ip-encoder", "beside an -ip-adapter"
	case k.Family == ESRGAN:
		return "goxl upscale -model", ""
	case k.Family == TextEncoderL, k.Family == TextEncoderG:
		return "", "text encoders are taken from a model alone"
	case k.Family == StableDiffusion, k.Family == SD3, k.Family == Flux:
		return "", "only the SDXL family is supported"
	}
	return "", ""
}
