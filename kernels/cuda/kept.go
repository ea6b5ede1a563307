package cuda

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// kept is the cache of the tensors that updates add products to: their bytes as the source has them, in the memory of
// the card. The next update reads them there instead of from the source, which never changes, and copies factors alone
// to the card. The cache is never in the way: it takes only memory that is spare, which does not count as used, and
// allocator.orReclaim frees all of it when anything else finds no memory.
type kept struct {
	memory *allocator

	mu     sync.Mutex // held while a load reads or fills blocks
	blocks []keptBlock
}

// keptBlock is memory with some tensors of some weights.
type keptBlock struct {
	weights *weights
	at      ptr
	tensors map[string]keptTensor
}

// keptTensor is a tensor on the card, and room for a copy that products are added to, which the tensors of a block
// share.
type keptTensor struct{ at, scratch ptr }

// keeping is what a load has of the cache.
type keeping struct {
	held  map[string]keptTensor
	fresh keptBlock // what the load is to keep more; at is 0 if that is nothing
}

// begin returns what is kept of weights and where a load of a list is to keep more. reserve is how many bytes have to
// stay free at least. The cache is the load's until end.
func (k *kept) begin(w *weights, list []*packed, reserve int64) keeping {
	k.mu.Lock()
	load := keeping{held: map[string]keptTensor{}, fresh: keptBlock{weights: w}}
	for _, b := range k.blocks {
		if b.weights == w {
			maps.Copy(load.held, b.tensors)
		}
	}
	var total, largest int64
	spare, offsets := k.memory.spare(reserve), map[string]int64{}
	for _, p := range list {
		_, held := load.held[p.name]
		_, chosen := offsets[p.name]
		n := align(p.sourceBytes(p.rows()))
		if held || chosen || len(w.origins.LowRank(p.name)) == 0 || total+n+max(largest, n) > spare {
			continue
		}
		offsets[p.name] = total
		total, largest = total+n, max(largest, n)
	}
	at, err := k.memory.keep(total + largest)
	if err != nil || at == 0 { // the card has less in one piece: the load does without
		return load
	}
	load.fresh.at, load.fresh.tensors = at, map[string]keptTensor{}
	for name, offset := range offsets {
		load.fresh.tensors[name] = keptTensor{at: at + ptr(offset), scratch: at + ptr(total)}
	}
	return load
}

// end gives the cache back once all work of the load is done. What it was to keep counts from then on, if it has all
// been copied.
func (k *kept) end(load keeping, copied bool) error {
	defer k.mu.Unlock()
	if load.fresh.at == 0 {
		return nil
	}
	if !copied {
		return k.memory.drop(load.fresh.at)
	}
	k.blocks = append(k.blocks, load.fresh)
	return nil
}

// forget frees what is kept of some weights.
func (k *kept) forget(w *weights) error {
	_, err := k.free(func(b keptBlock) bool { return b.weights == w })
	return err
}

// reclaim frees all that is kept, and reports whether that was anything. It waits for a load under way.
func (k *kept) reclaim() (freed bool, err error) {
	return k.free(func(keptBlock) bool { return true })
}

func (k *kept) free(which func(keptBlock) bool) (freed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var failed []error
	k.blocks = slices.DeleteFunc(k.blocks, func(b keptBlock) bool {
		if !which(b) {
			return false
		}
		freed = true
		failed = append(failed, k.memory.drop(b.at))
		return true
	})
	return freed, errors.Join(failed...)
}
