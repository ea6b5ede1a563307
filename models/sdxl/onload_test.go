package sdxl

import (
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels/cpu"
)

// OnLoad is told of every byte of the weights once: nothing while the model is opened, all of them by the first image,
// and nothing by the next.
func TestOnLoad(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	host, err := NewHost(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls int
	told := map[int64]bool{}
	var last, total int64
	m, err := Open(t.Context(), "synth:tiny", Options{Host: host, OnLoad: func(done, of int64) {
		mu.Lock()
		defer mu.Unlock()
		if told[done] || done > of {
			t.Errorf("%d of %d bytes, told before %v", done, of, told[done])
		}
		told[done] = true
		calls++
		last, total = max(last, done), of
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	opened := last
	r := Request{Prompt: "a", Width: 64, Height: 64, Steps: 1}
	if _, err := m.Generate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// The VAE's encoder is not used by text-to-image.
	var want int64
	for _, src := range m.sources {
		for _, name := range src.Names() {
			dtype, shape, err := src.Describe(name)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(dtype.Size())
			for _, side := range shape {
				n *= int64(side)
			}
			want += n
		}
	}
	if total != want || last <= opened || last < want*3/4 {
		t.Errorf("%d of %d bytes were told after %d when the model was opened: must be most of %d", last, total, opened, want)
	}
	before := calls
	if _, err := m.Generate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if calls != before {
		t.Errorf("the second image read weights %d times", calls-before)
	}
}
