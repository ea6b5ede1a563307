package cuda

import "github.com/goxl/goxl/kernels/cuda/driver"

// The parameters of the kernels, field by field as src declares them. A kernel has one struct as its only parameter.
// The driver checks its size at Prepare, and TestParameters checks it against the PTX.
type (
	gemmParams struct {
		X, X2, W                                 driver.Ptr
		Bias, BroadcastBias, Residual            driver.Ptr
		RowScale, Out                            driver.Ptr
		M, N, K                                  int32
		C1, C2, Pitch1, Pitch2                   int32
		PitchW                                   int32
		H, Width, OH, OW                         int32
		KW, Stride, Top, Left                    int32
		UpH, UpW, Up                             int32
		Act, ActLast                             int32
		Columns, PitchOut                        int32
		OutType, ResidualType, BroadcastBiasType int32
		TilesM, TilesN                           int32
		Vector                                   int32
	}
	gemmTMAParams struct {
		X, X2, W                                       driver.TensorMap
		Bias, BroadcastBias, Residual, RowScale, Out   driver.Ptr
		RowMoments, ChannelStats, XMoments, WeightSums driver.Ptr
		M, Columns, PitchOut                           int32
		KTiles1, KTiles2, Taps, KW                     int32
		Channels1, Channels                            int32
		OH, OW, Stride, Top, Left                      int32
		Act, ActLast                                   int32
		OutType, ResidualType, BroadcastBiasType       int32
		Tiles, TilesM, TilesN                          int32
		Parts                                          int32
		Eps                                            float32
		_                                              [6]int32 // a multiple of 64 bytes
	}
	convFewParams struct {
		X, W, Bias, Out  driver.Ptr
		H, Width, C      int32
		Columns, OutType int32
	}
	attentionParams struct {
		Q, K, V, Out                        driver.Ptr
		Queries, Keys, Heads, Size          int32
		PitchQ, PitchK, PitchV, PitchOut    int32
		Causal, OutType, QType, KType, VTyp int32
		Scale                               float32
	}
	flashParams struct {
		Q, K, V                            driver.TensorMap
		Out                                driver.Ptr
		Queries, Keys, Heads, Tiles, Width int32
		PitchOut, Causal, OutType          int32
		Scale                              float32
		_                                  [5]int32 // a multiple of 64 bytes
	}
	softmaxParams struct {
		S, P, Scale         driver.Ptr
		Keys, Pitch, PitchS int32
		Factor              float32
	}
	transposeParams struct {
		X, Out                         driver.Ptr
		Rows, Columns, Pitch, PitchOut int32
	}
	groupNormParams struct {
		X, X2, Weight, Bias, Partial, Out driver.Ptr
		ChannelStats, ChannelStats2       driver.Ptr
		Pixels, C1, C2, Groups, Chunks    int32
		XType, X2Type, OutType, Act       int32
		Eps                               float32
		TileVectors                       int32
	}
	layerNormParams struct {
		X, Weight, Bias, Out    driver.Ptr
		Rows, C, XType, OutType int32
		Eps                     float32
	}
	foldParams struct {
		W, Gamma, Beta, Bias, WeightSums, FoldedBias driver.Ptr
		Rows, K                                      int32
	}
	mapParams struct {
		X, Y, Out             driver.Ptr
		N                     int64
		C, C2, Sample, Act    int32
		XType, YType, OutType int32
	}
	maskedParams struct {
		X, Y, Mask, Out                    driver.Ptr
		N                                  int64
		C, XType, YType, MaskType, OutType int32
	}
	resizeParams struct {
		X, Out                        driver.Ptr
		N                             int64
		H, W, OH, OW, C, XType, OType int32
	}
	rowsParams struct {
		IDs, Table, Positions, Out   driver.Ptr
		N                            int64
		T, C, Rows, TableType, OType int32
	}
	finiteParams struct {
		X, Flags driver.Ptr
		N        int64
		Type     int32
	}
	sinusoidParams struct {
		T, Frequency, Out               driver.Ptr
		N, Dim, CosFirst, TType, OutTyp int32
	}
	projectParams struct {
		X, W, Bias, Out         driver.Ptr
		M, K, N, Parts, OutType int32
		Start                   [maxParts + 1]int32
	}
	scaleParams struct {
		X, Scale, Out           driver.Ptr
		N, Total                int64
		XType, ScaleType, OType int32
	}
	guidanceParams struct {
		M, Scale, Phi, Out                  driver.Ptr
		N                                   int64
		Batch, Rescale                      int32
		MType, ScaleType, PhiType, OutputTy int32
	}
	solverParams struct {
		X, M, Noise, Coefficients driver.Ptr
		History                   [maxHistory]driver.Ptr
		Out                       [1 + maxHistory]driver.Ptr
		N                         int64
		K, XType, MType, NoiseTyp int32
		HistoryType               [maxHistory]int32
		OutType                   [1 + maxHistory]int32
	}
	peakParams struct {
		Out            driver.Ptr
		Rounds, Unused int32
	}
	packParams struct {
		Raw, Out                    driver.Ptr
		N                           int64
		First, C1, C2, P1, P2, Taps int32
		Half, From, ToFloat         int32
	}
	mergeParams struct {
		Raw, Factors         driver.Ptr
		Rows, Columns, First int32
		Products, From       int32
		_                    int32
	}
)

// maxHistory is the longest history of a solver that kernel solver takes.
const maxHistory = 8
