package vae

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// TestTapsSeeTheModelsOwnValues: of an autoencoder whose residual stream is rescaled, taps read in float32 bit for bit
// what they read of one whose is not, and what they replace has the same effect.
func TestTapsSeeTheModelsOwnValues(t *testing.T) {
	c, src := synthetic(t, "../sdxl/synthetic/tiny")
	dev := processor(t)
	z := NewImage(4, 6, c.LatentChannels)
	scheduler.NewGenerator(5).Randn(z.Data)
	var seen [2]map[string]*nn.Tensor
	var paths [2][]string
	var images [2]Image
	for i, shift := range []int{0, streamShift} {
		a := opened(t, dev, src, c, kernels.Options{Precision: kernels.F32}, shift)
		seen[i] = map[string]*nn.Tensor{}
		all := nn.Tap{Path: "**", Read: func(path string, x *nn.Tensor) {
			seen[i][path] = x
			paths[i] = append(paths[i], path)
		}}
		x, err := a.Decode(t.Context(), z, all)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Encode(t.Context(), x, all); err != nil {
			t.Fatal(err)
		}
		images[i], err = a.Decode(t.Context(), z, nn.Tap{Path: "decoder.up_blocks.0", Replace: func(_ string, x *nn.Tensor) *nn.Tensor {
			for i := range x.Data {
				x.Data[i] = x.Data[i]/2 + 0.5
			}
			return x
		}})
		if err != nil {
			t.Fatal(err)
		}
		closed(t, a)
	}
	if len(paths[0]) < 80 || !slices.Equal(paths[0], paths[1]) {
		t.Fatalf("modules %q and %q", paths[0], paths[1])
	}
	for _, path := range paths[0] {
		if !slices.Equal(seen[0][path].Data, seen[1][path].Data) {
			t.Errorf("%s is not the model's own: %v…, want %v…", path, seen[1][path].Data[:4], seen[0][path].Data[:4])
		}
	}
	if !slices.Equal(images[0].Data, images[1].Data) {
		t.Error("what is replaced has another effect")
	}
}

// TestTapsOfAHalf: taps of the decoder do not disturb the encoder, nor the other way round, and one of neither is an
// error of both.
func TestTapsOfAHalf(t *testing.T) {
	c, src := synthetic(t, "../sdxl/synthetic/tiny")
	a := opened(t, processor(t), src, c, kernels.Options{}, 0)
	defer closed(t, a)
	f := c.ScaleFactor()
	z, x := NewImage(4, 4, c.LatentChannels), NewImage(4*f, 4*f, 3)
	var paths []string
	read := func(path string, _ *nn.Tensor) { paths = append(paths, path) }
	taps := []nn.Tap{{Path: "decoder.conv_in", Read: read}, {Path: "encoder.conv_in", Read: read}}
	if _, err := a.Decode(t.Context(), z, taps...); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Encode(t.Context(), x, taps...); err != nil {
		t.Fatal(err)
	}
	if want := []string{"decoder.conv_in", "encoder.conv_in"}; !slices.Equal(paths, want) {
		t.Errorf("read %q, want %q", paths, want)
	}
	wrong := nn.Tap{Path: "deocder.conv_in", Read: read}
	_, decoding := a.Decode(t.Context(), z, wrong)
	_, encoding := a.Encode(t.Context(), x, wrong)
	for _, err := range []error{decoding, encoding} {
		if err == nil || !strings.Contains(err.Error(), `tap "deocder.conv_in" matches none`) {
			t.Errorf("a path that is not there: %v", err)
		}
	}
}
