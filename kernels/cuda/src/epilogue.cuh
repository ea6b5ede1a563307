// The parameters of the warp-specialised TMA GEMM (gemm_tma_sm90a.cu) and its epilogue: from accumulators in registers
// to outputs, with bias, GEGLU, residual, a folded LayerNorm, and moments for norms that follow.
#pragma once

#include "pipeline.cuh"

struct GemmTma {
  TensorMap x, x2, w;  // A: [rows][channels], or NHWC images in im2col mode; B: w [N][taps·channels]
  const float *bias;
  const void *broadcastBias, *residual;
  const float *rowScale;
  void *out;
  float *rowMoments;    // [tilesN][M][2]: sum and sum of squares of each row of out in each tile; or null
  float *channelStats;  // [M/64][columns/2][4]: for each pair of channels two sums and two sums of squares over 64 rows of out; or null
  const float *xMoments, *weightSums;  // folded LayerNorm: rowMoments of x, [parts][M][2], and the row sums of w; or null
  int M, columns, pitchOut;            // columns of out and residual, a multiple of 8
  int kTiles1, kTiles2, taps, kw;      // K-tiles of each source's channels; taps 0: a matrix
  int channels1, channels;             // of x; of x and x2
  int OH, OW, stride, top, left;
  int act, actLast;                    // actLast: after the residual, else before it
  int outType, residualType, broadcastBiasType;
  int tiles, tilesM, tilesN;
  int parts;
  float eps;
};

// RowCorrection is what the accumulators of a thread's two rows are corrected by: mean and 1/σ of a folded LayerNorm,
// or rowScale. load starts the loads for rows m and m+8, which a quad shares; finish reduces what they bring.
struct RowCorrection {
  float mean[2], scale[2], part[2][4][2];
  DEVICE_MEMBER void load(const GemmTma &p, int m) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int row = m + 8 * h;
      mean[h] = 0.f, scale[h] = p.rowScale && row < p.M ? p.rowScale[row] : 1.f;
#pragma unroll
      for (int i = 0; i < 4; i++) {  // the loads of up to sixteen parts are in flight together
        int n = (laneId() & 3) + 4 * i;
        part[h][i][0] = part[h][i][1] = 0.f;
        if (p.weightSums && row < p.M && n < p.parts) ldg_float2(p.xMoments + ((i64)n * p.M + row) * 2, part[h][i]);
      }
    }
  }
  DEVICE_MEMBER void finish(const GemmTma &p, int m) {
    if (!p.weightSums) return;
    float share = rcp_rn((float)p.channels);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float s = (part[h][0][0] + part[h][1][0]) + (part[h][2][0] + part[h][3][0]), q = (part[h][0][1] + part[h][1][1]) + (part[h][2][1] + part[h][3][1]);
      for (int n = 16 + (laneId() & 3); n < p.parts && m + 8 * h < p.M; n += 4) {
        const float *at = p.xMoments + ((i64)n * p.M + m + 8 * h) * 2;
        s += at[0], q += at[1];
      }
      s += shfl_xor(s, 1), q += shfl_xor(q, 1);
      s += shfl_xor(s, 2), q += shfl_xor(q, 2);
      mean[h] = s * share;
      float variance = q * share - mean[h] * mean[h];
      scale[h] = rcp_rn(sqrt_rn((variance > 0.f ? variance : 0.f * variance) + p.eps));
    }
  }
};

// RowMoments are the sum and the sum of squares of the outputs of a thread's two rows.
struct RowMoments {
  float sum[2] = {0.f, 0.f}, squares[2] = {0.f, 0.f};
  DEVICE_MEMBER void add(int h, float f) { sum[h] += f, squares[h] += f * f; }
  // store writes the moments of the thread's rows, of the 64 from m0 on, over the columns of one tile. A quad shares a
  // row.
  DEVICE_MEMBER void store(const GemmTma &p, int m0, int part) {
    if (!p.rowMoments) return;
    int m = m0 + (warpId() & 3) * 16 + (laneId() >> 2);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float a = sum[h] + shfl_xor(sum[h], 1), b = squares[h] + shfl_xor(squares[h], 1);
      a += shfl_xor(a, 2), b += shfl_xor(b, 2);
      float *at = p.rowMoments + ((i64)part * p.M + m + 8 * h) * 2;
      if (m + 8 * h < p.M && (laneId() & 3) == 0) at[0] = a, at[1] = b;
    }
  }
};

