package server

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// last is the log's last record.
func (b *bench) last() string {
	lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	return lines[len(lines)-1]
}

// What the engine warns of reaches the client, once each, and there is no such field where it warns of nothing.
func TestWarnings(t *testing.T) {
	b := loadedBench(t, nil)
	warn := func(list ...string) func(engine.Job, *image.NRGBA) (*sdxl.Result, error) {
		return func(j engine.Job, img *image.NRGBA) (*sdxl.Result, error) {
			return &sdxl.Result{Images: []*image.NRGBA{img}, Warnings: list}, nil
		}
	}
	b.newID = func() (string, error) { return "11111111-1111-4111-8111-111111111111", nil }
	body := map[string]string{"/generate": plain, "/refine": `{"id":"11111111-1111-4111-8111-111111111111","prompt":"a"}`}
	for _, c := range []struct {
		warnings []string
		want     string
	}{
		{nil, ""},
		{[]string{"cut <here>", "too large", "cut <here>"}, `,"warnings":["cut <here>","too large"]`},
	} {
		b.base.give = warn(c.warnings...)
		b.refiner.give = b.base.give
		for _, path := range []string{"/generate", "/refine"} {
			w := b.do("POST", path, body[path])
			if want := `{"id":"11111111-1111-4111-8111-111111111111"` + c.want + `,"parameters":{`; w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) {
				t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, want)
			}
			if got := strings.Contains(b.last(), "warnings=2"); got != (c.warnings != nil) {
				t.Errorf("%s: %s", path, b.last())
			}
		}
	}
}

// Nothing that a client writes in a body is in the log, whatever becomes of it, unless the log is of level debug.
func TestLogHasNoPrompt(t *testing.T) {
	const secret = "Tr0ub4dor"
	warns := func(b *bench) {
		b.base.give = func(j engine.Job, img *image.NRGBA) (*sdxl.Result, error) {
			return &sdxl.Result{Images: []*image.NRGBA{img}, Warnings: []string{"the prompt was cut; left out: " + j.Request.Prompt}}, nil
		}
	}
	for name, c := range map[string]struct {
		body    string
		status  int
		prepare func(*bench)
	}{
		"computed":           {`{"prompt":"` + secret + `","negative_prompt":"` + secret + `"}`, 200, warns},
		"wrong type":         {`{"prompt":["` + secret + `"]}`, 422, warns},
		"wrong field":        {`{"prompt":"a","width":"` + secret + `","scheduler":"` + secret + `","seed":"` + secret + `","guidance_scale":"` + secret + `"}`, 422, warns},
		"no JSON":            {secret, 422, warns},
		"half of JSON":       {`{"prompt":"` + secret, 422, warns},
		"refused by Resolve": {`{"prompt":"` + secret + `","clip_skip":50}`, 422, warns},
		"refused late": {`{"prompt":"` + secret + `"}`, 422, func(b *bench) {
			b.base.give = func(j engine.Job, _ *image.NRGBA) (*sdxl.Result, error) {
				return nil, fmt.Errorf("late: %w", &sdxl.RequestError{Field: "prompt", Value: j.Request.Prompt, Allowed: "UTF-8 text"})
			}
		}},
	} {
		b := loadedBench(t, nil)
		c.prepare(b)
		if w := b.do("POST", "/generate", c.body); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if log := b.log.String(); strings.Contains(log, secret) {
			t.Errorf("%s: log:\n%s", name, log)
		}
	}
	log := &lockedBuffer{}
	b := loadedBench(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	warns(b)
	id(t, b.do("POST", "/generate", `{"prompt":"`+secret+`"}`))
	if !strings.Contains(log.String(), `level=DEBUG msg="job parameters"`) || !strings.Contains(log.String(), secret) {
		t.Errorf("log of level debug:\n%s", log)
	}
}

// A record names who asked, and of a path no more than the paths that are served have.
func TestLogRecord(t *testing.T) {
	b := loadedBench(t, nil)
	for path, want := range map[string]string{
		"/v1/options":                    "path=/v1/options client=192.0.2.7:4321 status=200 ",
		"/" + strings.Repeat("é", 30000): `path="/` + strings.Repeat("é", 63) + `… (60001 bytes)" client=192.0.2.7:4321 status=404 `,
		"/a%0Alevel=ERROR":               `path="/a\nlevel=ERROR" client=192.0.2.7:4321 status=404 `,
	} {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = "192.0.2.7:4321"
		b.ServeHTTP(httptest.NewRecorder(), r)
		if !strings.Contains(b.last(), want) || len(b.last()) > 400 {
			t.Errorf("%.40s: %s", path, b.last())
		}
	}
}

// Only what somebody has to look after is an error in the log.
func TestLogLevels(t *testing.T) {
	fails := func(err error) func(*bench) {
		return func(b *bench) { b.base.run = func(context.Context, sdxl.Request) error { return err } }
	}
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			prepare func(*bench)
			status  int
			level   string
		}{
			"computed":       {func(*bench) {}, 200, "INFO"},
			"refused":        {fails(&sdxl.RequestError{Field: "x"}), 422, "INFO"},
			"too large":      {fails(kernels.ErrMemory), 507, "WARN"},
			"stopping":       {func(b *bench) { b.draining.Store(true) }, 503, "INFO"},
			"failed":         {fails(errors.New("x")), 500, "ERROR"},
			"folder is full": {func(b *bench) { b.breakStore(&blob.Error{Kind: blob.ErrFull, Reason: "x"}, false) }, 507, "ERROR"},
		} {
			b := loadedBench(t, nil)
			c.prepare(b)
			w := b.do("POST", "/generate", plain)
			if w.Code != c.status || !strings.Contains(b.last(), "level="+c.level+" msg=request") {
				t.Errorf("%s: %d, want %d, and level %s in %s", name, w.Code, c.status, c.level, b.last())
			}
		}
	})
	for k, a := range answers {
		if (a.status == http.StatusInternalServerError) != (a.level == slog.LevelError) && k != storeFull && k != storeBroken && k != journalBroken {
			t.Errorf("kind %s: %+v", k, a)
		}
	}
}

