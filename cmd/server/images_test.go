//go:build !nodemo

package main

import (
	"fmt"
	"image/color"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/process"
)

// natsAccess is where an embedded NATS can listen, and the file of its token.
func natsAccess(t *testing.T) (listen, secret string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	secret = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("a secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return listen, secret
}

// Images of every kind, with the files of the folders that flags name, reach an engine of this process, one of its own and
// one of a worker, and all give the same image. A worker without the folders leaves such jobs to another.
func TestImagesReachEngines(t *testing.T) {
	dir := t.TempDir()
	controls, prompts := filepath.Join(dir, "controls"), filepath.Join(dir, "ip")
	for _, err := range []error{
		sdxl.SynthesiseControl(t.Context(), "controlnet", true, kernels.F32, filepath.Join(controls, "net")),
		sdxl.SynthesiseControl(t.Context(), "t2i-adapter", true, kernels.F32, filepath.Join(controls, "sub", "t2i")),
		sdxl.SynthesiseIPAdapters(t.Context(), true, kernels.F32, prompts),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	folders := []string{"-control-dir", controls, "-ip-adapter-dir", prompts}
	photo := encoded(t, func(x, y int) color.Color { return color.NRGBA{uint8(4 * x), uint8(4 * y), uint8(x * y), 255} })
	mask := encoded(t, func(x, _ int) color.Color { return color.Gray{uint8(255 * (x / 40))} })
	bodies := []string{
		of("a cat", ""),
		of("a cat", fmt.Sprintf(`,"image":%q,"mask":%q,"strength":1`, photo, mask)),
		of("a cat", fmt.Sprintf(`,"controls":[{"model":"net","image":%q,"scale":3}]`, photo)),
		of("a cat", fmt.Sprintf(`,"t2i_adapters":[{"model":"sub/t2i","image":%q,"scale":3}]`, photo)),
		of("a cat", fmt.Sprintf(`,"ip_adapters":[{"model":"sdxl_models/ip-adapter_sdxl","image":%q,"mask":%q,"scales":{"mid":1.5,"up":1}}]`, photo, mask)),
		of("a cat", `,"hires":{"scale":1.5,"upscaler":"lanczos"}`),
		of("a cat", fmt.Sprintf(`,"controls":[{"model":"net","image":%q}],"ip_adapters":[{"model":"sdxl_models/ip-adapter_sdxl","image":%q}],"hires":{"scale":1.5}`, photo, photo)),
	}
	made := make([]string, len(bodies))
	address, _, ended := start(t, append([]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-watermark=false"}, folders...)...)
	for i, body := range bodies {
		made[i] = pixelsOf(t, get(t, address+"/download/"+post(t, address+"/generate", body)))
		for k := range i {
			if made[k] == made[i] {
				t.Errorf("%.80s and %.80s give the same image", bodies[k], body)
			}
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}

	a := newApartOf(t, parseModels(t, []string{"-model", "synth:tiny"}), "cpu", process.Config{}, func(c *server.Config) {
		c.ControlDir, c.IPAdapterDir = controls, prompts
	})
	for i, body := range bodies {
		if pixelsOf(t, a.answer(t, body)) != made[i] {
			t.Errorf("%.80s: a process of its own computes another image", body)
		}
	}

	listen, secret := natsAccess(t)
	_, api := spawn(t, append([]string{"-model", "synth:tiny", "-images", t.TempDir(), "-role", "api", "-nats", "embedded", "-nats-listen", listen, "-nats-token", secret, "-watermark=false"}, folders...)...)
	flags := []string{"-model", "synth:tiny", "-nats", "nats://" + listen, "-nats-token", secret, "-device", "cpu"}
	startWorker(t, slices.Concat(flags, folders)...)
	startWorker(t, flags...)
	for deadline := time.Now().Add(time.Minute); strings.Count(read(t, api+"/v1/models"), `"state":"ready"`) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no two workers")
		}
	}
	for i, body := range bodies {
		if pixelsOf(t, get(t, api+"/download/"+post(t, api+"/generate", body))) != made[i] {
			t.Errorf("%.80s: a worker computes another image", body)
		}
	}
}
