package sdxl

import (
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"time"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// Tensor is dense float32 data on the host. Latents are [N, C, H, W], prompt embeddings [N, T, C], as in diffusers.
type Tensor = nn.Tensor

// Request says what to generate. Its zero value with a prompt is usable: a field that is not given takes the model's
// own value (goxl.json's) or, where the model has none, diffusers'. What it holds says the task: text-to-image without
// an image, image-to-image (img2img) with one, on a base or a refiner, inpainting with a mask or a border beside it.
type Request struct {
	Prompt          string
	Prompt2         string  // for the second text encoder; "" is Prompt
	NegativePrompt  *string // nil is None: zeros with the model's force_zeros_for_empty_prompt, else an empty prompt
	NegativePrompt2 *string // for the second text encoder; nil or "" is NegativePrompt, and without that it may go unused

	// PromptStyle is how prompts are read; "" is prompt.Plain, diffusers' own. Where a style has them, prompts have
	// schedules, sub-prompts and any length; the shorter side of guidance is padded with empty chunks, always.
	PromptStyle prompt.Style
	Emphasis    Emphasis // of style a1111; "" is EmphasisOriginal
	// TextualInversions are embeddings that prompts name: in the styles plain, long and a1111 by the name itself, in
	// comfy as embedding:NAME.
	TextualInversions []TextualInversion

	// Prompts are texts of their own for each image, or for each ImagesPerPrompt images, of one batch. They take the
	// place of the four fields above.
	Prompts []Prompt
	// Embeddings take the place of Prompt, Prompt2 and Prompts, and negative ones of the negative prompts. Without those,
	// and with guidance, the negative side is NegativePrompt's, as if there were prompts.
	Embeddings *Embeddings

	// LoRAs are adapters that change the weights for this request, one after the other; the model itself stays as it is. A
	// set that was used before costs little; see Options.AdapterMemory.
	LoRAs []LoRA
	// LoRADir is a folder of adapters that prompts name, as in <lora:NAME:0.8>; such tags are taken out of prompts of every
	// style then. Without it they are taken out of prompts of the styles that have them, with a warning.
	LoRADir string

	// IPAdapters are image prompts, beside the text. A base's refiner has none in an ensemble.
	IPAdapters []IPAdapter

	Width, Height   int // pixels, multiples of 8; 0 is the model's own size, or the image's, which others resize
	ImagesPerPrompt int // num_images_per_prompt, of one batch; 0 is 1

	Steps            int       // num_inference_steps, 1 to 1000; 0 is the model's own number, or 50
	Guidance         *float64  // guidance_scale; up to 1 there is no negative side; nil is the model's own, or 5
	GuidancePerStep  []float64 // in place of Guidance, a scale for each step that is run, of both passes with Hires; the last one holds for the rest
	GuidanceRescale  *float64  // guidance_rescale φ, 0 to 1; nil is the model's own, or 0
	GuidanceStart    float64   // fraction of the steps, 0 and more, below 1, from which on there is guidance; before it there is no negative side
	GuidanceEnd      float64   // fraction of the steps after which there is no guidance any more, GuidanceStart to 1; 0 is 1
	PAGScale         float64   // pag_scale of perturbed attention guidance, with other guidance or alone; 0 is none, diffusers' pipelines have 3
	PAGAdaptiveScale float64   // pag_adaptive_scale: the scale is less by so much for each timestep after 1000, down to 0
	PAGAppliedLayers []string  // pag_applied_layers: regular expressions, of self-attentions' module paths; nil is "mid". See Spec.PAGLayers
	FreeU            *FreeU    // nil is none
	Eta              *float64  // η of DDIM and TCD, 0 to 1; nil is 0
	Seed             *uint64   // of one generator (torch's of the CPU) that draws all noise of the batch; nil is random
	Seeds            []uint64  // in place of Seed, one generator for each image, so that each is as if generated alone
	Subseed          *uint64   // A1111's variation seed: image i of the batch has Subseed + i; nil is random
	SubseedStrength  float64   // 0 to 1: how far the first noise is turned from the seed's to the subseed's, as A1111 does
	Scheduler        string    // a name that scheduler.Lookup takes, A1111's and ComfyUI's too; "" is the model's own
	Preset           string    // a name of PresetNames, for few-step models; "" is that of a LoRA's or the model's file, if there is one; see PresetOf
	PresetFrom       string    // how Preset was chosen, for Parameters; "" by who asks. Spec.ChoosePreset sets it
	Timesteps        []float64 // custom, in place of Steps
	Sigmas           []float64 // custom, in place of Steps
	ClipSkip         int       // layers of the text encoders to skip for the positive prompt; 0 is none
	DenoisingEnd     float64   // fraction of the steps, in (0, 1), at which the run ends and leaves the rest to a refiner; 0 runs to the end
	Interrupt        int       // steps after which the run stops early and decodes what is there; 0 runs them all
	Latents          *Tensor   // initial noise of unit variance in place of the seed's, for text-to-image
	OriginalSize     Size      // micro-conditioning: original_size; zero is the image's size
	TargetSize       Size      // micro-conditioning: target_size; zero is the image's size
	CropTop          int       // micro-conditioning: crops_coords_top_left
	CropLeft         int
	NegativeCropTop  int // of a refiner, and where text-to-image uses the sizes below
	NegativeCropLeft int

	// Text-to-image uses them only if both are given. A batch then mixes those of the two sides of guidance, as diffusers'
	// does, so that an image is not as if generated alone.
	NegativeOriginalSize Size
	NegativeTargetSize   Size

	// Image-to-image.
	Image                  image.Image // one image; without Width and Height its size, rounded down to the scale factor, is the result's
	ImageLatents           *Tensor     // in place of Image, as Result.Latents gives them
	Strength               float64     // in (0, 1]: the fraction of the steps that is run; 0 is the model's own, or 0.3
	DenoisingStart         float64     // in (0, 1): Image is already that far denoised, and Strength is unused; 0 is none
	Resize                 Resize      // how Image gets Width and Height, and Mask and control images with it; "" is ResizeStretch
	AestheticScore         *float64    // nil is 6; of models that are conditioned on it
	NegativeAestheticScore *float64    // nil is 2.5

	Controls    []Control    // ControlNets
	T2IAdapters []T2IAdapter // T2I-Adapters

	// Inpainting repaints the part of Image that Mask says, or what is around it; the rest steers that. Where Mask is
	// black the result's pixels are Image's own. An inpainting model, whose UNet has 9 input channels, reads the mask
	// and the masked image at every step; others get the image, with the noise of the next step, back into their
	// latents after each; where the VAE has latents_mean these are normalised, which diffusers' inpainting forgets.
	// Draws come in diffusers' order: Image's posterior, unless an inpainting model has Strength 1; the noise; the
	// masked image's posterior, of every model; the steps' noise. Each generator of Seeds draws all of them, where
	// diffusers has the first one draw both posteriors for all images. Strength 0 is DefaultInpaintStrength.
	// ImageLatents in Image's place have no pixels to keep.
	Mask         image.Image // white repaints, 128 of 255 and above of its luminance; one of another size than Image's is resized
	SoftMask     bool        // differential diffusion: grey repaints in the last steps, from that on where it is t/t_first or more, as ComfyUI does
	MaskBlur     float64     // standard deviation in pixels, of Pillow's GaussianBlur; the border of Outpaint is blurred too
	MaskInvert   bool        // black repaints
	InpaintFill  InpaintFill // what is repainted begins with; "" is FillOriginal
	MaskPadding  *int        // computes the part around the mask alone, with so many more pixels (padding_mask_crop), at Width × Height; nil is the whole image
	Outpaint     Border      // pixels to add, repainted beside what Mask says; they begin with the image's outermost pixels
	KeepUnmasked *bool       // false keeps the VAE's pixels outside of the mask; nil is true
	Hires        *Hires      // a second pass in a larger size, of text-to-image; nil is none

	Watermark   bool // diffusers' invisible watermark
	LatentsOnly bool // output_type="latent": do not decode, Result has no Images

	// Taps read or replace what modules compute, and read the probabilities of attention, as forward hooks and attention
	// processors do. Their functions must not call a model of the host, which would wait for ever.
	Taps Taps

	// Progress is called after every step, on a card as soon as the step is queued: up to two are under way then. It
	// must not call a model of the host.
	Progress func(Progress)
	// OnStep (callback_on_step_end) is called with the latents [N, C, H, W] after every step, which waits for it; step
	// counts from 1, as Progress.Step. It may call the model, for instance Decode for a preview, and ends the run by an
	// error: by [ErrInterrupt] as Interrupt does. The latents are a copy: to change them, step a [Run] and call
	// SetLatents.
	OnStep func(step int, latents *Tensor) error
	// Stop ends the run after the step during which it is closed, the first at the earliest, as A1111's interrupt does: the
	// image is that of x0, the latents without noise that the UNet predicted at that step (those of Interrupt and
	// [ErrInterrupt] have the noise of the next step). Parameters.Interrupted says so. Once the last step is begun, it
	// changes nothing. Nil is never.
	Stop <-chan struct{}
	// Preview shows what the images are going to be, every few steps; nil does not.
	Preview *Preview
	// OnComputed is called once the device has computed the last image, which is not finished yet on the host, and is free
	// for other requests. It is not called where that fails, or with LatentsOnly.
	OnComputed func()
}

// Taps are of each component; see [nn.Tap]. Paths are module paths as in the component's checkpoint. The UNet's batch
// has the negative side first, then the positive one, where a step has guidance. Taps of a component that a run has no
// use for are ignored: of text encoders with prompt embeddings or in a refiner, of the VAE with LatentsOnly, of its decoder
// where TAESD decodes, of TAESD where the VAE does. Reading "**" lists every module.
type Taps struct{ TextEncoder, TextEncoder2, UNet, VAE, TAESD []nn.Tap }

// ErrInterrupt is what Request.OnStep returns to have the images of the steps so far.
var ErrInterrupt = errors.New("sdxl: interrupted")

// Prompt is the texts of an image; see Request, whose fields of the same names it takes the place of.
type Prompt struct {
	Prompt          string  `json:"prompt"`
	Prompt2         string  `json:"prompt_2,omitempty"`
	NegativePrompt  *string `json:"negative_prompt,omitempty"`
	NegativePrompt2 *string `json:"negative_prompt_2,omitempty"`
}

// Embeddings are prompts as text encoders give them; see [Model.EncodePrompt]. T is the number of tokens, C the UNet's
// cross_attention_dim, P the projection_dim of text_encoder_2. The names are diffusers'.
type Embeddings struct {
	Prompt         *Tensor // prompt_embeds [N, T, C]
	Pooled         *Tensor // pooled_prompt_embeds [N, P]
	Negative       *Tensor // negative_prompt_embeds [N, T, C], or nil
	NegativePooled *Tensor // negative_pooled_prompt_embeds [N, P], or nil
}

// Size is in pixels. In JSON it is [height, width], as diffusers' parameters are.
type Size struct{ Height, Width int }

// MarshalJSON implements json.Marshaler.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal([]int{s.Height, s.Width}) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Size) UnmarshalJSON(data []byte) error {
	var pair []int
	if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("sdxl: a size is %s: must be [height, width]", data)
	}
	*s = Size{pair[0], pair[1]}
	return nil
}

// Progress is how far a run is.
type Progress struct {
	Step, Steps int // steps done, of how many: evaluations of the UNet, of which Heun has two a step
	Elapsed     time.Duration
	Left        time.Duration // estimate from the steps so far
}

// Result is what a run gives.
type Result struct {
	Images     []*image.NRGBA // opaque, one for each of Parameters.Images
	Latents    *Tensor        // final latents [N, C, H, W] before the VAE, still multiplied by its scaling_factor; x0 after Stop
	Parameters Parameters     // what the run was made with, every value as it was used
	Steps      int            // UNet evaluations that Step has done, those of Predict not counted
	Warnings   []string       // a prompt that was cut at 77 tokens, for instance
}

// Blank is an image of a size without pixels, for Resolve before the true one is there.
type Blank struct{ Size }

// ColorModel implements image.Image.
func (Blank) ColorModel() color.Model { return color.NRGBAModel }

// Bounds implements image.Image.
func (b Blank) Bounds() image.Rectangle { return image.Rect(0, 0, b.Width, b.Height) }

// At implements image.Image.
func (Blank) At(int, int) color.Color { return color.NRGBA{A: 0xff} }
