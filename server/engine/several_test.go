package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// part is a model of a Several.
type part struct {
	name   string
	run    func(ctx context.Context, j Job) error // nil does nothing
	onLoad func(done, total int64)
	closed atomic.Bool
	inside atomic.Int32
	lost   error
}

func (p *part) Generate(ctx context.Context, j Job) (*sdxl.Result, error) {
	p.inside.Add(1)
	defer p.inside.Add(-1)
	if p.closed.Load() {
		return nil, errors.New("it is used after Close")
	}
	if p.run != nil {
		if err := p.run(ctx, j); err != nil {
			return nil, err
		}
	}
	return &sdxl.Result{Warnings: []string{p.name}}, nil
}

func (p *part) Costs() Costs {
	return Costs{Base: sdxl.Cost{Step: sdxl.Polynomial{float64(len(p.name))}}}
}
func (p *part) DeviceName() string { return "device" }
func (p *part) Lost() error        { return p.lost }
func (p *part) Close() error {
	if p.inside.Load() > 0 {
		return errors.New("it is closed while it computes")
	}
	if p.closed.Swap(true) {
		return errors.New("it is closed twice")
	}
	return nil
}

// shop opens parts, and counts.
type shop struct {
	run    map[string]func(ctx context.Context, j Job) error
	fail   map[string]error
	opened []string
	parts  map[string]*part
}

func (s *shop) opening(name string, bytes int64) Opening {
	return Opening{Name: name, Bytes: bytes, Open: func(ctx context.Context, onLoad func(done, total int64)) (Engine, error) {
		s.opened = append(s.opened, name)
		if err := s.fail[name]; err != nil {
			return nil, err
		}
		if s.parts == nil {
			s.parts = map[string]*part{}
		}
		s.parts[name] = &part{name: name, run: s.run[name], onLoad: onLoad}
		return s.parts[name], nil
	}}
}

func states(e Keeper) string {
	var list []string
	for _, m := range e.Models() {
		list = append(list, fmt.Sprintf("%s %s %v", m.Name, m.State, m.Percent))
	}
	return strings.Join(list, ", ")
}

