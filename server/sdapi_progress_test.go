package server

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// slowly lets each image take four steps of a second, with a preview after the second one.
func (b *bench) slowly() {
	b.base.run = func(ctx context.Context, r sdxl.Request) error {
		for i := range 4 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			r.Progress(sdxl.Progress{Step: i + 1, Steps: 4})
			if stopped(r) {
				return nil
			}
			if r.Preview != nil && i == 1 {
				r.Preview.Func(2, []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))})
			}
		}
		return nil
	}
}

// sdNow is an answer of /sdapi/v1/progress.
type sdNow struct {
	Progress     float64
	ETA          float64 `json:"eta_relative"`
	State        sdProgressState
	CurrentImage *string `json:"current_image"`
}

func (b *bench) sdNow(t *testing.T, query string) (now sdNow) {
	t.Helper()
	w := b.do("GET", "/sdapi/v1/progress"+query, "")
	if err := json.Unmarshal(w.Body.Bytes(), &now); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return now
}

// begin posts a request that is answered on the channel.
func (b *bench) begin(body string) <-chan *httptest.ResponseRecorder {
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- b.do("POST", "/sdapi/v1/txt2img", body) }()
	return answered
}

// What is computed is seen from the first step to the last, with its preview, by all and by the task's id.
func TestSDProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdBench(t, nil)
		b.slowly()
		answered := b.begin(`{"prompt":"p","steps":4,"width":64,"height":64,"n_iter":2,"force_task_id":"task(mine)","override_settings":{"show_progress_every_n_steps":2}}`)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		second := b.begin(`{"prompt":"p","steps":4,"width":64,"height":64,"force_task_id":"task(other)"}`)
		synctest.Wait()
		now := b.sdNow(t, "")
		want := sdProgressState{Job: "Batch 1 out of 2", JobCount: 2, JobTimestamp: now.State.JobTimestamp, SamplingStep: 1, SamplingSteps: 4}
		if now.State != want || len(now.State.JobTimestamp) != 14 || fmt.Sprintf("%.3f", now.Progress) != "0.135" || fmt.Sprintf("%.2f", now.ETA) != "9.61" || now.CurrentImage != nil {
			t.Errorf("%+v", now)
		}
		if w := b.do("GET", "/internal/pending-tasks", ""); w.Body.String() != `{"size":1,"tasks":["task(other)"]}` {
			t.Errorf("%s", w.Body)
		}
		if w := b.do("POST", "/internal/progress", `{"id_task":"task(other)"}`); !strings.Contains(w.Body.String(), `"active":false,"queued":true,"completed":false,`) || !strings.Contains(w.Body.String(), `"In queue: 1/1"`) {
			t.Errorf("%s", w.Body)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if now := b.sdNow(t, ""); now.State.SamplingStep != 2 || now.CurrentImage == nil || !strings.HasPrefix(*now.CurrentImage, "/9j/") {
			t.Errorf("%+v", now)
		}
		if now := b.sdNow(t, "?skip_current_image=true"); now.CurrentImage != nil {
			t.Error("an image that was not asked for")
		}
		var task struct {
			Active, Queued, Completed bool
			Progress                  float64
			Preview                   *string `json:"live_preview"`
			ID                        int     `json:"id_live_preview"`
		}
		w := b.do("POST", "/internal/progress", `{"id_task":"task(mine)","id_live_preview":-1}`)
		if err := json.Unmarshal(w.Body.Bytes(), &task); err != nil || !task.Active || task.Queued || task.ID != 1 || task.Preview == nil || !strings.HasPrefix(*task.Preview, "data:image/jpeg;base64,/9j/") {
			t.Errorf("%s", w.Body)
		}
		w = b.do("POST", "/internal/progress", `{"id_task":"task(mine)","id_live_preview":1}`)
		if !strings.Contains(w.Body.String(), `"live_preview":null,"id_live_preview":1,`) {
			t.Errorf("%s", w.Body)
		}
		if a := decodeSD(t, <-answered); len(a.Images) != 2 || a.info.Interrupted {
			t.Errorf("%d images, %+v", len(a.Images), a.info)
		}
		if w := b.do("POST", "/internal/progress", `{"id_task":"task(mine)"}`); !strings.Contains(w.Body.String(), `"active":false,"queued":false,"completed":true,`) {
			t.Errorf("%s", w.Body)
		}
		decodeSD(t, <-second)
		if now := b.sdNow(t, ""); now.State.JobCount != 0 || now.Progress != 0 {
			t.Errorf("%+v", now)
		}
	})
}

