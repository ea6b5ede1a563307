package kernels

import (
	"cmp"
	"slices"
)

// Lifetime is a block of Bytes that holds data from node First to node Last, both included.
type Lifetime struct {
	Bytes       int64
	First, Last int
}

// Lifetimes returns, for every Temp value of the plan, the nodes between which it holds data; values of other roles,
// and temporaries that hoisted nodes hand to later runs, live as long as the program and get Bytes 0. size gives a
// value's bytes as the device stores it.
func (p *Plan) Lifetimes(size func(Value) int64) []Lifetime {
	life := make([]Lifetime, len(p.Tensors))
	hoisted := p.Hoisted()
	producer := make([]bool, len(p.Tensors)) // written by a hoisted node
	for i, n := range p.Nodes {
		for _, v := range n.Out {
			if p.Tensors[v].Role == Temp {
				life[v] = Lifetime{Bytes: size(v), First: i, Last: i}
			}
			producer[v] = hoisted[i]
		}
		for _, v := range n.In {
			if producer[v] && !hoisted[i] {
				life[v] = Lifetime{}
			}
			if life[v].Bytes > 0 {
				life[v].Last = i
			}
		}
	}
	return life
}

// Arena gives each block an offset, a multiple of align, so that blocks whose lifetimes overlap do not, and returns the
// bytes needed in all. Large blocks are placed first, each in the lowest gap that holds it: within a few percent of the
// peak of live bytes for networks whose large values nest. Blocks of no bytes get offset -1.
func Arena(blocks []Lifetime, align int64) (offsets []int64, total int64) {
	offsets = make([]int64, len(blocks))
	order := make([]int, 0, len(blocks))
	for i, b := range blocks {
		offsets[i] = -1
		if b.Bytes > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(blocks[b].Bytes, blocks[a].Bytes) })
	var placed []int // by offset
	for _, i := range order {
		b := blocks[i]
		size := (b.Bytes + align - 1) / align * align
		var at int64
		for _, j := range placed {
			o := blocks[j]
			if o.Last < b.First || b.Last < o.First {
				continue
			}
			if offsets[j]-at >= size {
				break
			}
			at = max(at, offsets[j]+(o.Bytes+align-1)/align*align)
		}
		offsets[i] = at
		total = max(total, at+size)
		pos, _ := slices.BinarySearchFunc(placed, at, func(j int, at int64) int { return cmp.Compare(offsets[j], at) })
		placed = slices.Insert(placed, pos, i)
	}
	return offsets, total
}
