package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/auth"
)

// limited is an answer of 429 with its headers.
func limited(t *testing.T, w *httptest.ResponseRecorder, limit int, words string) {
	t.Helper()
	h := w.Header()
	if w.Code != 429 || !strings.Contains(w.Body.String(), words) || h.Get("RateLimit-Limit") != fmt.Sprint(limit) ||
		h.Get("RateLimit-Remaining") == "" || h.Get("RateLimit-Reset") == "" || h.Get("Retry-After") != h.Get("RateLimit-Reset") {
		t.Errorf("%d %s %v, want 429, %d and %q", w.Code, w.Body, h, limit, words)
	}
}

// Images of a day are counted when jobs are accepted, given back when these come to nothing, and counted after a
// restart as before.
func TestImagesPerDay(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, ImagesPerDay: 5}, auth.User{Name: "bert", Role: auth.Use})
	synctest.Test(t, func(t *testing.T) {
		change := func(c *Config) { c.Tokens, c.MaxBatch = m.path, 4 }
		b := loadedBench(t, change)
		anna := m.bearer("anna")
		post := func(body string, header ...string) *httptest.ResponseRecorder {
			w := b.ask("POST", "/v1/jobs", body, append(anna, header...)...)
			synctest.Wait()
			return w
		}
		left := func(want string) {
			t.Helper()
			w := b.ask("GET", "/v1/session", "", anna...)
			if !strings.Contains(w.Body.String(), `"images_per_day":{"limit":5,"left":`+want+`}`) {
				t.Errorf("%s, want %s left", w.Body, want)
			}
		}
		left("5")
		// It is midnight of 1 January 2000 in a bubble.
		w := post(`{"prompt":"a"}`)
		if w.Code != 202 || w.Header().Get("RateLimit-Limit") != "5" || w.Header().Get("RateLimit-Remaining") != "4" || w.Header().Get("RateLimit-Reset") != "86400" {
			t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
		}
		b.base.run = func(context.Context, sdxl.Request) error { return errors.New("failed") }
		post(`{"prompt":"a","n":3}`)
		left("4") // a job that failed has no images
		_, stopped := held(b.base)
		open := decodeJob(t, post(`{"prompt":"a","n":2}`), 202)
		left("2")
		limited(t, post(`{"prompt":"a","n":3}`), 5, "Too many images for today: 2 of 5 are left, the request is for 3; the next day begins at 2000-01-02T00:00:00Z")
		b.ask("DELETE", "/v1/jobs/"+open.ID, "", anna...)
		<-stopped
		synctest.Wait()
		left("4")
		b.base.run = nil
		if w := b.ask("POST", "/generate", `{"prompt":"a"}`, anna...); w.Code != 200 || w.Header().Get("RateLimit-Remaining") != "3" {
			t.Errorf("an image that is waited for: %d %v", w.Code, w.Header())
		}
		keyed := decodeJob(t, post(`{"prompt":"a"}`, "Idempotency-Key", "k"), 202)
		if w := b.ask("DELETE", "/v1/jobs/"+keyed.ID+"?purge=true", "", anna...); w.Code != 204 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		left("2") // what was removed was there
		for range 2 {
			keyed = decodeJob(t, post(`{"prompt":"a"}`), 202)
		}
		left("0")
		limited(t, post(`{"prompt":"a"}`), 5, "0 of 5 are left")
		if w := b.ask("POST", "/generate", `{"prompt":"a"}`, anna...); w.Code != 429 {
			t.Errorf("an image that is waited for: %d", w.Code)
		}
		if w := b.ask("POST", "/v1/jobs", `{"prompt":"a","n":4}`, m.bearer("bert")...); w.Code != 202 || w.Header().Get("RateLimit-Limit") != "" {
			t.Errorf("another: %d %v", w.Code, w.Header())
		}
		synctest.Wait()
		time.Sleep(24*time.Hour - time.Second)
		limited(t, post(`{"prompt":"a"}`), 5, "0 of 5 are left")
		time.Sleep(time.Second)
		for range 3 {
			post(`{"prompt":"a"}`)
		}
		w = post(`{"prompt":"a"}`, "Idempotency-Key", "k4")
		if w.Code != 202 || w.Header().Get("RateLimit-Remaining") != "1" {
			t.Errorf("the next day: %d %v", w.Code, w.Header())
		}
		// A restart does not give images back, and a request that came before is answered whatever is left.
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		before := b.config
		b = loadedBench(t, func(c *Config) { change(c); c.Journal, c.Images = before.Journal, before.Images })
		left("1")
		post(`{"prompt":"a"}`)
		limited(t, post(`{"prompt":"a"}`), 5, "0 of 5 are left")
		if w := post(`{"prompt":"a"}`, "Idempotency-Key", "k4"); w.Code != 200 || w.Header().Get("Idempotent-Replayed") != "true" {
			t.Errorf("a request that came before: %d %s", w.Code, w.Body)
		}
	})
}

