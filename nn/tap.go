package nn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Tap looks into a network each time that one of its programs runs, as a forward hook of PyTorch does.
//
// Path names modules as the checkpoint does: each part between dots is a pattern of [path.Match], and the part ** is
// any number of parts. "down_blocks.1.attentions.*" is the transformers of one level, "**.attn2" every cross-attention.
// [Modules] lists what there is. A tap that finds no module is an error.
//
// What a tap sees is the module's output: images [B, H, W, C], sequences [B, T, C], rows [B, C]. Where goxl computes a
// layer together with what follows it, as a convolution with the addition of a residual, the tap still sees the layer's
// own output: the device then computes the two apart. A program in a narrow precision keeps in float32 what is tapped,
// so that reading can change the last bits of what follows; in fp32 reading changes nothing but fusions of tapped
// layers.
//
// At least one function is set. They are called one at a time, by the goroutine that runs the program, with tensors
// that are theirs to keep, each time that the program runs: twice where a result overflowed and is computed again.
type Tap struct {
	Path string
	// Read is called after the run for each module that matches, in the order in which they compute. Where the output
	// was replaced, it gets what it was replaced with.
	Read func(path string, x *Tensor)
	// Replace is called while the program runs, in the order in which the modules compute, and returns what the network
	// goes on with: a tensor of x's shape, x itself changed in place, or nil for x. Each module that matches costs
	// another computation of what lies before it, in a program of its own.
	Replace func(path string, x *Tensor) *Tensor
	// Probabilities is called after the run for each attention module that matches, in order, with softmax(q·kᵀ/√d) of
	// all heads: [B, heads, queries, keys]. In an image the queries are row after row. They are computed on the host
	// from what the layer's queries and keys are on the device, with sums in float64, and take as much memory as they
	// are many: the self-attention of 4096 positions has 640 MiB for each ten heads.
	Probabilities func(path string, p *Tensor)
}

// Matches reports whether Path matches the whole of a module's path.
func (t Tap) Matches(modulePath string) bool { return matchPath(t.Path, modulePath) }

// checkTaps refuses taps that can do nothing.
func checkTaps(taps []Tap) error {
	for _, t := range taps {
		if err := checkPattern(t.Path); err != nil {
			return err
		}
		if t.Read == nil && t.Replace == nil && t.Probabilities == nil {
			return fmt.Errorf("tap %q has no function: must have Read, Replace or Probabilities", t.Path)
		}
	}
	return nil
}

// tapKey distinguishes programs by what their taps make of them: paths and kinds, but not the functions.
func tapKey(taps []Tap) string {
	var s strings.Builder
	for _, t := range taps {
		fmt.Fprintf(&s, " tap %q %t %t %t", t.Path, t.Read != nil, t.Replace != nil, t.Probabilities != nil)
	}
	return s.String()
}

// Module is what a tap can name.
type Module struct {
	Path  string // path#2 where the network applies it a second time, which the same taps match
	Shape []int  // of its output
}

// Modules lists the modules that a build applies, in the order in which they compute.
func Modules(build func(*Builder)) ([]Module, error) {
	t := newTapping([]Tap{{Path: "**", Read: func(string, *Tensor) {}}}, lastStage)
	if _, err := buildTapped(nil, t, build); err != nil {
		return nil, err
	}
	modules := make([]Module, len(t.reads))
	for i, r := range t.reads {
		modules[i] = Module{r.path, r.x.shape}
	}
	return modules, nil
}

// tapping is what the builder of a program with taps knows. The program of a stage computes what replaced path number
// stage is replaced for; the last program, of stage lastStage, computes everything else.
type tapping struct {
	taps     []Tap
	stage    int
	applied  map[string]int           // times that a module was
	replaced []tapRead                // in order
	given    map[kernels.Value]string // inputs in the place of what was replaced
	reads    []tapRead                // in order
	matched  []bool                   // by tap
}

// tapRead is something that the functions of taps are given.
type tapRead struct {
	path   string // with its #
	module string // without
	x      tapValue
	q, k   tapValue // of an attention, whose probabilities are asked for
	heads  int      // of it, else 0
	causal bool
}

// tapValue is an output of the program, or what was given for a path.
type tapValue struct {
	name  string // of the output
	given string // the path, if it was replaced
	shape []int
}

const lastStage = -1

func newTapping(taps []Tap, stage int) *tapping {
	return &tapping{
		taps: taps, stage: stage, applied: map[string]int{}, given: map[kernels.Value]string{}, matched: make([]bool, len(taps)),
	}
}

