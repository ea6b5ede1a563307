package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	wide := inversionFile(t, "wide", 768, 1280)
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-model", ""}, 2, "-model is empty"},
		{[]string{"-model", "synth:tiny", "stray"}, 2, `unexpected argument "stray"`},
		{[]string{"-model", "synth:tiny", "-quality"}, 2, "not defined: -quality"},
		{[]string{"-model", "synth:tiny", "-queue", "-1"}, 2, "-queue -1: must be 0 or more"},
		{[]string{"-model", "synth:tiny", "-keep", "-1s"}, 2, "-keep -1s: must be 0 or more"},
		{[]string{"-model", "synth:tiny", "-keep-bytes", "-1"}, 2, "-keep-bytes -1: must be 0 or more"},
		{[]string{"-model", "synth:tiny", "-keep-bytes", "50GiB", "-queue", "-1"}, 2, "-queue -1: must be 0 or more"},
		{[]string{"-model", "synth:tiny", "-keep-bytes", "50 gigs"}, 2, `invalid value "50 gigs" for flag -keep-bytes: must be a number of bytes, or one with a unit, such as 50GiB`},
		{[]string{"-model", "synth:tiny", "-journal", filepath.Dir(file), "-images", t.TempDir()}, 1, "the journal"},
		{[]string{"-model", "synth:tiny", "-drain", "0s"}, 2, "-drain 0s: must be more than 0"},
		{[]string{"-model", "synth:tiny", "-refiner", "nowhere"}, 1, "-refiner: model nowhere: stat nowhere: no such file or directory"},
		{[]string{"-model", "synth:tiny-refiner"}, 2, "-model synth:tiny-refiner: is a refiner: must be a base model"},
		{[]string{"-model", "synth:tiny", "-refiner", "synth:tiny"}, 1, "-refiner: model synth:tiny: the model is a base"},
		{[]string{"-model", "synth:tiny", "-refiner", "demo"}, 2, "-refiner demo: belongs to -model demo, not to synth:tiny"},
		{[]string{"-model", "synth:tiny", "-device", "gpu"}, 2, "must be auto, cpu, cuda, cuda:N or cuda:all"},
		{[]string{"-model", "synth:tiny", "-precision", "int8"}, 2, "must be auto, fp32, bf16 or fp16"},
		{[]string{"-model", "synth:tiny", "-device", "cuda:999"}, 1, "cuda:"},
		{[]string{"-model", "synth:tiny", "-images", file}, 1, file},
		{[]string{"-model", "synth:tiny", "-images", t.TempDir(), "-addr", taken.Addr().String()}, 1, "address already in use"},
		{[]string{"-model", missing, "-images", t.TempDir(), "-addr", "127.0.0.1:0"}, 1, missing},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-gpu-memory", "1GiB"}, 2, "-gpu-memory 1GiB: has no meaning for -device cpu"},
		{[]string{"-model", "synth:tiny", "-allowed-hosts", "ok,http://a"}, 2, `invalid value "ok,http://a" for flag -allowed-hosts: "http://a": must be a host name or address`},
		{[]string{"-model", "synth:tiny", "-max-pixels", "-1"}, 2, "-max-pixels -1: must be 0 to 67108864"},
		{[]string{"-model", "synth:tiny", "-max-steps", "1001"}, 2, "-max-steps 1001: must be 0 to 1000"},
		{[]string{"-model", "synth:tiny", "-max-batch", "0"}, 2, "-max-batch 0: must be 1 to 64"},
		{[]string{"-model", "synth:tiny", "-request-timeout", "-1s"}, 2, "-request-timeout -1s: must be 0 or more"},
		{[]string{"-model", "synth:tiny", "-stall-timeout", "0s"}, 2, "-stall-timeout 0s: must be more than 0"},
		{[]string{"-model", "synth:tiny", "-prediction", "x0"}, 2, `invalid value "x0" for flag -prediction: must be one of epsilon, v_prediction, v_zsnr`},
		{[]string{"-model", "synth:tiny", "-prompt-style", "fancy"}, 2, `invalid value "fancy" for flag -prompt-style: must be one of plain, long, a1111, comfy, compel`},
		{[]string{"-model", "synth:tiny", "-preset", "fast"}, 2, `invalid value "fast" for flag -preset: must be one of bigasp2.5, dmd2-1`},
		{[]string{"-model", "synth:tiny", "-unet", missing}, 1, "UNet: "},
		{[]string{"-model", "synth:tiny", "-vae", missing, "-images", t.TempDir()}, 1, missing},
		{[]string{"-model", "synth:tiny", "-embedding", missing + ":cat"}, 1, "-embedding: "},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-embedding", wide}, 1, `textual_inversions is "wide" with [1 768] with 768 values for text_encoder (clip_l)`},
		{[]string{"-model", "synth:tiny", "-embedding", wide, "-embedding", wide + ":Wide"}, 2, `has the name "Wide"`},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-lora-dir", missing}, 1, "-lora-dir: must be a folder that can be read: open " + missing},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-lora-dir", file}, 1, "-lora-dir: must be a folder"},
		{[]string{"-model", "synth:tiny", "-control-dir", missing}, 1, "-control-dir: must be a folder that can be read: open " + missing},
		{[]string{"-model", "synth:tiny", "-ip-adapter-dir", file}, 1, "-ip-adapter-dir: must be a folder"},
		{[]string{"-role", "worker", "-nats", "nats://127.0.0.1:1", "-model", "synth:tiny", "-upscaler-dir", missing}, 1, "-upscaler-dir: must be a folder"},
		{[]string{"-model", "synth:tiny", "-addr", "0.0.0.0:0"}, 2, "-addr 0.0.0.0:0: other machines can reach it: must be a loopback address"},
		{[]string{"-model", "synth:tiny", "-cors", "a.example"}, 2, `invalid value "a.example" for flag -cors: "a.example": must be an origin`},
		{[]string{"-model", "synth:tiny", "-base-path", "x"}, 2, `invalid value "x" for flag -base-path: "x": must be a path`},
		{[]string{"-model", "synth:tiny", "-trusted-proxies", "10.0.0.0/99"}, 2, `flag -trusted-proxies: "10.0.0.0/99": must be an address or a network`},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-tokens", missing}, 1, "server: Tokens: stat " + missing},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-tokens", file}, 1, "server: Tokens: " + file + ": it names nobody"},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-tls-cert", missing, "-tls-key", missing}, 1, "server: TLSCert " + missing},
		{[]string{"token"}, 2, "server token: NAME comes first"},
		{[]string{"-metrics", "yes"}, 2, `invalid value "yes" for flag -metrics: must be on, off or host:port`},
		{[]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-metrics", "256.0.0.1:1"}, 1, "-metrics: "},
		{[]string{"-preview-method", "rgb"}, 2, `invalid value "rgb" for flag -preview-method: must be one of auto, latent2rgb, taesd, none`},
		{[]string{"-preview-method", "taesd"}, 2, "-preview-method taesd: needs -preview-taesd or -taesd"},
		{[]string{"engine", "-addr", "x"}, 2, "server engine: flag provided but not defined: -addr"},
		{[]string{"-h"}, 0, "-watermark=false"},
	} {
		var stderr bytes.Buffer
		if got := run(c.args, &stderr); got != c.status || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%q: status %d, want %d and %q in\n%s", c.args, got, c.status, c.says, &stderr)
		}
	}
}

