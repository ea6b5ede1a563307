package kernels

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// described is a source that has no data.
type described map[string]Tensor

func (d described) Names() []string { return nil }
func (d described) Describe(name string) (DType, []int, error) {
	t, ok := d[name]
	if !ok {
		return 0, nil, errors.New("no such tensor")
	}
	return t.DType, t.Shape, nil
}
func (d described) Tensor(string) (DType, []int, []byte, error) {
	return 0, nil, nil, errors.New("no data")
}
func (d described) Storage(string) Storage { return Mapped }
func (d described) Release() error         { return nil }

func TestUpdateCheck(t *testing.T) {
	src := described{
		"w":    {DType: F16, Shape: []int{4, 3, 2, 1}},
		"bias": {DType: BF16, Shape: []int{4}},
		"one":  {DType: F32},
		"ids":  {DType: I32, Shape: []int{2}},
	}
	floats := func(n int) Factor { return FloatFactor(make([]float32, n)) }
	products := func(rank, up, down int) map[string][]LowRank {
		return map[string][]LowRank{"w": {{Rank: 1, Up: Factor{F16, make([]byte, 8)}, Down: floats(6)}, {Rank: rank, Up: floats(up), Down: floats(down)}}}
	}
	for want, u := range map[string]*Update{
		"":    nil,
		" ":   {},
		"  ":  {Source: src, Whole: []string{"bias"}, LowRank: products(5, 20, 30)},
		"   ": {LowRank: map[string][]LowRank{"one": {{Rank: 2, Up: floats(2), Down: floats(2)}}, "bias": {{Rank: 1, Up: floats(4), Down: floats(1)}}}},
		"update: tensor v is none of the weights': no such tensor":             {Source: src, Whole: []string{"v"}},
		"update: tensor w is named twice":                                      {Source: src, Whole: []string{"w"}, LowRank: products(1, 4, 6)},
		"update: tensor bias is named twice":                                   {Source: src, Whole: []string{"bias", "bias"}},
		"update: tensor ids is int32: must be fp32, fp16 or bf16":              {Source: src, Whole: []string{"ids"}},
		"update: tensor w: the update has no source":                           {Whole: []string{"w"}},
		"update: tensor w: no such tensor":                                     {Source: described{}, Whole: []string{"w"}},
		"update: tensor w: it is bf16, must be fp16 as in the weights":         {Source: described{"w": {DType: BF16, Shape: []int{4, 3, 2, 1}}}, Whole: []string{"w"}},
		"update: tensor w: its shape is [4 6], must be [4 3 2 1] as in the we": {Source: described{"w": {DType: F16, Shape: []int{4, 6}}}, Whole: []string{"w"}},
		"update: tensor w: product 1: its rank is 0: must be 1 or more":        {LowRank: products(0, 0, 0)},
		"update: tensor w: product 1: Up has 36 bytes, must have 32: [4 2] of": {LowRank: products(2, 9, 12)},
		"update: tensor w: product 1: Down has 44 bytes, must have 48: [2 6] ": {LowRank: products(2, 8, 11)},
		"update: tensor one: product 0: Up is DType(0): must be fp32, fp16 or": {LowRank: map[string][]LowRank{"one": {{Rank: 1}}}},
		"update: tensor one: product 0: Down is uint8: must be fp32, fp16 or ": {LowRank: map[string][]LowRank{"one": {{Rank: 1, Up: floats(1), Down: Factor{U8, []byte{1}}}}}},
	} {
		err := u.Check(src)
		if want = strings.TrimSpace(want); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	u := &Update{Source: src, Whole: []string{"w", "one"}, LowRank: map[string][]LowRank{"bias": nil}}
	if names := u.Names(); !slices.Equal(names, []string{"bias", "one", "w"}) {
		t.Errorf("the update names %v", names)
	}
}

func TestFactor(t *testing.T) {
	x := []float32{1, -0.5, 3e-5, 65504}
	if f := FloatFactor(x); f.Len() != 4 || f.At(1) != x[1] || f.At(2) != x[2] {
		t.Errorf("%d numbers, %g, %g", f.Len(), f.At(1), f.At(2))
	}
	for dtype, round := range map[DType]func(float32) uint16{F16: ToF16, BF16: ToBF16} {
		f := Factor{DType: dtype}
		for _, v := range x {
			f.Data = append(f.Data, byte(round(v)), byte(round(v)>>8))
		}
		if f.Len() != 4 || f.At(0) != 1 || f.At(1) != -0.5 {
			t.Errorf("%v: %d numbers, %g, %g", dtype, f.Len(), f.At(0), f.At(1))
		}
	}
}
