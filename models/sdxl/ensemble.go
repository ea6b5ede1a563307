package sdxl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/nn"
)

// DefaultDenoisingEnd is the fraction of the steps that a base runs before its refiner, as in the example of diffusers'
// documentation.
const DefaultDenoisingEnd = 0.8

// Expert is a model's part in an ensemble: the steps up to DenoisingEnd, a fraction in (0, 1). The last expert's is 0:
// it runs to the end.
type Expert struct {
	Model        *Model
	DenoisingEnd float64
}

// Ensemble makes images with several models, each of which goes on where the one before it ends: a base and a refiner
// mostly, or two bases and a refiner. All get the same request, but for LoRAs, which a base's refiner does not get; a
// text encoder that it shares with the base (Options.Base) keeps the base's, as diffusers' pipelines that share one do.
// Where few steps leave none to one of them, it passes its latents on, the first its noise, as in diffusers; Warnings
// says so. The request's own DenoisingEnd is where the last one stops. GuidancePerStep, Interrupt, GuidanceStart and
// GuidanceEnd count the steps of all. A base's refiner has neither PAG nor FreeU, which are made for the base. Its
// prompt embeddings have another width than a base's, so that with embeddings of one's own each expert is run by hand:
// by DenoisingEnd, and DenoisingStart with ImageLatents. Experts whose latents have another shape or scaling than the
// first one's are a *ModelError.
func Ensemble(ctx context.Context, r Request, experts ...Expert) (result *Result, err error) {
	e, err := newEnsemble(r, experts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := e.adapters.release(); closing != nil {
			err = errors.Join(err, closing)
		}
	}()
	started, done := time.Now(), 0
	var warnings []string
	for i := range experts {
		q := e.requests[i]
		if r.Progress != nil {
			before := done
			q.Progress = func(p Progress) {
				n, elapsed := before+p.Step, time.Since(started)
				r.Progress(Progress{Step: n, Steps: e.steps, Elapsed: elapsed, Left: elapsed / time.Duration(n) * time.Duration(e.steps-n)})
			}
		}
		if before := done; r.OnStep != nil {
			q.OnStep = func(step int, x *Tensor) error { return r.OnStep(before+step, x) }
		}
		q.Preview = r.Preview.after(done)
		if i > 0 {
			if q.ImageLatents = result.Latents; q.Image == nil { // which the first expert's images that steer lie beside
				q = q.steeredBy(e.resolved[0].placed)
			}
		}
		if r.Interrupt > 0 {
			q.Interrupt = r.Interrupt - e.before[i] // 1 or more, else an expert before was interrupted
		}
		var interrupted bool
		if result, interrupted, err = e.run(ctx, i, q, r.LatentsOnly); err != nil {
			return nil, err
		}
		done += result.Steps
		for _, w := range result.Warnings {
			if i == 0 || !slices.Contains(e.resolved[0].warnings, w) { // what is of the request is said once
				warnings = append(warnings, w)
			}
		}
		e.parameters.Experts[i].ModelHash = result.Parameters.ModelHash
		if i == 0 {
			p := result.Parameters
			e.parameters.ModelHash, e.parameters.Precision, e.parameters.LoRAs = p.ModelHash, p.Precision, p.LoRAs
		}
		if interrupted {
			e.interruptedIn(i, result.Steps)
			break
		}
	}
	result.Steps, result.Warnings, result.Parameters = done, warnings, e.parameters
	return result, nil
}

// ResolveEnsemble is Resolve of each expert's part, by their specs and the fractions of the steps at which they end, 0
// for the last; see Expert.
func ResolveEnsemble(r Request, specs []*Spec, ends []float64) (Parameters, error) {
	if len(ends) != len(specs) {
		return Parameters{}, bad("experts", fmt.Sprintf("%d specs and %d ends", len(specs), len(ends)), "an end for each spec")
	}
	e := &ensemble{}
	resolve := func(i int, q Request) (*resolved, error) { return specs[i].resolve(q) }
	if err := e.prepare(r, ends, specs, resolve); err != nil {
		return Parameters{}, err
	}
	return e.parameters, nil
}

// ensemble is the request of each expert.
type ensemble struct {
	experts    []Expert
	requests   []Request
	resolved   []*resolved
	before     []int // steps before each expert's first; one that an expert leaves half done is the next one's too
	steps      int   // UNet evaluations of all experts
	parameters Parameters
	adapters   *adapterSet // of the first expert, nil for none
}

func newEnsemble(r Request, experts []Expert) (*ensemble, error) {
	r = seeded(r)
	e := &ensemble{experts: experts}
	var ends []float64
	var specs []*Spec
	for _, x := range experts {
		if x.Model == nil {
			return nil, bad("experts", "nil", "open models")
		}
		ends, specs = append(ends, x.DenoisingEnd), append(specs, x.Model.Spec())
	}
	if len(specs) > 0 {
		r = specs[0].ChoosePreset(r)
	}
	return e, e.prepare(r, ends, specs, func(i int, q Request) (*resolved, error) { return experts[i].Model.resolve(q) })
}

