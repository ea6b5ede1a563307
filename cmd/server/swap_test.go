//go:build !nodemo

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// A refiner is that of every model that it fits.
func TestRefinerOfSeveral(t *testing.T) {
	m := parseModels(t, []string{"-model", "synth:tiny", "-model", "b=synth:tiny", "-model", "demo", "-refiner", "synth:tiny-refiner"})
	list, err := m.further()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Name != "b" || list[0].Specs.Refiner == nil || list[1].Specs.Refiner != nil {
		t.Errorf("%+v", list)
	}
}

// residentSet is the memory of a process in bytes.
func residentSet(t *testing.T, pid int) (n int64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// Two models of which there is memory for one take turns in a process of their own: their images stay the same to the
// bit, the memory of the process does not grow, and a job hears that its model is loaded.
func TestSwap(t *testing.T) {
	m := parseModels(t, []string{"-model", "a=synth:tiny", "-model", "demo", "-models-memory", "1MiB", "-device", "cpu"})
	log := &output{}
	e, err := m.start("cpu", log, process.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
	}()
	specs := map[string]engine.Specs{}
	if specs["a"], err = m.specs(); err != nil {
		t.Fatal(err)
	}
	if specs["demo"], err = m.specsOf("demo"); err != nil {
		t.Fatal(err)
	}
	first := map[string][]byte{}
	var early int64
	const rounds = 12
	for i := range 2 * rounds {
		name := []string{"a", "demo"}[i%2]
		var heard []float64
		j := engine.Job{
			Name: name, Model: engine.Base, OnLoading: func(percent float64) { heard = append(heard, percent) },
			Request: sdxl.Request{Prompt: "a red apple", Width: 64, Height: 64, Steps: 2, Seed: new(uint64(1))},
		}
		if j.Parameters, err = specs[name].Resolve(j); err != nil {
			t.Fatal(err)
		}
		r, err := e.Generate(t.Context(), j)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, log)
		}
		if i > 0 && (len(heard) < 2 || heard[0] != 0 || heard[len(heard)-1] < 50) {
			t.Errorf("image %d: %v %% of the model were told", i, heard)
		}
		if first[name] == nil {
			first[name] = r.Images[0].Pix
		} else if !bytes.Equal(first[name], r.Images[0].Pix) {
			t.Errorf("image %d, of %s, is not what it was", i, name)
		}
		for _, status := range e.Models() {
			if (status.State == engine.Ready) != (status.Name == name) {
				t.Errorf("after an image of %s: %+v", name, status)
			}
		}
		if i == rounds/2 {
			early = residentSet(t, e.Pid())
		}
	}
	late := residentSet(t, e.Pid())
	t.Logf("%d MiB after %d swaps, %d MiB after %d", early>>20, rounds/2, late>>20, 2*rounds)
	if late > early+100<<20 { // the model demo has 60 MiB of weights
		t.Errorf("%d MiB after %d swaps, %d MiB after %d", early>>20, rounds/2, late>>20, 2*rounds)
	}
}

// A server has the models that its flags name: requests choose, and the list says where they are.
func TestSeveralModels(t *testing.T) {
	address, stderr, ended := start(t, "-model", "a=synth:tiny", "-model", "demo", "-device", "cpu", "-images", t.TempDir())
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get(address + path)
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
	states := func() (text string) {
		t.Helper()
		var list struct {
			Data []struct {
				ID, State, Kind string
				Default         bool
			}
		}
		if err := json.Unmarshal([]byte(get("/v1/models")), &list); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(list.Data)
	}
	if got, want := states(), "[{a ready base true} {demo unloaded base false}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, model := range []string{"demo", "a"} {
		id := post(t, address+"/generate", strings.Replace(small, "{", `{"model":"`+model+`",`, 1))
		if got := get("/download/" + id); !strings.Contains(got, "model\x00"+map[string]string{"demo": "demo", "a": "synth:tiny"}[model]) {
			t.Errorf("%s: the image does not say that it is of it", model)
		}
	}
	if got, want := states(), "[{a ready base true} {demo ready base false}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
}
