// What the GEMMs with cp.async loads share (gemm.cu, gemm_sm90a.cu): parameters, tile loader, tile scheduler and
// epilogue.
//
// Linear layers and NHWC convolutions are one implicit GEMM: row m of A is the receptive field of output pixel m,
// gathered by the loader, and B is the packed weight [N][taps][C1+C2]. Rows and columns of tiles beyond the matrix are
// zero: they cost arithmetic and no memory access.
#pragma once

#include "common.cuh"

struct Gemm {
  const u16 *x, *x2, *w;
  const float *bias;
  const void *broadcastBias, *residual;
  const float *rowScale;
  void *out;
  int M, N, K;                    // pixels of the output, rows of w, taps·(C1+C2)
  int C1, C2, pitch1, pitch2;     // channels, and elements from pixel to pixel, of x and x2: multiples of 8
  int pitchW;                     // elements from row to row of w
  int H, W, OH, OW;               // images
  int KW, stride, top, left;      // kernel width; zero rows above and columns left of the image
  int upH, upW, up;               // size that x is resized to; 0: not resized, 1: doubled, 2: any other
  int act, actLast;               // actLast: after the residual, else before it
  int columns, pitchOut;          // columns of out; GEGLU's are half of N
  int outType, residualType, broadcastBiasType;
  int tilesM, tilesN;
  int vector;                     // rows of out and residual are aligned to 8 elements
};

// swizzle is where 16-byte chunk chunk of a row of BK elements lies in a stage: the eight rows that an ldmatrix reads
// lie in different banks.
template <int BK> DEVICE u32 swizzle(int row, int chunk) {
  return BK == 64 ? row * 128 + ((chunk ^ (row & 7)) << 4) : row * 64 + ((chunk ^ ((row >> 1) & 3)) << 4);
}

struct GatherRow { int y, x, image, unused; };  // of an output pixel: its first tap's position in the resized image, the image's first pixel

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

// epilogueElement turns the accumulator of one column, and of its gate, into an output.
DEVICE void epilogueElement(const Gemm &p, float sum, float gate, int m, int col, int image) {
  float v = p.rowScale ? sum * p.rowScale[m] : sum;
  if (p.bias) v += p.bias[col];
  if (p.act == GEGLU) {
    v *= gelu(gate + (p.bias ? p.bias[p.columns + col] : 0.f));
  } else {
    if (p.broadcastBias) v += load(p.broadcastBias, (i64)image * p.columns + col, p.broadcastBiasType);
    if (!p.actLast) v = activate(p.act, v);
  }
  i64 o = (i64)m * p.pitchOut + col;
  if (p.residual) v += load(p.residual, o, p.residualType);
  if (p.actLast) v = activate(p.act, v);
  store(p.out, o, p.outType, v);
}

// epilogueScalar turns eight accumulators of one row into outputs one by one, where a row ends inside of them or rows
// are not aligned.
DEVICE void epilogueScalar(const Gemm &p, const float *sums, int m, int col, int image) {
  int count = min(8, p.columns - col);
  for (int i = 0; i < count; i++) epilogueElement(p, sums[i], p.act == GEGLU ? sums[8 + i] : 0.f, m, col + i, image);
}