// A list that is wrong in every item does not fill the log.
func TestManyProblems(t *testing.T) {
	b := loadedBench(t, nil)
	w := b.do("POST", "/generate", `{"prompt":"a","timesteps":[{}`+strings.Repeat(",{}", 99)+`]}`)
	if n := strings.Count(w.Body.String(), "float_type"); w.Code != 422 || n != 100 {
		t.Errorf("%d with %d problems", w.Code, n)
	}
	if log := b.log.String(); strings.Count(log, "valid number") != mostLogged || !strings.Contains(log, "; and 92 more") {
		t.Errorf("log:\n%s", log)
	}
}

// A source that has another size when its turn comes, as one that is to be turned upright, does not hide what the client
// is told.
func TestWarningOfTurnedSource(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RequestTimeout = 100 * time.Second })
	b.base.cost, b.refiner.cost = sdxl.Cost{}, perPixel(200)
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	turned := id(t, b.do("POST", "/generate", `{"prompt":"a","width":32,"height":64}`))
	source := id(t, b.do("POST", "/generate", plain))
	end := b.occupy(t)
	answer := b.start(t.Context(), "/refine", `{"id":"`+source+`","prompt":"a","strength":1}`)
	for b.queue.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := os.Rename(b.path(turned), b.path(source)); err != nil {
		t.Fatal(err)
	}
	end()
	w := <-answer
	if !strings.Contains(w.Body.String(), `"warnings":["num_inference_steps: 9, `) || !strings.Contains(w.Body.String(), `"width":32,"height":64`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What pages and probes ask again and again is in the log where it fails; at level debug all of it is.
func TestLogOfPolls(t *testing.T) {
	log := &lockedBuffer{}
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		b := loadedBench(t, func(c *Config) {
			c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
		})
		made := b.red(t, 64, 64)
		for path, want := range map[string]bool{
			"/v1/jobs?limit=1": false, "/page/app.js": false, "/": false, "/healthz": false, "/readyz": false, "/download/" + made + "/thumbnail": false,
			"/v1/jobs?limit=x": true, "/page/none.js": true, "/download/" + made + "/thumbnail?size=0": true, "/v1/options": true, "/download/" + made: true,
		} {
			before := len(log.String())
			b.do("GET", path, "")
			line := log.String()[before:]
			if got := strings.Contains(line, "msg=request"); got != (want || level == slog.LevelDebug) {
				t.Errorf("level %v, %s: log %q", level, path, line)
			}
		}
	}
}
