package process

import (
	"context"
	"errors"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// A request's Stop is closed in the program when it is here, for its own call alone; it ends with the result.
func TestStop(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	for range 3 {
		enough := make(chan struct{})
		j := ask("until stopped")
		j.Request.Stop = enough
		j.Request.Progress = func(sdxl.Progress) { close(enough) }
		got, err := e.Generate(t.Context(), j)
		if err != nil || got.Parameters.Interrupted == nil || *got.Parameters.Interrupted != (sdxl.Interruption{StepsDone: 1, Steps: 2}) {
			t.Fatalf("%v, %+v", err, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	j := ask("until stopped")
	j.Request.Stop = make(chan struct{}) // which nobody closes
	j.Request.Progress = func(sdxl.Progress) { cancel() }
	if _, err := e.Generate(ctx, j); !errors.Is(err, context.Canceled) || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	before := make(chan struct{})
	close(before)
	j = ask("until stopped")
	j.Request.Stop = before
	if got, err := e.Generate(t.Context(), j); err != nil || got.Parameters.Interrupted == nil {
		t.Errorf("stopped before it began: %v", err)
	}
	if _, err := e.Generate(t.Context(), ask("a cat")); err != nil {
		t.Error(err)
	}
}
