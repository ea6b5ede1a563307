package cuda

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

func (l *lowering) groupNorm(s kernels.GroupNorm) error {
	places := s.Operands()
	x, err := l.float(places.X)
	if err != nil {
		return err
	}
	var x2 operand
	p := groupNormParams{
		Pixels: int32(x.Shape[1] * x.Shape[2]), C1: int32(x.Shape[3]), Groups: int32(s.Groups),
		XType: x.storage, OutType: l.out[0].storage, Act: int32(s.Act), Eps: float32(s.Eps),
	}
	if s.Concat {
		if x2, err = l.float(places.X2); err != nil {
			return err
		}
		p.C2, p.X2Type = int32(x2.Shape[3]), x2.storage
	}
	weight, err := l.vector(places.Weight)
	if err != nil {
		return err
	}
	bias, err := l.vector(places.Bias)
	if err != nil {
		return err
	}
	batch, out, shared := x.Shape[0], l.out[0], 8*s.Groups
	if shared > mostShared || batch > 65535 {
		return fmt.Errorf("cuda: group norm of %d samples and %d groups, want at most 65535 and %d", batch, s.Groups, mostShared/8)
	}
	c, size := int(p.C1+p.C2), int(p.C1+p.C2)/s.Groups
	var partial ref
	params := func(at func(ref) driver.Ptr) any {
		p := p
		p.X, p.X2, p.Weight, p.Bias, p.Partial, p.Out = at(x.ref), at(x2.ref), at(weight), at(bias), at(partial), at(out.ref)
		for k, to := range []*driver.Ptr{&p.Totals, &p.Totals2}[:len(l.channelTotals)] {
			*to = at(l.channelTotals[k])
		}
		return p
	}
	across := slab(int(p.C1), int(p.C2), s.Groups)
	if across == 0 {
		slabs := ceil(s.Groups, 8)
		p.Chunks = int32(max(1, min(4*l.sms/(slabs*batch), int(p.Pixels)/32, 256)))
		partial = l.scratch(8 * int64(batch) * int64(s.Groups) * int64(p.Chunks))
		l.launch("group_statistics", driver.Dim{X: uint32(p.Chunks), Y: uint32(slabs), Z: uint32(batch)}, 256, 0, params)
		chunks := max(1, min(8*l.sms/(ceil(c, 256)*batch), int(p.Pixels)/8))
		l.launch("group_apply", driver.Dim{X: uint32(chunks), Y: uint32(ceil(c, 256)), Z: uint32(batch)}, 256, shared, params)
		return nil
	}
	kind := ""
	if x.storage == wide || s.Concat && x2.storage == wide {
		kind = "_fp32"
	}
	if narrowest, each := wholeSlab(c/8, size, int(p.Pixels)); each > 0 && kind == "" {
		p.Across = int32(narrowest)
		block := roundUp(wholeWalkers/narrowest*narrowest, 32)
		l.launch(fmt.Sprintf("group_norm_%d", each), driver.Dim{X: 1, Y: uint32(c / (8 * narrowest)), Z: uint32(batch)}, uint32(block), totalsShared(block, narrowest, size), params)
		return nil
	}
	// Enough blocks to fill the card once, and no more: each of the last kernel's reads what all of the first's wrote.
	slabs := c / (8 * across)
	p.Across = int32(across)
	_, least := walkers(across, 1)
	p.Chunks = int32(max(1, min(l.sms/(slabs*batch), int(p.Pixels)/least)))
	block, _ := walkers(across, int(p.Pixels)/int(p.Chunks))
	grid := driver.Dim{X: uint32(p.Chunks), Y: uint32(slabs), Z: uint32(batch)}
	if l.channelTotals != nil {
		rows := int(p.Pixels) / totalRows
		p.Chunks = int32(max(1, min(8*l.sms/(s.Groups*batch), rows/32)))
		l.launch("group_reduce_stats", driver.Dim{X: uint32(p.Chunks), Y: uint32(s.Groups), Z: uint32(batch)}, 128, 32, params)
	} else {
		l.launch("group_sums"+kind, grid, uint32(block), totalsShared(block, across, size), params)
	}
	partial = l.scratch(8 * int64(batch) * int64(s.Groups) * int64(p.Chunks))
	l.launch("group_scale"+kind, grid, uint32(block), shared, params)
	return nil
}

