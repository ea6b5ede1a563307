package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// Every model that has files, and the refiner, has a fingerprint by the name that requests have; what can't be read has
// none, and the log says why.
func TestFingerprints(t *testing.T) {
	folder := t.TempDir()
	make := func(model string) string {
		t.Helper()
		path := filepath.Join(folder, model)
		if err := sdxl.Synthesise(t.Context(), model, kernels.F32, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base, refiner := make("tiny"), make("tiny-refiner")
	var log bytes.Buffer
	of := func(args ...string) map[string]string {
		t.Helper()
		m := parseModels(t, args)
		return m.fingerprints(slog.New(slog.NewTextHandler(&log, nil)))
	}
	sums := of("-model", "demo", "-model", base, "-model", "again="+base, "-model", "synth:tiny", "-refiner", refiner)
	if len(sums) != 3 || sums["tiny"] == "" || sums["again"] != sums["tiny"] || sums["tiny-refiner"] == "" || sums["tiny-refiner"] == sums["tiny"] {
		t.Errorf("%v", sums)
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
	if other := of("-model", base, "-vae", filepath.Join(refiner, "vae")); other["tiny"] == sums["tiny"] || other["tiny"] == "" {
		t.Errorf("with another VAE %v, want another one than %v", other, sums)
	}
	if sums := of("-model", filepath.Join(folder, "gone")); len(sums) != 0 || !strings.Contains(log.String(), "model=gone") {
		t.Errorf("%v, the log says %s", sums, &log)
	}
}
