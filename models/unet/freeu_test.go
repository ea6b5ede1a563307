package unet

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/goxl/goxl/nn"
)

// TestFreeUMasks holds the masks against the filter as diffusers states it (utils/torch_utils.py, fourier_filter): the
// spectrum is shifted, the box of two by two around its centre multiplied, and the real part of what comes back kept.
func TestFreeUMasks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range [][2]int{{1, 1}, {1, 8}, {7, 1}, {2, 2}, {2, 5}, {3, 4}, {5, 6}, {8, 8}} {
		h, w := size[0], size[1]
		x := make([]float64, h*w)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		const s, b = 0.3, 1.4
		m := NewFreeUMasks(h, w, s, b)
		want := filtered(x, h, w, s)
		for i := range x {
			got := x[i]
			for k := range freeUWaves {
				mean := 0.0
				for j, v := range x {
					if k > 0 {
						v *= 1 + float64(m.Take[k][j])
					}
					mean += v / float64(len(x))
				}
				got += float64(m.Give[k][i]) * mean
			}
			if math.Abs(got-want[i]) > 1e-6 {
				t.Fatalf("%d×%d: %v at %d, want %v", h, w, got, i, want[i])
			}
			if m.Channels[2*i] != float32(b-1) || m.Channels[2*i+1] != 0 {
				t.Fatalf("the halves of position %d get %v", i, m.Channels[2*i:2*i+2])
			}
		}
	}
}

func filtered(x []float64, h, w int, s float64) []float64 {
	at := func(u, v, i int) complex128 {
		return cmplx.Exp(complex(0, 2*math.Pi*(float64(u*(i/w))/float64(h)+float64(v*(i%w))/float64(w))))
	}
	out := make([]float64, len(x))
	for row := range h {
		for column := range w {
			u, v := row-h/2, column-w/2 // frequencies, as fftshift puts them
			var sum complex128
			for i, value := range x {
				sum += complex(value, 0) * cmplx.Conj(at(u, v, i))
			}
			if row >= h/2-1 && row < h/2+1 && column >= w/2-1 && column < w/2+1 {
				sum *= complex(s, 0)
			}
			for i := range out {
				out[i] += real(sum*at(u, v, i)) / float64(len(x))
			}
		}
	}
	return out
}

// TestHeadsFor looks for sizes of heads that divide the channels.
func TestHeadsFor(t *testing.T) {
	for channels, want := range map[int]int{1280: 20, 640: 10, 320: 5, 20: 1, 36: 1, 96: 2, 1: 1, 127: 127} {
		if got := headsFor(channels); got != want {
			t.Errorf("%d channels: %d heads, want %d", channels, got, want)
		}
	}
}

// TestPerturbedOfAnotherUNet states which attentions are perturbed for another number of them.
func TestPerturbedOfAnotherUNet(t *testing.T) {
	c := Config{
		InChannels: 4, OutChannels: 4, BlockOutChannels: []int{8, 16}, LayersPerBlock: PerLevel{1}, NormNumGroups: 4, NormEps: 1e-5,
		DownBlockTypes: []string{"DownBlock2D", "CrossAttnDownBlock2D"}, UpBlockTypes: []string{"CrossAttnUpBlock2D", "UpBlock2D"}, MidBlockType: CrossAttnMid,
		AttentionHeads: PerLevel{1}, CrossAttentionDim: PerLevel{8}, TransformerLayers: Depths{{1}}, ConvInKernel: 3, ConvOutKernel: 3,
	}
	if got := c.SelfAttentions(); len(got) != len(c.CrossAttentions()) || got[0] != "down_blocks.1.attentions.0.transformer_blocks.0.attn1" {
		t.Fatalf("self-attentions %q", got)
	}
	_, err := nn.Build(nil, func(b *nn.Builder) { New(c).attachPerturbed(b, make([]bool, 2)) })
	if err == nil {
		t.Error("two attentions were taken for four")
	}
}
