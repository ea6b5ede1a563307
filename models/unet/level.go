package unet

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/nn"
)

// Level is one resolution on the way down or up; Attentions is empty in the plain block types.
type Level struct {
	Attentions   []*Transformer `weight:"attentions"`
	Resnets      []*ResnetBlock `weight:"resnets"`
	Downsamplers []*Sampler     `weight:"downsamplers"`
	Upsamplers   []*Sampler     `weight:"upsamplers"`
}

// Sampler is a convolution that halves the image, or follows its doubling.
type Sampler struct {
	Conv *nn.Conv2d `weight:"conv"`
}

// LevelConfig is what a level, or the middle, is made of.
type LevelConfig struct {
	In, Out   int   // channels, multiples of Groups; Out of Heads too
	Layers    int   // residual blocks; the middle has two
	Attention bool  // a transformer after each residual block; the middle has one between its two
	Depth     int   // blocks of a transformer
	Depths    []int // in place of Depth where a level's transformers differ, one a layer
	Heads     int   // of an attention
	Context   int   // width of the prompt embeddings
	Resample  bool  // the image is halved afterwards on the way down, doubled on the way up
	Embedding int   // width of the time embedding
	Groups    int   // of group norms
	Eps       float64
}

// skips are the channels of what a level on the way down leaves for the way up.
func (c LevelConfig) skips() []int {
	n := c.Layers
	if c.Resample {
		n++
	}
	return slices.Repeat([]int{c.Out}, n)
}

// NewDownLevel declares a level on the way down.
func NewDownLevel(c LevelConfig) *Level {
	l := &Level{}
	in := c.In
	for i := range c.Layers {
		l.add(c, i, in)
		in = c.Out
	}
	if c.Resample {
		l.Downsamplers = []*Sampler{{Conv: nn.NewConv2d(c.Out, c.Out, 3)}}
		l.Downsamplers[0].Conv.Stride = 2
	}
	return l
}

// NewUpLevel declares a level on the way up. skips are the channels of what the way down has left, of which the level
// takes one a layer from the end; it panics if there are fewer.
func NewUpLevel(c LevelConfig, skips []int) *Level {
	if len(skips) < c.Layers {
		panic(fmt.Sprintf("unet: a level of %d layers, and %d skips: must be as many", c.Layers, len(skips)))
	}
	l := &Level{}
	in := c.In
	for i := range c.Layers {
		l.add(c, i, in+skips[len(skips)-1-i])
		in = c.Out
	}
	if c.Resample {
		l.Upsamplers = []*Sampler{{Conv: nn.NewConv2d(c.Out, c.Out, 3)}}
	}
	return l
}

// add declares layer i, of in channels.
func (l *Level) add(c LevelConfig, i, in int) {
	l.Resnets = append(l.Resnets, NewResnetBlock(in, c.Out, c.Embedding, c.Groups, c.Eps))
	if !c.Attention {
		return
	}
	depth := c.Depth
	if len(c.Depths) > 0 {
		depth = c.Depths[i]
	}
	l.Attentions = append(l.Attentions, NewTransformer(c.Out, c.Heads, depth, c.Context, c.Groups))
}

// Down maps x [B, H, W, in] to [B, H, W, out], halved if the level has a downsampler, and returns it and skips with the
// level's results appended. emb is silu of the time embedding, [B, embedding]; text is the prompt embeddings,
// [B, S, context].
//
// The last result is both what the next level reads and a skip: taps that replace the level's output change the first
// alone, those of its last module change both.
func (l *Level) Down(b *nn.Builder, x, emb, text *nn.Value, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	return l.DownAdapted(b, x, emb, text, nil, skips)
}

// DownAdapted is Down with a T2I-Adapter's features of the level, nil for none: where the level has attention they are
// added before its downsampler, else after it. They are part of the skip in either case, as in diffusers.
func (l *Level) DownAdapted(b *nn.Builder, x, emb, text, features *nn.Value, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	for j, resnet := range l.Resnets {
		x = resnet.Forward(b, x, nil, emb)
		if len(l.Attentions) > 0 {
			x = l.Attentions[j].Forward(b, x, text)
			if j == len(l.Resnets)-1 && features != nil {
				x = b.Add(x, features)
			}
		}
		skips = append(skips, x)
	}
	for _, s := range l.Downsamplers {
		x = b.Tap(s, s.Conv.Forward(b, x))
		skips = append(skips, x)
	}
	x = b.Tap(l, x)
	if len(l.Attentions) == 0 && features != nil {
		x = b.Add(x, features)
		skips[len(skips)-1] = x
	}
	return x, skips
}

// Up maps x [B, H, W, in] to [B, H, W, out], resized to the next skip if the level has an upsampler: to the double or,
// of an odd image, one less. It returns that and skips without the one a layer that it has taken from the end.
func (l *Level) Up(b *nn.Builder, x, emb, text *nn.Value, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	return l.UpFiltered(b, x, emb, text, nil, skips)
}

// UpFiltered is Up with FreeU of what each residual block reads; nil is none.
func (l *Level) UpFiltered(b *nn.Builder, x, emb, text *nn.Value, freeU *FreeU, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	if want := len(l.Resnets) + len(l.Upsamplers); len(skips) < want {
		b.Fail("a level on the way up reads %d skips, and there are %d", want, len(skips))
	}
	for j, resnet := range l.Resnets {
		skip := skips[len(skips)-1]
		skips = skips[:len(skips)-1]
		if freeU != nil {
			x, skip = freeU.apply(b, x, skip)
		}
		x = resnet.Forward(b, x, skip, emb)
		if len(l.Attentions) > 0 {
			x = l.Attentions[j].Forward(b, x, text)
		}
	}
	for _, s := range l.Upsamplers {
		next := skips[len(skips)-1]
		x = b.Tap(s, s.Conv.Fused(b, nn.Source{X: x, Height: next.Dim(1), Width: next.Dim(2)}, nn.Epilogue{}))
	}
	return b.Tap(l, x), skips
}

// MidBlock is the lowest resolution.
type MidBlock struct {
	Attentions []*Transformer `weight:"attentions"` // one, or none
	Resnets    []*ResnetBlock `weight:"resnets"`    // two, or one alone
}

// NewMidBlock declares the middle, of c.In channels: two residual blocks, and attention between them if c says so.
func NewMidBlock(c LevelConfig) *MidBlock {
	m := NewPlainMidBlock(c)
	m.Resnets = append(m.Resnets, NewResnetBlock(c.In, c.In, c.Embedding, c.Groups, c.Eps))
	if c.Attention {
		m.Attentions = []*Transformer{NewTransformer(c.In, c.Heads, c.Depth, c.Context, c.Groups)}
	}
	return m
}

// NewPlainMidBlock declares a middle of one residual block, as smaller models have it.
func NewPlainMidBlock(c LevelConfig) *MidBlock {
	return &MidBlock{Resnets: []*ResnetBlock{NewResnetBlock(c.In, c.In, c.Embedding, c.Groups, c.Eps)}}
}

// Forward keeps the shape of x [B, H, W, in]. emb is silu of the time embedding, [B, embedding]; text is [B, S,
// context]. A nil block, of a UNet without a middle, returns x.
func (m *MidBlock) Forward(b *nn.Builder, x, emb, text *nn.Value) *nn.Value {
	if m == nil {
		return x
	}
	x = m.Resnets[0].Forward(b, x, nil, emb)
	for _, a := range m.Attentions {
		x = a.Forward(b, x, text)
	}
	for _, r := range m.Resnets[1:] {
		x = r.Forward(b, x, nil, emb)
	}
	return b.Tap(m, x)
}
