package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var metricsField = regexp.MustCompile(`at=(http://\S+/metrics)`)

// The metrics are on the server's own address, on another one, or nowhere.
func TestMetricsFlag(t *testing.T) {
	for _, c := range []struct {
		args []string
		here int // status of /metrics on the server's own address
	}{
		{nil, 200}, {[]string{"-metrics", "on"}, 200}, {[]string{"-metrics", "off"}, 404}, {[]string{"-metrics", "127.0.0.1:0"}, 404},
	} {
		address, stderr, ended := start(t, append([]string{"-model", "synth:tiny", "-device", "cpu", "-threads", "1", "-images", t.TempDir()}, c.args...)...)
		places := map[string]int{address + "/metrics": c.here}
		if m := metricsField.FindStringSubmatch(stderr.String()); (m != nil) != (c.here == 404 && c.args[1] != "off") {
			t.Errorf("%q: %s", c.args, stderr)
		} else if m != nil {
			places[m[1]] = 200
		}
		for place, want := range places {
			resp, err := http.Get(place)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want || err != nil || want == 200 && !strings.Contains(string(body), `goxl_device_memory_used_bytes{device="cpu"} `) {
				t.Errorf("%q: %s: %d %v %s", c.args, place, resp.StatusCode, err, body)
			}
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case status := <-ended:
			if status != 0 {
				t.Errorf("%q: status %d:\n%s", c.args, status, stderr)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q: SIGTERM did not end it:\n%s", c.args, stderr)
		}
	}
}