// TestRefinerFlag is about which refiner is served: auto is the embedded model's own.
func TestRefinerFlag(t *testing.T) {
	for _, c := range []struct{ model, refiner, want string }{
		{"demo", "auto", "demo"}, {"demo", "demo", "demo"}, {"demo", "", ""}, {"demo", "none", ""}, {"demo", "folder", "folder"},
		{"folder", "auto", ""}, {"folder", "", ""}, {"folder", "refiner-folder", "refiner-folder"}, {"synth:tiny", "synth:tiny-refiner", "synth:tiny-refiner"},
	} {
		if got, err := (&models{model: c.model, refiner: c.refiner}).chosenRefiner(); err != nil || got != c.want {
			t.Errorf("-model %s -refiner %q: %q, %v; want %q", c.model, c.refiner, got, err, c.want)
		}
	}
}

// output is what a running command has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var addressField = regexp.MustCompile(`address=(http://\S+)`)

// start runs the command until it is ready.
func start(t *testing.T, args ...string) (address string, stderr *output, ended <-chan int) {
	t.Helper()
	stderr = &output{}
	status := make(chan int, 1)
	go func() { status <- run(append(args, "-addr", "127.0.0.1:0"), stderr) }()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if len(status) > 0 {
			break
		}
		m := addressField.FindStringSubmatch(stderr.String())
		if m == nil {
			continue
		}
		resp, err := http.Get(m[1] + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return m[1], stderr, status
		}
	}
	t.Fatalf("never ready:\n%s", stderr)
	return "", nil, nil
}

