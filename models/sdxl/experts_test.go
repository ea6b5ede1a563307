package sdxl

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// threeExperts draws by hand with a base, the same base on its latents, and a refiner, each with its part of the
// guidance.
func threeExperts(t *testing.T, base, refiner *Model, r Request, guidance [3][]float64) *Result {
	t.Helper()
	var result *Result
	for i, m := range []*Model{base, base, refiner} {
		q := r
		q.GuidancePerStep = guidance[i]
		q.DenoisingStart, q.DenoisingEnd = []float64{0, 0.4, 0.7}[i], []float64{0.4, 0.7, 0}[i]
		if i > 0 {
			q.ImageLatents = result.Latents
		}
		var err error
		if result, err = m.Generate(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// TestGuidanceOfExperts counts the scales of GuidancePerStep through all experts, as steps are counted.
func TestGuidanceOfExperts(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	experts := []Expert{{base, 0.4}, {base, 0.7}, {Model: refiner}}
	r := scheduled("dpmpp_2m", 1, 48)
	r.Steps = 10
	for _, c := range []struct {
		scales []float64
		parts  [3][]float64
	}{
		{[]float64{9, 8, 7, 6, 1, 1, 5, 4, 3, 2}, [3][]float64{{9, 8, 7, 6}, {1, 1, 5}, {4, 3, 2}}},
		{[]float64{9, 8, 7, 6, 1.5}, [3][]float64{{9, 8, 7, 6}, {1.5}, {1.5}}},
		{[]float64{3}, [3][]float64{{3}, {3}, {3}}},
		{nil, [3][]float64{}},
	} {
		want := threeExperts(t, base, refiner, r, c.parts)
		q := r
		q.GuidancePerStep = c.scales
		got, err := Ensemble(t.Context(), q, experts...)
		if err != nil {
			t.Fatalf("%v: %v", c.scales, err)
		}
		if !slices.Equal(got.Latents.Data, want.Latents.Data) {
			t.Errorf("%v: other latents than by hand", c.scales)
		}
		if !slices.Equal(got.Parameters.GuidancePerStep, c.scales) {
			t.Errorf("parameters have %v, want %v", got.Parameters.GuidancePerStep, c.scales)
		}
	}
	r.GuidancePerStep = make([]float64, 11)
	if _, err := Ensemble(t.Context(), r, experts...); err == nil || !strings.Contains(err.Error(), "guidance_scale is a list of 11") || !strings.Contains(err.Error(), "up to 10") {
		t.Errorf("a list too long: %v", err)
	}
	r.GuidancePerStep, r.Interrupt = nil, -1
	if _, err := Ensemble(t.Context(), r, experts...); err == nil || !strings.Contains(err.Error(), "interrupt is -1") {
		t.Errorf("a negative interrupt: %v", err)
	}
	q := r
	q.Prompt, q.Interrupt = "", 0
	q.Embeddings, _, _ = base.EncodePrompt(t.Context(), 0, Prompt{Prompt: "a bridge"})
	if _, err := Ensemble(t.Context(), q, experts...); err == nil || !strings.Contains(err.Error(), "prompt_embeds") {
		t.Errorf("the base's embeddings for a refiner of another width: %v", err)
	}
}

// TestParametersOfExperts are those of the first one, with what the others alone have, and the same as ResolveEnsemble
// gives beforehand.
func TestParametersOfExperts(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := scheduled("euler", 1, 48)
	r.AestheticScore, r.GuidancePerStep, r.Interrupt = new(7.5), []float64{9, 8, 7, 6}, 5
	got, err := Ensemble(t.Context(), r, Expert{base, 0.4}, Expert{base, 0.7}, Expert{Model: refiner})
	if err != nil {
		t.Fatal(err)
	}
	if p := got.Parameters; *p.AestheticScore != 7.5 || *p.NegativeAestheticScore != 2.5 || p.Interrupt != 5 || p.DenoisingEnd != 0.4 || len(p.Experts) != 3 {
		t.Errorf("parameters %v", p)
	}
	baseSpec, err := ReadSpec("synth:tiny", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	refinerSpec, err := ReadSpec("synth:tiny-refiner", baseSpec, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := ResolveEnsemble(r, []*Spec{baseSpec, baseSpec, refinerSpec}, []float64{0.4, 0.7, 0})
	if err != nil {
		t.Fatal(err)
	}
	after := got.Parameters
	for i := range after.Experts {
		if after.Experts[i].ModelHash == "" {
			t.Errorf("expert %d has no hash", i)
		}
		after.Experts[i].ModelHash = ""
	}
	if p := after.Interrupted; p == nil || *p != (Interruption{5, 6}) {
		t.Errorf("interrupted: %+v", p)
	}
	after.ModelHash, after.Device, after.Precision, after.Interrupted = "", "", "", nil
	if !reflect.DeepEqual(before, after) {
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		t.Errorf("resolved\n%s, the result has\n%s", a, b)
	}
}

// TestExpertsOfAnImage begins with image-to-image, from an image and from latents that are denoised in part: the same
// as by hand.
func TestExpertsOfAnImage(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for name, r := range map[string]Request{
		"an image": with(func(r *Request) {
			r.Image, r.Strength, r.Steps, r.Scheduler = gradient(48, 40), 0.6, 20, "dpmpp_2m_sde"
		}),
		"latents": with(func(r *Request) {
			r.ImageLatents, r.DenoisingStart, r.Steps, r.ImagesPerPrompt = latentsAlone(t, base, small())[0], 0.3, 20, 2
		}),
	} {
		first := r
		first.DenoisingEnd = 0.8
		draft, err := base.Generate(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		second := r
		second.Image, second.ImageLatents, second.DenoisingStart = nil, draft.Latents, 0.8
		want, err := refiner.Generate(t.Context(), second)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Ensemble(t.Context(), r, Expert{base, 0.8}, Expert{Model: refiner})
		if err != nil {
			t.Fatal(err)
		}
		if draft.Steps == 0 || want.Steps == 0 || got.Steps != draft.Steps+want.Steps || !slices.Equal(got.Latents.Data, want.Latents.Data) {
			t.Errorf("%s: %d steps, by hand %d and %d, or other latents", name, got.Steps, draft.Steps, want.Steps)
		}
		if p := got.Parameters; p.Task != ImageToImage || p.Strength != r.Strength || p.DenoisingStart != r.DenoisingStart {
			t.Errorf("%s: parameters %v", name, p)
		}
	}
}

// TestHeunOfExperts: an expert that ends between Heun's two evaluations leaves its step to the next one, which has its
// guidance again; and wherever the run is interrupted, there are images.
func TestHeunOfExperts(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	experts := []Expert{{base, 0.4}, {base, 0.7}, {Model: refiner}}
	r := scheduled("heun", 1, 48)
	r.Steps, r.LatentsOnly, r.GuidancePerStep = 6, false, []float64{9, 8, 7, 6, 5, 4}
	e, err := newEnsemble(r, experts)
	if err != nil {
		t.Fatal(err)
	}
	var scales []float64
	for i, part := range e.resolved {
		if i > 0 && part.guidance[0] != scales[len(scales)-1] {
			t.Errorf("expert %d begins with %v, the one before ended with %v", i, part.guidance[0], scales[len(scales)-1])
		}
		scales = append(scales, part.guidance...)
	}
	if got := slices.Compact(scales); !slices.Equal(got, r.GuidancePerStep) {
		t.Errorf("steps have %v, want %v", got, r.GuidancePerStep)
	}
	for r.Interrupt = 1; r.Interrupt <= r.Steps; r.Interrupt++ {
		got, err := Ensemble(t.Context(), r, experts...)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Images) != 1 {
			t.Errorf("interrupt %d: %d images after %d evaluations", r.Interrupt, len(got.Images), got.Steps)
		}
	}
}

// TestExpertsThatDoNotMatch refuses what has no end of its own, and experts of other latents.
func TestExpertsThatDoNotMatch(t *testing.T) {
	t.Parallel()
	base, refiner := specsOf(t)
	other := *refiner
	other.VAE.ScalingFactor *= 2
	r := Request{Prompt: "a lighthouse"}
	for want, c := range map[string]struct {
		specs []*Spec
		ends  []float64
	}{
		"experts is 2 specs and 1 ends: must be an end for each spec": {[]*Spec{base, refiner}, []float64{0.8}},
		"experts is nil: must be specs":                               {[]*Spec{base, nil}, []float64{0.8, 0}},
		"experts is 1: must be two or more":                           {[]*Spec{base}, []float64{0}},
		"model " + other.Path + ": this refiner does not belong to":   {[]*Spec{base, &other}, []float64{0.8, 0}},
	} {
		if _, err := ResolveEnsemble(r, c.specs, c.ends); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
