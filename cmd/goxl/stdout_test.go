package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullStdout fails where results can't be written, whatever the command.
func TestFullStdout(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"help", "synth"}, {"version"}, {"inspect", "synth:tiny"}, tiny(t.TempDir())} {
		var said strings.Builder
		if status := runTo(t.Context(), args, full, &said); status != 1 || !strings.Contains(said.String(), "goxl: write /dev/full: no space left") {
			t.Errorf("goxl %q: status %d, said %q; want 1", args, status, said.String())
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var said strings.Builder
	if status := runTo(t.Context(), []string{"help"}, out, &said); status != 0 || said.Len() > 0 {
		t.Errorf("goxl help: status %d, said %q", status, said.String())
	}
	if info, err := os.Stat(out.Name()); err != nil || !(streams{out: &stdout{file: out}}).isStdout(info) {
		t.Errorf("standard output is not known by its name: %v", err)
	}
}
