package cuda

import (
	"bytes"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// TestBatches reads weights with and without products into rings of slots of several sizes. What a batch's pieces refer
// to lies in the ring when the batch is packed, even if every batch has been copied by then that may be. All rows come
// once, in order.
func TestBatches(t *testing.T) {
	d, _ := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	u := merging(src)
	origins, err := engine.NewOrigins(src).With(u)
	if err != nil {
		t.Fatal(err)
	}
	usual := ringFor(origins, list)
	var least int64
	for _, p := range list {
		_, factors := layFactors(u.LowRank[p.name])
		least = max(least, factors+align(p.sourceBytes(1)))
	}
	for _, r := range []ring{usual, {slotCount, least}, {minSlots, least}, {5, 2 * least}} {
		var batches []*batch
		for rd := (reader{origins: origins, list: list, ring: r}); !rd.done(); {
			b, err := rd.next()
			if err != nil {
				t.Fatal(err)
			}
			if len(b.pieces) == 0 || b.bytes > r.slot || b.slot != len(batches)%r.count {
				t.Fatalf("%+v: batch %d has %d pieces, %d bytes, slot %d", r, len(batches), len(b.pieces), b.bytes, b.slot)
			}
			batches = append(batches, b)
		}
		memory := make([]byte, r.bytes())
		copied, again, rows := 0, 0, map[*packed]int{}
		lies := func(at int64, want []byte) bool { return bytes.Equal(memory[at:at+int64(len(want))], want) }
		for n, b := range batches {
			// A copy waits for the batch that is reach ahead of the one which had the slot.
			for ; copied < len(batches) && copied-r.count+r.reach() < n; copied++ {
				c := batches[copied]
				c.fill(memory[r.at(c.slot):][:r.slot])
			}
			if copied <= n {
				t.Fatalf("%+v: batch %d waits for itself", r, n)
			}
			for _, p := range b.pieces {
				if p.first != rows[p.weight] {
					t.Fatalf("%+v: weight %s goes on at row %d, not at %d", r, p.weight.name, p.first, rows[p.weight])
				}
				rows[p.weight] += p.count
				if p.first > 0 && p.products > 0 && p.factors >= r.at(b.slot) && p.factors < r.at(b.slot+1) {
					again++
				}
				if from, to := p.weight.sourceBytes(p.first), p.weight.sourceBytes(p.first+p.count); !lies(p.at, src.data[p.weight.name][from:to]) {
					t.Fatalf("%+v: batch %d: rows of weight %s do not lie in the ring", r, n, p.weight.name)
				}
				parts, _ := layFactors(u.LowRank[p.weight.name])
				if p.products != len(u.LowRank[p.weight.name]) {
					t.Fatalf("%+v: weight %s has %d products", r, p.weight.name, p.products)
				}
				for i, part := range parts {
					if !lies(p.factors+part.at, part.data) {
						t.Fatalf("%+v: batch %d: part %d of the factors of weight %s does not lie in the ring", r, n, i, p.weight.name)
					}
				}
			}
		}
		for _, p := range list {
			if rows[p] != p.rows() {
				t.Errorf("%+v: weight %s has %d of %d rows", r, p.name, rows[p], p.rows())
			}
		}
		if again == 0 || again > len(batches)/r.reach() {
			t.Errorf("%+v: %d of %d batches bring factors again, want some, and %d at most", r, again, len(batches), len(batches)/r.reach())
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestRing: slots hold what a weight needs at once, and are fewer where they are large.
func TestRing(t *testing.T) {
	factor := func(n int) kernels.Factor { return kernels.Factor{DType: kernels.F16, Data: nothing[:2*n]} }
	for _, c := range []struct {
		rows, columns, rank int
		want                ring
	}{
		{1280, 1280, 0, ring{slotCount, align(2 * 1280 * 1280 / (8 * slotCount))}},
		{20480, 23040, 0, ring{slotCount, slotBytes}},
		{1280, 1280, 32, ring{slotCount, 256 + 2*81920 + 2560}},
		{1280, 23040, 256, ring{10, 256 + 655360 + 11796480 + 46080}},
		{1280, 23040, 1024, ring{minSlots, 256 + 2621440 + 47185920 + 46080}},
	} {
		src := zeros{"w": {Name: "w", DType: kernels.F16, Shape: []int{c.rows, c.columns}}}
		u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
		if c.rank > 0 {
			u.LowRank["w"] = []kernels.LowRank{{Rank: c.rank, Scale: 1, Up: factor(c.rows * c.rank), Down: factor(c.rank * c.columns)}}
		}
		origins, err := engine.NewOrigins(src).With(u)
		if err != nil {
			t.Fatal(err)
		}
		if got := ringFor(origins, []*packed{{name: "w", shape: src["w"].Shape, dtype: kernels.F16}}); got != c.want {
			t.Errorf("[%d %d] rank %d: %+v, want %+v", c.rows, c.columns, c.rank, got, c.want)
		}
		if n := c.want.filling(); n < 1 || n > c.want.count-2 || c.want.reach() > c.want.count-2 {
			t.Errorf("%+v fills %d, reaches %d", c.want, n, c.want.reach())
		}
	}
}

// TestBytesCopied counts what SDXL's UNet takes to the card with factors of a rank for all linear layers and
// convolutions, more than once where a weight is so long that the first ones are gone.
func TestBytesCopied(t *testing.T) {
	d := onHopper(t)
	p := step(t, d).program(t, d)
	src := zeros{}
	var list []*packed
	for _, w := range p.uses {
		if !w.computed() {
			src[w.name] = w.tensor()
			list = append(list, w)
		}
	}
	for _, rank := range []int{32, 128} {
		u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
		for name, w := range src {
			if rows, columns := kernels.Matrix(w.Shape); len(w.Shape) > 1 {
				factor := func(n int) kernels.Factor { return kernels.Factor{DType: kernels.F16, Data: nothing[:2*n]} }
				u.LowRank[name] = []kernels.LowRank{{Rank: rank, Scale: 1, Up: factor(rows * rank), Down: factor(rank * columns)}}
			}
		}
		origins, err := engine.NewOrigins(src).With(u)
		if err != nil {
			t.Fatal(err)
		}
		held := map[string]keptTensor{}
		for name := range u.LowRank {
			held[name] = keptTensor{at: 1 << 40}
		}
		for _, kept := range []map[string]keptTensor{nil, held} {
			var needed, copied int64
			var batches, pieces, parts int
			for _, w := range list {
				_, factors := layFactors(u.LowRank[w.name])
				if needed += factors; kept[w.name].at == 0 {
					needed += w.sourceBytes(w.rows())
				}
			}
			r := reader{origins: origins, list: list, ring: ringFor(origins, list), held: kept}
			for !r.done() {
				b, err := r.next()
				if err != nil {
					t.Fatal(err)
				}
				copied += b.bytes
				batches, pieces, parts = batches+1, pieces+len(b.pieces), parts+len(b.parts)
			}
			if copied < needed || copied > needed+needed/100 {
				t.Errorf("rank %d, %d tensors are kept: %d bytes are copied, %d needed: want at most a hundredth more", rank, len(kept), copied, needed)
			}
			t.Logf("rank %d, %d tensors are kept: %d slots of %d bytes: %d batches of %d pieces and %d parts, %d bytes, %.2f%% more than all once",
				rank, len(kept), r.ring.count, r.ring.slot, batches, pieces, parts, copied, 100*(float64(copied)/float64(needed)-1))
			if err := r.wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
