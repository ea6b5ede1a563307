package sdxl

import (
	"context"
	"image"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// queued is a device that says it has a queue, and gives the bytes of previews once gate lets it.
type queued struct {
	kernels.Device
	gate chan struct{} // nil always lets
}

func (d *queued) Info() kernels.Info {
	info := d.Device.Info()
	info.HostMemory = false
	return info
}

func (d *queued) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	p, err := d.Device.Compile(plan, w, o)
	if slices.ContainsFunc(plan.Tensors, func(t kernels.Tensor) bool { return t.Name == "x0" }) {
		return &queuedProgram{p, d}, err
	}
	return p, err
}

type queuedProgram struct {
	kernels.Program
	device *queued
}

func (p *queuedProgram) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if p.device.gate != nil {
		<-p.device.gate
	}
	return p.Program.Read(ctx, v, dst)
}

// TestPreviewsWaitForNobody: on a device with a queue two steps are taken before the first preview was read; the next
// waits for it, and all come in order, each as without a queue.
func TestPreviewsWaitForNobody(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	gate := make(chan struct{})
	var all [2][][]*image.NRGBA
	for i, dev := range []kernels.Device{plain, &queued{plain, gate}} {
		m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(dev)})
		if err != nil {
			t.Fatal(err)
		}
		r, seen, images := previewing(scheduled("dpmpp_2m", 1, 48), 1)
		run := started(t, m, r)
		if i == 1 {
			passed := make(chan struct{})
			go func() {
				steps(t, run, 2)
				close(passed)
			}()
			select {
			case <-passed:
			case <-time.After(time.Minute):
				t.Fatal("a step waits for the preview of an earlier one")
			}
			if len(*seen) != 0 {
				t.Fatalf("previews %v that nobody has read", *seen)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := run.rgb.readings[run.rgb.turn].wait(ctx); err != context.Canceled {
				t.Fatalf("the third preview does not wait for the first: %v", err)
			}
			close(gate)
		}
		steps(t, run, 9)
		if _, err := run.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(*seen, []int{1, 2, 3, 4, 5, 6}) {
			t.Fatalf("previews after %v", *seen)
		}
		all[i] = *images
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	for k := range all[0] {
		if !slices.Equal(all[0][k][0].Pix, all[1][k][0].Pix) {
			t.Errorf("preview %d is another one with a queue", k)
		}
	}
}

// TestPreviewsOfOneDecoder: runs of several sizes, one of them closed early, share the programs of previews.
func TestPreviewsOfOneDecoder(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(&queued{plain, nil})})
	if err != nil {
		t.Fatal(err)
	}
	var runs []*Run
	var seen []*[]int
	for i, width := range []int{48, 56, 64, 72, 80, 48} {
		r, steps, _ := previewing(scheduled("euler", uint64(i), width), 1)
		run, err := m.Start(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		runs, seen = append(runs, run), append(seen, steps)
	}
	for range 6 {
		for _, run := range runs {
			steps(t, run, 1)
		}
	}
	runs[0].Close() // with previews that nobody gets
	for i, run := range runs[1:] {
		if _, err := run.Finish(t.Context()); err != nil || len(*seen[i+1]) != 6 {
			t.Errorf("run %d: %v, previews after %v", i+1, err, *seen[i+1])
		}
		run.Close()
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
