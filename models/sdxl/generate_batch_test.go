package sdxl

import (
	"context"
	"errors"
	"image"
	"reflect"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// stepped is the tiny model on a CPU device that counts the steps that it takes.
type stepped struct {
	*Model
	steps int
}

func countSteps(t *testing.T, o cpu.Options) *stepped {
	t.Helper()
	c := &stepped{}
	o.Trace = func(n cpu.Timing) {
		if _, ok := n.Node.Spec.(kernels.Solver); ok {
			c.steps++
		}
	}
	device, err := cpu.New(o)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.Model, err = Open(t.Context(), "synth:tiny", Options{Host: hostOf(device)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// outcome is what a request of a batch ended with.
type outcome struct {
	*Result
	err error
}

// batchOf computes requests together. change may set a context.
func batchOf(t *testing.T, m *Model, requests []Request, change func(i int, q *BatchRequest)) []outcome {
	t.Helper()
	outcomes := make([]outcome, len(requests))
	calls := make([]int, len(requests))
	var batch []BatchRequest
	for i, r := range requests {
		q := BatchRequest{Context: t.Context(), Request: r, Done: func(result *Result, err error) {
			outcomes[i] = outcome{result, err}
			calls[i]++
		}}
		if change != nil {
			change(i, &q)
		}
		batch = append(batch, q)
	}
	m.GenerateBatch(batch)
	for i, n := range calls {
		if n != 1 {
			t.Errorf("request %d is done %d times, want 1", i, n)
		}
	}
	return outcomes
}

// asAlone checks that a request of a batch gave what it gives alone, bit for bit.
func asAlone(t *testing.T, m *Model, what string, r Request, got outcome) {
	t.Helper()
	if got.err != nil {
		t.Fatalf("%s: %v", what, got.err)
	}
	r.Progress, r.Preview, r.OnComputed = nil, nil, nil
	want, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatalf("%s alone: %v", what, err)
	}
	if !slices.Equal(got.Latents.Data, want.Latents.Data) {
		t.Errorf("%s: other latents than alone", what)
	}
	if !reflect.DeepEqual(got.Images, want.Images) {
		t.Errorf("%s: other images than alone", what)
	}
	if !reflect.DeepEqual(got.Parameters, want.Parameters) || got.Steps != want.Steps || !slices.Equal(got.Warnings, want.Warnings) {
		t.Errorf("%s: %v after %d steps with %q, alone %v after %d with %q", what, got.Parameters, got.Steps, got.Warnings, want.Parameters, want.Steps, want.Warnings)
	}
}

// varied are requests that differ in all that a batch lets differ.
func varied(change func(*Request)) []Request {
	var list []Request
	for i, own := range []func(*Request){
		func(r *Request) {},
		func(r *Request) { r.Prompt, r.NegativePrompt = "a bridge", new("fog") },
		func(r *Request) { r.Prompt, r.Prompt2, r.NegativePrompt, r.ClipSkip = "a lake", "at night", new(""), 1 },
		func(r *Request) {
			r.OriginalSize, r.CropTop, r.NegativeOriginalSize, r.NegativeTargetSize = Size{500, 300}, 7, Size{64, 64}, Size{32, 32}
		},
		func(r *Request) { r.Image, r.Strength = nil, 0 },
	} {
		r := small()
		r.Seed = new(uint64(100 + i))
		change(&r)
		own(&r)
		list = append(list, r)
	}
	return list
}

// A request of a batch gives what it gives alone, with every kind of kernels of the CPU.
func TestBatchAsAlone(t *testing.T) {
	for _, on := range []cpu.Options{{Threads: 1}, {Threads: 3}, {Variant: "avx2", Threads: 2}, {Variant: "portable", Threads: 2}} {
		for name, change := range map[string]func(*Request){
			"plain":     func(*Request) {},
			"unguided":  func(r *Request) { r.Guidance = new(1.0) },
			"rescaled":  func(r *Request) { r.GuidanceRescale = new(0.7) },
			"ancestral": func(r *Request) { r.Scheduler = "euler_a" },
			"paths":     func(r *Request) { r.Scheduler = "dpmpp_sde" },
			"history":   func(r *Request) { r.Scheduler = "dpmpp_2m_sde" },
			"begins":    func(r *Request) { r.GuidancePerStep = []float64{1, 5, 5, 1} },
			"interval":  func(r *Request) { r.GuidanceStart, r.GuidanceEnd = 0.3, 0.8 },
			"PAG":       func(r *Request) { r.PAGScale = 3 },
			"FreeU":     func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4} },
			"extras": func(r *Request) {
				r.GuidanceEnd, r.PAGScale, r.PAGAdaptiveScale, r.FreeU, r.ImagesPerPrompt = 0.6, 3, 0.005, &FreeU{0.9, 0.2, 1.3, 1.4}, 2
			},
			"two":    func(r *Request) { r.ImagesPerPrompt = 2 },
			"marked": func(r *Request) { r.Watermark = true },
			"stops":  func(r *Request) { r.Interrupt = 2 },
		} {
			t.Run(name+" "+on.Variant, func(t *testing.T) {
				m := countSteps(t, on)
				requests := varied(change)
				got := batchOf(t, m.Model, requests, nil)
				if want := got[0].Steps; m.steps != want {
					t.Errorf("the device took %d steps, want %d for all", m.steps, want)
				}
				for i, r := range requests {
					asAlone(t, m.Model, name, r, got[i])
				}
			})
		}
	}
}

// A member whose context ends leaves within a step, one that ends before it begins is not computed, and the others go on
// as if they had been alone.
func TestBatchLeaves(t *testing.T) {
	m := countSteps(t, cpu.Options{Threads: 1})
	for _, scheduler := range []string{"dpmpp_2m_sde", "dpmpp_sde", "euler_a"} {
		requests := varied(func(r *Request) { r.Scheduler, r.Steps = scheduler, 6 })
		m.steps = 0
		got := batchOf(t, m.Model, requests, func(i int, q *BatchRequest) {
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			q.Context = ctx
			switch i {
			case 0:
				cancel()
			case 1, 3:
				q.Request.Progress = func(at Progress) {
					if at.Step == i+1 {
						cancel()
					} else if at.Step > i+1 {
						t.Errorf("request %d takes step %d after its end", i, at.Step)
					}
				}
			}
		})
		for i, r := range requests {
			if i == 0 || i == 1 || i == 3 {
				if got[i].Result != nil || !errors.Is(got[i].err, context.Canceled) {
					t.Errorf("request %d that was cancelled: %v", i, got[i].err)
				}
				continue
			}
			asAlone(t, m.Model, scheduler, r, got[i])
		}
	}
	// Nothing is computed for nobody.
	m.steps = 0
	batchOf(t, m.Model, varied(func(*Request) {}), func(_ int, q *BatchRequest) {
		ctx, cancel := context.WithCancel(t.Context())
		q.Context, q.Request.Progress = ctx, func(Progress) { cancel() }
	})
	if m.steps != 1 {
		t.Errorf("%d steps of requests that all ended in the first one, want 1", m.steps)
	}
}

// Requests that do not go together are computed apart, one that can't be done fails alone.
func TestBatchMixed(t *testing.T) {
	m := countSteps(t, cpu.Options{Threads: 1})
	a, b := adapterFile(t, m.Model, "a", 1, false), adapterFile(t, m.Model, "b", 2, false)
	var requests []Request
	for i, change := range []func(*Request){
		func(r *Request) {},
		func(r *Request) { r.LoRAs = []LoRA{a} },
		func(r *Request) { r.Steps = -1 }, // which can't be done
		func(r *Request) { r.LoRAs = []LoRA{b} },
		func(r *Request) { r.Width = 56 },
		func(r *Request) { r.LoRAs = []LoRA{a} },
		func(r *Request) { r.Guidance = new(3.0) },
		func(r *Request) { r.Scheduler = "heun" },
		func(r *Request) { r.OnStep = func(int, *Tensor) error { return nil } },
		func(r *Request) { r.Preview = &Preview{Func: func(int, []*image.NRGBA) {}} },
		func(r *Request) { r.Image, r.Strength = gradient(48, 40), 0.5 },
		func(r *Request) { r.PAGScale = 3 },
		func(r *Request) { r.PAGScale, r.PAGAppliedLayers = 3, []string{"up"} },
		func(r *Request) { r.PAGScale = 4 },
		func(r *Request) { r.PAGScale = 3 },
		func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4} },
		func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.5} },
		func(r *Request) { r.GuidanceEnd = 0.5 },
		func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4} },
		func(r *Request) { r.Prompt = "the first one's company" },
	} {
		r := small()
		r.Seed = new(uint64(i))
		change(&r)
		requests = append(requests, r)
	}
	got := batchOf(t, m.Model, requests, nil)
	var wrong *RequestError
	if !errors.As(got[2].err, &wrong) || wrong.Field != "num_inference_steps" {
		t.Errorf("a request that can't be done: %v", got[2].err)
	}
	// Four groups of two; of the others, Heun takes seven evaluations and half of the steps are two.
	if want := 4 + 4 + 4 + 4 + 4 + 7 + 4 + 4 + 2 + 3*4 + 2*4 + 4; m.steps != want {
		t.Errorf("%d steps, want %d", m.steps, want)
	}
	for i, r := range requests {
		if i != 2 {
			asAlone(t, m.Model, r.Prompt, r, got[i])
		}
	}
}

