package sdxl

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights/lora"
)

// defaultAdapterMemory is what Options.AdapterMemory is without a value.
const defaultAdapterMemory = 2 << 30

// adapters are the sets of adapters that a model has built, as long as they are in use and, up to a budget of memory,
// afterwards.
type adapters struct {
	mu     sync.Mutex
	budget int64
	bytes  int64
	sets   *list.List // of *adapterSet, the last used first
}

func newAdapters(budget int64) *adapters {
	return &adapters{budget: cmp.Or(budget, defaultAdapterMemory), sets: list.New()}
}

// adapterSet is the set of a request's adapters, built if it is not there yet; nil for none. It is the caller's until he
// releases it. hashes are those of the files, which are opened only where there is something to build.
func (m *Model) adapterSet(ctx context.Context, loras []LoRA) (set *adapterSet, hashes []string, err error) {
	if len(loras) == 0 {
		return nil, nil, nil
	}
	var key strings.Builder
	for _, l := range loras {
		hash := hashOfFile(l.Path)
		hashes = append(hashes, hash)
		fmt.Fprintf(&key, "%s %v\n", hash, l.Strengths)
	}
	networks := m.adaptable()
	if !slices.Contains(hashes, "") {
		if set := m.adapters.find(key.String(), networks); set != nil {
			return set, hashes, nil
		}
	}
	files, err := openAdapters(loras, hashes)
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	if set, err = m.buildAdapters(ctx, key.String(), networks, loras, files); err != nil {
		return nil, nil, err
	}
	for _, line := range set.notes {
		m.options.Log.Info(line)
	}
	m.options.Log.Debug("adapters built", "bytes", set.bytes, "took", time.Since(began))
	if err := m.adapters.add(set); err != nil {
		return nil, nil, errors.Join(err, set.release())
	}
	return set, hashes, nil
}

// openAdapters opens the files of adapters, which must still be those that were hashed.
func openAdapters(loras []LoRA, hashes []string) (files []*lora.File, err error) {
	for i, l := range loras {
		f, err := lora.Open(l.Path)
		if err == nil {
			files = append(files, f)
			if hashes[i] == "" || hashOfFile(l.Path) != hashes[i] {
				err = errors.New("the file changes while it is read")
			}
		}
		if err != nil {
			err = &RequestError{Field: "loras", Value: l.Path, Allowed: "a file with an adapter", Err: err}
			for _, f := range files {
				err = errors.Join(err, f.Close())
			}
			return nil, err
		}
	}
	return files, nil
}

// find returns a set for some networks that is there, the last used one from now on, and nil if it is not.
func (a *adapters) find(key string, networks map[string]*nn.Network) *adapterSet {
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := a.sets.Front(); e != nil; e = e.Next() {
		if set := e.Value.(*adapterSet); set.key == key && maps.Equal(set.networks, networks) {
			a.sets.MoveToFront(e)
			set.uses++
			return set
		}
	}
	return nil
}

// add takes a new set in, which its caller uses, and closes those that were not used for the longest time beyond the
// budget.
func (a *adapters) add(set *adapterSet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	set.uses = 2 // the caller's, and the cache's
	a.sets.PushFront(set)
	a.bytes += set.bytes
	return a.evict(a.budget, 1)
}

// evict lets the sets go that were not used for the longest time, down to so many bytes, and not below so many sets.
func (a *adapters) evict(bytes int64, keep int) error {
	var all []error
	for a.sets.Len() > keep && a.bytes > bytes {
		set := a.sets.Remove(a.sets.Back()).(*adapterSet)
		a.bytes -= set.bytes
		all = append(all, set.drop())
	}
	return errors.Join(all...)
}

// retain is for another user of a set; nil is no set.
func (set *adapterSet) retain() {
	if set != nil {
		set.owner.mu.Lock()
		defer set.owner.mu.Unlock()
		set.uses++
	}
}

// release is for a user of a set that is done with it; nil is no set.
func (set *adapterSet) release() error {
	if set == nil {
		return nil
	}
	set.owner.mu.Lock()
	defer set.owner.mu.Unlock()
	return set.drop()
}

// drop counts one user less. The last one closes the files. The owner's lock is held.
func (set *adapterSet) drop() error {
	if set.uses--; set.uses > 0 {
		return nil
	}
	return set.close()
}

// close lets all sets go that nobody uses.
func (a *adapters) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.evict(-1, 0)
}
