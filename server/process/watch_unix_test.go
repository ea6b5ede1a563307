//go:build unix

package process

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// A program that no server started says so.
func TestNoPipes(t *testing.T) {
	out, err := exec.Command(os.Args[0], asProgram, "").CombinedOutput()
	if want := "served: process: file descriptor 3 is no pipe: this program is started by a server alone"; err == nil || string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

// A program that is stopped, computing or idle, is noticed, killed and lost.
func TestStopped(t *testing.T) {
	for _, idle := range []bool{false, true} {
		e, _ := launchWith(t, "", Config{SilenceTimeout: 450 * time.Millisecond})
		computed := make(chan error, 1)
		if !idle {
			go func() {
				_, err := e.Generate(t.Context(), ask("wait"))
				computed <- err
			}()
			time.Sleep(50 * time.Millisecond)
		}
		if err := syscall.Kill(e.Pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		const want = "the engine's process gave no sign of life for "
		if idle {
			for deadline := time.Now().Add(time.Minute); e.Lost() == nil && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
		} else if err := <-computed; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("the call: %v", err)
		}
		if err := e.Lost(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("idle %v: lost: %v", idle, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if _, err := e.Generate(t.Context(), ask("a")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("a call afterwards: %v", err)
		}
	}
}

// A program that is stopped while it opens its model does not hold up who starts it.
func TestStoppedWhileOpening(t *testing.T) {
	c := exec.Command(os.Args[0], asProgram, "slow to open")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	failed := make(chan error, 1)
	p, err := start(c, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := p.ask(t.Context(), patience{step: time.Minute}, call{Do: hello, Beat: p.beat}, callbacks{})
		failed <- err
	}()
	for lives := false; !lives; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		lives = p.lives
		p.mu.Unlock()
	}
	if err := syscall.Kill(c.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || !strings.HasPrefix(err.Error(), "the engine's process gave no sign of life for ") {
		t.Errorf("%v", err)
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

// A program that takes no input does not keep a call that has much of it.
func TestStoppedWhileSending(t *testing.T) {
	e, _ := launchWith(t, "", Config{SilenceTimeout: 450 * time.Millisecond})
	if err := syscall.Kill(e.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	j := ask("a")
	j.Request.Latents = &sdxl.Tensor{Shape: []int{1, 1, 1, 1 << 20}, Data: make([]float32, 1<<20)}
	if _, err := e.Generate(t.Context(), j); err == nil || !strings.HasPrefix(err.Error(), "the engine's process gave no sign of life for ") {
		t.Errorf("%v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A program that is stopped, killed or hangs in the middle of an answer does not keep who reads it.
func TestHalfAnAnswer(t *testing.T) {
	for signal, says := range map[syscall.Signal]string{
		syscall.SIGSTOP: "the engine's process gave no sign of life for ", syscall.SIGCONT: "the engine's process gave no sign of life for ",
		syscall.SIGKILL: "the engine's process ended: signal: killed",
	} {
		e, _ := launchWith(t, "", Config{SilenceTimeout: 450 * time.Millisecond})
		defer time.AfterFunc(200*time.Millisecond, func() { _ = syscall.Kill(e.Pid(), signal) }).Stop()
		if _, err := e.Generate(t.Context(), ask("half")); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%v: %v", signal, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
