package cuda

import (
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// gemm is what the GEMM kernels compute: linear layers, convolutions and the two GEMMs of unfused attention.
type gemm struct {
	gemmParams // all but pointers, tiles and storage types

	x, x2, w, rowScale, bias     symbol
	broadcastBias, residual, out operand

	weightSums symbol // row sums of w, if the lowering's norm is folded into it
}

// gemm adds the launch of the tile that suits the size.
func (l *lowering) gemm(p gemm) {
	tiles := l.candidates(&p)
	if l.moments != nil || l.foldedNorm != nil {
		tiles = slices.DeleteFunc(slices.Clone(tiles), func(t tile) bool { return !t.tma })
	}
	t := chooseTile(tiles, int(p.M), int(p.N), int(p.K), p.kTiles(), l.sms)
	p.TilesM, p.TilesN = int32(ceil(int(p.M), t.m)), int32(ceil(int(p.N), t.n))
	if t.tma {
		if l.moments != nil {
			l.moments.parts = int(p.TilesN)
		}
		l.gemmTMA(p, t)
		return
	}
	l.launchGEMM(p, t.kernel(), driver.Dim{X: uint32(p.TilesM * p.TilesN), Y: 1, Z: 1}, uint32(t.threads), t.shared())
}

// kTiles is how many K-tiles of a TMA tile the product has, each of 64 channels of one tap and source.
func (p *gemm) kTiles() int {
	return int(p.K/(p.C1+p.C2)) * (ceil(int(p.C1), 64) + ceil(int(p.C2), 64))
}

// launchGEMM adds the launch of one kernel.
func (l *lowering) launchGEMM(p gemm, kernel string, grid driver.Dim, block uint32, shared int) {
	g := p.gemmParams
	g.OutType, g.ResidualType, g.BroadcastBiasType = p.out.storage, p.residual.storage, p.broadcastBias.storage
	if g.PitchOut%8 == 0 && p.out.offset%16 == 0 {
		g.Vector = 1
	}
	l.launch(kernel, grid, block, shared, func(at resolver) any {
		g := g
		g.X, g.X2, g.W, g.Out = at(p.x), at(p.x2), at(p.w), at(p.out.symbol)
		g.Bias, g.BroadcastBias, g.Residual, g.RowScale = at(p.bias), at(p.broadcastBias.symbol), at(p.residual.symbol), at(p.rowScale)
		return g
	})
}

// rows sets the geometry of a matrix with m rows: one image, one pixel high.
func (g *gemmParams) rows(m, k, pitch int) {
	g.M, g.K = int32(m), int32(k)
	g.C1, g.Pitch1 = int32(k), int32(pitch)
	g.H, g.Width, g.OH, g.OW = 1, g.M, 1, g.M
	g.KW, g.Stride = 1, 1
}

func (l *lowering) linear(s kernels.Linear) (err error) {
	var p gemm
	places := s.Operands()
	x, w := l.in[places.X], l.in[places.Weight]
	k, n := w.Shape[1], w.Shape[0]
	var padded int
	if p.x, padded, err = l.channels(places.X); err != nil {
		return err
	}
	p.rows(x.Len()/k, padded, padded)
	p.N, p.PitchW, p.Act, p.out = int32(n), int32(padded), int32(s.Act), l.out[0]
	pack := packing{kind: packMatrix, c1: k, p1: padded}
	if l.foldedNorm != nil {
		pack.fold = l.foldedNorm.name
	}
	if s.Act == kernels.GEGLU {
		pack.half = n / 2
		n /= 2
		p.N = int32(16 * ceil(n, 8))
	}
	p.Columns, p.PitchOut = int32(n), int32(n)
	if p.w, err = l.matrix(places.Weight, pack); err != nil {
		return err
	}
	if s.Bias {
		if p.bias, err = l.vector(places.Bias); err != nil {
			return err
		}
	}
	if s.Residual {
		if p.residual, err = l.float(places.Residual); err != nil {
			return err
		}
	}
	if err = l.fold(&p, pack, places.Weight, 1, places.Bias); err != nil {
		return err
	}
	if p.M <= skinnyRows && s.Act != kernels.GEGLU {
		l.launchGEMM(p, "skinny", driver.Dim{X: uint32(ceil(n, 8)), Y: 1, Z: 1}, 256, 0)
		return nil
	}
	l.gemm(p)
	return nil
}

// skinnyRows is the most rows of x that kernel skinny takes.
const skinnyRows = 8

func (l *lowering) conv2d(s kernels.Conv2d) (err error) {
	var p gemm
	places := s.Operands()
	x, weight, out := l.in[places.X], l.in[places.Weight], l.out[0]
	b, h, w, c := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	padded, c2, padded2 := 0, 0, 0
	if p.x, padded, err = l.channels(places.X); err != nil {
		return err
	}
	if s.Concat {
		c2 = l.in[places.X2].Shape[3]
		if p.x2, padded2, err = l.channels(places.X2); err != nil {
			return err
		}
	}
	o, kh, kw := weight.Shape[0], weight.Shape[2], weight.Shape[3]
	k := kh * kw * (padded + padded2)
	p.gemmParams = gemmParams{
		M: int32(b * out.Shape[1] * out.Shape[2]), N: int32(o), K: int32(k),
		C1: int32(padded), C2: int32(padded2), Pitch1: int32(padded), Pitch2: int32(padded2), PitchW: int32(k),
		H: int32(h), Width: int32(w), OH: int32(out.Shape[1]), OW: int32(out.Shape[2]),
		KW: int32(kw), Stride: int32(s.Stride), Top: int32(s.Pad.Top), Left: int32(s.Pad.Left),
		Act: int32(s.Act), Columns: int32(o), PitchOut: int32(o),
	}
	if s.ActLast {
		p.ActLast = 1
	}
	switch {
	case s.UpH == 0:
	case s.UpH == 2*h && s.UpW == 2*w:
		p.UpH, p.UpW, p.Up = int32(s.UpH), int32(s.UpW), 1
	default:
		p.UpH, p.UpW, p.Up = int32(s.UpH), int32(s.UpW), 2
	}
	if p.w, err = l.matrix(places.Weight, packing{kind: packMatrix, c1: c, c2: c2, p1: padded, p2: padded2}); err != nil {
		return err
	}
	if s.Bias {
		if p.bias, err = l.vector(places.Bias); err != nil {
			return err
		}
	}
	if s.BroadcastBias {
		if p.broadcastBias, err = l.float(places.BroadcastBias); err != nil {
			return err
		}
	}
	if s.Residual {
		if p.residual, err = l.float(places.Residual); err != nil {
			return err
		}
	}
	p.out = out
	if o <= fewColumns && b <= 65535 && kh == 3 && kw == 3 && s == (kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}, Bias: s.Bias}) {
		l.convFew(p, b)
		return nil
	}
	l.gemm(p)
	return nil
}

// fewColumns is the most output channels of kernel conv_few.
const fewColumns = 8

// convFew adds the launch of a 3×3 convolution to few channels with nothing but a bias, in tiles of 16 by 8 pixels.
func (l *lowering) convFew(p gemm, batch int) {
	grid := driver.Dim{X: uint32(ceil(int(p.OW), 16)), Y: uint32(ceil(int(p.OH), 8)), Z: uint32(batch)}
	l.launch("conv_few", grid, 128, 2*(18*10+9*8)*(64*2+16), func(at resolver) any {
		return convFewParams{X: at(p.x), W: at(p.w), Bias: at(p.bias), Out: at(p.out.symbol), H: p.OH, Width: p.OW, C: p.C1, Columns: p.Columns, OutType: p.out.storage}
	})
}

func ceil(a, b int) int { return (a + b - 1) / b }