// A user has so many jobs at once, whichever route they came by.
func TestJobsAtOnce(t *testing.T) {
	users := []auth.User{{Name: "anna", Role: auth.Use, Jobs: 2}, {Name: "bert", Role: auth.Use}}
	m := newMembers(t, users...)
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
		_, stopped := held(b.base)
		anna := m.bearer("anna")
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			defer synctest.Wait()
			return b.ask(method, path, body, anna...)
		}
		first := decodeJob(t, ask("POST", "/v1/jobs", `{"prompt":"a"}`), 202)
		w := ask("POST", "/v1/jobs", `{"prompt":"a"}`)
		if w.Code != 202 || w.Header().Get("RateLimit-Limit") != "2" || w.Header().Get("RateLimit-Remaining") != "0" {
			t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
		}
		limited(t, ask("POST", "/v1/jobs", `{"prompt":"a"}`), 2, "Too many jobs at once: 2 have not ended: at most 2 may")
		if w := ask("POST", "/generate", `{"prompt":"a"}`); w.Code != 429 {
			t.Errorf("an image that is waited for: %d", w.Code)
		}
		var v sessionView
		if err := json.Unmarshal(ask("GET", "/v1/session", "").Body.Bytes(), &v); err != nil || v.Jobs == nil || *v.Jobs != (quotaView{2, 0}) || v.ImagesPerDay != nil {
			t.Errorf("%+v, %v", v, err)
		}
		ask("DELETE", "/v1/jobs/"+first.ID, "")
		<-stopped
		synctest.Wait()
		if w := ask("POST", "/v1/jobs", `{"prompt":"a"}`); w.Code != 202 {
			t.Errorf("after one has ended: %d %s", w.Code, w.Body)
		}
		// Jobs of the time in which there was no limit count once there is one.
		for range 3 {
			if w := b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, m.bearer("bert")...); w.Code != 202 {
				t.Errorf("without limits: %d", w.Code)
			}
		}
		users[1].Jobs = 3
		m.write(t, users...)
		time.Sleep(time.Second)
		limited(t, b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, m.bearer("bert")...), 3, "3 have not ended")
		for _, most := range []int{0, 4} {
			users[1].Jobs = most
			m.write(t, users...)
			time.Sleep(time.Second)
			w := b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, m.bearer("bert")...)
			if most > 0 {
				limited(t, w, most, "4 have not ended")
			} else if w.Code != 202 {
				t.Errorf("without limits again: %d", w.Code)
			}
		}
		b.ask("POST", "/v1/jobs/cancel", `{"all":true}`, m.bearer("bert")...)
		ask("POST", "/v1/jobs/cancel", `{"all":true}`)
	})
}

// No more come in than may, however many come together.
func TestQuotaInACrowd(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, ImagesPerDay: 7})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	codes := make(chan int, 40)
	for range cap(codes) {
		go func() { codes <- b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, m.bearer("anna")...).Code }()
	}
	counts := map[int]int{}
	for range cap(codes) {
		counts[<-codes]++
	}
	if counts[202] != 7 || counts[429] != 33 {
		t.Errorf("answers: %v", counts)
	}
}

// What the queue refuses is not counted.
func TestRefusedIsNotCounted(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, ImagesPerDay: 50})
	b := loadedBench(t, func(c *Config) { c.Tokens, c.Queue = m.path, 1 })
	began, _ := held(b.base)
	anna := m.bearer("anna")
	b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...)
	<-began
	b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...)
	if w := b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...); w.Code != 503 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.ask("GET", "/v1/session", "", anna...); !strings.Contains(w.Body.String(), `"left":48}`) {
		t.Errorf("%s", w.Body)
	}
	b.ask("POST", "/v1/jobs/cancel", `{"all":true}`, anna...)
}

// A job's priority is at most its user's.
func TestPriorityCap(t *testing.T) {
	m := newMembers(t, auth.User{Name: "use", Role: auth.Use}, auth.User{Name: "high", Role: auth.Use, Priority: 7},
		auth.User{Name: "low", Role: auth.Use, Priority: -5}, auth.User{Name: "ops", Role: auth.Admin, Priority: 100})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	for _, c := range []struct {
		name, priority string
		status         int
		want           int
	}{
		{"use", "0", 202, 0}, {"use", "-3", 202, -3}, {"use", "1", 422, 0},
		{"high", "7", 202, 7}, {"high", "8", 422, 7}, {"ops", "100", 202, 100},
		{"low", "null", 202, -5}, {"low", "-6", 202, -6}, {"low", "-4", 422, -5},
	} {
		w := b.ask("POST", "/v1/jobs", `{"prompt":"a","priority":`+c.priority+`}`, m.bearer(c.name)...)
		if c.status == 422 {
			want := fmt.Sprintf(`{"detail":[{"type":"less_than_equal","loc":["body","priority"],"msg":"Input should be less than or equal to %d","input":%s,"ctx":{"le":%d}}]}`, c.want, c.priority, c.want)
			if w.Code != 422 || w.Body.String() != want {
				t.Errorf("%s %s: %d %s", c.name, c.priority, w.Code, w.Body)
			}
		} else if v := decodeJob(t, w, 202); v.Priority != c.want {
			t.Errorf("%s %s: %d", c.name, c.priority, v.Priority)
		}
	}
}
