// Package contexts puts contexts together.
package contexts

import (
	"context"
	"sync/atomic"
)

// WhileAny is a context that ends once all of the list have ended, for work that several callers wait for. It has none of
// their values. The function that it returns frees what the context holds, and ends it.
func WhileAny(list ...context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(len(list)))
	stops := make([]func() bool, len(list))
	for i, one := range list {
		stops[i] = context.AfterFunc(one, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