// totalsShared is the shared memory of so many threads that add up a slab: area and totals of groupTotals.
func totalsShared(block, across, size int) int { return 16*(block+across) + 8*(8*across/size) }

// The most threads of the blocks of group_sums and group_scale, and of group_norm_14 and its like, whose threads need more registers.
const (
	mostWalkers  = 512
	wholeWalkers = 384
)

// slab is how many vectors of eight channels, with whole groups in them, a block of group_sums and group_scale works on side by side: the most that
// keep 7 of 8 of its 512 threads busy, else what keeps the most busy; 0 if there is no such number.
func slab(c1, c2, groups int) (best int) {
	vectors, size := (c1+c2)/8, (c1+c2)/groups
	if c1%8 != 0 || c2%8 != 0 || size < 8 && size != 4 {
		return 0
	}
	busy := func(across int) int { return mostWalkers / across * across }
	for across := min(vectors, mostWalkers); across > 0; across-- {
		if vectors%across != 0 || 8*across%size != 0 {
			continue
		}
		if busy(across) >= 7*mostWalkers/8 {
			return across
		}
		if best == 0 || busy(across) > busy(best) {
			best = across
		}
	}
	return best
}

// wholeSlab is the narrowest slab with whole groups, in vectors of eight channels, and the fewest loads a thread of a kernel that has all its pixels in one
// block's registers; 0 loads if none does.
func wholeSlab(vectors, size, pixels int) (across, each int) {
	across = 1
	for 8*across%size != 0 || vectors%across != 0 {
		across++
	}
	if across > wholeWalkers {
		return across, 0
	}
	for _, each := range []int{4, 7, 14} {
		if each*(wholeWalkers/across) >= pixels {
			return across, each
		}
	}
	return across, 0
}

// walkers is how many threads a block has that works on so many pixels of such a slab, and how many pixels it works on at a time: few enough threads for each
// to have something to do beyond getting ready.
func walkers(across, pixels int) (block, rows int) {
	block = mostWalkers
	if pixels*across < 8*block {
		block = max(mostWalkers/2, roundUp(across, 32))
	}
	rows = block / across
	return roundUp(rows*across, 32), rows
}

func (l *lowering) layerNorm(s kernels.LayerNorm) error {
	places := s.Operands()
	x, err := l.float(places.X)
	if err != nil {
		return err
	}
	weight, err := l.vector(places.Weight)
	if err != nil {
		return err
	}
	bias, err := l.vector(places.Bias)
	if err != nil {
		return err
	}
	c, out := x.Shape[len(x.Shape)-1], l.out[0]
	rows := x.Len() / c
	name, block, each := "layer_norm", 256, 8
	if c%8 == 0 && c <= 2048 {
		switch block, each = 128, 4; {
		case c <= 768:
			name = "layer_norm_768"
		case c <= 1280:
			name = "layer_norm_1280"
		default:
			name = "layer_norm_2048"
		}
		if x.storage == wide {
			name += "_fp32"
		} else if c <= 768 {
			each = 8
		}
	}
	l.launch(name, driver.Dim{X: uint32(ceil(rows, each)), Y: 1, Z: 1}, uint32(block), 0, func(at func(ref) driver.Ptr) any {
		return layerNormParams{X: at(x.ref), Weight: at(weight), Bias: at(bias), Out: at(out.ref),
			Rows: int32(rows), C: int32(c), XType: x.storage, OutType: out.storage, Eps: float32(s.Eps)}
	})
	return nil
}
