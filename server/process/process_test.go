package process

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"image"
	"image/color"
	"io"
	"math"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

func launch(t *testing.T, how string) (*Engine, *bytes.Buffer) {
	t.Helper()
	var stderr bytes.Buffer // read after the program has ended
	c := exec.Command(os.Args[0], asProgram, how)
	c.Stderr = &stderr
	e, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return e, &stderr
}

func stop(t *testing.T, e *Engine, stderr *bytes.Buffer) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if got := stderr.String(); got != "served: <nil>" {
		t.Errorf("the program said %q", got)
	}
}

// Requests, results, facts and errors arrive as they were.
func TestCalls(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	if e.Info() != (sdxl.Info{Path: "base", Width: 64, Guidance: 5.5}) || !reflect.DeepEqual(e.Device(), kernels.Info{Name: "cuda:3", Precisions: []kernels.DType{kernels.F16}, Memory: 1 << 40}) {
		t.Errorf("%+v on %+v", e.Info(), e.Device())
	}
	refiner, err := e.OpenRefiner()
	if err != nil || refiner.Info().Path != "refiner of base" {
		t.Fatalf("%v, %v", refiner, err)
	}
	if e.Cost() != (&fake{name: "base"}).Cost() || refiner.Cost() != (&fake{name: "refiner of base"}).Cost() {
		t.Errorf("costs %v and %v", e.Cost(), refiner.Cost())
	}
	empty, some := "", "blur"
	for _, negative := range []*string{nil, &empty, &some} {
		r := sdxl.NewRequest("a \xff cat")
		r.Negative, r.Width, r.Seed, r.Guidance, r.Watermark = negative, 512, math.MaxUint64, 7.25, true
		r.Sigmas, r.Latents = []float64{14.6, 0.1}, &sdxl.Latents{Shape: [4]int{1, 1, 1, 2}, Data: []float32{float32(math.Inf(1)), -0.5}}
		got, err := e.Generate(t.Context(), r)
		if err != nil || got.Seed != r.Seed || got.Steps != 50 || got.Warnings[0] != "base" || got.Warnings[1] != describe(r) {
			t.Errorf("%v, %+v, want\n%s", err, got, describe(r))
		}
	}
	for _, img := range []image.Image{
		image.NewNRGBA(image.Rect(0, 0, 3, 2)), image.NewGray16(image.Rect(0, 0, 3, 2)), image.NewRGBA64(image.Rect(0, 0, 3, 2)),
		image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.RGBA{1, 2, 3, 255}, color.NRGBA{9, 9, 9, 40}}),
	} {
		if p, ok := img.(*image.Paletted); ok {
			p.Pix[4] = 1
		}
		want, _ := (&fake{}).Generate(t.Context(), sdxl.NewRefineRequest("", img))
		got, err := refiner.Refine(t.Context(), sdxl.NewRefineRequest("", img))
		if err != nil || got.Warnings[0] != "refiner of base" || !reflect.DeepEqual(got.Images, want.Images) {
			t.Errorf("%T: %v, %v", img, got, err)
		}
	}
	bad := sdxl.NewRequest("field")
	bad.Guidance = math.NaN()
	var field *sdxl.RequestError
	if err := e.Check(bad, false); !errors.As(err, &field) || field.Error() != "guidance_scale is NaN: must be a finite number: it is not" {
		t.Errorf("%v", err)
	}
	if err := e.Check(sdxl.NewRequest("odd field"), false); !errors.As(err, &field) || field.Value != "{1 2}" {
		t.Errorf("%v", err)
	}
	if err := errors.Join(e.Check(sdxl.NewRequest("image"), true), e.Check(sdxl.NewRequest("fine"), false)); err != nil {
		t.Error(err)
	}
	if _, err := e.Generate(t.Context(), sdxl.NewRequest("fail")); err == nil || err.Error() != "only this one" || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if _, err := e.Generate(t.Context(), sdxl.NewRequest("large")); !errors.Is(err, kernels.ErrMemory) || err.Error() != "step: kernels: out of device memory: 9000.0 MiB needed" || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	var sizes *kernels.MemoryError
	if _, err := e.Generate(t.Context(), sdxl.NewRequest("large")); errors.As(err, &sizes) {
		t.Errorf("sizes that nobody told: %+v", sizes)
	}
	if _, err := e.Generate(t.Context(), sdxl.NewRequest("limited")); !errors.Is(err, kernels.ErrMemory) || !errors.As(err, &sizes) ||
		*sizes != (kernels.MemoryError{Needed: 9 << 30, Allowed: 8 << 30}) || err.Error() != "unet: "+sizes.Error() {
		t.Errorf("%v with %+v", err, sizes)
	}
	watched := sdxl.NewRequest("")
	watched.Progress = func(sdxl.Progress) {}
	if _, err := e.Generate(t.Context(), watched); err == nil || !strings.Contains(err.Error(), "must be nil") {
		t.Errorf("a request with callbacks: %v", err)
	}
	if err := refiner.Close(); err != nil || e.Check(sdxl.NewRequest(""), false) != nil {
		t.Error("closing the refiner ended the program")
	}
}

