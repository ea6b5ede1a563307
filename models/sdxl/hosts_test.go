package sdxl

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// twoBases opens tiny twice, and its refiner, on one host.
func twoBases(t *testing.T, dev kernels.Device, log *slog.Logger) (a, b, refiner *Model) {
	t.Helper()
	host := hostOf(dev, log)
	var err error
	for _, m := range []**Model{&a, &b} {
		if *m, err = Open(t.Context(), "synth:tiny", Options{Host: host}); err != nil {
			t.Fatal(err)
		}
	}
	if refiner, err = refinerOf(t, a, "synth:tiny-refiner"); err != nil {
		t.Fatal(err)
	}
	return a, b, refiner
}

// TestTwoBasesOnOneHost steps runs of two bases and a refiner in turns, on the CPU and on devices with less and less
// memory, where they evict each other: the latents stay the same, and the memory within the limit.
func TestTwoBasesOnOneHost(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	r := scheduled("dpmpp_2m_sde", 1, 48)
	r.GuidancePerStep = []float64{5, 5, 1, 5}
	other := scheduled("unipc", 2, 64)
	refined := with(func(r *Request) { r.Image, r.Strength, r.Steps = gradient(48, 40), 0.8, 8 })
	draw := func(dev kernels.Device, log *slog.Logger) (list []*Tensor, images int) {
		a, b, refiner := twoBases(t, dev, log)
		runs := []*Run{started(t, a, r), started(t, b, other), started(t, refiner, refined)}
		for slices.ContainsFunc(runs, (*Run).Next) {
			for _, run := range runs {
				steps(t, run, 1)
			}
		}
		for _, run := range runs {
			run.q.request.LatentsOnly = false
			result, err := run.Finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			list, images = append(list, result.Latents), images+len(result.Images)
			run.Close()
		}
		if err := errors.Join(refiner.Close(), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if n := len(a.host.memory.components); n > 0 {
			t.Errorf("%d components are managed after Close", n)
		}
		return list, images
	}
	want, images := draw(plain, nil)
	if images != 3 {
		t.Errorf("%d images", images)
	}
	var whole int64 // the memory of everything at once
	for i, percent := range []int64{0, 75, 50, 35} {
		d := &pocket{Device: plain, held: map[*pocketWeights]bool{}, limit: whole * percent / 100}
		var log bytes.Buffer
		got, _ := draw(d, slog.New(slog.NewTextHandler(&log, nil)))
		for k := range got {
			if !slices.Equal(got[k].Data, want[k].Data) {
				t.Errorf("%d %% of the memory: run %d has other latents", percent, k)
			}
		}
		evicting := strings.Count(log.String(), "evicting=") - strings.Count(log.String(), "evicting=nothing")
		if i == 0 {
			whole = d.peak
			if evicting > 0 {
				t.Errorf("evictions without a limit:\n%s", &log)
			}
			continue
		}
		t.Logf("limit %d of %d, peak %d", d.limit, whole, d.peak)
		if d.peak > d.limit || evicting == 0 {
			t.Errorf("%d %%: peak %d of %d, %d evictions:\n%s", percent, d.peak, d.limit, evicting, &log)
		}
		if len(d.held) > 0 {
			t.Errorf("weights are left: %v", slices.Collect(maps.Keys(d.held)))
		}
	}
}

// TestBasesOfOneHostInGoroutines has two bases of a host with little memory generate at once.
func TestBasesOfOneHostInGoroutines(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	d := &pocket{Device: plain, held: map[*pocketWeights]bool{}}
	a, b, refiner := twoBases(t, d, nil)
	defer func() {
		if err := errors.Join(refiner.Close(), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}()
	r, other := scheduled("dpmpp_2m_sde", 1, 48), scheduled("unipc", 2, 64)
	want, wantOther := latentsAlone(t, a, r)[0], latentsAlone(t, b, other)[0]
	d.limit = d.peak * 6 / 10
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			m, q, w := a, r, want
			if i%2 == 1 {
				m, q, w = b, other, wantOther
			}
			if i > 3 {
				q.OnStep = func(int, *Tensor) error { return nil }
			}
			q.LatentsOnly = i%3 == 0
			got, err := m.Generate(t.Context(), q)
			if err != nil || !slices.Equal(got.Latents.Data, w.Data) {
				t.Errorf("%d: %v, or other latents", i, err)
			}
		})
	}
	wg.Wait()
}

// closing is a device that counts what is open on it, and cancels a context at the n-th component.
type closing struct {
	kernels.Device
	open, cancelAt int
	cancel         func()
}

func (d *closing) NewWeights(src kernels.Source) (kernels.Weights, error) {
	w, err := d.Device.NewWeights(src)
	if err == nil {
		d.open++
		if d.open == d.cancelAt {
			d.cancel()
		}
	}
	return &closingWeights{w, d}, err
}

func (d *closing) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	return d.Device.Compile(plan, w.(*closingWeights).Weights, o)
}

type closingWeights struct {
	kernels.Weights
	device *closing
}

func (w *closingWeights) Close() error {
	w.device.open--
	return w.Weights.Close()
}

// TestOpenIsCancelled cancels loading before it begins and after each component: nothing stays open, files neither.
func TestOpenIsCancelled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	for at := range 4 {
		d := &closing{Device: newModels(t).dev, cancelAt: at}
		host := hostOf(d)
		ctx, cancel := context.WithCancel(t.Context())
		if d.cancel = cancel; at == 0 {
			cancel()
		}
		m, err := Open(ctx, dir, Options{Host: host})
		var wrong *ModelError
		if m != nil || !errors.Is(err, context.Canceled) || !errors.As(err, &wrong) {
			t.Errorf("cancelled after %d components: %v", at, err)
		}
		if d.open != 0 || len(host.memory.components) != 0 {
			t.Errorf("cancelled after %d components: %d are open, %d managed", at, d.open, len(host.memory.components))
		}
		if maps, err := os.ReadFile("/proc/self/maps"); err == nil && strings.Contains(string(maps), dir) {
			t.Errorf("cancelled after %d components: files are mapped still", at)
		}
		cancel()
	}
}

// TestHostErrors opens models where they can't be.
func TestHostErrors(t *testing.T) {
	t.Parallel()
	if h, err := NewHost(nil, nil); h != nil || err == nil || !strings.Contains(err.Error(), "device of a host is nil") {
		t.Errorf("a nil device: %v", err)
	}
	m := newModels(t)
	base := m.open("tiny")
	for want, o := range map[string]Options{"Options.Host is nil": {}, "Options.Host is not the base's": {Base: base, Host: hostOf(m.dev)}} {
		_, err := Open(t.Context(), "synth:tiny-refiner", o)
		var wrong *ModelError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refiner, err := Open(t.Context(), "synth:tiny-refiner", Options{Base: base, Host: base.Host()})
	if err != nil {
		t.Fatalf("the base's own host: %v", err)
	}
	if err := refiner.Close(); err != nil {
		t.Error(err)
	}
}
