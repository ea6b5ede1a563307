package kernels

import "context"

// Watched is a Program whose device looks, while it runs, for NaN and Inf in the states and results that nodes write, so that nobody has to wait for those and read them to
// find out.
type Watched interface {
	// Spoiled tells whether a run since the last Settle wrote NaN or Inf, as far as is known without waiting: of the last two runs nothing may be.
	Spoiled() bool
	// Settle waits for the last run, tells the same for certain, and starts anew.
	Settle(ctx context.Context) (spoiled bool, err error)
}
