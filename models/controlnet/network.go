package controlnet

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// Network is a ControlNet on a device. It is used by one goroutine at a time.
type Network struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
	tasks     [][]float32 // of a union: task_embedding by rows
}

const taskEmbedding = "task_embedding"

// Open binds a checkpoint, which the configuration fits, and puts it on the device.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Network, error) {
	n := &Network{Config: c, model: New(c)}
	var ignore []string
	if c.Union() {
		v := newValueRows(src)
		src, ignore = v, append(v.fused(), taskEmbedding)
		var err error
		if n.tasks, err = readTasks(src, c); err != nil {
			return nil, err
		}
	}
	bound, err := nn.Bind(n.model, src, ignore...)
	if err != nil {
		return nil, err
	}
	n.Unclaimed = bound.Unclaimed
	n.Network, err = nn.NewNetwork(dev, bound, o)
	return n, err
}

// readTasks reads the rows of task_embedding.
func readTasks(src kernels.Source, c Config) ([][]float32, error) {
	dtype, shape, data, err := src.Tensor(taskEmbedding)
	if err != nil {
		return nil, err
	}
	if want := []int{c.ControlTypes, c.FusedChannels}; !slices.Equal(shape, want) {
		return nil, fmt.Errorf("tensor %s is %v: must be %v", taskEmbedding, shape, want)
	}
	if dtype != kernels.F32 && dtype != kernels.F16 && dtype != kernels.BF16 {
		return nil, fmt.Errorf("tensor %s is %v: must be fp32, fp16 or bf16", taskEmbedding, dtype)
	}
	stored, rows := kernels.Factor{DType: dtype, Data: data}, make([][]float32, c.ControlTypes)
	for i := range rows {
		rows[i] = make([]float32, c.FusedChannels)
		for k := range rows[i] {
			rows[i][k] = stored.At(i*c.FusedChannels + k)
		}
	}
	return rows, nil
}

// Shape is what a program of a ControlNet depends on.
type Shape struct {
	Batch, Height, Width          int  // of the latents
	Tokens, Text, Pooled, TimeIDs int  // as the UNet's: prompt embeddings [Tokens, Text], pooled ones, and added time ids
	Guided                        bool // residuals are of both sides of guidance, the negative one first
	Guess                         bool // guess mode: the negative side is not computed, and its residuals are 0
	Hints                         int  // control images: 1, of a union 1 or more
	HintScales                    bool // of a union: hints are scaled before they are joined, see SetScales
	Sums                          bool // the residuals are added to others, inputs SumName(i)
}

// rows are those that the net computes.
func (s Shape) rows() int {
	if s.Guided && !s.Guess {
		return 2 * s.Batch
	}
	return s.Batch
}

// masked reports whether the negative side has no residuals.
func (s Shape) masked() bool { return s.Guided && s.Guess }

// ResidualName is the name of a program's output i, and of the UNet's input.
func ResidualName(i int) string { return fmt.Sprintf("residual %d", i) }

// SumName is the name of a program's input that output i is added to.
func SumName(i int) string { return fmt.Sprintf("sum %d", i) }

func scaleName(i int) string     { return fmt.Sprintf("scale %d", i) }
func hintName(i int) string      { return fmt.Sprintf("hint %d", i) }
func hintScaleName(i int) string { return fmt.Sprintf("hint scale %d", i) }
func taskName(i int) string      { return fmt.Sprintf("task %d", i) }
func maskName(width int) string  { return fmt.Sprintf("mask of %d channels", width) }

// Program compiles the net for a shape in a precision, 0 for the network's; id tells programs apart that have inputs of
// their own at the same time. Its inputs are x, the latents as the solver has them [B, h, w, C]; "input scale",
// "timestep" [rows, 1], "text", "pooled" and "time ids" of the rows as the UNet's step has them; and those of Prepare
// and SetScales. Its outputs are residuals [B or 2B, H, W, C].
func (n *Network) Program(precision kernels.DType, s Shape, id string) (*nn.Program, error) {
	return n.ProgramIn(precision, fmt.Sprintf("controlnet %s %+v", id, s), n.build(s))
}

// Graph builds the net of a configuration for a shape, of which a plan counts operations.
func Graph(c Config, s Shape) func(*nn.Builder) {
	return (&Network{Config: c, model: nn.Name(New(c))}).build(s)
}

func (n *Network) build(s Shape) func(*nn.Builder) {
	return func(b *nn.Builder) {
		u, f, rows := n.Config.UNet, n.Config.ScaleFactor(), s.rows()
		one := b.Input("one", kernels.Request, kernels.F32, 1)
		c := &constants{b: b, made: map[string]*nn.Value{}}
		in := Inputs{One: one, Zeros: c.zeros}
		x := b.Input("x", kernels.Step, kernels.F32, s.Batch, s.Height, s.Width, u.InChannels)
		in.Inputs = unet.Inputs{
			Sample:   b.ScaleRepeat(x, b.Input("input scale", kernels.Step, kernels.F32, 1), rows/s.Batch),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, rows, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, rows, s.Tokens, s.Text),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, rows, s.Pooled),
			TimeIDs:  b.Input("time ids", kernels.Request, kernels.F32, rows, s.TimeIDs),
		}
		for i := range s.Hints {
			in.Hints = append(in.Hints, b.Input(hintName(i), kernels.Request, kernels.F32, 1, f*s.Height, f*s.Width, n.Config.Channels))
			if n.Config.Union() {
				in.Tasks = append(in.Tasks, b.Input(taskName(i), kernels.Request, kernels.F32, 1, 1, 1, n.Config.FusedChannels))
			}
			if s.HintScales {
				in.Scales = append(in.Scales, b.Input(hintScaleName(i), kernels.Step, kernels.F32, 1))
			}
		}
		if n.Config.Union() {
			in.Types = b.Input("types", kernels.Request, kernels.F32, rows, n.Config.ControlTypes)
		}
		for i, r := range n.model.Forward(b, in) {
			r = b.ScaleRepeat(r, b.Input(scaleName(i), kernels.Step, kernels.F32, 1), 1)
			if s.masked() {
				r = c.mask(r, one, c.input("minus one", 1))
			}
			if s.Sums {
				r = b.Add(r, b.Input(SumName(i), kernels.Step, kernels.F32, r.Shape()...))
			}
			b.Output(ResidualName(i), r)
		}
	}
}

// constants are inputs that Prepare writes, each declared once.
type constants struct {
	b    *nn.Builder
	made map[string]*nn.Value
}

func (c *constants) input(name string, shape ...int) *nn.Value {
	if c.made[name] == nil {
		c.made[name] = c.b.Input(name, kernels.Request, kernels.F32, shape...)
	}
	return c.made[name]
}

func (c *constants) zeros(shape ...int) *nn.Value { return c.input(zerosName(shape), shape...) }

func zerosName(shape []int) string { return fmt.Sprintf("zeros %v", shape) }

// mask returns r [B, H, W, C] with as many rows of zeros before it: with r's rows twice, max(r + m, 0) − max(−r + m,
// 0), where m is far below every number for the first and 0 for the others.
func (c *constants) mask(r, one, minusOne *nn.Value) *nn.Value {
	b, width := c.b, r.Dim(3)
	r = b.ScaleRepeat(r, one, 2)
	m := c.input(maskName(width), r.Dim(0), width)
	above := b.Activate(b.AddRows(r, m), kernels.ReLU)
	below := b.Activate(b.AddRows(b.ScaleRepeat(r, minusOne, 1), m), kernels.ReLU)
	return b.Add(above, b.ScaleRepeat(below, minusOne, 1))
}
