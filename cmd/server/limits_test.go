package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Each limit of a request is the server's: its log tells them, and a request that may compute for a nanosecond is answered 504.
func TestLimitFlags(t *testing.T) {
	address, stderr, ended := start(t, "-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(),
		"-max-pixels", "12345", "-max-steps", "77", "-max-batch", "3", "-request-timeout", "1ns")
	resp, err := http.Post(address+"/generate", "application/json", strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("a request that may compute for 1 ns: status %d, want 504", resp.StatusCode)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	const want = `msg="limits of a request" device=cpu max_pixels=12345 max_steps=77 max_batch=3 request_timeout=1ns`
	if !strings.Contains(stderr.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, stderr)
	}
}
