package lora

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// Adapter is a file put on a model: what it changes there. It is safe for concurrent use, and valid until its file is
// closed.
type Adapter struct {
	file    *File
	changes map[string]map[string][]Change
}

// Names lists the tensors of a component that the adapter changes, sorted.
func (a *Adapter) Names(component string) []string {
	return slices.Sorted(maps.Keys(a.changes[component]))
}

// Changes are those of one tensor, in their order.
func (a *Adapter) Changes(component, name string) []Change {
	return slices.Clone(a.changes[component][name])
}

// Unmatched is a module or key of a file that changes nothing.
type Unmatched struct{ Name, Why string }

// Report says how much of a file was matched.
type Report struct {
	Matched, Modules int // modules of the file, found in the model and all
	Unmatched        []Unmatched
	Warnings         []string
}

// String is "722 of 722 modules", with the first names that did not match.
func (r Report) String() string {
	const most = 5
	s := fmt.Sprintf("%d of %d modules", r.Matched, r.Modules)
	for i, u := range r.Unmatched {
		switch {
		case i == 0:
			s += "; not matched: "
		case i == most:
			return s + fmt.Sprintf(" and %d more", len(r.Unmatched)-most)
		default:
			s += ", "
		}
		s += u.Name + " (" + u.Why + ")"
	}
	return s
}

// mostErrors is how many damaged modules an error names.
const mostErrors = 10

// Match resolves the names of a file against a model's tensors and reads what every module says. Modules that the model
// does not have, or has in other shapes, are reported and left out; it is an error if there is no other. A damaged
// module (parts that are missing, ranks that disagree, NaN, two spellings of one) makes the file an error that names it.
func (f *File) Match(t Targets) (*Adapter, Report, error) {
	configs, err := readPEFT(f.Path(), f.Metadata())
	if err != nil {
		return nil, Report{}, err
	}
	switch kind := weights.RecogniseTensors(f); kind.Form {
	case weights.Checkpoint, weights.BareUNet, weights.ComponentForm, weights.EmbeddingForm:
		return nil, Report{}, &weights.FileError{File: f.Path(), What: notAdapter(kind)}
	}
	groups, report, err := f.group(newNames(t))
	if err != nil {
		return nil, report, err
	}
	if other := otherFamily(f.Names(), groups, t); other != "" {
		return nil, report, &weights.FileError{File: f.Path(), What: other}
	}
	a := &Adapter{file: f, changes: map[string]map[string][]Change{}}
	var damaged []error
	for _, g := range groups {
		if g.module.component == "" {
			continue
		}
		g.peft = configs[g.module.component]
		shapes := t[g.module.component]
		if shape, ok := shapes[g.module.path+".weight"]; ok {
			g.weight = newTensor(shape)
		}
		if shape, ok := shapes[g.module.path+".bias"]; ok {
			g.bias = newTensor(shape)
		}
		b, err := g.build()
		report.Warnings = append(report.Warnings, g.notes...)
		switch {
		case isMisfit(err):
			report.Unmatched = append(report.Unmatched, Unmatched{g.stem, err.Error()})
			continue
		case err != nil:
			damaged = append(damaged, err)
			continue
		}
		report.Matched++
		report.Unmatched = append(report.Unmatched, g.left...)
		a.put(g.module, ".weight", b.weight)
		a.put(g.module, ".bias", b.bias)
	}
	if len(damaged) > 0 {
		n := len(damaged)
		if n > mostErrors {
			damaged = append(damaged[:mostErrors], fmt.Errorf("and %d more", n-mostErrors))
		}
		return nil, report, errors.Join(damaged...)
	}
	if report.Matched == 0 {
		return nil, report, &weights.FileError{File: f.Path(), What: f.nothing(report)}
	}
	return a, report, nil
}

// notAdapter names a file of another kind, and what takes it.
func notAdapter(kind weights.Kind) string {
	text := fmt.Sprintf("this is %v, not an adapter", kind)
	if flag, _ := kind.Flag(); flag != "" {
		text += ": give it with " + flag
	}
	return text
}

// nothing says why no module matched.
func (f *File) nothing(r Report) string {
	switch {
	case r.Modules > 0:
		return "nothing in it fits the model: " + r.String()
	case slices.ContainsFunc(f.Names(), func(key string) bool { return strings.HasPrefix(key, bundled) }):
		return "it holds embeddings only"
	}
	kind := "it holds no adapter"
	if names := f.Names(); len(names) > 0 {
		kind += fmt.Sprintf(": its first tensor is %q", names[0])
	}
	return kind
}

// put appends changes of a tensor.
func (a *Adapter) put(m module, parameter string, changes []Change) {
	if len(changes) == 0 {
		return
	}
	if a.changes[m.component] == nil {
		a.changes[m.component] = map[string][]Change{}
	}
	name := m.path + parameter
	a.changes[m.component][name] = append(a.changes[m.component][name], changes...)
}

// group collects the keys of a file by module, in the order of the keys. Those of modules that the model does not have
// come back too, without a module, and are in the report.
func (f *File) group(n *names) ([]*group, Report, error) {
	var report Report
	var groups []*group
	byModule, byStem := map[module]*group{}, map[string]*group{}
	var twice []error
	for _, key := range f.Names() {
		if strings.HasPrefix(key, bundled) {
			continue
		}
		stem, p, ok := parseKey(key)
		if !ok {
			report.Modules++
			report.Unmatched = append(report.Unmatched, Unmatched{key, "no part of an adapter ends so"})
			continue
		}
		if superfluous(stem) {
			if _, found := n.find(stem); !found {
				continue
			}
		}
		g := byStem[stem]
		if g == nil {
			m, found := n.find(stem)
			if g = byModule[m]; g == nil || !found {
				g = &group{file: f, stem: stem, module: m, keys: map[part]string{}, used: map[part]bool{}}
				groups = append(groups, g)
			}
			byStem[stem] = g
			if found {
				byModule[m] = g
			}
		}
		if first, ok := g.keys[p]; ok {
			twice = append(twice, &weights.FileError{File: f.Path(), Tensor: key, What: fmt.Sprintf("it is the same part of the same module as %q", first)})
			continue
		}
		g.keys[p] = key
	}
	if len(twice) > 0 {
		return nil, report, errors.Join(twice[:min(len(twice), mostErrors)]...)
	}
	for _, g := range groups {
		report.Modules++
		switch {
		case g.weightOnly():
			g.module = module{}
			report.Unmatched = append(report.Unmatched, Unmatched{g.stem, "a whole weight, no adapter"})
		case g.module.component == "":
			report.Unmatched = append(report.Unmatched, Unmatched{g.stem, "no module of the model has this name"})
		}
	}
	return groups, report, nil
}
