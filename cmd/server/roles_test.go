//go:build !nodemo

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// Flags of roles that do not go together are refused by name.
func TestRoleFlags(t *testing.T) {
	for says, args := range map[string]string{
		"must be one of all, api, worker":                                 "-role boss",
		"-role worker: needs -nats":                                       "-role worker",
		"-nats-creds: needs -nats":                                        "-nats-creds x",
		"-addr: is of the servers that answer requests":                   "-role worker -nats nats://x -addr :1",
		"-device: is of workers, not of -role api":                        "-role api -nats nats://x -device cpu",
		`-nats-cert "x", -nats-key "": must both be given or none`:        "-nats nats://x -nats-cert x",
		"-nats-listen: is of -nats embedded":                              "-nats nats://x -nats-listen :1",
		"a worker connects to it by -nats nats://host:port":               "-role worker -nats embedded",
		"-role api -nats embedded: needs -nats-listen":                    "-role api -nats embedded",
		"-nats-creds: is of a NATS that runs apart":                       "-nats embedded -nats-creds x",
		"-nats-nkey: is of a NATS that runs apart":                        "-nats embedded -nats-nkey x",
		"-nats-listen x: must be host:port":                               "-nats embedded -nats-listen x",
		"-nats-listen 0.0.0.0:1: is no loopback address: needs -nats-tok": "-nats embedded -nats-listen 0.0.0.0:1",
		"-nats-listen :1: is no loopback address":                         "-nats embedded -nats-listen :1",
	} {
		var stderr bytes.Buffer
		if status := run(strings.Fields(args), &stderr); status != 2 || !strings.Contains(stderr.String(), says) {
			t.Errorf("%s: status %d\n%s", args, status, stderr.String())
		}
	}
}

// startWorker runs a worker in a process of its own, which the end of the test kills.
func startWorker(t *testing.T, args ...string) (c *exec.Cmd, stderr *output) {
	t.Helper()
	stderr = &output{}
	c = exec.Command(os.Args[0], append([]string{asServer, "-role", "worker"}, args...)...)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended, else
		_ = c.Wait()
		if t.Failed() {
			t.Logf("worker's log:\n%s", stderr)
		}
	})
	return c, stderr
}

