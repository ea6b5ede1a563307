// The parameters of the copying product, and how its sums become outputs: straight from registers, with what is folded into the product.
#pragma once

#include "pipeline.cuh"

struct Product {
  TensorMap x, x2, w;  // [rows][channels] or images of pixels; w is [N][taps·channels]
  const float *bias;
  const void *rowBias, *residual;
  const float *rowScale;
  void *out;
  float *rowSums;                      // [tilesN][M][2]: sum and sum of squares of each row of out in each tile; or null
  const float *moments, *columnSums;   // of a product of a layer norm: such sums [parts][M][2] of x, and the sums of w's rows; or null
  int M, columns, pitchOut;            // columns of out and residual, a multiple of 8
  int slices1, slices2, taps, kw;      // slices of each source's channels; taps 0: a matrix
  int channels1, channels;             // of x; of both
  int OH, OW, stride, top, left;
  int act, outType, residualType, rowBiasType;
  int tiles, tilesM, tilesN;
  int parts;
  float eps;
};

// Rows is what the sums of the two rows of a thread are corrected by.
struct Rows {
  float mean[2], scale[2];
  // A quad has the rows m and m+8.
  DEVICE_MEMBER void read(const Product &p, int m) {
    float s[2] = {0.f, 0.f}, q[2] = {0.f, 0.f};
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int row = m + 8 * h;
      mean[h] = 0.f, scale[h] = p.rowScale && row < p.M ? p.rowScale[row] : 1.f;
      if (!p.columnSums || row >= p.M) continue;
      float part[3][2];
#pragma unroll
      for (int i = 0; i < 3; i++) {  // twelve parts at most have their loads side by side
        int n = (lane() & 3) + 4 * i;
        part[i][0] = part[i][1] = 0.f;
        if (n < p.parts) constant2(p.moments + ((i64)n * p.M + row) * 2, part[i]);
      }
      s[h] = part[0][0] + part[1][0] + part[2][0], q[h] = part[0][1] + part[1][1] + part[2][1];
      for (int n = 12 + (lane() & 3); n < p.parts; n += 4) {
        const float *at = p.moments + ((i64)n * p.M + row) * 2;
        s[h] += at[0], q[h] += at[1];
      }
    }
    if (!p.columnSums) return;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      s[h] += shuffleXor(s[h], 1), q[h] += shuffleXor(q[h], 1);
      s[h] += shuffleXor(s[h], 2), q[h] += shuffleXor(q[h], 2);
      float n = (float)p.channels, variance;
      mean[h] = s[h] / n;
      variance = q[h] / n - mean[h] * mean[h];
      scale[h] = reciprocal(rootOf((variance > 0.f ? variance : 0.f * variance) + p.eps));
    }
  }
};

// turn gives lane q of a quad all eight columns of group q, where it had columns 2q and 2q+1 of four groups: v[i] is then the pair of lane i.
DEVICE void turn(float (&v)[4][2]) {
  int q = lane() & 3;
#pragma unroll
  for (int mask = 1; mask < 4; mask *= 2)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i & mask) continue;
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float given = q & mask ? v[i][e] : v[i | mask][e], got = shuffleXor(given, mask);
        if (q & mask)
          v[i][e] = got;
        else
          v[i | mask][e] = got;
      }
    }
}

// writeSums leaves the sums of rows m and m+8 over a tile, which a quad shares.
DEVICE void writeSums(const Product &p, int m, int part, float *sum, float *squares) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float a = sum[h] + shuffleXor(sum[h], 1), b = squares[h] + shuffleXor(squares[h], 1);
    a += shuffleXor(a, 2), b += shuffleXor(b, 2);
    float *at = p.rowSums + ((i64)part * p.M + m + 8 * h) * 2;
    if (m + 8 * h < p.M && (lane() & 3) == 0) at[0] = a, at[1] = b;
  }
}

// The columns' numbers of a product that has no bias are read from wherever is safe, and not used.
DEVICE const float *columnsAt(const Product &p, const float *given, int col) { return given ? given + col : (const float *)p.out; }

template <bool AHEAD> DEVICE void columnsOf(const float *p, float *f) {
  if (AHEAD)
    constant4(p, f), constant4(p + 4, f + 4);
  else
    load8(p, 0, F32, f);
}
template <bool AHEAD> DEVICE Vec4 wordsOf(const u16 *p) { return AHEAD ? constantWords(p) : *(const Vec4 *)p; }

