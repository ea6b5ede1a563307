package server

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/server/auth"
)

// Users have options, progress and interrupts of their own; an admin sees all.
func TestSDUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, Jobs: 1}, auth.User{Name: "ben", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin})
		b := sdBench(t, func(c *Config) { c.Tokens = m.path })
		b.slowly()
		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			answered <- b.ask("POST", "/sdapi/v1/txt2img", `{"prompt":"p","seed":1,"steps":4,"width":64,"height":64,"n_iter":2,"save_images":true,"force_task_id":"task(a)"}`, m.bearer("anna")...)
		}()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for user, sees := range map[string]bool{"anna": true, "ben": false, "ops": true} {
			w := b.ask("GET", "/sdapi/v1/progress", "", basic(user, m.tokens[user])...)
			if got := strings.Contains(w.Body.String(), `"job_count":2,`); w.Code != 200 || got != sees {
				t.Errorf("%s: %d %s", user, w.Code, w.Body)
			}
			w = b.ask("POST", "/internal/progress", `{"id_task":"task(a)"}`, m.bearer(user)...)
			if got := strings.Contains(w.Body.String(), `"active":true,`); w.Code != 200 || got != sees {
				t.Errorf("%s: %d %s", user, w.Code, w.Body)
			}
		}
		if w := b.ask("POST", "/sdapi/v1/interrupt", "", m.bearer("ben")...); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if a := decodeSD(t, <-answered); len(a.Images) != 2 || a.info.Interrupted { // with one job at once, one after the other
			t.Errorf("%d images, %+v", len(a.Images), a.info)
		}
		for user, knows := range map[string]bool{"anna": true, "ben": false, "ops": true} {
			w := b.ask("POST", "/internal/progress", `{"id_task":"task(a)"}`, m.bearer(user)...)
			if got := strings.Contains(w.Body.String(), `"completed":true,`); w.Code != 200 || got != knows {
				t.Errorf("%s: %d %s", user, w.Code, w.Body)
			}
		}
		if w := b.ask("GET", "/v1/jobs", "", m.bearer("ben")...); w.Body.String() != `{"jobs":[]}` {
			t.Errorf("ben sees %s", w.Body)
		}
		if w := b.ask("GET", "/v1/jobs", "", m.bearer("anna")...); strings.Count(w.Body.String(), `"state":"done"`) != 2 {
			t.Errorf("anna sees %s", w.Body)
		}
		if w := b.ask("POST", "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":3}`, m.bearer("anna")...); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		for user, want := range map[string]string{"anna": "3", "ben": "1"} {
			w := b.ask("GET", "/sdapi/v1/options", "", m.bearer(user)...)
			if !strings.Contains(w.Body.String(), `"CLIP_stop_at_last_layers":`+want+`,`) {
				t.Errorf("%s: %s", user, w.Body)
			}
		}
		w := b.ask("GET", "/sdapi/v1/samplers", "")
		if w.Code != 401 || w.Body.String() != `{"error":"no_token","detail":"Not authenticated","body":"","errors":""}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := b.ask("GET", "/internal/ping", ""); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// The log has no words of a client's.
func TestSDLog(t *testing.T) {
	b := sdBench(t, nil)
	const secret = "hush-hush"
	for _, body := range []string{
		`{"prompt":"hush-hush","sampler_name":"hush-hush"}`, `{"scheduler":"hush-hush"}`, `{"script_name":"hush-hush"}`, `{"alwayson_scripts":{"hush-hush":{}}}`,
		`{"alwayson_scripts":{"controlnet":{"args":"hush-hush"}}}`, `{"override_settings":{"sd_model_checkpoint":"hush-hush"}}`, `{"override_settings":{"sd_vae":"hush-hush"}}`,
		`{"prompt":"<lora:hush-hush:1>"}`, `{"refiner_checkpoint":"hush-hush"}`, `{"styles":["hush-hush"]}`, `{"steps":"hush-hush"}`, `{"hush-hush":1,"steps":1,"width":64,"height":64}`,
	} {
		b.do("POST", "/sdapi/v1/txt2img", body)
	}
	b.do("POST", "/sdapi/v1/img2img", `{"init_images":["hush-hush"]}`)
	b.do("POST", "/sdapi/v1/extra-single-image", `{"image":"hush-hush","upscaler_1":"hush-hush"}`)
	if log := b.log.String(); strings.Contains(log, secret) || strings.Count(log, "msg=request") != 14 {
		t.Errorf("%s", log)
	}
}
