package cuda

import (
	"slices"
	"testing"
)

// TestTilesFit checks the shared memory of every tile against what a card grants.
func TestTilesFit(t *testing.T) {
	for _, tile := range slices.Concat(tiles, hopperTiles, tmaTiles) {
		limit := maxShared
		if tile.hopper {
			limit = min(hopperShared, 228<<10/tile.perSM-1024) // each block takes 1 KB besides
		}
		if n := tile.shared(); n > limit {
			t.Errorf("%s takes %d bytes of shared memory, %d are granted", tile.kernel(), n, limit)
		}
		if tile.tma {
			if tile.m < minTMARows || tile.n < minTMAColumns {
				t.Errorf("%s has fewer rows or columns than %d and %d", tile.kernel(), minTMARows, minTMAColumns)
			}
			continue
		}
		if sums := tile.m * (tile.n + 8) * 4; sums > tile.stages*(tile.m+tile.n)*tile.k*2 {
			t.Errorf("%s: its sums take %d bytes, more than the pipeline that they replace", tile.kernel(), sums)
		}
	}
	for _, f := range flashTiles {
		if n, limit := f.shared(), min(hopperShared, 228<<10/f.perSM-1024); n > limit {
			t.Errorf("%s takes %d bytes of shared memory, %d are granted", f.kernel(), n, limit)
		}
	}
	for _, d := range []int{16, 32, 48, 64, 80} {
		if n := flashShared(d); n > maxShared {
			t.Errorf("flash_%d takes %d bytes of shared memory, %d are granted", d, n, maxShared)
		}
	}
}

func TestChooseTile(t *testing.T) {
	for _, c := range []struct {
		what       string
		m, n, k    int
		mostBlocks int // for a card of 132 multiprocessors
		least      int
	}{
		{"conv 1280 at 32², a pair", 2048, 1280, 11520, 264, 128},
		{"conv 320 at 128², a pair", 32768, 320, 2880, 768, 500},
		{"geglu of level 2", 2048, 10240, 1280, 1280, 1000},
		{"a vector", 2, 1280, 320, 20, 8},
	} {
		tile := chooseTile(tiles, c.m, c.n, c.k, ceil(c.k, 64), 132)
		if blocks := ceil(c.m, tile.m) * ceil(c.n, tile.n); blocks > c.mostBlocks || blocks < c.least {
			t.Errorf("%s: tile %dx%d makes %d blocks, want %d to %d", c.what, tile.m, tile.n, blocks, c.least, c.mostBlocks)
		}
	}
}

func TestChooseFlash(t *testing.T) {
	for _, c := range []struct {
		what   string
		tiles  []flashTile
		keys   int
		causal bool
		want   string // "" is none
	}{
		{"the text, for every query", flashTiles, 77, false, "flash_wgmma_64x80"},
		{"the text itself", flashTiles, 77, true, "flash_wgmma_64x80"},
		{"as many keys as the small tile has", flashTiles, 80, true, "flash_wgmma_64x80"},
		{"one more", flashTiles, 81, false, "flash_wgmma_128x128"},
		{"an image", flashTiles, 4096, false, "flash_wgmma_128x128"},
		{"a mask over several tiles", flashTiles, 81, true, ""},
		{"no other instance", flashTiles[:1], 77, false, "flash_wgmma_128x128"},
		{"a mask and no other instance", flashTiles[:1], 77, true, ""},
		{"another card", nil, 77, false, ""},
	} {
		f, found := chooseFlash(c.tiles, c.keys, c.causal)
		if got := f.kernel(); found != (c.want != "") || found && got != c.want {
			t.Errorf("%s, %d keys: %s (%t), want %q", c.what, c.keys, got, found, c.want)
		}
	}
}

// alone is the tiles to choose from so that one tile is chosen wherever it fits. TMA tiles do not fit every shape.
func alone(only tile) []tile {
	if !only.tma {
		return []tile{only}
	}
	only.rate *= 1000
	return []tile{only, hopperTiles[0]}
}
