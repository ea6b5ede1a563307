package sdxl

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn"
)

// preparedControl is what was written to a program of a ControlNet: by which group of controls, and the conditioning of
// which phase.
type preparedControl struct {
	group  uint64
	part   int
	phase  int
	beside bool // of the shape, whose time ids differ
}

// controlShape is that of a ControlNet's program beside the UNet's step of a shape.
func (g *controlGroup) controlShape(s shape, sums bool) controlnet.Shape {
	return controlnet.Shape{
		Batch: s.batch, Height: s.height, Width: s.width, Tokens: s.tokens, Text: s.text, Pooled: s.pooled, TimeIDs: s.ids,
		Guided: s.guided, Guess: g.guess, Hints: len(g.hints), HintScales: g.several, Sums: sums,
	}
}

// openControls opens what steers the run by images. Close releases it.
func (r *Run) openControls(ctx context.Context) (err error) {
	if r.controls, err = r.m.groupControls(ctx, r.q); err != nil {
		return err
	}
	r.features, err = r.m.adapterFeatures(ctx, r.q)
	return err
}

// stepNetworks are those that take part in steps.
func (r *Run) stepNetworks() []*nn.Network {
	all := []*nn.Network{r.unet.Network}
	for _, g := range r.controls {
		all = append(all, g.net.Network)
	}
	return all
}

// shapeAt is the shape of the step at evaluation i: with guidance where its scale asks for it, with a perturbed side where
// PAG's does, with residuals where a ControlNet counts. Behind the last one it is that one's, and without any evaluation
// there are no residuals.
func (r *Run) shapeAt(i int) shape {
	s := r.shape
	s.residuals = false
	if len(r.q.guidance) == 0 {
		return s
	}
	i = r.evaluation(i)
	for _, g := range r.controls {
		if _, any := g.counts(i, r.q.controlSteps); any {
			s.residuals = true
		}
	}
	s = s.at(r.q.guidance[i])
	if r.q.pagAt(i) == 0 {
		s.perturbed = ""
	}
	return s
}

// evaluation is i, or behind the last evaluation that one: what steers and guides a prediction then.
func (r *Run) evaluation(i int) int { return max(min(i, len(r.q.guidance)-1), 0) }

// admitControls finds out whether there is memory for every program of the ControlNets, as admit does for the rest.
func (r *Run) admitControls() error {
	type program struct {
		group, side, part int
		sums              bool
	}
	admitted := map[program]bool{}
	for at := range r.q.guidance {
		for k, side := range r.shape.sides() {
			for part := range max(1, side.parts) {
				sums := false
				for i, g := range r.controls {
					if _, any := g.counts(at, r.q.controlSteps); !any {
						continue
					}
					if this := (program{i, k, part, sums}); !admitted[this] {
						if err := r.admitControl(g, side, controlID(i, part), sums); err != nil {
							return fmt.Errorf("ControlNet %s: %w", controlName(g.path), err)
						}
						admitted[this] = true
					}
					sums = true
				}
			}
		}
	}
	return nil
}

func (r *Run) admitControl(g *controlGroup, side shape, id string, sums bool) error {
	p, err := g.net.Program(r.retry.precision, g.controlShape(side, sums), id)
	if err != nil {
		return err
	}
	if err := r.m.host.memory.fits(g.net.Network, p, 0); err != nil {
		return errors.Join(err, p.Discard())
	}
	return nil
}

func controlID(group, part int) string { return fmt.Sprintf("%d of part %d", group, part) }

// steering is one evaluation of the UNet that ControlNets take part in.
type steering struct {
	shape                shape
	at                   int // the evaluation
	phase                int // of the conditioning
	timestep, inputScale float64
	// latents gives a program of a ControlNet its input x.
	latents func(p *nn.Program) error
	into    *nn.Program // the UNet's, whose residuals are filled
}

