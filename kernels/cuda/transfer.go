package cuda

import (
	"context"
	"runtime"
	"sync"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// stagingSize is the pinned memory of one direction in bytes: two halves, so that the host fills or empties one while
// the other is on the bus.
const stagingSize = 16 << 20

// staging is pinned memory that copies between host and card go through.
type staging struct {
	mu   sync.Mutex
	host *driver.HostMemory
	half [2]struct {
		done *driver.Event // the last copy from or to this half
		used int64
	}
	now int
}

func newStaging(c *driver.Context) (s *staging, err error) {
	s = &staging{}
	if s.host, err = c.AllocHost(stagingSize, false); err != nil {
		return nil, err
	}
	for i := range s.half {
		if s.half[i].done, err = c.NewEvent(false); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *staging) close() error {
	var first error
	for i := range s.half {
		if err := s.half[i].done.Close(); first == nil {
			first = err
		}
	}
	if err := s.host.Close(); first == nil {
		first = err
	}
	return first
}

// reserve returns the place of n bytes, at most half of the memory, in the current half, or in the other once its
// copies are done.
func (s *staging) reserve(n int64) (int64, error) {
	const size = stagingSize / 2
	if h := &s.half[s.now]; h.used+n > size {
		s.now = 1 - s.now
		if err := s.half[s.now].done.Synchronize(); err != nil {
			return 0, err
		}
		s.half[s.now].used = 0
	}
	h := &s.half[s.now]
	at := int64(s.now)*size + h.used
	h.used += (n + 63) &^ 63
	return at, nil
}

// upload copies data to the card in stream order. The data may change when it returns, the copy may still be under way.
func (s *staging) upload(stream *driver.Stream, dst driver.Ptr, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(data) > 0 {
		n := min(int64(len(data)), stagingSize/2)
		at, err := s.reserve(n)
		if err != nil {
			return err
		}
		copyParallel(s.host.Bytes()[at:at+n], data)
		if err := stream.CopyToDevice(dst, s.host, at, n); err != nil {
			return err
		}
		if err := stream.Record(s.half[s.now].done); err != nil {
			return err
		}
		dst, data = dst+driver.Ptr(n), data[n:]
	}
	return nil
}

// copyParallel is copy by several goroutines where that is worth it: one CPU core alone is slower than the bus.
func copyParallel(dst, src []byte) {
	const worth, most = 1 << 20, 4
	n := min(len(dst), len(src))
	parts := min(most, runtime.GOMAXPROCS(0), n/worth)
	if parts < 2 {
		copy(dst, src)
		return
	}
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { copy(dst[n*i/parts:n*(i+1)/parts], src[n*i/parts:]) })
	}
	wg.Wait()
}

// download copies from the card in stream order and returns when dst is filled, or ctx ends.
func (s *staging) download(ctx context.Context, stream *driver.Stream, dst []byte, src driver.Ptr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	type piece struct {
		to   []byte
		half int
	}
	var waiting []piece
	finish := func(p piece) error {
		if err := await(ctx, s.half[p.half].done); err != nil {
			return err
		}
		at := int64(p.half) * (stagingSize / 2)
		copyParallel(p.to, s.host.Bytes()[at:])
		return nil
	}
	for half := 0; len(dst) > 0; half = 1 - half {
		if len(waiting) == 2 {
			if err := finish(waiting[0]); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
		n := min(int64(len(dst)), stagingSize/2)
		if err := stream.CopyToHost(s.host, int64(half)*(stagingSize/2), src, n); err != nil {
			return err
		}
		if err := stream.Record(s.half[half].done); err != nil {
			return err
		}
		waiting = append(waiting, piece{dst[:n], half})
		dst, src = dst[n:], src+driver.Ptr(n)
	}
	for _, p := range waiting {
		if err := finish(p); err != nil {
			return err
		}
	}
	return nil
}
