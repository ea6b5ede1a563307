package sdxl

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/nn"
)

// specsOf reads the specs of the tiny models: what a server's parent has, without weights and device.
func specsOf(t *testing.T) (base, refiner *Spec) {
	t.Helper()
	base, err := ReadSpec("synth:tiny", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if refiner, err = ReadSpec("synth:tiny-refiner", base, nil); err != nil {
		t.Fatal(err)
	}
	return base, refiner
}

// TestResolveBySpecAlone gives the same parameters, or the same error, without a model as with one, and each time.
func TestResolveBySpecAlone(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := specsOf(t)
	requests := map[string]Request{"nothing": {}, "a prompt": {Prompt: "a"}, "no guidance": {Guidance: new(0.0)}, "zero scores": {AestheticScore: new(0.0)}}
	for name, pair := range pairs() {
		requests[name+" first"], requests[name+" second"] = pair[0], pair[1]
	}
	image, nan := Blank{Size{64, 64}}, math.NaN()
	requests["two fractions"] = Request{Image: image, Eta: new(7.0), GuidanceRescale: new(7.0)}
	requests["three numbers"] = Request{Image: image, Guidance: &nan, AestheticScore: &nan, NegativeAestheticScore: &nan}
	requests["start and end"] = Request{Image: image, DenoisingEnd: 7, DenoisingStart: 7}
	requests["four sizes"] = Request{Image: image, OriginalSize: Size{-1, 1}, TargetSize: Size{-1, 1}, NegativeOriginalSize: Size{-1, 1}, NegativeTargetSize: Size{-1, 1}}
	for _, of := range []struct {
		spec  *Spec
		model *Model
	}{{base, m.open("tiny")}, {refiner, m.open("tiny-refiner")}} {
		for name, r := range requests {
			want, wantErr := of.model.Resolve(r)
			for range 12 {
				got, err := of.spec.Resolve(r)
				if wantErr != nil || err != nil {
					if fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Fatalf("%s of %s: the spec says %v, the model %v", name, of.spec.Path, err, wantErr)
					}
					continue
				}
				got.Device, got.Precision = want.Device, want.Precision
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%s of %s: the spec gives\n%v, the model\n%v", name, of.spec.Path, got, want)
				}
			}
		}
	}
}

// TestZeroIsNotAbsent tells an explicit zero from what is not given.
func TestZeroIsNotAbsent(t *testing.T) {
	t.Parallel()
	base, refiner := specsOf(t)
	zero := 0.0
	absent, err := base.Resolve(Request{})
	if err != nil || absent.Guidance != 5 || absent.Steps != 50 || absent.Width != 64 {
		t.Errorf("%v, %v", absent, err)
	}
	given, err := base.Resolve(Request{Guidance: &zero, Seed: new(uint64(0))})
	if err != nil || given.Guidance != 0 {
		t.Errorf("%v, %v", given, err)
	}
	r := Request{Image: Blank{Size{64, 64}}}
	absent, err = refiner.Resolve(r)
	if err != nil || *absent.AestheticScore != 6 || *absent.NegativeAestheticScore != 2.5 || absent.Strength != 0.3 {
		t.Errorf("%v, %v", absent, err)
	}
	r.AestheticScore, r.NegativeAestheticScore = &zero, &zero
	given, err = refiner.Resolve(r)
	if err != nil || *given.AestheticScore != 0 || *given.NegativeAestheticScore != 0 || !strings.Contains(given.String(), `"aesthetic_score":0,"negative_aesthetic_score":0`) {
		t.Errorf("%v, %v", given, err)
	}
}

