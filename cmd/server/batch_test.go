//go:build !nodemo

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/process"
)

// batching is a server of the tiny model, in an engine of its own process, which computes up to so many jobs together.
func batching(t *testing.T, jobs int) *apart {
	t.Helper()
	m := models{model: "synth:tiny"}
	m.device.Precision = "auto"
	return newApartOf(t, m, "cpu", process.Config{}, func(c *server.Config) { c.Batch, c.Metrics = jobs, true })
}

// post submits a job. One whose prompt is "busy" computes for so long that others wait together, until it is cancelled.
func (a *apart) post(t *testing.T, seed, steps int, prompt string) (id string) {
	t.Helper()
	side := 64
	if prompt == "busy" {
		side = 256
	}
	body := fmt.Sprintf(`{"prompt":%q,"width":%d,"height":%d,"num_inference_steps":%d,"seed":%d}`, prompt, side, side, steps, seed)
	code, answer := a.do("POST", "/v1/jobs", body)
	var j jobState
	if err := json.Unmarshal([]byte(answer), &j); code != http.StatusAccepted || err != nil {
		t.Fatalf("%d %s, %v", code, answer, err)
	}
	return j.ID
}

// cancel ends a job.
func (a *apart) cancel(t *testing.T, id string) {
	t.Helper()
	if code, answer := a.do("DELETE", "/v1/jobs/"+id, ""); code >= 300 {
		t.Fatalf("%d %s", code, answer)
	}
}

// state reads a job until it is as wanted.
func (a *apart) state(t *testing.T, id string, wanted func(jobState) bool) (j jobState) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if _, answer := a.do("GET", "/v1/jobs/"+id, ""); json.Unmarshal([]byte(answer), &j) == nil && wanted(j) {
			return j
		}
	}
	t.Fatalf("%s stays %+v\n%s", id, j, a.log)
	return j
}

func ended(j jobState) bool {
	return j.State == "done" || j.State == "failed" || j.State == "cancelled"
}

func linesWith(text, word string) (list []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			list = append(list, line)
		}
	}
	return list
}

// Jobs that wait together share their steps, in an engine of its own process: each has the file that it has alone, one
// that is cancelled leaves the others alone, and those whose engine dies are computed alone by the next one.
func TestBatch(t *testing.T) {
	const steps = 12
	alone, together := batching(t, 1), batching(t, 4)
	files := func(a *apart, cancelled int) (list []string) {
		busy := a.post(t, 1, 200, "busy")
		var ids []string
		for i := range 4 {
			ids = append(ids, a.post(t, i, steps, fmt.Sprint("image ", i)))
		}
		a.cancel(t, busy)
		if cancelled >= 0 {
			a.state(t, ids[cancelled], func(j jobState) bool { return j.Step > 0 })
			a.cancel(t, ids[cancelled])
		}
		for _, id := range ids {
			j := a.state(t, id, ended)
			if len(j.Images) == 0 {
				list = append(list, j.State)
				continue
			}
			_, file := a.do("GET", "/download/"+j.Images[0].ID, "")
			list = append(list, file)
		}
		return list
	}
	want := files(alone, -1)
	for _, cancelled := range []int{-1, 2} {
		for i, file := range files(together, cancelled) {
			if expect := want[i]; i == cancelled && file != "cancelled" {
				t.Errorf("the job that is cancelled ends with %.20q", file)
			} else if i != cancelled && file != expect {
				t.Errorf("job %d of a batch has another file than alone", i)
			}
		}
	}
	_, text := together.do("GET", "/metrics", "")
	for _, line := range []string{`goxl_batch_jobs_count{device="cpu"} 4`, `goxl_batch_jobs_sum{device="cpu"} 10`} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s:\n%s", line, strings.Join(linesWith(text, "goxl_batch_jobs"), "\n"))
		}
	}
	if _, text := alone.do("GET", "/metrics", ""); !strings.Contains(text, `goxl_batch_jobs_count{device="cpu"} 5`) {
		t.Error("jobs were computed together that must not be")
	}

	busy := together.post(t, 1, 200, "busy")
	ids := []string{together.post(t, 0, steps, "image 0"), together.post(t, 1, steps, "image 1")}
	together.cancel(t, busy)
	together.state(t, ids[0], func(j jobState) bool { return j.Step > 0 })
	engine := <-together.engines
	if err := syscall.Kill(engine.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		j := together.state(t, id, ended)
		if j.State != "done" || j.Attempts != 2 {
			t.Fatalf("a job whose engine died: %+v", j)
		}
		if _, file := together.do("GET", "/download/"+j.Images[0].ID, ""); file != want[i] {
			t.Errorf("job %d has another file after its engine died", i)
		}
	}
}

// -batch is refused out of its range and where there is no device for it.
func TestBatchFlag(t *testing.T) {
	for says, args := range map[string]string{
		"-batch 0: must be 1 to 64":               "-model synth:tiny -batch 0",
		"-batch 65: must be 1 to 64":              "-model synth:tiny -batch 65",
		"-batch: is of the servers that answer":   "-role worker -nats nats://x -batch 2",
		"-batch: is of workers, not of -role api": "-role api -nats nats://x -batch 2",
	} {
		var stderr output
		if status := run(strings.Fields(args), &stderr); status != 2 || !strings.Contains(stderr.String(), says) {
			t.Errorf("%s: status %d\n%s", args, status, stderr.String())
		}
	}
}
