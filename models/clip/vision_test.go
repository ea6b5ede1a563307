package clip_test

import (
	"fmt"
	"image"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn/weights"
)

// visionConfigs are the encoders of tools/reference/ip_adapter.py.
var visionConfigs = map[string]string{
	"encoder-a": `{"hidden_size": 64, "intermediate_size": 96, "projection_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": "gelu"}`,
	"encoder-b": `{"hidden_size": 96, "intermediate_size": 80, "projection_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 59, "patch_size": 14, "layer_norm_eps": 1e-3}`,
}

func openVision(t *testing.T, name string) *clip.VisionEncoder {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	config, err := clip.ParseVisionConfig([]byte(visionConfigs[name]), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := clip.OpenVision(dev, weights.Synthetic(name, clip.VisionShapes(config), kernels.F32), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

const ipGolden = "../../testdata/goldens/ip_adapter.safetensors"

// TestVisionEncoder holds image encoders against transformers' CLIPVisionModelWithProjection.
func TestVisionEncoder(t *testing.T) {
	g := golden.Open(t, ipGolden)
	for name := range visionConfigs {
		e := openVision(t, name)
		pixels, _ := g.Floats(name + "/pixels")
		embeds, err := e.Embed(t.Context(), pixels)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := g.Floats(name + "/embeds")
		golden.Near(t, name+" embeds", embeds, want, 1e-5)
		hidden, err := e.Hidden(t.Context(), pixels)
		if err != nil {
			t.Fatal(err)
		}
		want, _ = g.Floats(name + "/hidden")
		golden.Near(t, name+" hidden", hidden, want, 1e-5)
		other, err := e.Embed(t.Context(), make([]float32, len(pixels)))
		if err != nil {
			t.Fatal(err)
		}
		if d, err := golden.Distance(other, embeds); err != nil || d < 0.01 {
			t.Errorf("%s: an image of zeros has the same embedding but for %v, %v", name, d, err)
		}
		if _, err := e.Embed(t.Context(), pixels[1:]); err == nil || !strings.Contains(err.Error(), "an image of") {
			t.Errorf("error %v", err)
		}
	}
}

// imageOf reads an image of a reference output.
func imageOf(t *testing.T, g *golden.File, name string) *image.NRGBA {
	t.Helper()
	pix, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		p := pix[i*shape[2]:]
		rgba := [4]uint8{p[0], p[0], p[0], 255}
		if shape[2] >= 3 {
			copy(rgba[:], p[:shape[2]])
		}
		copy(img.Pix[4*i:], rgba[:])
	}
	return img
}

// TestPreprocess holds pixels against transformers' CLIPImageProcessorPil, bit for bit.
func TestPreprocess(t *testing.T) {
	g := golden.Open(t, ipGolden)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		img := imageOf(t, g, "image/"+name)
		for _, size := range []int{32, 59, 224} {
			key := fmt.Sprintf("preprocess/%s/%d", name, size)
			if !g.Has(key) {
				continue
			}
			want, _ := g.Floats(key)
			got, step := clip.Preprocess(img, size), 1
			if size == 224 {
				step = 41
			}
			if len(want) != (len(got)+step-1)/step {
				t.Fatalf("%s: %d values, want %d", key, len(got), len(want)*step)
			}
			for i, v := range want {
				if got[i*step] != v {
					t.Errorf("%s: value %d is %v, want %v", key, i, got[i*step], v)
					break
				}
			}
		}
	}
	// A part of a larger image is an image of its own.
	img := imageOf(t, g, "image/a")
	large := image.NewNRGBA(image.Rect(-3, -5, 60, 60))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			large.SetNRGBA(x, y, img.NRGBAAt(x, y))
		}
	}
	part := large.SubImage(img.Rect).(*image.NRGBA)
	want := clip.Preprocess(img, 32)
	for i, v := range clip.Preprocess(part, 32) {
		if v != want[i] {
			t.Fatalf("of a part of an image value %d is %v, want %v", i, v, want[i])
		}
	}
}

func TestVisionConfigs(t *testing.T) {
	for text, want := range map[string]string{
		`{"num_attention_heads": 7}`: `"num_attention_heads"`,
		`{"hidden_act": "relu"}`:     `"hidden_act"`,
		`{"num_channels": 4}`:        `"num_channels"`,
		`{"patch_size": 0}`:          `"patch_size"`,
		`{"image_size": 16}`:         `"image_size"`,
		`{"image_size": 1000000}`:    `"image_size"`,
		`{"num_hidden_layers": 1}`:   `"num_hidden_layers"`,
		`{"layer_norm_eps": 0}`:      `"layer_norm_eps"`,
		`{"projection_dim": 0}`:      `projection_dim`,
		`{"text_config": {}, "vision_config": {"hidden_act": "tanh"}}`: `vision_config: "hidden_act"`,
	} {
		if _, err := clip.ParseVisionConfig([]byte(text), "config.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %s", text, err, want)
		}
	}
	c, err := clip.ParseVisionConfig([]byte(`{"projection_dim": 7, "vision_config": {"hidden_size": 24}}`), "config.json")
	if err != nil || c.ProjectionDim != 7 || c.HiddenSize != 24 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestDetectVision tells published encoders by the shapes of their tensors.
func TestDetectVision(t *testing.T) {
	for name, want := range map[string]clip.VisionConfig{
		"ViT-H/14":    {HiddenSize: 1280, Intermediate: 5120, ProjectionDim: 1024, Layers: 32, Heads: 16, Channels: 3, ImageSize: 224, PatchSize: 14, HiddenAct: "gelu", LayerNormEps: 1e-5},
		"ViT-bigG/14": {HiddenSize: 1664, Intermediate: 8192, ProjectionDim: 1280, Layers: 48, Heads: 16, Channels: 3, ImageSize: 224, PatchSize: 14, HiddenAct: "gelu", LayerNormEps: 1e-5},
	} {
		src := weights.Synthetic("image_encoder", clip.VisionShapes(want), kernels.F16)
		got, err := clip.DetectVision(src)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || got.Name() != name {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
		if err := got.Fits(src, "x"); err != nil {
			t.Error(err)
		}
		got.Layers++
		if err := got.Fits(src, "x"); err == nil {
			t.Error("a layer too many fits")
		}
	}
	odd, err := clip.ParseVisionConfig([]byte(visionConfigs["encoder-a"]), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clip.DetectVision(weights.Synthetic("x", clip.VisionShapes(odd), kernels.F32)); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("error %v", err)
	}
	if _, err := clip.DetectVision(weights.Synthetic("x", map[string][]int{"a": {1}}, kernels.F32)); err == nil || !strings.Contains(err.Error(), "CLIPVisionModelWithProjection") {
		t.Errorf("error %v", err)
	}
}
