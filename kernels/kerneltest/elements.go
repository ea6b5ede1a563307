package kerneltest

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
)

// Judged rows and columns of an output at a real shape.
const (
	judgedRows = 20
	judgedCols = 20
)

// elements chooses what is judged of an output of the shape: nil, all, of small ones; else a grid of rows (all axes but the last) and columns,
// ascending, that holds the corners, edges of tiles and of the image, and seeded random ones.
func elements(c cases.Case, shape []int) []int {
	if !c.Big {
		return nil
	}
	h := fnv.New64a()
	h.Write([]byte(c.Name))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	cols := shape[len(shape)-1]
	rows := kernels.Elements(shape) / cols
	var edges []int // where an image's row or a sample ends
	for k := 1; k < len(shape)-1; k++ {
		n := kernels.Elements(shape[k : len(shape)-1])
		edges = append(edges, n-1, n)
	}
	at := choose(r, rows, judgedRows, edges)
	across := choose(r, cols, judgedCols, nil)
	grid := make([]int, 0, len(at)*len(across))
	for _, row := range at {
		for _, col := range across {
			grid = append(grid, row*cols+col)
		}
	}
	return grid
}

// choose returns up to limit of 0…n−1, ascending: first, last and the edges always; a quarter at random; the others next to multiples of
// 8, 16, 32 and 64 near either end.
func choose(r *rand.Rand, n, limit int, edges []int) []int {
	if n <= limit {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	chosen := []int{0, n - 1}
	take := func(i int) {
		if len(chosen) < limit && i >= 0 && i < n && !slices.Contains(chosen, i) {
			chosen = append(chosen, i)
		}
	}
	for _, e := range edges {
		take(e)
	}
	for range limit / 4 {
		take(r.IntN(n))
	}
	var tiles []int
	for _, tile := range []int{8, 16, 32, 64, 128} {
		for _, start := range []int{tile, (n - 1) / tile * tile} {
			tiles = append(tiles, start-1, start, start+1)
		}
	}
	r.Shuffle(len(tiles), func(i, j int) { tiles[i], tiles[j] = tiles[j], tiles[i] })
	for _, i := range tiles {
		take(i)
	}
	for len(chosen) < limit {
		take(r.IntN(n))
	}
	slices.Sort(chosen)
	return chosen
}
