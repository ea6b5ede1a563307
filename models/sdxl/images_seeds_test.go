package sdxl

import (
	"image"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestSeedsOfImages: each image of a batch with seeds of their own is what it is alone, with every kind of image that a
// request may have, in one call and in a batch of requests.
func TestSeedsOfImages(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	controls := openControlGoldens(t)
	adapters := adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors"))
	prompts := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	control := Control{Path: controls.folder("full"), Image: controls.picture("a")}
	prompt := IPAdapter{
		Path: filepath.Join(dir, "sdxl_models", "base.safetensors"), Encoder: filepath.Join(dir, "models", "image_encoder"),
		Images: []image.Image{promptImage(prompts, "image/a")}, Mask: leftHalf(48, 40),
	}
	for what, change := range map[string]func(*Request){
		"mask":       func(r *Request) { *r = inpainted(nil) },
		"part":       func(r *Request) { *r = inpainted(func(r *Request) { r.MaskPadding, r.MaskBlur = new(4), 2 }) },
		"outpaint":   func(r *Request) { r.Image, r.Outpaint, r.Width, r.Height = gradient(48, 40), Border{Left: 16}, 0, 0 },
		"ControlNet": func(r *Request) { r.Controls = []Control{control} },
		"guess mode": func(r *Request) { c := control; c.GuessMode = true; r.Controls = []Control{c} },
		"T2I-Adapter": func(r *Request) {
			r.Width, r.Height = 64, 64
			r.T2IAdapters = []T2IAdapter{{Path: filepath.Join(adapters, "colour"), Image: gradient(64, 64)}}
		},
		"image prompt": func(r *Request) { r.IPAdapters = []IPAdapter{prompt} },
		"hires":        func(r *Request) { r.Hires = &Hires{Steps: 2, Upscaler: "lanczos"} },
		"hires of them": func(r *Request) {
			r.Hires, r.Controls, r.IPAdapters = &Hires{Steps: 2}, []Control{control}, []IPAdapter{prompt}
		},
		"mask and them": func(r *Request) {
			*r = inpainted(nil)
			r.Controls, r.IPAdapters = []Control{control}, []IPAdapter{prompt}
		},
	} {
		r := small()
		change(&r)
		r.Steps, r.Seed, r.Scheduler = 3, nil, "euler_ancestral"
		r.ImagesPerPrompt, r.Seeds = 3, []uint64{5, 6, 7}
		all := generated(t, m, r)
		if len(all.Images) != 3 || !slices.Equal(all.Parameters.Seeds, r.Seeds) {
			t.Fatalf("%s: %d images with seeds %v", what, len(all.Images), all.Parameters.Seeds)
		}
		for i, o := range batchOf(t, m, []Request{r, r}, nil) {
			if o.err != nil {
				t.Fatalf("%s: request %d of a batch: %v", what, i, o.err)
			}
			golden.Near(t, what+" in a batch", o.Latents.Data, all.Latents.Data, 1e-5)
		}
		for i, seed := range r.Seeds {
			one := r
			one.ImagesPerPrompt, one.Seeds = 1, []uint64{seed}
			alone := generated(t, m, one)
			n := alone.Latents.Len()
			golden.Near(t, what, all.Latents.Data[i*n:(i+1)*n], alone.Latents.Data, 1e-5)
			if d := farthest(all.Images[i], alone.Images[0]); d > 1 {
				t.Errorf("%s: image %d differs by %d from what it is alone", what, i, d)
			}
		}
		if slices.Equal(all.Images[0].Pix, all.Images[1].Pix) {
			t.Errorf("%s: two seeds give one image", what)
		}
	}
}

// farthest is the most that a channel of two images of one size differs by.
func farthest(a, b *image.NRGBA) (most int) {
	if a.Rect != b.Rect {
		return 256
	}
	for i := range a.Pix {
		most = max(most, max(int(a.Pix[i]), int(b.Pix[i]))-min(int(a.Pix[i]), int(b.Pix[i])))
	}
	return most
}
