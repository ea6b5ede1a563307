package sdxl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights/lora"
)

// LoRA is an adapter of a request: a file of LoRA or one of its relatives, and how much of it acts where; see package
// lora.
type LoRA struct {
	Path      string
	Strengths lora.Strengths
}

// LoRAParameters says which adapter a run had.
type LoRAParameters struct {
	Name string `json:"name"`           // the file's, without its extension
	Hash string `json:"hash,omitempty"` // SHA-256 of the file; "" in what a Spec resolves
	// ShortHash is the hash by which A1111 and model sites know the adapter, twelve digits; "" in what a Spec resolves.
	ShortHash string `json:"short_hash,omitempty"`
	Strength  string `json:"strength"` // as lora.ParseStrengths reads it
}

// loraName is what an adapter is called: its file's name without the extension.
func loraName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// adapterSet is an ordered list of adapters, put on a model: what each component's weights become.
type adapterSet struct {
	key      string
	networks map[string]*nn.Network     // that it was built for, by component: parts of a model may be replaced
	updates  map[string]*kernels.Update // by component; none for one that nothing changes
	files    []*lora.File
	notes    []string // for the log: how many modules of each adapter were found
	warned   []string // for who asked
	bytes    int64    // of the files' tensors, which is what the set keeps in the host's memory

	embeddings []TextualInversion // that the files bring along

	owner *adapters
	uses  int // runs and networks that have it, and the cache; guarded by the owner
}

// adaptable are the components that adapters change, by name.
func (m *Model) adaptable() map[string]*nn.Network {
	all := map[string]*nn.Network{"unet": m.UNet.Network, "text_encoder_2": m.TextEncoder2.Network}
	if m.TextEncoder != nil {
		all["text_encoder"] = m.TextEncoder.Network
	}
	return all
}

// buildAdapters matches files with the model's components. It closes the files if it fails.
func (m *Model) buildAdapters(ctx context.Context, key string, networks map[string]*nn.Network, list []LoRA, files []*lora.File) (set *adapterSet, err error) {
	set = &adapterSet{owner: m.adapters, key: key, networks: networks, files: files, updates: map[string]*kernels.Update{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, set.close())
		}
	}()
	sources := map[string]kernels.Source{}
	for name, n := range networks {
		sources[name] = n.Source()
	}
	targets, err := lora.TargetsOf(sources)
	if err != nil {
		return set, err
	}
	var selected []lora.Selected
	for i, l := range list {
		if err := ctx.Err(); err != nil {
			return set, err
		}
		adapter, report, err := files[i].Match(targets)
		if err != nil {
			return set, &RequestError{Field: "loras", Value: l.Path, Allowed: "an adapter for this model", Err: err}
		}
		set.notes = append(set.notes, fmt.Sprintf("LoRA %s: %d of %d modules", loraName(l.Path), report.Matched, report.Modules))
		if len(report.Unmatched) > 0 {
			set.warned = append(set.warned, fmt.Sprintf("LoRA %s: %v", loraName(l.Path), report))
		}
		for _, w := range report.Warnings {
			set.warned = append(set.warned, fmt.Sprintf("LoRA %s: %s", loraName(l.Path), w))
		}
		bundled, err := m.Spec().bundledEmbeddings(files[i])
		if err != nil {
			return set, &RequestError{Field: "loras", Value: l.Path, Allowed: "an adapter for this model", Err: err}
		}
		set.embeddings = append(set.embeddings, bundled...)
		selected = append(selected, lora.Selected{Adapter: adapter, Strengths: l.Strengths})
	}
	for name, src := range sources {
		if u := lora.Update(src, name, selected); u != nil {
			set.updates[name] = u
		}
	}
	for _, f := range files {
		for _, name := range f.Names() {
			_, _, bytes, err := f.Stored(name)
			if err != nil {
				return set, err
			}
			set.bytes += bytes
		}
	}
	return set, nil
}

func (set *adapterSet) close() error {
	var all []error
	for _, f := range set.files {
		all = append(all, f.Close())
	}
	set.files = nil
	return errors.Join(all...)
}

// adapt makes the components' weights those of a set of adapters, nil for the model's own. Its caller has the right to
// compute.
func (m *Model) adapt(ctx context.Context, set *adapterSet, components map[string]*nn.Network) error {
	for name, n := range components {
		if err := m.host.adapt(ctx, n, set, name); err != nil {
			return fmt.Errorf("%s: adapters: %w", name, err)
		}
	}
	return nil
}

// adapt builds the set of adapters of the run's request, and puts it on the model, but for what has the shared set.
func (r *Run) adapt(ctx context.Context, shared *adapterSet) error {
	set, hashes, err := r.m.adapterSet(ctx, r.q.loras)
	if err != nil {
		return err
	}
	r.adapters = set
	for i, hash := range hashes {
		r.q.LoRAs[i].Hash, r.q.LoRAs[i].ShortHash = hash, shortHashOfFile(r.q.loras[i].Path)
	}
	if set != nil {
		r.warnings = append(r.warnings, set.warned...)
		r.q.request.TextualInversions = slices.Concat(r.q.request.TextualInversions, set.embeddings)
		if err := r.m.Spec().checkTextualInversions(r.q); err != nil {
			return errors.Join(err, set.release())
		}
		r.warnings = append(r.warnings, r.m.Spec().uneven(set.embeddings)...)
	}
	for name, n := range r.m.adaptable() {
		of := set
		if shared != nil && shared.networks[name] == n {
			of = shared
		}
		if err := r.m.adapt(ctx, of, map[string]*nn.Network{name: n}); err != nil {
			return errors.Join(err, set.release())
		}
	}
	return nil
}
