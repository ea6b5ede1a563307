package cuda

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestConcurrentPrograms lets three goroutines compile, write, run, read and close on one device at once, for the race
// detector and the fake's checks: no work of one may end up in the graph of another.
func TestConcurrentPrograms(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 3 {
				p := chain()
				w, err := d.NewWeights(sourceOf(p))
				if err != nil {
					t.Error(err)
					return
				}
				prog, err := d.Compile(p, w, kernels.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				for range 4 {
					err = errors.Join(err, prog.Write(0, make([]byte, 192)), prog.Write(3, make([]byte, 320)), prog.Run(context.Background()),
						prog.Read(context.Background(), 6, make([]byte, 320)), prog.Finite(context.Background()))
				}
				if err := errors.Join(err, prog.Close(), w.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if products, want := kernelCount(f, "skinny"), 3*3*4*2; products != want {
		t.Errorf("%d products were launched, want %d", products, want)
	}
}
