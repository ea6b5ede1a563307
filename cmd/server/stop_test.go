package main

import (
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/server/process"
)

// An engine's process that is stopped, idle or computing, does not stop the server: /readyz says so, a request that was
// computed is answered 500, and the process is killed and started again.
func TestEngineStopped(t *testing.T) {
	a := newApartWith(t, "synth:tiny", "", "cpu", process.Config{SilenceTimeout: 3 * time.Second})
	first := <-a.engines
	_, made := a.image(t, "/generate", small)
	if err := syscall.Kill(first.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ready := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			if code, _ := a.do("GET", "/readyz", ""); code == want {
				return
			}
		}
		t.Fatalf("/readyz is never %d:\n%s", want, a.log)
	}
	ready(http.StatusServiceUnavailable)
	ready(http.StatusOK)
	second := <-a.engines
	if _, again := a.image(t, "/generate", small); again != made {
		t.Error("the next process computes another image")
	}

	long := make(chan string, 1)
	go func() {
		code, answer := a.do("POST", "/generate", `{"prompt":"a","width":1024,"height":1024,"num_inference_steps":200}`)
		long <- strconv.Itoa(code) + " " + answer
	}()
	a.busy()
	if err := syscall.Kill(second.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := <-long; !strings.HasPrefix(got, "500 ") || !strings.Contains(got, "it is being opened again") {
		t.Errorf("the request that was computed: %s", got)
	}
	ready(http.StatusOK)
	if _, again := a.image(t, "/generate", small); again != made {
		t.Error("the next process computes another image")
	}
	if log := a.log.String(); strings.Count(log, `msg="device lost" device=cpu error="the engine's process gave no sign of life for `) != 2 || strings.Count(log, "model loaded") != 3 {
		t.Errorf("log:\n%s", log)
	}
}
