//go:build otel

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The spans of a request arrive at the endpoint that the environment names, at the latest when the server ends.
func TestTracesAreSent(t *testing.T) {
	var mu sync.Mutex
	var sent bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v %v", r.Method, r.URL, r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		sent.Write(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_SERVICE_NAME", "images-of-cats")
	address, stderr, ended := start(t, "-model", "synth:tiny", "-device", "cpu", "-threads", "1", "-images", t.TempDir())
	post(t, address+"/generate", `{"prompt":"a cat","width":64,"height":64,"num_inference_steps":2,"seed":1}`)
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
	mu.Lock()
	defer mu.Unlock()
	for _, text := range []string{"images-of-cats", "POST /generate", "queue", "run", "step", "encode", "goxl.device"} {
		if !bytes.Contains(sent.Bytes(), []byte(text)) {
			t.Errorf("%q is in none of the %d bytes that were sent", text, sent.Len())
		}
	}
}