// columnVector is where to read a vector of the columns. A null vector is read from any valid address, and not used.
DEVICE const float *columnVector(const GemmTma &p, const float *given, int col) { return given ? given + col : (const float *)p.out; }

// Staging is a warp's shared-memory staging of 16 rows of outputs, padded so that ldmatrix and stmatrix have no bank
// conflicts.
template <int BN> struct Staging {
  static constexpr int PITCH = BN * 2 + 16, SIZE = 16 * PITCH;
  u32 base;
  // fragment is this lane's address for ldmatrix_x4 and stmatrix_x4 of 16 columns: two groups of eight, rows 0 and 8 on
  // of each.
  DEVICE_MEMBER u32 fragment(int group) const { return base + (laneId() & 15) * PITCH + (laneId() >> 4) * 16 + group * 16; }
  // chunk is this lane's address for 16-byte copies to and from global memory: a quad covers 64 bytes of a row.
  DEVICE_MEMBER u32 chunk(int b, int h) const { return base + ((laneId() >> 2) + 8 * h) * PITCH + ((laneId() & 3) + 4 * b) * 16; }
  // prefetchColumns brings bias and weightSums of the tile's columns into L1. The rows' padding takes the words that
  // prefetch_l1 copies.
  DEVICE_MEMBER void prefetchColumns(const GemmTma &p, int n0) const {
    bool gated = p.act == GEGLU;
    int columns = gated ? BN / 2 : BN, first = gated ? n0 / 2 : n0, i = laneId() * 8;  // a sector has eight numbers
    auto part = [&](const float *of, int k) {
      int at = i < columns ? first + i : p.columns + first + i - columns;
      if (of && i < (gated ? 2 : 1) * columns && at < (gated ? 2 : 1) * p.columns) prefetch_l1(base + (laneId() & 15) * PITCH + 2 * BN + 4 * (laneId() >> 4) + 8 * k, of + at);
    };
    part(p.bias, 0);
    if (!gated) part(p.weightSums, 1);
  }
  // loadResidual starts the copy of a residual to the staging memory, as one cp.async group.
  DEVICE_MEMBER void loadResidual(const GemmTma &p, int m0, int n0) const {
    int m = m0 + (warpId() & 3) * 16 + (laneId() >> 2);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const u16 *from = (const u16 *)p.residual + (i64)min(m + 8 * h, p.M - 1) * p.pitchOut + n0 + (laneId() & 3) * 8;
#pragma unroll
      for (int b = 0; b < (BN + 31) / 32; b++)
        if ((b + 1) * 32 <= BN || (laneId() & 3) * 8 + b * 32 < BN) cp_async_zfill(chunk(b, h), from + b * 32, true);
    }
    cp_async_commit();
  }
};