// Models are opened by the jobs that name them, and those that were not used for longest are closed.
func TestSeveral(t *testing.T) {
	var of shop
	e, err := NewSeveral(t.Context(), SeveralConfig{Memory: 10, Models: []Opening{of.opening("a", 5), of.opening("bb", 5), of.opening("ccc", 5), of.opening("huge", 99)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, opened, want string }{
		{"", "a", "a ready 0, bb unloaded 0, ccc unloaded 0, huge unloaded 0"},
		{"bb", "a bb", "a ready 0, bb ready 0, ccc unloaded 0, huge unloaded 0"},
		{"a", "a bb", "a ready 0, bb ready 0, ccc unloaded 0, huge unloaded 0"},
		{"ccc", "a bb ccc", "a ready 0, bb unloaded 0, ccc ready 0, huge unloaded 0"},
		{"huge", "a bb ccc huge", "a unloaded 0, bb unloaded 0, ccc unloaded 0, huge ready 0"},
		{"a", "a bb ccc huge a", "a ready 0, bb unloaded 0, ccc unloaded 0, huge unloaded 0"},
	} {
		result, err := e.Generate(t.Context(), Job{Name: step.name})
		if err != nil {
			t.Fatal(err)
		}
		if want := max(step.name, "a"); result.Warnings[0] != want {
			t.Errorf("%q was computed by %s", step.name, result.Warnings[0])
		}
		if got := strings.Join(of.opened, " "); got != step.opened {
			t.Errorf("after %q: opened %s, want %s", step.name, got, step.opened)
		}
		if got := states(e); got != step.want {
			t.Errorf("after %q: %s, want %s", step.name, got, step.want)
		}
	}
	if got := e.Costs(); got.Base.Step[0] != 1 || got.Of("ccc").Base.Step[0] != 3 || got.Of("never").Base.Step[0] != 1 {
		t.Errorf("costs %+v", got)
	}
	var bad *sdxl.RequestError
	if _, err := e.Generate(t.Context(), Job{Name: "d"}); !errors.As(err, &bad) || bad.Field != "model" || bad.Allowed != "one of a, bb, ccc, huge" {
		t.Error(err)
	}
	of.parts["a"].lost = errors.New("fault")
	if err := e.Lost(); err == nil {
		t.Error("the fault of a model's device is not told")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	for name, p := range of.parts {
		if !p.closed.Load() {
			t.Errorf("%s was left open", name)
		}
	}
}

// A model that can't be opened costs its own jobs alone, which all get the reason until a pause is over.
func TestSeveralFails(t *testing.T) {
	now := time.Unix(0, 0)
	of := shop{fail: map[string]error{"b": errors.New("/secret/b/unet: no such file")}}
	b := of.opening("b", 1)
	b.Folder = "/secret/b"
	e, err := NewSeveral(t.Context(), SeveralConfig{Now: func() time.Time { return now }, Models: []Opening{of.opening("a", 1), b}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, step := range []struct {
		after time.Duration
		tries int
	}{{0, 1}, {firstPause - 1, 1}, {1, 2}, {firstPause, 2}, {firstPause, 3}} {
		now = now.Add(step.after)
		var load *LoadError
		if _, err := e.Generate(t.Context(), Job{Name: "b"}); !errors.As(err, &load) || load.Model != "b" || err.Error() != "the model b can't be loaded: unet: no such file" {
			t.Errorf("%v", err)
		}
		if got := len(of.opened) - 1; got != step.tries {
			t.Errorf("%d tries after %v more, want %d", got, step.after, step.tries)
		}
	}
	if _, err := e.Generate(t.Context(), Job{Name: "a"}); err != nil {
		t.Error(err)
	}
	of.fail, now = nil, now.Add(longestPause)
	if _, err := e.Generate(t.Context(), Job{Name: "b"}); err != nil {
		t.Error(err)
	}
	if _, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{of.opening("a", 1), of.opening("a", 1)}}); err == nil {
		t.Error("two models of one name are taken")
	}
	of.fail = map[string]error{"a": context.DeadlineExceeded}
	if _, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{of.opening("a", 1)}}); err != context.DeadlineExceeded {
		t.Errorf("%v: must be the opening's error", err)
	}
}

// A job hears how much of its model was read, in whole percents, until its first step.
func TestSeveralLoading(t *testing.T) {
	of := shop{run: map[string]func(context.Context, Job) error{}}
	e, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{of.opening("a", 1), of.opening("b", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var steps int
	var during []string
	of.run["b"] = func(_ context.Context, j Job) error {
		for _, done := range []int64{0, 5, 6, 500, 500, 990} {
			of.parts["b"].onLoad(done, 1000)
			during = append(during, states(e))
		}
		j.Request.Progress(sdxl.Progress{Step: 1})
		of.parts["b"].onLoad(1000, 1000)
		during = append(during, states(e))
		return nil
	}
	var heard []float64
	j := Job{Name: "b", OnLoading: func(percent float64) { heard = append(heard, percent) }}
	j.Request.Progress = func(sdxl.Progress) { steps++ }
	if _, err := e.Generate(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if want := []float64{0, 50, 99}; !slices.Equal(heard, want) || steps != 1 {
		t.Errorf("heard %v and %d steps, want %v and 1", heard, steps, want)
	}
	if during[4] != "a ready 0, b loading 50" || during[6] != "a ready 0, b ready 0" {
		t.Errorf("%q", during)
	}
}

// A model that a job still uses is closed after that alone, and who waits for it may give up.
func TestSeveralInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		of := shop{run: map[string]func(context.Context, Job) error{"a": func(context.Context, Job) error { <-end; return nil }}}
		e, err := NewSeveral(t.Context(), SeveralConfig{Memory: 1, Models: []Opening{of.opening("a", 1), of.opening("b", 1)}})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error, 1)
		go func() {
			_, err := e.Generate(context.Background(), Job{})
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		for range 2 {
			go func() {
				_, err := e.Generate(ctx, Job{Name: "b"})
				second <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-second; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		go func() {
			_, err := e.Generate(context.Background(), Job{Name: "b"})
			second <- err
		}()
		synctest.Wait()
		if states(e) != "a ready 0, b unloaded 0" {
			t.Error(states(e))
		}
		close(end)
		if err := errors.Join(<-first, <-second, e.Close()); err != nil {
			t.Error(err)
		}
		if strings.Join(of.opened, " ") != "a b" || !of.parts["a"].closed.Load() {
			t.Errorf("%q", of.opened)
		}
	})
}

// The device may fail while no model is open: Lost says so, or nobody would open it again.
func TestSeveralLost(t *testing.T) {
	var fault error
	of := shop{fail: map[string]error{"b": errors.New("the device fails")}}
	e, err := NewSeveral(t.Context(), SeveralConfig{
		Memory: 1, Models: []Opening{of.opening("a", 1), of.opening("b", 1)}, Lost: func() error { return fault },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Lost(); err != nil {
		t.Error(err)
	}
	fault = errors.New("fault")
	if _, err := e.Generate(t.Context(), Job{Name: "b"}); err == nil {
		t.Error("b was opened")
	}
	if got, want := states(e), "a unloaded 0, b unloaded 0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := e.Lost(); !errors.Is(err, fault) {
		t.Errorf("lost: %v, want %v", err, fault)
	}
}
