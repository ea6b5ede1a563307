package vae_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// TestGoldens compares encoder, posterior, decoder and their tiled forms, at even and odd sizes, with diffusers.
func TestGoldens(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	ctx := context.Background()
	for _, c := range []struct{ model, folder string }{
		{"tiny", "../sdxl/synthetic/tiny"},
		{"tiny-b", "../../testdata/models/tiny-b"},
		{"tiny-c", "../../testdata/models/tiny-c"},
	} {
		t.Run(c.model, func(t *testing.T) {
			file := c.folder + "/vae/config.json"
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, err := vae.ParseConfig(data, file)
			if err != nil {
				t.Fatal(err)
			}
			a, err := vae.Open(dev, weights.Synthetic("vae", nn.Shapes(vae.New(config)), kernels.F32), config, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			g := golden.Open(t, "../../testdata/goldens/"+c.model+".safetensors")
			encode := func(image, moments string) vae.Image {
				pixels, shape := g.Bytes(image)
				got, err := a.Encode(ctx, imageOf(pixels, shape))
				if err != nil {
					t.Fatal(err)
				}
				want, ms := g.Floats(moments)
				golden.Near(t, moments, got.Data, golden.ChannelsLast(want, ms), 1e-5)
				return got
			}
			decode := func(latents, image string) {
				z, shape := g.Floats(latents)
				want, ws := g.Floats(image)
				z, want = golden.ChannelsLast(z, shape), golden.ChannelsLast(want, ws)
				for i := range shape[0] {
					n, m := len(z)/shape[0], len(want)/shape[0]
					got, err := a.Decode(ctx, vae.Image{Height: shape[2], Width: shape[3], Channels: shape[1], Data: z[i*n : (i+1)*n]})
					if err != nil {
						t.Fatal(err)
					}
					golden.Near(t, image, got.Data, want[i*m:(i+1)*m], 1e-5)
				}
			}
			for i := range 2 {
				name := fmt.Sprintf("vae.encode.%d.", i)
				moments := encode(name+"image", name+"moments")
				want, shape := g.Floats(name + "posterior")
				noise := make([]float32, len(want))
				scheduler.NewGenerator(uint64(20240917 + i)).Randn(noise)
				z := a.Sample(moments, golden.ChannelsLast(noise, shape))
				golden.Near(t, name+"posterior", z.Data, golden.ChannelsLast(want, shape), 1e-5)
				decode(fmt.Sprintf("vae.decode.%d.latents", i), fmt.Sprintf("vae.decode.%d.image", i))
			}
			a.Tile = config.SampleSize
			encode("vae.tiled_encode.image", "vae.tiled_encode.moments")
			decode("vae.tiled_decode.latents", "vae.tiled_decode.image")
		})
	}
}

// imageOf reads [1, 3, H, W] bytes as values in −1…1.
func imageOf(pixels []byte, shape []int) vae.Image {
	p := vae.NewImage(shape[2], shape[3], 3)
	plane := shape[2] * shape[3]
	for k := range 3 {
		for i := range plane {
			p.Data[3*i+k] = float32(pixels[k*plane+i])/255*2 - 1
		}
	}
	return p
}