// epilogueVectorized turns the accumulators of 64 rows by BN columns into outputs, for columns inside of the matrix,
// 16-bit operands and no activation but GEGLU, whose columns alternate in eights of values and gates. Rows below the
// matrix are skipped. Residuals and outputs go through shared-memory staging, so that global accesses are 16 bytes a
// thread.
template <int BN, bool GATED, bool LAYER_NORM, bool RESIDUAL, bool BROADCAST_BIAS, bool MOMENTS>
DEVICE void epilogueVectorized(const GemmTma &p, const RowCorrection &rows, const float *acc, RowMoments &moments, Staging<BN> staging, int m0, int n0) {
  constexpr int COLUMNS = GATED ? BN / 2 : BN, GROUPS = COLUMNS / 8, EACH = GATED ? 8 : 4;  // accumulators of a group of columns, for two rows
  int q = laneId() & 3, m = m0 + (warpId() & 3) * 16 + (laneId() >> 2), first = GATED ? n0 / 2 : n0, col = first + q * 2;
  bool hasBias = p.bias;
  const float *bias = columnVector(p, p.bias, col), *biasGate = columnVector(p, p.bias, p.columns + col), *sum = p.weightSums + col;
  const u16 *broadcastBias[2];
  if (BROADCAST_BIAS)
    for (int h = 0; h < 2; h++) broadcastBias[h] = (const u16 *)p.broadcastBias + (i64)(min(m + 8 * h, p.M - 1) / (p.OH * p.OW)) * p.columns + col;
  auto corrected = [&](float x, int h, float sum, float bias) { return (LAYER_NORM ? (x - rows.mean[h] * sum) * rows.scale[h] : x) + (hasBias ? bias : 0.f); };
  struct Columns { float b[2][2], s[2][2], bGate[2][2]; } now, next;  // of two groups, and of the next two, in flight
  auto readColumns = [&](int g, Columns &c) {
#pragma unroll
    for (int k = 0; k < min(2, GROUPS - g); k++) {
      int at = (g + k) * 8;
      ldg_float2(bias + at, c.b[k]);
      if (LAYER_NORM) ldg_float2(sum + at, c.s[k]);
      if (GATED) ldg_float2(biasGate + at, c.bGate[k]);
    }
  };
  readColumns(0, next);
  if (RESIDUAL) cp_async_wait<0>(), syncwarp();
#pragma unroll
  for (int g = 0; g < GROUPS; g += 2) {
    u32 residual[4], w[4] = {0, 0, 0, 0};
    now = next;
    if (g + 2 < GROUPS) readColumns(g + 2, next);
    if (RESIDUAL) ldmatrix_x4(residual, staging.fragment(g));
#pragma unroll
    for (int k = 0; k < min(2, GROUPS - g); k++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float *x = acc + (g + k) * EACH + 2 * h;
        u32 biasPair = BROADCAST_BIAS ? ldg(broadcastBias[h] + (g + k) * 8) : 0;
        float f[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
          f[e] = corrected(x[e], h, now.s[k][e], now.b[k][e]);
          if (GATED) f[e] *= gelu(corrected(x[4 + e], h, 0.f, now.bGate[k][e]));
          if (BROADCAST_BIAS) f[e] += half2float((u16)(e ? biasPair >> 16 : biasPair));
          if (RESIDUAL) f[e] += half2float((u16)(e ? residual[2 * k + h] >> 16 : residual[2 * k + h]));
          if (MOMENTS) moments.add(h, f[e]);
        }
        w[2 * k + h] = floats2half2(f[0], f[1]);
      }
    }
    stmatrix_x4(staging.fragment(g), w);
  }
  syncwarp();
#pragma unroll
  for (int h = 0; h < 2; h++) {
    u16 *out = (u16 *)p.out + (i64)(m + 8 * h) * p.pitchOut + first + q * 8;
    bool inside = m + 8 * h < p.M;
#pragma unroll
    for (int b = 0; b < (COLUMNS + 31) / 32; b++)
      if (inside && ((b + 1) * 32 <= COLUMNS || q * 8 + b * 32 < COLUMNS)) *(uint4 *)(out + b * 32) = ld_shared_v4(staging.chunk(b, h));
  }
  syncwarp();
}