// An option turns previews off.
func TestSDNoPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdBench(t, nil)
		b.slowly()
		if w := b.do("POST", "/sdapi/v1/options", `{"live_previews_enable":false}`); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		answered := b.begin(`{"prompt":"p","steps":4,"width":64,"height":64}`)
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		if now := b.sdNow(t, ""); now.State.SamplingStep != 3 || now.State.Job != "scripts_txt2img" || now.CurrentImage != nil {
			t.Errorf("%+v", now)
		}
		decodeSD(t, <-answered)
	})
}

// Interrupt ends a request at the next step with the images that it has, the last one as it is then; what waits for its
// turn is not touched.
func TestSDInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdBench(t, nil)
		b.slowly()
		answered := b.begin(`{"prompt":"p","seed":1,"steps":4,"width":64,"height":64,"n_iter":4}`)
		time.Sleep(500 * time.Millisecond)
		other := b.begin(`{"prompt":"p","seed":9,"steps":4,"width":64,"height":64}`)
		time.Sleep(5 * time.Second) // in the second image
		synctest.Wait()
		began := time.Now()
		foreign := httptest.NewRequest("POST", "/sdapi/v1/interrupt", nil)
		foreign.Header.Set("Sec-Fetch-Site", "cross-site")
		refused := httptest.NewRecorder()
		if b.ServeHTTP(refused, foreign); refused.Code != 403 || !strings.Contains(refused.Body.String(), `{"error":"foreign_origin",`) {
			t.Errorf("another site's page: %d %s", refused.Code, refused.Body)
		}
		if w := b.do("POST", "/sdapi/v1/interrupt", ""); w.Code != 200 || w.Body.String() != "{}" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		a := decodeSD(t, <-answered)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		if len(a.Images) != 2 || fmt.Sprint(a.info.AllSeeds) != "[1 2]" || a.info.Seed != 1 || !a.info.Interrupted || len(a.info.Infotexts) != 2 {
			t.Errorf("%d images, %+v", len(a.Images), a.info)
		}
		if strings.Contains(a.info.Infotexts[0], "Interrupted") || !strings.Contains(a.info.Infotexts[1], "Steps: 4, ") || !strings.Contains(a.info.Infotexts[1], "Interrupted: after 2 of 4 steps, ") {
			t.Errorf("%q", a.info.Infotexts)
		}
		if a := decodeSD(t, <-other); len(a.Images) != 1 || a.info.Interrupted {
			t.Errorf("the other request: %d images, %+v", len(a.Images), a.info)
		}
		if n := b.imageCount(t); n != 0 {
			t.Errorf("%d images were left", n)
		}
	})
}

// Skip ends the iteration that is computed at the next step: with the image as it is then, and without those that had
// not begun.
func TestSDSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdBench(t, nil)
		b.slowly()
		answered := b.begin(`{"prompt":"p","seed":1,"steps":4,"width":64,"height":64,"n_iter":3,"batch_size":2}`)
		time.Sleep(9 * time.Second) // in the third image, the first of the second iteration
		synctest.Wait()
		if w := b.do("POST", "/sdapi/v1/skip", ""); w.Code != 200 || w.Body.String() != "null" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		a := decodeSD(t, <-answered)
		if fmt.Sprint(a.info.AllSeeds) != "[1 2 3 5 6]" || len(a.Images) != 5 || !a.info.Interrupted {
			t.Errorf("%d images, %+v", len(a.Images), a.info)
		}
	})
}
