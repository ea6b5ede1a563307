package sdxl

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// CheckOptions says what Check computes.
type CheckOptions struct {
	// Pixels of the image, multiples of the scale factor; 0 is the size that leaves 2 positions a side to the lowest level
	// of the UNet, 64 of the published base. Kernels are chosen by size, so that a fault may need a larger one. It takes
	// memory for what every module gives, far more than generating an image of the size.
	Width, Height int
	// Progress, if not nil, is called before each component.
	Progress func(component string)
}

// ComponentCheck is what Check found in a component.
type ComponentCheck struct {
	Component string        // text_encoder, text_encoder_2, unet, vae.encoder, vae.decoder or taesd.decoder
	FLOPs     int64         // floating-point operations of one run
	Gorgonia  bool          // gorgonia's machine was the judge: FLOPs are at most MaxGorgoniaFLOPs
	Precision kernels.DType // that was compared in
	nn.Comparison
	// Overflow is what was NaN or Inf in fp16 first, where there is bf16, in which a model computes again what overflows.
	// The comparison is that in bf16.
	Overflow *nn.Difference
	// BrokenWeights are the component's tensors that hold NaN or Inf. They are looked for where a module gives such.
	BrokenWeights []string
}

// MaxGorgoniaFLOPs is the most floating-point operations that Check computes on gorgonia's machine, in some seconds. It
// also bounds the memory, since every intermediate and every weight is kept there in float32.
const MaxGorgoniaFLOPs = 4e9

// Check computes every component as models run it, fused, with every fusion undone and, if it is tiny, on gorgonia's
// machine, and compares what their modules give; see nn.Compare. It bisects a wrong image: a wrong kernel shows at the
// first module that uses it. The UNet is evaluated once, on both sides of guidance. Inputs are always the same: a prompt
// and the empty one, its embeddings, and noise of a seed. Differences are no error.
//
// Where the device has memory of its own, other components are evicted from it. On an error the components before it are
// returned.
func (m *Model) Check(ctx context.Context, o CheckOptions) ([]ComponentCheck, error) {
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	size, err := m.CheckSize(o)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.host.park(ctx, m.UNet.Network), m.adapt(ctx, nil, m.adaptable())); err != nil {
		return nil, err
	}
	var done []ComponentCheck
	for _, p := range m.checkedParts(size) {
		if o.Progress != nil {
			o.Progress(p.name)
		}
		c, err := m.checkPart(ctx, p)
		if err != nil {
			return done, fmt.Errorf("%s: %w", p.name, err)
		}
		done = append(done, *c)
	}
	return done, nil
}

// checkedPart is a computation that Check compares.
type checkedPart struct {
	name, source string // of its weights, in the model's sources
	network      *nn.Network
	graph        func(ctx context.Context) (build func(*nn.Builder), inputs map[string]any, err error)
}

// checkPart compares one component. Every other one is evicted: what is compared has no program that the planner knows.
func (m *Model) checkPart(ctx context.Context, p checkedPart) (*ComponentCheck, error) {
	build, inputs, err := p.graph(ctx)
	if err != nil {
		return nil, err
	}
	g, err := nn.Build(m.host.device, build)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ctx.Err(), m.roomToCheck(g.Plan)); err != nil {
		return nil, err
	}
	if err := m.host.memory.Full(p.network); err != nil {
		return nil, err
	}
	c := &ComponentCheck{Component: p.name, FLOPs: g.Plan.FLOPs(), Precision: m.precision()}
	c.Gorgonia = c.FLOPs <= MaxGorgoniaFLOPs
	found, err := p.network.Compare(ctx, build, inputs, c.Gorgonia)
	if wider, ok := p.network.Wider(); err == nil && ok && found.First != nil && found.Worst.NotFinite {
		c.Overflow, c.Precision = firstNotFinite(found), wider
		found, err = p.network.CompareIn(ctx, wider, build, inputs, c.Gorgonia)
	}
	if err != nil {
		return nil, err
	}
	if src := m.sources[p.source]; src != nil && found.Worst.NotFinite {
		c.BrokenWeights = notFinite(src, "")
	}
	c.Comparison = *found
	return c, m.host.memory.done(ctx, p.network)
}

// firstNotFinite is the first difference that has NaN or Inf, as far as that is known.
func firstNotFinite(c *nn.Comparison) *nn.Difference {
	if c.First.NotFinite {
		return c.First
	}
	return &c.Worst
}

// roomToCheck refuses what the memory of the host can't hold. Devices with memory of their own refuse to allocate it.
func (m *Model) roomToCheck(p *kernels.Plan) error {
	if !m.host.memory.host {
		return nil
	}
	memory, err := m.host.device.Memory()
	if err != nil {
		return err
	}
	var need int64 // what all operations give, in float32, fused and unfused
	for _, t := range p.Tensors {
		if t.Role != kernels.Weight {
			need += 2 * 4 * int64(t.Len())
		}
	}
	if free := memory.Limit - memory.Used; memory.Limit > 0 && need > free {
		return fmt.Errorf("comparing all modules: %w", &kernels.MemoryError{Needed: need, Allowed: free})
	}
	return nil
}
