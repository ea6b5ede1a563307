package kernelbench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
)

// A plan has as many operations as take manyTime, within bounds: beside them, what surrounds them (copies to the device's types and back, the host that queues a run and
// notices its end) is nothing, and a card's clocks settle at what it can keep up. tools/benchmarks times other libraries for as long.
const (
	manyTime = 20 * time.Millisecond
	fewest   = 8
	most     = 1024
)

// timeAmongMany times the operation between temporaries, as models have it, on a device that computes what is queued.
func timeAmongMany(ctx context.Context, c cases.Case, d kernels.Device, precision kernels.DType, data [][]byte) (Figure, error) {
	copies := fewest
	times, runs, err := timeCopies(ctx, c, d, precision, data, copies)
	for err == nil && copies < most && times[len(times)/2] < manyTime {
		need := int(int64(copies) * int64(manyTime) * 5 / 4 / int64(times[len(times)/2]))
		copies = min(max(need, 2*copies), most)
		times, runs, err = timeCopies(ctx, c, d, precision, data, copies)
	}
	if err != nil {
		return Figure{}, err
	}
	for i := range times {
		times[i] /= time.Duration(copies)
	}
	width := int64(precision.Size())
	if _, stays := c.Spec.(kernels.Solver); stays {
		width = 0
	}
	return figure(c, d, times, runs*len(times)*copies, width)
}

// timeCopies returns sorted times of a plan that has so many copies of the operation, all with the same operands.
func timeCopies(
	ctx context.Context, c cases.Case, d kernels.Device, precision kernels.DType, data [][]byte, copies int,
) (times []time.Duration, runs int, err error) {
	x, err := compileCopies(c, d, precision, data, copies)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if e := x.Close(); err == nil {
			err = e
		}
	}()
	times, runs, err = measure(ctx, x, manyTime, 0)
	slices.Sort(times)
	return times, runs, err
}

// compileCopies builds a plan of copies of the operation that read temporaries and write temporaries, but for a solver's, whose
// operands are States in any model.
func compileCopies(c cases.Case, d kernels.Device, precision kernels.DType, data [][]byte, copies int) (*cases.Fixture, error) {
	outs, err := c.Spec.Infer(c.In)
	if err != nil {
		return nil, err
	}
	x := cases.NewFixture(c, data)
	put := func(name string, r kernels.Role, t kernels.Tensor) kernels.Value {
		t.Name, t.Role = name, r
		return x.Put(t)
	}
	node := func(path string, s kernels.Spec, in, out []kernels.Value) {
		x.Plan.Nodes = append(x.Plan.Nodes, kernels.Node{Spec: s, Path: path, In: in, Out: out})
	}
	_, stays := c.Spec.(kernels.Solver)
	x.Guard()
	var operands []kernels.Value
	for _, t := range c.In {
		v := x.Input()
		if t.Role != kernels.Weight && t.DType == kernels.F32 && t.Len() > 1 && !stays {
			from := v
			v = put(t.Name+", copied", kernels.Temp, t)
			node("in front", kernels.Activate{}, []kernels.Value{from}, []kernels.Value{v})
		}
		operands = append(operands, v)
	}
	for i := range copies {
		written := make([]kernels.Value, len(outs))
		for k, t := range outs {
			role := kernels.Temp
			if stays || i == copies-1 && t.DType != kernels.F32 {
				role = kernels.Result
			}
			written[k] = put(fmt.Sprintf("output %d of copy %d", k, i), role, t)
		}
		node(fmt.Sprintf("%s, copy %d", c.Name, i), c.Spec, operands, written)
		if i == copies-1 && !stays {
			for k, v := range written {
				if outs[k].DType != kernels.F32 {
					continue
				}
				node("behind", kernels.Activate{}, []kernels.Value{v}, []kernels.Value{put(fmt.Sprintf("result %d", k), kernels.Result, outs[k])})
			}
		}
	}
	return x, x.Compile(d, precision)
}
