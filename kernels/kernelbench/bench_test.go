package kernelbench

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
)

// sleeping is a device whose nodes take as long as took says, on the clock of a synctest bubble, where nothing else takes time:
// figures of it are exact on any machine.
func sleeping(took func(kernels.Spec) time.Duration) *fake { return &fake{peak: 1e12, took: took} }

// TestRun times a case and checks the arithmetic of the figure.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := sleeping(func(kernels.Spec) time.Duration { return 500 * time.Microsecond })
		var reported int
		figures, err := Run(t.Context(), d, Options{Filter: "gather/clip G|linear/base time", Report: func(Figure) { reported++ }})
		if err != nil {
			t.Fatal(err)
		}
		if len(figures) != 2 || reported != 2 {
			t.Fatalf("%d figures, %d reported, want 2", len(figures), reported)
		}
		f := figures[0] // four runs make a group, 50 groups are more than enough; 2·2·320·1280 operations
		if f.Name != "linear/base time" || f.Shape != "2x320 1280x320 1280" || f.MinMS != 0.5 || f.MS != 0.5 || f.Runs != 4*maxGroups {
			t.Errorf("figure %+v", f)
		}
		if want := 2 * 2 * 320 * 1280 / f.MS / 1e6; math.Abs(f.GFLOPS-want) > 1e-9*want || math.Abs(f.Peak-f.GFLOPS/1e3) > 1e-12 {
			t.Errorf("%v GFLOP/s and %v of the peak, want %v", f.GFLOPS, f.Peak, want)
		}
		if want := (2*320*4 + 1280*320*2 + 1280*2 + 2*1280*4) / f.MS / 1e6; math.Abs(f.GBs-want) > 1e-9*want {
			t.Errorf("%v GB/s, want %v", f.GBs, want)
		}
	})
	if figures, err := Run(t.Context(), &fake{peak: 1}, Options{Filter: "linear/base time"}); err != nil || len(figures) != 0 {
		t.Errorf("a run that takes %v was timed: %v, %v", longestRun, figures, err)
	}
	if _, err := Run(t.Context(), &fake{}, Options{Filter: "no such"}); err == nil {
		t.Error("no error for a filter that matches nothing")
	}
}

// queueing is a device that has memory of its own.
type queueing struct{ *fake }

func (d queueing) Info() kernels.Info {
	info := d.fake.Info()
	info.HostMemory = false
	return info
}

// TestAmongMany lets the copies around an operation take three times as long as the operation, of which there must
// be enough for that to show little, and counts numbers at their width.
func TestAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const own = time.Millisecond
		d := sleeping(func(s kernels.Spec) time.Duration {
			switch s.(type) {
			case kernels.Activate:
				return 3 * own
			case kernels.LayerNorm:
				return own
			}
			return 0
		})
		figures, err := Run(t.Context(), queueing{d}, Options{Filter: "^layernorm/clip L$", Precision: kernels.F16})
		if err != nil || len(figures) != 1 {
			t.Fatalf("%d figures, %v, want 1", len(figures), err)
		}
		f := figures[0] // 8 take 6 + 8 ms, too little; 16 take 6 + 16
		if f.MS != 22./16 || f.MinMS != f.MS || f.Runs != 16*minGroups {
			t.Errorf("figure %+v, want %v ms of %d runs", f, 22./16, 16*minGroups)
		}
		if want := (2*2*77*768 + 2*768) * 2 / f.MS / 1e6; math.Abs(f.GBs-want) > 1e-9*want {
			t.Errorf("%v GB/s, want %v", f.GBs, want)
		}
		if d.open != 0 {
			t.Errorf("%d programs and weights are open", d.open)
		}
	})
}

// TestAmongManyKinds times operations that have no temporaries around them: a solver, whose operands are states,
// and one that reads ids.
func TestAmongManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := sleeping(func(s kernels.Spec) time.Duration {
			switch s.(type) {
			case kernels.Solver:
				return 4 * time.Millisecond
			case kernels.Embedding:
				return 5 * time.Millisecond
			}
			return 0
		})
		figures, err := Run(t.Context(), queueing{d}, Options{Filter: "^solver/1024$|^embedding/clip L$", Precision: kernels.F16})
		if err != nil || len(figures) != 2 || figures[0].MS != 4 || figures[1].MS != 5 {
			t.Errorf("figures %+v, %v, want 4 and 5 ms", figures, err)
		}
	})
}

// overlapping is a device that computes while its host queues: a run takes the host launching, and the device computing for every layer norm.
type overlapping struct {
	queueing
	launching, computing time.Duration
}

func (d overlapping) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	made, err := d.queueing.Compile(p, w, o)
	if err != nil {
		return nil, err
	}
	return &overlappingProgram{fakeProgram: made.(*fakeProgram), d: d}, nil
}

type overlappingProgram struct {
	*fakeProgram
	d    overlapping
	done time.Time
}

func (p *overlappingProgram) Run(context.Context) error {
	if now := time.Now(); p.done.Before(now) {
		p.done = now
	}
	time.Sleep(p.d.launching)
	for _, n := range p.plan.Nodes {
		if _, ok := n.Spec.(kernels.LayerNorm); ok {
			p.done = p.done.Add(p.d.computing)
		}
	}
	return nil
}

func (p *overlappingProgram) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	time.Sleep(time.Until(p.done))
	return p.fakeProgram.Read(ctx, v, dst)
}

// TestHidden lets the host take longer than several of the operations, which must show in no figure.
func TestHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := overlapping{queueing{&fake{}}, 2 * time.Millisecond, 200 * time.Microsecond}
		figures, err := Run(t.Context(), d, Options{Filter: "^layernorm/clip L$"})
		if err != nil || len(figures) != 1 {
			t.Fatalf("%d figures, %v, want 1", len(figures), err)
		}
		// Eight take the host 2 ms; of as many as take the device 20 ms, or more, one group begins with the host alone.
		if f := figures[0]; f.MS < 0.2 || f.MS > 0.23 {
			t.Errorf("%v ms, want 0.2 and a little of the host's first run", f.MS)
		}
	})
}
