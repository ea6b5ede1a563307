package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// An image that does not fit -memory is refused at once, with what it needs and what is allowed, and the next one is
// computed.
func TestMemoryOfTheCPU(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	address, stderr, ended := start(t, "-model", "synth:tiny", "-images", t.TempDir(), "-device", "cpu", "-memory", "24MiB")
	resp, err := http.Post(address+"/generate", "application/json", strings.NewReader(`{"prompt":"a cat","width":2048,"height":2048,"num_inference_steps":1}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	detail := regexp.MustCompile(`^\{"detail":"The device has too little memory for this image: ask for a smaller one: \d+\.\d\d MiB needed, 24\.00 MiB allowed"\}$`)
	if resp.StatusCode != http.StatusInsufficientStorage || !detail.Match(answer) {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
	post(t, address+"/generate", small)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
	if !strings.Contains(stderr.String(), "memory_mib=24") || !strings.Contains(stderr.String(), "out of device memory") {
		t.Errorf("the log is\n%s", stderr)
	}
}
