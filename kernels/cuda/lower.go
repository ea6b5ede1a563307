package cuda

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// storage is the type of an operand's elements in memory. Kernels take fp32 and half by the numbers of src/common.cuh;
// 32-bit integers are stored as fp32 is.
type storage = int32

const (
	fp32 storage = 0 // float32
	half storage = 1 // the program's 16-bit precision: float16 or bfloat16
	u8   storage = 2 // bytes: pixels
)

func bytesOf(s storage) int64 {
	switch s {
	case fp32:
		return 4
	case half:
		return 2
	}
	return 1
}

// symbol is a symbolic address: a value of the plan, scratch of one node, a packed weight or a constant, and an offset
// in bytes. A program resolves it when its launches are bound, once arena and weights have memory.
type symbol struct {
	kind   symbolKind
	index  int // value, scratch or constant
	weight *packed
	offset int64
}

type symbolKind uint8

const (
	nowhere symbolKind = iota
	atValue
	atScratch
	atWeight
	atConstant
)

// plus returns the address n elements on.
func (r symbol) plus(n int, s storage) symbol {
	r.offset += int64(n) * bytesOf(s)
	return r
}

// resolver returns what a symbol stands for, 0 for the zero symbol.
type resolver = func(symbol) driver.Ptr

// operand is a value as a kernel reads or writes it.
type operand struct {
	symbol
	kernels.Tensor
	storage storage
	// pitch is the stride of rows of the last axis in elements, 0 if they are contiguous: queries, keys and values are
	// columns of one matrix.
	pitch int
}

// launch is a kernel launch whose addresses are symbols.
type launch struct {
	kernel string
	grid   driver.Dim
	block  uint32
	shared int // dynamic, bytes
	params func(at resolver) any
}

// lowering turns one node into launches.
type lowering struct {
	precision kernels.DType
	target
	flash        []flashTile
	in, out      []operand
	moments      *rowMoments   // row moments that the product is to write, or nil
	foldedNorm   *rowMoments   // the LayerNorm that is folded into the product, or nil
	parts        map[int]int   // of row moments, by number of their value: the parts that the plan's products have written
	stats        *channelStats // channel statistics that the product is to write, or nil
	statsWritten map[int]bool  // by number of their value: whether the product writes them
	// sourceStats are the channel statistics of a GroupNorm's sources, if all of them are written.
	sourceStats []symbol
	launches    []launch

	weights  func(v int, p packing) (symbol, error) // packs input v
	link     func(w *packed, f *folding)
	scratch  func(bytes int64) symbol
	constant func(data []float32) symbol
}

// supported reports why a node cannot run here.
func supported(s kernels.Spec, in, out []kernels.Tensor) error {
	l := &lowering{
		precision: kernels.F16, target: target{sms: 1, tiles: tiles},
		weights:  func(int, packing) (symbol, error) { return symbol{}, nil },
		scratch:  func(int64) symbol { return symbol{} },
		constant: func([]float32) symbol { return symbol{} },
	}
	for _, t := range in {
		l.in = append(l.in, operand{Tensor: t})
	}
	for _, t := range out {
		l.out = append(l.out, operand{Tensor: t})
	}
	return l.lower(s)
}

// lower dispatches on the spec.
func (l *lowering) lower(s kernels.Spec) error {
	switch s := s.(type) {
	case sliced:
		return l.sliced(s)
	case joinedLinear:
		return l.joinedLinear(s)
	case withRowMoments:
		return l.withRowMoments(s)
	case foldedLayerNorm:
		return l.foldedLayerNorm(s)
	case withChannelStats:
		return l.withChannelStats(s)
	case groupNormOfStats:
		return l.groupNormOfStats(s)
	case kernels.Linear:
		return l.linear(s)
	case kernels.Conv2d:
		return l.conv2d(s)
	case kernels.Attention:
		return l.attention(s)
	case kernels.GroupNorm:
		return l.groupNorm(s)
	case kernels.LayerNorm:
		return l.layerNorm(s)
	case kernels.Activate:
		return l.activate(s)
	case kernels.PReLU:
		return l.prelu()
	case kernels.Add:
		return l.add(s)
	case kernels.AddMasked:
		return l.addMasked()
	case kernels.Concat:
		return l.concat(s)
	case kernels.Resize:
		return l.resize()
	case kernels.Embedding:
		return l.embedding()
	case kernels.Gather:
		return l.gather()
	case kernels.Sinusoid:
		return l.sinusoid(s)
	case kernels.ToPixels:
		return l.toPixels()
	case kernels.FromPixels:
		return l.fromPixels()
	case kernels.ScaleRepeat:
		return l.scaleRepeat(s)
	case kernels.Guidance:
		return l.guidance(s)
	case kernels.Solver:
		return l.solver(s)
	}
	return fmt.Errorf("cuda: no kernel for %T", s)
}

