package sdxl

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
)

// TestTwoBases has two full-size bases on one card, with less memory than both take: each evicts what it must of the
// other, and gives the image that it gives alone. It reads the models that TestFullMemory makes.
func TestTwoBases(t *testing.T) {
	if *fullModels == "" {
		t.Skip("-full names no folder")
	}
	dir := filepath.Join(*fullModels, "base")
	if !exists(dir) {
		if err := Synthesise(t.Context(), "base", kernels.F16, dir); err != nil {
			t.Fatal(err)
		}
	}
	r := Request{Prompt: "a lighthouse at dusk", Steps: 4, Height: 1024, Width: 1024, Seed: new(uint64(1))}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	dev := card(t, cuda.Options{Memory: *fullCap})
	host := hostOf(dev, logger)
	var bases [2]*Model
	for i := range bases {
		m, err := Open(t.Context(), dir, Options{Host: host, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		bases[i] = m
	}
	var want []byte
	for round := range 2 {
		for i, m := range bases {
			began := time.Now()
			result, err := m.Generate(t.Context(), r)
			if err != nil {
				t.Fatalf("round %d, base %d: %v", round+1, i+1, err)
			}
			memory, err := dev.Memory()
			if err != nil || memory.Peak > *fullCap {
				t.Errorf("round %d, base %d: %d bytes at most, %d may be taken: %v", round+1, i+1, memory.Peak, *fullCap, err)
			}
			t.Logf("round %d, base %d: %v, %.2f GB in use, %.2f GB at most", round+1, i+1, time.Since(began).Round(time.Millisecond), gb(memory.Used), gb(memory.Peak))
			if want == nil {
				want = result.Images[0].Pix
			} else if !slices.Equal(result.Images[0].Pix, want) {
				t.Errorf("round %d, base %d: another image", round+1, i+1)
			}
		}
	}
	// Runs of both stepped in turns evict each other at every step.
	var runs [2]*Run
	for i, m := range bases {
		run, err := m.Start(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		runs[i] = run
	}
	for runs[0].Next() {
		for i, run := range runs {
			if err := run.Step(t.Context()); err != nil {
				t.Fatalf("run %d: %v", i+1, err)
			}
		}
	}
	for i, run := range runs {
		result, err := run.Finish(t.Context())
		if err != nil {
			t.Fatalf("run %d: %v", i+1, err)
		}
		if !slices.Equal(result.Images[0].Pix, want) {
			t.Errorf("run %d in turns: another image", i+1)
		}
	}
	t.Logf("log:\n%s", &log)
	if !strings.Contains(log.String(), "evicting=") {
		t.Error("nothing was evicted")
	}
}
