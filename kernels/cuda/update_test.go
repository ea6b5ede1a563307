package cuda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/kerneltest"
	oracle "github.com/goxl/goxl/kernels/ref"
)

// checkUpdates updates the weights of a plan, of a type in the file, and merges products into tensors.
func checkUpdates(t *testing.T, d *Device, plan func(*testing.T) (*planner, []kernels.Value, kernels.Value), stored kernels.DType) {
	t.Run("programs", func(t *testing.T) {
		p, _, _ := plan(t)
		for v, x := range p.Tensors {
			if x.Role == kernels.Weight {
				p.Tensors[v].DType = stored
			}
		}
		kerneltest.Updates(t, d, &p.Plan, kernels.Options{})
	})
	t.Run("merges", func(t *testing.T) { kerneltest.Merges(t, d, kernels.Options{}) })
	t.Run("load", func(t *testing.T) { checkMergedLoad(t, d) })
}

// merging is an update that adds products to most tensors: none to every fifth, several to others, to vectors of a
// rank at which the factors are larger than they are. They leave no choice of order: each row has one term.
func merging(src *stored) *kernels.Update {
	u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	for i, name := range src.Names() {
		rows, columns := kernels.Matrix(src.zeros[name].Shape)
		n, rank := []int{3, 1, 7, 2, 0}[i%5], 3
		if columns == 1 {
			rank = 20
		}
		for k := range n {
			up, down := make([]float32, rows*rank), make([]float32, rank*columns)
			for row := k; row < rows; row += n {
				up[rank*row+row%rank] = float32(1+row%5) / 8
			}
			for i := range down {
				down[i] = float32(i%7-3) / 16
			}
			product := kernels.LowRank{Rank: rank, Scale: 0.25*float32(k) - 0.5, Up: kernels.FloatFactor(up), Down: kernels.FloatFactor(down)}
			u.LowRank[name] = append(u.LowRank[name], product)
		}
	}
	return u
}

// checkMergedLoad compares every kind of packing, of weights that slots split, with a merge on the host: merged while
// they are uploaded, and merged in place, from the source and from what is kept of it on the card.
func checkMergedLoad(t *testing.T, d *Device) {
	ctx := context.Background()
	w, src, list := loads(t, d)
	u, other := merging(src), merging(src)
	for _, products := range other.LowRank {
		products[0].Scale++
	}
	compare := func(what string, source kernels.Source) {
		t.Helper()
		for _, p := range list {
			_, _, data, err := source.Tensor(p.name)
			if err != nil {
				t.Fatal(err)
			}
			got, want := make([]byte, p.bytes()), packedByHand(p, data)
			if err := d.down.download(ctx, d.stream, got, p.at); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: weight %s %v, %+v, differs", what, p.name, p.shape, p.packing)
			}
		}
	}
	reclaim := func() error {
		if freed, err := d.kept.reclaim(); err != nil || freed {
			return err
		}
		return errors.New("nothing was kept")
	}
	whole := &kernels.Update{Source: oracle.Updated(src, other), Whole: other.Names()}
	for _, step := range []struct {
		what string
		do   func() error
		want kernels.Source
		read bool // from the source
	}{
		{"merged while it is uploaded", func() error { return errors.Join(w.Update(ctx, u), w.SetResident(ctx, true)) }, oracle.Updated(src, u), true},
		{"as at first, from what is kept", func() error { return w.Update(ctx, nil) }, src, false},
		{"merged in place, from what is kept", func() error { return w.Update(ctx, u) }, oracle.Updated(src, u), false},
		{"another set, from what is kept", func() error { return w.Update(ctx, other) }, oracle.Updated(src, other), false},
		{"whole tensors", func() error { return errors.Join(w.Update(ctx, u), w.Update(ctx, whole)) }, oracle.Updated(src, other), true},
		{"as at first again", func() error { return w.Update(ctx, nil) }, src, false},
		{"merged in place, nothing is kept", func() error { return errors.Join(reclaim(), w.Update(ctx, u)) }, oracle.Updated(src, u), true},
		{"as at first, nothing is kept", func() error { return errors.Join(reclaim(), w.Update(ctx, nil)) }, src, true},
	} {
		before := src.read
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if read := src.read > before; read != step.read {
			t.Errorf("%s: the source is read: %v", step.what, read)
		}
		compare(step.what, step.want)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestUpdates has plans with folded norms, joined layers, interleaved gates and what is computed once a request.
func TestUpdates(t *testing.T) {
	for _, variant := range card(t, Options{}).Info().Variants {
		for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
			for _, stored := range []kernels.DType{kernels.F32, kernels.F16} {
				t.Run(fmt.Sprintf("%s %v of %v", variant, precision, stored), func(t *testing.T) {
					d := card(t, Options{Precision: precision, Variant: variant})
					checkUpdates(t, d, block, stored)
					checkUpdates(t, d, residuals, stored)
				})
			}
		}
	}
}

