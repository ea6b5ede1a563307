package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
)

// decodeJob reads a job from an answer of a status.
func decodeJob(t *testing.T, w *httptest.ResponseRecorder, status int) (v jobView) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); w.Code != status || err != nil || !blob.IsID(v.ID) {
		t.Fatalf("%d %s, want %d and a job", w.Code, w.Body, status)
	}
	return v
}

// postJob creates a job.
func (b *bench) postJob(t *testing.T, body string) jobView {
	t.Helper()
	w := b.do("POST", "/v1/jobs", body)
	v := decodeJob(t, w, 202)
	if got := w.Header().Get("Location"); got != "/v1/jobs/"+v.ID {
		t.Errorf("Location: %s", got)
	}
	return v
}

// finished waits for the end of a job.
func (b *bench) finished(t *testing.T, id string) jobView {
	t.Helper()
	events, err := b.queue.Watch(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range events {
	}
	return decodeJob(t, b.do("GET", "/v1/jobs/"+id, ""), 200)
}

// A job is answered at once, computed in its turn, and its images and parameters are there then.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		b.base.run = func(_ context.Context, r sdxl.Request) error {
			for i := range 4 {
				time.Sleep(time.Second)
				r.Progress(sdxl.Progress{Step: i + 1, Steps: 4, Left: time.Duration(3-i) * time.Second})
			}
			return nil
		}
		first := b.postJob(t, `{"prompt":"a <b>","seed":7,"priority":3}`)
		second := b.postJob(t, plain)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		v := decodeJob(t, b.do("GET", "/v1/jobs/"+first.ID, ""), 200)
		if v.State != job.Running || v.Step != 2 || v.Steps != 4 || v.Progress != 0.5 || v.SecondsLeft != 2 || v.Attempts != 1 || v.Priority != 3 || v.Position != 0 || len(v.Images) != 0 {
			t.Errorf("%+v", v)
		}
		if v := decodeJob(t, b.do("GET", "/v1/jobs/"+second.ID, ""), 200); v.State != job.Queued || v.Position != 1 {
			t.Errorf("%+v", v)
		}
		if w := b.do("GET", "/v1/queue", ""); w.Body.String() != `{"waiting":1,"computing":1,"seconds_until_free":2,"devices":{}}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		v = b.finished(t, first.ID)
		var p sdxl.Parameters
		if err := json.Unmarshal(v.Parameters, &p); err != nil || p.Seed != 7 || p.Prompts[0].Prompt != "a <b>" {
			t.Errorf("%v, %s", err, v.Parameters)
		}
		if v.State != job.Done || v.Task != "text-to-image" || v.Model == "" || v.Progress != 1 || len(v.Images) != 1 || v.Ended.Sub(v.Started) != 4*time.Second {
			t.Fatalf("%+v", v)
		}
		img := v.Images[0]
		if img.Width != 64 || img.Height != 32 || *img.Seed != 7 || img.Type != "image/png" {
			t.Errorf("%+v", img)
		}
		if w := b.do("GET", img.URL, ""); w.Code != 200 {
			t.Errorf("%s: %d %s", img.URL, w.Code, w.Body)
		}
	})
}

// A client that sends its key again gets the job of the first time, and keeps no second upload.
func TestIdempotencyKey(t *testing.T) {
	b := loadedBench(t, nil)
	send := func(key, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w
	}
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	body := `{"prompt":"a","image":"` + base64.StdEncoding.EncodeToString(file.Bytes()) + `"}`
	first := decodeJob(t, send("k", body), 202)
	b.finished(t, first.ID)
	files := b.imageCount(t)
	again := send("k", body)
	if v := decodeJob(t, again, 200); v.ID != first.ID || v.State != job.Done || again.Header().Get("Idempotent-Replayed") != "true" || b.imageCount(t) != files {
		t.Errorf("%+v %v, %d files, want %d", v, again.Header(), b.imageCount(t), files)
	}
	if w := send("k", plain); w.Code != 422 || !strings.Contains(w.Body.String(), "Idempotency-Key") {
		t.Errorf("another body: %d %s", w.Code, w.Body)
	}
	if v := decodeJob(t, send("other", body), 202); v.ID == first.ID {
		t.Error("another key gives the same job")
	}
	for _, key := range []string{strings.Repeat("x", 256), "\xff\xfe"} { // what the journal can't keep is the client's fault
		if w := send(key, plain); w.Code != 422 || !strings.Contains(w.Body.String(), `"loc":["header","idempotency-key"]`) {
			t.Errorf("%q: %d %s", key, w.Code, w.Body)
		}
	}
}

// A job is cancelled in any state, one that is computed before its next step, and removed with its images once it has
// ended.
func TestCancelAndPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		began, stopped := held(b.base)
		running, queued := b.postJob(t, plain), b.postJob(t, plain)
		<-began
		if w := b.do("DELETE", "/v1/jobs/"+running.ID+"?purge=true", ""); w.Code != 409 {
			t.Errorf("purge of one that runs: %d %s", w.Code, w.Body)
		}
		for _, id := range []string{queued.ID, running.ID, running.ID} {
			if v := decodeJob(t, b.do("DELETE", "/v1/jobs/"+id, ""), 200); v.State != job.Cancelled {
				t.Errorf("%+v", v)
			}
		}
		<-stopped
		b.base.run = nil
		synctest.Wait()
		done := b.finished(t, b.postJob(t, plain).ID)
		if v := decodeJob(t, b.do("DELETE", "/v1/jobs/"+done.ID, ""), 200); v.State != job.Done {
			t.Errorf("one that was done is %s", v.State)
		}
		if n := b.imageCount(t); n != 1 {
			t.Errorf("%d files, want 1", n)
		}
		if w := b.do("DELETE", "/v1/jobs/"+done.ID+"?purge=1", ""); w.Code != 204 || w.Body.Len() > 0 || b.imageCount(t) != 0 {
			t.Errorf("purge: %d %s, %d files", w.Code, w.Body, b.imageCount(t))
		}
		for _, path := range []string{"/v1/jobs/" + done.ID, "/v1/jobs/" + done.ID + "/events", "/v1/jobs/x"} {
			if w := b.do("GET", path, ""); w.Code != 404 || w.Body.String() != `{"detail":"Job not found"}` {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

// An image that another job begins with outlives the job that made it.
func TestPurgeOfUsedImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		first := b.finished(t, b.postJob(t, plain).ID)
		began, _ := held(b.base)
		again := b.postJob(t, `{"prompt":"a","refiner":false,"image":"`+first.Images[0].ID+`"}`)
		<-began
		if w := b.do("DELETE", "/v1/jobs/"+first.ID+"?purge=true", ""); w.Code != 204 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := b.do("GET", first.Images[0].URL, ""); w.Code != 200 {
			t.Errorf("the image that job %s begins with: %d %s", again.ID, w.Code, w.Body)
		}
		b.do("DELETE", "/v1/jobs/"+again.ID, "")
	})
}

func TestCancelMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		done := b.finished(t, b.postJob(t, plain).ID)
		began, _ := held(b.base)
		var ids []string
		for range 4 {
			ids = append(ids, b.postJob(t, plain).ID)
		}
		<-began
		w := b.do("POST", "/v1/jobs/cancel", fmt.Sprintf(`{"ids":[%q,%q,%q,"x"]}`, ids[0], ids[2], done.ID))
		if want := fmt.Sprintf(`{"cancelled":[%q,%q],"ended":[%q],"unknown":["x"]}`, ids[0], ids[2], done.ID); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%d %s, want %s", w.Code, w.Body, want)
		}
		w = b.do("POST", "/v1/jobs/cancel", `{"all":true}`)
		if want := fmt.Sprintf(`{"cancelled":[%q,%q],"ended":[],"unknown":[]}`, ids[1], ids[3]); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%d %s, want %s", w.Code, w.Body, want)
		}
		for body, says := range map[string]string{`{}`: "missing", `{"ids":"x"}`: "list_type", `{"ids":[7]}`: "string_type"} {
			if w := b.do("POST", "/v1/jobs/cancel", body); w.Code != 422 || !strings.Contains(w.Body.String(), says) {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
		}
	})
}

func TestListJobs(t *testing.T) {
	b := loadedBench(t, nil)
	var ids []string
	for i := range 5 {
		body := plain
		if i == 2 {
			body = `{"prompt":"a","image":"` + ids[0] + `"}` // not an image
		}
		w := b.do("POST", "/v1/jobs", body)
		if i == 2 {
			if w.Code != 404 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			continue
		}
		ids = append(ids, b.finished(t, decodeJob(t, w, 202).ID).ID)
	}
	slices.Reverse(ids)
	list := func(query string) (got []string, next string) {
		t.Helper()
		var page struct {
			Jobs []jobView
			Next string
		}
		w := b.do("GET", "/v1/jobs"+query, "")
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		for _, v := range page.Jobs {
			got = append(got, v.ID)
		}
		return got, page.Next
	}
	first, next := list("?limit=3")
	rest, end := list("?limit=3&before=" + next)
	if !slices.Equal(append(first, rest...), ids) || len(first) != 3 || end != "" {
		t.Errorf("%v and %v, %q, want %v", first, rest, end, ids)
	}
	if got, _ := list("?state=queued,failed"); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got, _ := list("?state=done&model=" + decodeJob(t, b.do("GET", "/v1/jobs/"+ids[0], ""), 200).Model); len(got) != 4 {
		t.Errorf("%v", got)
	}
	if got, _ := list("?task=text-to-image"); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	if got, _ := list("?task=inpaint"); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for query, says := range map[string]string{
		"?task=paint": `'text-to-image', 'image-to-image', 'inpaint' or 'upscale'`,
		"?limit=0":    `"loc":["query","limit"]`, "?limit=x": `"loc":["query","limit"]`, "?before=-1": `"loc":["query","before"]`, "?state=doing": `'interrupted'`,
	} {
		if w := b.do("GET", "/v1/jobs"+query, ""); w.Code != 422 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// A server that takes the place of one that was killed computes what that had not.
func TestJobsSurvive(t *testing.T) {
	folder := t.TempDir()
	same := func(c *Config) { c.Images, c.Journal = folder+"/images", folder+"/jobs.db" }
	b := newBench(t, same)
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	began, _ := held(b.base)
	var ids []string
	for range 3 {
		ids = append(ids, b.postJob(t, plain).ID)
	}
	attached := b.start(t.Context(), "/generate", plain)
	<-began
	for b.queue.Stats().Waiting < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if w := <-attached; w.Code != 503 || w.Body.String() != `{"detail":"The server is stopping"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b = loadedBench(t, same)
	b.images = folder + "/images"
	for i, id := range ids {
		v := b.finished(t, id)
		if v.State != job.Done || v.Attempts != 1 || len(v.Images) != 1 {
			t.Errorf("job %d: %+v", i, v)
		} else if w := b.do("GET", v.Images[0].URL, ""); w.Code != 200 {
			t.Errorf("job %d: %d %s", i, w.Code, w.Body)
		}
	}
	if entries, err := os.ReadDir(folder + "/images"); err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}
