package cuda

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// packing is a layout of a weight on the card.
type packing struct {
	kind   packKind
	c1, c2 int // channels of a tap, of either source
	p1, p2 int // the same, padded
	half   int // GEGLU: rows of values, and of gates; 0 for other weights
	// join names the weights that are contiguous on the card, in the order in which they are wanted; empty for a weight
	// by itself.
	join string
	// fold names the LayerNorm that is folded into the weight; see fuseNorms.
	fold string
}

type packKind uint8

const (
	packFloat      packKind = iota // float32, in the checkpoint's layout
	packMatrix                     // 16 bits, [rows][taps][p1+p2], GEGLU's rows interleaved in eights
	packWeightSums                 // float32 [rows], computed by fold_layer_norm from a packMatrix
	packFoldedBias                 // likewise
)

// packed is a weight in one layout, shared by every node of every program that uses it so.
type packed struct {
	name      string
	shape     []int
	dtype     kernels.DType // of the source
	precision kernels.DType
	packing   packing
	at        driver.Ptr // 0 while not resident
	folding   *folding   // of a packMatrix with a folded LayerNorm, else nil
	stale     bool       // what lies there is of an update that is no longer in force, or of none
}

// computed reports whether the weight is computed from others and not read.
func (w *packed) computed() bool {
	return w.packing.kind == packWeightSums || w.packing.kind == packFoldedBias
}

// dependsOn reports whether the weight is read from one of some tensors, or has something folded into it that is. What
// is computed from it comes with it.
func (w *packed) dependsOn(tensors map[string]bool) bool {
	if w.computed() {
		return false
	}
	f := w.folding
	return tensors[w.name] || f != nil && (tensors[f.gamma.name] || tensors[f.beta.name] || f.bias != nil && tensors[f.bias.name])
}

// taps is how many numbers of a row belong to one channel.
func (w *packed) taps() int { return kernels.Elements(w.shape[min(2, len(w.shape)):]) }

// sourceRow and row are the elements of a row in the checkpoint and on the card.
func (w *packed) sourceRow() int { return kernels.Elements(w.shape[min(1, len(w.shape)):]) }

func (w *packed) row() int {
	if w.packing.kind == packFloat {
		return w.sourceRow()
	}
	return w.taps() * (w.packing.p1 + w.packing.p2)
}

// rows is how many rows the checkpoint has. On the card GEGLU's are padded to a multiple of 16.
func (w *packed) rows() int {
	if len(w.shape) == 0 {
		return 1
	}
	return w.shape[0]
}

func (w *packed) bytes() int64 {
	rows, size := w.rows(), int64(2)
	if w.computed() {
		return 4 * int64(rows)
	}
	if w.packing.half > 0 {
		rows = 16 * ceil(w.packing.half, 8)
	}
	if w.packing.kind == packFloat {
		size = 4
	}
	return size * int64(rows) * int64(w.row())
}

// params are those of the pack kernel for rows first … first+count−1, which lie at raw.
func (w *packed) params(raw driver.Ptr, first, count int) packParams {
	p := packParams{
		Raw: raw, Out: w.at, N: int64(count) * int64(w.row()), First: int32(first),
		C1: int32(w.packing.c1), C2: int32(w.packing.c2), P1: int32(w.packing.p1), P2: int32(w.packing.p2),
		Taps: int32(w.taps()), Half: int32(w.packing.half),
		From: rawType[w.dtype],
	}
	if w.packing.kind == packFloat {
		p.ToFloat = 1
		p.Out += driver.Ptr(4 * int64(first) * int64(w.row()))
	}
	return p
}

// rawType is a checkpoint's type as kernels pack and merge number it.
var rawType = map[kernels.DType]int32{kernels.F32: 0, kernels.F16: 1, kernels.BF16: 2}

// sourceBytes is what rows take in the checkpoint.
func (w *packed) sourceBytes(rows int) int64 {
	return int64(rows) * int64(w.sourceRow()) * int64(w.dtype.Size())
}

// library is the precision whose kernels pack the weight: either widens to float32.
func (w *packed) library() kernels.DType {
	if w.precision == kernels.F32 {
		return kernels.F16
	}
	return w.precision
}

// tensor is the weight in the checkpoint.
func (w *packed) tensor() kernels.Tensor {
	return kernels.Tensor{Name: w.name, Shape: w.shape, DType: w.dtype}
}
