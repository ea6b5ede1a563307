package cuda

import "fmt"

// tile is one instance of a GEMM kernel, as src/gemm.cu, src/gemm_sm90a.cu and src/gemm_tma_sm90a.cu declare them.
type tile struct {
	m, n, k, stages, threads int
	// perSM is how many blocks one multiprocessor holds by the launch bounds. Shared memory may allow fewer on consumer
	// cards.
	perSM int
	// hopper: for compute capability 9.0 alone, with more than 99 KB of shared memory.
	hopper bool
	// tma: warp-specialised, also for 9.0 alone. Operands are loaded by TMA, and the blocks are persistent.
	tma bool
	// pingpong is the schedule of a TMA tile. If set, each of the two consumer warpgroups has tiles of its own, and
	// they alternate at the tensor cores. Else the schedule is cooperative: both share every tile.
	pingpong bool
	// rate is the throughput of one multiprocessor full of such blocks relative to the fastest tile without TMA.
	rate float64
}

// tiles are the portable ones (sm_80); hopperTiles and tmaTiles are for Hopper, where hopperTiles take what TMA cannot
// load.
var (
	tiles = []tile{
		{m: 128, n: 128, k: 64, stages: 3, threads: 128, perSM: 2, rate: 1},
		{m: 128, n: 160, k: 32, stages: 5, threads: 256, perSM: 1, rate: 0.88},
		{m: 128, n: 64, k: 64, stages: 3, threads: 128, perSM: 2, rate: 0.76},
		{m: 64, n: 160, k: 32, stages: 5, threads: 128, perSM: 2, rate: 0.64},
		{m: 64, n: 64, k: 64, stages: 3, threads: 128, perSM: 3, rate: 0.72},
	}
	hopperTiles = []tile{
		{m: 128, n: 256, k: 64, stages: 4, threads: 256, perSM: 1, hopper: true, rate: 1},
		{m: 128, n: 160, k: 64, stages: 3, threads: 256, perSM: 2, hopper: true, rate: 0.98},
		{m: 128, n: 64, k: 64, stages: 4, threads: 256, perSM: 2, hopper: true, rate: 0.65},
		{m: 64, n: 64, k: 64, stages: 4, threads: 128, perSM: 3, hopper: true, rate: 0.5},
	}
	tmaTiles = []tile{
		tmaTile(128, 160, 5, false, 1.95),
		tmaTile(128, 256, 4, false, 2),
		tmaTile(256, 128, 4, false, 2.22),
		tmaTile(128, 128, 6, false, 1.51),
		tmaTile(128, 160, 5, true, 2.03),
		tmaTile(64, 160, 6, true, 1.54),
		tmaTile(64, 80, 10, true, 0.76),
	}
)

// tmaTile is a tile whose operands are loaded by TMA.
func tmaTile(m, n, stages int, pingpong bool, rate float64) tile {
	return tile{m: m, n: n, k: 64, stages: stages, threads: 384, perSM: 1, hopper: true, tma: true, pingpong: pingpong, rate: rate}
}

func (t tile) kernel() string {
	if t.pingpong {
		return fmt.Sprintf("gemm_pingpong_%dx%d", t.m, t.n)
	}
	if t.tma {
		return fmt.Sprintf("gemm_cooperative_%dx%d", t.m, t.n)
	}
	if t.hopper {
		return fmt.Sprintf("gemm_wgmma_%dx%dx%d", t.m, t.n, t.stages)
	}
	return fmt.Sprintf("gemm_%dx%d", t.m, t.n)
}

// shared is the dynamic shared memory of a block in bytes: the pipeline's stages, and without TMA 16 bytes for each row
// and, on Hopper, room to align the stages.
func (t tile) shared() int {
	n := t.stages * (t.m + t.n) * t.k * 2
	if t.tma {
		// Two mbarriers a stage, the two of the order barrier, and staging of 16 rows of outputs for each of the eight
		// consumer warps.
		return n + 16*t.stages + 16 + 8*16*(2*t.epilogueColumns()+16)
	}
	n += 16 * t.m
	if t.hopper {
		n += 1024
	}
	return n
}

