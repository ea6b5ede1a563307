package sdxl

import (
	"image"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// fieldChange says how a field of Request shows: set on a request, it changes the parameters or the latents.
type fieldChange struct {
	base       func(*Request) // of both
	set        func(*Request)
	refiner    bool
	imagesOnly bool // the parameters say it, and the latents are the same
	result     bool // the parameters do not say it: the latents differ
}

func (c fieldChange) request() Request {
	r := small()
	r.LatentsOnly, r.Steps = true, 3
	if c.refiner {
		r.Image, r.Steps = gradient(48, 40), 5
	}
	if c.base != nil {
		c.base(&r)
	}
	c.set(&r)
	return r
}

// callbacks are the fields that change neither: other tests see that they are called, or obeyed.
var callbacks = []string{"Progress", "OnStep", "OnComputed", "Preview", "Stop", "LatentsOnly"}

// fields has every field of Request.
func fields(t *testing.T, tiny *Model) map[string]fieldChange {
	base, _ := specsOf(t)
	encoded := Embeddings{Prompt: nn.NewTensor(1, 77, base.UNet.Context()), Pooled: nn.NewTensor(1, base.TextEncoder2.ProjectionDim)}
	inversions := []TextualInversion{{Name: "a", L: nn.NewTensor(1, base.TextEncoder.HiddenSize), G: nn.NewTensor(1, base.TextEncoder2.HiddenSize)}}
	adapter := adapterFile(t, tiny, "adapter", 1, false)
	prompts := []IPAdapter{{Path: filepath.Join(ipFiles(t), "sdxl_models", "base.safetensors"), Images: []image.Image{gradient(48, 40)}}}
	g := openControlGoldens(t)
	adapters := adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors"))
	ddim := func(r *Request) { r.Scheduler = "ddim" }
	img2img := func(r *Request) { r.Image, r.Strength = gradient(48, 40), 1 }
	pag := func(r *Request) { r.PAGScale = 3 }
	masked := func(r *Request) { img2img(r); r.Mask = leftHalf(48, 40) }
	return map[string]fieldChange{
		"Resize":      {set: func(r *Request) { r.Resize = ResizeCrop }, base: func(r *Request) { img2img(r); r.Width = 64 }},
		"Mask":        {set: func(r *Request) { r.Mask = leftHalf(48, 40) }, base: img2img},
		"SoftMask":    {set: func(r *Request) { r.SoftMask = true }, base: func(r *Request) { masked(r); r.Mask = gradient(48, 40) }},
		"MaskBlur":    {set: func(r *Request) { r.MaskBlur = 4 }, base: func(r *Request) { masked(r); r.Mask = gradient(48, 40) }},
		"MaskInvert":  {set: func(r *Request) { r.MaskInvert = true }, base: masked},
		"InpaintFill": {set: func(r *Request) { r.InpaintFill = FillNothing }, base: func(r *Request) { masked(r); r.Strength = 0.7 }},
		"MaskPadding": {set: func(r *Request) { r.MaskPadding = new(0) }, base: func(r *Request) {
			img2img(r)
			r.Mask = extend(opaque(leftHalf(24, 10)), Border{0, 0, 24, 30}, []uint8{0, 0, 0, 255})
		}},
		"Outpaint":               {set: func(r *Request) { r.Outpaint.Top = 8 }, base: func(r *Request) { img2img(r); r.Height = 0 }},
		"KeepUnmasked":           {set: func(r *Request) { r.KeepUnmasked = new(false) }, base: masked, imagesOnly: true},
		"Prompt":                 {set: func(r *Request) { r.Prompt = "b" }},
		"Prompt2":                {set: func(r *Request) { r.Prompt2 = "b" }},
		"NegativePrompt":         {set: func(r *Request) { r.NegativePrompt = new("") }},
		"NegativePrompt2":        {set: func(r *Request) { r.NegativePrompt2 = new("b") }, base: func(r *Request) { r.NegativePrompt = new("a") }},
		"PromptStyle":            {set: func(r *Request) { r.PromptStyle = prompt.A1111 }, base: func(r *Request) { r.Prompt = "(a:1.5) b" }},
		"Emphasis":               {set: func(r *Request) { r.Emphasis = EmphasisNoNorm }, base: func(r *Request) { r.PromptStyle, r.Prompt = prompt.A1111, "(a:1.5) b" }},
		"TextualInversions":      {set: func(r *Request) { r.TextualInversions = inversions }},
		"Prompts":                {set: func(r *Request) { r.Prompt, r.Prompts = "", []Prompt{{Prompt: "b"}} }},
		"Embeddings":             {set: func(r *Request) { r.Prompt, r.Embeddings = "", &encoded }},
		"LoRAs":                  {set: func(r *Request) { r.LoRAs = []LoRA{adapter} }},
		"IPAdapters":             {set: func(r *Request) { r.IPAdapters = prompts }},
		"LoRADir":                {set: func(r *Request) { r.LoRADir = filepath.Dir(adapter.Path) }, base: func(r *Request) { r.Prompt = "a <lora:" + loraName(adapter.Path) + ":1>" }},
		"Width":                  {set: func(r *Request) { r.Width = 56 }},
		"Height":                 {set: func(r *Request) { r.Height = 56 }},
		"ImagesPerPrompt":        {set: func(r *Request) { r.ImagesPerPrompt = 2 }},
		"Steps":                  {set: func(r *Request) { r.Steps = 2 }},
		"Guidance":               {set: func(r *Request) { r.Guidance = new(0.0) }},
		"GuidancePerStep":        {set: func(r *Request) { r.GuidancePerStep = []float64{5, 2} }},
		"GuidanceRescale":        {set: func(r *Request) { r.GuidanceRescale = new(0.5) }},
		"GuidanceStart":          {set: func(r *Request) { r.GuidanceStart = 0.4 }},
		"GuidanceEnd":            {set: func(r *Request) { r.GuidanceEnd = 0.7 }},
		"PAGScale":               {set: func(r *Request) { r.PAGScale = 3 }},
		"PAGAdaptiveScale":       {set: func(r *Request) { r.PAGAdaptiveScale = 0.002 }, base: pag},
		"PAGAppliedLayers":       {set: func(r *Request) { r.PAGAppliedLayers = []string{"down_blocks.1"} }, base: pag},
		"FreeU":                  {set: func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4} }},
		"Eta":                    {set: func(r *Request) { r.Eta = new(0.5) }, base: ddim},
		"Seed":                   {set: func(r *Request) { r.Seed = new(uint64(8)) }},
		"Seeds":                  {set: func(r *Request) { r.Seeds = []uint64{8} }},
		"Subseed":                {set: func(r *Request) { r.Subseed = new(uint64(8)) }, base: func(r *Request) { r.Subseed, r.SubseedStrength = new(uint64(3)), 0.5 }},
		"SubseedStrength":        {set: func(r *Request) { r.SubseedStrength = 0.5 }, base: func(r *Request) { r.Subseed = new(uint64(3)) }},
		"Scheduler":              {set: func(r *Request) { r.Scheduler = "heun" }},
		"Preset":                 {set: func(r *Request) { r.Preset = "lcm" }},
		"PresetFrom":             {set: func(r *Request) { r.PresetFrom = "a name" }, base: func(r *Request) { r.Preset = "lcm" }},
		"Timesteps":              {set: func(r *Request) { r.Timesteps = []float64{900, 400, 100} }},
		"Sigmas":                 {set: func(r *Request) { r.Sigmas = []float64{10, 1, 0} }},
		"ClipSkip":               {set: func(r *Request) { r.ClipSkip = 1 }},
		"DenoisingEnd":           {set: func(r *Request) { r.DenoisingEnd = 0.5 }},
		"Interrupt":              {set: func(r *Request) { r.Interrupt = 1 }},
		"Latents":                {set: func(r *Request) { r.Latents = nn.NewTensor(1, 4, 5, 6) }},
		"OriginalSize":           {set: func(r *Request) { r.OriginalSize = Size{100, 200} }},
		"TargetSize":             {set: func(r *Request) { r.TargetSize = Size{100, 200} }},
		"CropTop":                {set: func(r *Request) { r.CropTop = 50 }},
		"CropLeft":               {set: func(r *Request) { r.CropLeft = 50 }},
		"NegativeCropTop":        {set: func(r *Request) { r.NegativeCropTop = 50 }, base: negativeSizes},
		"NegativeCropLeft":       {set: func(r *Request) { r.NegativeCropLeft = 50 }, base: negativeSizes},
		"NegativeOriginalSize":   {set: func(r *Request) { r.NegativeOriginalSize = Size{100, 200} }, base: negativeSizes},
		"NegativeTargetSize":     {set: func(r *Request) { r.NegativeTargetSize = Size{100, 200} }, base: negativeSizes},
		"Image":                  {set: func(r *Request) { r.Image = image.NewNRGBA(image.Rect(0, 0, 48, 40)) }, base: img2img, result: true},
		"ImageLatents":           {set: func(r *Request) { r.Image, r.ImageLatents = nil, nn.NewTensor(1, 4, 5, 6) }, base: img2img, result: true},
		"Strength":               {set: func(r *Request) { r.Strength = 0.7 }, refiner: true},
		"DenoisingStart":         {set: func(r *Request) { r.DenoisingStart = 0.5 }, refiner: true},
		"AestheticScore":         {set: func(r *Request) { r.AestheticScore = new(0.0) }, refiner: true, base: img2img},
		"NegativeAestheticScore": {set: func(r *Request) { r.NegativeAestheticScore = new(9.0) }, refiner: true, base: img2img},
		"Controls":               {set: func(r *Request) { r.Controls = []Control{{Path: g.folder("full"), Image: g.picture("a")}} }},
		"T2IAdapters":            {set: func(r *Request) { r.T2IAdapters = []T2IAdapter{{Path: adapters + "/colour", Image: g.picture("a")}} }, base: func(r *Request) { r.Width, r.Height = 48, 48 }},
		"Hires":                  {set: func(r *Request) { r.Hires = &Hires{Steps: 2} }},
		"Watermark":              {set: func(r *Request) { r.Watermark = true }},
		"Taps": {set: func(r *Request) {
			r.Taps.UNet = []nn.Tap{{Path: "conv_in", Replace: func(_ string, x *Tensor) *Tensor { return nn.NewTensor(x.Shape...) }}}
		}, result: true},
	}
}

