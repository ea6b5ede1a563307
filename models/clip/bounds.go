package clip

import (
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// prefix starts the names of every tensor but the projection, in files of most versions of transformers.
const prefix = "text_model."

func hasPrefix(name string) bool { return strings.HasPrefix(name, prefix) }

// Fits checks that a checkpoint has as many layers as the configuration counts, and tensors as large as it says, so
// that New declares no more than there is. file is the name that errors, each a *weights.ConfigError, give the
// configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	model := ""
	if slices.ContainsFunc(src.Names(), hasPrefix) {
		model = prefix
	}
	if err := b.Count("num_hidden_layers", c.Layers, 0, model+"encoder.layers"); err != nil {
		return err
	}
	sizes := []weights.Size{
		weights.NewSize("vocab_size", c.VocabSize, model+"embeddings.token_embedding.weight", 0),
		weights.NewSize("hidden_size", c.HiddenSize, model+"embeddings.token_embedding.weight", 1),
		weights.NewSize("max_position_embeddings", c.MaxPositions, model+"embeddings.position_embedding.weight", 0),
		weights.NewSize("intermediate_size", c.Intermediate, model+"encoder.layers.0.mlp.fc1.weight", 0),
	}
	if c.WithProjection {
		sizes = append(sizes, weights.NewSize("projection_dim", c.ProjectionDim, "text_projection.weight", 0))
	}
	return b.Sizes(sizes...)
}
