package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// What journal, queue, events and files take of a device's time: the device computes for 50 ms an image in 50 steps, and
// as many requests come as keep it busy. overhead-% is what it takes longer for all than for the computations.
func BenchmarkOverhead(b *testing.B) {
	const compute, steps, clients = 50 * time.Millisecond, 50, 4
	s := loadedBench(b, nil)
	var busy time.Duration // of the device, as long as its sleep took
	s.base.run = func(_ context.Context, r sdxl.Request) error {
		began := time.Now()
		for i := range steps {
			time.Sleep(compute / steps)
			r.Progress(sdxl.Progress{Step: i + 1, Steps: steps})
		}
		busy += time.Since(began)
		return nil
	}
	work := make(chan struct{})
	var all sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range clients {
		all.Go(func() {
			for range work {
				if w := s.do("POST", "/generate", plain); w.Code != 200 {
					b.Errorf("%d %s", w.Code, w.Body)
				}
			}
		})
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.ReportMetric(100*float64(time.Since(began)-busy)/float64(busy), "overhead-%")
}
