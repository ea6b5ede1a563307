package cuda

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

func (l *lowering) sinusoid(s kernels.Sinusoid) error {
	t, err := l.float(0)
	if err != nil {
		return err
	}
	// Rounds to float32 where the reference does: −ln(10000)·i, the quotient and the exponential.
	half := s.Dim / 2
	frequencies := make([]float32, half)
	for i := range frequencies {
		power := float32(-math.Log(10000)) * float32(i)
		power /= float32(float64(half) - s.FreqShift)
		frequencies[i] = float32(math.Exp(float64(power)))
	}
	table, out := l.constant(frequencies), l.out[0]
	p := sinusoidParams{N: int32(t.Len()), Dim: int32(s.Dim), TType: t.storage, OutTyp: out.storage}
	if s.CosFirst {
		p.CosFirst = 1
	}
	l.each("sinusoid", int64(out.Len()), 1, func(at resolver) any {
		p := p
		p.T, p.Frequency, p.Out = at(t.symbol), at(table), at(out.symbol)
		return p
	})
	return nil
}

func (l *lowering) scaleRepeat(kernels.ScaleRepeat) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	scale, err := l.float(1)
	if err != nil {
		return err
	}
	out := l.out[0]
	l.each("scale_repeat", int64(out.Len()), 1, func(at resolver) any {
		return scaleParams{X: at(x.symbol), Scale: at(scale.symbol), Out: at(out.symbol), N: int64(x.Len()), Total: int64(out.Len()),
			XType: x.storage, ScaleType: scale.storage, OType: out.storage}
	})
	return nil
}

func (l *lowering) guidance(s kernels.Guidance) error {
	var in [3]operand
	for i := range l.in {
		var err error
		if in[i], err = l.float(i); err != nil {
			return err
		}
	}
	out := l.out[0]
	batch := out.Shape[0]
	if batch > 65535 {
		return fmt.Errorf("cuda: guidance of %d samples, want at most 65535", batch)
	}
	p := guidanceParams{N: int64(out.Len() / batch), Batch: int32(batch), MType: in[0].storage, ScaleType: in[1].storage, PhiType: in[2].storage, OutputTy: out.storage}
	grid, block := driver.Dim{X: uint32(min(ceil(int(p.N), 256), 4*l.sms)), Y: uint32(batch), Z: 1}, uint32(256)
	if s.Rescale {
		p.Rescale = 1
		grid.X, block = 1, 1024
	}
	l.launch("guidance", grid, block, 0, func(at resolver) any {
		p := p
		p.M, p.Scale, p.Phi, p.Out = at(in[0].symbol), at(in[1].symbol), at(in[2].symbol), at(out.symbol)
		return p
	})
	return nil
}

func (l *lowering) solver(s kernels.Solver) error {
	if s.History > maxHistory {
		return fmt.Errorf("cuda: solver with a history of %d, want at most %d", s.History, maxHistory)
	}
	in := make([]operand, len(l.in))
	for i := range in {
		var err error
		if in[i], err = l.float(i); err != nil {
			return err
		}
	}
	if in[3].storage != fp32 {
		return fmt.Errorf("cuda: solver's coefficients %v are computed by the plan, want an input", in[3].Tensor)
	}
	out := l.out
	p := solverParams{N: int64(out[0].Len()), K: int32(s.History), XType: in[0].storage, MType: in[1].storage, NoiseTyp: in[2].storage}
	for k := range s.History {
		p.HistoryType[k] = in[4+k].storage
	}
	for k := range out {
		p.OutType[k] = out[k].storage
	}
	l.each("solver", p.N, 1, func(at resolver) any {
		p := p
		p.X, p.M, p.Noise, p.Coefficients = at(in[0].symbol), at(in[1].symbol), at(in[2].symbol), at(in[3].symbol)
		for k := range s.History {
			p.History[k] = at(in[4+k].symbol)
		}
		for k := range out {
			p.Out[k] = at(out[k].symbol)
		}
		return p
	})
	return nil
}