// finishGated turns the sums of a warpgroup's 64 rows into outputs of GEGLU, whose columns come in eights of values and eights of gates. Tiles inside of the
// matrix are WHOLE: nothing there depends on what the thread has, so that all loads can go ahead of the first store.
template <int BN, bool WHOLE, bool FOLDED> DEVICE void finishGated(const Product &p, const Rows &rows, const float *acc, int m0, int n0) {
  int q = lane() & 3, first = n0 / 2;
  bool biased = p.bias;
#pragma unroll
  for (int b = 0; b < BN / 64; b++) {
    float bias[4][2], biasGate[4][2], sum[4][2], sumGate[4][2];
#pragma unroll
    for (int g = 0; g < 4; g++) {
      int col = first + b * 32 + g * 8 + q * 2;
      if (!WHOLE && col >= p.columns) col = 0;
      constant2(columnsAt(p, p.bias, col), bias[g]), constant2(columnsAt(p, p.bias, p.columns + col), biasGate[g]);
      if (FOLDED) constant2(p.columnSums + col, sum[g]), constant2(p.columnSums + p.columns + col, sumGate[g]);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int m = m0 + (warp() & 3) * 16 + (lane() >> 2) + h * 8, col = first + b * 32 + q * 8;
      float v[4][2], f[8];
#pragma unroll
      for (int g = 0; g < 4; g++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float x = acc[(b * 8 + g * 2) * 4 + 2 * h + e], gate = acc[(b * 8 + g * 2 + 1) * 4 + 2 * h + e];
          if (FOLDED) x = (x - rows.mean[h] * sum[g][e]) * rows.scale[h], gate = (gate - rows.mean[h] * sumGate[g][e]) * rows.scale[h];
          v[g][e] = (x + (biased ? bias[g][e] : 0.f)) * gelu(gate + (biased ? biasGate[g][e] : 0.f));
        }
      turn(v);
      if (!WHOLE && (m >= p.M || col >= p.columns)) continue;
#pragma unroll
      for (int i = 0; i < 8; i++) f[i] = v[i / 2][i % 2];
      if (!WHOLE && p.residual) {
        float w[8];
        load8(p.residual, (i64)m * p.pitchOut + col, p.residualType, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      if (WHOLE)
        store8(p.out, (i64)m * p.pitchOut + col, T16, f);
      else
        store8(p.out, (i64)m * p.pitchOut + col, p.outType, f);
    }
  }
}

// finishWhole does the same without activation for tiles inside of the matrix and 16-bit operands, eight columns of a row a thread. AHEAD: registers are left
// for loads that go ahead of stores.
template <int BN, bool AHEAD, bool RESIDUAL, bool FOLDED, bool ROWBIAS> DEVICE void finishWhole(const Product &p, const Rows &rows, const float *acc, int m0, int n0) {
  int q = lane() & 3, m = m0 + (warp() & 3) * 16 + (lane() >> 2);
  bool biased = p.bias;
  float sum[2] = {0.f, 0.f}, squares[2] = {0.f, 0.f};
  i64 row[2] = {(i64)m * p.pitchOut, (i64)(m + 8) * p.pitchOut}, image[2];
  if (ROWBIAS) image[0] = (i64)(m / (p.OH * p.OW)) * p.columns, image[1] = (i64)((m + 8) / (p.OH * p.OW)) * p.columns;
#pragma unroll
  for (int b = 0; b < BN / 32; b++) {
    int col = n0 + b * 32 + q * 8;
    float bias[8], sums[8];
    const float *from = columnsAt(p, p.bias, col);
    columnsOf<AHEAD>(from, bias);
    if (FOLDED) columnsOf<AHEAD>(p.columnSums + col, sums);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float v[4][2], f[8], w[8];
      Vec4 kept, added;
      if (RESIDUAL) kept = wordsOf<AHEAD>((const u16 *)p.residual + row[h] + col);
      if (ROWBIAS) added = wordsOf<AHEAD>((const u16 *)p.rowBias + image[h] + col);
#pragma unroll
      for (int g = 0; g < 4; g++)
#pragma unroll
        for (int e = 0; e < 2; e++) v[g][e] = acc[(b * 4 + g) * 4 + 2 * h + e];
      turn(v);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        f[i] = v[i / 2][i % 2];
        if (FOLDED) f[i] = (f[i] - rows.mean[h] * sums[i]) * rows.scale[h];
        f[i] += biased ? bias[i] : 0.f;
      }
      if (ROWBIAS) {
        widen8(added, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      if (RESIDUAL) {
        widen8(kept, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      store8(p.out, row[h] + col, T16, f);
#pragma unroll
      for (int i = 0; i < 8; i++) sum[h] += f[i], squares[h] += f[i] * f[i];
    }
  }
  if (p.rowSums) writeSums(p, m, n0 / BN, sum, squares);
}

// finishAny does it for all others.
template <int BN> DEVICE void finishAny(const Product &p, const Rows &rows, const float *acc, int m0, int n0) {
  int q = lane() & 3, m = m0 + (warp() & 3) * 16 + (lane() >> 2);
  float sum[2] = {0.f, 0.f}, squares[2] = {0.f, 0.f};
#pragma unroll
  for (int b = 0; b < BN / 32; b++) {
    int col = n0 + b * 32 + q * 8;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float v[4][2], w[8];
#pragma unroll
      for (int g = 0; g < 4; g++)
#pragma unroll
        for (int e = 0; e < 2; e++) v[g][e] = acc[(b * 4 + g) * 4 + 2 * h + e];
      turn(v);
      if (m + 8 * h >= p.M || col >= p.columns) continue;
      i64 at = (i64)(m + 8 * h) * p.pitchOut + col, image = p.rowBias ? (i64)((m + 8 * h) / (p.OH * p.OW)) * p.columns : 0;
      float f[8];
#pragma unroll
      for (int i = 0; i < 8; i++) f[i] = v[i / 2][i % 2];
      if (p.columnSums) {
        load8(p.columnSums, col, F32, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] -= rows.mean[h] * w[i];
      }
#pragma unroll
      for (int i = 0; i < 8; i++) f[i] *= rows.scale[h];
      if (p.bias) {
        load8(p.bias, col, F32, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      if (p.rowBias) {
        load8(p.rowBias, image + col, p.rowBiasType, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      if (p.act != IDENTITY) {
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] = activate(p.act, f[i]);
      }
      if (p.residual) {
        load8(p.residual, at, p.residualType, w);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] += w[i];
      }
      store8(p.out, at, p.outType, f);
#pragma unroll
      for (int i = 0; i < 8; i++) sum[h] += f[i], squares[h] += f[i] * f[i];
    }
  }
  if (p.rowSums) writeSums(p, m, n0 / BN, sum, squares);
}

// finish chooses among them; the choice is the same for all tiles inside of the matrix.
template <int BN, bool AHEAD> DEVICE void finish(const Product &p, const Rows &rows, const float *acc, int m0, int n0) {
  bool gated = p.act == GEGLU, inside = m0 + 64 <= p.M && n0 + BN <= (gated ? 2 * p.columns : p.columns) && p.outType == T16 && !p.rowScale && !(gated && p.residual);
  if (BN % 64 == 0 && gated) {
    if (inside && p.columnSums)
      finishGated<BN, true, true>(p, rows, acc, m0, n0);
    else if (inside)
      finishGated<BN, true, false>(p, rows, acc, m0, n0);
    else if (p.columnSums)
      finishGated<BN, false, true>(p, rows, acc, m0, n0);
    else
      finishGated<BN, false, false>(p, rows, acc, m0, n0);
    return;
  }
  inside = inside && p.act == IDENTITY && !(p.residual && p.residualType != T16) && !(p.rowBias && p.rowBiasType != T16);
  if (!inside || (p.columnSums && (p.residual || p.rowBias)) || (p.residual && p.rowBias))
    finishAny<BN>(p, rows, acc, m0, n0);
  else if (p.columnSums)
    finishWhole<BN, AHEAD, false, true, false>(p, rows, acc, m0, n0);
  else if (p.residual)
    finishWhole<BN, AHEAD, true, false, false>(p, rows, acc, m0, n0);
  else if (p.rowBias)
    finishWhole<BN, AHEAD, false, false, true>(p, rows, acc, m0, n0);
  else
    finishWhole<BN, AHEAD, false, false, false>(p, rows, acc, m0, n0);
}
