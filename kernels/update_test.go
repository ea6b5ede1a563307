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
	products := func(rank, up, down int) map[string][]LowRank {
		return map[string][]LowRank{"w": {{Rank: 1, Up: make([]float32, 4), Down: make([]float32, 6)}, {Rank: rank, Up: make([]float32, up), Down: make([]float32, down)}}}
	}
	for want, u := range map[string]*Update{
		"":    nil,
		" ":   {},
		"  ":  {Source: src, Whole: []string{"bias"}, LowRank: products(5, 20, 30)},
		"   ": {LowRank: map[string][]LowRank{"one": {{Rank: 2, Up: make([]float32, 2), Down: make([]float32, 2)}}, "bias": {{Rank: 1, Up: make([]float32, 4), Down: make([]float32, 1)}}}},
		"update: tensor v is none of the weights': no such tensor":             {Source: src, Whole: []string{"v"}},
		"update: tensor w is named twice":                                      {Source: src, Whole: []string{"w"}, LowRank: products(1, 4, 6)},
		"update: tensor bias is named twice":                                   {Source: src, Whole: []string{"bias", "bias"}},
		"update: tensor ids is int32: must be fp32, fp16 or bf16":              {Source: src, Whole: []string{"ids"}},
		"update: tensor w: the update has no source":                           {Whole: []string{"w"}},
		"update: tensor w: no such tensor":                                     {Source: described{}, Whole: []string{"w"}},
		"update: tensor w: it is bf16, must be fp16 as in the weights":         {Source: described{"w": {DType: BF16, Shape: []int{4, 3, 2, 1}}}, Whole: []string{"w"}},
		"update: tensor w: its shape is [4 6], must be [4 3 2 1] as in the we": {Source: described{"w": {DType: F16, Shape: []int{4, 6}}}, Whole: []string{"w"}},
		"update: tensor w: product 1 has rank 0: must be 1 or more":            {LowRank: products(0, 0, 0)},
		"update: tensor w: product 1 has 9 numbers in Up, must be 8: 4 rows":   {LowRank: products(2, 9, 12)},
		"update: tensor w: product 1 has 11 numbers in Down, must be 12: rank": {LowRank: products(2, 8, 11)},
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
