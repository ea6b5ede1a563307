package nn

import (
	"context"

	"github.com/goxl/goxl/kernels"
)

// Source is what the network was made with, whatever updates have changed since. It has the shapes that an update must
// have.
func (n *Network) Source() kernels.Source { return n.source }

// Update makes some tensors come from an update, as those of an adapter set do, or all from the network's source again
// if u is nil; see kernels.Weights. Programs stay valid, also those that are compiled later compute with it, in every
// precision. After an error the update before is in force.
func (n *Network) Update(ctx context.Context, u *kernels.Update) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.weights.Update(ctx, u); err != nil {
		return err
	}
	n.update = u
	return nil
}
