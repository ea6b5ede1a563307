package nn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// tapped is what a program with taps has besides the program that computes its outputs, which runs last.
type tapped struct {
	stages []stage   // one for each replaced path, in order
	reads  []tapRead // in order
}

// stage computes what one path is replaced for. It has the program's inputs and, for each earlier stage, one more.
// Where nothing lies between it and an earlier stage it has no program.
type stage struct {
	kernels.Program
	tapRead
	plan  *kernels.Plan
	named map[string]kernels.Value
}

// lastGraph builds the last program of a build with taps.
func lastGraph(dev kernels.Device, build func(*Builder), taps []Tap) (*Graph, *tapping, error) {
	if err := checkTaps(taps); err != nil {
		return nil, nil, err
	}
	t := newTapping(taps, lastStage)
	g, err := buildTapped(dev, t, build)
	if err != nil {
		return nil, nil, err
	}
	for i, matched := range t.matched {
		if !matched {
			return nil, nil, unmatched(taps[i], build)
		}
	}
	return g, t, nil
}

// VerifyTaps returns the error that a program of a build has with these taps, such as one that finds no module, without
// compiling it.
func VerifyTaps(build func(*Builder), taps ...Tap) error {
	if len(taps) == 0 {
		return nil
	}
	_, _, err := lastGraph(nil, build, taps)
	return err
}

// unmatched is the error of a tap that finds nothing.
func unmatched(tap Tap, build func(*Builder)) error {
	modules, err := Modules(build)
	if err != nil {
		return err
	}
	var names []string
	found := false
	for _, m := range modules {
		names = append(names, m.Path)
		found = found || tap.Matches(m.Path)
	}
	if found {
		return fmt.Errorf("tap %q asks for probabilities of modules that are not an attention", tap.Path)
	}
	return fmt.Errorf("tap %q matches none of the %d modules: %s", tap.Path, len(names), Shorten(names))
}

// compileProgram compiles a build, with taps or without, into p, whose other fields are set.
func (n *Network) compileProgram(p *Program, build func(*Builder), taps []Tap, o kernels.Options) error {
	if len(taps) > 0 {
		return n.compileTapped(p, build, taps, o)
	}
	g, err := Build(n.dev, build)
	if err != nil {
		return err
	}
	p.plan, p.named = g.Plan, g.Named
	p.Program, err = n.compile(p.plan, o)
	return err
}

func (n *Network) compileTapped(p *Program, build func(*Builder), taps []Tap, o kernels.Options) (err error) {
	last, t, err := lastGraph(n.dev, build, taps)
	if err != nil {
		return err
	}
	whole := &tapped{reads: t.reads}
	defer func() {
		if err != nil {
			err = errors.Join(err, whole.close())
		}
	}()
	for i, r := range t.replaced {
		s := stage{tapRead: r}
		if r.x.given == "" {
			g, err := buildTapped(n.dev, newTapping(taps, i), build)
			if err != nil {
				return err
			}
			s.plan, s.named = g.prune("tap " + r.path)
			if s.Program, err = n.compile(s.plan, o); err != nil {
				return err
			}
		}
		whole.stages = append(whole.stages, s)
	}
	p.plan, p.named, p.aliases = last.Plan, last.Named, last.aliases
	if len(t.replaced) > 0 {
		p.plan, p.named = last.prune("")
	}
	if p.Program, err = n.compile(p.plan, o); err != nil {
		return err
	}
	p.tapped = whole
	return nil
}

// programs are the stages that have one.
func (t *tapped) programs() iter.Seq[stage] {
	return func(yield func(stage) bool) {
		if t == nil {
			return
		}
		for _, s := range t.stages {
			if s.Program != nil && !yield(s) {
				return
			}
		}
	}
}

func (t *tapped) close() error {
	var failed []error
	for s := range t.programs() {
		failed = append(failed, s.Close())
	}
	return errors.Join(failed...)
}

// write gives every stage that has the input its content.
func (t *tapped) write(name string, data []byte) error {
	for s := range t.programs() {
		if v, ok := s.named[name]; ok {
			if err := s.Write(v, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// runTapped runs the stages, with the functions that replace, then the program itself, then the functions that read.
func (p *Program) runTapped(ctx context.Context) error {
	p.given = map[string]*Tensor{}
	for _, s := range p.tapped.stages {
		x, err := p.runStage(ctx, s)
		if err != nil {
			return err
		}
		if x, err = replaced(p.taps, s, x); err != nil {
			return err
		}
		p.given[s.path] = x
		name := "replaced " + s.path
		if err := p.tapped.write(name, bytesOf(x.Data)); err != nil {
			return err
		}
		if err := p.Write(p.named[name], bytesOf(x.Data)); err != nil {
			return err
		}
	}
	if err := p.Program.Run(ctx); err != nil {
		return err
	}
	// The states have advanced: an error of ctx would say that they have not.
	ctx = context.WithoutCancel(ctx)
	for _, r := range p.tapped.reads {
		if err := p.read(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// runStage computes what a stage's path is replaced for, from the states as the program has them.
func (p *Program) runStage(ctx context.Context, s stage) (*Tensor, error) {
	if s.Program == nil {
		return p.given[s.x.given].Clone(), nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.named)) {
		if v := s.named[name]; s.plan.Tensors[v].Role == kernels.State {
			if err := s.CopyFrom(v, p.Program, p.named[name]); err != nil {
				return nil, err
			}
		}
	}
	if err := s.Run(ctx); err != nil {
		return nil, err
	}
	x := NewTensor(s.x.shape...)
	return x, s.Read(ctx, s.named["tap "+s.path], bytesOf(x.Data))
}

// replaced is x as the taps of a stage's path give it back.
func replaced(taps []Tap, s stage, x *Tensor) (*Tensor, error) {
	for _, t := range taps {
		if t.Replace == nil || !t.Matches(s.module) {
			continue
		}
		if y := t.Replace(s.path, x); y != nil {
			x = y
		}
		if err := x.Check(fmt.Sprintf("what tap %q gives for %s", t.Path, s.path), s.x.shape...); err != nil {
			return nil, err
		}
	}
	return x.Clone(), nil
}

// readGiven is Floats of an output that is what a module's was replaced with.
func (p *Program) readGiven(name, path string, dst []float32) error {
	x := p.given[path]
	if x == nil {
		return fmt.Errorf("program %s: %q is read before it was run", p.key, name)
	}
	if len(dst) != x.Len() {
		return fmt.Errorf("program %s: %d values for %q %v", p.key, len(dst), name, x.Shape)
	}
	copy(dst, x.Data)
	return nil
}

// read calls the functions of the taps that match.
func (p *Program) read(ctx context.Context, r tapRead) error {
	load := func(v tapValue) (*Tensor, error) {
		if v.given != "" {
			return p.given[v.given].Clone(), nil
		}
		x := NewTensor(v.shape...)
		return x, p.Read(ctx, p.named[v.name], bytesOf(x.Data))
	}
	for _, t := range p.taps {
		wants := t.Read != nil
		if r.heads > 0 {
			wants = t.Probabilities != nil
		}
		if !wants || !t.Matches(r.module) {
			continue
		}
		if r.heads == 0 {
			x, err := load(r.x)
			if err != nil {
				return err
			}
			t.Read(r.path, x)
			continue
		}
		q, err := load(r.q)
		if err != nil {
			return err
		}
		k, err := load(r.k)
		if err != nil {
			return err
		}
		t.Probabilities(r.path, probabilities(q, k, r.heads, r.causal))
	}
	return nil
}
