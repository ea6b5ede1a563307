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
	if shared > maxShared || batch > 65535 {
		return fmt.Errorf("cuda: group norm of %d samples and %d groups, want at most 65535 and %d", batch, s.Groups, maxShared/8)
	}
	c, size := int(p.C1+p.C2), int(p.C1+p.C2)/s.Groups
	var partial symbol
	params := func(at resolver) any {
		p := p
		p.X, p.X2, p.Weight, p.Bias, p.Partial, p.Out = at(x.symbol), at(x2.symbol), at(weight), at(bias), at(partial), at(out.symbol)
		for k, to := range []*driver.Ptr{&p.ChannelStats, &p.ChannelStats2}[:len(l.sourceStats)] {
			*to = at(l.sourceStats[k])
		}
		return p
	}
	tileVectors := channelTile(int(p.C1), int(p.C2), s.Groups)
	if tileVectors == 0 {
		tiles := ceil(s.Groups, 8)
		p.Chunks = int32(max(1, min(4*l.sms/(tiles*batch), int(p.Pixels)/32, 256)))
		partial = l.scratch(8 * int64(batch) * int64(s.Groups) * int64(p.Chunks))
		l.launch("group_statistics", driver.Dim{X: uint32(p.Chunks), Y: uint32(tiles), Z: uint32(batch)}, 256, 0, params)
		chunks := max(1, min(8*l.sms/(ceil(c, 256)*batch), int(p.Pixels)/8))
		l.launch("group_apply", driver.Dim{X: uint32(chunks), Y: uint32(ceil(c, 256)), Z: uint32(batch)}, 256, shared, params)
		return nil
	}
	kind := ""
	if x.storage == fp32 || s.Concat && x2.storage == fp32 {
		kind = "_fp32"
	}
	if tile, each := onePassTile(c/8, size, int(p.Pixels)); each > 0 && kind == "" {
		p.TileVectors = int32(tile)
		block := roundUp(onePassThreads/tile*tile, 32)
		l.launch(fmt.Sprintf("group_norm_%d", each), driver.Dim{X: 1, Y: uint32(c / (8 * tile)), Z: uint32(batch)}, uint32(block), reduceShared(block, tile, size), params)
		return nil
	}
	// Enough blocks to fill the card once and no more, since each block of the last kernel reads what all blocks of the
	// first wrote.
	tiles := c / (8 * tileVectors)
	p.TileVectors = int32(tileVectors)
	_, least := blockFor(tileVectors, 1)
	p.Chunks = int32(max(1, min(l.sms/(tiles*batch), int(p.Pixels)/least)))
	block, _ := blockFor(tileVectors, int(p.Pixels)/int(p.Chunks))
	grid := driver.Dim{X: uint32(p.Chunks), Y: uint32(tiles), Z: uint32(batch)}
	if l.sourceStats != nil {
		rows := int(p.Pixels) / statsRows
		p.Chunks = int32(max(1, min(8*l.sms/(s.Groups*batch), rows/32)))
		l.launch("group_reduce_stats", driver.Dim{X: uint32(p.Chunks), Y: uint32(s.Groups), Z: uint32(batch)}, 128, 32, params)
	} else {
		l.launch("group_sums"+kind, grid, uint32(block), reduceShared(block, tileVectors, size), params)
	}
	partial = l.scratch(8 * int64(batch) * int64(s.Groups) * int64(p.Chunks))
	l.launch("group_scale"+kind, grid, uint32(block), shared, params)
	return nil
}

// reduceShared is the shared memory of a block that reduces a channel tile, in bytes: scratch and output of
// blockReduceGroups.
func reduceShared(block, tile, size int) int { return 16*(block+tile) + 8*(8*tile/size) }

// groupNormThreads is the most threads of a block of group_sums and group_scale, onePassThreads that of group_norm_14
// and its like, whose threads need more registers.
const (
	groupNormThreads = 512
	onePassThreads   = 384
)

// channelTile is the width of the channel tiles of group_sums and group_scale, in vectors of eight channels with whole
// groups in them: the largest that keeps 7 of 8 of its 512 threads busy, else the one that keeps most of them busy; 0
// if there is none.
func channelTile(c1, c2, groups int) (best int) {
	vectors, size := (c1+c2)/8, (c1+c2)/groups
	if c1%8 != 0 || c2%8 != 0 || size < 8 && size != 4 {
		return 0
	}
	busy := func(tile int) int { return groupNormThreads / tile * tile }
	for tile := min(vectors, groupNormThreads); tile > 0; tile-- {
		if vectors%tile != 0 || 8*tile%size != 0 {
			continue
		}
		if busy(tile) >= 7*groupNormThreads/8 {
			return tile
		}
		if best == 0 || busy(tile) > busy(best) {
			best = tile
		}
	}
	return best
}

// onePassTile is the width of the narrowest channel tile with whole groups, in vectors of eight channels, and the
// fewest vectors a thread with which one block holds all its pixels in registers; 0 vectors a thread if no kernel does.
func onePassTile(vectors, size, pixels int) (tile, each int) {
	tile = 1
	for 8*tile%size != 0 || vectors%tile != 0 {
		tile++
	}
	if tile > onePassThreads {
		return tile, 0
	}
	for _, each := range []int{4, 7, 14} {
		if each*(onePassThreads/tile) >= pixels {
			return tile, each
		}
	}
	return tile, 0
}

// blockFor is how many threads a block has that works on so many pixels of a channel tile, and how many pixels it works
// on at a time. Blocks are smaller where pixels are few, so that each thread has work that is worth its start.
func blockFor(tile, pixels int) (block, rows int) {
	block = groupNormThreads
	if pixels*tile < 8*block {
		block = max(groupNormThreads/2, roundUp(tile, 32))
	}
	rows = block / tile
	return roundUp(rows*tile, 32), rows
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
		if x.storage == fp32 {
			name += "_fp32"
		} else if c <= 768 {
			each = 8
		}
	}
	l.launch(name, driver.Dim{X: uint32(ceil(rows, each)), Y: 1, Z: 1}, uint32(block), 0, func(at resolver) any {
		return layerNormParams{X: at(x.symbol), Weight: at(weight), Bias: at(bias), Out: at(out.symbol),
			Rows: int32(rows), C: int32(c), XType: x.storage, OutType: out.storage, Eps: float32(s.Eps)}
	})
	return nil
}
