package taesd_test

import (
	"fmt"
	"image"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// small is the golden's first model.
var small = func() taesd.Config {
	c := taesd.TAESDXL
	c.EncoderBlockOutChannels, c.DecoderBlockOutChannels = []int{12, 12, 12, 12}, []int{12, 12, 12, 12}
	c.NumEncoderBlocks, c.NumDecoderBlocks = []int{1, 2, 1, 2}, []int{2, 1, 2, 1}
	return c
}()

const goldens = "../../testdata/goldens/taesd.safetensors"

// keep is which values of the full model's images, and of tiled ones, the golden has.
const keep = 41

// tolerance is of the norm of the difference, relative.
const tolerance = 1e-5

func processor(t testing.TB) kernels.Device {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

func synthetic(c taesd.Config, dtype kernels.DType) kernels.Source {
	return weights.Synthetic("taesd", nn.Shapes(taesd.New(c)), dtype)
}

func opened(t testing.TB, dev kernels.Device, src kernels.Source, c taesd.Config) *taesd.Autoencoder {
	t.Helper()
	a, err := taesd.Open(dev, src, c, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// latents are those of a golden's tensor [1, C, H, W].
func latents(g *golden.File, name string) vae.Image {
	data, shape := g.Floats(name)
	return vae.Image{Height: shape[2], Width: shape[3], Channels: shape[1], Data: golden.ChannelsLast(data, shape)}
}

// values reads [1, 3, H, W] bytes as an image of values in −1…1.
func values(g *golden.File, name string) vae.Image {
	pixels, shape := g.Bytes(name)
	p := vae.NewImage(shape[2], shape[3], 3)
	plane := shape[2] * shape[3]
	for k := range 3 {
		for i := range plane {
			p.Data[3*i+k] = float32(pixels[k*plane+i])/255*2 - 1
		}
	}
	return p
}

// channelsFirst undoes golden.ChannelsLast.
func channelsFirst(p vae.Image) []float32 {
	out := make([]float32, len(p.Data))
	for i, v := range p.Data {
		out[i%p.Channels*p.Height*p.Width+i/p.Channels] = v
	}
	return out
}

func every[T any](x []T, n int) (kept []T) {
	for i := 0; i < len(x); i += n {
		kept = append(kept, x[i])
	}
	return kept
}

// TestGoldens compares both halves of a small model and of the full one with diffusers: values, pixels and tiles.
func TestGoldens(t *testing.T) {
	g := golden.Open(t, goldens)
	dev := processor(t)
	for _, model := range []struct {
		name  string
		c     taesd.Config
		dtype kernels.DType
		n     int
	}{{"small", small, kernels.F32, 1}, {"full", taesd.TAESDXL, kernels.F16, keep}} {
		a := opened(t, dev, synthetic(model.c, model.dtype), model.c)
		for i := 0; g.Has(fmt.Sprintf("%s.decode.%d.latents", model.name, i)); i++ {
			key := fmt.Sprintf("%s.decode.%d.", model.name, i)
			z := latents(g, key+"latents")
			x, err := a.Decode(t.Context(), z)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := g.Floats(key + "values")
			golden.Near(t, key+"values", every(channelsFirst(x), model.n), want, tolerance)
			img, err := a.DecodeImage(t.Context(), z)
			if err != nil {
				t.Fatal(err)
			}
			comparePixels(t, g, key+"pixels", img, model.n)
		}
		for i := 0; g.Has(fmt.Sprintf("%s.encode.%d.latents", model.name, i)); i++ {
			key := fmt.Sprintf("%s.encode.%d.", model.name, i)
			z, err := a.Encode(t.Context(), values(g, key+"image"))
			if err != nil {
				t.Fatal(err)
			}
			golden.Near(t, key+"latents", z.Data, latents(g, key+"latents").Data, tolerance)
		}
		if model.name != "small" {
			continue
		}
		a.Tile = 128
		x, err := a.Decode(t.Context(), latents(g, "small.tiled_decode.latents"))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := g.Floats("small.tiled_decode.values")
		golden.Near(t, "tiled decode", every(channelsFirst(x), keep), want, tolerance)
		z, err := a.Encode(t.Context(), values(g, "small.tiled_encode.image"))
		if err != nil {
			t.Fatal(err)
		}
		golden.Near(t, "tiled encode", z.Data, latents(g, "small.tiled_encode.latents").Data, tolerance)
	}
}

// comparePixels allows one of 255 where the value lies between two.
func comparePixels(t *testing.T, g *golden.File, key string, img *image.NRGBA, n int) {
	t.Helper()
	var rgb []uint8
	for i := 0; i < len(img.Pix); i += 4 {
		rgb = append(rgb, img.Pix[i:i+3]...)
		if img.Pix[i+3] != 255 {
			t.Fatalf("%s: pixel %d lets through", key, i/4)
		}
	}
	want, _ := g.Bytes(key)
	rgb = every(rgb, n)
	if len(rgb) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", key, len(rgb), len(want))
	}
	off, levels := 0, map[uint8]bool{}
	for i, v := range want {
		d := int(rgb[i]) - int(v)
		levels[v] = true
		if d < -1 || d > 1 {
			t.Fatalf("%s: byte %d is %d, want %d", key, i, rgb[i], v)
		}
		off += d * d
	}
	if off > len(want)/1000 || len(levels) < 50 {
		t.Errorf("%s: %d of %d bytes differ, of %d levels", key, off, len(want), len(levels))
	}
}

// TestNames: a file in the original names, of both halves in ComfyUI's or of one half alone, is the same model, and the
// configuration is found without a config.json.
func TestNames(t *testing.T) {
	dev := processor(t)
	src := synthetic(small, kernels.F16)
	want := opened(t, dev, src, small)
	z, x := vae.NewImage(4, 5, 4), vae.NewImage(32, 40, 3)
	for i := range z.Data {
		z.Data[i] = float32(i%17)/8 - 1
	}
	for i := range x.Data {
		x.Data[i] = float32(i%29)/14 - 1
	}
	wantX, err := want.Decode(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	wantZ, err := want.Encode(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	original := func(encoder, decoder string) kernels.Source {
		return weights.Rename(src, func(name string) string {
			half, rest, _ := strings.Cut(name, ".layers.")
			number, tensor, _ := strings.Cut(rest, ".")
			var k int
			fmt.Sscan(number, &k)
			prefix := encoder
			if half == "decoder" {
				prefix, k = decoder, k+1
			}
			if prefix == "-" {
				return ""
			}
			return fmt.Sprintf("%s%d.%s", prefix, k, tensor)
		})
	}
	for _, file := range []struct {
		name             string
		src              kernels.Source
		encodes, decodes bool
	}{
		{"diffusers", src, true, true},
		{"taesdxl_decoder", original("-", ""), false, true},
		{"taesdxl_encoder", original("", "-"), true, false},
		{"ComfyUI", original("taesd_encoder.", "taesd_decoder."), true, true},
		{"original in one file", original("encoder.", "decoder."), true, true},
	} {
		c, err := taesd.Detect(file.src)
		if err != nil {
			t.Fatalf("%s: %v", file.name, err)
		}
		a := opened(t, dev, file.src, c)
		if a.Encodes() != file.encodes || a.Decodes() != file.decodes || len(a.Unclaimed) > 0 {
			t.Fatalf("%s: encodes %v, decodes %v, unclaimed %q", file.name, a.Encodes(), a.Decodes(), a.Unclaimed)
		}
		if got, err := a.Decode(t.Context(), z); file.decodes && (err != nil || !slices.Equal(got.Data, wantX.Data)) {
			t.Errorf("%s: %v, or another image", file.name, err)
		} else if !file.decodes && err == nil {
			t.Errorf("%s decodes without a decoder", file.name)
		}
		if got, err := a.Encode(t.Context(), x); file.encodes && (err != nil || !slices.Equal(got.Data, wantZ.Data)) {
			t.Errorf("%s: %v, or other latents", file.name, err)
		} else if !file.encodes && err == nil {
			t.Errorf("%s encodes without an encoder", file.name)
		}
	}
}

// TestTensors: the full model has the published tensors, 134 of 2,445,063 numbers.
func TestTensors(t *testing.T) {
	m := taesd.New(taesd.TAESDXL)
	shapes := nn.Shapes(m)
	if n := nn.Parameters(m); len(shapes) != 134 || n != 2445063 {
		t.Errorf("%d tensors of %d numbers", len(shapes), n)
	}
	for name, want := range map[string][]int{
		"encoder.layers.0.weight": {64, 3, 3, 3}, "encoder.layers.14.bias": {4}, "encoder.layers.6.weight": {64, 64, 3, 3},
		"decoder.layers.0.weight": {64, 4, 3, 3}, "decoder.layers.16.weight": {64, 64, 3, 3}, "decoder.layers.17.conv.4.bias": {64},
		"decoder.layers.18.weight": {3, 64, 3, 3},
	} {
		if !slices.Equal(shapes[name], want) {
			t.Errorf("%s is %v, want %v", name, shapes[name], want)
		}
	}
	for _, name := range []string{"encoder.layers.2.bias", "decoder.layers.5.weight", "decoder.layers.6.bias", "decoder.layers.1.weight"} {
		if shapes[name] != nil {
			t.Errorf("there is %s among %d", name, len(slices.Collect(maps.Keys(shapes))))
		}
	}
}
