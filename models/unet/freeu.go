package unet

import (
	"errors"
	"fmt"
	"math"

	"github.com/goxl/goxl/nn"
)

// FreeUBlocks is the number of blocks of the way up that FreeU acts on, if there are as many: the first ones.
const FreeUBlocks = 2

// freeUWaves are the waves of the lowest frequencies: the constant one, and cosine and sine along each axis and along
// both.
const freeUWaves = 7

// FreeUMasks are the numbers by which a block of the way up computes FreeU, for a sample of H×W positions.
type FreeUMasks struct {
	Channels []float32             // [2·H·W], what is added of each half of a position's channels: b−1, and 0
	Take     [freeUWaves][]float32 // [H·W], a wave less 1; nil for the constant one
	Give     [freeUWaves][]float32 // [H·W], a wave times s−1; 0 for one that the size does not have
}

// NewFreeUMasks gives them for factors of the skip connections and of the channels.
//
// The filter multiplies the frequencies 0 and −1 of each axis by s (diffusers utils/torch_utils.py, fourier_filter, of
// threshold 1) and keeps the real part. Without +1 beside −1 that is x + (s−1)·Σ wave·mean(wave·x).
func NewFreeUMasks(height, width int, s, b float64) *FreeUMasks {
	m := &FreeUMasks{Channels: make([]float32, 2*height*width)}
	for i := 0; i < len(m.Channels); i += 2 {
		m.Channels[i] = float32(b - 1)
	}
	for k := range freeUWaves {
		down, right := (k+1)/2&2 != 0, (k+1)/2&1 != 0 // 0: constant; 1, 2: along x; 3, 4: along y; 5, 6: along both
		there := (!down || height > 1) && (!right || width > 1)
		for y := range height {
			for x := range width {
				angle := 0.0
				if down {
					angle += float64(y) / float64(height)
				}
				if right {
					angle += float64(x) / float64(width)
				}
				wave := math.Cos(2 * math.Pi * angle)
				if k > 0 && k%2 == 0 {
					wave = math.Sin(2 * math.Pi * angle)
				}
				if k > 0 {
					m.Take[k] = append(m.Take[k], float32(wave-1))
				}
				if !there {
					wave = 0
				}
				m.Give[k] = append(m.Give[k], float32((s-1)*wave))
			}
		}
	}
	return m
}

// FreeU is FreeUMasks in a graph, of B samples.
type FreeU struct {
	Channels *nn.Value             // [B, 2·H·W]
	Take     [freeUWaves]*nn.Value // [B, H·W]; nil for the constant wave
	Give     [freeUWaves]*nn.Value // [B, H·W]
	Zero     *nn.Value             // [1], the number 0
}

// NewFreeU declares it for a block of so many positions by input, which declares [B, perSample]; zero is [1], the
// number 0.
func NewFreeU(positions int, zero *nn.Value, input func(name string, perSample int) *nn.Value) *FreeU {
	u := &FreeU{Channels: input(freeUChannels, 2*positions), Zero: zero}
	for k := range freeUWaves {
		if k > 0 {
			u.Take[k] = input(freeUTake(k), positions)
		}
		u.Give[k] = input(freeUGive(k), positions)
	}
	return u
}

// Each calls set with the numbers of a sample for each name that NewFreeU declares.
func (m *FreeUMasks) Each(set func(name string, sample []float32) error) error {
	err := set(freeUChannels, m.Channels)
	for k := range freeUWaves {
		if k > 0 {
			err = errors.Join(err, set(freeUTake(k), m.Take[k]))
		}
		err = errors.Join(err, set(freeUGive(k), m.Give[k]))
	}
	return err
}

const freeUChannels = "channels"

func freeUTake(wave int) string { return fmt.Sprintf("take %d", wave) }
func freeUGive(wave int) string { return fmt.Sprintf("give %d", wave) }

// freeU is that of a block of the way up; nil is none.
func (in Inputs) freeU(block int) *FreeU {
	if block < len(in.FreeU) {
		return in.FreeU[block]
	}
	return nil
}

// apply returns what a residual block reads of x and skip, [B, H, W, ...].
func (u *FreeU) apply(b *nn.Builder, x, skip *nn.Value) (scaled, filtered *nn.Value) {
	scaled = b.AddMasked(x, x, u.Channels)
	if skip == x { // without a middle; diffusers scales x in place
		skip = scaled
	}
	h, w, c := skip.Dim(1), skip.Dim(2), skip.Dim(3)
	nowhere := b.ScaleRepeat(b.Resize(skip, 1, 1), u.Zero, 1) // a query that finds all keys alike: attention is the mean
	filtered = skip
	for k := range freeUWaves {
		wave := skip
		if k > 0 {
			wave = b.AddMasked(skip, skip, u.Take[k])
		}
		mean := b.Attention(nowhere, wave, wave, headsFor(c), false)
		filtered = b.AddMasked(filtered, b.Resize(mean, h, w), u.Give[k])
	}
	return scaled, filtered
}

// headsFor is a number of heads for so many channels with sizes that attention is fast at.
func headsFor(channels int) int {
	size := min(64, channels)
	for channels%size != 0 {
		size--
	}
	return channels / size
}
