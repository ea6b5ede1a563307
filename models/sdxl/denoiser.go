package sdxl

import (
	"context"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// shape is what a compiled step depends on.
type shape struct {
	batch, height, width int    // of the latents
	tokens, text, pooled int    // prompt embeddings [tokens, text] and pooled ones
	ids                  int    // added time ids
	guided, rescaled     bool   // classifier-free guidance; and its rescale
	parts                int    // of the positive side that AND joins, with weights; 0 is one of weight 1
	history              int    // tensors that the solver keeps
	extra                int    // channels that the UNet reads beside the latents: of a mask and a masked image
	unconditional        int    // which of them is the unconditional prediction, counted from 1; 0 is none
	residuals            bool   // ControlNets' are added
	features             bool   // T2I-Adapters' are added
	images               string // prompts of IP-Adapters, see imageShape; "" is none
	freeU                bool
	perturbed            string // which self-attentions PAG's perturbed side has as the identity, see perturbedShape; "" is no such side
	alone, beside        bool   // this is that side, which is the positive one otherwise; and there is guidance beside it
}

// newShape is that of a step without guidance and without history.
func (m *Model) newShape(batch int, size Size) shape {
	f := m.VAE.Config.ScaleFactor()
	return shape{
		batch: batch, height: size.Height / f, width: size.Width / f,
		tokens: m.Tokenizer2.MaxLength(), text: m.UNet.Config.Context(), pooled: m.TextEncoder2.Config.ProjectionDim, ids: m.spec.timeIDs(),
		extra: m.UNet.Config.InChannels - m.UNet.Config.OutChannels,
	}
}

// shape is what a request's steps depend on, where they are guided.
func (m *Model) shape(q *resolved) shape {
	s := m.newShape(q.Images, q.size)
	s.history = q.schedule.History
	if q.schedule.Unconditional {
		s.unconditional = q.schedule.History
	}
	if q.keepsX0() {
		s.history++ // for x0
	}
	if stepsOnHost(q.schedule) {
		s.history++ // for the prediction
	}
	s.guided = m.UNet.Config.TimeCondProjDim == 0 && q.guided()
	if e := q.request.Embeddings; e != nil {
		s.tokens = e.Prompt.Shape[1]
	} else if plan, err := m.plan(q, s.guided, func(string) {}); err == nil { // else condition returns the error
		s.tokens *= plan.chunks
		s.parts, s.guided = len(plan.weights), s.guided || len(plan.weights) > 0
	}
	s.rescaled = s.guided && q.GuidanceRescale > 0
	s.images = imageShape(q.images)
	s.freeU, s.perturbed = q.FreeU != nil, perturbedShape(q.perturbed)
	s.residuals, s.features = len(q.request.Controls) > 0, len(q.request.T2IAdapters) > 0
	return s
}

// at is the shape of a step with its scale of guidance: up to 1 there is none, unless parts are to be joined or the
// solver needs the unconditional prediction.
func (s shape) at(guidance float64) shape {
	s.guided = s.guided && (guidance > 1 || s.parts > 0 || s.unconditional > 0)
	s.rescaled = s.rescaled && s.guided
	return s
}

// unetBatch is the UNet's: both sides of guidance.
func (s shape) unetBatch() int {
	if s.guided {
		return 2 * s.batch
	}
	return s.batch
}

// elements is the length of the latents.
func (s shape) elements(channels int) int { return s.batch * s.height * s.width * channels }

// readsNegative reports whether a step needs the negative side's prediction apart.
func (s shape) readsNegative() bool { return s.parts > 1 || s.unconditional > 0 }

// named is the name of an input that each part of the positive side has, and the perturbed side.
func (s shape) named(name string, part int) string {
	switch {
	case s.alone:
		return name + ", perturbed"
	case part == 0:
		return name
	}
	return fmt.Sprintf("%s of part %d", name, part+1)
}

// predictNoise builds what the model predicts for latents x times Step "input scale", for both sides of guidance, one
// value for each part of the positive side, or for the perturbed side.
func predictNoise(b *nn.Builder, u *unet.Denoiser, s shape, x *nn.Value) (parts []*nn.Value) {
	n := s.unetBatch()
	in := unet.Inputs{
		Images:   declareImages(b, u.Config, s),
		Sample:   b.ScaleRepeat(x, b.Input(s.named("input scale", 0), kernels.Step, kernels.F32, 1), n/s.batch),
		Timestep: b.Input(s.named("timestep", 0), kernels.Step, kernels.F32, n, 1),
	}
	in.FreeU = freeUInputs(b, u.Config, s)
	if s.alone {
		in.Perturbed = s.perturbedAttentions()
	}
	in.Features = featureInputs(b, u, s, n)
	if s.extra > 0 {
		in.Sample = b.Concat(in.Sample, b.Input(s.named("image inputs", 0), kernels.Request, kernels.F32, n, s.height, s.width, s.extra))
	}
	for part := range max(1, s.parts) {
		in.Residuals = residualInputs(b, u, s, n, part)
		in.Text = b.Input(s.named("text", part), kernels.Request, kernels.F32, n, s.tokens, s.text)
		in.Pooled = b.Input(s.named("pooled", part), kernels.Request, kernels.F32, n, s.pooled)
		in.TimeIDs = b.Input(s.named("time ids", part), kernels.Request, kernels.F32, n, s.ids)
		if dim := int(u.Config.TimeCondProjDim); dim > 0 {
			in.Condition = b.Input(s.named("guidance embedding", part), kernels.Request, kernels.F32, n, dim)
		}
		parts = append(parts, u.Model.Forward(b, in))
	}
	return parts
}

// guide builds classifier-free guidance of what both sides predict: u + Σ g·w·(c − u) over the parts. Each part was
// predicted together with the negative side, whose prediction the parts after the first take away again: the guidance
// with the scale none, of 0.
func guide(b *nn.Builder, s shape, parts []*nn.Value, none *nn.Value) *nn.Value {
	if !s.guided {
		return parts[0]
	}
	var rescale *nn.Value
	if s.rescaled {
		rescale = b.Input("rescale", kernels.Step, kernels.F32, 1)
	}
	sum := b.Guidance(parts[0], b.Input(s.named("guidance", 0), kernels.Step, kernels.F32, 1), rescale)
	if len(parts) == 1 {
		return sum
	}
	minus := b.Input("minus one", kernels.Step, kernels.F32, 1)
	for part := 1; part < len(parts); part++ {
		guided := b.Guidance(parts[part], b.Input(s.named("guidance", part), kernels.Step, kernels.F32, 1), nil)
		negative := b.ScaleRepeat(b.Guidance(parts[part], none, nil), minus, 1)
		sum = b.Add(sum, b.Add(guided, negative))
	}
	return sum
}

// stepProgram compiles one sampling step in a precision, 0 is the network's.
func stepProgram(u *unet.Denoiser, s shape, precision kernels.DType, taps ...nn.Tap) (*nn.Program, error) {
	return u.ProgramIn(precision, fmt.Sprintf("unet step of model %d %+v", u.Number(u.Model), s), sampling(u, s), taps...)
}

// sampling builds one sampling step: the latents x are a state that the solver advances.
func sampling(u *unet.Denoiser, s shape) func(*nn.Builder) {
	return func(b *nn.Builder) {
		image := []int{s.batch, s.height, s.width, u.Config.OutChannels}
		x := b.Input("x", kernels.State, kernels.F32, image...)
		noise := b.Input("noise", kernels.Step, kernels.F32, image...)
		coefficients := b.Input("coefficients", kernels.Step, kernels.F32, kernels.Solver{History: s.history}.Coefficients())
		history := make([]*nn.Value, s.history)
		for i := range history {
			history[i] = b.Input(historyName(i), kernels.State, kernels.F32, image...)
		}
		parts := predictNoise(b, u, s, x)
		guide := guide
		if s.perturbed != "" {
			guide = guidePerturbed(predictNoise(b, u, s.perturbedSide(), x)[0])
		}
		var none *nn.Value
		if s.readsNegative() {
			none = b.Input("no guidance", kernels.Step, kernels.F32, 1)
		}
		from := slices.Clone(history)
		if s.unconditional > 0 {
			from[s.unconditional-1] = b.Guidance(parts[0], none, nil)
		}
		b.SolveFrom(x, guide(b, s, parts, none), noise, coefficients, from, history)
	}
}

// prediction builds what the UNet predicts, both sides of guidance apart; its key is that of the compiled program.
func prediction(u *unet.Denoiser, s shape) (key string, build func(*nn.Builder)) {
	s.history, s.unconditional, s.rescaled, s.parts, s.perturbed = 0, 0, false, 0, ""
	return fmt.Sprintf("unet prediction of model %d %+v", u.Number(u.Model), s), func(b *nn.Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, s.batch, s.height, s.width, u.Config.OutChannels)
		b.Output("prediction", predictNoise(b, u, s, x)[0])
	}
}

