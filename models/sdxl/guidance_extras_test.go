package sdxl

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/nn"
)

// batches are the UNet's batches of a run, in order.
func batches(t *testing.T, m *Model, r Request) (list []string) {
	t.Helper()
	r.Taps.UNet = []nn.Tap{{Path: "conv_in", Read: func(path string, x *Tensor) { list = append(list, fmt.Sprintf("%s of %d", path, x.Shape[0])) }}}
	if _, err := m.Generate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEvaluations: outside of the interval the negative side is not computed, and the perturbed one is where its scale
// is above 0.
func TestEvaluations(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	const both, one, perturbed = "conv_in of 4", "conv_in of 2", "conv_in#2 of 2"
	for name, c := range map[string]struct {
		change func(*Request)
		want   []string
	}{
		"interval":               {func(r *Request) { r.GuidanceStart, r.GuidanceEnd = 0.25, 0.8 }, []string{one, both, both, one}},
		"start":                  {func(r *Request) { r.GuidanceStart = 0.5 }, []string{one, one, both, both}},
		"end":                    {func(r *Request) { r.GuidanceEnd = 0.74 }, []string{both, both, one, one}},
		"never":                  {func(r *Request) { r.GuidanceStart, r.GuidanceEnd = 0.3, 0.4 }, []string{one, one, one, one}},
		"of a list":              {func(r *Request) { r.GuidanceEnd, r.GuidancePerStep = 0.75, []float64{1, 5} }, []string{one, both, both, one}},
		"of Heun's steps":        {func(r *Request) { r.GuidanceEnd, r.Scheduler = 0.5, "heun" }, []string{both, both, both, both, one, one, one}},
		"without guidance":       {func(r *Request) { r.Guidance = new(1.0) }, []string{one, one, one, one}},
		"PAG":                    {func(r *Request) { r.PAGScale = 3 }, []string{both, perturbed, both, perturbed, both, perturbed, both, perturbed}},
		"PAG alone":              {func(r *Request) { r.PAGScale, r.Guidance = 3, new(1.0) }, []string{one, perturbed, one, perturbed, one, perturbed, one, perturbed}},
		"PAG that ends":          {func(r *Request) { r.PAGScale, r.PAGAdaptiveScale = 3, 0.006 }, []string{both, perturbed, both, perturbed, both, both}},
		"PAG of both passes":     {func(r *Request) { r.PAGScale, r.Steps, r.Hires = 3, 1, &Hires{Steps: 1} }, []string{both, perturbed, both, perturbed}},
		"PAG beside an interval": {func(r *Request) { r.PAGScale, r.GuidanceEnd, r.Steps = 3, 0.5, 2 }, []string{both, perturbed, one, perturbed}},
	} {
		r := small()
		r.Steps, r.ImagesPerPrompt, r.LatentsOnly = 4, 2, true
		c.change(&r)
		if got := batches(t, m, r); !slices.Equal(got, c.want) {
			t.Errorf("%s: evaluated %q, want %q", name, got, c.want)
		}
	}
}

// TestPAGOfOneToken: attention to one token is the identity, so that PAG of the middle changes nothing at a size of which
// that has one position. It would, if the perturbed side were without the T2I-Adapter's features.
func TestPAGOfOneToken(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	adapter := T2IAdapter{Path: adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors")) + "/colour", Image: openControlGoldens(t).picture("a")}
	latents := func(pag float64, adapters ...T2IAdapter) *Tensor {
		t.Helper()
		result, err := m.Generate(t.Context(), with(func(r *Request) {
			r.Width, r.Height, r.PAGScale, r.T2IAdapters = 16, 16, pag, adapters
		}))
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents
	}
	steered := latents(0, adapter)
	if by := moved(steered, latents(0)); by < 0.01 {
		t.Errorf("the adapter moves the latents by %v", by)
	}
	if by := moved(steered, latents(10, adapter)); by > 1e-4 {
		t.Errorf("PAG moves the latents by %v", by)
	}
}

// TestGuidanceWarnings: an interval without guidance says that it changes nothing, and is refused where it can't be.
func TestGuidanceWarnings(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	r := small()
	r.GuidanceEnd, r.Guidance = 0.5, new(1.0)
	q, err := m.open("tiny").resolve(r)
	if err != nil || len(q.warnings) != 1 || !strings.Contains(q.warnings[0], "guidance_end 0.5 changes nothing") {
		t.Errorf("warnings %q, %v", q.warnings, err)
	}
	r = small()
	if r.Preset = "lightning4"; r.GuidanceStart == 0 {
		r.GuidanceStart = 0.5
	}
	if q, err = m.open("tiny").resolve(r); err != nil || len(q.warnings) != 1 || !strings.Contains(q.warnings[0], "guidance_start 0.5 changes nothing") {
		t.Errorf("of a preset without guidance: warnings %q, %v", q.warnings, err)
	}
	r = Request{Prompt: "a", GuidanceStart: 0.5}
	if _, err = m.open("tiny-c").Resolve(r); err == nil || !strings.Contains(err.Error(), "guidance_start is 0.5: must be absent: the UNet embeds the scale") {
		t.Errorf("of a UNet that embeds its guidance: %v", err)
	}
}

// TestIntervalOfExperts: an interval counts the steps of all experts, and a base's refiner has neither PAG nor FreeU.
func TestIntervalOfExperts(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for _, scheduler := range []string{"euler", "heun"} {
		r := small()
		r.Steps, r.LatentsOnly, r.Scheduler = 10, true, scheduler
		generate := func(change func(*Request)) *Result {
			t.Helper()
			q := r
			change(&q)
			result, err := Ensemble(t.Context(), q, Expert{base, 0.6}, Expert{Model: refiner})
			if err != nil {
				t.Fatal(err)
			}
			return result
		}
		got := generate(func(q *Request) { q.GuidanceStart, q.GuidanceEnd = 0.2, 0.8 })
		want := generate(func(q *Request) { q.GuidancePerStep = []float64{1, 1, 5, 5, 5, 5, 5, 5, 1, 1} })
		if !slices.Equal(got.Latents.Data, want.Latents.Data) {
			t.Errorf("%s: an interval of all steps is not the scales of the steps: %v away", scheduler, moved(got.Latents, want.Latents))
		}
		if p := got.Parameters; p.GuidanceStart != 0.2 || p.GuidanceEnd != 0.8 || p.Guidance != 5 || p.GuidancePerStep != nil {
			t.Errorf("%s: parameters %v", scheduler, p)
		}
		if q, err := ResolveEnsemble(with(func(q *Request) { *q = r; q.GuidanceStart, q.GuidanceEnd = 0.2, 0.8 }), []*Spec{base.Spec(), refiner.Spec()}, []float64{0.6, 0}); err != nil || q.GuidanceEnd != 0.8 {
			t.Errorf("resolved to %v, %v", q, err)
		}
	}
	r := small()
	r.Steps, r.PAGScale, r.PAGAppliedLayers, r.FreeU = 5, 3, []string{"up_blocks.0"}, &FreeU{0.9, 0.2, 1.3, 1.4}
	e, err := newEnsemble(r, []Expert{{base, 0.6}, {Model: refiner}})
	if err != nil {
		t.Fatal(err)
	}
	if q := e.requests[0]; q.PAGScale != 3 || !reflect.DeepEqual(q.FreeU, r.FreeU) || e.parameters.PAGScale != 3 {
		t.Errorf("the base has PAG %v and FreeU %v", q.PAGScale, q.FreeU)
	}
	if q := e.requests[1]; q.PAGScale != 0 || q.FreeU != nil {
		t.Errorf("the refiner has PAG %v and FreeU %v", q.PAGScale, q.FreeU)
	}
}

// TestPredictExtras: predictions are with FreeU, and without a perturbed side.
func TestPredictExtras(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	predict := func(change func(*Request)) *Prediction {
		t.Helper()
		run, err := m.Start(t.Context(), with(change))
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		x, err := run.Latents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		step := run.Schedule().Steps[0]
		p, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain := predict(func(*Request) {})
	if p := predict(func(r *Request) { r.PAGScale = 3 }); !slices.Equal(p.Conditional.Data, plain.Conditional.Data) {
		t.Error("PAG changes predictions")
	}
	p := predict(func(r *Request) { r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4} })
	for i, by := range []float64{moved(p.Conditional, plain.Conditional), moved(p.Unconditional, plain.Unconditional)} {
		if by < 0.01 {
			t.Errorf("FreeU moves prediction %d by %v", i, by)
		}
	}
}
