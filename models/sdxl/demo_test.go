//go:build !nodemo

package sdxl

import (
	"context"
	"encoding/json"
	"image"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/demo"
)

// demoCall is a call of a diffusers pipeline, as tools/reference/demo.py stores it.
type demoCall struct {
	Prompt        string
	Negative      *string `json:"negative_prompt"`
	Width, Height int
	Steps         int     `json:"num_inference_steps"`
	Guidance      float64 `json:"guidance_scale"`
	Strength      float64
	Image         string   // the tensor that image-to-image begins with
	Score         *float64 `json:"aesthetic_score"`
	NegativeScore *float64 `json:"negative_aesthetic_score"`
	End           float64  `json:"denoising_end"`
}

func openDemo(t *testing.T, dev kernels.Device, precision kernels.DType) *Model {
	t.Helper()
	return openBase(t, demo.Base(), dev, precision)
}

// TestDemo compares the embedded model's images with diffusers': the same tolerances as TestGoldens. The weights are float16 and computed with in float32 on both sides.
func TestDemo(t *testing.T) {
	g := golden.Open(t, testdata+"/goldens/demo.safetensors")
	var calls map[string]demoCall
	if err := json.Unmarshal([]byte(g.Metadata["calls"]), &calls); err != nil {
		t.Fatal(err)
	}
	base := openDemo(t, cpuDevice(t), kernels.F32)
	refiner := openDemoRefiner(t, base)
	for name, p := range map[string]*Model{"default": base, "wide": base, "redrawn": base, "refined": refiner, "refined-low": refiner, "handed-over": base} {
		t.Run(name, func(t *testing.T) {
			c, ok := calls[name]
			if !ok {
				t.Fatal("no such call in the metadata")
			}
			r := Request{Prompt: c.Prompt}
			r.Seed = new(uint64(1))
			if own := p.Info(); name != "wide" && name != "refined-low" && (own.Steps != c.Steps || own.Guidance != c.Guidance) {
				t.Errorf("the model's own steps %d and guidance %v, want %d and %v", own.Steps, own.Guidance, c.Steps, c.Guidance)
			}
			r.Steps, r.Guidance, r.NegativePrompt = c.Steps, &c.Guidance, c.Negative
			if c.Score != nil {
				r.AestheticScore, r.NegativeAestheticScore = c.Score, c.NegativeScore
			}
			var result *Result
			var err error
			switch {
			case c.Image != "":
				if name == "refined" && p.Info().Strength != c.Strength {
					t.Errorf("the refiner's own strength %v, want %v", p.Info().Strength, c.Strength)
				}
				r.Strength, r.Image = c.Strength, goldenImage(g.Bytes(c.Image))
				result, err = p.Generate(context.Background(), r)
			case c.End != 0:
				result, err = Ensemble(context.Background(), r, Expert{base, c.End}, Expert{Model: refiner})
			default:
				if name == "wide" {
					r.Width, r.Height = c.Width, c.Height
				}
				result, err = p.Generate(context.Background(), r)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(result.Warnings) > 0 {
				t.Errorf("warnings %q", result.Warnings)
			}
			want, _ := g.Floats(name + ".latents")
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if g.Has(name + ".image") {
				compareImages(t, result, g, name+".image")
			}
		})
	}
}

// goldenImage makes an image of [1, H, W, 3] values.
func goldenImage(rgb []byte, shape []int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, shape[2], shape[1]))
	for i := range shape[1] * shape[2] {
		copy(img.Pix[4*i:], rgb[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img
}

// demoImage draws an image of few pixels and steps, which is enough to see that something matters.
func demoImage(t *testing.T, p *Model, prompt string, change func(*Request)) *Result {
	t.Helper()
	r := Request{Prompt: prompt}
	r.Seed, r.Width, r.Height, r.Steps = new(uint64(1)), 128, 128, 4
	if change != nil {
		change(&r)
	}
	result, err := p.Generate(context.Background(), r)
	if err != nil {
		t.Fatalf("%q: %v", prompt, err)
	}
	return result
}

// TestDemoFollowsRequests checks what changes the embedded model's image, what does not, and what it warns of.
func TestDemoFollowsRequests(t *testing.T) {
	p := openDemo(t, cpuDevice(t), kernels.F32)
	const prompt = "a cat on a blue background"
	plain := demoImage(t, p, prompt, nil)
	if again := demoImage(t, p, prompt, nil); !slices.Equal(again.Images[0].Pix, plain.Images[0].Pix) || !slices.Equal(again.Latents.Data, plain.Latents.Data) {
		t.Error("the same seed gives another image")
	}
	negative := "a blue background"
	for what, other := range map[string]*Result{
		"prompt":          demoImage(t, p, "a rocket on a red background", nil),
		"negative prompt": demoImage(t, p, prompt, func(r *Request) { r.NegativePrompt = &negative }),
	} {
		// 30 dB is a root mean square error of 8 levels: a difference that one sees.
		if d := psnr(other.Images[0], plain.Images[0]); !(d < 30) {
			t.Errorf("another %s: the image is the same to %.1f dB", what, d)
		} else {
			t.Logf("another %s: %.1f dB", what, d)
		}
	}
	if other := demoImage(t, p, prompt, func(r *Request) { r.Seed = new(uint64(2)) }); slices.Equal(other.Images[0].Pix, plain.Images[0].Pix) {
		t.Error("another seed gives the same image")
	}
	for _, outside := range []string{"xylotomous quasar bureaucracy", "日本語 Ωμέγα 🛸", ""} {
		if got := demoImage(t, p, outside, nil); len(got.Images) != 1 || len(got.Warnings) > 0 {
			t.Errorf("%q: %d images, warnings %q", outside, len(got.Images), got.Warnings)
		}
	}
	large := demoImage(t, p, prompt, func(r *Request) { r.Width, r.Height, r.Steps, r.LatentsOnly = 512, 512, 1, true })
	if !slices.ContainsFunc(large.Warnings, func(w string) bool { return strings.Contains(w, "512×512") && strings.Contains(w, "256×256") }) {
		t.Errorf("512×512: warnings %q, want one of the size", large.Warnings)
	}
}

// middle is where the middle of what is not background lies, from the left, in pixels: each pixel counts as much as it differs from the image's top left corner.
func middle(img *image.NRGBA) float64 {
	var sum, weight float64
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			for c, corner := range img.Pix[:3] {
				if d := math.Abs(float64(img.Pix[y*img.Stride+4*x+c]) - float64(corner)); d > 32 {
					sum, weight = sum+d*float64(x), weight+d
				}
			}
		}
	}
	return sum / weight
}