func historyName(i int) string { return fmt.Sprintf("history %d", i) }

// setConditioning writes what the UNet is conditioned on; guidance is for models that embed its scale.
func setConditioning(u *unet.Denoiser, p *nn.Program, s shape, c *conditioning, phase int, guidance float64) error {
	for part := range max(1, s.parts) {
		text, pooled, timeIDs := c.rows(s, phase, part)
		for _, in := range []struct {
			name string
			data []float32
		}{{"text", text}, {"pooled", pooled}, {"time ids", timeIDs}} {
			if err := p.SetFloats(s.named(in.name, part), in.data...); err != nil {
				return err
			}
		}
	}
	return setGuidanceEmbedding(u, p, s, guidance)
}

// setGuidanceEmbedding does nothing for models without one.
func setGuidanceEmbedding(u *unet.Denoiser, p *nn.Program, s shape, guidance float64) error {
	dim := int(u.Config.TimeCondProjDim)
	if dim == 0 {
		return nil
	}
	return p.SetFloats(s.named("guidance embedding", 0), slices.Repeat(guidanceEmbedding(guidance, dim), s.unetBatch())...)
}

// setEvaluation writes the scalars of one evaluation.
func (s shape) setEvaluation(p *nn.Program, timestep, inputScale float64) error {
	for _, side := range s.sides() {
		times := slices.Repeat([]float32{float32(timestep)}, side.unetBatch())
		if err := p.SetFloats(side.named("timestep", 0), times...); err != nil {
			return err
		}
		if err := p.SetFloats(side.named("input scale", 0), float32(inputScale)); err != nil {
			return err
		}
	}
	return nil
}

