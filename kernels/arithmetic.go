package kernels

// Arithmetic is what a device that computes on the host lends to a [Computed] source. Its methods run on the goroutine
// that calls them and are safe for concurrent use.
type Arithmetic interface {
	// AddProduct is dst += scale·up·down in float32, of matrices in row order: up is [rows, rank], down [rank, columns],
	// and dst holds rows·columns numbers at least. A row of dst depends on its own row of up alone, not on how many
	// rows there are.
	AddProduct(dst, up, down []float32, rank int, scale float32)
	// Widen converts len(dst) little-endian numbers of F32, F16 or BF16, of any alignment.
	Widen(dst []float32, dtype DType, src []byte)
	// Round rounds src to nearest even, to little-endian numbers of F32, F16 or BF16.
	Round(dst []byte, dtype DType, src []float32)
}

// Computed is a [Source] that computes some of its tensors when they are asked for.
type Computed interface {
	Source
	// With returns the same source, which computes by a's means.
	With(a Arithmetic) Source
}
