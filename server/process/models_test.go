package process

import (
	"context"
	"slices"
	"testing"

	"github.com/goxl/goxl/server/engine"
)

// What there is of the program's models is known as it changes, and a job hears how far its own is.
func TestModels(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	want := (&fake{}).Models()
	if got := e.Models(); !slices.Equal(got, want) {
		t.Errorf("at first %v, want %v", got, want)
	}
	j := ask("load")
	ctx, cancel := context.WithCancel(t.Context())
	var heard []float64
	j.OnLoading = func(percent float64) {
		if heard = append(heard, percent); len(heard) == 2 {
			cancel()
		}
	}
	if _, err := e.Generate(ctx, j); err == nil || !slices.Equal(heard, []float64{12.5, 37.5}) {
		t.Errorf("heard %v: %v", heard, err)
	}
	if _, err := e.Generate(t.Context(), ask("a")); err != nil {
		t.Fatal(err)
	}
	if got := e.Models(); got[1] != (engine.ModelStatus{Name: "b", State: engine.Ready}) {
		t.Errorf("then %v", got)
	}
	if got := e.Costs(); got.Of("b").Base != got.Base || len(got.Models) != 1 {
		t.Errorf("costs %+v", got)
	}
}