// match reports whether a tap that has what is asked for matches the module, and notes that it did.
func (t *tapping) match(module string, has func(Tap) bool) (found bool) {
	for i, tap := range t.taps {
		if has(tap) && tap.Matches(module) {
			t.matched[i], found = true, true
		}
	}
	return found
}

func reads(t Tap) bool              { return t.Read != nil }
func replaces(t Tap) bool           { return t.Replace != nil }
func wantsProbabilities(t Tap) bool { return t.Probabilities != nil }

// Tap declares that v is the output of a module, so that taps can read or replace it, and returns what the network goes
// on with. A module's Forward ends in it; nn's own layers do so themselves.
func (b *Builder) Tap(module any, v *Value) *Value {
	b.record(module, v)
	if b.taps == nil {
		return v
	}
	t, at := b.taps, b.modulePath(module)
	if at == "" {
		return v
	}
	path := t.apply(at, "module")
	if t.match(at, replaces) {
		i, before := len(t.replaced), tapValue{shape: v.Shape()}
		before.given, _ = t.replacement(v)
		t.replaced = append(t.replaced, tapRead{path: path, module: at, x: before})
		switch {
		case t.stage == i:
			b.readable("tap "+path, v)
		case t.stage == lastStage || i < t.stage:
			v = b.Input("replaced "+path, kernels.Step, kernels.F32, v.Shape()...)
			t.given[v.id] = path
		}
	}
	if t.match(at, reads) && t.stage == lastStage {
		t.reads = append(t.reads, tapRead{path: path, module: at, x: b.readable("tap "+path, v)})
	}
	return v
}

// TapAttention declares the queries and keys of an attention module, so that its probabilities can be asked for.
func (b *Builder) TapAttention(module any, q, k *Value, heads int, causal bool) {
	if b.taps == nil {
		return
	}
	t, at := b.taps, b.modulePath(module)
	if at == "" || !t.match(at, wantsProbabilities) || t.stage != lastStage {
		return
	}
	path := t.apply(at, "attention")
	t.reads = append(t.reads, tapRead{
		path: path, module: at, heads: heads, causal: causal,
		q: b.readable("tap q of "+path, q), k: b.readable("tap k of "+path, k),
	})
}

// apply counts what is declared of a module, and returns its path.
func (t *tapping) apply(module, what string) string {
	t.applied[what+" "+module]++
	if n := t.applied[what+" "+module]; n > 1 {
		return fmt.Sprintf("%s#%d", module, n)
	}
	return module
}

// tapped reports whether a tap wants the module's own output.
func (b *Builder) tapped(module any) bool {
	if b.taps == nil || module == nil {
		return false
	}
	at := b.modulePath(module)
	return at != "" && slices.ContainsFunc(b.taps.taps, func(t Tap) bool {
		return (t.Read != nil || t.Replace != nil) && t.Matches(at)
	})
}

// layer states a layer with its epilogue fused or, where a tap wants its own output, with the epilogue after it. state
// states it with what of the epilogue it is given.
func (b *Builder) layer(l any, e Epilogue, state func(Epilogue) *Value) *Value {
	if !b.tapped(l) && !b.tapped(e.Ends) {
		y := state(e)
		b.record(l, y)
		b.record(e.Ends, y)
		return y
	}
	y := b.Tap(l, state(Epilogue{}))
	if e.Ends != nil {
		y = b.Tap(e.Ends, y)
	}
	return b.epilogue(y, e)
}

// modulePath is pathOf a module that is bound.
func (b *Builder) modulePath(module any) string {
	path, ok := pathOf(module)
	if !ok {
		b.Fail("a %T is used before it was bound: its path is not known", module)
	}
	return path
}

// readable makes a value an output of the program, whose own names it may have besides.
func (b *Builder) readable(name string, v *Value) tapValue {
	if path, ok := b.taps.replacement(v); ok {
		return tapValue{given: path, shape: v.Shape()}
	}
	b.Output(name, v)
	return tapValue{name: name, shape: v.Shape()}
}

// replacement is the path of the module whose output a value stands for.
func (t *tapping) replacement(v *Value) (path string, ok bool) {
	if t != nil {
		path, ok = t.given[v.id]
	}
	return path, ok
}

// record gives a trace a module, unless it is nil, and what it computed.
func (b *Builder) record(module any, v *Value) {
	if b.trace != nil && module != nil {
		b.trace(module, v)
	}
}
