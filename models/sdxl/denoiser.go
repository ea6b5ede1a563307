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
	batch, height, width int  // of the latents
	tokens, text, pooled int  // prompt embeddings [tokens, text] and pooled ones
	ids                  int  // added time ids
	guided, rescaled     bool // classifier-free guidance; and its rescale
	history              int  // tensors that the solver keeps
}

// newShape is that of a step without guidance and without history.
func (m *Model) newShape(batch int, size Size) shape {
	f := m.VAE.Config.ScaleFactor()
	return shape{
		batch: batch, height: size.Height / f, width: size.Width / f,
		tokens: m.Tokenizer2.MaxLength(), text: m.UNet.Config.Context(), pooled: m.TextEncoder2.Config.ProjectionDim, ids: m.spec.timeIDs(),
	}
}

// shape is what a request's steps depend on, where they are guided.
func (m *Model) shape(q *resolved) shape {
	s := m.newShape(q.Images, q.size)
	if e := q.request.Embeddings; e != nil {
		s.tokens = e.Prompt.Shape[1]
	}
	s.history = q.schedule.History
	if stepsOnHost(q.schedule) {
		s.history++ // for the prediction
	}
	s.guided = m.UNet.Config.TimeCondProjDim == 0 && q.guided()
	s.rescaled = s.guided && q.GuidanceRescale > 0
	return s
}

// at is the shape of a step with its scale of guidance: up to 1 there is none.
func (s shape) at(guidance float64) shape {
	s.guided = s.guided && guidance > 1
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

// predictNoise builds what the model predicts for latents x times Step "input scale", for both sides of guidance.
func predictNoise(b *nn.Builder, u *unet.Denoiser, s shape, x *nn.Value) *nn.Value {
	n := s.unetBatch()
	scale := b.Input("input scale", kernels.Step, kernels.F32, 1)
	in := unet.Inputs{
		Sample:   b.ScaleRepeat(x, scale, n/s.batch),
		Timestep: b.Input("timestep", kernels.Step, kernels.F32, n, 1),
		Text:     b.Input("text", kernels.Request, kernels.F32, n, s.tokens, s.text),
		Pooled:   b.Input("pooled", kernels.Request, kernels.F32, n, s.pooled),
		TimeIDs:  b.Input("time ids", kernels.Request, kernels.F32, n, s.ids),
	}
	if dim := int(u.Config.TimeCondProjDim); dim > 0 {
		in.Condition = b.Input("guidance embedding", kernels.Request, kernels.F32, n, dim)
	}
	return u.Model.Forward(b, in)
}

// guide builds classifier-free guidance of what both sides predict.
func guide(b *nn.Builder, s shape, m *nn.Value) *nn.Value {
	if !s.guided {
		return m
	}
	guidance := b.Input("guidance", kernels.Step, kernels.F32, 1)
	var rescale *nn.Value
	if s.rescaled {
		rescale = b.Input("rescale", kernels.Step, kernels.F32, 1)
	}
	return b.Guidance(m, guidance, rescale)
}

// stepProgram compiles one sampling step in a precision, 0 is the network's.
func stepProgram(u *unet.Denoiser, s shape, precision kernels.DType, taps ...nn.Tap) (*nn.Program, error) {
	return u.ProgramIn(precision, fmt.Sprintf("unet step of model %d %+v", u.Number(u.Model), s), sampling(u, s), taps...)
}

// sampling builds one sampling step: the latents x are a state that the solver advances.
func sampling(u *unet.Denoiser, s shape) func(*nn.Builder) {
	return func(b *nn.Builder) {
		image := []int{s.batch, s.height, s.width, u.Config.InChannels}
		x := b.Input("x", kernels.State, kernels.F32, image...)
		noise := b.Input("noise", kernels.Step, kernels.F32, image...)
		coefficients := b.Input("coefficients", kernels.Step, kernels.F32, kernels.Solver{History: s.history}.Coefficients())
		history := make([]*nn.Value, s.history)
		for i := range history {
			history[i] = b.Input(historyName(i), kernels.State, kernels.F32, image...)
		}
		b.Solve(x, guide(b, s, predictNoise(b, u, s, x)), noise, coefficients, history)
	}
}

// prediction builds what the UNet predicts, both sides of guidance apart; its key is that of the compiled program.
func prediction(u *unet.Denoiser, s shape) (key string, build func(*nn.Builder)) {
	s.history, s.rescaled = 0, false
	return fmt.Sprintf("unet prediction of model %d %+v", u.Number(u.Model), s), func(b *nn.Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, s.batch, s.height, s.width, u.Config.InChannels)
		b.Output("prediction", predictNoise(b, u, s, x))
	}
}

func historyName(i int) string { return fmt.Sprintf("history %d", i) }

// setConditioning writes what the UNet is conditioned on; guidance is for models that embed its scale.
func setConditioning(u *unet.Denoiser, p *nn.Program, s shape, c *conditioning, guidance float64) error {
	text, pooled, timeIDs := c.rows(s.guided)
	for _, in := range []struct {
		name string
		data []float32
	}{{"text", text}, {"pooled", pooled}, {"time ids", timeIDs}} {
		if err := p.SetFloats(in.name, in.data...); err != nil {
			return err
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
	return p.SetFloats("guidance embedding", slices.Repeat(guidanceEmbedding(guidance, dim), s.unetBatch())...)
}

// setEvaluation writes the scalars of one evaluation.
func (s shape) setEvaluation(p *nn.Program, timestep, inputScale float64) error {
	times := make([]float32, s.unetBatch())
	for i := range times {
		times[i] = float32(timestep)
	}
	if err := p.SetFloats("timestep", times...); err != nil {
		return err
	}
	return p.SetFloats("input scale", float32(inputScale))
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

// advance runs the step program once.
func (s shape) advance(ctx context.Context, p *nn.Program, step scheduler.Step, noise []float32, guidance, rescale float64) error {
	if err := s.setEvaluation(p, step.Timestep, step.InputScale); err != nil {
		return err
	}
	if s.guided {
		if err := p.SetFloats("guidance", float32(guidance)); err != nil {
			return err
		}
	}
	if s.rescaled {
		if err := p.SetFloats("rescale", float32(rescale)); err != nil {
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
