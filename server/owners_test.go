package server

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/server/auth"
)

// A user sees, reads and cancels what is its own; an admin what there is.
func TestOwners(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "bert", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	old := b.big(t, 100) // an image that was there before the tokens
	anna, bert, ops := m.bearer("anna"), m.bearer("bert"), m.bearer("ops")
	done := decodeJob(t, b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...), 202)
	b.until(t, anna, done.ID, "done")
	done = decodeJob(t, b.ask("GET", "/v1/jobs/"+done.ID, "", anna...), 200)
	if done.Owner != "anna" {
		t.Errorf("the owner is %q", done.Owner)
	}
	made := done.Images[0].ID
	attached := id(t, b.ask("POST", "/generate", `{"prompt":"a"}`, anna...))
	upload := func() string {
		w := b.upload("image/png", pngOf(t, 64, 64), anna...)
		var v imageView
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return v.ID
	}
	uploaded := upload()
	_, stopped := held(b.base)
	running := decodeJob(t, b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...), 202)

	for _, c := range []struct {
		method, path, body  string
		anna, bert, ops     int
		annaHas, bertHasNot string // in the answers
	}{
		{"GET", "/v1/jobs/" + done.ID, "", 200, 404, 200, "", "anna"},
		{"GET", "/v1/jobs/" + done.ID + "/events", "", 200, 404, 200, "event: done", "event"},
		{"GET", "/v1/jobs", "", 200, 200, 200, done.ID, done.ID},
		{"GET", "/v1/jobs?state=running,queued", "", 200, 200, 200, running.ID, running.ID},
		{"GET", "/download/" + made, "", 200, 404, 200, "", ""},
		{"GET", "/download/" + attached, "", 200, 404, 200, "", ""},
		{"GET", "/download/" + uploaded, "", 200, 404, 200, "", ""},
		{"GET", "/download/" + old, "", 404, 404, 200, "", ""},
		{"POST", "/v1/jobs", `{"prompt":"a","image":"` + made + `"}`, 202, 404, 202, "", ""},
		{"POST", "/v1/jobs", `{"prompt":"a","image":"` + uploaded + `"}`, 202, 404, 202, "", ""},
		{"POST", "/v1/jobs", `{"prompt":"a","image":"` + made + `","mask":"` + uploaded + `"}`, 202, 404, 202, "", ""},
		{"POST", "/v1/preprocess", `{"image":"` + uploaded + `"}`, 200, 404, 200, "PNG", "PNG"},
		{"POST", "/v1/jobs/cancel", `{"ids":["` + done.ID + `"]}`, 200, 200, 200, `"ended":["` + done.ID, `"ended":["` + done.ID},
		{"DELETE", "/v1/jobs/" + done.ID, "", 200, 404, 200, "", ""},
	} {
		for _, who := range []struct {
			name   string
			header []string
			status int
			has    string
			hasNot string
		}{{"bert", bert, c.bert, "", c.bertHasNot}, {"anna", anna, c.anna, c.annaHas, ""}, {"ops", ops, c.ops, c.annaHas, ""}} {
			w := b.ask(c.method, c.path, c.body, who.header...)
			if w.Code != who.status || !strings.Contains(w.Body.String(), who.has) || who.hasNot != "" && strings.Contains(w.Body.String(), who.hasNot) {
				t.Errorf("%s: %s %s %s: %d %.300s, want %d", who.name, c.method, c.path, c.body, w.Code, w.Body, who.status)
			}
		}
	}
	if w := b.ask("POST", "/refine", `{"prompt":"a","id":"`+made+`"}`, bert...); w.Code != 404 || w.Body.String() != `{"detail":"Image not found"}` {
		t.Errorf("another's image is refined: %d %s", w.Code, w.Body)
	}
	if w := b.ask("DELETE", "/v1/jobs/"+done.ID+"?purge=true", "", bert...); w.Code != 404 {
		t.Errorf("another's job is removed: %d", w.Code)
	}
	if w := b.ask("POST", "/v1/jobs/cancel", `{"all":true}`, bert...); w.Code != 200 || strings.Contains(w.Body.String(), running.ID) || len(stopped) > 0 {
		t.Errorf("another's job is cancelled: %d %s", w.Code, w.Body)
	}
	if w := b.ask("POST", "/v1/jobs/cancel", `{"all":true}`, anna...); w.Code != 200 || !strings.Contains(w.Body.String(), running.ID) {
		t.Errorf("all of one's own: %d %s", w.Code, w.Body)
	}
	b.ask("POST", "/v1/jobs/cancel", `{"all":true}`, ops...)
	if open, err := b.journal.Open(); err != nil || len(open) > 0 {
		t.Errorf("an admin cancels all: %d are left, %v", len(open), err)
	}
}

// until waits for a state of a user's job.
func (b *bench) until(t *testing.T, header []string, id, state string) {
	t.Helper()
	for range 10000 {
		if v := decodeJob(t, b.ask("GET", "/v1/jobs/"+id, "", header...), 200); string(v.State) == state {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("job %s is never %s", id, state)
}

// The same Idempotency-Key of two users is two.
func TestKeysOfOwners(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "bert", Role: auth.Use})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	ask := func(name string) string {
		return decodeJob(t, b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, append(m.bearer(name), "Idempotency-Key", "k")...), 202).ID
	}
	if anna, bert := ask("anna"), ask("bert"); anna == bert {
		t.Error("they have one job")
	}
}

// pngOf is an image's file.
func pngOf(t *testing.T, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whose an upload was is forgotten with it.
func TestUploaderIsForgotten(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	var v imageView
	if err := json.Unmarshal(b.upload("image/png", pngOf(t, 64, 64), m.bearer("anna")...).Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if owner, known, err := b.journal.OwnerOfBlob(v.ID); err != nil || known != want || known && owner != "anna" {
			t.Errorf("%q, %v, %v; want %v", owner, known, err, want)
		}
		if err := b.removeUnused([]string{v.ID}); err != nil {
			t.Fatal(err)
		}
	}
}