// Calls run beside each other, and a context ends its own alone.
func TestCancel(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := e.Generate(ctx, sdxl.NewRequest("wait"))
		waiting <- err
	}()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			r := sdxl.NewRequest("a")
			r.Seed = uint64(i)
			if got, err := e.Generate(t.Context(), r); err != nil || got.Seed != r.Seed {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	all.Wait()
	if len(waiting) > 0 {
		t.Error("the call that waits ended by itself")
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if _, err := e.Generate(ctx, sdxl.NewRequest("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// However the program is lost, its calls end, Lost says why, and Close ends it.
func TestLost(t *testing.T) {
	for prompt, says := range map[string]string{
		"die": "the engine's process ended: exit status 7", "panic": "the engine's process ended: exit status 2",
		"fault": "cuda: the card is lost", "killed": "the engine's process ended: signal: killed", "stuck": "the engine did not stop in 50ms",
	} {
		t.Run(prompt, func(t *testing.T) {
			e, _ := launch(t, "")
			e.grace = 50 * time.Millisecond
			beside := make(chan error, 1)
			go func() {
				_, err := e.Generate(context.Background(), sdxl.NewRequest("wait"))
				beside <- err
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			asked := prompt
			switch prompt {
			case "stuck":
				ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
			case "killed":
				asked = "wait"
				defer time.AfterFunc(20*time.Millisecond, func() {
					if p, err := os.FindProcess(e.Pid()); err == nil {
						_ = p.Kill()
					}
				}).Stop()
			}
			_, err := e.Generate(ctx, sdxl.NewRequest(asked))
			want := map[string]string{"stuck": "context deadline exceeded", "fault": "cuda: a kernel faulted"}[prompt]
			if want == "" {
				want = says
			}
			if err == nil || err.Error() != want {
				t.Errorf("%v, want %q", err, want)
			}
			if lost := e.Lost(); lost == nil || lost.Error() != says {
				t.Errorf("lost: %v, want %q", lost, says)
			}
			if err := errors.Join(e.Close(), e.Close()); err != nil {
				t.Error(err)
			}
			if err := <-beside; err == nil || err.Error() != says {
				t.Errorf("a call beside it: %v", err)
			}
			if err := e.Check(sdxl.NewRequest(""), false); err == nil || err.Error() != says {
				t.Errorf("a call afterwards: %v", err)
			}
		})
	}
}

// A program whose answers can't be read is lost, and ended; nobody waits for it.
func TestNoise(t *testing.T) {
	e, _ := launch(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := e.Generate(ctx, sdxl.NewRequest("noise"))
	if err == nil || ctx.Err() != nil || !strings.HasPrefix(err.Error(), "the engine's process ended: exit status 0; its answers could not be read: ") || e.Lost() == nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// What can't be started, or opened, is an error, and nothing is left running.
func TestDoesNotStart(t *testing.T) {
	if _, err := Start(exec.Command(os.Args[0], asProgram, "broken")); err == nil || err.Error() != "no such model" {
		t.Errorf("%v", err)
	}
	if _, err := Start(exec.Command(os.Args[0], "-test.run=^$")); err == nil || !strings.HasPrefix(err.Error(), "the engine's process ended") {
		t.Errorf("a program that does not serve: %v", err)
	}
	if _, err := Start(exec.Command("/nonexistent")); err == nil {
		t.Error("a program that is not there was started")
	}
	e, stderr := launch(t, "no refiner")
	if _, err := e.OpenRefiner(); err == nil || err.Error() != "no memory" {
		t.Errorf("%v", err)
	}
	stop(t, e, stderr)
}

// A program whose server is gone ends, in the middle of a computation too.
func TestServerGone(t *testing.T) {
	in, toProgram := io.Pipe()
	fromProgram, out := io.Pipe()
	served := make(chan error, 1)
	model := &fake{name: "base"}
	go func() {
		served <- Serve(in, out, Opener{Open: func() (Model, kernels.Info, error) { return model, kernels.Info{}, nil }})
	}()
	go func() { _, _ = io.Copy(io.Discard, fromProgram) }()
	p := &peer{out: gob.NewEncoder(toProgram)}
	r, err := pack(sdxl.NewRequest("wait"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.tell(call{ID: 1, Do: generate, Request: r}); err != nil {
		t.Fatal(err)
	}
	if err := toProgram.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the program goes on without its server")
	}
}
