package main

import (
	"bytes"
	"flag"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels/cpu"
)

// The process of a card gets the flags of the server that starts it.
func TestEngineFlags(t *testing.T) {
	m := models{model: "dir", variant: "fp16"}
	m.device.Precision, m.device.GPUMemory = "bf16", 11<<30
	c, err := m.command("cuda:1", "other", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if c.Args[1] != engineWord || c.Stderr != os.Stderr {
		t.Errorf("starts %q", c.Args)
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	var got models
	got.register(fs)
	if err := cli.Parse(fs, c.Args[2:]); err != nil {
		t.Fatal(err)
	}
	want := m
	want.refiner, want.device.Device, want.device.Several = "other", "cuda:1", true
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(models{}), cmpopts.IgnoreFields(cpu.Options{}, "Trace")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A variant that is not there is missed, so -variant reaches the model.
func TestVariant(t *testing.T) {
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	m := models{model: "../../testdata/saved", variant: "none"}
	if p, err := m.open(device, 0, nil); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("%v", err)
		if err == nil {
			p.Close()
		}
	}
}

// Images carry the watermark unless -watermark=false.
func TestWatermark(t *testing.T) {
	drawn := map[string][]byte{}
	for _, more := range []string{"", "-watermark", "-watermark=false"} {
		images := filepath.Join(t.TempDir(), "images")
		address, stderr, ended := start(t, append([]string{"-model", "synth:tiny", "-device", "cpu", "-images", images}, strings.Fields(more)...)...)
		id := post(t, address+"/generate", `{"prompt":"p","seed":1,"num_inference_steps":1,"width":256,"height":256}`)
		resp, err := http.Get(address + "/download/" + id)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var pixels bytes.Buffer
		if err := png.Encode(&pixels, img); err != nil {
			t.Fatal(err)
		}
		drawn[more] = pixels.Bytes()
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if status := <-ended; status != 0 {
			t.Errorf("status %d:\n%s", status, stderr)
		}
	}
	if !bytes.Equal(drawn[""], drawn["-watermark"]) || bytes.Equal(drawn[""], drawn["-watermark=false"]) {
		t.Error("-watermark does not count")
	}
}
