package nn

import (
	"context"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// Source is what the network was made with, whatever updates have changed since. It has the shapes that an update must
// have.
func (n *Network) Source() kernels.Source { return n.source }

// Updated is Source as it is under the update in force: what programs compute with. It may be read for as long as that
// update's own source.
func (n *Network) Updated() kernels.Source {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ref.Updated(n.source, n.update)
}

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
