package ref

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

func add[T float](s kernels.Add, in []Tensor) element[T] {
	x, y := in[0], in[1]
	if !s.Rows {
		return func(i int) T { return T(x.F[i]) + T(y.F[i]) }
	}
	c := x.Shape[len(x.Shape)-1]
	sample := kernels.Elements(x.Shape[1:])
	return func(i int) T { return T(x.F[i]) + T(y.F[i/sample*c+i%c]) }
}

func addMasked[T float](in []Tensor) element[T] {
	x, y, mask := in[0], in[1], in[2]
	group := len(x.F) / len(mask.F) // channels
	return func(i int) T { return T(x.F[i]) + T(mask.F[i/group])*T(y.F[i]) }
}

func prelu[T float](in []Tensor) element[T] {
	x, slope := in[0].F, in[1].F
	return func(i int) T {
		if v := T(x[i]); !(v < 0) {
			return v
		}
		return T(T(x[i]) * T(slope[i%len(slope)]))
	}
}

func concat[T float](s kernels.Concat, in []Tensor) element[T] {
	x, y := in[0], in[1]
	c1, c2 := s.Widths(kernels.Tensor{Shape: x.Shape}, kernels.Tensor{Shape: y.Shape})
	return func(i int) T {
		row, ch := i/(c1+c2), i%(c1+c2)
		if ch < c1 {
			return T(x.F[row*c1+ch])
		}
		return T(y.F[row*c2+ch-c1])
	}
}

func resize[T float](s kernels.Resize, in []Tensor) element[T] {
	x := in[0]
	h, w, c := x.Shape[1], x.Shape[2], x.Shape[3]
	return func(i int) T {
		ch, col, row, b := i%c, i/c%s.W, i/c/s.W%s.H, i/c/s.W/s.H
		return T(x.F[((b*h+row*h/s.H)*w+col*w/s.W)*c+ch])
	}
}

// within checks ids or rows against the number of rows that they choose from.
func within(what string, ids []int32, rows int) error {
	for i, id := range ids {
		if id < 0 || int(id) >= rows {
			return fmt.Errorf("ref: %s %d is %d, want 0 to %d", what, i, id, rows-1)
		}
	}
	return nil
}

func embedding[T float](in []Tensor) (element[T], error) {
	ids, tokens, positions := in[0], in[1], in[2]
	length, c := ids.Shape[1], tokens.Shape[1]
	if err := within("id", ids.I, tokens.Shape[0]); err != nil {
		return nil, err
	}
	return func(i int) T {
		at, ch := i/c, i%c
		return T(tokens.F[int(ids.I[at])*c+ch]) + T(positions.F[at%length*c+ch])
	}, nil
}

func gather[T float](in []Tensor) (element[T], error) {
	x, rows := in[0], in[1]
	length, c := x.Shape[1], x.Shape[2]
	if err := within("row", rows.I, length); err != nil {
		return nil, err
	}
	return func(i int) T {
		b, ch := i/c, i%c
		return T(x.F[(b*length+int(rows.I[b]))*c+ch])
	}, nil
}
