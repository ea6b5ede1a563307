package server

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// perPixel is a device that takes a second for a step of so many pixels with guidance, and none for the rest.
func perPixel(pixels float64) sdxl.Cost { return sdxl.Cost{Step: sdxl.Polynomial{0, 1 / pixels}} }

// tooMany is the answer about steps.
func tooMany(input string, most int) string {
	return fmt.Sprintf(`{"detail":[{"type":"less_than_equal","loc":["body","num_inference_steps"],"msg":"Input should be less than or equal to %d","input":%s,"ctx":{"ge":1,"le":%d}}]}`, most, input, most)
}

// tooBig is the answer about a size.
func tooBig(field, input, size string, pixels, most int) string {
	return fmt.Sprintf(`{"detail":[{"type":"value_error","loc":["body","%s"],"msg":"Value error, %s is %d pixels: must be at most %d","input":%s,"ctx":{"max_pixels":%d}}]}`, field, size, pixels, most, input, most)
}

// What is above a limit is refused before it is computed, by a limit that was given or one that the device's speed
// makes.
func TestLimits(t *testing.T) {
	given := func(c *Config) { c.MaxPixels, c.MaxSteps = 512*512, 30 }
	wide := func(c *Config) { c.MaxPixels, c.MaxSteps = 4096*4096, 1000 }
	timed := func(c *Config) { c.RequestTimeout = 100 * time.Second }
	fast, slow, slowest := sdxl.Cost{}, perPixel(100000), perPixel(100)
	cost := func(c sdxl.Cost) *sdxl.Cost { return &c }
	steps := func(n int, more string) string {
		return fmt.Sprintf(`{"prompt":"a","num_inference_steps":%d%s}`, n, more)
	}
	size := func(w, h int, more string) string {
		return fmt.Sprintf(`{"prompt":"a","width":%d,"height":%d%s}`, w, h, more)
	}
	for _, c := range []struct {
		change func(*Config)
		cost   *sdxl.Cost
		body   string
		want   string // "" is 200
	}{
		{given, &fast, steps(30, ""), ""},
		{given, &fast, steps(31, ""), tooMany("31", 30)},
		{given, &fast, `{"prompt":"a","num_inference_steps":"31"}`, tooMany(`"31"`, 30)},
		{given, &fast, size(512, 512, ""), ""},
		{given, &fast, size(2048, 128, ""), ""},
		{given, &fast, size(512, 520, ""), tooBig("height", "520", "512×520", 266240, 262144)},
		{given, &fast, size(1024, 512, ""), tooBig("width", "1024", "1024×512", 524288, 262144)},
		{given, &fast, `{"prompt":"a","height":2048,"width":"136"}`, tooBig("height", "2048", "136×2048", 278528, 262144)},
		{given, &slowest, size(512, 512, `,"num_inference_steps":30`), ""}, // who gives limits answers for them
		{wide, &fast, size(4096, 64, `,"num_inference_steps":1000`), ""},
		{wide, &fast, size(4104, 8, ""), `{"detail":[{"type":"less_than_equal","loc":["body","width"],"msg":"Input should be less than or equal to 4096","input":4104,"ctx":{"ge":8,"le":4096,"multiple_of":8}}]}`},

		// 100 s are 38.1 steps of 512×512 with guidance.
		{timed, &fast, size(2048, 2048, `,"num_inference_steps":200`), ""},
		{timed, &fast, size(2048, 2048, `,"num_inference_steps":201`), tooMany("201", 200)},
		{timed, &slow, size(512, 512, `,"num_inference_steps":38`), ""},
		{timed, &slow, size(512, 512, `,"num_inference_steps":39`), tooMany("39", 38)},
		{timed, &slow, size(256, 512, `,"num_inference_steps":76`), ""},
		{timed, &slow, size(256, 512, `,"num_inference_steps":77`), tooMany("77", 76)},
		{timed, &slow, size(512, 512, `,"num_inference_steps":20,"scheduler":"heun"`), tooMany("20", 19)},
		{timed, &slow, size(512, 512, `,"num_inference_steps":76,"guidance_scale":1`), ""},
		{timed, &slow, size(512, 512, `,"num_inference_steps":77,"guidance_scale":1`), tooMany("77", 76)},
		{timed, cost(sdxl.Cost{Step: slow.Step, Decode: sdxl.Polynomial{50}}), size(512, 512, `,"num_inference_steps":20`), tooMany("20", 19)},
		{func(c *Config) {}, &slow, size(512, 512, `,"num_inference_steps":200`), ""}, // without a timeout there is time
		// 100 s are one step of 10,000 pixels: of 64×64 two, of 128×128 none.
		{timed, &slowest, size(64, 64, `,"num_inference_steps":2`), ""},
		{timed, &slowest, size(128, 128, ""), tooBig("width", "128", "128×128", 16384, 4096)},
		{timed, &slowest, size(64, 64, `,"num_inference_steps":1,"scheduler":"heun"`), ""},
		{func(c *Config) { timed(c); c.MaxPixels = 1 << 20 }, &slowest, size(128, 256, ""),
			`{"detail":[{"type":"value_error","loc":["body","height"],"msg":"Value error, 128×256: one step takes longer than the 1m40s that a request may take here","input":256}]}`},
	} {
		b := newBench(t, c.change)
		b.base.cost = *c.cost
		if err := b.Load(); err != nil {
			t.Fatal(err)
		}
		w := b.do("POST", "/generate", c.body)
		switch {
		case c.want == "" && w.Code != 200, c.want != "" && (w.Code != 422 || w.Body.String() != c.want):
			t.Errorf("%s: %d %s, want %s", c.body, w.Code, w.Body, c.want)
		case (b.base.calls.Load() == 0) != (c.want != ""):
			t.Errorf("%s: %d images were computed", c.body, b.base.calls.Load())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	b := newBench(t, func(c *Config) { timed(c); c.Specs.Base = heunBase(t) })
	b.base.cost = slow
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for scheduler, most := range map[string]int{"": 19, `,"scheduler":"euler"`: 38} {
		if w := b.do("POST", "/generate", size(512, 512, `,"num_inference_steps":39`+scheduler)); w.Body.String() != tooMany("39", most) {
			t.Errorf("a model whose own scheduler is Heun%s: %d %s", scheduler, w.Code, w.Body)
		}
	}
}

// Steps of one's own count as num_inference_steps do, and those of an ensemble take what each model takes for its part.
func TestLimitsOfOtherSteps(t *testing.T) {
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprint(999-i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	tooLong := func(field, input string, most, n int) string {
		return fmt.Sprintf(`{"detail":[{"type":"too_long","loc":["body","%s"],"msg":"List should have at most %d items after validation, not %d","input":%s,"ctx":{"actual_length":%d,"field_type":"List","max_length":%d}}]}`,
			field, most, n, input, n, most)
	}
	b := newBench(t, func(c *Config) { c.RequestTimeout = 100 * time.Second })
	b.base.cost, b.refiner.cost = perPixel(1024), perPixel(256) // 2 s and 8 s a step
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for more, want := range map[string]string{
		`"num_inference_steps":50`:                                    "",
		`"num_inference_steps":51`:                                    tooMany("51", 50),
		`"timesteps":` + list(50):                                     "",
		`"timesteps":` + list(51):                                     tooLong("timesteps", list(51), 50, 51),
		`"sigmas":` + list(51):                                        tooLong("sigmas", list(51), 50, 51),
		`"num_inference_steps":100,"denoising_end":0.5`:               "",
		`"num_inference_steps":101,"denoising_end":0.5`:               tooMany("101", 100),
		`"num_inference_steps":20,"refiner":true,"denoising_end":0.5`: "", // 10 of 2 s and 10 of 8 s
		`"num_inference_steps":21,"refiner":true,"denoising_end":0.5`: tooMany("21", 20),
		`"num_inference_steps":31,"refiner":true`:                     "", // 3.2 s each
		`"num_inference_steps":32,"refiner":true`:                     tooMany("32", 31),
		`"num_inference_steps":50,"guidance_scale":[0,5,0]`:           "",
		`"num_inference_steps":51,"guidance_scale":[0,5,0]`:           tooMany("51", 50),
		`"num_inference_steps":100,"guidance_scale":[1,0.5]`:          "",
	} {
		w := b.do("POST", "/generate", `{"prompt":"a",`+more+`}`)
		if want == "" && w.Code != 200 || want != "" && (w.Code != 422 || w.Body.String() != want) {
			t.Errorf("%.60s: %d %s, want %s", more, w.Code, w.Body, want)
		}
	}
}

// A request that names no steps gets as many as there may be, with a warning.
func TestOwnStepsAboveLimit(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RequestTimeout = 100 * time.Second })
	b.base.cost, b.refiner.cost = perPixel(1000), perPixel(200)
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const own = `"warnings":["num_inference_steps: 48, the most that this server does at 64×32, in place of the model's own 50"],`
	w := b.do("POST", "/generate", plain)
	made := id(t, w)
	if !strings.Contains(w.Body.String(), own) {
		t.Errorf("%s", w.Body)
	}
	_, texts, err := imagefile.Decode(b.do("GET", "/download/"+made, "").Body.Bytes(), 64)
	if err != nil {
		t.Fatal(err)
	}
	stored := ""
	for _, text := range texts {
		if text.Key == "num_inference_steps" {
			stored = text.Value
		}
	}
	if stored != "48" {
		t.Errorf("the image says %q steps, want 48: %v", stored, texts)
	}
	if log := b.log.String(); !strings.Contains(log, `msg="limits of a request" max_pixels=65536 max_steps="48 at 64×32, 1 at 256×256" max_batch=1 request_timeout=1m40s`) ||
		!strings.Contains(log, "own_steps=50 steps=48") {
		t.Errorf("log:\n%s", log)
	}

	// The refiner takes five times as long, and has 20 steps, of which a request's strength is computed.
	for _, c := range []struct {
		more string
		want string // in the answer
	}{
		{``, `{"id":"`}, // strength 0.2: 48 steps there may be
		{`,"strength":1`, `"warnings":["num_inference_steps: 9, the most that this server does at 64×32, in place of the model's own 20"],`},
		{`,"strength":1,"num_inference_steps":9`, `{"id":"`},
		{`,"strength":1,"num_inference_steps":10`, tooMany("10", 9)},
		{`,"num_inference_steps":48`, `{"id":"`},
		{`,"num_inference_steps":49`, tooMany("49", 48)},
	} {
		b.refiner.calls.Store(0)
		w := b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"`+c.more+`}`)
		if !strings.Contains(w.Body.String(), c.want) || strings.Contains(w.Body.String(), "warnings") != strings.Contains(c.want, "warnings") {
			t.Errorf("%s: %d %s, want %s", c.more, w.Code, w.Body, c.want)
		}
		if (w.Code == 200) != (b.refiner.calls.Load() == 1) {
			t.Errorf("%s: %d, and %d images were computed", c.more, w.Code, b.refiner.calls.Load())
		}
	}
}

// An image that was made when more pixels were allowed is not refined.
func TestSourceAboveLimit(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", `{"prompt":"a","width":128,"height":256}`))
	later := loadedBench(t, func(c *Config) { c.Images, c.MaxPixels = b.images, 16384 })
	w := later.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`)
	if want := tooBig("id", `"`+made+`"`, "128×256", 32768, 16384); w.Code != 422 || w.Body.String() != want || later.refiner.calls.Load() > 0 {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
}

// The slowest device makes the limits, as it is after it was loaded again.
func TestLimitsOfSeveralDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := newBench(t, func(c *Config) {
			change(c)
			c.Devices, c.RequestTimeout = []string{"cuda:0", "cuda:1"}, 100*time.Second
			load := c.Load
			c.Load = func(device int) (engine.Engine, error) {
				e, err := load(device)
				if len(f.loads(device)) == 1 {
					e.(pair).base.cost = perPixel(float64(1000 * (device + 1)))
				}
				return e, err
			}
		})
		if err := b.Load(); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		body := `{"prompt":"a","num_inference_steps":200}` // of 2048 pixels
		if w := b.do("POST", "/generate", body); w.Body.String() != tooMany("200", 48) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		for device, want := range []int{97, 200} {
			f.loads(device)[0].lost.Store(&errFault)
			b.do("GET", "/readyz", "")
			synctest.Wait()
			if w := b.do("POST", "/generate", body); want < 200 && w.Body.String() != tooMany("200", want) || want == 200 && w.Code != 200 {
				t.Errorf("device %d is another: %d %s", device, w.Code, w.Body)
			}
		}
	})
}

// An engine is asked for no more images at once than there may be.
func TestMaxBatch(t *testing.T) {
	for most, want := range map[int]string{0: "1 to 1", 2: "1 to 2"} {
		b := loadedBench(t, func(c *Config) { c.MaxBatch = most })
		j := engine.Job{Model: engine.Base, Request: sdxl.Request{ImagesPerPrompt: max(1, most)}}
		if _, err := b.resolve(&fields{}, &j); err != nil {
			t.Error(err)
		}
		j.Request.ImagesPerPrompt++
		var bad *sdxl.RequestError
		if _, err := b.resolve(&fields{}, &j); !errors.As(err, &bad) || bad.Field != "num_images_per_prompt" || bad.Allowed != want || bad.Value != j.Request.ImagesPerPrompt {
			t.Errorf("MaxBatch %d, %d images: %v", most, j.Request.ImagesPerPrompt, err)
		}
	}
}

// A request that computes for too long is cancelled and answered, nothing of it stays, and its device goes to the next.
// Waiting does not count.
func TestRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.RequestTimeout = 10 * time.Minute })
		made := id(t, b.do("POST", "/generate", plain))
		var cancelled []time.Duration
		takes := 11 * time.Minute
		b.base.run = func(ctx context.Context, _ sdxl.Request) error {
			began := time.Now()
			select {
			case <-time.After(takes):
				return nil
			case <-ctx.Done():
				cancelled = append(cancelled, time.Since(began))
				return ctx.Err()
			}
		}
		b.refiner.run = b.base.run
		var answers []<-chan *httptest.ResponseRecorder
		for path, body := range map[string]string{"/generate": plain, "/refine": `{"id":"` + made + `","prompt":"a"}`} {
			answers = append(answers, b.start(t.Context(), path, body))
			synctest.Wait()
		}
		for _, a := range answers {
			w := <-a
			if w.Code != 504 || w.Body.String() != `{"detail":"The image took longer than a request may: at most 10m0s (-request-timeout); ask for fewer steps or a smaller image"}` {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if !strings.Contains(b.log.String(), "level=WARN msg=request method=POST") {
				t.Errorf("log:\n%s", b.log)
			}
		}
		if len(cancelled) != 2 || cancelled[0] != 10*time.Minute || cancelled[1] != 10*time.Minute || b.imageCount(t) != 1 {
			t.Errorf("cancelled after %v, %d files", cancelled, b.imageCount(t))
		}
		takes = 9 * time.Minute
		answers = nil
		for range 3 { // the last ends 27 minutes after it came
			answers = append(answers, b.start(t.Context(), "/generate", plain))
			synctest.Wait()
		}
		for _, a := range answers {
			id(t, <-a)
		}
	})
}