// coefficients lays a step out as kernels.Solver takes it.
func coefficients(step scheduler.Step) []float32 {
	c := []float32{float32(step.A), float32(step.B), float32(step.Clip)}
	for _, row := range step.Matrix {
		for _, v := range row {
			c = append(c, float32(v))
		}
	}
	return c
}

// stepGuidance is what guides a step.
type stepGuidance struct {
	scale, rescale, pag float64
	weights             []float64 // of the parts; nil is one of weight 1
}

// advance runs the step program once.
func (s shape) advance(ctx context.Context, p *nn.Program, step scheduler.Step, noise []float32, g stepGuidance) error {
	if err := s.setEvaluation(p, step.Timestep, step.InputScale); err != nil {
		return err
	}
	if s.perturbed != "" {
		if err := s.setPerturbed(p, &g); err != nil {
			return err
		}
	}
	if s.guided {
		if err := s.setGuidance(p, g.scale, g.weights); err != nil {
			return err
		}
	}
	if s.rescaled {
		if err := p.SetFloats("rescale", float32(g.rescale)); err != nil {
			return err
		}
	}
	if err := p.SetFloats("coefficients", coefficients(step)...); err != nil {
		return err
	}
	if step.Noise {
		if err := p.SetFloats("noise", noise...); err != nil {
			return err
		}
	}
	return p.Run(ctx)
}

// setGuidance writes the scale of each part, which weights multiply where there are some.
func (s shape) setGuidance(p *nn.Program, guidance float64, weights []float64) error {
	if s.readsNegative() {
		if err := p.SetFloats("no guidance", 0); err != nil {
			return err
		}
	}
	if s.parts > 1 {
		if err := p.SetFloats("minus one", -1); err != nil {
			return err
		}
	}
	for part := range max(1, s.parts) {
		scale := guidance
		if s.parts > 0 {
			scale *= weights[part]
		}
		if err := p.SetFloats(s.named("guidance", part), float32(scale)); err != nil {
			return err
		}
	}
	return nil
}
