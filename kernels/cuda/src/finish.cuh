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
  int weights;  // w is of the checkpoint, and no kernel of a run writes it
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
      float part[4][2];
#pragma unroll
      for (int i = 0; i < 4; i++) {  // sixteen parts at most have their loads side by side
        int n = (lane() & 3) + 4 * i;
        part[i][0] = part[i][1] = 0.f;
        if (n < p.parts) constant2(p.moments + ((i64)n * p.M + row) * 2, part[i]);
      }
      s[h] = (part[0][0] + part[1][0]) + (part[2][0] + part[3][0]), q[h] = (part[0][1] + part[1][1]) + (part[2][1] + part[3][1]);
      for (int n = 16 + (lane() & 3); n < p.parts; n += 4) {
        const float *at = p.moments + ((i64)n * p.M + row) * 2;
        s[h] += at[0], q[h] += at[1];
      }
    }
    if (!p.columnSums) return;
    float share = reciprocal((float)p.channels);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      s[h] += shuffleXor(s[h], 1), q[h] += shuffleXor(q[h], 1);
      s[h] += shuffleXor(s[h], 2), q[h] += shuffleXor(q[h], 2);
      mean[h] = s[h] * share;
      float variance = q[h] * share - mean[h] * mean[h];
      scale[h] = reciprocal(rootOf((variance > 0.f ? variance : 0.f * variance) + p.eps));
    }
  }
};

// turn transposes four words of each of the four lanes of a quad: the pairs of columns 2q and 2q+1 of four groups of eight, which lane q has of a row's sums,
// become all eight columns of group q; and back again.
template <class T> DEVICE void turn(T (&w)[4]) {
#pragma unroll
  for (int mask = 1; mask < 4; mask *= 2)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i & mask) continue;
      bool upper = lane() & mask;
      T low = w[i], high = w[i | mask], got = shuffleXor(upper ? low : high, mask);
      w[i] = upper ? got : low, w[i | mask] = upper ? high : got;
    }
}

// wordsOf gives lane q of a quad the pairs of columns of four groups, from the lanes' eight columns each at i.
DEVICE void wordsOf(const void *p, i64 i, u32 (&w)[4]) {
  Vec4 v = constantWords((const u16 *)p + i);
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
  turn(w);
}

// Sums are the sum and the sum of squares of the outputs of a thread's two rows.
struct Sums {
  float sum[2] = {0.f, 0.f}, squares[2] = {0.f, 0.f};
  DEVICE_MEMBER void add(int h, float f) { sum[h] += f, squares[h] += f * f; }
  // write leaves those of the thread's rows of the 64 from m0 on over a tile. A quad shares a row.
  DEVICE_MEMBER void write(const Product &p, int m0, int part) {
    if (!p.rowSums) return;
    int m = m0 + (warp() & 3) * 16 + (lane() >> 2);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float a = sum[h] + shuffleXor(sum[h], 1), b = squares[h] + shuffleXor(squares[h], 1);
      a += shuffleXor(a, 2), b += shuffleXor(b, 2);
      float *at = p.rowSums + ((i64)part * p.M + m + 8 * h) * 2;
      if (m + 8 * h < p.M && (lane() & 3) == 0) at[0] = a, at[1] = b;
    }
  }
};

// The columns' numbers of a product that has no bias are read from wherever is safe, and not used.
DEVICE const float *columnsAt(const Product &p, const float *given, int col) { return given ? given + col : (const float *)p.out; }

// finishWhole turns the sums of 64 rows by BN columns into outputs, for those inside of the matrix, 16-bit operands and no activation but GEGLU, whose columns
// come in eights of values and eights of gates. Nothing here depends on what the thread has, so that loads can go ahead of stores.
template <int BN, bool GATED, bool FOLDED, bool RESIDUAL, bool ROWBIAS> DEVICE void finishWhole(const Product &p, const Rows &rows, const float *acc, Sums &sums, int m0, int n0) {
  constexpr int COLUMNS = GATED ? BN / 2 : BN;
  int q = lane() & 3, m = m0 + (warp() & 3) * 16 + (lane() >> 2), first = GATED ? n0 / 2 : n0;
  bool biased = p.bias;
  i64 row[2] = {(i64)m * p.pitchOut, (i64)(m + 8) * p.pitchOut}, image[2];
  if (ROWBIAS) image[0] = (i64)(m / (p.OH * p.OW)) * p.columns, image[1] = (i64)((m + 8) / (p.OH * p.OW)) * p.columns;
#pragma unroll
  for (int b = 0; b < (COLUMNS + 31) / 32; b++) {
    constexpr int SIZE = GATED ? 8 : 4;  // sums a group of columns, of the two rows
    int groups = minimum(4, COLUMNS / 8 - b * 4), col = first + b * 32;
    bool mine = q < groups;  // the last block of columns may be half a block
    int own = col + (mine ? q * 8 : 0);
    float bias[4][2], sum[4][2], biasGate[4][2], sumGate[4][2];
#pragma unroll
    for (int g = 0; g < groups; g++) {
      int at = col + g * 8 + q * 2;
      constant2(columnsAt(p, p.bias, at), bias[g]);
      if (FOLDED) constant2(p.columnSums + at, sum[g]);
      if (GATED) constant2(columnsAt(p, p.bias, p.columns + at), biasGate[g]);
      if (GATED && FOLDED) constant2(p.columnSums + p.columns + at, sumGate[g]);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      u32 w[4] = {0, 0, 0, 0}, kept[4], added[4];
      if (RESIDUAL) wordsOf(p.residual, row[h] + own, kept);
      if (ROWBIAS) wordsOf(p.rowBias, image[h] + own, added);
      auto corrected = [&](float x, float sum, float bias) { return (FOLDED ? (x - rows.mean[h] * sum) * rows.scale[h] : x) + (biased ? bias : 0.f); };
#pragma unroll
      for (int g = 0; g < groups; g++) {
        const float *s = acc + (b * 4 + g) * SIZE + 2 * h;
        float f[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
          f[e] = corrected(s[e], sum[g][e], bias[g][e]);
          if (GATED) f[e] *= gelu(corrected(s[4 + e], sumGate[g][e], biasGate[g][e]));
          if (ROWBIAS) f[e] += widen((u16)(e ? added[g] >> 16 : added[g]));
          if (RESIDUAL) f[e] += widen((u16)(e ? kept[g] >> 16 : kept[g]));
          if (!GATED) sums.add(h, f[e]);
        }
        w[g] = narrow2(f[0], f[1]);
      }
      turn(w);
      if (mine) *(Vec4 *)((u16 *)p.out + row[h] + own) = Vec4{w[0], w[1], w[2], w[3]};
    }
  }
}

