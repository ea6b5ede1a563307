package scheduler

import "math"

const (
	twisterSize  = 624
	twisterShift = 397
)

// Generator is torch.Generator("cpu"): MT19937 and, on top of it, torch's float32 uniform and normal draws, bit for
// bit as an x86-64 host with AVX2 or AVX-512 gives them. It is not safe for concurrent use.
type Generator struct {
	state [twisterSize]uint32
	next  int // index of the next word; twisterSize when a new block is due

	// The second half of a pair drawn by the scalar normal path, kept for the next call. Only Seed clears it.
	cached    float64
	hasCached bool
}

// NewGenerator is torch.Generator("cpu").manual_seed(seed). As in torch only the low 32 bits of seed count.
func NewGenerator(seed uint64) *Generator {
	g := &Generator{}
	g.Seed(seed)
	return g
}

// Seed restarts the generator and drops a cached normal value.
func (g *Generator) Seed(seed uint64) {
	g.state[0] = uint32(seed)
	for i := 1; i < twisterSize; i++ {
		prev := g.state[i-1]
		g.state[i] = 1812433253*(prev^prev>>30) + uint32(i)
	}
	g.next = twisterSize
	g.hasCached = false
}

// Uint32 returns the next 32-bit output.
func (g *Generator) Uint32() uint32 {
	if g.next == twisterSize {
		g.refill()
	}
	y := g.state[g.next]
	g.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (g *Generator) refill() {
	s := &g.state
	for i := range s {
		y := s[i]&0x80000000 | s[(i+1)%twisterSize]&0x7fffffff
		word := s[(i+twisterShift)%twisterSize] ^ y>>1
		if y&1 != 0 {
			word ^= 0x9908b0df
		}
		s[i] = word
	}
	g.next = 0
}

// uint64 joins two outputs, the first one high.
func (g *Generator) uint64() uint64 {
	high := uint64(g.Uint32())
	return high<<32 | uint64(g.Uint32())
}

// Uniform fills dst as torch.rand(len(dst), dtype=float32) does: values in [0, 1) with 24 bits.
func (g *Generator) Uniform(dst []float32) {
	for i := range dst {
		dst[i] = float32(g.Uint32()&0xffffff) * (1.0 / (1 << 24))
	}
}

// Randn fills dst as torch.randn(len(dst), dtype=float32) does. Fewer than 16 values take torch's scalar path, whose
// unused half of a pair waits in the generator for the next such call; 16 and more take the blocked one.
func (g *Generator) Randn(dst []float32) {
	if len(dst) < normalBlock {
		for i := range dst {
			dst[i] = float32(g.normal())
		}
		return
	}
	g.Uniform(dst)
	end := len(dst) / normalBlock * normalBlock
	for i := 0; i < end; i += normalBlock {
		boxMuller(dst[i:])
	}
	if end != len(dst) {
		// A ragged tail is redrawn as a full block over the last 16 positions, finished values included.
		tail := dst[len(dst)-normalBlock:]
		g.Uniform(tail)
		boxMuller(tail)
	}
}

// normal draws one value in double precision by Box-Muller.
func (g *Generator) normal() float64 {
	if g.hasCached {
		g.hasCached = false
		return g.cached
	}
	u1 := float64(g.uint64()&(1<<53-1)) * (1.0 / (1 << 53))
	u2 := float64(g.uint64()&(1<<53-1)) * (1.0 / (1 << 53))
	radius := math.Sqrt(-2 * math.Log1p(-u2))
	sin, cos := math.Sincos(2 * math.Pi * u1)
	g.cached, g.hasCached = radius*sin, true
	return radius * cos
}
