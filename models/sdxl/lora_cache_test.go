package sdxl

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/nn/weights"
)

// TestLoRASwaps: a hundred swaps leave memory flat, and every image is that of a fresh start.
func TestLoRASwaps(t *testing.T) {
	models := newModels(t)
	m := models.open("tiny")
	a, b := adapterFile(t, m, "a", 4, true), adapterFile(t, m, "b", 5, false)
	sets := [][]LoRA{{a}, {b, a}, nil, {a, b}}
	var want []*Tensor
	for _, set := range sets {
		fresh := newModels(t).open("tiny")
		want = append(want, latentsAlone(t, fresh, adapted(set...))[0])
	}
	if slices.Equal(want[1].Data, want[3].Data) {
		t.Log("the order of these adapters does not matter, as they only add up")
	}
	var used int64
	var open int
	for i := range 100 {
		k := i % len(sets)
		if got := latentsAlone(t, m, adapted(sets[k]...))[0]; !slices.Equal(got.Data, want[k].Data) {
			t.Fatalf("swap %d: other latents than those of a fresh start", i)
		}
		memory, err := m.host.device.Memory()
		if err != nil {
			t.Fatal(err)
		}
		if k != 0 {
			continue
		}
		mapped := mappedFiles(t, ".safetensors")
		if i > 0 && (memory.Used > used || mapped > open) {
			t.Fatalf("swap %d: %d bytes in use and %d files mapped; before %d and %d", i, memory.Used, mapped, used, open)
		}
		if i == len(sets) {
			used, open = memory.Used, mapped
		} else if i == 0 {
			used, open = math.MaxInt64, math.MaxInt
		}
	}
}

// mappedFiles counts the mappings of files of this process whose names end so; 0 where that can't be told.
func mappedFiles(t *testing.T, ending string) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(strings.TrimSpace(line), ending) {
			n++
		}
	}
	return n
}

// TestLoRACache: sets beyond the budget go, and their files are closed with the last run that uses them.
func TestLoRACache(t *testing.T) {
	m := newModels(t).open("tiny")
	m.adapters = newAdapters(1)
	before := mappedFiles(t, "cached.safetensors")
	for i := range 5 {
		l := adapterFile(t, m, "cached", uint64(10+i), false)
		latentsAlone(t, m, adapted(l))
	}
	if n := m.adapters.sets.Len(); n != 1 {
		t.Errorf("%d sets, want the last one alone", n)
	}
	if got := mappedFiles(t, "cached.safetensors"); got > before+1 {
		t.Errorf("%d files are mapped, %d before", got, before)
	}
	latentsAlone(t, m, adapted())
	if err := m.adapters.close(); err != nil {
		t.Error(err)
	}
	if got := mappedFiles(t, "cached.safetensors"); got != before {
		t.Errorf("%d files are mapped, want %d", got, before)
	}
}

// TestLoRAOfCacheIsNotOpened: a set that is there is found by the size and the time of its files, which are opened where
// these differ.
func TestLoRAOfCacheIsNotOpened(t *testing.T) {
	m := newModels(t).open("tiny")
	l := adapterFile(t, m, "replaced", 60, false)
	want := latentsAlone(t, m, adapted(l))[0]
	info, err := os.Stat(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, make([]byte, info.Size()), 0o644); err != nil {
		t.Fatal(err)
	}
	replace := func(modified time.Time) {
		t.Helper()
		if err := errors.Join(os.Chtimes(other, modified, modified), os.Remove(l.Path), os.Link(other, l.Path)); err != nil {
			t.Fatal(err)
		}
	}
	replace(info.ModTime())
	if got := latentsAlone(t, m, adapted(), adapted(l))[1]; !slices.Equal(got.Data, want.Data) {
		t.Error("a set of the cache is not what it was")
	}
	replace(info.ModTime().Add(time.Second))
	if _, err := m.Generate(t.Context(), adapted(l)); err == nil || !strings.Contains(err.Error(), "a file with an adapter") {
		t.Errorf("a file that has changed: %v", err)
	}
}

// normsOf writes those tensors of an adapter's file that are whole differences, not products of low rank.
func normsOf(t *testing.T, l LoRA) LoRA {
	t.Helper()
	f, err := weights.Open(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []weights.Tensor
	for _, name := range f.Names() {
		if !strings.HasSuffix(name, ".w_norm") {
			continue
		}
		dtype, shape, data, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, weights.NewTensor(name, dtype, shape, data))
	}
	file := filepath.Join(t.TempDir(), "norms.safetensors")
	if err := weights.Write(file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return LoRA{file, l.Strengths}
}