// Image-to-image begins with an image for each request.
func TestBatchOfImages(t *testing.T) {
	m := newModels(t)
	for _, name := range []string{"tiny", "tiny-refiner"} {
		var requests []Request
		for i := range 3 {
			r := small()
			r.Seed, r.Steps, r.Strength, r.Image = new(uint64(i)), 6, 0.5, gradient(48+i, 40) // rounded down to one size
			r.AestheticScore = new(float64(i))
			if name == "tiny" {
				r.AestheticScore = nil
			}
			r.Width, r.Height = 0, 0
			requests = append(requests, r)
		}
		for i, got := range batchOf(t, m.open(name), requests, nil) {
			asAlone(t, m.open(name), name, requests[i], got)
		}
	}
}

// Callbacks are a request's own: previews of its images, progress, and the moment from which the device is free of it.
func TestBatchCallbacks(t *testing.T) {
	m := countSteps(t, cpu.Options{Threads: 1})
	type heard struct {
		steps    []int
		previews []int
		images   [][]*image.NRGBA
		computed int
	}
	listen := func(r Request, h *heard) Request {
		r.Progress = func(p Progress) { h.steps = append(h.steps, p.Step) }
		r.OnComputed = func() { h.computed++ }
		r.Preview = &Preview{Every: 2, Func: func(step int, images []*image.NRGBA) {
			h.previews, h.images = append(h.previews, step), append(h.images, images)
		}}
		return r
	}
	requests := varied(func(r *Request) { r.ImagesPerPrompt = 2 })
	together := make([]heard, len(requests))
	outcomes := batchOf(t, m.Model, requests, func(i int, q *BatchRequest) { q.Request = listen(q.Request, &together[i]) })
	for i, r := range requests {
		asAlone(t, m.Model, "with callbacks", r, outcomes[i])
		var alone heard
		if _, err := m.Generate(t.Context(), listen(r, &alone)); err != nil {
			t.Fatal(err)
		}
		if len(alone.previews) != 2 || alone.computed != 1 || !reflect.DeepEqual(together[i], alone) {
			t.Errorf("request %d hears of steps %v, previews after %v and %d ends, alone %v, %v and %d, or has other previews", i,
				together[i].steps, together[i].previews, together[i].computed, alone.steps, alone.previews, alone.computed)
		}
	}
}
