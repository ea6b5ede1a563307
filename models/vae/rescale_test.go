package vae

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

func closed(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func processor(t *testing.T) kernels.Device {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, dev) })
	return dev
}

// synthetic is a model folder's autoencoder, its weights as goxl synth gives them.
func synthetic(t *testing.T, folder string) (Config, kernels.Source) {
	t.Helper()
	file := folder + "/vae/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	return c, weights.Synthetic("vae", nn.Shapes(New(c)), kernels.F16)
}

func opened(t *testing.T, dev kernels.Device, src kernels.Source, c Config, o kernels.Options, shift int) *Autoencoder {
	t.Helper()
	a, err := open(dev, src, c, o, shift)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, a) })
	return a
}

// noise is an image or latents of unit variance.
func noise(height, width, channels int) Image {
	p := NewImage(height, width, channels)
	scheduler.NewGenerator(7).Randn(p.Data)
	return p
}

// loud is an autoencoder whose residual stream is 2^by times as large, which the norms undo.
type loud struct {
	kernels.Source
	by int
}

func (s loud) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	if err != nil || dtype != kernels.F16 {
		return dtype, shape, data, err
	}
	contains := func(part string) bool { return strings.Contains(name, part) }
	factor := float32(1)
	if contains(".conv_in.") || contains(".conv2.") || contains(".to_out.") ||
		strings.HasSuffix(name, ".bias") && (contains(".conv_shortcut.") || contains("samplers.")) {
		factor = float32(math.Ldexp(1, s.by))
	}
	var out []byte
	for i := 0; i < len(data); i += 2 {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(kernels.FromF16(binary.LittleEndian.Uint16(data[i:]))*factor))
	}
	return kernels.F32, shape, out, nil
}

// Describe implements kernels.Source.
func (s loud) Describe(name string) (kernels.DType, []int, error) {
	_, shape, err := s.Source.Describe(name)
	return kernels.F32, shape, err
}

// stream is the largest magnitude in the decoder's residual stream behind each level.
func stream(t *testing.T, a *Autoencoder, z Image) (most float64) {
	t.Helper()
	d := a.model.Decoder
	for n := range len(d.UpBlocks) + 1 {
		var shape []int
		p, err := a.Network.Program(fmt.Sprintf("stream %d", n), func(b *nn.Builder) {
			x := d.MidBlock.Forward(b, d.ConvIn.Forward(b, b.Input("in", kernels.Step, kernels.F32, 1, z.Height, z.Width, z.Channels)))
			for _, level := range d.UpBlocks[:n] {
				x = level.Forward(b, x)
			}
			shape = []int{x.Dim(1), x.Dim(2), x.Dim(3)}
			b.Output("out", x)
		})
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float32, kernels.Elements(shape))
		if err := errors.Join(p.SetFloats("in", z.Data...), p.Run(context.Background()), p.Floats(context.Background(), "out", out)); err != nil {
			t.Fatal(err)
		}
		for _, v := range out {
			most = max(most, math.Abs(float64(v)))
		}
	}
	return most
}

// psnr is the peak signal-to-noise ratio of values in −1…1 in dB.
func psnr(got, want Image) float64 {
	var square float64
	for i, v := range want.Data {
		d := float64(got.Data[i]) - float64(v)
		square += d * d
	}
	return 10 * math.Log10(4*float64(len(want.Data))/square)
}

// TestOverflow decodes, on a card, with a residual stream that passes 200,000, three times float16's range: as it is,
// where the factors keep it in range; without them, where bfloat16 saves the image; and with a stream beyond every
// range, which is an error and no image.
func TestOverflow(t *testing.T) {
	card, err := cuda.Open(cuda.Options{})
	if err != nil {
		require.Lacks(t, "cuda", err)
	}
	t.Cleanup(func() { closed(t, card) })
	ctx := context.Background()
	c, src := synthetic(t, "../sdxl/synthetic/base")
	z := noise(32, 24, c.LatentChannels)
	img := noise(128, 192, 3)
	exact := processor(t)
	quiet := stream(t, opened(t, exact, src, c, kernels.Options{Precision: kernels.F32}, 0), z)
	loud := loud{src, int(math.Ceil(math.Log2(200_000 / quiet)))}
	reference := opened(t, exact, loud, c, kernels.Options{Precision: kernels.F32}, 0)
	most := stream(t, reference, z)
	t.Logf("the stream reaches %.3g, and %.6g where it is 2^%d times as large", quiet, most, loud.by)
	if !(most > 200_000) {
		t.Fatalf("the stream reaches %v, want 200000 and more", most)
	}
	want, err := reference.Decode(ctx, z)
	if err != nil {
		t.Fatal(err)
	}
	wantMoments, err := reference.Encode(ctx, img)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		source   kernels.Source
		shift    int
		overflow bool
		least    float64 // dB
	}{
		{"rescaled", loud, streamShift, false, 45},
		{"quiet, rescaled", src, streamShift, false, 45},
		{"quiet, not rescaled", src, 0, false, 45},
		{"not rescaled", loud, 0, true, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := opened(t, card, test.source, c, kernels.Options{}, test.shift)
			var warned []error
			a.OnOverflow(func(err error) { warned = append(warned, err) })
			got, err := a.Decode(ctx, z)
			if err != nil {
				t.Fatal(err)
			}
			moments, err := a.Encode(ctx, img)
			if err != nil {
				t.Fatal(err)
			}
			for what, d := range map[string]float64{"decoded": psnr(got, want), "moments": psnr(moments, wantMoments)} {
				if !(d >= test.least) {
					t.Errorf("%s: %.1f dB to float32, want %v", what, d, test.least)
				} else {
					t.Logf("%s: %.1f dB to float32", what, d)
				}
			}
			if !test.overflow {
				if len(warned) > 0 {
					t.Errorf("overflowed: %v", warned)
				}
				return
			}
			if len(warned) != 2 || !strings.HasPrefix(warned[0].Error(), "decoder.") || !strings.HasPrefix(warned[1].Error(), "encoder.") {
				t.Errorf("warned %v, want where decoder and encoder overflowed", warned)
			}
			t.Logf("as it should: %v", warned)
		})
	}
	t.Run("beyond every range", func(t *testing.T) {
		loud.by = 126
		_, err := opened(t, card, loud, c, kernels.Options{}, streamShift).Decode(ctx, z)
		if !errors.Is(err, kernels.ErrNotFinite) || !strings.HasPrefix(err.Error(), "decoder.") {
			t.Errorf("error %v, want one that names a node of the decoder", err)
		}
	})
}

// TestRescaled computes both halves with the factors and without, in float32: not a bit may differ.
func TestRescaled(t *testing.T) {
	dev, ctx := processor(t), context.Background()
	for _, folder := range []string{"../sdxl/synthetic/tiny", "../../testdata/models/tiny-b", "../../testdata/models/tiny-c"} {
		c, src := synthetic(t, folder)
		f := c.ScaleFactor()
		var images, moments [2]Image
		for i, shift := range []int{0, streamShift} {
			a := opened(t, dev, src, c, kernels.Options{Precision: kernels.F32}, shift)
			var err error
			if images[i], err = a.Decode(ctx, noise(6, 5, c.LatentChannels)); err != nil {
				t.Fatal(err)
			}
			if moments[i], err = a.Encode(ctx, noise(4*f, 3*f, 3)); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(images[0].Data, images[1].Data) {
			t.Errorf("%s: decoding differs", folder)
		}
		if !slices.Equal(moments[0].Data, moments[1].Data) {
			t.Errorf("%s: encoding differs", folder)
		}
	}
}