// launch adds a launch.
func (l *lowering) launch(kernel string, grid driver.Dim, block uint32, shared int, params func(at resolver) any) {
	l.launches = append(l.launches, launch{kernel: kernel, grid: grid, block: block, shared: shared, params: params})
}

// each adds a launch of a grid-stride loop over n elements, vector of them at a time.
func (l *lowering) each(kernel string, n int64, vector int, params func(at resolver) any) {
	const block = 256
	blocks := (n + int64(vector)*block - 1) / (int64(vector) * block)
	l.launch(kernel, driver.Dim{X: uint32(min(blocks, int64(16*l.sms))), Y: 1, Z: 1}, block, 0, params)
}

// vectors returns the kernel for eight channels a thread if all counts are multiples of 8, else the one for single
// channels.
func vectors(kernel string, counts ...int) (string, int) {
	for _, n := range counts {
		if n%8 != 0 {
			return kernel + "_1", 1
		}
	}
	return kernel + "_8", 8
}

// float is input v as a float operand. Weights are in float32.
func (l *lowering) float(v int) (operand, error) {
	o := l.in[v]
	if o.Role != kernels.Weight {
		return o, nil
	}
	var err error
	o.symbol, err = l.weights(v, packing{kind: packFloat})
	o.storage = fp32
	return o, err
}

// vector is input v, a bias or a norm's weight, in float32.
func (l *lowering) vector(v int) (symbol, error) {
	o, err := l.float(v)
	if err == nil && o.storage != fp32 {
		err = fmt.Errorf("cuda: %v is computed by the plan, want a weight", o.Tensor)
	}
	return o.symbol, err
}

// matrix is input v, which must be a weight, packed.
func (l *lowering) matrix(v int, p packing) (symbol, error) {
	if t := l.in[v]; t.Role != kernels.Weight {
		return symbol{}, fmt.Errorf("cuda: %v is a %s, want a weight", t.Tensor, t.Role)
	}
	return l.weights(v, p)
}

// channels is input v as a GEMM loads it: in 16 bits, the channels padded with zeros to a multiple of 8, which it
// returns too.
func (l *lowering) channels(v int) (symbol, int, error) {
	o, err := l.float(v)
	if err != nil {
		return symbol{}, 0, err
	}
	n := o.Shape[len(o.Shape)-1]
	padded := roundUp(n, 8)
	if o.storage == half && padded == n {
		return o.symbol, n, nil
	}
	total := int64(o.Len()) / int64(n) * int64(padded)
	out := l.scratch(2 * total)
	if padded == n {
		l.convert(o, out)
		return out, n, nil
	}
	l.each("pad", total, 1, func(at resolver) any {
		return mapParams{X: at(o.symbol), Out: at(out), N: total, C: int32(n), C2: int32(padded), XType: o.storage, OutType: half}
	})
	return out, padded, nil
}

// convert adds a conversion of an operand to 16 bits.
func (l *lowering) convert(o operand, out symbol) {
	n := o.Len()
	name, v := vectors("activate", n)
	l.each(name, int64(n), v, func(at resolver) any {
		return mapParams{X: at(o.symbol), Out: at(out), N: int64(n), C: int32(n), XType: o.storage, OutType: half}
	})
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
