package server

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// taken gives the job that a body becomes.
func taken(t *testing.T, path, body string) (got engine.Job) {
	t.Helper()
	b := loadedBench(t, nil)
	b.newSeed = func() uint64 { return 42 }
	b.base.take = func(j engine.Job) { got = j }
	b.refiner.take = b.base.take
	if w := b.do("POST", path, body); w.Code != 200 {
		t.Errorf("%s: %d %s", body, w.Code, w.Body)
	}
	return got
}

// What a body that can be used becomes.
func TestGoodInput(t *testing.T) {
	base := sdxl.Request{Prompt: "a", Seed: new(uint64(42)), Watermark: true}
	with := func(change func(*sdxl.Request)) sdxl.Request {
		r := base
		change(&r)
		return r
	}
	seed := func(v uint64) sdxl.Request { return with(func(r *sdxl.Request) { r.Seed = &v }) }
	for body, want := range map[string]sdxl.Request{
		`{"prompt":"a"}`:                                     base,
		"\uFEFF" + `{"prompt":"a"}`:                          base,
		`{"prompt":"a","unknown":{"x":[1]},"Width":"z"}`:     base,
		`{"prompt":"a","negative_prompt":null,"width":null}`: base,
		`{"prompt":"a","seed":null,"num_inference_steps":null,"guidance_scale":null,"scheduler":null,"height":null}`:                                                     base,
		`{"prompt":"a","prompt_2":null,"negative_prompt_2":null,"timesteps":null,"sigmas":null,"original_size":null,"crops_coords_top_left":null,"refiner":null}`:        base,
		`{"prompt":"a","denoising_end":null,"guidance_rescale":null,"eta":null,"clip_skip":null,"interrupt":null,"aesthetic_score":null,"refiner":false,"strength":"x"}`: base,
		`{"prompt":""}`: with(func(r *sdxl.Request) { r.Prompt = "" }),
		`{"prompt":"\ud83d\ude00 \\ud800 \u00e9"}`:                            with(func(r *sdxl.Request) { r.Prompt = `😀 \ud800 é` }),
		`{"prompt":"a","negative_prompt":""}`:                                 with(func(r *sdxl.Request) { r.NegativePrompt = new("") }),
		`{"prompt":"a","negative_prompt":"ugly"}`:                             with(func(r *sdxl.Request) { r.NegativePrompt = new("ugly") }),
		`{"prompt":"a","width":512,"height":"256"}`:                           with(func(r *sdxl.Request) { r.Width, r.Height = 512, 256 }),
		`{"prompt":"a","width":" 512 "}`:                                      with(func(r *sdxl.Request) { r.Width = 512 }),
		`{"prompt":"a","width":"+0512"}`:                                      with(func(r *sdxl.Request) { r.Width = 512 }),
		`{"prompt":"a","width":"5_12.00"}`:                                    with(func(r *sdxl.Request) { r.Width = 512 }),
		`{"prompt":"a","width":512.0}`:                                        with(func(r *sdxl.Request) { r.Width = 512 }),
		`{"prompt":"a","width":2.048e3,"height":8}`:                           with(func(r *sdxl.Request) { r.Width, r.Height = 2048, 8 }),
		`{"prompt":"a","num_inference_steps":"200"}`:                          with(func(r *sdxl.Request) { r.Steps = 200 }),
		`{"prompt":"a","num_inference_steps":true}`:                           with(func(r *sdxl.Request) { r.Steps = 1 }),
		`{"prompt":"a","guidance_scale":7}`:                                   with(func(r *sdxl.Request) { r.Guidance = new(7.0) }),
		`{"prompt":"a","guidance_scale":" 7.5e0 "}`:                           with(func(r *sdxl.Request) { r.Guidance = new(7.5) }),
		`{"prompt":"a","guidance_scale":false}`:                               with(func(r *sdxl.Request) { r.Guidance = new(0.0) }),
		`{"prompt":"a","guidance_scale":[7,"6.5",0]}`:                         with(func(r *sdxl.Request) { r.GuidancePerStep = []float64{7, 6.5, 0} }),
		`{"prompt":"a","seed":18446744073709551615}`:                          seed(1<<64 - 1),
		`{"prompt":"a","seed":"9007199254740993"}`:                            seed(1<<53 + 1),
		`{"prompt":"a","seed":9007199254740993}`:                              seed(1<<53 + 1),
		`{"prompt":"a","prompt_style":"a1111","emphasis":"nonorm"}`:           with(func(r *sdxl.Request) { r.PromptStyle, r.Emphasis = prompt.A1111, sdxl.EmphasisNoNorm }),
		`{"prompt":"a","prompt_style":null,"emphasis":null}`:                  base,
		`{"prompt":"a","seed":0}`:                                             seed(0),
		`{"prompt":"a","seed":-0}`:                                            seed(0),
		`{"prompt":"a","seed":-1}`:                                            base, // random, as without one
		`{"prompt":"a","seed":"-1"}`:                                          base,
		`{"prompt":"a","seed":-1.0}`:                                          base,
		`{"prompt":"a","scheduler":"ddim","eta":0.5}`:                         with(func(r *sdxl.Request) { r.Scheduler, r.Eta = "ddim", new(0.5) }),
		`{"prompt":"a","scheduler":"euler_simple","preset":"turbo"}`:          with(func(r *sdxl.Request) { r.Scheduler, r.Preset = "euler_simple", "turbo" }),
		`{"prompt":"a","preset":null,"eta":0}`:                                with(func(r *sdxl.Request) { r.Eta = new(0.0) }),
		`{"prompt":"a","prompt_2":"b","negative_prompt_2":""}`:                with(func(r *sdxl.Request) { r.Prompt2, r.NegativePrompt2 = "b", new("") }),
		`{"prompt":"a","timesteps":[999,"500",1.0]}`:                          with(func(r *sdxl.Request) { r.Timesteps = []float64{999, 500, 1} }),
		`{"prompt":"a","sigmas":[14.6,1]}`:                                    with(func(r *sdxl.Request) { r.Sigmas = []float64{14.6, 1} }),
		`{"prompt":"a","subseed":9,"subseed_strength":0.25}`:                  with(func(r *sdxl.Request) { r.Subseed, r.SubseedStrength = new(uint64(9)), 0.25 }),
		`{"prompt":"a","guidance_rescale":0.7,"clip_skip":"1","interrupt":5}`: with(func(r *sdxl.Request) { r.GuidanceRescale, r.ClipSkip, r.Interrupt = new(0.7), 1, 5 }),
		`{"prompt":"a","denoising_end":0.5}`:                                  with(func(r *sdxl.Request) { r.DenoisingEnd = 0.5 }),
		`{"prompt":"a","original_size":[512,"768"],"target_size":[1024,1024]}`: with(func(r *sdxl.Request) {
			r.OriginalSize, r.TargetSize = sdxl.Size{Height: 512, Width: 768}, sdxl.Size{Height: 1024, Width: 1024}
		}),
		`{"prompt":"a","negative_original_size":[1,2],"negative_target_size":[3,4]}`: with(func(r *sdxl.Request) {
			r.NegativeOriginalSize, r.NegativeTargetSize = sdxl.Size{Height: 1, Width: 2}, sdxl.Size{Height: 3, Width: 4}
		}),
		`{"prompt":"a","crops_coords_top_left":[5,6],"negative_crops_coords_top_left":[7,0]}`: with(func(r *sdxl.Request) { r.CropTop, r.CropLeft, r.NegativeCropTop = 5, 6, 7 }),
		`{"prompt":"a","aesthetic_score":7.5,"negative_aesthetic_score":0}`:                   with(func(r *sdxl.Request) { r.AestheticScore, r.NegativeAestheticScore = new(7.5), new(0.0) }),
	} {
		if diff := cmp.Diff(engine.Job{Model: engine.Base, Request: want}, withoutParameters(taken(t, "/generate", body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

// withoutParameters is a job as its body gave it, but for the name of its model.
func withoutParameters(j engine.Job) engine.Job {
	j.Name, j.OnLoading = "", nil
	j.Parameters, j.Request.OnComputed, j.Request.Progress, j.Request.Stop = sdxl.Parameters{}, nil, nil, nil
	return j
}

// POST /generate computes an ensemble where it is asked to.
func TestEnsemble(t *testing.T) {
	for body, end := range map[string]float64{`{"prompt":"a","refiner":true}`: 0.8, `{"prompt":"a","refiner":"yes","denoising_end":"0.5"}`: 0.5} {
		j := taken(t, "/generate", body)
		if j.Model != engine.Ensemble || j.DenoisingEnd != end || j.Request.DenoisingEnd != 0 {
			t.Errorf("%s: %+v", body, j)
		}
		if x := j.Parameters.Experts; len(x) != 2 || x[0].Model != "fake-base" || x[1].Model != "fake-refiner" || x[0].DenoisingEnd != end {
			t.Errorf("%s: %v", body, j.Parameters)
		}
	}
}

// POST /refine is for the refiner, or the base.
func TestRefineInput(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", `{"prompt":"a","width":128}`))
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	b.refiner.take = b.base.take
	for more, want := range map[string]engine.Job{
		``:                                  {Model: engine.Refiner},
		`,"refiner":false,"strength":0.5`:   {Model: engine.Base, Request: sdxl.Request{Strength: 0.5}},
		`,"refiner":1,"width":8,"height":8`: {Model: engine.Refiner}, // the size is the image's
		`,"denoising_start":0.5,"denoising_end":0.75`:     {Model: engine.Refiner, Request: sdxl.Request{DenoisingStart: 0.5, DenoisingEnd: 0.75}},
		`,"aesthetic_score":4,"num_inference_steps":"12"`: {Model: engine.Refiner, Request: sdxl.Request{AestheticScore: new(4.0), Steps: 12}},
	} {
		id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"b","seed":1`+more+`}`))
		img, p := got.Request.Image, got.Parameters
		if img.Bounds().Dx() != 128 || p.Width != 128 || p.Height != 32 || p.Task != sdxl.ImageToImage {
			t.Errorf("%s: an image of %v, %v", more, img.Bounds(), p)
		}
		want.Request.Prompt, want.Request.Seed, want.Request.Watermark, want.Request.Image = "b", new(uint64(1)), true, img
		if diff := cmp.Diff(want, withoutParameters(got), cmp.Comparer(func(a, b image.Image) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", more, diff)
		}
	}
}

// An image of another size that takes the source's place while its request waits is resolved anew.
func TestSourceIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.MaxPixels = 128 * 128 })
		var ids []string
		for _, size := range []string{`"width":64,"height":64`, `"width":128,"height":64`} {
			ids = append(ids, id(t, b.do("POST", "/generate", `{"prompt":"a",`+size+`}`)))
		}
		var got engine.Job
		b.refiner.take = func(j engine.Job) { got = j }
		var huge bytes.Buffer
		if err := png.Encode(&huge, image.NewGray(image.Rect(0, 0, 136, 128))); err != nil {
			t.Fatal(err)
		}
		wide, err := os.ReadFile(b.path(ids[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			file []byte
			code int
		}{{"wider", wide, 200}, {"too large", huge.Bytes(), 422}} {
			open := gate(b.base)
			first := b.start(t.Context(), "/generate", plain)
			synctest.Wait()
			second := b.start(t.Context(), "/refine", `{"id":"`+ids[0]+`","prompt":"a"}`)
			synctest.Wait()
			if err := os.WriteFile(b.path(ids[0]), c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			calls := b.refiner.calls.Load()
			open()
			id(t, <-first)
			if w := <-second; w.Code != c.code || (b.refiner.calls.Load() != calls) != (c.code == 200) {
				t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
			}
			if c.code == 200 && (got.Parameters.Width != 128 || got.Request.Image.Bounds().Dx() != 128) {
				t.Errorf("%s: %v", c.name, got.Parameters)
			}
		}
	})
}

// The answer has the parameters with which the image was made, by diffusers' names.
func TestParametersInAnswer(t *testing.T) {
	b := loadedBench(t, nil)
	w := b.do("POST", "/generate", `{"prompt":"a <b>","seed":7,"num_inference_steps":3}`)
	var answer struct {
		ID         string
		Parameters map[string]any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for name, want := range map[string]any{
		"seed": 7.0, "num_inference_steps": 3.0, "width": 64.0, "height": 32.0, "guidance_scale": 5.0, "scheduler": "euler", "scheduler_class": "EulerDiscreteScheduler",
		"task": "text-to-image", "model": "fake-base",
	} {
		if answer.Parameters[name] != want {
			t.Errorf("%s is %v, want %v", name, answer.Parameters[name], want)
		}
	}
}

// A value that no rule of the fields tells is wrong is answered with the model's reason.
func TestReasons(t *testing.T) {
	b := loadedBench(t, nil)
	for body, want := range map[string]string{
		`{"prompt":"a","timesteps":[100,500]}`:             `must be timesteps that the scheduler can run: scheduler: EulerDiscreteScheduler: timestep 1 is 500 after 100; custom timesteps must descend`,
		`{"prompt":"a","sigmas":[1]}`:                      `must be sigmas that the scheduler can run: scheduler: 1 sigmas; allowed: at least 2, the final one included`,
		`{"prompt":"a","timesteps":[9,1],"sigmas":[10,0]}`: `must be timesteps that the scheduler can run: scheduler: 2 of Steps, Timesteps and Sigmas given; allowed: exactly one`,
	} {
		var answer struct{ Detail []problem }
		w := b.do("POST", "/generate", body)
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 422 || answer.Detail[0].Msg != "Value error, "+want {
			t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
}