// leftHalf is a mask that repaints the left half.
func leftHalf(width, height int) image.Image {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width / 2 {
			img.Pix[y*img.Stride+x] = 255
		}
	}
	return img
}

func negativeSizes(r *Request) {
	r.NegativeOriginalSize, r.NegativeTargetSize = Size{64, 64}, Size{64, 64}
}

// TestEveryFieldShows sets each field of Request: the parameters change, and so do the latents of those that the
// parameters leave out, or that steer the UNet.
func TestEveryFieldShows(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	changes := fields(t, m.open("tiny"))
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Request]()) {
		c, known := changes[f.Name]
		if !known {
			if !slices.Contains(callbacks, f.Name) {
				t.Errorf("Request.%s: no test says what it changes", f.Name)
			}
			continue
		}
		model := m.open("tiny")
		if c.refiner {
			model = m.open("tiny-refiner")
		}
		without := c
		without.set = func(*Request) {}
		before, err := model.Generate(t.Context(), without.request())
		if err != nil {
			t.Fatalf("without %s: %v", f.Name, err)
		}
		after, err := model.Generate(t.Context(), c.request())
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if same := reflect.DeepEqual(before.Parameters, after.Parameters); same != c.result {
			t.Errorf("%s: equal parameters %v, want %v", f.Name, same, c.result)
		}
		if f.Name != "Watermark" && f.Name != "PresetFrom" && !c.imagesOnly && slices.Equal(before.Latents.Data, after.Latents.Data) {
			t.Errorf("%s changes no latents", f.Name)
		}
	}
}
