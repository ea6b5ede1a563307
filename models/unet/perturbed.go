package unet

import "fmt"

// SelfAttentions are the module paths of the configuration's self-attentions, in the order of CrossAttentions.
func (c Config) SelfAttentions() []string {
	var all []string
	New(c).eachBlock(func(path string, _, i int, _ *TransformerBlock) {
		all = append(all, fmt.Sprintf("%s.transformer_blocks.%d.attn1", path, i))
	})
	return all
}
