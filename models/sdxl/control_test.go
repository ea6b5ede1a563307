package sdxl

import (
	"encoding/json"
	"errors"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// controlled is a small request with a ControlNet.
func controlled(g *controlGoldens, name string) Request {
	r := small()
	r.Steps, r.LatentsOnly = 3, true
	r.Controls = []Control{{Path: g.folder(name), Image: g.picture("a")}}
	return r
}

// TestControlNetsOfRunsInTurns: runs that take turns share programs, and give what each gives alone.
func TestControlNetsOfRunsInTurns(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	first, second := controlled(g, "full"), controlled(g, "full")
	second.Controls[0].Image, second.Prompt, second.Seed = g.picture("b"), "another", new(uint64(9))
	want := []*Result{generated(t, m, first), generated(t, m, second)}
	runs := []*Run{started(t, m, first), started(t, m, second)}
	for runs[0].Next() {
		for _, run := range runs {
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, run := range runs {
		got, err := run.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Latents.Data, want[i].Latents.Data) {
			t.Errorf("run %d differs from what it is alone", i)
		}
	}
	if moved(want[0].Latents, want[1].Latents) < 0.01 {
		t.Error("both runs are alike")
	}
}

// TestControlNetsAreClosed: what runs use stays open, and of the rest a few.
func TestControlNetsAreClosed(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	before := len(m.host.managed)
	run, err := m.Start(t.Context(), controlled(g, "full"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other", "mid", "small", "bgr", "pool"} {
		generated(t, m, controlled(g, name))
	}
	generated(t, m, controlled(g, "small")) // from the cache
	if got := m.sides.all.Len(); got != idleNetworks+2 {
		t.Errorf("%d networks are open, want %d beside the last one and the run's", got, idleNetworks)
	}
	for run.Next() {
		if err := run.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run.Close()
	run.Close()
	if err := m.sides.close(); err != nil {
		t.Fatal(err)
	}
	if got := len(m.host.managed); got != before {
		t.Errorf("%d networks are managed, want %d", got, before)
	}
	failing := controlled(g, "full")
	failing.Controls = append(failing.Controls, Control{Path: g.folder("other"), Image: g.picture("a"), Mode: "canny"})
	if _, err := m.Generate(t.Context(), failing); err == nil {
		t.Error("a mode passes where there is no union")
	}
	for e := m.sides.all.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*sideNetwork); n.uses != 0 {
			t.Errorf("%s has %d users after a request that failed", n.key, n.uses)
		}
	}
}

// TestControlNetsWithOthers: a LoRA on the base changes what a ControlNet steers and not the ControlNet; the refiner of
// an ensemble has none; sub-prompts and previews go with them; a prediction is steered as the step is.
func TestControlNetsWithOthers(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	models := newModels(t)
	m := models.open("tiny")
	r := controlled(g, "full")
	plain := generated(t, m, r)

	adapted := r
	adapted.LoRAs = []LoRA{adapterFile(t, m, "adapter", 1, false)}
	with := generated(t, m, adapted)
	if moved(plain.Latents, with.Latents) < 1e-3 {
		t.Error("a LoRA changes nothing beside a ControlNet")
	}
	if again := generated(t, m, r); !slices.Equal(again.Latents.Data, plain.Latents.Data) {
		t.Error("a LoRA stays on")
	}
	adapted.Controls = nil
	if without := generated(t, m, adapted); moved(with.Latents, without.Latents) < 0.01 {
		t.Error("the ControlNet changes nothing beside a LoRA")
	}

	parts := r
	parts.PromptStyle, parts.Prompt = "a1111", "a cat AND a dog :0.6"
	joined := generated(t, m, parts)
	parts.Controls = nil
	if moved(joined.Latents, generated(t, m, parts).Latents) < 0.01 {
		t.Error("the ControlNet changes nothing of sub-prompts")
	}

	ensemble := r
	ensemble.Steps = 5
	result, err := Ensemble(t.Context(), ensemble, Expert{m, 0.6}, Expert{Model: models.open("tiny-refiner")})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Parameters.Controls) != 1 {
		t.Errorf("the ensemble's parameters have %d ControlNets, want 1", len(result.Parameters.Controls))
	}

	previewed := r
	shown := 0
	previewed.Preview = &Preview{Func: func(int, []*image.NRGBA) { shown++ }}
	if got := generated(t, m, previewed); shown != 3 || !slices.Equal(got.Latents.Data, plain.Latents.Data) {
		t.Errorf("%d previews, want 3, which change nothing", shown)
	}
}

// TestPredictionIsSteered: Predict gives what a step computes, with ControlNets and T2I-Adapters too.
func TestPredictionIsSteered(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	r := controlled(g, "full")
	r.Steps, r.Controls[0].End = 4, 0.5
	want := generated(t, m, r)
	run, err := m.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	x, err := run.Latents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	history := make([][]float32, run.Schedule().History)
	for i := range history {
		history[i] = make([]float32, x.Len())
	}
	for _, step := range run.Schedule().Steps {
		p, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
		if err != nil {
			t.Fatal(err)
		}
		if err := step.Apply(x.Data, p.Guided(5).Data, nil, history); err != nil {
			t.Fatal(err)
		}
		if err := run.Step(t.Context()); err != nil { // Predict is of the next step
			t.Fatal(err)
		}
	}
	if far := moved(want.Latents, x); far > 1e-5 {
		t.Errorf("the loop ends %g from Generate", far)
	}
}

// TestBadControls: errors name the field, the value and what is allowed, and leave the model as it is.
func TestBadControls(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	models := newModels(t)
	m := models.open("tiny")
	img := g.picture("a")
	full := g.folder("full")
	sd15 := filepath.Join(t.TempDir(), "sd15")
	write := func(dir string, change func(map[string]any)) string {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := json.Unmarshal(g.nets["full"].Config, &config); err != nil {
			t.Fatal(err)
		}
		change(config)
		data, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(full, "diffusion_pytorch_model.safetensors"), filepath.Join(dir, "diffusion_pytorch_model.safetensors")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write(sd15, func(c map[string]any) { c["addition_embed_type"] = nil })
	deep := write(filepath.Join(t.TempDir(), "deep"), func(c map[string]any) { c["transformer_layers_per_block"] = []int{1, 1, 9} })
	union := g.folder("union")
	for what, c := range map[string]struct {
		set  func(*Request)
		want string
	}{
		"no path":          {func(r *Request) { r.Controls[0].Path = "" }, "controls[0].path is "},
		"no image":         {func(r *Request) { r.Controls[0].Image = nil }, "controls[0].image is absent: must be an image"},
		"empty image":      {func(r *Request) { r.Controls[0].Image = image.NewNRGBA(image.Rect(0, 0, 0, 5)) }, "at least one pixel"},
		"no file":          {func(r *Request) { r.Controls[0].Path = "/nowhere" }, "no such file"},
		"no config":        {func(r *Request) { r.Controls[0].Path = t.TempDir() }, "config.json"},
		"Stable Diffusion": {func(r *Request) { r.Controls[0].Path = sd15 }, "Stable Diffusion 1 or 2"},
		"too deep":         {func(r *Request) { r.Controls[0].Path = deep }, "transformer_layers_per_block"},
		"order":            {func(r *Request) { r.Controls[0].Start, r.Controls[0].End = 0.6, 0.4 }, "controls[0].start is 0.6: must be a start from 0 on that is below its end, which is 0.4"},
		"beyond":           {func(r *Request) { r.Controls[0].End = 1.5 }, "at most 1"},
		"preprocessor":     {func(r *Request) { r.Controls[0].Preprocessor = "openpose_full" }, "needs a model"},
		"no preprocessor":  {func(r *Request) { r.Controls[0].Preprocessor = "cany" }, "canny"},
		"mode":             {func(r *Request) { r.Controls[0].Mode = "canny" }, "no union"},
		"no mode":          {func(r *Request) { r.Controls[0].Path = union }, "0 (openpose)"},
		"unknown mode":     {func(r *Request) { r.Controls[0].Path, r.Controls[0].Mode = union, "edges" }, "3 (canny, lineart"},
		"ProMax's mode":    {func(r *Request) { r.Controls[0].Path, r.Controls[0].Mode = union, "repaint" }, "ProMax"},
		"mixed union": {func(r *Request) {
			r.Controls = []Control{{Path: union, Image: img, Mode: "canny"}, {Path: union, Image: img, Mode: "depth", Scale: new(0.5)}, {Path: full, Image: img}}
		}, "scale, start and end of the union's first"},
		"mixed guess": {func(r *Request) {
			r.Controls = []Control{{Path: union, Image: img, Mode: "canny"}, {Path: union, Image: img, Mode: "depth", GuessMode: true}}
		}, "guess mode"},
		"too many":    {func(r *Request) { r.Controls = slices.Repeat(r.Controls, maxControls+1) }, "at most 16"},
		"T2I-Adapter": {func(r *Request) { r.Controls, r.T2IAdapters = nil, []T2IAdapter{{Path: full, Image: img}} }, "T2IAdapter"},
		"no adapter image": {func(r *Request) {
			r.Controls, r.T2IAdapters = nil, []T2IAdapter{{Path: full, Image: img}, {Path: full}}
		}, "t2i_adapters[1].image is absent"},
	} {
		r := controlled(g, "full")
		c.set(&r)
		_, err := m.Generate(t.Context(), r)
		var bad *RequestError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", what, err, c.want)
		}
		if err := m.Spec().CheckControls(r); what != "mixed union" && what != "mixed guess" && !errors.As(err, &bad) {
			t.Errorf("%s: CheckControls gives %v", what, err)
		}
	}
	refined := controlled(g, "full")
	refined.Width, refined.Height, refined.Image = 0, 0, img
	if _, err := models.open("tiny-refiner").Generate(t.Context(), refined); err == nil || !strings.Contains(err.Error(), "refiner") {
		t.Errorf("a refiner with a ControlNet: error %v", err)
	}
	if err := m.Spec().CheckControls(controlled(g, "full")); err != nil {
		t.Error(err)
	}
	generated(t, m, controlled(g, "full"))
}

// TestPreprocessedControl: a preprocessor makes the control image at the result's size.
func TestPreprocessedControl(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	r := controlled(g, "full")
	r.Controls[0].Image = g.picture("odd")
	plain := generated(t, m, r)
	r.Controls[0].Preprocessor = "invert"
	inverted := generated(t, m, r)
	if moved(plain.Latents, inverted.Latents) < 0.01 {
		t.Error("inverting the image changes nothing")
	}
	if got := inverted.Parameters.Controls[0].Preprocessor; got != "invert" {
		t.Errorf("the parameters say %q", got)
	}
	n := atSize(g.picture("odd"), Size{40, 48})
	for i := range n.Pix {
		if i%4 < 3 {
			n.Pix[i] = 255 - n.Pix[i]
		}
	}
	r.Controls[0].Image, r.Controls[0].Preprocessor = n, ""
	if byHand := generated(t, m, r); !slices.Equal(byHand.Latents.Data, inverted.Latents.Data) {
		t.Error("the preprocessor gives another image")
	}
}
