package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/goxl/goxl/job/blob"
)

// operation is one kind of request.
type operation struct {
	name   string // that its time is noted as
	weight int
	light  bool // it needs no device, and no large body
	do     func(l *load, ctx context.Context, random *rand.Rand) error
}

// operations are what clients do. Some seven of ten are light.
var operations []operation

func init() { // it refers to methods that refer to it
	operations = []operation{
		{"GET /v1/jobs/{id}", 14, true, (*load).readJob},
		{"GET /v1/jobs", 8, true, (*load).listJobs},
		reads("GET /v1/queue", 8), reads("GET /v1/models", 4), reads("GET /healthz", 5), reads("GET /readyz", 4), reads("GET /v1/options", 3), reads("GET /", 2),
		reads("GET /sdapi/v1/progress", 4), reads("GET /sdapi/v1/samplers", 2), reads("GET /sdapi/v1/options", 1),
		{"GET /download/{id}", 8, true, (*load).download},
		{"GET of an unknown id", 2, true, (*load).unknown},
		{"a body that is wrong", 6, true, (*load).wrongBody},
		{"POST /v1/images", 2, false, (*load).upload},

		{"job: text to image", 7, false, (*load).textJob},
		{"job: image to image", 4, false, (*load).imageJob},
		{"job: the same key again", 2, false, (*load).repeatJob},
		{"job: events", 3, false, (*load).followJob},
		{"generate", 3, false, (*load).generate},
		{"refine", 2, false, (*load).refine},
		{"generate: hang up", 1, false, (*load).hangUp},
		{"openai: generations", 3, false, (*load).openAIGenerations},
		{"openai: stream", 1, false, (*load).openAIStream},
		{"openai: edits", 1, false, (*load).openAIEdits},
		{"sdapi: txt2img", 2, false, (*load).sdText},
		{"sdapi: img2img", 1, false, (*load).sdImage},

		{"DELETE /v1/jobs/{id}", 2, true, (*load).cancelJob},
		{"POST /v1/jobs/cancel", 1, true, (*load).cancelJobs},
		{"DELETE /v1/jobs/{id}?purge", 1, true, (*load).removeJob},
	}
}

// reads is a light GET that is answered 200.
func reads(name string, weight int) operation {
	return operation{name, weight, true, func(l *load, ctx context.Context, _ *rand.Rand) error {
		return l.expect(ctx, request{name: name, method: "GET", path: name[len("GET "):]}, 200)
	}}
}

// expect sends a request once and notes an answer of another status.
func (l *load) expect(ctx context.Context, q request, statuses ...int) error {
	a, err := l.c.once(ctx, q)
	if err == nil && !slices.Contains(statuses, a.status) {
		l.r.violate("an answer that is not as expected", "%s %s: %s, want %v", q.method, q.path, a, statuses)
	}
	return err
}

func (l *load) readJob(ctx context.Context, random *rand.Rand) error {
	id := l.known.someJob(random)
	if id == "" {
		return l.unknown(ctx, random)
	}
	a, err := l.c.once(ctx, request{name: "GET /v1/jobs/{id}", method: "GET", path: "/v1/jobs/" + id})
	if err == nil && a.status != 200 && !(a.status == 404 && l.known.isRemoved(id)) {
		l.r.violate("a job whose id was answered is lost", "%s: %s", id, a)
	}
	return err
}

func (l *load) listJobs(ctx context.Context, random *rand.Rand) error {
	path := "/v1/jobs?limit=" + fmt.Sprint(1+random.IntN(100))
	if random.IntN(2) == 0 {
		path += "&state=queued,running"
	}
	return l.expect(ctx, request{name: "GET /v1/jobs", method: "GET", path: path}, 200)
}

func (l *load) download(ctx context.Context, random *rand.Rand) error {
	m := l.known.someImage(random)
	if m.id == "" {
		return l.unknown(ctx, random)
	}
	a, err := l.c.once(ctx, request{name: "GET /download/{id}", method: "GET", path: "/download/" + m.id})
	if err == nil {
		l.checkImage(m.id, m.want, a)
	}
	return err
}

func (l *load) unknown(ctx context.Context, random *rand.Rand) error {
	id, err := blob.NewID()
	if err != nil {
		return err
	}
	path := []string{"/v1/jobs/", "/download/"}[random.IntN(2)] + id
	return l.expect(ctx, request{name: "GET of an unknown id", method: "GET", path: path}, 404)
}

