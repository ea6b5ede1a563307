package lora

import "fmt"

// difference is Δ = f·x for a tensor x of the weight's size.
type difference struct {
	x     Matrix
	scale float32
}

func (d *difference) dependent() bool { return false }

func (d *difference) add(dst, _ []float32, f float32) {
	f *= d.scale
	for i, x := range widen(d.x) {
		dst[i] += f * x
	}
}

// difference builds a change by a whole tensor, of a weight or of a bias.
func (g *group) difference(p part, t tensor, what string, scale float32) (delta, error) {
	x, _, err := g.matrix(p)
	if err != nil {
		return nil, err
	}
	if err := g.fit(t, what, p, x.Rows*x.Cols); err != nil {
		return nil, err
	}
	return &difference{x, scale}, nil
}

// replaced is Δ = x − W: W' is a tensor x of the file.
type replaced struct{ x Matrix }

func (r *replaced) dependent() bool { return true }

func (r *replaced) add(dst, w []float32, f float32) {
	if f == 1 { // W' to the bit
		widenTo(dst, r.x.DType, r.x.Data)
		return
	}
	for i, x := range widen(r.x) {
		dst[i] += f * (x - w[i])
	}
}

func (g *group) replaced() (delta, error) {
	x, _, err := g.matrix(setWeight)
	if err != nil {
		return nil, err
	}
	if err := g.fit(g.weight, "weight", setWeight, x.Rows*x.Cols); err != nil {
		return nil, err
	}
	return &replaced{x}, nil
}

// sparse is Δ = f·x for a tensor x of which a few elements are not 0: what the extraction of a LoRA leaves over.
type sparse struct {
	at    []int // in the weight
	x     []float32
	scale float32
}

func (s *sparse) dependent() bool { return false }

func (s *sparse) add(dst, _ []float32, f float32) {
	f *= s.scale
	for i, at := range s.at {
		dst[at] += f * s.x[i]
	}
}

// sparse reads a matrix in coordinates: indices (2, n), values (n), size (2). LyCORIS stores the integers in 16 bits.
func (g *group) sparse(scale float32) (delta, error) {
	for _, p := range []part{sparseIndices, sparseValues, sparseSize} {
		if !g.has(p) {
			return nil, g.errorf(p, "", "it is missing, but the module has %s", g.list())
		}
	}
	size, err := g.integers(sparseSize)
	if err != nil {
		return nil, err
	}
	indices, err := g.integers(sparseIndices)
	if err != nil {
		return nil, err
	}
	values, shape, err := g.floats(sparseValues)
	if err != nil {
		return nil, err
	}
	if len(size) != 2 || size[0] <= 0 || size[1] <= 0 || size[0] > 1<<24 || size[1] > 1<<24 {
		return nil, g.errorf(sparseSize, "two positive numbers", "%v", size)
	}
	if len(indices) != 2*len(values) {
		return nil, g.errorf(sparseIndices, fmt.Sprintf("2 for each of the %d values", len(values)), "%d indices for values of shape %v", len(indices), shape)
	}
	if err := g.fit(g.weight, "weight", sparseSize, size[0]*size[1]); err != nil {
		return nil, err
	}
	s := &sparse{x: values, at: make([]int, len(values)), scale: scale}
	for i := range values {
		r, c := indices[i], indices[len(values)+i]
		if r < 0 || r >= size[0] || c < 0 || c >= size[1] {
			return nil, g.errorf(sparseIndices, fmt.Sprintf("within the size %v", size), "element %d is at row %d, column %d", i, r, c)
		}
		s.at[i] = r*size[1] + c
	}
	return s, nil
}
