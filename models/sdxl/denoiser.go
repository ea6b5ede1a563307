package sdxl

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// denoiser is the UNet on a device and the plans of a sampling step around it.
type denoiser struct {
	*nn.Network
	config unet.Config
	model  *unet.Model
	source kernels.Source
}

// shape is what a compiled step depends on.
type shape struct {
	batch, height, width int  // of the latents
	tokens, text, pooled int  // text states [tokens, text] and pooled text
	ids                  int  // sizes told
	guided, rescaled     bool // two evaluations, joined; and their deviation restored
	history              int  // tensors that the solver keeps
}

// shape is what the step of a checked request depends on.
func (p *Pipeline) shape(r *Request, size Size, schedule *scheduler.Schedule) shape {
	s := p.newShape(r.Count, size)
	s.guided = r.Guidance > 1 && p.unet.config.TimeCondProjDim == 0
	s.rescaled, s.history = s.guided && r.GuidanceRescale > 0, schedule.History
	return s
}

// newShape is that of a step without guidance and without history.
func (p *Pipeline) newShape(batch int, size Size) shape {
	f := p.vae.Config.ScaleFactor()
	return shape{
		batch: batch, height: size.Height / f, width: size.Width / f,
		tokens: p.encoder2.tokenizer.MaxLength(), text: p.unet.config.Context(), pooled: p.encoder2.Config.ProjectionDim, ids: p.timeIDs,
	}
}

// evaluations is the UNet's batch.
func (s shape) evaluations() int {
	if s.guided {
		return 2 * s.batch
	}
	return s.batch
}

// conditioning is what the UNet is told of the prompt, rows in the order negative, positive.
type conditioning struct {
	text, pooled, timeIDs []float32
	guidance              []float32 // guidance embedding, nil where the model takes none
}

// predict states the model's guided output for latents x of scale Step "input scale".
func (d *denoiser) predict(b *nn.Builder, s shape, x *nn.Value) *nn.Value {
	n := s.evaluations()
	scale := b.Input("input scale", kernels.Step, kernels.F32, 1)
	in := unet.Inputs{
		Sample:   b.ScaleRepeat(x, scale, n/s.batch),
		Timestep: b.Input("timestep", kernels.Step, kernels.F32, n, 1),
		Text:     b.Input("text", kernels.Request, kernels.F32, n, s.tokens, s.text),
		Pooled:   b.Input("pooled", kernels.Request, kernels.F32, n, s.pooled),
		TimeIDs:  b.Input("time ids", kernels.Request, kernels.F32, n, s.ids),
	}
	if dim := int(d.config.TimeCondProjDim); dim > 0 {
		in.Condition = b.Input("guidance embedding", kernels.Request, kernels.F32, n, dim)
	}
	m := d.model.Forward(b, in)
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

// step compiles one sampling step in a precision, 0 is the network's.
func (d *denoiser) step(s shape, precision kernels.DType) (*nn.Program, error) {
	return d.ProgramIn(precision, fmt.Sprintf("unet step %+v", s), d.sampling(s))
}

// sampling states one sampling step: the latents x are a state that the solver advances.
func (d *denoiser) sampling(s shape) func(*nn.Builder) {
	return func(b *nn.Builder) {
		image := []int{s.batch, s.height, s.width, d.config.InChannels}
		x := b.Input("x", kernels.State, kernels.F32, image...)
		noise := b.Input("noise", kernels.Step, kernels.F32, image...)
		coefficients := b.Input("coefficients", kernels.Step, kernels.F32, kernels.Solver{History: s.history}.Coefficients())
		history := make([]*nn.Value, s.history)
		for i := range history {
			history[i] = b.Input(historyName(i), kernels.State, kernels.F32, image...)
		}
		b.Solve(x, d.predict(b, s, x), noise, coefficients, history)
	}
}

// prediction states the model's output alone, for sampling loops of the caller's, under the key that tells it from others.
func (d *denoiser) prediction(s shape) (key string, build func(*nn.Builder)) {
	s.history = 0
	return fmt.Sprintf("unet prediction %+v", s), func(b *nn.Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, s.batch, s.height, s.width, d.config.InChannels)
		b.Output("prediction", d.predict(b, s, x))
	}
}

func historyName(i int) string { return fmt.Sprintf("history %d", i) }

// tell writes the prompt's part of the inputs.
func (d *denoiser) tell(p *nn.Program, c conditioning) error {
	for _, in := range []struct {
		name string
		data []float32
	}{{"text", c.text}, {"pooled", c.pooled}, {"time ids", c.timeIDs}} {
		if err := p.SetFloats(in.name, in.data...); err != nil {
			return err
		}
	}
	if c.guidance != nil {
		return p.SetFloats("guidance embedding", c.guidance...)
	}
	return nil
}

// set writes the scalars of one evaluation.
func (s shape) set(p *nn.Program, timestep, inputScale, guidance, rescale float64) error {
	times := make([]float32, s.evaluations())
	for i := range times {
		times[i] = float32(timestep)
	}
	if err := p.SetFloats("timestep", times...); err != nil {
		return err
	}
	if err := p.SetFloats("input scale", float32(inputScale)); err != nil {
		return err
	}
	if s.guided {
		if err := p.SetFloats("guidance", float32(guidance)); err != nil {
			return err
		}
	}
	if s.rescaled {
		return p.SetFloats("rescale", float32(rescale))
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

// advance runs the step program once.
func (s shape) advance(ctx context.Context, p *nn.Program, step scheduler.Step, noise []float32, guidance, rescale float64) error {
	if err := s.set(p, step.Timestep, step.InputScale, guidance, rescale); err != nil {
		return err
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
