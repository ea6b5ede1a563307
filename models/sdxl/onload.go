package sdxl

import (
	"sync"

	"github.com/goxl/goxl/kernels"
)

// loadProgress counts the bytes of a model's weights that were read for the first time, for Options.OnLoad.
type loadProgress struct {
	tell func(done, total int64)

	mu          sync.Mutex
	done, total int64
}

// of counts what is read of a source.
func (r *loadProgress) of(src kernels.Source) (kernels.Source, error) {
	if r == nil {
		return src, nil
	}
	c := &counted{Source: src, progress: r, missing: map[string]int64{}}
	var sum int64
	for _, name := range src.Names() {
		dtype, shape, err := src.Describe(name)
		if err != nil {
			return nil, err
		}
		bytes := int64(dtype.Size())
		for _, n := range shape {
			bytes *= int64(n)
		}
		c.missing[name] = bytes
		sum += bytes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total += sum
	return c, nil
}

// counted is a source that tells what is read of it.
type counted struct {
	kernels.Source
	progress *loadProgress
	missing  map[string]int64 // bytes of the tensors that were not read yet; guarded by progress.mu
}

// Tensor implements kernels.Source.
func (c *counted) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := c.Source.Tensor(name)
	if err != nil {
		return dtype, shape, data, err
	}
	r := c.progress
	r.mu.Lock()
	bytes := c.missing[name]
	delete(c.missing, name)
	r.done += bytes
	done, total := r.done, r.total
	r.mu.Unlock()
	if bytes > 0 {
		r.tell(done, total)
	}
	return dtype, shape, data, nil
}
