package sdxl

import (
	"encoding/json"

	"github.com/goxl/goxl/tokenizer/prompt"
)

// Task is what a request asks for, by what it holds.
type Task string

// Tasks, by diffusers' names of them.
const (
	TextToImage  Task = "text-to-image"
	ImageToImage Task = "image-to-image"
	Inpaint      Task = "inpaint" // image-to-image of what a mask covers, or of what is around the image
)

// ofImage reports whether the task begins with an image.
func (t Task) ofImage() bool { return t != TextToImage }

// Parameters are the generation parameters of a run: every value as it is used, defaults filled in. They are plain
// data, named in JSON as in diffusers, and the only source of what PNG text, logs and answers say of an image.
type Parameters struct {
	Task            Task     `json:"task"`
	Prompts         []Prompt `json:"prompts,omitempty"` // none with embeddings alone
	EmbeddingsGiven bool     `json:"embeddings_given,omitempty"`

	PromptStyle       prompt.Style `json:"prompt_style,omitempty"` // "" is plain
	Emphasis          Emphasis     `json:"emphasis,omitempty"`     // "" is A1111's original
	TextualInversions []string     `json:"textual_inversions,omitempty"`

	Width           int `json:"width"`
	Height          int `json:"height"`
	ImagesPerPrompt int `json:"num_images_per_prompt"`
	Images          int `json:"images"` // of the batch

	Steps           int       `json:"num_inference_steps"` // of Timesteps or Sigmas, where they are given
	Timesteps       []float64 `json:"timesteps,omitempty"`
	Sigmas          []float64 `json:"sigmas,omitempty"`
	Guidance        float64   `json:"guidance_scale"`
	GuidancePerStep []float64 `json:"guidance_scale_per_step,omitempty"`
	GuidanceRescale float64   `json:"guidance_rescale,omitempty"`
	GuidanceStart   float64   `json:"guidance_start,omitempty"`
	GuidanceEnd     float64   `json:"guidance_end,omitempty"` // 0 is to the end

	PAGScale         float64  `json:"pag_scale,omitempty"` // 0 is none
	PAGAdaptiveScale float64  `json:"pag_adaptive_scale,omitempty"`
	PAGAppliedLayers []string `json:"pag_applied_layers,omitempty"`
	FreeU            *FreeU   `json:"freeu,omitempty"`

	Eta       float64 `json:"eta,omitempty"`
	ClipSkip  int     `json:"clip_skip,omitempty"`
	Interrupt int     `json:"interrupt,omitempty"`

	Interrupted *Interruption `json:"interrupted,omitempty"` // of a result: nil if all steps were taken

	Seed            uint64   `json:"seed"` // 0 in what Resolve gives for a request without one
	Seeds           []uint64 `json:"seeds,omitempty"`
	Subseed         uint64   `json:"subseed,omitempty"` // of the first image, the next ones follow; 0 without SubseedStrength
	SubseedStrength float64  `json:"subseed_strength,omitempty"`
	NoiseGiven      bool     `json:"latents_given,omitempty"` // the initial noise is the request's, not the seed's
	Scheduler       string   `json:"scheduler"`               // a name that scheduler.Config.As takes; "" if the class has none
	SchedulerClass  string   `json:"scheduler_class"`
	Preset          string   `json:"preset,omitempty"`      // "" is none
	PresetFrom      string   `json:"preset_from,omitempty"` // how the preset was chosen; "" is of one that was asked for

	OriginalSize         Size   `json:"original_size"`
	TargetSize           Size   `json:"target_size"`
	Crop                 [2]int `json:"crops_coords_top_left"`
	NegativeOriginalSize Size   `json:"negative_original_size,omitzero"`
	NegativeTargetSize   Size   `json:"negative_target_size,omitzero"`
	NegativeCrop         [2]int `json:"negative_crops_coords_top_left,omitzero"`

	Strength               float64  `json:"strength,omitempty"` // 0 is none: text-to-image, or DenoisingStart in its place
	DenoisingStart         float64  `json:"denoising_start,omitempty"`
	DenoisingEnd           float64  `json:"denoising_end,omitempty"`   // in an ensemble, where the first expert ends
	AestheticScore         *float64 `json:"aesthetic_score,omitempty"` // nil is of a model that is not conditioned on it; 0 is 0
	NegativeAestheticScore *float64 `json:"negative_aesthetic_score,omitempty"`
	Watermark              bool     `json:"watermark,omitempty"`

	Controls     []ControlParameters    `json:"controls,omitempty"`
	T2IAdapters  []T2IAdapterParameters `json:"t2i_adapters,omitempty"`
	Resize       Resize                 `json:"resize,omitempty"` // of an image that got another size than its own
	Mask         bool                   `json:"mask,omitempty"`   // there is one
	SoftMask     bool                   `json:"soft_mask,omitempty"`
	MaskBlur     float64                `json:"mask_blur,omitempty"`
	MaskInvert   bool                   `json:"mask_invert,omitempty"`
	InpaintFill  InpaintFill            `json:"inpaint_fill,omitempty"` // "" without inpainting
	MaskPadding  *int                   `json:"mask_padding,omitempty"` // nil is the whole image; Width and Height are what is computed
	Outpaint     Border                 `json:"outpaint,omitzero"`
	KeepUnmasked *bool                  `json:"keep_unmasked,omitempty"` // nil without inpainting
	Hires        *HiresParameters       `json:"hires,omitempty"`         // the second pass; Width and Height are the first's
	Upscale      *UpscaleParameters     `json:"upscale,omitempty"`       // of the task upscale, which has little else

	Model     string           `json:"model"`                // file or folder name
	ModelHash string           `json:"model_hash,omitempty"` // see Model.Hash; "" in what a Spec resolves
	LoRAs     []LoRAParameters `json:"loras,omitempty"`
	// Image prompts. An ensemble's refiner has none.
	IPAdapters []IPAdapterParameters `json:"ip_adapters,omitempty"`
	Device     string                `json:"device,omitempty"`
	Precision  string                `json:"precision,omitempty"`

	// What the model has from elsewhere, in an ensemble the first expert: names of files, folders or models. "" is nothing,
	// and all of what a Spec resolves.
	UNet       string `json:"unet,omitempty"`       // Options.UNet, which ModelHash is of then
	VAE        string `json:"vae,omitempty"`        // Options.VAE
	TAESD      string `json:"taesd,omitempty"`      // Options.TAESD
	Base       string `json:"base,omitempty"`       // Options.Missing, if something was taken from it
	Prediction string `json:"prediction,omitempty"` // Options.Prediction

	// Experts are all models of an ensemble with the fractions of the steps at which they end, the last at 1.
	Experts []ExpertParameters `json:"experts,omitempty"`
}

// ExpertParameters is a model's part in an ensemble.
type ExpertParameters struct {
	Model        string  `json:"model"`
	ModelHash    string  `json:"model_hash,omitempty"`
	DenoisingEnd float64 `json:"denoising_end"`
}

// Prompt is the texts of image i of the batch; the zero Prompt if there were embeddings in their place.
func (p *Parameters) Prompt(i int) Prompt {
	if p.ImagesPerPrompt < 1 || i/p.ImagesPerPrompt >= len(p.Prompts) {
		return Prompt{}
	}
	return p.Prompts[i/p.ImagesPerPrompt]
}

// String is the parameters as JSON, as logs and formatted output have them.
func (p Parameters) String() string {
	data, err := json.Marshal(p)
	if err != nil { // a NaN, which Resolve lets none through
		return err.Error()
	}
	return string(data)
}