// finishPlain stores the sums as they are, in float32: the scores of attention by products.
template <int BN> DEVICE void finishPlain(const Product &p, const float *acc, int m0, int n0) {
  int m = m0 + (warp() & 3) * 16 + (lane() >> 2);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float *out = (float *)p.out + (i64)(m + 8 * h) * p.pitchOut + n0 + (lane() & 3) * 2;
#pragma unroll
    for (int b = 0; b < BN / 8; b++) *(Float2 *)(out + b * 8) = Float2{acc[b * 4 + 2 * h], acc[b * 4 + 2 * h + 1]};
  }
}

// finishAny does it for all others, in a loop that the registers of the sums go through, so that its code stays out of the others' way.
template <int BN, bool GATED> DEVICE void finishAny(const Product &p, const Rows &rows, const float *acc, Sums &sums, int m0, int n0) {
  constexpr int COLUMNS = GATED ? BN / 2 : BN, SIZE = GATED ? 8 : 4;
  int q = lane() & 3, m = m0 + (warp() & 3) * 16 + (lane() >> 2), first = GATED ? n0 / 2 : n0;
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
        if (p.columnSums) x -= rows.mean[h] * p.columnSums[column];
        return x * rows.scale[h] + (p.bias ? p.bias[column] : 0.f);
      };
#pragma unroll
      for (int g = 0; g < 4; g++) {
        const float *s = rest + g * SIZE + 2 * h;
        int at = first + b + g * 8 + q * 2;
        even[g] = corrected(s[0], at), odd[g] = corrected(s[1], at + 1);
        if (GATED) even[g] *= gelu(corrected(s[4], p.columns + at)), odd[g] *= gelu(corrected(s[5], p.columns + at + 1));
      }
      turn(even), turn(odd);
      if (row >= p.M || b + q * 8 >= COLUMNS || col >= p.columns) continue;
#pragma unroll
      for (int i = 0; i < 4; i++) f[2 * i] = even[i], f[2 * i + 1] = odd[i];
      if (!GATED && p.rowBias) add8(p.rowBias, (i64)(row / (p.OH * p.OW)) * p.columns + col, p.rowBiasType, f);
      if (!GATED) {
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] = activate(p.act, f[i]);
      }
      if (p.residual) add8(p.residual, (i64)row * p.pitchOut + col, p.residualType, f);
      store8(p.out, (i64)row * p.pitchOut + col, p.outType, f);
#pragma unroll
      for (int i = 0; i < 8; i++) sums.add(h, f[i]);
    }
#pragma unroll
    for (int i = 0; i < BN / 2; i++) rest[i] = rest[i + 4 * SIZE];
  }
}

// finish chooses between them; the choice is the same for all that is inside of the matrix.
template <int BN> DEVICE void finish(const Product &p, const Rows &rows, const float *acc, Sums &sums, int m0, int n0) {
  bool gated = p.act == GEGLU, narrow = p.outType == T16 && !(p.residual && p.residualType != T16) && !(p.rowBias && p.rowBiasType != T16);
  bool inside = m0 + 64 <= p.M && n0 + BN <= (gated ? 2 * p.columns : p.columns) && !p.rowScale && (gated || p.act == IDENTITY);
  bool folded = p.columnSums, residual = p.residual, rowBias = p.rowBias;
  bool whole = inside && narrow && folded + residual + rowBias <= 1 && !(gated && (residual || rowBias));
  if (inside && !narrow && !gated && !(p.bias || folded || residual || rowBias || p.rowSums))
    finishPlain<BN>(p, acc, m0, n0);
  else if (gated && !whole)
    finishAny<BN, true>(p, rows, acc, sums, m0, n0);
  else if (!whole)
    finishAny<BN, false>(p, rows, acc, sums, m0, n0);
  else if (gated && folded)
    finishWhole<BN, true, true, false, false>(p, rows, acc, sums, m0, n0);
  else if (gated)
    finishWhole<BN, true, false, false, false>(p, rows, acc, sums, m0, n0);
  else if (folded)
    finishWhole<BN, false, true, false, false>(p, rows, acc, sums, m0, n0);
  else if (residual)
    finishWhole<BN, false, false, true, false>(p, rows, acc, sums, m0, n0);
  else if (rowBias)
    finishWhole<BN, false, false, false, true>(p, rows, acc, sums, m0, n0);
  else
    finishWhole<BN, false, false, false, false>(p, rows, acc, sums, m0, n0);
}