// TestUpdateInPlace: an update records no launches again, takes no memory that stays, uploads what changed and nothing
// else, and makes what is computed once a request be computed again.
func TestUpdateInPlace(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	p, made := compileChain(t, d)
	w := made.(*weights)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		must(p.Run(ctx))
	}
	used, graphs, bytes := d.memory.used, f.Count("cuGraphInstantiate_v2"), w.Bytes()
	launches := len(f.Launches())
	must(p.Run(ctx))
	again := len(f.Launches()) - launches
	update := func(name string, rows, columns int) *kernels.Update {
		return &kernels.Update{LowRank: map[string][]kernels.LowRank{name: {{Rank: 1, Scale: 1, Up: kernels.FloatFactor(make([]float32, rows)), Down: kernels.FloatFactor(make([]float32, columns))}}}}
	}
	for i, u := range []*kernels.Update{update("w", 40, 24), update("v", 40, 40), nil} {
		before := len(f.Launches())
		must(w.Update(ctx, u))
		var kernelsRun []string
		for _, l := range f.Launches()[before:] {
			kernelsRun = append(kernelsRun, l.Kernel)
		}
		// In pieces of a row and more: w of 40 rows is merged, then packed as it was while v is merged, then v is.
		counts := map[string]int{}
		for _, name := range kernelsRun {
			counts[name]++
		}
		merged, packed := counts["merge"], counts["pack"]
		if len(kernelsRun) != merged+packed || (merged > 0) != (i < 2) || (packed > merged) != (i > 0) {
			t.Errorf("update %d launches %v", i, counts)
		}
		before = len(f.Launches())
		must(p.Run(ctx))
		if n := len(f.Launches()) - before; n <= again {
			t.Errorf("update %d: the next run has %d launches, as many as one without the hoisted node", i, n)
		}
		if d.memory.used != used || f.Count("cuGraphInstantiate_v2") != graphs || w.Bytes() != bytes {
			t.Errorf("update %d: %d bytes in use, %d of weights, %d graphs; before %d, %d, %d", i, d.memory.used, w.Bytes(), f.Count("cuGraphInstantiate_v2"), used, bytes, graphs)
		}
	}
	must(errors.Join(p.Close(), w.Close()))
}

// TestFootprintOfFactors: what a program needs includes the slots that an update's factors make larger, and a run takes
// no memory for them beyond it.
func TestFootprintOfFactors(t *testing.T) {
	d, _ := fakeDevice(t, Options{}, 1<<30)
	made, w := compileChain(t, d)
	p := made.(*program)
	const rank = 10_000
	u := &kernels.Update{LowRank: map[string][]kernels.LowRank{"v": {{
		Rank: rank, Scale: 1, Up: kernels.FloatFactor(make([]float32, 40*rank)), Down: kernels.FloatFactor(make([]float32, 40*rank)),
	}}}}
	before := p.Footprint()
	if err := w.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	f := p.Footprint()
	if least := int64(minSlots * 2 * 40 * rank * 4); before.Arena > least/10 || f.Arena < least {
		t.Errorf("an arena of %d bytes, %d before the update, want %d at least", f.Arena, before.Arena, least)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := d.Memory(); err != nil || m.Peak != m.Used || m.Arena != f.Arena {
		t.Errorf("%+v, %v: want a peak of what is used, and an arena of %d", m, err, f.Arena)
	}
	if err := errors.Join(p.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestUpdateFails lets every kind of call of an update fail: the update before is in force, what may hold anything else
// is loaded again before it is used, and nothing is lost. Where there is no memory to pack in, the update waits for a
// run.
func TestUpdateFails(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	u := merging(src)
	if err := errors.Join(w.SetResident(ctx, true), w.Update(ctx, u), w.Update(ctx, nil)); err != nil {
		t.Fatal(err)
	}
	used, whole := d.memory.used, w.Bytes()
	at := list[0].at
	stale := func() (n int) {
		for _, p := range list {
			if p.stale {
				n++
			}
		}
		return n
	}
	for what, broken := range map[string]struct {
		cause func()
		want  error // nil: the update waits
	}{
		"no memory": {func() { f.Fail("cuMemAlloc_v2", 1, driver.OutOfMemory) }, nil},
		"a copy":    {func() { f.Fail("cuMemcpyHtoDAsync_v2", 30, driver.InvalidValue) }, driver.InvalidValue},
		"a launch":  {func() { f.Fail("cuLaunchKernel", 200, driver.LaunchOutOfResources) }, driver.LaunchOutOfResources},
		"a tensor":  {func() { src.refuse = list[len(list)-2].name }, errRefused},
		"an event":  {func() { f.Fail("cuStreamWaitEvent", 9, driver.InvalidHandle) }, driver.InvalidHandle},
	} {
		if _, err := d.kept.reclaim(); err != nil { // else there is memory, and less to copy
			t.Fatal(err)
		}
		broken.cause()
		before := w.origins
		if err := w.Update(ctx, u); !errors.Is(err, broken.want) {
			t.Errorf("%s failed: %v, want %v", what, err, broken.want)
		}
		src.refuse = ""
		if stale() != len(u.LowRank) || (w.origins == before) != (broken.want != nil) {
			t.Errorf("%s failed: %d of %d weights are stale, the update before is in force: %v", what, stale(), len(u.LowRank), w.origins == before)
		}
		if d.memory.used != used || w.Bytes() != whole || list[0].at != at {
			t.Errorf("%s failed: %d bytes in use, %d of weights, want %d and %d", what, d.memory.used, w.Bytes(), used, whole)
		}
		if err := w.SetResident(ctx, true); err != nil || stale() > 0 || list[0].at != at {
			t.Errorf("after %s failed: %v, %d weights are stale", what, err, stale())
		}
		if err := w.Update(ctx, nil); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
