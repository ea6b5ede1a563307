package engine

import (
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// Origins says where each tensor of a component comes from: the source that its weights were made with, or an update.
// It is not changed once it is made.
type Origins struct {
	source kernels.Source // nil if there is none
	update *kernels.Update
	whole  map[string]bool // of update
}

// NewOrigins says that every tensor comes from a source, which may be nil.
func NewOrigins(src kernels.Source) *Origins { return &Origins{source: src} }

// With is the same with another update, which it checks; nil is none.
func (o *Origins) With(u *kernels.Update) (*Origins, error) {
	if u == nil {
		return NewOrigins(o.source), nil
	}
	if o.source == nil {
		return nil, errors.New("update: the weights have no source")
	}
	if err := u.Check(o.source); err != nil {
		return nil, err
	}
	updated := &Origins{source: o.source, update: u, whole: make(map[string]bool, len(u.Whole))}
	for _, name := range u.Whole {
		updated.whole[name] = true
	}
	return updated, nil
}

// Changed holds the tensors that come from an update here or in p, which may differ between the two.
func (o *Origins) Changed(p *Origins) map[string]bool {
	changed := map[string]bool{}
	for _, u := range []*kernels.Update{o.update, p.update} {
		for _, name := range u.Names() {
			changed[name] = true
		}
	}
	return changed
}

// Find checks that a weight is as the plan wants it, without reading it.
func (o *Origins) Find(want kernels.Tensor) error { return FindWeight(o.source, want) }

// Read returns the data of a weight that Find has found. LowRank is to be added to it.
func (o *Origins) Read(want kernels.Tensor) ([]byte, error) {
	if o.whole[want.Name] {
		data, err := ReadWeight(o.update.Source, want)
		if err != nil {
			return nil, fmt.Errorf("update: %w", err)
		}
		return data, nil
	}
	return ReadWeight(o.source, want)
}

// Own reports whether Read gives a weight as the weights' own source has it, which no update changes.
func (o *Origins) Own(name string) bool { return !o.whole[name] }

// LowRank is what is added to a weight as Read gives it.
func (o *Origins) LowRank(name string) []kernels.LowRank {
	if o.update == nil {
		return nil
	}
	return o.update.LowRank[name]
}

// Storage says where the data of a weight lies that Read gives. What the source of an update keeps in memory counts as
// made for these weights.
func (o *Origins) Storage(name string) kernels.Storage {
	if !o.whole[name] {
		return o.source.Storage(name)
	}
	if at := o.update.Source.Storage(name); at != kernels.Kept {
		return at
	}
	return kernels.Made
}

// Release releases what was read; see kernels.Source.
func (o *Origins) Release() error {
	var failed []error
	if o.source != nil {
		failed = append(failed, o.source.Release())
	}
	if o.update != nil && o.update.Source != nil {
		failed = append(failed, o.update.Source.Release())
	}
	return errors.Join(failed...)
}