// wrongBodies are bodies that no server should take, with what they are answered.
var wrongBodies = []struct {
	path, body string
	status     int
}{
	{"/v1/jobs", `{"prompt": "a"`, 422},
	{"/v1/jobs", `{}`, 422},
	{"/v1/jobs", `[]`, 422},
	{"/v1/jobs", `{"prompt": "a", "width": 63}`, 422},
	{"/v1/jobs", `{"prompt": "a", "num_inference_steps": -1}`, 422},
	{"/v1/jobs", `{"prompt": "a", "model": "nothing"}`, 422},
	{"/v1/jobs", `{"prompt": "a", "scheduler": "nothing"}`, 422},
	{"/v1/jobs", `{"prompt": "a", "image": "bm8gaW1hZ2U="}`, 422},
	{"/generate", `{"prompt": 1}`, 422},
	{"/refine", `{"prompt": "a", "id": "../../etc/passwd", "refiner": false}`, 404},
	{"/v1/images/generations", `{"prompt": "a", "size": "1x1"}`, 400},
	{"/v1/images/generations", `{"prompt": "a", "n": 11}`, 400},
	{"/sdapi/v1/txt2img", `{"prompt": "a", "sampler_name": "nothing"}`, 400},
	{"/v1/jobs/cancel", `{}`, 422},
}

func (l *load) wrongBody(ctx context.Context, random *rand.Rand) error {
	w := wrongBodies[random.IntN(len(wrongBodies))]
	return l.expect(ctx, request{name: "a body that is wrong", method: "POST", path: w.path, kind: "application/json", body: []byte(w.body)}, w.status)
}

func (l *load) upload(ctx context.Context, random *rand.Rand) error {
	u := l.uploads[random.IntN(len(l.uploads))]
	a, err := l.c.do(ctx, request{name: "POST /v1/images", method: "POST", path: "/v1/images", kind: u.kind, body: u.data})
	if err != nil {
		return err
	}
	var answer struct{ ID string }
	if a.status != 201 || a.object(&answer) != nil {
		l.r.violate("an upload is refused", "%s", a)
		return nil
	}
	back, err := l.c.once(ctx, request{method: "GET", path: "/download/" + answer.ID})
	if err == nil && (back.status != 200 || string(back.body) != string(u.data)) {
		l.r.violate("an upload does not come back as it was", "%s: %d, %d bytes of %d", answer.ID, back.status, len(back.body), len(u.data))
	}
	return err
}

func (l *load) cancelJob(ctx context.Context, random *rand.Rand) error {
	id := l.known.someJob(random)
	if id == "" {
		return l.unknown(ctx, random)
	}
	l.known.cancel(id)
	a, err := l.c.once(ctx, request{name: "DELETE /v1/jobs/{id}", method: "DELETE", path: "/v1/jobs/" + id})
	var j jobRecord
	switch {
	case err != nil || a.status == 404 && l.known.isRemoved(id):
	case a.status != 200 || a.object(&j) != nil || !j.ended():
		l.r.violate("a job that is cancelled goes on", "%s: %s", id, a)
	}
	return err
}

func (l *load) cancelJobs(ctx context.Context, random *rand.Rand) error {
	var ids []string
	for range 1 + random.IntN(4) {
		if id := l.known.someJob(random); id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return l.unknown(ctx, random)
	}
	l.known.cancel(ids...)
	a, err := l.c.post(ctx, "/v1/jobs/cancel", map[string]any{"ids": ids})
	if err == nil && a.status != 200 {
		l.r.violate("an answer that is not as expected", "POST /v1/jobs/cancel: %s", a)
	}
	return err
}

func (l *load) removeJob(ctx context.Context, random *rand.Rand) error {
	id := l.known.someJob(random)
	if id == "" {
		return l.unknown(ctx, random)
	}
	a, err := l.c.once(ctx, request{name: "GET /v1/jobs/{id}", method: "GET", path: "/v1/jobs/" + id})
	var j jobRecord
	if err != nil || a.object(&j) != nil || !j.ended() {
		return err // one that has not ended is not removed
	}
	l.known.remove(id)
	return l.expect(ctx, request{name: "DELETE /v1/jobs/{id}?purge", method: "DELETE", path: "/v1/jobs/" + id + "?purge=true"}, 204, 404)
}
