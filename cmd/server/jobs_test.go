//go:build !nodemo

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// spawn runs the command in a process of its own, which the end of the test kills, until it answers.
func spawn(t *testing.T, args ...string) (c *exec.Cmd, address string) {
	t.Helper()
	stderr := &output{}
	c = exec.Command(os.Args[0], append([]string{asServer, "-addr", "127.0.0.1:0"}, args...)...)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended, else
		_ = c.Wait()
		if t.Failed() {
			t.Logf("log:\n%s", stderr)
		}
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := addressField.FindStringSubmatch(stderr.String()); m != nil {
			return c, m[1]
		}
	}
	t.Fatalf("it does not listen:\n%s", stderr)
	return nil, ""
}

// jobState is what the tests read of a job.
type jobState struct {
	ID, State string
	Step      int
	Attempts  int
	Images    []struct{ ID, URL string }
	Error     any
}

// ask sends a request to /v1/jobs and reads a job.
func ask(t *testing.T, method, url, body string, status int) (j jobState) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || json.Unmarshal(data, &j) != nil {
		t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, data, err)
	}
	return j
}

// until asks for a job until it is as wanted.
func until(t *testing.T, url string, wanted func(jobState) bool) jobState {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		j := ask(t, "GET", url, "", 200)
		if wanted(j) {
			return j
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays %+v", url, j)
		}
	}
}

// Jobs outlive the process: it is killed while it computes one, and the next one computes that and those that waited,
// each once.
func TestJobsSurviveKill(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "images")
	args := []string{"-images", folder, "-device", "cpu"}
	first, address := spawn(t, args...)
	var ids []string
	for i := range 5 {
		steps := 12
		if i == 1 {
			steps = 100 // so that it does not end before the signal comes
		}
		body := fmt.Sprintf(`{"prompt":"a red apple","width":128,"height":128,"num_inference_steps":%d,"seed":%d}`, steps, i)
		ids = append(ids, ask(t, "POST", address+"/v1/jobs", body, 202).ID)
	}
	until(t, address+"/v1/jobs/"+ids[0], func(j jobState) bool { return j.State == "done" }) // its file is written beside the next job's steps
	until(t, address+"/v1/jobs/"+ids[1], func(j jobState) bool { return j.State == "running" && j.Step >= 2 })
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed

	second, address := spawn(t, args...)
	images := map[string]bool{}
	for i, id := range ids {
		j := until(t, address+"/v1/jobs/"+id, func(j jobState) bool { return j.State != "queued" && j.State != "running" && j.State != "interrupted" })
		attempts := 1
		if i == 1 {
			attempts = 2
		}
		if j.State != "done" || len(j.Images) != 1 || j.Attempts != attempts {
			t.Errorf("job %d: %+v, want it done in %d attempts", i, j, attempts)
			continue
		}
		data := get(t, address+j.Images[0].URL)
		if _, err := png.Decode(bytes.NewReader([]byte(data))); err != nil {
			t.Errorf("job %d: %v", i, err)
		}
		images[j.Images[0].ID] = true
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.png*"))
	if err != nil || len(files) != 5 || len(images) != 5 {
		t.Errorf("%v, %v, %d images: want five of each", files, err, len(images))
	}

	// One that is computed ends when it is cancelled, and the device goes to the next.
	long := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a","width":256,"height":256,"num_inference_steps":200}`, 202).ID
	until(t, address+"/v1/jobs/"+long, func(j jobState) bool { return j.Step >= 1 })
	stopped := ask(t, "DELETE", address+"/v1/jobs/"+long, "", 200)
	next := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a","width":64,"height":64,"num_inference_steps":1}`, 202).ID
	if j := until(t, address+"/v1/jobs/"+next, func(j jobState) bool { return j.State == "done" }); stopped.State != "cancelled" || len(j.Images) != 1 {
		t.Errorf("%+v, and the next %+v", stopped, j)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// A stream of events has every step, previews that are JPEG, and the job at its end. Previews are of the latents' size,
// or by a TAESD of the image's.
func TestJobEvents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "taesdxl.safetensors")
	tensors, err := weights.Tensors(weights.Synthetic("taesd", nn.Shapes(taesd.New(taesd.TAESDXL)), kernels.F32))
	if err == nil {
		err = weights.Write(file, tensors, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for method, c := range map[string]struct{ previews, side int }{"auto": {3, 16}, "taesd": {3, 128}, "none": {0, 0}} {
		flags := []string{"-images", t.TempDir(), "-device", "cpu", "-preview-method", method}
		if method == "taesd" {
			flags = append(flags, "-preview-taesd", file)
		}
		_, address := spawn(t, flags...)
		id := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a red apple","width":128,"height":128,"num_inference_steps":6,"preview_every":2}`, 202).ID
		counts := map[string]int{}
		name := ""
		for line := range strings.SplitSeq(get(t, address+"/v1/jobs/"+id+"/events"), "\n") {
			if value, ok := strings.CutPrefix(line, "event: "); ok {
				name = value
				counts[name]++
			}
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok || name != "preview" && name != "done" {
				continue
			}
			var e struct {
				Step   int
				Data   []byte
				Images []struct{ URL string }
			}
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if name == "done" {
				if len(e.Images) != 1 || get(t, address+e.Images[0].URL) == "" {
					t.Errorf("%s: at the end: %s", method, data)
				}
				continue
			}
			img, err := jpeg.DecodeConfig(bytes.NewReader(e.Data))
			if err != nil || e.Step%2 != 0 || img.Width != c.side || img.Height != c.side {
				t.Errorf("%s: preview of step %d: %d×%d, %v", method, e.Step, img.Width, img.Height, err)
			}
		}
		if counts["step"] != 6 || counts["preview"] != c.previews || counts["done"] != 1 {
			t.Errorf("%s: events: %v", method, counts)
		}
	}
}

// Two servers do not share a journal: the second one says who has it.
func TestJournalIsTaken(t *testing.T) {
	folder := t.TempDir()
	spawn(t, "-model", "synth:tiny", "-device", "cpu", "-images", folder)
	stderr := &output{}
	if status := run([]string{"-model", "synth:tiny", "-device", "cpu", "-addr", "127.0.0.1:0", "-images", folder}, stderr); status != 1 || !strings.Contains(stderr.String(), "jobs.db") {
		t.Errorf("status %d:\n%s", status, stderr)
	}
}
