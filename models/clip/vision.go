package clip

import (
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

const visionPrefix = "vision_model."

// VisionModel is the tensors of an image encoder under their checkpoint names. Source: transformers 5
// models/clip/modeling_clip.py, CLIPVisionModelWithProjection.
type VisionModel struct {
	config           VisionConfig
	Embeddings       *VisionEmbeddings `weight:"vision_model.embeddings"`
	PreLayerNorm     *nn.LayerNorm     `weight:"vision_model.pre_layrnorm"` // so in the checkpoints
	Layers           []*Layer          `weight:"vision_model.encoder.layers"`
	PostLayerNorm    *nn.LayerNorm     `weight:"vision_model.post_layernorm"`
	VisualProjection *nn.Linear        `weight:"visual_projection"`
}

// VisionEmbeddings turn patches into vectors.
type VisionEmbeddings struct {
	ClassEmbedding    *nn.Param     `weight:"class_embedding"` // [channels]
	PatchEmbedding    *nn.Linear    `weight:"patch_embedding"` // a convolution whose stride is its kernel, as the matrix it is
	PositionEmbedding *nn.Embedding `weight:"position_embedding"`
}

// NewVision declares the model of a configuration.
func NewVision(c VisionConfig) *VisionModel {
	act := kernels.GELU
	if c.HiddenAct == "quick_gelu" {
		act = kernels.QuickGELU
	}
	m := &VisionModel{
		config: c,
		Embeddings: &VisionEmbeddings{
			ClassEmbedding:    nn.NewParam(c.HiddenSize),
			PatchEmbedding:    nn.NewLinear(c.Channels*c.PatchSize*c.PatchSize, c.HiddenSize, false),
			PositionEmbedding: nn.NewEmbedding(c.Tokens(), c.HiddenSize),
		},
		PreLayerNorm:     nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps),
		Layers:           make([]*Layer, c.Layers),
		PostLayerNorm:    nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps),
		VisualProjection: nn.NewLinear(c.HiddenSize, c.ProjectionDim, false),
	}
	for i := range m.Layers {
		m.Layers[i] = NewLayer(c.HiddenSize, c.Heads, c.Intermediate, act, c.LayerNormEps)
		m.Layers[i].SelfAttn.causal = false
	}
	return m
}

// VisionShapes are the tensors of a checkpoint, where the patches' weights are a convolution's.
func VisionShapes(c VisionConfig) map[string][]int {
	shapes := nn.Shapes(NewVision(c))
	shapes[patchWeight] = []int{c.HiddenSize, c.Channels, c.PatchSize, c.PatchSize}
	return shapes
}

// Forward maps patches [B, T, 3·patch²], of which the first stands for the class and is zero, to the hidden states
// [B, T, C] before the last layer (hidden_states[-2]) or, if whole, to the image embeddings [B, ProjectionDim]
// (image_embeds). Positions [B, T, C] are the rows of the position embedding with the class's added to the first; first
// I32 [B] is 0.
func (m *VisionModel) Forward(b *nn.Builder, patches, positions, first *nn.Value, whole bool) *nn.Value {
	x := m.Embeddings.PatchEmbedding.Fused(b, patches, nn.Epilogue{Residual: positions})
	x = m.PreLayerNorm.Forward(b, b.Tap(m.Embeddings, x))
	layers := m.Layers
	if !whole {
		layers = layers[:len(layers)-1]
	}
	for _, l := range layers {
		x = l.Forward(b, x)
	}
	if !whole {
		return x
	}
	x = m.PostLayerNorm.Forward(b, b.Gather(x, first))
	return m.VisualProjection.Forward(b, x)
}

const patchWeight = visionPrefix + "embeddings.patch_embedding.weight"

// patchMatrix is a source whose convolution over patches is the matrix that it is.
type patchMatrix struct{ kernels.Source }

func (s patchMatrix) matrix(name string, shape []int) []int {
	if name != patchWeight || len(shape) != 4 {
		return shape
	}
	return []int{shape[0], shape[1] * shape[2] * shape[3]}
}

// Tensor implements kernels.Source.
func (s patchMatrix) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	return dtype, s.matrix(name, shape), data, err
}

// Describe implements kernels.Source.
func (s patchMatrix) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := s.Source.Describe(name)
	return dtype, s.matrix(name, shape), err
}

// patches cuts pixels [3, size, size] into the rows of Forward, [T, 3·patch²].
func (c VisionConfig) patches(pixels []float32) []float32 {
	side, p := c.ImageSize/c.PatchSize, c.PatchSize
	width := c.Channels * p * p
	rows := slices.Grow(make([]float32, width), side*side*width)
	for y := range side {
		for x := range side {
			for ch := range c.Channels {
				for row := range p {
					at := (ch*c.ImageSize+y*p+row)*c.ImageSize + x*p
					rows = append(rows, pixels[at:at+p]...)
				}
			}
		}
	}
	return rows
}
