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
	// alternate: of a copied tile, one of the two warpgroups that multiply has all of it, and they take turns.
	alternate bool
	// rate is the arithmetic of one multiprocessor full of such blocks relative to the fastest tile.
	rate float64
}

// tiles are for every card of the family sm_80, hopperTiles and copiedTiles for Hopper, where hopperTiles have what the copy engine can't gather.
var (
	tiles = []tile{
		{m: 128, n: 128, depth: 64, stages: 3, threads: 128, perSM: 2, rate: 1},
		{m: 128, n: 160, depth: 32, stages: 5, threads: 256, perSM: 1, rate: 0.88},
		{m: 128, n: 64, depth: 64, stages: 3, threads: 128, perSM: 2, rate: 0.76},
		{m: 64, n: 160, depth: 32, stages: 5, threads: 128, perSM: 2, rate: 0.64},
		{m: 64, n: 64, depth: 64, stages: 3, threads: 128, perSM: 3, rate: 0.72},
	}
	hopperTiles = []tile{
		{m: 128, n: 256, depth: 64, stages: 4, threads: 256, perSM: 1, hopper: true, rate: 1},
		{m: 128, n: 160, depth: 64, stages: 3, threads: 256, perSM: 2, hopper: true, rate: 0.98},
		{m: 128, n: 64, depth: 64, stages: 4, threads: 256, perSM: 2, hopper: true, rate: 0.65},
		{m: 64, n: 64, depth: 64, stages: 4, threads: 128, perSM: 3, hopper: true, rate: 0.5},
	}
	copiedTiles = []tile{
		copiedTile(128, 160, 5, false, 1.95),
		copiedTile(128, 256, 4, false, 2),
		copiedTile(256, 128, 4, false, 2.22),
		copiedTile(128, 128, 6, false, 1.51),
		copiedTile(128, 160, 5, true, 2.03),
		copiedTile(64, 160, 6, true, 1.54),
		copiedTile(64, 80, 10, true, 0.76),
	}
)

// copiedTile is a tile that the copy engine fills; whoever multiplies has 64 or 128 rows of it.
func copiedTile(m, n, stages int, alternate bool, rate float64) tile {
	return tile{m: m, n: n, depth: 64, stages: stages, threads: 384, perSM: 1, hopper: true, copied: true, alternate: alternate, rate: rate}
}

func (t tile) kernel() string {
	if t.alternate {
		return fmt.Sprintf("gemm_pingpong_%dx%d", t.m, t.n)
	}
	if t.copied {
		return fmt.Sprintf("gemm_cooperative_%dx%d", t.m, t.n)
	}
	if t.hopper {
		return fmt.Sprintf("gemm_wgmma_%dx%dx%d", t.m, t.n, t.stages)
	}
	return fmt.Sprintf("gemm_%dx%d", t.m, t.n)
}

// shared is the dynamic shared memory of a block: the pipeline's stages and 16 bytes for each row; those that are not copied align the stages themselves on Hopper.
func (t tile) shared() int {
	n := t.stages * (t.m + t.n) * t.depth * 2
	if t.copied {
		// Two counters a stage, one for each warpgroup's turn, and where each of the eight warps that multiply has 16 rows of outputs.
		return n + 16*t.stages + 16 + 8*16*(2*t.piece()+16)
	}
	n += 16 * t.m
	if t.hopper {
		n += 1024
	}
	return n
}

// piece is how many columns of a copied tile become outputs at a time.
func (t tile) piece() int {
	if t.n > 160 {
		return t.n / 2
	}
	return t.n
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

func (f flashTile) kernel() string { return fmt.Sprintf("flash_wgmma_%dx%d", f.queries, f.keys) }

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

// chooseTile takes the tile that finishes first by a simple model of the busiest multiprocessor. slices is how many
// slices of a depth of 64 copied tiles make of k: channels of a tap and a source are filled up.
func chooseTile(tiles []tile, m, n, k, slices, sms int) tile {
	best, least := tiles[0], 0.0
	for i, t := range tiles {
		depth := k
		if t.copied {
			depth = slices * t.depth
		}
		cost := t.cost(ceil(ceil(m, t.m)*ceil(n, t.n), sms), depth)
		if t.copied && n%t.n != 0 {
			cost *= partial
		}
		if i == 0 || cost < least {
			best, least = t, cost
		}
	}
	return best
}

// partial is what a product takes by a copied tile whose columns do not divide its own, which ends some tiles in a general way, relative to one by a tile whose do.
const partial = 1.5

// cost is the time that a multiprocessor takes for a number of tiles of depth k, in slices of a depth of 1 of the fastest kind. Starting and ending a tile,
// when its sums become outputs, take the time of an extra depth. The numbers are fitted to times on an H100, of the copied
// tiles in the models (TestModelSpeed -cuda.only -cuda.tiles), of the others TestSpeed's.
func (t tile) cost(tiles, k int) float64 {
	size, extra := float64(t.m*t.n)/t.rate, 256
	if t.copied {
		extra = t.m * t.n / 80
	}
	if t.alternate {
		// One warpgroup ends a tile, more slowly than two of them, while the other multiplies.
		ending := 3 * extra
		return size * float64(tiles*max(k, (k+ending)/2)+ending)
	}
	if t.copied {
		return size * float64(tiles*(k+extra))
	}
	// A multiprocessor that holds one block where it could hold several runs it at less than its share of the full rate, but faster.
	alone := min(tiles, t.perSM)
	return size * float64(tiles*(k+extra)) / (0.55 + 0.45*float64(alone)/float64(t.perSM))
}