// read is what a server answers.
func read(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pixelsOfJob are those of the image of a job.
func pixelsOfJob(t *testing.T, address string, j jobState) []byte {
	t.Helper()
	resp, err := http.Get(address + j.Images[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img.(*image.RGBA).Pix
}

// A server without devices has its jobs computed by workers in other processes: with the same images as a server that
// computes itself, image to image too, whatever worker is killed.
func TestWorkers(t *testing.T) {
	listen, secret := natsAccess(t)
	alone, address := spawn(t, "-images", t.TempDir(), "-device", "cpu")
	const text, fromImage = `{"prompt":"a red apple","width":128,"height":128,"num_inference_steps":4,"seed":1}`,
		`{"prompt":"a red apple","image":"%s","num_inference_steps":6,"strength":0.5,"seed":2}`
	ended := func(j jobState) bool { return j.State == "done" || j.State == "failed" }
	compute := func(address string) (first, second []byte) {
		j := until(t, address+"/v1/jobs/"+ask(t, "POST", address+"/v1/jobs", text, 202).ID, ended)
		if j.State != "done" {
			t.Fatalf("%+v", j)
		}
		k := until(t, address+"/v1/jobs/"+ask(t, "POST", address+"/v1/jobs", fmt.Sprintf(fromImage, j.Images[0].ID), 202).ID, ended)
		if k.State != "done" {
			t.Fatalf("%+v", k)
		}
		return pixelsOfJob(t, address, j), pixelsOfJob(t, address, k)
	}
	first, second := compute(address)
	if err := alone.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	server := []string{"-images", t.TempDir(), "-role", "api", "-nats", "embedded", "-nats-listen", listen, "-nats-token", secret}
	process, api := spawn(t, server...)
	if j := ask(t, "POST", api+"/generate", text, 503); j.ID != "" {
		t.Errorf("%+v", j)
	}
	waits := ask(t, "POST", api+"/v1/jobs", text, 202)
	flags := []string{"-nats", "nats://" + listen, "-nats-token", secret, "-device", "cpu"}
	other, stderr := startWorker(t, append(flags, "-model", "synth:tiny")...)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(stderr.String(), "msg=working") && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	ask(t, "POST", api+"/v1/jobs", text, 503) // whose model no worker has
	one, _ := startWorker(t, flags...)
	j := until(t, api+"/v1/jobs/"+waits.ID, ended)
	if j.State != "done" || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
	if a, b := compute(api); !bytes.Equal(a, first) || !bytes.Equal(b, second) {
		t.Error("a worker computes other images")
	}

	// A second server has the same of models, jobs and images.
	beside, another := spawn(t, "-images", t.TempDir(), "-role", "api", "-nats", "nats://"+listen, "-nats-token", secret)
	var models string
	for deadline := time.Now().Add(time.Minute); !strings.Contains(models, `"state":"ready"`) && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		models = read(t, another+"/v1/models")
	}
	if want := read(t, api+"/v1/models"); models != want || !strings.Contains(models, `"state":"ready"`) {
		t.Errorf("models are %s, want %s", models, want)
	}
	if k := until(t, another+"/v1/jobs/"+waits.ID, ended); k.State != "done" || !bytes.Equal(pixelsOfJob(t, another, k), pixelsOfJob(t, api, j)) {
		t.Errorf("%+v", k)
	}
	if err := beside.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	long := ask(t, "POST", api+"/v1/jobs", strings.Replace(text, `"num_inference_steps":4`, `"num_inference_steps":150`, 1), 202)
	until(t, api+"/v1/jobs/"+long.ID, func(j jobState) bool { return j.Step > 2 })
	if err := one.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, log := startWorker(t, flags...)
	if j := until(t, api+"/v1/jobs/"+long.ID, ended); j.State != "done" || j.Attempts != 2 {
		t.Errorf("%+v", j)
	}

	// What a worker computes while its server is killed goes on there, for the next one.
	long = ask(t, "POST", api+"/v1/jobs", strings.Replace(text, `"num_inference_steps":4`, `"num_inference_steps":150`, 1), 202)
	until(t, api+"/v1/jobs/"+long.ID, func(j jobState) bool { return j.Step > 2 })
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait() // it was killed
	_, api = spawn(t, server...)
	if j := until(t, api+"/v1/jobs/"+long.ID, ended); j.State != "done" || j.Attempts != 2 {
		t.Errorf("%+v", j)
	}
	if n := strings.Count(log.String(), `msg="job computed"`); n != 2 {
		t.Errorf("%d computations, want one before and one now:\n%s", n, log)
	}
	if err := other.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(); err != nil {
		t.Errorf("a worker that is stopped: %v", err)
	}
	_, bad := startWorker(t, "-nats", "nats://"+listen, "-device", "cpu")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(bad.String(), "Authorization") && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if log := bad.String(); !strings.Contains(log, "Authorization Violation") {
		t.Errorf("without the token:\n%s", log)
	}
}

// A worker computes what resolves to the same as at the server that it is from, and says what differs otherwise.
func TestCheck(t *testing.T) {
	specs, err := (&models{model: "synth:tiny"}).specs()
	if err != nil {
		t.Fatal(err)
	}
	loras := t.TempDir()
	if err := os.WriteFile(filepath.Join(loras, "no.safetensors"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shared := worker.Shared{LoRADir: loras}
	made := func(change func(*worker.Task), resolved func(*sdxl.Parameters)) (j job.Job) {
		t.Helper()
		seed := uint64(3)
		task := worker.Task{Job: engine.Job{Name: "tiny", Model: engine.Base, Request: sdxl.Request{Prompt: "x", Seed: &seed}}, Outputs: []string{"a"}}
		p, err := specs.Resolve(task.Job)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&task)
		}
		if resolved != nil {
			resolved(&p)
		}
		if j.Request, err = task.Encode(shared); err != nil {
			t.Fatal(err)
		}
		if j.Parameters, err = json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		return j
	}
	write := func(content string) string {
		file := filepath.Join(loras, "style.safetensors")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cat := func(value float32) worker.Shared {
		vector := func(n int) *sdxl.Tensor {
			return &sdxl.Tensor{Shape: []int{1, n}, Data: slices.Repeat([]float32{value}, n)}
		}
		return worker.Shared{LoRADir: loras, TextualInversions: []sdxl.TextualInversion{
			{Name: "cat", L: vector(specs.Base.TextEncoder.HiddenSize), G: vector(specs.Base.TextEncoder2.HiddenSize)},
		}}
	}
	// withFiles is a job that has an adapter with a hash, and an embedding.
	withFiles := func() job.Job {
		t.Helper()
		shared := cat(1)
		task := worker.Task{Job: engine.Job{Name: "tiny", Model: engine.Base, Request: sdxl.Request{
			Prompt: "a cat", TextualInversions: shared.TextualInversions, LoRAs: []sdxl.LoRA{{Path: write("x"), Strengths: lora.Strength(1)}},
		}}, Outputs: []string{"a"}}
		var err error
		if task.Job.Parameters, err = specs.Resolve(task.Job); err != nil {
			t.Fatal(err)
		}
		task.Embeddings = shared.Hashes(task.Job.Parameters.TextualInversions)
		j := job.Job{Adapters: []job.Adapter{{Name: "style", Hash: specs.AdapterHashes(task.Job)[0]}}}
		if j.Request, err = task.Encode(shared); err != nil {
			t.Fatal(err)
		}
		if j.Parameters, err = json.Marshal(task.Job.Parameters); err != nil {
			t.Fatal(err)
		}
		return j
	}
	models := map[string]engine.Specs{"tiny": specs}
	files := withFiles()
	if e := worker.Check(files, models, cat(1)); e != nil {
		t.Error(e)
	}
	if e := worker.Check(files, models, cat(2)); e == nil || !strings.HasSuffix(e.Message, "it has another file of the embedding cat") {
		t.Error(e)
	}
	write("another")
	if e := worker.Check(files, models, cat(1)); e == nil || !strings.HasSuffix(e.Message, "it has another file of the adapter style") {
		t.Error(e)
	}
	if e := worker.Check(made(nil, nil), models, shared); e != nil {
		t.Error(e)
	}
	for says, j := range map[string]job.Job{
		`it has no model "large"`:     made(func(t *worker.Task) { t.Job.Name = "large" }, nil),
		"it has another model":        made(nil, func(p *sdxl.Parameters) { p.Model = "other" }),
		"it has another loras":        made(nil, func(p *sdxl.Parameters) { p.LoRAs = []sdxl.LoRAParameters{{Name: "y"}} }),
		"another num_inference_steps": made(nil, func(p *sdxl.Parameters) { p.Steps++ }),
		"it has no refiner":           made(func(task *worker.Task) { task.Job.Model = engine.Refiner }, nil),
		"loras": made(func(task *worker.Task) {
			task.Job.Request.LoRAs = []sdxl.LoRA{{Path: filepath.Join(loras, "gone.safetensors")}}
		}, nil),
		"a job's request: EOF":              {},
		"can't compute the job: the job's ": {Request: made(nil, nil).Request, Parameters: json.RawMessage(`[]`)},
	} {
		if e := worker.Check(j, models, shared); e == nil || e.Kind != worker.KindOtherModel || !strings.Contains(e.Message, says) || strings.Contains(e.Message, loras) {
			t.Errorf("%v, want %q", e, says)
		}
	}
}