// epilogueVectorized turns eight accumulators into eight outputs by 16-byte accesses; residual is loaded already.
DEVICE void epilogueVectorized(const Gemm &p, const float *sums, const float *residual, int m, int col, int image) {
  float v[8], scale = p.rowScale ? p.rowScale[m] : 1.f;
  load8(sums, 0, F32, v);
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] *= scale;
  if (p.bias) add8(p.bias, col, F32, v);
  if (p.act == GEGLU) {
    float gate[8];
    load8(sums, 8, F32, gate);
    if (p.bias) {
#pragma unroll
      for (int i = 0; i < 8; i++) gate[i] += p.bias[p.columns + col + i];
    }
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] *= gelu(gate[i]);
  } else {
    if (p.broadcastBias) add8(p.broadcastBias, (i64)image * p.columns + col, p.broadcastBiasType, v);
    if (p.act != IDENTITY && !p.actLast) {
#pragma unroll
      for (int i = 0; i < 8; i++) v[i] = activate(p.act, v[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] += residual[i];
  if (p.actLast) {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = activate(p.act, v[i]);
  }
  store8(p.out, (i64)m * p.pitchOut + col, p.outType, v);
}

// Loader copies K-tiles of BK of both operands to shared memory by cp.async, NT threads together. It gathers the rows
// of A.
template <int BM, int BN, int BK, int NT> struct Loader {
  static constexpr int CHUNKS = BK / 8, PASS = NT / CHUNKS;
  static constexpr int PA = (BM + PASS - 1) / PASS, PB = (BN + PASS - 1) / PASS;
  static constexpr int STAGE = (BM + BN) * BK * 2;  // bytes
  static_assert(BM % PASS == 0, "tile");

  const Gemm &p;
  GatherRow *rows;
  u32 base;
  int n0, chunk, first, channels, height, width;
  int k, c, ky, kx;  // of the next K-tile's chunk that this thread loads
  const u16 *source, *weights;  // channel 0 of the tensor that c is of; the first row of w, at k
  u32 offset[PA];                 // of the rows' pixels in source, in vectors of eight channels
  u32 inside, columns;            // bit masks: rows whose pixel lies in the image, rows of w that exist
  bool changed, second;

  // The loader of the tile at m0, n0. rows has BM elements of shared memory, the stages begin at base. A barrier must
  // follow.
  DEVICE_MEMBER Loader(const Gemm &p, GatherRow *rows, u32 base, int m0, int n0) : p(p), rows(rows), base(base), n0(n0) {
    for (int r = threadIdxX(); r < BM; r += NT) {
      int m = m0 + r;
      GatherRow row = {-(1 << 30), 0, 0, 0};  // a row beyond the last lies outside of every image
      if (m < p.M) {
        int image = m / (p.OH * p.OW), pixel = m - image * (p.OH * p.OW), y = pixel / p.OW;
        row.y = y * p.stride - p.top;
        row.x = (pixel - y * p.OW) * p.stride - p.left;
        row.image = image * p.H * p.W;
      }
      rows[r] = row;
    }
    chunk = threadIdxX() % CHUNKS, first = threadIdxX() / CHUNKS;
    channels = p.C1 + p.C2, height = p.up ? p.upH : p.H, width = p.up ? p.upW : p.W;
    k = c = chunk * 8, ky = kx = 0;
    changed = true, second = false;
    weights = p.w + (i64)(n0 + first) * p.pitchW + k, columns = 0;
#pragma unroll
    for (int i = 0; i < PB; i++) columns |= (u32)((BN % PASS == 0 || first + i * PASS < BN) && n0 + first + i * PASS < p.N) << i;
  }

  DEVICE_MEMBER void load(int stage) {
    while (c >= channels) {
      c -= channels;
      changed = true;
      if (++kx == p.KW) kx = 0, ky++;
    }
    if ((c >= p.C1) != second) second = changed = true;
    if (changed) {
      changed = false;
      second = c >= p.C1;
      source = second ? p.x2 - p.C1 : p.x;
      u32 vectors = (second ? p.pitch2 : p.pitch1) / 8;
      inside = 0;
#pragma unroll
      for (int i = 0; i < PA; i++) {
        GatherRow r = rows[first + i * PASS];
        int y = r.y + ky, x = r.x + kx;
        bool ok = y >= 0 && y < height && x >= 0 && x < width;
        if (p.up == 1)
          y >>= 1, x >>= 1;
        else if (p.up == 2)
          y = ok ? (int)((i64)y * p.H / p.upH) : 0, x = ok ? (int)((i64)x * p.W / p.upW) : 0;
        offset[i] = (ok ? r.image + y * p.W + x : 0) * vectors;  // pixels outside of the image are not read
        inside |= (u32)ok << i;
      }
    }
    u32 a = base + stage * STAGE, b = a + BM * BK * 2, validRows = k < p.K ? inside : 0, validColumns = k < p.K ? columns : 0;
#pragma unroll
    for (int i = 0; i < PA; i++) cp_async_zfill(a + swizzle<BK>(first + i * PASS, chunk), source + (i64)offset[i] * 8 + c, validRows >> i & 1);
    const u16 *w = weights;
#pragma unroll
    for (int i = 0; i < PB; i++) {
      if (BN % PASS == 0 || first + i * PASS < BN) cp_async_zfill(b + swizzle<BK>(first + i * PASS, chunk), validColumns >> i & 1 ? w : p.w, validColumns >> i & 1);
      w += (i64)PASS * p.pitchW;
    }
    weights += BK;
    k += BK;
    c += BK;
  }
};

// rasterize is the tile scheduler: where the output tile of this block begins. Tiles are rasterized in groups of eight
// rows of tiles, so that the blocks that run at once share both operands in L2.
template <int BM, int BN> DEVICE void rasterize(const Gemm &p, int &m0, int &n0) {
  int group = blockIdxX() / (8 * p.tilesN), inGroup = blockIdxX() % (8 * p.tilesN);
  int height = min(8, p.tilesM - group * 8);
  m0 = (group * 8 + inGroup % height) * BM, n0 = inGroup / height * BN;
}

// epilogueTile turns the accumulators of a tile, rows of BN+8 in shared memory, into outputs, eight neighbouring
// columns a thread at a time. It loads the residuals of BATCH such vectors before it needs the first, since the block
// has nothing else to hide their latency.
template <int BM, int BN, int NT> DEVICE void epilogueTile(const Gemm &p, const float *sums, int m0, int n0) {
  constexpr int BATCH = 4;
  int vectors = p.act == GEGLU ? BN / 16 : BN / 8, step = p.act == GEGLU ? 16 : 8;
  int col0 = p.act == GEGLU ? n0 / 2 : n0, plane = p.OH * p.OW;
  for (int i0 = threadIdxX(); i0 < BM * vectors; i0 += NT * BATCH) {
    int row[BATCH], col[BATCH];
    float residual[BATCH][8];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      int i = i0 + b * NT;
      row[b] = i / vectors;
      col[b] = col0 + (i - row[b] * vectors) * 8;
      if (i >= BM * vectors || m0 + row[b] >= p.M) col[b] = p.columns;  // none
#pragma unroll
      for (int k = 0; k < 8; k++) residual[b][k] = 0.f;
      if (p.residual && p.vector && col[b] + 8 <= p.columns) load8(p.residual, (i64)(m0 + row[b]) * p.pitchOut + col[b], p.residualType, residual[b]);
    }
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      if (col[b] >= p.columns) continue;
      int m = m0 + row[b], image = p.broadcastBias ? m / plane : 0;
      const float *at = sums + row[b] * (BN + 8) + (col[b] - col0) / 8 * step;
      if (p.vector && col[b] + 8 <= p.columns)
        epilogueVectorized(p, at, residual[b], m, col[b], image);
      else
        epilogueScalar(p, at, m, col[b], image);
    }
  }
}
