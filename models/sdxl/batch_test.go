package sdxl

import (
	"image"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/nn"
)

// TestSeedsDrawAsAlone: an image of a batch with seeds and prompts of its own is the one that its seed and prompt give
// alone, whatever its negative prompt: none, which is zeros, an empty or another text.
func TestSeedsDrawAsAlone(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	prompts := []Prompt{{Prompt: "a bridge"}, {Prompt: "a lake", NegativePrompt: new("")}, {Prompt: "a bridge", Prompt2: "at night", NegativePrompt: new("fog")}}
	for _, c := range []struct {
		model string
		image bool
		skip  int
	}{{"tiny", false, 0}, {"tiny", true, 1}, {"tiny-refiner", true, 0}, {"tiny-b", false, 0}} {
		model := m.open(c.model)
		r := with(func(r *Request) {
			r.Prompt, r.Seed, r.Scheduler, r.ClipSkip, r.Steps = "", nil, "dpmpp_2m_sde", c.skip, 5
		})
		if c.image {
			r.Image, r.Strength = gradient(48, 40), 0.6
		}
		whole := r
		whole.Prompts, whole.ImagesPerPrompt, whole.Seeds = prompts, 2, []uint64{1, 2, 3, 4, 5, 6}
		got := latentsAlone(t, model, whole)[0]
		n := len(got.Data) / 6
		for i, seed := range whole.Seeds {
			one := r
			one.Prompts, one.Seed = prompts[i/2:i/2+1], &seed
			golden.Near(t, c.model, got.Data[i*n:(i+1)*n], latentsAlone(t, model, one)[0].Data, 2e-5)
		}
	}
}

// TestResolveNeverPanics resolves requests of wild values.
func TestResolveNeverPanics(t *testing.T) {
	t.Parallel()
	base, refiner := specsOf(t)
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 20000 {
		var r Request
		v := reflect.ValueOf(&r).Elem()
		for range 1 + random.IntN(5) {
			wild(random, v.Field(random.IntN(v.NumField())))
		}
		for _, spec := range []*Spec{base, refiner} {
			p, err := spec.Resolve(r)
			if err == nil {
				taken++
				if p.Images < 1 || p.Width < 1 || p.Height < 1 || p.Steps < 1 || p.Scheduler == "" {
					t.Fatalf("%+v gives %v", r, p)
				}
			}
		}
	}
	if taken < 1000 {
		t.Errorf("only %d requests were taken", taken)
	}
}

// wild sets a field to a value that somebody might give.
func wild(random *rand.Rand, v reflect.Value) {
	pick := func(list ...any) { v.Set(reflect.ValueOf(list[random.IntN(len(list))]).Convert(v.Type())) }
	number := func() float64 {
		list := []float64{0, 0.3, 0.7, 1, 1.5, 7, -1, 1e300, math.NaN(), math.Inf(1), 999, 500, 1}
		return list[random.IntN(len(list))]
	}
	tensor := func() *Tensor {
		list := []*Tensor{nil, {}, nn.NewTensor(1, 4, 8, 8), nn.NewTensor(2, 4, 8, 8), nn.NewTensor(1, 77, 80), nn.NewTensor(1, 48), nn.NewTensor(1, 48, 1, 1), {Shape: []int{0, 4, 8, 8}},
			{Shape: []int{1, 4, math.MaxInt, 8}}, {Shape: []int{-1, -4, 8, 8}, Data: make([]float32, 256)}, {Shape: []int{1, 4, 1 << 31, 1 << 31}, Data: make([]float32, 4)}}
		return list[random.IntN(len(list))]
	}
	switch v.Interface().(type) {
	case string:
		pick("", "a", "\xff", "euler", "heun", "tcd_karras")
	case *string:
		v.Set(reflect.ValueOf(new("b")))
	case int:
		pick(0, 1, 2, 3, 8, 64, 65, 1000, -1, math.MaxInt, math.MinInt)
	case bool:
		v.SetBool(true)
	case float64:
		v.SetFloat(number())
	case *float64:
		v.Set(reflect.ValueOf(new(number())))
	case []float64:
		list := []float64{}
		for range random.IntN(4) {
			list = append(list, number())
		}
		v.Set(reflect.ValueOf(list))
	case []uint64:
		v.Set(reflect.ValueOf(make([]uint64, random.IntN(4))))
	case []Prompt:
		v.Set(reflect.ValueOf(make([]Prompt, random.IntN(70))))
	case Size:
		v.Set(reflect.ValueOf(Size{random.IntN(9) - 4, random.IntN(9) - 4}))
	case *Tensor:
		v.Set(reflect.ValueOf(tensor()))
	case *Embeddings:
		v.Set(reflect.ValueOf(&Embeddings{tensor(), tensor(), tensor(), tensor()}))
	default:
		if v.Type() == reflect.TypeFor[image.Image]() {
			v.Set(reflect.ValueOf(Blank{Size{random.IntN(200) - 20, random.IntN(200) - 20}}))
		}
	}
}
