package cuda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// imageSize is a batch of images of one size.
type imageSize struct{ batch, height, width int }

func (p imageSize) String() string { return fmt.Sprintf("%d of %d×%d", p.batch, p.width, p.height) }

// imageSizes are the sizes that SDXL was trained at (Podell et al., SDXL, appendix I), batches, and sizes whose latents
// are odd at every level.
func imageSizes() []imageSize {
	p := []imageSize{{1, 1024, 1024}, {2, 1024, 1024}, {4, 1024, 1024}, {8, 1024, 1024}, {1, 512, 512}, {1, 1032, 968}, {2, 264, 328}}
	for _, s := range [][2]int{
		{512, 2048}, {512, 1984}, {512, 1920}, {512, 1856}, {576, 1792}, {576, 1728}, {576, 1664}, {640, 1600}, {640, 1536}, {704, 1472},
		{704, 1408}, {704, 1344}, {768, 1344}, {768, 1280}, {832, 1216}, {832, 1152}, {896, 1152}, {896, 1088}, {960, 1088}, {960, 1024},
	} {
		p = append(p, imageSize{1, s[0], s[1]}, imageSize{1, s[1], s[0]})
	}
	return p
}

// TestImageSizes compiles a step of base and refiner and the decoder for each of them, for both families: no size is
// refused, none falls back to a general kernel, and a batch takes no more memory than its images one by one.
func TestImageSizes(t *testing.T) {
	for _, card := range []drivertest.Device{drivertest.H100, drivertest.RTX3060} {
		d := onModel(t, card, Options{})
		var one int64
		for i, size := range imageSizes() {
			if testing.Short() && i > 8 {
				break
			}
			p := stepOf(t, d, "base", size.batch, size.height, size.width).program(t, d)
			if lines := p.generalUses(); len(lines) > 0 {
				t.Errorf("%s, %v: %q", card.Name, size, lines)
			}
			for what, m := range map[string]modelPlan{"the refiner": stepOf(t, d, "refiner", size.batch, size.height, size.width), "decoding": decodeOf(t, d, size.height, size.width)} {
				if lines := m.program(t, d).generalUses(); len(lines) > 0 {
					t.Errorf("%s, %v, %s: %q", card.Name, size, what, lines)
				}
			}
			if one == 0 {
				one = p.need
			}
			if pixels := int64(size.batch * size.height * size.width); p.need > one*pixels/(1024*1024)+64<<20 {
				t.Errorf("%s, %v: %d MB of temporaries, %d MB for one of 1024×1024", card.Name, size, p.need>>20, one>>20)
			}
		}
	}
}

// TestCardImageSizes runs the steps on a card with random weights: all results are finite, and the same when the step
// is repeated.
func TestCardImageSizes(t *testing.T) {
	d := card(t, Options{})
	w, err := d.NewWeights(randomWeights(step(t, d).plan))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := context.Background()
	for _, size := range imageSizes() {
		m := stepOf(t, d, "base", size.batch, size.height, size.width)
		compiled, err := d.Compile(m.plan, w, kernels.Options{})
		if err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		p := compiled.(*program)
		var last []byte
		for range 2 {
			if err := p.writeNoise(); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.Run(ctx), p.Finite(ctx)); err != nil {
				t.Fatalf("%v: %v", size, err)
			}
			x := p.states[0]
			got := make([]byte, m.plan.Tensors[x].Bytes())
			if err := p.Read(ctx, x, got); err != nil {
				t.Fatal(err)
			}
			if last != nil && !bytes.Equal(last, got) {
				t.Errorf("%v: another result the second time", size)
			}
			last = got
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
