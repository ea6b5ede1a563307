package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/server/process"
)

// An engine's process that is stopped or killed, idle or computing, does not stop the server: /readyz says so, a request
// that was computed is computed anew by the process that is started in its place.
func TestEngineStopped(t *testing.T) { stopEngines(t, "synth:tiny", "cpu") }

func stopEngines(t *testing.T, model, device string) {
	for signal, says := range map[syscall.Signal]string{
		syscall.SIGSTOP: "the engine's process gave no sign of life for ",
		syscall.SIGKILL: "the engine's process ended: signal: killed",
	} {
		t.Run(signal.String(), func(t *testing.T) {
			a := newApartWith(t, model, "", device, process.Config{SilenceTimeout: 3 * time.Second})
			a.stopEngines(t, signal)
			if log := a.log.String(); strings.Count(log, `msg="device lost"`) != 2 || strings.Count(log, says) < 2 || strings.Count(log, "model loaded") != 3 {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// stopEngines sends the signal to an engine that is idle, and to the next one while it computes.
func (a *apart) stopEngines(t *testing.T, signal syscall.Signal) {
	first := <-a.engines
	_, made := a.image(t, "/generate", small)
	if err := syscall.Kill(first.Pid(), signal); err != nil {
		t.Fatal(err)
	}
	ready := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
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

	long, hangUp := a.long(t)
	if err := syscall.Kill(second.Pid(), signal); err != nil {
		t.Fatal(err)
	}
	<-a.engines
	a.busy() // with another attempt
	hangUp()
	if got := <-long; got != `499 {"detail":"The client hung up"}` {
		t.Errorf("the request that was computed: %s", got)
	}
	if _, again := a.image(t, "/generate", small); again != made {
		t.Error("the next process computes another image")
	}
}
