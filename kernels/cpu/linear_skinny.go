package cpu

// Dot products are used for up to skinnyRows rows of each sample: with both sides of guidance those are four. Packing
// costs as much as widening and multiplying a weight for four to six rows; besides, with so few rows reading the weights
// from memory is what takes the time. A large batch has more rows and is slower than it could be, but an image of it is
// the one that is computed alone, up to skinnyBatch rows: both sides of guidance of the 64 images that a request may
// have, twice.
const (
	skinnyRows  = 2
	skinnyBatch = 256
)

// skinnyCols is how many output columns a part has: enough that handing out parts is free, few enough that they share
// out evenly.
const skinnyCols = 64

// skinny is a Linear of a few rows (time embeddings, pooled text).
type skinny struct{ *product }

func (k *skinny) scratch() (shared, perWorker int) {
	return 0, k.rows * 2 * skinnyCols
}

func (k *skinny) run(p *workers, in, out []view, s scratch) error {
	k.in, k.out, k.memory = in, out, s.worker
	k.weights = in[k.operands.Weight].weights(k.channels[0])
	p.run(divUp(k.cols, skinnyCols), k)
	return nil
}

func (k *skinny) do(w, i int) {
	g := k.v.gemm
	col := i * skinnyCols
	cols := min(skinnyCols, k.cols-col)
	depth := k.channels[0]
	x := k.in[k.operands.X].f32
	const ldc = 2 * skinnyCols
	c := k.memory[w][:k.rows*ldc]
	clear(c)
	for h := range k.halves() {
		// Four rows of weights at a time stay in the level-1 cache for all rows of x.
		for j := 0; j < cols; j += 4 {
			n := min(4, cols-j)
			for r := range k.rows {
				g.dot(c[r*ldc+h*skinnyCols+j:], x[r*depth:][:depth], &k.weights, h*k.cols+col+j, n)
			}
		}
	}
	k.epilogue(c, ldc, skinnyCols, 0, col, k.rows, cols, nil)
}