// post gives the id of the answer.
func post(t *testing.T, url, body string) string {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ ID string }
	if err := json.Unmarshal(data, &answer); err != nil || resp.StatusCode != http.StatusOK || answer.ID == "" {
		t.Fatalf("%s: %d %s", url, resp.StatusCode, data)
	}
	return answer.ID
}

// The command with a model of random weights: generate, with a refiner too, refine, on the base too, download, and the end by a signal.
func TestFlow(t *testing.T) {
	images := filepath.Join(t.TempDir(), "images")
	address, stderr, ended := start(t, "-model", "synth:tiny", "-refiner", "synth:tiny-refiner", "-images", images, "-threads", "1")
	made := post(t, address+"/generate", `{"prompt":"a cat","width":64,"height":"64","num_inference_steps":2,"seed":1}`)
	ensemble := post(t, address+"/generate", `{"prompt":"a cat","width":64,"height":64,"num_inference_steps":5,"seed":1,"refiner":true,"denoising_end":0.6,"guidance_scale":[7,3]}`)
	onBase := post(t, address+"/refine", fmt.Sprintf(`{"id":%q,"prompt":"a dog","num_inference_steps":4,"strength":0.5,"seed":1,"refiner":false,"original_size":[32,32]}`, made))
	refined := post(t, address+"/refine", fmt.Sprintf(`{"id":%q,"prompt":"a black cat","num_inference_steps":4,"strength":0.5,"seed":1}`, made))
	for _, id := range []string{made, refined, ensemble, onBase} {
		resp, err := http.Get(address + "/download/" + id)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(resp.Body)
		resp.Body.Close()
		if err != nil || img.Bounds().Dx() != 64 || img.Bounds().Dy() != 64 {
			t.Errorf("%s: %v", id, err)
		}
		if got, want := resp.Header.Get("Content-Disposition"), `attachment; filename="`+id+`.png"`; got != want {
			t.Errorf("Content-Disposition %q, want %q", got, want)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-ended:
		if status != 0 {
			t.Errorf("status %d:\n%s", status, stderr)
		}
	case <-time.After(time.Minute):
		t.Fatalf("SIGTERM did not end it:\n%s", stderr)
	}
	entries, err := os.ReadDir(images)
	if err != nil || len(entries) != 5 {
		t.Errorf("%v, %v: want four images and the journal", entries, err)
	}
	if log := stderr.String(); strings.Count(log, "msg=request method=POST") != 4 || !strings.Contains(log, "name=terminated") {
		t.Errorf("log:\n%s", log)
	}
}

// A second signal ends a computation that the first let go on. 200 steps outlast the test.
func TestSecondSignal(t *testing.T) {
	images := filepath.Join(t.TempDir(), "images")
	address, stderr, ended := start(t, "-model", "synth:tiny", "-device", "cpu", "-images", images, "-threads", "1", "-drain", "1h", "-queue", "0", "-request-timeout", "0")
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			resp, err := http.Post(address+"/generate", "application/json", strings.NewReader(`{"prompt":"a","width":1024,"height":1024,"num_inference_steps":200}`))
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answers <- fmt.Sprint(resp.StatusCode, " ", string(body))
		}()
	}
	if got := <-answers; got != `503 {"detail":"The queue is full"}` { // so the other is inside
		t.Errorf("one of two was answered %s", got)
	}
	for i := range 2 {
		for strings.Count(stderr.String(), "msg=signal") < i { // two that are pending at once would be one
			time.Sleep(time.Millisecond)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case status := <-ended:
		if status != 1 || !strings.Contains(stderr.String(), "the server was stopped") {
			t.Errorf("status %d:\n%s", status, stderr)
		}
	case <-time.After(time.Minute):
		t.Fatalf("two signals did not end it:\n%s", stderr)
	}
	if got := <-answers; got != `503 {"detail":"The server is stopping"}` {
		t.Errorf("the other was answered %s", got)
	}
	if entries, err := os.ReadDir(images); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: want the journal and no image", entries, err)
	}
}
