package cuda

import "fmt"

// tile is one instance of the product kernel, as src/gemm.cu declares it.
type tile struct {
	m, n, depth, stages, threads int
	// perSM is how many blocks the launch bounds let one multiprocessor hold; shared memory may hold fewer on consumer cards.
	perSM int
	// hopper: made for capability 9.0 alone, with more shared memory than 99 KB.
	hopper bool
	// copied: also made for it alone, with the copy engine gathering the operands; blocks share the tiles out among themselves.
	copied bool
	// rate is the arithmetic of one multiprocessor full of such blocks relative to the fastest tile.
	rate float64
}

// tiles are for every card of the family sm_80, hopperTiles and copiedTiles for Hopper.
var (
	tiles = []tile{
		{128, 128, 64, 3, 128, 2, false, false, 1},
		{128, 160, 32, 5, 256, 1, false, false, 0.95},
		{128, 64, 64, 3, 128, 2, false, false, 0.8},
		{64, 160, 32, 5, 128, 2, false, false, 0.8},
		{64, 64, 64, 3, 128, 3, false, false, 0.6},
	}
	hopperTiles = []tile{
		{128, 256, 64, 4, 256, 1, true, false, 1},
		{128, 160, 64, 5, 256, 1, true, false, 0.95},
		{128, 160, 64, 3, 256, 2, true, false, 0.98},
		{128, 128, 64, 6, 256, 1, true, false, 0.85},
		{128, 128, 64, 3, 256, 2, true, false, 0.9},
		{128, 64, 64, 4, 256, 2, true, false, 0.65},
		{64, 128, 64, 4, 128, 2, true, false, 0.6},
		{64, 64, 64, 4, 128, 3, true, false, 0.5},
	}
	copiedTiles = []tile{
		{128, 256, 64, 4, 384, 1, true, true, 1.6},
		{128, 160, 64, 6, 384, 1, true, true, 1.6},
		{128, 128, 64, 6, 384, 1, true, true, 1.35},
		{256, 128, 64, 4, 384, 1, true, true, 1.4},
	}
)

func (t tile) kernel() string {
	if t.copied {
		return fmt.Sprintf("tgemm_%dx%d", t.m, t.n)
	}
	if t.hopper {
		return fmt.Sprintf("wgemm_%dx%dx%d", t.m, t.n, t.stages)
	}
	return fmt.Sprintf("gemm_%dx%d", t.m, t.n)
}

// shared is the dynamic shared memory of a block: the pipeline's stages and 16 bytes for each row; Hopper's kernels align the stages themselves.
func (t tile) shared() int {
	n := t.stages * (t.m + t.n) * t.depth * 2
	if t.copied {
		return n + 1024 + 16*t.stages // and two counters a stage
	}
	n += 16 * t.m
	if t.hopper {
		n += 1024
	}
	return n
}

// flashTile is one instance of the flash kernel for Hopper and heads of 64, as src/attention_sm90a.cu declares it.
type flashTile struct {
	queries, keys int
	stages, slots int // tiles of keys with values, and of queries, in flight
	perSM         int
	// one: for no more keys than a tile has; no other instance has a causal mask.
	one bool
}

var flashTiles = []flashTile{{128, 128, 3, 2, 1, false}, {64, 80, 2, 2, 3, true}}

func (f flashTile) kernel() string { return fmt.Sprintf("wflash_%dx%d", f.queries, f.keys) }

// threads has a warpgroup for every 64 queries, and one that copies.
func (f flashTile) threads() int { return 2*f.queries + 128 }

// shared is the dynamic shared memory of a block: tiles of queries, keys and values, aligned by the kernel, and the counters of each.
func (f flashTile) shared() int {
	return 1024 + (f.slots*f.queries+2*f.stages*f.keys)*128 + 8*2*(f.slots+f.stages)
}

// chooseFlash takes the first instance that has all keys in one tile, or else one for any number of them.
func chooseFlash(tiles []flashTile, keys int, causal bool) (best flashTile, found bool) {
	for _, f := range tiles {
		switch {
		case f.one && keys <= f.keys:
			return f, true
		case !f.one && !causal && !found:
			best, found = f, true
		}
	}
	return best, found
}

// chooseTile takes the tile that finishes first by a simple model: waves of blocks, each wave as long as its arithmetic and the start
// and end of the pipeline.
func chooseTile(tiles []tile, m, n, k, sms int) tile {
	best, least := tiles[0], 0.0
	for i, t := range tiles {
		blocks := ceil(m, t.m) * ceil(n, t.n)
		// A multiprocessor that holds one block where it could hold several runs it at less than its share of the full rate, but faster.
		busiest := ceil(blocks, sms)
		alone := min(busiest, t.perSM)
		speed := t.rate * (0.55 + 0.45*float64(alone)/float64(t.perSM))
		cost := float64(busiest*t.m*t.n) * float64(k+256) / speed
		if i == 0 || cost < least {
			best, least = t, cost
		}
	}
	return best
}
