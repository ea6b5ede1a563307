package nn

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// probabilities is softmax(q·kᵀ/√d), [B, heads, queries, keys], of q [B, ..., C] and k [B, ..., C]. Where it is causal,
// query t has 0 for the keys after t. Sums are in float64.
func probabilities(q, k *Tensor, heads int, causal bool) *Tensor {
	batch, c := q.Shape[0], q.Shape[len(q.Shape)-1]
	queries, keys, d := q.Len()/batch/c, k.Len()/batch/c, c/heads
	p := NewTensor(batch, heads, queries, keys)
	scale := 1 / math.Sqrt(float64(d))
	rows := batch * heads * queries
	row := func(scores []float64, i int) {
		b, head, t := i/queries/heads, i/queries%heads, i%queries
		query := q.Data[(b*queries+t)*c+head*d:][:d]
		visible := keys
		if causal {
			visible = t + 1
		}
		largest, sum := math.Inf(-1), 0.0
		for j := range visible {
			dot := 0.0
			for n, x := range k.Data[(b*keys+j)*c+head*d:][:d] {
				dot += float64(query[n]) * float64(x)
			}
			scores[j] = dot * scale
			largest = max(largest, scores[j])
		}
		for j := range visible {
			scores[j] = math.Exp(scores[j] - largest)
			sum += scores[j]
		}
		out := p.Data[i*keys:]
		for j := range visible {
			out[j] = float32(scores[j] / sum)
		}
	}
	const most = 64 // rows at a time
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+rows/most) {
		workers.Go(func() {
			scores := make([]float64, keys)
			for {
				end := int(next.Add(most))
				for i := end - most; i < min(end, rows); i++ {
					row(scores, i)
				}
				if end >= rows {
					return
				}
			}
		})
	}
	workers.Wait()
	return p
}
