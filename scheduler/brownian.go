package scheduler

import (
	"math"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

// Brownian is a Brownian path of n independent values over an interval of noise levels, a pure function of its seed:
// torchsde.BrownianInterval(t0, t1, (n,), entropy=seed, tol=1e-6, pool_size=24, halfway_tree=True), the BrownianTree of
// k-diffusion and of diffusers' DPMSolverSDEScheduler, bit for bit. Unlike draws of a Generator its increments do not
// depend on the number of steps: those of two neighbouring steps add up to that of one long step. It is safe for
// concurrent use.
type Brownian struct {
	start, end float64
	n          int
	seed       uint64
	top        []float32 // the increment over the whole interval

	mu     sync.Mutex
	halves map[brownianNode]*brownianHalf // of the nodes that the last call halved: the next one begins where it ended
}

// brownianNode is a node's place in the tree, of which its seed is made.
type brownianNode struct{ key, depth uint64 }

// brownianHalf is the increment over the first half of a node, of which its unit noise is made.
type brownianHalf struct {
	values []float32
	noise  bool // values are still the noise
}

const (
	brownianPool   = 24
	brownianDigits = 6 // decimals to which times are rounded: the tree's tolerance of 1e-6
)

// NewBrownian makes a path of n values from the noise level low to high.
func NewBrownian(n int, low, high float64, seed uint64) *Brownian {
	b := &Brownian{start: roundTime(low), end: roundTime(high), n: n, seed: seed, top: make([]float32, n)}
	NewGenerator(uint64(seedSequence(seed, nil, brownianPool, 1)[0])).Randn(b.top)
	scale(b.top, float32(math.Sqrt(high-low)))
	return b
}

// Noise fills dst, of n values, with the unit normal noise of a step between two noise levels: the path's increment
// from one to the other over the square root of their distance, as BrownianTreeNoiseSampler gives it. Levels outside of
// the path's interval count as its ends. Equal levels have no noise.
func (b *Brownian) Noise(dst []float32, from, to float64) {
	low, high := min(from, to), max(from, to)
	b.increment(dst, low, high)
	distance := float32(math.Sqrt(float64(float32(high) - float32(low))))
	if distance == 0 {
		return
	}
	if from > to {
		distance = -distance
	}
	for i := range dst {
		dst[i] /= distance
	}
}

// increment fills dst with the path's change from low to high.
func (b *Brownian) increment(dst []float32, low, high float64) {
	clear(dst)
	ta, tb := b.clamp(low), b.clamp(high)
	if ta == tb {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.halves
	b.halves = map[brownianNode]*brownianHalf{}
	var drawn []brownianNode
	b.visit(b.start, b.end, ta, tb, brownianNode{}, func(node brownianNode) {
		if b.halves[node] = last[node]; last[node] == nil {
			b.halves[node] = &brownianHalf{values: make([]float32, b.n), noise: true}
			drawn = append(drawn, node)
		}
	})
	b.draw(drawn)
	b.add(dst, b.start, b.end, ta, tb, brownianNode{}, b.top)
}

// visit calls f for the nodes that add halves.
func (b *Brownian) visit(start, end, ta, tb float64, node brownianNode, f func(brownianNode)) {
	if ta == start && tb == end {
		return
	}
	f(node)
	middle := roundTime(0.5 * (end + start))
	if ta < middle {
		b.visit(start, middle, ta, min(tb, middle), node.first(), f)
	}
	if tb > middle {
		b.visit(middle, end, max(ta, middle), tb, node.second(), f)
	}
}

func (n brownianNode) first() brownianNode  { return brownianNode{2 * n.key, n.depth + 1} }
func (n brownianNode) second() brownianNode { return brownianNode{2*n.key + 1, n.depth + 1} }

// draw fills in the noise of nodes on every processor: a step has some twenty of them.
func (b *Brownian) draw(nodes []brownianNode) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(nodes)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(nodes) {
					return
				}
				seed := seedSequence(b.seed, []uint64{nodes[i].key, nodes[i].depth}, brownianPool, 1)[0]
				NewGenerator(uint64(seed)).Randn(b.halves[nodes[i]].values)
			}
		})
	}
	workers.Wait()
}

// clamp is a time as the tree keeps it.
func (b *Brownian) clamp(t float64) float64 { return roundTime(min(max(t, b.start), b.end)) }

// add adds the increment from ta to tb, which lie in a node [start, end] whose own increment is w. A node is halved until
// ta and tb are ends of nodes.
func (b *Brownian) add(dst []float32, start, end, ta, tb float64, node brownianNode, w []float32) {
	if ta == start && tb == end {
		for i, v := range w {
			dst[i] += v
		}
		return
	}
	middle := roundTime(0.5 * (end + start))
	half := b.halves[node]
	if half.noise {
		reciprocal := 1 / (end - start)
		before, after := middle-start, end-middle
		deviation := float32(math.Sqrt(before * after * reciprocal))
		for i, v := range w {
			half.values[i] = float32(float32(float32(before)*v)*float32(reciprocal)) + float32(deviation*half.values[i])
		}
		half.noise = false
	}
	if ta < middle {
		b.add(dst, start, middle, ta, min(tb, middle), node.first(), half.values)
	}
	if tb > middle {
		rest := make([]float32, b.n)
		for i, v := range w {
			rest[i] = v - half.values[i]
		}
		b.add(dst, middle, end, max(ta, middle), tb, node.second(), rest)
	}
}

func scale(list []float32, factor float32) {
	for i := range list {
		list[i] *= factor
	}
}

// roundTime is Python's round(t, 6): of the two nearest decimals the one that is nearer to the exact value.
func roundTime(t float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(t, 'f', brownianDigits, 64), 64)
	if err != nil { // NaN and infinities, which no schedule has
		return t
	}
	return rounded
}
