//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asProgram makes the test binary be goxl.
const asProgram = "GOXL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	for name, value := range map[string]string{"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": os.DevNull} { // no test asks the hub itself
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestSignal interrupts the program itself while it draws.
func TestSignal(t *testing.T) {
	dir := t.TempDir()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		c := exec.CommandContext(t.Context(), os.Args[0], "generate", "-model", "synth:tiny", "-prompt", "p", "-steps", "1000", "-n", "8", "-o", filepath.Join(dir, "out.png"))
		c.Env = append(os.Environ(), asProgram+"=1")
		stderr, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		var said strings.Builder
		for lines.Scan() {
			said.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "seed ") {
				if err := c.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.Wait() // its error is the status, which follows
		if got := c.ProcessState.ExitCode(); got != 1 || !strings.Contains(said.String(), "interrupted; nothing was written") {
			t.Errorf("%v: status %d, said %q", signal, got, &said)
		}
	}
	empty(t, dir)
}
