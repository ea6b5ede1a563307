package contexts

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestWhileAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, endA := context.WithCancel(t.Context())
		b, endB := context.WithCancel(t.Context())
		ctx, cancel := WhileAny(a, b)
		defer cancel()
		endB()
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("it ends with one of two")
		}
		endA()
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it goes on after both")
		}
	})
	ctx, cancel := WhileAny(t.Context())
	cancel()
	if ctx.Err() == nil {
		t.Error("it goes on after its own end")
	}
}