// detail is the mean square difference of pixels from the ones below them.
func detail(img *image.NRGBA) float64 {
	var sum float64
	upper, lower := img.Pix[:len(img.Pix)-img.Stride], img.Pix[img.Stride:]
	for i := range upper {
		d := float64(upper[i]) - float64(lower[i])
		sum += d * d
	}
	return sum / float64(len(upper))
}

// TestDemoMicroConditioning: conditioned on a crop from the right of a larger image, the embedded model draws things further left; conditioned on an enlargement from fewer
// pixels, it draws less detail.
func TestDemoMicroConditioning(t *testing.T) {
	if testing.Short() {
		t.Skip("whole images")
	}
	p := openDemo(t, cpuDevice(t), kernels.F32)
	draw := func(prompt string, change func(*Request)) *image.NRGBA {
		return demoImage(t, p, prompt, func(r *Request) {
			r.Width, r.Height, r.Steps = 256, 256, 5
			change(r)
		}).Images[0]
	}
	for _, prompt := range []string{"a red apple on a white background", "a cat on a green background"} {
		plain := draw(prompt, func(*Request) {})
		cropped := draw(prompt, func(r *Request) { r.OriginalSize, r.CropLeft = Size{256, 340}, 80 })
		enlarged := draw(prompt, func(r *Request) { r.OriginalSize = Size{96, 96} })
		moved, kept := middle(plain)-middle(cropped), detail(enlarged)/detail(plain)
		t.Logf("%s: %.0f pixels further left when cropped by 80, %.0f %% of the detail when enlarged", prompt, moved, 100*kept)
		if !(moved > 10) || !(kept < 1) {
			t.Errorf("%s: moved by %.1f pixels, want more than 10; %.3f of the detail, want less than all", prompt, moved, kept)
		}
	}
}

// TestDemoPrecisions compares images, drawn and redrawn, at every precision of the CPU with float32's: 40 dB is a root mean square error of 2.55 levels.
func TestDemoPrecisions(t *testing.T) {
	dev := cpuDevice(t)
	precisions := dev.Info().Precisions
	if !slices.Contains(precisions, kernels.F32) {
		t.Fatalf("precisions %v, want float32 among them", precisions)
	}
	const prompt = "a red apple on a green background"
	images := func(precision kernels.DType) [2]*image.NRGBA {
		base := openDemo(t, dev, precision)
		drawn := demoImage(t, base, prompt, nil).Images[0]
		return [2]*image.NRGBA{drawn, demoRefined(t, openDemoRefiner(t, base), prompt, drawn, nil)}
	}
	want := images(kernels.F32)
	for _, precision := range precisions {
		for i, got := range images(precision) {
			what := [2]string{"drawn", "redrawn"}[i]
			if d := psnr(got, want[i]); !(d >= 40) {
				t.Errorf("%v, %s: %.1f dB to float32, want 40", precision, what, d)
			} else {
				t.Logf("%v, %s: %.1f dB to float32", precision, what, d)
			}
		}
	}
}
