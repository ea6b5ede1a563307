package sdxl

import (
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
)

// inpaintCase is a call of diffusers' inpainting pipeline by tools/reference/inpaint.py.
type inpaintCase struct {
	Name, Model, Scheduler, Image, Mask, From string
	Seed                                      uint64
	Steps, N, Width, Height                   int
	Strength                                  float64
	Padding                                   *int
	DenoisingStart                            float64 `json:"denoising_start"`
	DenoisingEnd                              float64 `json:"denoising_end"`
	Soft                                      bool
}

// inpaintImage is an image [H, W, 3] or a mask [H, W] of the goldens.
func inpaintImage(g *golden.File, name string) *image.NRGBA {
	data, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	channels := len(data) / (shape[0] * shape[1])
	for i := range shape[0] * shape[1] {
		for c := range 3 {
			img.Pix[4*i+c] = data[i*channels+min(c, channels-1)]
		}
		img.Pix[4*i+3] = 255
	}
	return img
}

// inpaintingFolder is the model tiny with nine input channels.
func inpaintingFolder(t *testing.T) string {
	return changedFolder(t, "tiny-inpaint", `"in_channels": 4`, `"in_channels": 9`)
}

// changedFolder is the model tiny with another line in its UNet's configuration, under a name.
func changedFolder(t *testing.T, name, line, by string) string {
	config := t.TempDir()
	if err := os.CopyFS(config, os.DirFS("synthetic/tiny")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(config, "unet", "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(data), line, by, 1)
	if changed == string(data) {
		t.Fatalf("the UNet's configuration has no %s", line)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	if err := synthesise(t.Context(), os.DirFS(config), kernels.F32, dir, func(component string) string { return component }); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c inpaintCase) request(g *golden.File) Request {
	r := Request{
		Prompt: "a red lighthouse", Steps: c.Steps, Guidance: new(5.0), Seed: &c.Seed, Strength: c.Strength, Scheduler: c.Scheduler, ImagesPerPrompt: c.N,
		Width: c.Width, Height: c.Height, Mask: inpaintImage(g, c.Mask), MaskPadding: c.Padding, SoftMask: c.Soft,
		DenoisingStart: c.DenoisingStart, DenoisingEnd: c.DenoisingEnd,
	}
	if c.From != "" {
		r.ImageLatents = latentsOf(g.Floats(c.From))
	} else {
		r.Image = inpaintImage(g, c.Image)
	}
	return r
}

// TestInpaintGoldens compares whole runs with diffusers' inpainting pipeline in float32, and soft masks with ComfyUI's
// rule: latents to 5e-5 of their norm, images to one level but for a thousandth of the values.
func TestInpaintGoldens(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(testdata + "/goldens/inpaint.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []inpaintCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 17 {
		t.Fatalf("%d cases, want the whole table", len(cases))
	}
	g := golden.Open(t, testdata+"/goldens/inpaint.safetensors")
	m := newModels(t)
	for _, c := range cases {
		model := m.open("tiny")
		switch c.Model {
		case "tiny-refiner", "tiny-b":
			model = m.open(c.Model)
		case "tiny-inpaint":
			if m.opened[c.Model] == nil {
				if m.opened[c.Model], err = Open(t.Context(), inpaintingFolder(t), Options{Host: hostOf(m.dev)}); err != nil {
					t.Fatal(err)
				}
				defer m.opened[c.Model].Close()
			}
			model = m.opened[c.Model]
		}
		r := c.request(g)
		r.LatentsOnly = !g.Has(c.Name + ".image")
		got, err := model.Generate(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		want, _ := g.Floats(c.Name + ".latents")
		golden.Near(t, c.Name, got.Latents.Data, want, 5e-5)
		if r.LatentsOnly {
			continue
		}
		picture := inpaintImage(g, c.Name+".image")
		source := inpaintImage(g, c.Image)
		if c.Padding == nil { // diffusers keeps the source's pixels with padding_mask_crop alone
			r.KeepUnmasked = new(false)
			if got, err = model.Generate(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if err := nearlyEqual(got.Images[0], picture); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if c.Padding != nil {
			for i, v := range inpaintImage(g, c.Mask).Pix {
				if i%4 == 0 && v == 0 && [3]uint8(got.Images[0].Pix[i:]) != [3]uint8(source.Pix[i:]) {
					t.Fatalf("%s: byte %d outside of the mask is not the source's", c.Name, i)
				}
			}
		}
	}
}

// nearlyEqual allows one level, and more for a thousandth of the values.
func nearlyEqual(got, want *image.NRGBA) error {
	if got.Rect != want.Rect {
		return fmt.Errorf("bounds %v, want %v", got.Rect, want.Rect)
	}
	far := 0
	for i, v := range want.Pix {
		if d := int(got.Pix[i]) - int(v); d < -1 || d > 1 {
			far++
		}
	}
	if far > len(want.Pix)/1000 {
		return fmt.Errorf("%d of %d values are more than one level away", far, len(want.Pix))
	}
	return nil
}

// TestInpaintPixels compares crop regions, the fill and the overlay with diffusers', A1111's and Pillow's, bit for bit.
func TestInpaintPixels(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/inpaint.safetensors")
	rows, shape := g.Ints("crop regions")
	if shape[0] < 40 {
		t.Fatalf("%d crop regions", shape[0])
	}
	for i := range shape[0] {
		v := rows[i*shape[1]:][:shape[1]]
		at := func(k int) int { return int(v[k]) }
		mask := image.NewNRGBA(image.Rect(0, 0, at(1), at(0)))
		for y := at(3); y < at(5); y++ {
			for x := at(2); x < at(4); x++ {
				copy(mask.Pix[mask.PixOffset(x, y):], []uint8{255, 255, 255, 255})
			}
		}
		got, ok := cropRegion(mask, at(6), at(7), at(8))
		if want := image.Rect(at(9), at(10), at(11), at(12)); got != want || !ok {
			t.Errorf("%v: region %v, want %v", v, got, want)
		}
	}
	source, mask := inpaintImage(g, "odd"), inpaintImage(g, "odd mask")
	same := func(name string, got *image.NRGBA) {
		t.Helper()
		want := inpaintImage(g, name)
		n := 0
		for i := range want.Pix {
			if got.Pix[i] != want.Pix[i] {
				if n++; n < 3 {
					t.Errorf("%s: byte %d is %d, want %d", name, i, got.Pix[i], want.Pix[i])
				}
			}
		}
		if n > 0 {
			t.Errorf("%s: %d of %d bytes differ", name, n, len(want.Pix))
		}
	}
	same("filled", fillHoles(source, luminance(mask)))
	same("overlay", overlay(inpaintImage(g, "overlay under"), source, luminance(mask)))
}