// epilogueChannelStats sums each channel over the 64 rows whose outputs the four warps of a warpgroup have staged.
template <int BN> DEVICE void epilogueChannelStats(const GemmTma &p, Staging<BN> staging, int m0, int n0) {
  constexpr int PAIRS = BN / 2, EACH = (PAIRS + 31) / 32;
  float sums[EACH][4];
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int pair = laneId() + 32 * i;
    float *s = sums[i];
    s[0] = s[1] = s[2] = s[3] = 0.f;
    if (PAIRS % 32 && pair >= PAIRS) continue;
#pragma unroll
    for (int row = 0; row < 16; row++) {
      u32 w = ld_shared_u32(staging.base + row * Staging<BN>::PITCH + 4 * pair);
      float low = half2float((u16)w), high = half2float((u16)(w >> 16));
      s[0] += low, s[1] += high, s[2] += low * low, s[3] += high * high;
    }
  }
  syncwarp();
#pragma unroll
  for (int i = 0; i < EACH; i++)
    if (PAIRS % 32 == 0 || laneId() + 32 * i < PAIRS) st_shared_v4(staging.base + 16 * (laneId() + 32 * i), sums[i]);
  int group = warpId() >> 2, pair = threadIdxX() & 127;
  named_barrier_sync(1 + group, 128);
  if (pair < PAIRS && m0 < p.M) {
    float total[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
    for (int w = 0; w < 4; w++) {
      uint4 v = ld_shared_v4(staging.base + (w - (warpId() & 3)) * Staging<BN>::SIZE + 16 * pair);
      total[0] += __builtin_bit_cast(float, v.x), total[1] += __builtin_bit_cast(float, v.y);
      total[2] += __builtin_bit_cast(float, v.z), total[3] += __builtin_bit_cast(float, v.w);
    }
    *(uint4 *)(p.channelStats + ((i64)(m0 / 64) * (p.columns / 2) + n0 / 2 + pair) * 4) = __builtin_bit_cast(uint4, total);
  }
  named_barrier_sync(1 + group, 128);
}

// epilogueRaw stores the accumulators as they are, in float32: the scores of unfused attention.
template <int BN> DEVICE void epilogueRaw(const GemmTma &p, const float *acc, int m0, int n0) {
  int m = m0 + (warpId() & 3) * 16 + (laneId() >> 2);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float *out = (float *)p.out + (i64)(m + 8 * h) * p.pitchOut + n0 + (laneId() & 3) * 2;
#pragma unroll
    for (int b = 0; b < BN / 8; b++) *(float2 *)(out + b * 8) = float2{acc[b * 4 + 2 * h], acc[b * 4 + 2 * h + 1]};
  }
}

// epilogueGeneric handles every other case. It is a loop that shifts the accumulators through registers, which keeps
// its code small.
template <int BN, bool GATED> DEVICE void epilogueGeneric(const GemmTma &p, const RowCorrection &rows, const float *acc, RowMoments &moments, int m0, int n0) {
  constexpr int COLUMNS = GATED ? BN / 2 : BN, SIZE = GATED ? 8 : 4;
  int q = laneId() & 3, m = m0 + (warpId() & 3) * 16 + (laneId() >> 2), first = GATED ? n0 / 2 : n0;
  float rest[BN / 2 + 4 * SIZE];
#pragma unroll
  for (int i = 0; i < BN / 2 + 4 * SIZE; i++) rest[i] = i < BN / 2 ? acc[i] : 0.f;
#pragma clang loop unroll(disable)
  for (int b = 0; b < COLUMNS; b += 32) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int row = m + 8 * h, col = first + b + q * 8;
      float even[4], odd[4], f[8];
      auto corrected = [&](float x, int column) {
        if (column >= (GATED ? 2 : 1) * p.columns) return 0.f;
        if (!GATED && p.weightSums) x -= rows.mean[h] * p.weightSums[column];
        return x * rows.scale[h] + (p.bias ? p.bias[column] : 0.f);
      };
#pragma unroll
      for (int g = 0; g < 4; g++) {
        const float *s = rest + g * SIZE + 2 * h;
        int at = first + b + g * 8 + q * 2;
        even[g] = corrected(s[0], at), odd[g] = corrected(s[1], at + 1);
        if (GATED) even[g] *= gelu(corrected(s[4], p.columns + at)), odd[g] *= gelu(corrected(s[5], p.columns + at + 1));
      }
      quad_transpose(even), quad_transpose(odd);
      if (row >= p.M || b + q * 8 >= COLUMNS || col >= p.columns) continue;
#pragma unroll
      for (int i = 0; i < 4; i++) f[2 * i] = even[i], f[2 * i + 1] = odd[i];
      if (!GATED && p.broadcastBias) add8(p.broadcastBias, (i64)(row / (p.OH * p.OW)) * p.columns + col, p.broadcastBiasType, f);
      // The residual comes before the activation or behind it; there is one copy of the activation's code.
      if (!GATED && p.actLast && p.residual) add8(p.residual, (i64)row * p.pitchOut + col, p.residualType, f);
      if (!GATED) {
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] = activate(p.act, f[i]);
      }
      if (!(!GATED && p.actLast) && p.residual) add8(p.residual, (i64)row * p.pitchOut + col, p.residualType, f);
      store8(p.out, (i64)row * p.pitchOut + col, p.outType, f);
