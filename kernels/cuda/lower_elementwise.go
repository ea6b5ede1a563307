package cuda

import "github.com/goxl/goxl/kernels"

func (l *lowering) activate(s kernels.Activate) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	out := l.out[0]
	c, n := out.Shape[len(out.Shape)-1], int64(out.Len())
	name, v := vectors("activate", int(n))
	if s.Act == kernels.GEGLU {
		name, v = vectors("activate", c)
	}
	l.each(name, n, v, func(at resolver) any {
		return mapParams{X: at(x.symbol), Out: at(out.symbol), N: n, C: int32(c), Act: int32(s.Act), XType: x.storage, OutType: out.storage}
	})
	return nil
}

func (l *lowering) prelu() error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	slope, err := l.vector(1)
	if err != nil {
		return err
	}
	out := l.out[0]
	c, n := out.Shape[len(out.Shape)-1], int64(out.Len())
	name, v := vectors("prelu", c)
	l.each(name, n, v, func(at resolver) any {
		return mapParams{X: at(x.symbol), Y: at(slope), Out: at(out.symbol), N: n, C: int32(c), XType: x.storage, YType: fp32, OutType: out.storage}
	})
	return nil
}

func (l *lowering) add(s kernels.Add) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	y, err := l.float(1)
	if err != nil {
		return err
	}
	out := l.out[0]
	c, n, sample := out.Shape[len(out.Shape)-1], out.Len(), 0
	name, v := vectors("add", n)
	if s.Rows {
		sample = n / out.Shape[0] / c
		name, v = vectors("add", c)
	}
	l.each(name, int64(n), v, func(at resolver) any {
		return mapParams{X: at(x.symbol), Y: at(y.symbol), Out: at(out.symbol), N: int64(n), C: int32(c), Sample: int32(sample),
			XType: x.storage, YType: y.storage, OutType: out.storage}
	})
	return nil
}

func (l *lowering) addMasked() error {
	var in [3]operand
	for i := range in {
		var err error
		if in[i], err = l.float(i); err != nil {
			return err
		}
	}
	x, y, mask, out := in[0], in[1], in[2], l.out[0]
	c, n := out.Len()/mask.Len(), int64(out.Len()) // channels that have one factor
	name, v := vectors("add_masked", c)
	l.each(name, n, v, func(at resolver) any {
		return maskedParams{X: at(x.symbol), Y: at(y.symbol), Mask: at(mask.symbol), Out: at(out.symbol), N: n, C: int32(c),
			XType: x.storage, YType: y.storage, MaskType: mask.storage, OutType: out.storage}
	})
	return nil
}

func (l *lowering) concat(s kernels.Concat) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	y, err := l.float(1)
	if err != nil {
		return err
	}
	out := l.out[0]
	c, c2 := s.Widths(x.Tensor, y.Tensor)
	name, v := vectors("concat", c, c2)
	l.each(name, int64(out.Len()), v, func(at resolver) any {
		return mapParams{X: at(x.symbol), Y: at(y.symbol), Out: at(out.symbol), N: int64(out.Len()), C: int32(c), C2: int32(c2),
			XType: x.storage, YType: y.storage, OutType: out.storage}
	})
	return nil
}

func (l *lowering) resize() error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	out := l.out[0]
	c := x.Shape[3]
	name, v := vectors("resize", c)
	l.each(name, int64(out.Len()), v, func(at resolver) any {
		return resizeParams{X: at(x.symbol), Out: at(out.symbol), N: int64(out.Len()), H: int32(x.Shape[1]), W: int32(x.Shape[2]),
			OH: int32(out.Shape[1]), OW: int32(out.Shape[2]), C: int32(c), XType: x.storage, OType: out.storage}
	})
	return nil
}

// toPixels and fromPixels use a thread for each pixel.
func (l *lowering) toPixels() error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	out := l.out[0]
	n := int64(out.Len() / 4)
	l.each("to_pixels", n, 1, func(at resolver) any {
		return mapParams{X: at(x.symbol), Out: at(out.symbol), N: n, XType: x.storage}
	})
	return nil
}

func (l *lowering) fromPixels() error {
	x, out := l.in[0], l.out[0]
	n := int64(x.Len() / 4)
	l.each("from_pixels", n, 1, func(at resolver) any {
		return mapParams{X: at(x.symbol), Out: at(out.symbol), N: n, OutType: out.storage}
	})
	return nil
}

func (l *lowering) embedding() error {
	ids, tokens, out := l.in[0], l.in[1], l.out[0]
	c := tokens.Shape[1]
	pack := packing{kind: packMatrix, c1: c, p1: c}
	table, err := l.matrix(1, pack)
	if err != nil {
		return err
	}
	place, err := l.matrix(2, pack)
	if err != nil {
		return err
	}
	l.each("embedding", int64(out.Len()), 1, func(at resolver) any {
		return rowsParams{IDs: at(ids.symbol), Table: at(table), Positions: at(place), Out: at(out.symbol), N: int64(out.Len()),
			T: int32(ids.Shape[1]), C: int32(c), Rows: int32(tokens.Shape[0]), TableType: half, OType: out.storage}
	})
	return nil
}

func (l *lowering) gather() error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	rows, out := l.in[1], l.out[0]
	l.each("gather", int64(out.Len()), 1, func(at resolver) any {
		return rowsParams{IDs: at(rows.symbol), Table: at(x.symbol), Out: at(out.symbol), N: int64(out.Len()),
			T: int32(x.Shape[1]), C: int32(x.Shape[2]), TableType: x.storage, OType: out.storage}
	})
	return nil
}