// split makes a request for each expert and checks it before anything is computed.
func (e *ensemble) split(r Request, ends []float64, specs []*Spec, resolve func(i int, q Request) (*resolved, error)) error {
	if len(specs) < 2 {
		return bad("experts", len(specs), "two or more")
	}
	if r.Hires != nil {
		return bad("hires", "given", "absent with a refiner")
	}
	start, steps, most := r.DenoisingStart, 0, 0
	for i, spec := range specs {
		if spec == nil {
			return bad("experts", "nil", "specs")
		}
		if err := specs[0].sameLatents(spec); err != nil {
			return &ModelError{spec.Path, err}
		}
		end, q := ends[i], r
		last := i == len(specs)-1
		switch {
		case !last && !(end > start && end < 1):
			return bad("denoising_end", end, "above %v and below 1", start)
		case last && end != 0:
			return bad("denoising_end", end, "0 of the last expert, which runs to the end")
		}
		if q.DenoisingStart = start; spec.refiner() && !specs[0].refiner() {
			q = withoutLoRAs(q)
			q.IPAdapters = nil
			q.Controls, q.T2IAdapters = nil, nil // made for the base
			q.PAGScale, q.FreeU = 0, nil
		}
		if q.DenoisingEnd = end; last {
			q.DenoisingEnd = r.DenoisingEnd
		}
		if i > 0 { // the first one's is for all
			q.Preset = cmp.Or(e.parameters.Preset, NoPreset)
		}
		if q.LatentsOnly = !last || r.LatentsOnly; i > 0 {
			q.Latents, q.Interrupt = nil, 0
			if q.InpaintFill = ""; !q.inpaints() { // else its pixels are kept at the end
				q.Image, q.Resize = nil, ""
			}
			q.Subseed, q.SubseedStrength = nil, 0 // no noise is added
			q.ImageLatents = e.resolved[0].draft()
		}
		part, err := resolvePart(&q, steps, func(q Request) (*resolved, error) { return resolve(i, q) })
		if err != nil {
			return err
		}
		e.requests, e.resolved, e.before = append(e.requests, q), append(e.resolved, part), append(e.before, steps)
		e.steps += len(part.schedule.Steps)
		most = steps + part.steps()
		steps += len(part.schedule.Steps) / part.order()
		if i == 0 {
			e.parameters = part.Parameters
			e.parameters.DenoisingEnd, e.parameters.Interrupt = end, r.Interrupt
		}
		if part.AestheticScore != nil {
			e.parameters.AestheticScore, e.parameters.NegativeAestheticScore = part.AestheticScore, part.NegativeAestheticScore
		}
		e.parameters.Experts = append(e.parameters.Experts, ExpertParameters{Model: part.Model, DenoisingEnd: cmp.Or(end, r.DenoisingEnd, 1)})
		start = end
	}
	if len(r.GuidancePerStep) > max(most, 1) {
		return badGuidanceList(len(r.GuidancePerStep), most)
	}
	e.parameters.GuidancePerStep = slices.Clone(r.GuidancePerStep)
	return nil
}

// resolvePart resolves an expert's part after so many steps of those before it. Guidance goes by the steps of all
// experts, of which it gets its own.
func resolvePart(q *Request, before int, resolve func(Request) (*resolved, error)) (*resolved, error) {
	scales := q.GuidancePerStep
	if len(scales) == 0 {
		return resolve(*q)
	}
	q.GuidancePerStep = nil
	part, err := resolve(*q)
	if err != nil {
		return nil, err
	}
	first := min(before, len(scales)-1)
	q.GuidancePerStep = scales[first:min(first+max(1, part.steps()), len(scales))]
	return resolve(*q)
}

// draft stands for the latents that a request will give, of their shape.
func (q *resolved) draft() *Tensor {
	return nn.NewTensor(q.latents...)
}

// run computes expert i's part, and decodes it too where the request was interrupted in it. Before the first one's
// first step there must be memory for the steps of all.
func (e *ensemble) run(ctx context.Context, i int, q Request, latentsOnly bool) (result *Result, interrupted bool, err error) {
	m := e.experts[i].Model
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, false, err
	}
	defer slot.release()
	var shared *adapterSet
	if m.spec.refiner() && !e.experts[0].Model.spec.refiner() {
		shared = e.adapters
	}
	run, err := m.start(ctx, q, shared)
	if err != nil {
		return nil, false, err
	}
	defer run.Close()
	if i == 0 {
		e.adapters = run.adapters
		e.adapters.retain()
		for k := 1; k < len(e.experts); k++ {
			if err := e.admit(ctx, m.host, k); err != nil {
				return nil, false, err
			}
		}
	}
	if err := run.steps(ctx, slot); err != nil {
		return nil, false, err
	}
	if i < len(e.experts)-1 && run.next > 0 && run.q.mayStop() { // the next one would take another step
		run.stopped = true
	}
	if run.cut() {
		run.q.request.LatentsOnly = latentsOnly
	}
	result, err = run.finish(ctx, slot)
	return result, run.cut(), err
}

// interruptedIn notes that the request was interrupted in expert i, after so many evaluations of its own.
func (e *ensemble) interruptedIn(i, evaluations int) {
	last := len(e.resolved) - 1
	at := &Interruption{e.before[i] + evaluations/e.resolved[i].order(), e.before[last] + e.resolved[last].steps()}
	if at.StepsDone < at.Steps {
		e.parameters.Interrupted = at
	}
}

// admit is a later expert's Model.admit, where that needs no wait: on another host than the first one's that is busy,
// whose caller may wait for this one, nothing is checked, and the expert does so once it computes.
func (e *ensemble) admit(ctx context.Context, first *Host, k int) error {
	m, q := e.experts[k].Model, e.resolved[k]
	if m.host != first {
		slot := m.host.tryAcquire()
		if slot == nil {
			return nil
		}
		defer slot.release()
	}
	if err := m.host.park(ctx, m.UNet.Network); err != nil {
		return err
	}
	return m.admitLater(ctx, q)
}
