package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/auth"
)

// A job that is computed ends at the next step with its image, and its parameters and the image's texts say so. One that
// waits has none, and one that has ended is left as it is.
func TestInterruptJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "ben", Role: auth.Use})
		b := sdBench(t, func(c *Config) { c.Tokens = m.path })
		b.slowly()
		post := func(path, body string, want int) (v jobView) {
			t.Helper()
			w := b.ask("POST", path, body, m.bearer("anna")...)
			if w.Code != want {
				t.Fatalf("POST %s: %d %s, want %d", path, w.Code, w.Body, want)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil && w.Code < 300 {
				t.Fatal(err)
			}
			return v
		}
		const body = `{"prompt":"a","num_inference_steps":4,"width":64,"height":64,"seed":5}`
		first, second := post("/v1/jobs", body, 202), post("/v1/jobs", body, 202)
		time.Sleep(1500 * time.Millisecond) // in the second step
		synctest.Wait()
		if w := b.ask("POST", "/v1/jobs/"+first.ID+"/interrupt", "", m.bearer("ben")...); w.Code != 404 {
			t.Errorf("another user's: %d %s", w.Code, w.Body)
		}
		if w := b.ask("POST", "/v1/jobs/"+second.ID+"/interrupt", "", m.bearer("anna")...); w.Code != 409 || !strings.Contains(w.Body.String(), "not being computed") {
			t.Errorf("one that waits: %d %s", w.Code, w.Body)
		}
		if w := b.ask("GET", "/v1/jobs/"+first.ID+"/interrupt", "", m.bearer("anna")...); w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		for range 2 {
			if v := post("/v1/jobs/"+first.ID+"/interrupt", "", 202); v.State != job.Running || !v.Stopping {
				t.Errorf("%+v", v)
			}
		}
		events := b.ask("GET", "/v1/jobs/"+first.ID+"/events", "", m.bearer("anna")...).Body.String() // to its end, at second 2
		if strings.Count(events, "event: stopping\ndata: {}\n") != 1 || !strings.Contains(events, "event: done\n") {
			t.Errorf("%s", events)
		}
		v := post("/v1/jobs/"+first.ID+"/interrupt", "", 200)
		var p sdxl.Parameters
		if err := json.Unmarshal(v.Parameters, &p); err != nil || v.State != job.Done || v.Stopping || v.Ended.Sub(v.Created) != 2*time.Second || len(v.Images) != 1 {
			t.Errorf("%v, %+v", err, v)
		}
		if p.Interrupted == nil || *p.Interrupted != (sdxl.Interruption{StepsDone: 2, Steps: 4}) || p.Steps != 4 {
			t.Errorf("%s", v.Parameters)
		}
		file, _, err := b.store.Read(v.Images[0].ID)
		if err != nil || !strings.Contains(string(file), "Interrupted: after 2 of 4 steps") {
			t.Errorf("the image's texts do not say so: %v", err)
		}
		time.Sleep(5 * time.Second) // the second job is not concerned
		synctest.Wait()
		if w := b.ask("GET", "/v1/jobs/"+second.ID, "", m.bearer("anna")...); !strings.Contains(w.Body.String(), `"state":"done"`) || strings.Contains(w.Body.String(), "interrupted") {
			t.Errorf("%s", w.Body)
		}
		if w := b.ask("POST", fmt.Sprintf("/v1/jobs/%s/interrupt", strings.Repeat("0", 36)), "", m.bearer("anna")...); w.Code != 404 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
