package sdxl

import (
	"context"
	"errors"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/esrgan"
)

// upscaleHost is a host without models.
func upscaleHost(t *testing.T) *Host {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	h := hostOf(dev)
	t.Cleanup(func() {
		if err := errors.Join(h.CloseUpscaler(), dev.Close()); err != nil {
			t.Error(err)
		}
		if n := len(h.memory.components); n > 0 {
			t.Errorf("%d components are managed after CloseUpscaler", n)
		}
	})
	return h
}

// throughUpscaler is an image behind so many passes of a model.
func throughUpscaler(t *testing.T, h *Host, file string, img *image.NRGBA, passes int) *image.NRGBA {
	t.Helper()
	f, err := esrgan.OpenFile(h.device, esrganFiles+file, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range passes {
		if img, err = f.Upscale(t.Context(), img, nil); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// TestUpscale: an image goes through the model as often as A1111 has it, and is resized to what is asked for.
func TestUpscale(t *testing.T) {
	t.Parallel()
	h := upscaleHost(t)
	source := opaque(gradient(24, 20))
	large := map[string]*image.NRGBA{
		"compact3": throughUpscaler(t, h, "compact3.pth", source, 1), "compact3 twice": throughUpscaler(t, h, "compact3.pth", source, 2),
		"old": throughUpscaler(t, h, "old.pth", source, 1), "compact1": throughUpscaler(t, h, "compact1.pth", source, 1),
	}
	blended := resample.Lanczos(source, 72, 60)
	for i, v := range blended.Pix {
		blended.Pix[i] = uint8(float64(v) + 0.25*(float64(large["compact3"].Pix[i])-float64(v)))
	}
	file := func(name string) string { return esrganFiles + name }
	for name, c := range map[string]struct {
		u     Upscaling
		want  *image.NRGBA
		scale float64
	}{
		"the model's own":     {Upscaling{Upscaler: file("compact3.pth")}, large["compact3"], 3},
		"twice, then smaller": {Upscaling{Upscaler: file("compact3.pth"), Scale: 4.5}, resample.Lanczos(large["compact3 twice"], 108, 90), 4.5},
		"once, then smaller":  {Upscaling{Upscaler: file("old.pth"), Width: 60}, resample.Lanczos(large["old"], 60, 50), 0},
		"the same size":       {Upscaling{Upscaler: file("old.pth"), Scale: 1}, resample.Lanczos(large["old"], 24, 20), 1},
		"without enlarging":   {Upscaling{Upscaler: file("compact1.pth"), Height: 40}, resample.Lanczos(large["compact1"], 48, 40), 0},
		"smaller":             {Upscaling{Upscaler: file("compact3.pth"), Scale: 0.5}, resample.Lanczos(source, 12, 10), 0.5},
		"crop":                {Upscaling{Upscaler: file("compact3.pth"), Width: 40, Height: 50}, resample.Crop(large["compact3"], 40, 50), 0},
		"stretch":             {Upscaling{Upscaler: file("compact3.pth"), Width: 70, Height: 50, Resize: ResizeStretch}, resample.Lanczos(large["compact3"], 70, 50), 0},
		"fill":                {Upscaling{Upscaler: file("compact3.pth"), Width: 90, Height: 50, Resize: ResizeFill}, resample.Fill(large["compact3"], 90, 50), 0},
		"Lanczos":             {Upscaling{Upscaler: "Lanczos"}, resample.Lanczos(source, 48, 40), 2},
		"nearest":             {Upscaling{Upscaler: "nearest", Scale: 3}, resample.Nearest(source, 72, 60), 3},
		"two":                 {Upscaling{Upscaler: "lanczos", Second: file("compact3.pth"), SecondVisibility: 0.25, Scale: 3}, blended, 3},
		"tile":                {Upscaling{Upscaler: file("compact3.pth"), Tile: 32}, large["compact3"], 3},
	} {
		computed, last := 0, Progress{}
		result, err := h.Upscale(t.Context(), UpscaleRequest{Upscaling: c.u, Image: source, OnComputed: func() { computed++ }, Progress: func(p Progress) {
			if p.Step <= last.Step || p.Step > p.Steps {
				t.Errorf("%s: step %d of %d follows %d", name, p.Step, p.Steps, last.Step)
			}
			last = p
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, p := result.Images[0], result.Parameters
		if got.Rect != c.want.Rect || !slices.Equal(got.Pix, c.want.Pix) {
			t.Errorf("%s: another image of %v, want %v", name, got.Rect, c.want.Rect)
		}
		resolved, err := c.u.Resolve(Size{20, 24})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if resolved.Width != got.Rect.Dx() || resolved.Height != got.Rect.Dy() || *resolved.Upscale != *p.Upscale || p.Upscale.Scale != c.scale || p.Task != Upscale {
			t.Errorf("%s: resolved as %v, and the result is %v", name, resolved, p)
		}
		if p.Upscale.FLOPs > 0 != (last.Step > 0) || last.Step != last.Steps || computed != 1 {
			t.Errorf("%s: ended at step %d of %d, %v operations, computed %d times", name, last.Step, last.Steps, p.Upscale.FLOPs, computed)
		}
	}
}

// TestUpscaleKeeps: the host keeps the model for the next call, which takes another when the file is another.
func TestUpscaleKeeps(t *testing.T) {
	t.Parallel()
	h := upscaleHost(t)
	file := filepath.Join(t.TempDir(), "u.pth")
	var last *openedUpscaler
	for i, from := range []string{"compact3.pth", "", "compact4.pth"} {
		if from != "" {
			data, err := os.ReadFile(esrganFiles + from)
			if err == nil {
				err = os.WriteFile(file, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		result, err := h.Upscale(t.Context(), UpscaleRequest{Upscaling: Upscaling{Upscaler: file}, Image: gradient(24, 20)})
		if err != nil {
			t.Fatal(err)
		}
		if want := []int{72, 72, 96}[i]; result.Images[0].Rect.Dx() != want {
			t.Errorf("call %d: %d pixels wide, want %d", i, result.Images[0].Rect.Dx(), want)
		}
		if kept := h.upscaler == last; kept != (from == "") {
			t.Errorf("call %d: the model was kept: %v", i, kept)
		}
		last = h.upscaler
		if n := len(h.memory.components); n != 1 || !h.manages(last.Network) {
			t.Errorf("call %d: %d components are managed", i, n)
		}
	}
}

// TestUpscaleEnds: the end of the context is felt within a tile, and Stop gives what the image has come to.
func TestUpscaleEnds(t *testing.T) {
	t.Parallel()
	h := upscaleHost(t)
	file := filepath.Join(t.TempDir(), "slow.safetensors")
	if err := esrgan.Synthesise(esrgan.Config{Kind: esrgan.RRDB, Features: 64, Growth: 32, Blocks: 12, Doublings: 2, Unshuffle: 1}, kernels.F32, file); err != nil {
		t.Fatal(err)
	}
	source := opaque(gradient(256, 256)) // one tile, which takes many seconds
	r := UpscaleRequest{Upscaling: Upscaling{Upscaler: file, Scale: 2}, Image: source}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.Upscale(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end of the context gives %v", err)
	}
	stop := make(chan struct{})
	r.Stop = stop
	time.AfterFunc(200*time.Millisecond, func() { close(stop) })
	result, err := h.Upscale(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if at := result.Parameters.Interrupted; at == nil || *at != (Interruption{0, 1}) {
		t.Errorf("Stop within the first tile of one is reported as %+v", at)
	}
	if want := resample.Lanczos(source, 512, 512); !slices.Equal(result.Images[0].Pix, want.Pix) {
		t.Error("Stop gives another image than the source in the size that is asked for")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("both took %v", took)
	}

	stop = make(chan struct{})
	r = UpscaleRequest{Upscaling: Upscaling{Upscaler: esrganFiles + "compact4.pth", Scale: 16}, Image: gradient(24, 20), Stop: stop}
	r.Progress = func(p Progress) {
		if p.Step == 1 {
			close(stop)
			time.Sleep(50 * time.Millisecond) // until the pass behind this one ends by it
		}
	}
	if result, err = h.Upscale(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := resample.Lanczos(throughUpscaler(t, h, "compact4.pth", opaque(gradient(24, 20)), 1), 384, 320)
	if at := result.Parameters.Interrupted; at == nil || at.StepsDone != 1 || at.Steps != 2 || !slices.Equal(result.Images[0].Pix, want.Pix) {
		t.Errorf("Stop after the first pass gives %+v, or another image", at)
	}
}

// TestUpscaleRefuses: what can't be done is an error of the field.
func TestUpscaleRefuses(t *testing.T) {
	t.Parallel()
	h := upscaleHost(t)
	data, err := os.ReadFile(esrganFiles + "compact3.pth")
	damaged := filepath.Join(t.TempDir(), "damaged.pth")
	if err == nil {
		err = os.WriteFile(damaged, data[:len(data)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	four := esrganFiles + "compact4.pth"
	for field, list := range map[string][]UpscaleRequest{
		"upscaler":              {{}, {Upscaling: Upscaling{Upscaler: "none.pth"}}, {Upscaling: Upscaling{Upscaler: damaged}}, {Upscaling: Upscaling{Upscaler: "../../go.mod"}}, {Upscaling: Upscaling{Upscaler: t.TempDir()}}},
		"upscaler_2":            {{Upscaling: Upscaling{Upscaler: "lanczos", Second: damaged, SecondVisibility: 1}}},
		"upscaler_2_visibility": {{Upscaling: Upscaling{Upscaler: "lanczos", Second: four, SecondVisibility: math.NaN()}}},
		"scale": {
			{Upscaling: Upscaling{Upscaler: "lanczos", Scale: 17}}, {Upscaling: Upscaling{Upscaler: "lanczos", Scale: math.NaN()}}, {Upscaling: Upscaling{Upscaler: four, Scale: -1}},
			{Upscaling: Upscaling{Upscaler: four, Scale: 2, Width: 40}}, {Upscaling: Upscaling{Upscaler: four}, Image: Blank{Size{4000, 100}}},
			{Upscaling: Upscaling{Upscaler: "nearest", Scale: 0.01}},
		},
		"width":  {{Upscaling: Upscaling{Upscaler: four, Width: MaxSide + 1}}},
		"height": {{Upscaling: Upscaling{Upscaler: four, Height: -1}}},
		"resize": {{Upscaling: Upscaling{Upscaler: four, Width: 50, Height: 50, Resize: "x"}}},
		"tile":   {{Upscaling: Upscaling{Upscaler: four, Tile: 31}}, {Upscaling: Upscaling{Upscaler: four, Tile: MaxSide + 1}}, {Upscaling: Upscaling{Upscaler: four, Tile: -1}}},
		"image":  {{Upscaling: Upscaling{Upscaler: four}, Image: Blank{Size{MaxSide + 1, 1}}}, {Upscaling: Upscaling{Upscaler: four}, Image: Blank{Size{8, 8}}}},
	} {
		for _, r := range list {
			if r.Image == nil {
				r.Image = gradient(24, 20)
			}
			_, err := h.Upscale(t.Context(), r)
			var bad *RequestError
			if !errors.As(err, &bad) || bad.Field != field {
				t.Errorf("%+v gives %v, want an error of %s", r.Upscaling, err, field)
			}
		}
	}
	// Two passes of 4 are more pixels on the way to 5 times the size than an image may have.
	_, err = Upscaling{Upscaler: four, Scale: 5}.Resolve(Size{1200, 1200})
	if err == nil || !strings.Contains(err.Error(), "19200×19200") {
		t.Errorf("a way by too large an image gives %v", err)
	}
	if _, err := (Upscaling{Upscaler: four}).Resolve(Size{8, 8}); err != nil {
		t.Error(err)
	}
	if _, err := h.Upscale(t.Context(), UpscaleRequest{Upscaling: Upscaling{Upscaler: four}}); err == nil {
		t.Error("no image is taken")
	}
}

// TestUpscaleEvicts: where the device has no memory for both, the upscaler and the model make room for each other, and
// the images stay the same.
func TestUpscaleEvicts(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	file := filepath.Join(t.TempDir(), "u.safetensors")
	if err := esrgan.Synthesise(esrgan.Config{Kind: esrgan.RRDB, Features: 64, Growth: 32, Blocks: 3, Doublings: 1, Unshuffle: 1}, kernels.F32, file); err != nil {
		t.Fatal(err)
	}
	made := func(limit int64) (images [3][]uint8, peak int64, evictions uint64) {
		d := &pocket{Device: plain, held: map[*pocketWeights]bool{}, limit: limit}
		h := hostOf(d)
		m, err := Open(t.Context(), "synth:tiny", Options{Host: h})
		if err != nil {
			t.Fatal(err)
		}
		for i := range images {
			var result *Result
			if i == 1 {
				result, err = m.Upscale(t.Context(), UpscaleRequest{Upscaling: Upscaling{Upscaler: file}, Image: gradient(24, 20)})
			} else {
				result, err = m.Generate(t.Context(), small())
			}
			if err != nil {
				t.Fatalf("%d bytes: %v", limit, err)
			}
			images[i] = result.Images[0].Pix
		}
		evictions = h.Evictions()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if n := len(h.memory.components); n > 0 || h.upscaler != nil {
			t.Errorf("%d components are managed after Close", n)
		}
		return images, d.peak, evictions
	}
	want, peak, none := made(0)
	got, used, evictions := made(peak * 3 / 4)
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("image %d is another one in less memory", i)
		}
	}
	if none != 0 || evictions < 2 || used > peak*3/4 {
		t.Errorf("%d and %d evictions, %d bytes used of %d", none, evictions, used, peak*3/4)
	}
}
