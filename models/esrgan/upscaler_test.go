package esrgan_test

import (
	"context"
	"errors"
	"image"
	"image/color"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/nn/weights"
)

// gradient is an image whose colours change slowly, with a pattern.
func gradient(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		x, y := i%width, i/width
		img.SetNRGBA(x, y, color.NRGBA{uint8(40 + 2*x), uint8(200 - 2*y), uint8(100 + 30*(x/3%2)), 255})
	}
	return img
}

// TestTiles: an image in tiles is the whole one but near the tiles' borders, and close to it there; far from borders it
// is the same.
func TestTiles(t *testing.T) {
	dev := processor(t)
	for name, c := range stored {
		u, err := esrgan.OpenFile(dev, "testdata/"+name+".pth", kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		img := gradient(83, 70)
		whole, err := u.Upscale(t.Context(), img, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.Tile, u.Overlap = 50, 24
		var seen []int
		tiled, err := u.Upscale(t.Context(), img, func(done, tiles int) { seen = append(seen, done, tiles) })
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != 12 || seen[10] != 6 || seen[11] != 6 {
			t.Errorf("%s: progress of %v, want six tiles", name, seen)
		}
		if tiled.Rect != whole.Rect || tiled.Rect.Dx() != 83*c.Scale() {
			t.Fatalf("%s: %v, whole %v", name, tiled.Rect, whole.Rect)
		}
		var sum, most int
		for i, v := range tiled.Pix {
			d := int(v) - int(whole.Pix[i])
			sum, most = sum+d*d, max(most, d, -d)
			if x := i / 4 % tiled.Rect.Dx(); x < 2*c.Scale() && i/4/tiled.Rect.Dx() < 2*c.Scale() && (d > 1 || d < -1) {
				t.Fatalf("%s: the corner, far from other tiles, differs by %d", name, d)
			}
		}
		// A position of an unshuffled network is several pixels, so that it sees farther, and these weights are random.
		allowed := map[int]float64{1: 2, 2: 8, 4: 80}[max(c.Unshuffle, 1)]
		if mean := float64(sum) / float64(len(tiled.Pix)); mean > allowed || most == 0 && c.Kind == esrgan.RRDB {
			t.Errorf("%s: mean square %g, at most %d from the whole image", name, mean, most)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMemory: where there is no memory for a tile, smaller ones are taken.
func TestMemory(t *testing.T) {
	dev := &small{Device: processor(t), most: 64}
	u := opened(t, dev, esrgan.Synthetic(stored["compact4"], kernels.F32))
	u.Overlap = 4
	tiles := 0
	if _, err := u.Upscale(t.Context(), gradient(120, 60), func(_, n int) { tiles = n }); err != nil || tiles != 3 {
		t.Errorf("%d tiles, %v", tiles, err)
	}
	dev.most = 4
	if _, err := u.Upscale(t.Context(), gradient(121, 61), nil); !errors.Is(err, kernels.ErrMemory) {
		t.Errorf("no memory gives %v", err)
	}
}

// small is a device that compiles programs of few rows alone.
type small struct {
	kernels.Device
	most int
}

func (s *small) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	for _, t := range p.Tensors {
		if t.Role == kernels.Step && max(t.Shape[1], t.Shape[2]) > s.most {
			return nil, kernels.ErrMemory
		}
	}
	return s.Device.Compile(p, w, o)
}

// TestRefuses: what is no upscaler, or no image that can be enlarged, is an error that says so.
func TestRefuses(t *testing.T) {
	dev := processor(t)
	shapes := func(change func(map[string][]int)) kernels.Source {
		s := stored["old"].Shapes()
		change(s)
		return weights.Synthetic("esrgan", s, kernels.F32)
	}
	for want, src := range map[string]kernels.Source{
		"neither RRDBNet's first block": weights.Synthetic("x", map[string][]int{"a": {1}}, kernels.F32),
		"input channels is 5":           shapes(func(s map[string][]int) { s["conv_first.weight"] = []int{8, 5, 3, 3} }),
		"missing tensors: conv_body":    shapes(func(s map[string][]int) { delete(s, "conv_body.weight") }),
		"conv1x1":                       shapes(func(s map[string][]int) { s["body.0.rdb1.conv1x1.weight"] = []int{4, 8, 1, 1} }),
		"growth is 0":                   shapes(func(s map[string][]int) { s["body.0.rdb1.conv1.weight"] = []int{4} }),
		"doublings is 4": shapes(func(s map[string][]int) {
			s["conv_up3.weight"], s["conv_up4.weight"] = []int{8, 8, 3, 3}, []int{8, 8, 3, 3}
		}),
		"no PReLU": weights.Synthetic("x", map[string][]int{"body.0.weight": {8, 3, 3, 3}, "body.1.weight": {8, 8, 3, 3}}, kernels.F32),
		"output channels is 7": weights.Synthetic("x", map[string][]int{"body.0.weight": {8, 3, 3, 3}, "body.1.weight": {8}, "body.2.weight": {8, 8, 3, 3},
			"body.4.weight": {7, 8, 3, 3}}, kernels.F32),
	} {
		u, err := esrgan.Open(dev, src, kernels.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error that has %q", err, want)
		}
		if err == nil {
			_ = u.Close()
		}
	}
	if _, err := esrgan.OpenFile(dev, "testdata/none.pth", kernels.Options{}); err == nil {
		t.Error("a file that is not there was opened")
	}
	u := opened(t, dev, esrgan.Synthetic(stored["compact4"], kernels.F32))
	for _, img := range []image.Image{image.NewNRGBA(image.Rect(0, 0, 0, 4)), image.NewUniform(color.White)} {
		if _, err := u.Upscale(t.Context(), img, nil); err == nil || !strings.Contains(err.Error(), "pixels") {
			t.Errorf("%v of %v", err, img.Bounds())
		}
	}
	u.Tile, u.Overlap = 64, 40
	if _, err := u.Upscale(t.Context(), gradient(8, 8), nil); err == nil || !strings.Contains(err.Error(), "overlap is 40") {
		t.Errorf("overlap: %v", err)
	}
	u.Overlap = 4
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := u.Upscale(ctx, gradient(200, 90), func(int, int) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gives %v", err)
	}
}

// TestNetworksReadAll: each tensor moves the result.
func TestNetworksReadAll(t *testing.T) {
	dev := processor(t)
	for _, name := range []string{"unshuffle2", "compact3"} {
		c := stored[name]
		values := func(change string) []float32 {
			src := weights.Synthetic("esrgan", c.Shapes(), kernels.F32)
			tensors := map[string]weights.Tensor{}
			for _, n := range src.Names() {
				dtype, shape, data, err := src.Tensor(n)
				if err != nil {
					t.Fatal(err)
				}
				if n == change {
					data = append([]byte(nil), data...)
					clear(data)
				}
				tensors[n] = weights.NewTensor(n, dtype, shape, data)
			}
			got, _, _, err := opened(t, dev, weights.FromMap(tensors)).Values(t.Context(), gradient(9, 7))
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		want := values("")
		for n := range maps.Keys(c.Shapes()) {
			if got := values(n); same(got, want) {
				t.Errorf("%s: %s is not read", name, n)
			}
		}
	}
}

func same(a, b []float32) bool {
	for i, v := range a {
		if d := v - b[i]; d > 1e-6 || d < -1e-6 {
			return false
		}
	}
	return true
}

// BenchmarkUpscale enlarges an image of 128×128 pixels by the full models. cpu-s/op is the CPU time of all threads.
func BenchmarkUpscale(b *testing.B) {
	for name, c := range map[string]esrgan.Config{"x4plus": esrgan.X4Plus, "general": esrgan.GeneralX4} {
		b.Run(name, func(b *testing.B) {
			u := opened(b, processor(b), esrgan.Synthetic(c, kernels.F16))
			img := gradient(128, 128)
			used := func() float64 {
				var r syscall.Rusage
				if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
					b.Fatal(err)
				}
				return float64(r.Utime.Sec) + float64(r.Utime.Usec)/1e6
			}
			if _, err := u.Upscale(b.Context(), img, nil); err != nil { // compiles
				b.Fatal(err)
			}
			start := used()
			for b.Loop() {
				if _, err := u.Upscale(b.Context(), img, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((used()-start)/float64(b.N), "cpu-s/op")
		})
	}
}
