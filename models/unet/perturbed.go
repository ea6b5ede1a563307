package unet

import (
	"fmt"

	"github.com/goxl/goxl/nn"
)

// SelfAttentions are the module paths of the configuration's self-attentions, in the order of CrossAttentions.
func (c Config) SelfAttentions() []string {
	var all []string
	New(c).eachBlock(func(path string, _, i int, _ *TransformerBlock) {
		all = append(all, fmt.Sprintf("%s.transformer_blocks.%d.attn1", path, i))
	})
	return all
}

// identity is attached to a self-attention that is the identity.
type identity struct{}

// attachPerturbed says to each self-attention whether it is the identity, after another Forward in the graph too.
func (m *Model) attachPerturbed(b *nn.Builder, perturbed []bool) {
	i := 0
	m.eachBlock(func(_ string, _, _ int, block *TransformerBlock) {
		switch is := i < len(perturbed) && perturbed[i]; {
		case is:
			b.Attach(block.Attn1, identity{})
		case b.Attached(block.Attn1) != nil:
			b.Attach(block.Attn1, nil)
		}
		i++
	})
	if perturbed != nil && i != len(perturbed) {
		b.Fail("%d self-attentions are perturbed or not: must be %d", len(perturbed), i)
	}
}

// perturbed reports whether the self-attention is the identity in this graph.
func (a *Attention) perturbed(b *nn.Builder) bool { return b.Attached(a) == identity{} }