// TestSecondNegativeAlone: zeros take the place of a negative prompt that is not given, and the one for the second
// encoder goes unused, which the result says.
func TestSecondNegativeAlone(t *testing.T) {
	t.Parallel()
	base := newModels(t).open("tiny")
	with := func(change func(*Request)) *Result {
		r := small()
		r.LatentsOnly = true
		change(&r)
		result, err := base.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	none, alone := with(func(*Request) {}), with(func(r *Request) { r.NegativePrompt2 = new("fog") })
	if !slices.Equal(alone.Latents.Data, none.Latents.Data) || len(alone.Warnings) != 1 || !strings.Contains(alone.Warnings[0], "negative_prompt_2 is not used") {
		t.Errorf("alone: warnings %q", alone.Warnings)
	}
	both := with(func(r *Request) { r.NegativePrompt, r.NegativePrompt2 = new(""), new("fog") })
	unguided := with(func(r *Request) { r.NegativePrompt2, r.Guidance = new("fog"), new(1.0) })
	if slices.Equal(both.Latents.Data, none.Latents.Data) || len(both.Warnings)+len(unguided.Warnings)+len(none.Warnings) > 0 {
		t.Errorf("warnings %q, %q, %q", both.Warnings, unguided.Warnings, none.Warnings)
	}
}

// TestStepsOfLists counts the steps of custom timesteps and sigmas as diffusers does.
func TestStepsOfLists(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	for _, c := range []struct {
		r    Request
		want int
	}{
		{Request{Timesteps: []float64{900, 500, 100}}, 3}, {Request{Timesteps: []float64{900, 500, 100}, Scheduler: "heun"}, 3},
		{Request{Sigmas: []float64{10, 1, 0}}, 2}, {Request{Steps: 9}, 9},
	} {
		if p, err := base.Resolve(c.r); err != nil || p.Steps != c.want {
			t.Errorf("%v: %d steps, %v; want %d", c.r.Timesteps, p.Steps, err, c.want)
		}
	}
}

// TestTensorsAreChecked refuses NaN, Inf, other shapes, and latents that nothing would use.
func TestTensorsAreChecked(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	spoiled := func(value float64, shape ...int) *Tensor {
		x := nn.NewTensor(shape...)
		x.Data[len(x.Data)-1] = float32(value)
		return x
	}
	width, pooled := base.UNet.Context(), base.TextEncoder2.ProjectionDim
	embeddings := func(change func(*Embeddings)) Request {
		e := &Embeddings{nn.NewTensor(2, 9, width), nn.NewTensor(2, pooled), nn.NewTensor(2, 9, width), nn.NewTensor(2, pooled)}
		change(e)
		return Request{Embeddings: e}
	}
	both := embeddings(func(*Embeddings) {})
	both.NegativePrompt = new("fog")
	second := embeddings(func(*Embeddings) {})
	second.NegativePrompt2 = new("fog")
	for want, r := range map[string]Request{
		`negative_prompt is "fog": must be absent where there`: both,
		`negative_prompt is "": must be absent where there`:    second,
		"timesteps is [900 NaN 1]":                             {Timesteps: []float64{900, math.NaN(), 1}},
		"timesteps is [+Inf 1]":                                {Timesteps: []float64{math.Inf(1), 1}},
		"sigmas is [10 NaN 0]":                                 {Sigmas: []float64{10, math.NaN(), 0}},
		"sigmas is [+Inf 0]":                                   {Sigmas: []float64{math.Inf(1), 0}},
		"sigmas is [1]":                                        {Sigmas: []float64{1}},
		"latents is NaN at value 255":                          {Latents: spoiled(math.NaN(), 1, 4, 8, 8)},
		"image is -Inf at value 255":                           {ImageLatents: spoiled(math.Inf(-1), 1, 4, 8, 8)},
		"latents is [1 4 8 8] with 256 values: must be absent": {Latents: nn.NewTensor(1, 4, 8, 8), Image: Blank{Size{64, 64}}},
		"prompt_embeds is absent":                              embeddings(func(e *Embeddings) { e.Prompt = nil }),
		"prompt_embeds is NaN":                                 embeddings(func(e *Embeddings) { e.Prompt = spoiled(math.NaN(), 2, 9, width) }),
		"prompt_embeds is [2 9 7]":                             embeddings(func(e *Embeddings) { e.Prompt = nn.NewTensor(2, 9, 7) }),
		"pooled_prompt_embeds is absent":                       embeddings(func(e *Embeddings) { e.Pooled = nil }),
		"pooled_prompt_embeds is +Inf":                         embeddings(func(e *Embeddings) { e.Pooled = spoiled(math.Inf(1), 2, pooled) }),
		"negative_prompt_embeds is [2 8":                       embeddings(func(e *Embeddings) { e.Negative = nn.NewTensor(2, 8, width) }),
		"negative_prompt_embeds is NaN":                        embeddings(func(e *Embeddings) { e.Negative = spoiled(math.NaN(), 2, 9, width) }),
		"negative_pooled_prompt_embeds is absent":              embeddings(func(e *Embeddings) { e.NegativePooled = nil }),
		"negative_pooled_prompt_embeds is NaN":                 embeddings(func(e *Embeddings) { e.NegativePooled = spoiled(math.NaN(), 2, pooled) }),
		"negative_pooled_prompt_embeds is [2":                  embeddings(func(e *Embeddings) { e.Negative = nil }),
		"prompt_embeds is [2 9 80] with 1 values":              embeddings(func(e *Embeddings) { e.Prompt = &Tensor{Shape: []int{2, 9, width}, Data: []float32{0}} }),
		"prompt_embeds is [0 9 80]":                            embeddings(func(e *Embeddings) { e.Prompt = &Tensor{Shape: []int{0, 9, width}} }),
	} {
		if _, err := base.Resolve(r); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestParametersKeepNothingOfTheRequest changes a request after it was resolved.
func TestParametersKeepNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	r := Request{
		Prompts: []Prompt{{Prompt: "a"}, {Prompt: "b"}}, Seeds: []uint64{1, 2}, Timesteps: []float64{900, 500, 100}, GuidancePerStep: []float64{3, 2},
	}
	p, err := base.Resolve(r)
	if err != nil {
		t.Fatal(err)
	}
	want := p.String()
	r.Prompts[0].Prompt, r.Seeds[0], r.Timesteps[0], r.GuidancePerStep[0] = "c", 7, 7, 7
	if got := p.String(); got != want {
		t.Errorf("%s, was %s", got, want)
	}
}

// TestParametersRoundTrip reads parameters of every kind back from their JSON.
func TestParametersRoundTrip(t *testing.T) {
	t.Parallel()
	var full Parameters
	fill(reflect.ValueOf(&full).Elem(), 1)
	base, refiner := specsOf(t)
	list := []Parameters{{}, full}
	for name, c := range fields(t, newModels(t).open("tiny")) {
		r, spec := c.request(), base
		if c.refiner {
			spec = refiner
		}
		p, err := spec.Resolve(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, p)
	}
	for _, p := range list {
		var back Parameters
		if err := json.Unmarshal([]byte(p.String()), &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, back) {
			t.Errorf("%v comes back as %v", p, back)
		}
	}
}

// TestSizeAsJSON: sizes are written as diffusers' parameters, and requests of the server, have them.
func TestSizeAsJSON(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(Parameters{OriginalSize: Size{Height: 3, Width: 4}})
	if err != nil || !strings.Contains(string(data), `"original_size":[3,4],"target_size":[0,0],"crops_coords_top_left":[0,0],"model"`) {
		t.Errorf("%s, %v", data, err)
	}
	for _, text := range []string{`[1]`, `[1,2,3]`, `{"height":1}`, `[1.5,2]`} {
		var s Size
		if err := json.Unmarshal([]byte(text), &s); err == nil || !strings.Contains(err.Error(), "must be [height, width]") {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
}

// fill gives every field of a value, those of what it points to included, a value of its own.
func fill(v reflect.Value, n int) int {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			n = fill(v.Field(i), n)
		}
		return n
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		return fill(v.Index(1), fill(v.Index(0), n))
	case reflect.Array:
		for i := range v.Len() {
			n = fill(v.Index(i), n)
		}
		return n
	case reflect.Int:
		v.SetInt(int64(n))
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(n))
	case reflect.Float64:
		v.SetFloat(float64(n) + 1.0/3)
	case reflect.String:
		v.SetString(fmt.Sprint("<", n, ">"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Map: // of a block to a number
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("mid").Convert(v.Type().Key()), reflect.ValueOf(float64(n)))
	default:
		panic(v.Kind())
	}
	return n + 1
}