// steer evaluates the ControlNets that count and gives the sums of their residuals to the UNet's program. Nothing
// passes through the host's memory.
func (r *Run) steer(ctx context.Context, s steering) error {
	sides := s.shape.sides()
	if !s.shape.guided { // then all are the positive one
		return r.steerSides(ctx, s, sides)
	}
	for i := range sides {
		s.shape = sides[i]
		if err := r.steerSides(ctx, s, sides[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// steerSides is steer for sides that read the same.
func (r *Run) steerSides(ctx context.Context, s steering, sides []shape) error {
	for part := range max(1, s.shape.parts) {
		var last *nn.Program
		for i, g := range r.controls {
			scales, any := g.counts(s.at, r.q.controlSteps)
			if !any {
				continue
			}
			p, err := r.evaluateControl(ctx, g, i, part, scales, last, s)
			if err != nil {
				return fmt.Errorf("ControlNet %s: %w", controlName(g.path), err)
			}
			last = p
		}
		if last == nil {
			return nil
		}
		for i := range r.unet.Config.Residuals(s.shape.height, s.shape.width) {
			for _, side := range sides {
				if err := s.into.CopyFrom(side.named(controlnet.ResidualName(i), part), last, controlnet.ResidualName(i)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// evaluateControl runs one ControlNet, whose residuals are added to those of last.
func (r *Run) evaluateControl(ctx context.Context, g *controlGroup, i, part int, scales []float64, last *nn.Program, s steering) (*nn.Program, error) {
	shape := g.controlShape(s.shape, last != nil)
	p, err := r.prepareControl(g, i, part, shape, s)
	if err != nil {
		return nil, err
	}
	if err := s.latents(p); err != nil {
		return nil, err
	}
	rows := s.shape.unetBatch()
	if shape.Guess {
		rows = s.shape.batch
	}
	times := make([]float32, rows)
	for k := range times {
		times[k] = float32(s.timestep)
	}
	err = errors.Join(p.SetFloats("timestep", times...), p.SetFloats("input scale", float32(s.inputScale)), g.net.SetScales(p, shape, scales))
	if err != nil {
		return nil, err
	}
	if last != nil {
		for k := range g.net.Config.UNet.Residuals(s.shape.height, s.shape.width) {
			if err := p.CopyFrom(controlnet.SumName(k), last, controlnet.ResidualName(k)); err != nil {
				return nil, err
			}
		}
	}
	return p, p.Run(ctx)
}

// prepareControl returns the program of a ControlNet with everything in it that does not change at every step. It is
// compiled anew where other sizes, or other runs, have taken its place.
func (r *Run) prepareControl(g *controlGroup, i, part int, shape controlnet.Shape, s steering) (*nn.Program, error) {
	p, err := g.net.Program(r.retry.precision, shape, controlID(i, part))
	if err != nil {
		return nil, err
	}
	is, found := g.handle.prepared[p]
	ready := preparedControl{g.id, part, s.phase, s.shape.beside}
	if is == ready {
		return p, nil
	}
	delete(g.handle.prepared, p) // what is written in part is nobody's
	if !found || is.group != g.id || is.part != part {
		if err := g.net.Prepare(p, shape, g.hints); err != nil {
			return nil, err
		}
		is = preparedControl{g.id, part, -1, false}
	}
	if is.phase != s.phase || is.beside != s.shape.beside {
		text, pooled, timeIDs := r.conditioning.rows(s.shape, s.phase, part)
		if s.shape.guided && shape.Guess { // the positive side alone
			text, pooled, timeIDs = text[len(text)/2:], pooled[len(pooled)/2:], timeIDs[len(timeIDs)/2:]
		}
		if err := errors.Join(p.SetFloats("text", text...), p.SetFloats("pooled", pooled...), p.SetFloats("time ids", timeIDs...)); err != nil {
			return nil, err
		}
	}
	g.handle.prepare(p, ready)
	return p, nil
}

// steerPrediction gives a program that predicts for latents what steers it.
func (r *Run) steerPrediction(ctx context.Context, into *nn.Program, s shape, x *Tensor, timestep, inputScale float64) error {
	if !s.residuals {
		return nil
	}
	latents := channelsLast(x)
	return r.steer(ctx, steering{
		shape: s, at: r.evaluation(r.next), phase: r.conditioning.phase(r.next), timestep: timestep, inputScale: inputScale, into: into,
		latents: func(p *nn.Program) error { return p.SetFloats("x", latents...) },
	})
}
