package sdxl

import (
	"bytes"
	"context"
	"errors"
	"image"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// limited is the tiny model, base and refiner, on a CPU device that may take so much memory. What kernels take besides
// follows the number of workers, so that is the same on every machine.
type limited struct {
	*testing.T
	device        *cpu.Device
	base, refiner *Model
	log           bytes.Buffer
	steps         int // that were computed
}

func within(t *testing.T, limit int64, refiner bool) *limited {
	t.Helper()
	l := &limited{T: t}
	var err error
	l.device, err = cpu.New(cpu.Options{Memory: limit, Threads: 2, Trace: func(n cpu.Timing) {
		if _, ok := n.Node.Spec.(kernels.Solver); ok {
			l.steps++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if l.base, err = Open(t.Context(), "synth:tiny", Options{Host: hostOf(l.device, slog.New(slog.NewTextHandler(&l.log, nil))), Log: slog.New(slog.NewTextHandler(&l.log, nil))}); err != nil {
		t.Fatal(err)
	}
	if refiner {
		if l.refiner, err = refinerOf(t, l.base, "synth:tiny-refiner"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if l.refiner != nil {
			err = l.refiner.Close()
		}
		if err := errors.Join(err, l.base.Close()); err != nil {
			t.Error(err)
		}
		if m := l.memory(); m.Used != m.Arena || m.Peak > m.Limit {
			t.Errorf("closed: %+v, want nothing used but the arena, and the peak within the limit", m)
		}
		if err := l.device.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *limited) memory() kernels.Memory {
	l.Helper()
	m, err := l.device.Memory()
	if err != nil {
		l.Fatal(err)
	}
	return m
}

func (l *limited) request(side int) Request {
	r := Request{Prompt: "a red house"}
	r.Steps, r.Height, r.Width, r.Seed = 2, side, side, new(uint64(7))
	return r
}

// image draws one, which must work.
func (l *limited) image(r Request) *image.NRGBA {
	l.Helper()
	result, err := l.base.Generate(context.Background(), r)
	if err != nil {
		l.Fatalf("%v\n%s", err, &l.log)
	}
	return result.Images[0]
}

// least is what the programs of the last image and the weights hold, and the arena of a step of it.
func (l *limited) least(r Request) int64 {
	l.Helper()
	for _, p := range l.base.host.memory.components {
		if err := p.network.Trim(); err != nil {
			l.Fatal(err)
		}
	}
	step, err := stepProgram(l.base.UNet, stepShape(l.T, l.base, r), 0)
	if err != nil {
		l.Fatal(err)
	}
	m := l.memory()
	return m.Used - m.Arena + step.Footprint().Arena
}

// tiled reports whether the log says that there were tiles.
func (l *limited) tiled() bool {
	return strings.Contains(l.log.String(), "the autoencoder works in tiles")
}

// refused checks that a request was refused before its first step, and says what it needs.
func (l *limited) refused(what string, err error) {
	l.Helper()
	var sizes *kernels.MemoryError
	if !errors.Is(err, kernels.ErrMemory) || !errors.As(err, &sizes) {
		l.Fatalf("%s: %v, want one for want of memory", what, err)
	}
	if limit := l.memory().Limit; sizes.Allowed != limit || sizes.Needed <= limit {
		l.Errorf("%s: %+v, want %d allowed and more needed", what, sizes, limit)
	}
	if l.steps > 0 {
		l.Errorf("%s: refused after %d steps", what, l.steps)
	}
	l.Logf("%s: %v", what, err)
}

const mebi = 1 << 20

// TestMemoryOfTheHost draws one image on CPU devices with less and less memory: the same while there is room, then in
// tiles; then it is refused before its first step, and a smaller one is still generated.
func TestMemoryOfTheHost(t *testing.T) {
	const side, smaller = 256, 64
	free := within(t, 0, false)
	want, wantSmaller := free.image(free.request(side)), free.image(free.request(smaller))
	peak := free.memory().Peak
	whole := within(t, peak+mebi/2, false) // the image's pixels, which are planned for
	if got := whole.image(whole.request(side)); !slices.Equal(got.Pix, want.Pix) || whole.tiled() {
		t.Errorf("with all the memory that it needs: tiles %v, or another image", whole.tiled())
	}

	tiles := within(t, peak-2*mebi, false)
	tiles.image(tiles.request(side))
	if !tiles.tiled() {
		t.Errorf("%d of %d bytes: no tiles", peak-2*mebi, peak)
	}
	least := tiles.least(tiles.request(side))
	if got := tiles.image(tiles.request(smaller)); !slices.Equal(got.Pix, wantSmaller.Pix) {
		t.Error("another small image after one in tiles")
	}

	// Less than one step needs. A smaller image needs 2 MiB less.
	tight := within(t, least-mebi/2, false)
	_, err := tight.base.Generate(t.Context(), tight.request(side))
	tight.refused("one step too large", err)
	if got := tight.image(tight.request(smaller)); !slices.Equal(got.Pix, wantSmaller.Pix) {
		t.Error("another small image after one that was refused")
	}
	tight.steps = 0
	_, err = tight.base.Generate(t.Context(), tight.request(4096))
	tight.refused("one much too large", err)
	if got := tight.image(tight.request(smaller)); !slices.Equal(got.Pix, wantSmaller.Pix) {
		t.Error("another small image after one that was refused")
	}
}

// shapeOf is that of a request's step.
func stepShape(t *testing.T, p *Model, r Request) shape {
	t.Helper()
	q, err := p.resolve(r)
	if err != nil {
		t.Fatal(err)
	}
	return p.shape(q)
}

// TestRefusedBeforeTheSteps: what comes after the steps is looked at before them: the decoder, even in its smallest
// tiles, and an ensemble's refiner.
func TestRefusedBeforeTheSteps(t *testing.T) {
	const side = 256
	free := within(t, 0, true)
	r := free.request(side)
	free.image(r)
	alone := free.least(r)
	r.LatentsOnly = true
	if _, err := Ensemble(t.Context(), r, Expert{free.base, 0.5}, Expert{Model: free.refiner}); err != nil {
		t.Fatal(err)
	}

	// The refiner's weights are 5 MiB.
	l := within(t, alone+2*mebi, true)
	for _, progress := range []func(Progress){nil, func(Progress) {}} {
		r := l.request(side)
		r.Progress = progress
		_, err := Ensemble(t.Context(), r, Expert{l.base, 0.5}, Expert{Model: l.refiner})
		l.refused("an ensemble whose refiner has no room", err)
	}
	l.image(l.request(side)) // the base alone

	// Values of the whole image, for the watermark, have no room where pixels have.
	probe := within(t, 0, false)
	q := probe.request(512)
	q.LatentsOnly, q.Steps = true, 1
	if _, err := probe.base.Generate(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	l = within(t, probe.memory().Peak+mebi, false)
	q.LatentsOnly, q.Watermark = false, true
	_, err := l.base.Generate(t.Context(), q)
	l.refused("values of a whole image", err)
	q.LatentsOnly = true
	if _, err := l.base.Generate(t.Context(), q); err != nil {
		t.Errorf("latents alone: %v", err)
	}
}

// TestImageToImageWithinMemory encodes in tiles where the whole does not fit, and refuses what does not fit either,
// before anything is encoded.
func TestImageToImageWithinMemory(t *testing.T) {
	const side = 256
	source := func(side int) image.Image {
		img := image.NewNRGBA(image.Rect(0, 0, side, side))
		for i := range img.Pix {
			img.Pix[i] = uint8(i * i / 7)
		}
		return img
	}
	draw := func(l *limited, side int) (*Result, error) {
		r := l.request(side)
		r.Image, r.Width, r.Height, r.Strength, r.LatentsOnly = source(side), 0, 0, 1, true
		return l.base.Generate(t.Context(), r)
	}
	free := within(t, 0, false)
	want, err := draw(free, side)
	if err != nil {
		t.Fatal(err)
	}
	m := free.memory()
	whole := within(t, m.Peak+mebi/2, false)
	if got, err := draw(whole, side); err != nil || !slices.Equal(got.Latents.Data, want.Latents.Data) || whole.tiled() {
		t.Errorf("with all the memory that it needs: %v, tiles %v, or other latents", err, whole.tiled())
	}
	tiles := within(t, m.Peak-2*mebi, false)
	if got, err := draw(tiles, side); err != nil || slices.Equal(got.Latents.Data, want.Latents.Data) || !tiles.tiled() {
		t.Errorf("with less: %v, tiles %v", err, tiles.tiled())
	}
	_, err = draw(within(t, 0, false), side)
	if err != nil {
		t.Error(err)
	}
	tight := within(t, m.Peak-m.Arena, false)
	tight.steps = 0
	_, err = draw(tight, 2048)
	tight.refused("a large image", err)
}
