package cuda

import (
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// minTMARows is the rows of the smallest TMA tile.
const minTMARows = 64

// candidates returns the tiles that can compute a product. TMA tiles can only if the rows of all operands are aligned.
// Where such a convolution resizes its input, candidates resizes the input in front of it instead: that costs less than
// a tile without TMA.
func (l *lowering) candidates(p *gemm) []tile {
	if !l.hasTMA() {
		return l.tiles
	}
	aligned := p.Columns%8 == 0 && p.PitchOut%8 == 0 && p.out.offset%16 == 0 && p.residual.offset%16 == 0 && p.broadcastBias.offset%16 == 0
	// The corners of an im2col bounding box are 8-bit, and only one source can be resized.
	fits := aligned && p.M >= minTMARows && p.Stride <= 8 && p.Top <= 127 && p.Left <= 127 && p.K/(p.C1+p.C2) <= 49 && (p.Up == 0 || p.C2 == 0)
	if fits && p.Up != 0 {
		l.resizeInput(p)
	}
	return slices.DeleteFunc(slices.Clone(l.tiles), func(t tile) bool {
		return t.tma && !fits
	})
}

// resizeInput resizes the input image in front of the product.
func (l *lowering) resizeInput(p *gemm) {
	n := int64(p.M/(p.OH*p.OW)) * int64(p.UpH) * int64(p.UpW) * int64(p.C1)
	to, from := l.scratch(2*n), p.x
	resize := resizeParams{N: n, H: p.H, W: p.Width, OH: p.UpH, OW: p.UpW, C: p.C1, XType: half, OType: half}
	l.each("resize_8", n, 8, func(at resolver) any {
		resize := resize
		resize.X, resize.Out = at(from), at(to)
		return resize
	})
	p.x, p.H, p.Width, p.UpH, p.UpW, p.Up = to, p.UpH, p.UpW, 0, 0, 0
}

// gemmTMA adds the launch of a TMA tile.
func (l *lowering) gemmTMA(p gemm, t tile) {
	made := gemmTMALaunch{geometry: p.gemmParams, tile: t, element: driver.Float16}
	if l.precision == kernels.BF16 {
		made.element = driver.BFloat16
	}
	g := &p.gemmParams
	taps := g.K / (g.C1 + g.C2)
	made.gemmTMAParams = gemmTMAParams{
		M: g.M, Columns: g.Columns, PitchOut: g.PitchOut, KTiles1: int32(ceil(int(g.C1), 64)), KTiles2: int32(ceil(int(g.C2), 64)), Taps: taps, KW: g.KW,
		Channels1: g.C1, Channels: g.C1 + g.C2, OH: g.OH, OW: g.OW, Stride: g.Stride, Top: g.Top, Left: g.Left,
		Act: g.Act, ActLast: g.ActLast, OutType: p.out.storage, ResidualType: p.residual.storage, BroadcastBiasType: p.broadcastBias.storage,
		Tiles: g.TilesM * g.TilesN, TilesM: g.TilesM, TilesN: g.TilesN,
	}
	if taps == 1 && g.Stride == 1 && g.Top == 0 && g.Left == 0 && g.OH == g.H && g.OW == g.Width {
		made.Taps = 0
	}
	if l.foldedNorm != nil {
		made.Parts, made.Eps = int32(l.foldedNorm.parts), float32(l.foldedNorm.eps)
	}
	blocks := min(int(made.Tiles), l.sms)
	if l.stats != nil {
		l.stats.written = p.writesChannelStats(t)
	}
	l.launch(t.kernel(), driver.Dim{X: uint32(blocks), Y: 1, Z: 1}, uint32(t.threads), t.shared(), func(at resolver) any {
		made := made
		made.Out, made.Bias, made.BroadcastBias, made.Residual, made.RowScale = at(p.out.symbol), at(p.bias), at(p.broadcastBias.symbol), at(p.residual.symbol), at(p.rowScale)
		if l.moments != nil {
			made.RowMoments = at(l.moments.at)
		}
		if l.stats != nil && l.stats.written {
			made.ChannelStats = at(l.stats.at)
		}
		if l.foldedNorm != nil {
			made.XMoments, made.WeightSums = at(l.foldedNorm.at), at(p.weightSums)
		}
		made.at = [3]driver.Ptr{at(p.x), at(p.x2), at(p.w)}
		return made
	})
}

// writesChannelStats reports whether a product's epilogue can write channel statistics: it must be the vectorised one,
// on whole tiles.
func (p *gemm) writesChannelStats(t tile) bool {
	residual, broadcastBias := p.residual.kind != nowhere, p.broadcastBias.kind != nowhere
	halves := p.out.storage == half && (!residual || p.residual.storage == half) && (!broadcastBias || p.broadcastBias.storage == half)
	return halves && !(residual && broadcastBias) && p.rowScale.kind == nowhere && p.weightSums.kind == nowhere && p.Act == int32(kernels.Identity) &&
		int(p.Columns)%t.n == 0 && p.M%statsRows == 0
}

// gemmTMALaunch is what the parameters of a TMA GEMM are made of.
type gemmTMALaunch struct {
	gemmTMAParams
	geometry gemmParams
	tile     tile
	element  driver.ElementType
	at       [3]driver.Ptr
}

// encode implements mapped.
func (f gemmTMALaunch) encode(e encoder) (any, error) {
	p, g := f.gemmTMAParams, &f.geometry
	matrix := func(at driver.Ptr, columns, pitch, rows int32, box int) (driver.TensorMap, error) {
		return e.EncodeTiled(driver.Tiled{
			Type: f.element, Address: at, Size: []int64{int64(columns), int64(rows), 1}, Stride: []int64{2 * int64(pitch), 2 * int64(pitch) * int64(rows)},
			Box: []uint32{64, uint32(box), 1}, Swizzle: driver.Swizzle128, Promotion: driver.Promotion256,
		})
	}
	operand := func(at driver.Ptr, channels, pitch int32) (driver.TensorMap, error) {
		if p.Taps == 0 {
			return matrix(at, channels, pitch, g.M, f.tile.m)
		}
		row := 2 * int64(pitch) * int64(g.Width)
		last := func(places, low, size int32) int32 { return (places-1)*g.Stride - low - (size - 1) }
		return e.EncodeIm2col(driver.Im2col{
			Type: f.element, Address: at, Size: [4]int64{int64(channels), int64(g.Width), int64(g.H), int64(g.M / (g.OH * g.OW))},
			Stride: [3]int64{2 * int64(pitch), row, row * int64(g.H)}, Low: [2]int32{-g.Left, -g.Top},
			High: [2]int32{last(g.OW, g.Left, g.Width), last(g.OH, g.Top, g.H)}, Step: uint32(g.Stride), Channels: 64, Pixels: uint32(f.tile.m),
		})
	}
	var err error
	if p.X, err = operand(f.at[0], g.C1, g.Pitch1); err != nil {
		return nil, err
	}
	if g.C2 > 0 {
		if p.X2, err = operand(f.at[1], g.C2, g.Pitch2); err != nil {
			return nil, err
		}
	}
	p.W, err = matrix(f.at[2], g.K, g.PitchW, g.N, f.tile.n)
	return p, err
}