// epilogueColumns is how many columns of a TMA tile the epilogue handles at a time.
func (t tile) epilogueColumns() int {
	if t.n > 160 {
		return t.n / 2
	}
	return t.n
}

// flashTile is one instance of the flash attention kernel for Hopper and heads of 64, as src/attention_sm90a.cu
// declares it.
type flashTile struct {
	queries, keys   int
	stages, qStages int // of K and V, of Q
	perSM           int
	// oneTile: for no more keys than a tile has. Only such instances take a causal mask.
	oneTile bool
}

var flashTiles = []flashTile{{128, 128, 3, 2, 1, false}, {64, 80, 2, 2, 3, true}}

func (f flashTile) kernel() string { return fmt.Sprintf("flash_wgmma_%dx%d", f.queries, f.keys) }

// threads counts a consumer warpgroup for every 64 queries, and the producer.
func (f flashTile) threads() int { return 2*f.queries + 128 }

// shared is the dynamic shared memory of a block in bytes: tiles of Q, K and V, which the kernel aligns, and two
// mbarriers a stage.
func (f flashTile) shared() int {
	return 1024 + (f.qStages*f.queries+2*f.stages*f.keys)*128 + 8*2*(f.qStages+f.stages)
}

// chooseFlash returns the first instance that has all keys in one tile, else one for any number of keys.
func chooseFlash(tiles []flashTile, keys int, causal bool) (best flashTile, found bool) {
	for _, f := range tiles {
		switch {
		case f.oneTile && keys <= f.keys:
			return f, true
		case !f.oneTile && !causal && !found:
			best, found = f, true
		}
	}
	return best, found
}

// chooseTile returns the tile that finishes first by a simple model of the busiest multiprocessor. kTiles is how many
// K-tiles of 64 a TMA tile makes of k: the channels of each tap and source are padded to multiples of 64.
func chooseTile(tiles []tile, m, n, k, kTiles, sms int) tile {
	best, least := tiles[0], 0.0
	for i, t := range tiles {
		depth := k
		if t.tma {
			depth = kTiles * t.k
		}
		cost := t.cost(ceil(ceil(m, t.m)*ceil(n, t.n), sms), depth)
		if t.tma && n%t.n != 0 {
			cost *= partialTileCost
		}
		if i == 0 || cost < least {
			best, least = t, cost
		}
	}
	return best
}

// partialTileCost is the cost of a TMA tile that does not divide the columns, relative to one that does: its last
// column of tiles takes the generic epilogue.
const partialTileCost = 1.5

// cost is the time that a multiprocessor takes for a number of tiles of depth k, in units of one multiply-add of every
// element of the fastest kind of tile. Prologue and epilogue of a tile cost as much as an extra depth. The numbers are
// fitted to times on an H100: those of the TMA tiles in the models (TestModelSpeed -cuda.only -cuda.tiles), the others
// in TestSpeed.
func (t tile) cost(tiles, k int) float64 {
	size, extra := float64(t.m*t.n)/t.rate, 256
	if t.tma {
		extra = t.m * t.n / 80
	}
	if t.pingpong {
		// The epilogue of one warpgroup, which is slower than that of two, overlaps with the main loop of the other.
		epilogue := 3 * extra
		return size * float64(tiles*max(k, (k+epilogue)/2)+epilogue)
	}
	if t.tma {
		return size * float64(tiles*(k+extra))
	}
	// A multiprocessor that holds one block where it could hold several runs that block faster, but below the full
	// rate.
	alone := min(tiles, t.perSM)
	return size * float64(tiles*(k+extra)) / (0.55 + 0.45*float64(alone)/float64(t.perSM))
}