#pragma unroll
      for (int i = 0; i < 8; i++) moments.add(h, f[i]);
    }
#pragma unroll
    for (int i = 0; i < BN / 2; i++) rest[i] = rest[i + 4 * SIZE];
  }
}

// vectorizable reports whether epilogueVectorized applies. The answer is the same for all tiles inside of the matrix.
template <int BN> DEVICE bool vectorizable(const GemmTma &p, int n0) {
  bool gated = p.act == GEGLU, layerNorm = p.weightSums, residual = p.residual, broadcastBias = p.broadcastBias, hasMoments = p.rowMoments;
  bool half = p.outType == HALF && !(residual && p.residualType != HALF) && !(broadcastBias && p.broadcastBiasType != HALF);
  bool inside = n0 + BN <= (gated ? 2 * p.columns : p.columns) && !p.rowScale && (gated || p.act == IDENTITY);
  return inside && half && layerNorm + residual + broadcastBias <= 1 && !(gated && (layerNorm || residual || broadcastBias)) && !(hasMoments && (gated || layerNorm || broadcastBias));
}

// epilogue chooses among the three.
template <int BN> DEVICE void epilogue(const GemmTma &p, const RowCorrection &rows, const float *acc, RowMoments &moments, Staging<BN> staging, int m0, int n0) {
  bool gated = p.act == GEGLU, layerNorm = p.weightSums, residual = p.residual, broadcastBias = p.broadcastBias, hasMoments = p.rowMoments;
  if (!vectorizable<BN>(p, n0)) {
    bool plain = m0 + 64 <= p.M && n0 + BN <= p.columns && p.outType == F32 && p.act == IDENTITY;
    if (plain && !(p.rowScale || p.bias || layerNorm || residual || broadcastBias || hasMoments))
      epilogueRaw<BN>(p, acc, m0, n0);
    else if (gated)
      epilogueGeneric<BN, true>(p, rows, acc, moments, m0, n0);
    else
      epilogueGeneric<BN, false>(p, rows, acc, moments, m0, n0);
  } else if (gated)
    epilogueVectorized<BN, true, false, false, false, false>(p, rows, acc, moments, staging, m0, n0);
  else if (layerNorm)
    epilogueVectorized<BN, false, true, false, false, false>(p, rows, acc, moments, staging, m0, n0);
  else if (residual && hasMoments)
    epilogueVectorized<BN, false, false, true, false, true>(p, rows, acc, moments, staging, m0, n0);
  else if (residual)
    epilogueVectorized<BN, false, false, true, false, false>(p, rows, acc, moments, staging, m0, n0);
  else if (broadcastBias)
    epilogueVectorized<BN, false, false, false, true, false>(p, rows, acc, moments, staging, m0, n0);
  else if (hasMoments)
    epilogueVectorized<BN, false, false, false, false, true>(p, rows, acc, moments, staging, m0, n0);
  else
    epilogueVectorized<BN, false, false, false, false, false>(p, rows, acc, moments, staging, m0, n0);
}
