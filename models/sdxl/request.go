package sdxl

import (
	"image"
	"time"
)

// Request says what to draw. [Pipeline.NewRequest] fills in the model's defaults, [NewRequest] and [NewRefineRequest] diffusers'; the zero value of a field that
// they leave alone means "not given", as None does in diffusers.
type Request struct {
	Prompt    string
	Prompt2   string  // for the second encoder; "" is Prompt
	Negative  *string // nil is None: zeros where the model says so, else an empty prompt
	Negative2 string  // for the second encoder; "" is Negative

	Width, Height int // pixels, multiples of 8; 0 is the model's own size
	Count         int // images per prompt, drawn as one batch from one generator

	Steps           int     // 1…1000
	Guidance        float64 // guidance scale; up to 1 there is no negative branch
	GuidanceRescale float64 // φ in [0, 1]
	Eta             float64 // DDIM's and TCD's η in [0, 1]
	Seed            uint64
	Scheduler       string    // a name of scheduler.Names, "" the model's own
	Timesteps       []float64 // custom, in place of Steps
	Sigmas          []float64 // custom, in place of Steps
	ClipSkip        int       // layers of the text encoders to skip for the positive prompt, 0 none

	OriginalSize, TargetSize                 Size // zero is Height×Width
	CropTop, CropLeft                        int
	NegativeOriginalSize, NegativeTargetSize Size // used only if both are given
	NegativeCropTop, NegativeCropLeft        int

	DenoisingEnd float64  // in (0, 1): stop there and leave the rest to a refiner; 0 runs to the end
	Latents      *Latents // initial noise of unit variance in place of Seed's

	// Image to image only.
	Image                  image.Image // one picture; its size, rounded down to the scale factor, is the result's
	ImageLatents           *Latents    // in place of Image, as Result.Latents gives them
	Strength               float64     // (0, 1]
	DenoisingStart         float64     // in (0, 1): ImageLatents are already that far denoised; Strength is then unused
	AestheticScore         float64
	NegativeAestheticScore float64

	Watermark   bool // diffusers' invisible watermark
	LatentsOnly bool // do not decode: Result has no Images

	// Progress is called after every step, on a card as soon as it is given to it: up to two are under way then. OnLatents is called with the latents after every step, which
	// waits for it. Neither may keep its argument.
	Progress  func(Progress)
	OnLatents func(step int, x *Latents)
}

// Size is in pixels.
type Size struct{ Height, Width int }

// Progress tells how far a run is.
type Progress struct {
	Step, Steps int // steps done, of how many
	Elapsed     time.Duration
	Left        time.Duration // estimate from the steps so far
}

// Latents are [N, C, H, W] values, dense, in the order that diffusers uses.
type Latents struct {
	Shape [4]int
	Data  []float32
}

// Result is what a run gives.
type Result struct {
	Images   []*image.NRGBA // opaque, one per image asked for
	Latents  *Latents       // final latents before the VAE, still scaled
	Seed     uint64
	Steps    int      // UNet evaluations done
	Warnings []string // a prompt that was cut at 77 tokens, for instance
}

// NewRequest returns diffusers' defaults for text to image: 50 steps, guidance 5, one image of the model's own size.
func NewRequest(prompt string) Request {
	return Request{Prompt: prompt, Count: 1, Steps: 50, Guidance: 5, Strength: 0.3, AestheticScore: 6, NegativeAestheticScore: 2.5}
}

// NewRefineRequest returns diffusers' defaults for image to image: strength 0.3, aesthetic scores 6 and 2.5.
func NewRefineRequest(prompt string, img image.Image) Request {
	r := NewRequest(prompt)
	r.Image = img
	return r
}
