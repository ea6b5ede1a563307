package kernels

import "slices"

// Sinusoid embeds numbers as cosines and sines (diffusers get_timestep_embedding, max_period 10000):
// f_i = exp(−ln(10000)·i/(Dim/2 − FreqShift)) and t·f_i in float32, then [cos, sin] if CosFirst, else [sin, cos]; an
// odd Dim ends in a zero.
//
// Input: t [B, N]. Output: [B, N·Dim].
type Sinusoid struct {
	Dim       int
	CosFirst  bool
	FreqShift float64
}

// Infer implements Spec.
func (s Sinusoid) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Sinusoid"
	if err := arity(op, in, 1); err != nil {
		return nil, err
	}
	if err := rank(op, "t", in[0], 2); err != nil {
		return nil, err
	}
	if s.Dim < 2 || float64(s.Dim/2) <= s.FreqShift {
		return nil, &OpError{op, "dim", s.Dim, []any{"at least 2 and its half above", s.FreqShift}}
	}
	return []Tensor{{DType: F32, Shape: []int{in[0].Shape[0], in[0].Shape[1] * s.Dim}}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Sinusoid) FLOPs(in []Tensor) int64 { return int64(in[0].Len()) * int64(s.Dim) * 16 }

// ScaleRepeat is scale·x, Times times along the batch axis: the model's input under guidance.
//
// Inputs: x [B, ...]; scale [1]. Output: [Times·B, ...].
type ScaleRepeat struct{ Times int }

// Infer implements Spec.
func (s ScaleRepeat) Infer(in []Tensor) ([]Tensor, error) {
	const op = "ScaleRepeat"
	if err := arity(op, in, 2); err != nil {
		return nil, err
	}
	if s.Times < 1 {
		return nil, &OpError{op, "times", s.Times, "at least 1"}
	}
	if err := axes(op, "x", in[0]); err != nil {
		return nil, err
	}
	if err := shape(op, "scale", in[1], 1); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0].Shape)
	out[0] *= s.Times
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s ScaleRepeat) FLOPs(in []Tensor) int64 { return int64(in[0].Len()) }

// Guidance is classifier-free guidance: u + scale·(c − u) with u, c the halves of the batch. With Rescale, for each
// sample, r = guided·std(c)/std(guided) and the result is φ·r + (1−φ)·guided; std is unbiased, over all but the batch
// axis. Source: diffusers pipeline_stable_diffusion_xl.py, rescale_noise_cfg.
//
// Inputs: m [2B, ...]; scale [1]; φ [1] if Rescale. Output: [B, ...].
type Guidance struct{ Rescale bool }

// Infer implements Spec.
func (s Guidance) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Guidance"
	want := 2
	if s.Rescale {
		want = 3
	}
	if err := arity(op, in, want); err != nil {
		return nil, err
	}
	if err := axes(op, "m", in[0]); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0].Shape)
	if out[0]%2 != 0 {
		return nil, &OpError{op, "batch", out[0], "an even number"}
	}
	for _, t := range in[1:] {
		if err := shape(op, "scalar "+t.Name, t, 1); err != nil {
			return nil, err
		}
	}
	out[0] /= 2
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Guidance) FLOPs(in []Tensor) int64 { return 2 * int64(in[0].Len()) }

// Solver advances the latents by one sampling step that a schedule (package scheduler) has reduced to numbers:
//
//	x0 = clamp(a·x + b·m, −clip, +clip), not clamped where clip is 0
//	[x', h1', …, hK'] = M·[x, x0, m, noise, h1, …, hK]
//
// Inputs: x; m and noise of x's shape; coefficients [3 + (1+K)·(4+K)], which are a, b, clip and M by rows; K = History
// tensors of x's shape. Outputs: x' and the new history. Outputs may be the same values as x and the history, if those
// are States. A zero coefficient leaves its operand unread, so that NaN in unused noise or history does no harm.
type Solver struct{ History int }

// Coefficients returns the length of the coefficient vector.
func (s Solver) Coefficients() int { return 3 + (1+s.History)*(4+s.History) }

// Infer implements Spec.
func (s Solver) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Solver"
	if s.History < 0 {
		return nil, &OpError{op, "history", s.History, "not negative"}
	}
	if err := arity(op, in, 4+s.History); err != nil {
		return nil, err
	}
	if err := shape(op, "coefficients", in[3], s.Coefficients()); err != nil {
		return nil, err
	}
	out := make([]Tensor, 1+s.History)
	for i := range out {
		out[i] = Tensor{DType: F32, Shape: slices.Clone(in[0].Shape)}
	}
	for i, t := range in {
		if i == 3 {
			continue
		}
		if err := shape(op, "operand "+t.Name, t, in[0].Shape...); err != nil {
			return nil, err
		}
	}
	return out, floats(op, in)
}

// FLOPs implements Spec.
func (s Solver) FLOPs(in []Tensor) int64 {
	return 2 * int64(in[0].Len()) * int64(s.Coefficients())
}
