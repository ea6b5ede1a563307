package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// A model whose own scheduler is not built in is served to requests that name another; the rest are told so.
func TestSchedulerNotBuiltIn(t *testing.T) {
	model := filepath.Join(t.TempDir(), "model")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F32, model); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(model, "scheduler", "scheduler_config.json")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(config), "EulerDiscreteScheduler", "IPNDMScheduler", 1)
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil || changed == string(config) {
		t.Fatal(err, changed)
	}
	address, stderr, ended := start(t, "-model", model, "-images", filepath.Join(t.TempDir(), "images"), "-threads", "1")
	resp, err := http.Post(address+"/generate", "application/json", strings.NewReader(`{"prompt":"a cat","width":32,"height":32}`))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Detail []struct {
			Loc        []string
			Msg, Input string
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil || resp.StatusCode != http.StatusUnprocessableEntity || len(answer.Detail) != 1 {
		t.Fatalf("%d %s", resp.StatusCode, data)
	}
	if d := answer.Detail[0]; strings.Join(d.Loc, ".") != "body.scheduler" || !strings.Contains(d.Input, "IPNDMScheduler") || !strings.Contains(d.Msg, "must be one of ") {
		t.Errorf("%s", data)
	}
	post(t, address+"/generate", `{"prompt":"a cat","width":32,"height":32,"num_inference_steps":2,"scheduler":"euler"}`)
	if log := stderr.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "IPNDMScheduler") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("SIGTERM did not end it:\n%s", stderr)
	}
}
