package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestArena places random blocks: live at the same time they never overlap, each is aligned and within the total, and
// the total is at least the peak of live bytes and at most their sum.
func TestArena(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		align := int64(1) << r.IntN(9)
		blocks := make([]Lifetime, r.IntN(60))
		nodes := 1 + r.IntN(40)
		for i := range blocks {
			first := r.IntN(nodes)
			blocks[i] = Lifetime{int64(r.IntN(5000)), first, first + r.IntN(nodes-first)}
			if r.IntN(8) == 0 {
				blocks[i] = Lifetime{}
			}
		}
		offsets, total := Arena(blocks, align)
		var sum int64
		round := func(n int64) int64 { return (n + align - 1) / align * align }
		for i, b := range blocks {
			if b.Bytes == 0 {
				if offsets[i] != -1 {
					t.Fatalf("seed %d: block %d of no bytes is at %d", seed, i, offsets[i])
				}
				continue
			}
			sum += round(b.Bytes)
			if offsets[i] < 0 || offsets[i]%align != 0 || offsets[i]+b.Bytes > total {
				t.Fatalf("seed %d: block %d, %+v, is at %d of %d, alignment %d", seed, i, b, offsets[i], total, align)
			}
			for j, o := range blocks[:i] {
				if o.Bytes > 0 && o.First <= b.Last && b.First <= o.Last && offsets[j] < offsets[i]+b.Bytes && offsets[i] < offsets[j]+o.Bytes {
					t.Fatalf("seed %d: %+v at %d and %+v at %d overlap", seed, o, offsets[j], b, offsets[i])
				}
			}
		}
		var peak int64
		for n := range nodes {
			var live int64
			for _, b := range blocks {
				if b.Bytes > 0 && b.First <= n && n <= b.Last {
					live += round(b.Bytes)
				}
			}
			peak = max(peak, live)
		}
		if total < peak || total > sum {
			t.Fatalf("seed %d: %d bytes for a peak of %d and a sum of %d", seed, total, peak, sum)
		}
	}
}

// TestArenaReuse places the values of a chain, each as long as the next node: two lie side by side, however many there
// are.
func TestArenaReuse(t *testing.T) {
	blocks := make([]Lifetime, 20)
	for i := range blocks {
		blocks[i] = Lifetime{100, i, i + 1}
	}
	if _, total := Arena(blocks, 64); total != 256 {
		t.Errorf("a chain of 100-byte values takes %d bytes, want 256", total)
	}
	if offsets, total := Arena(nil, 64); len(offsets) != 0 || total != 0 {
		t.Errorf("nothing takes %d bytes", total)
	}
}
