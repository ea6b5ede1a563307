// Softmax and transpose of unfused attention, for heads that are too large for flash attention.
#include "common.cuh"

// softmax computes p = exp(s − max) of each row, unnormalised so that small ones do not underflow in 16 bits, and 1/Σp
// of the rounded p, the row scale of the GEMM that follows. Columns from keys to pitch become zero.
struct Softmax {
  const float *s;
  u16 *p;
  float *scale;   // 1/Σp
  int keys, pitch, pitchS;  // pitches: multiples of 4
  float factor;   // log2(e)/√headDim
};

// A block for each row. It holds 16384 scores in registers, so that rows up to that length are read once.
GLOBAL void LAUNCH_BOUNDS(256, 2) softmax(const Softmax a) {
  SHARED static float part[8];
  constexpr int VECTORS = 16, CHUNK = VECTORS * 1024;
  int t = threadIdxX();
  const float *s = a.s + (i64)blockIdxX() * a.pitchS;
  u16 *p = a.p + (i64)blockIdxX() * a.pitch;
  float v[VECTORS][4], m = -1e30f, sum = 0.f;
  auto fetch = [&](int from) __attribute__((always_inline)) {
#pragma unroll
    for (int k = 0; k < VECTORS; k++) {
      int i = from + k * 1024 + t * 4;
      if (i + 4 <= a.keys) {
        float4 f = *(const float4 *)(s + i);
        v[k][0] = f.x, v[k][1] = f.y, v[k][2] = f.z, v[k][3] = f.w;
        continue;
      }
#pragma unroll
      for (int e = 0; e < 4; e++) v[k][e] = i + e < a.keys ? s[i + e] : -__builtin_inff();
    }
  };
  for (int from = 0; from < a.keys; from += CHUNK) {
    fetch(from);
#pragma unroll
    for (int k = 0; k < VECTORS; k++)
#pragma unroll
      for (int e = 0; e < 4; e++) m = max(m, v[k][e]);
  }
  m = warpMax(m);
  if (laneId() == 0) part[warpId()] = m;
  syncthreads();
#pragma unroll
  for (int i = 0; i < 8; i++) m = max(m, part[i]);
  syncthreads();
  float base = m * a.factor;
  for (int from = 0; from < a.pitch; from += CHUNK) {
    if (a.pitch > CHUNK) fetch(from);
#pragma unroll
    for (int k = 0; k < VECTORS; k++) {
      int i = from + k * 1024 + t * 4;
      u32 h[2];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float x = ex2_approx(__builtin_fmaf(v[k][2 * e], a.factor, -base)), y = ex2_approx(__builtin_fmaf(v[k][2 * e + 1], a.factor, -base));
        h[e] = floats2half2(x, y);
        sum += half2float((u16)h[e]) + half2float((u16)(h[e] >> 16));
      }
      if (i < a.pitch) *(uint2 *)(p + i) = uint2{h[0], h[1]};
    }
  }
  sum = warpSum(sum);
  if (laneId() == 0) part[warpId()] = sum;
  syncthreads();
  if (t == 0) {
    float total = 0.f;
    for (int i = 0; i < 8; i++) total += part[i];
    a.scale[blockIdxX()] = rcp_rn(total);
  }
}

// transpose writes [columns][pitchOut] from [rows][pitch]; rows from rows to pitchOut become zero.
struct Transpose {
  const u16 *x;
  u16 *out;
  int rows, columns, pitch, pitchOut;
};

GLOBAL void LAUNCH_BOUNDS(256, 1) transpose(const Transpose a) {
  SHARED static u16 tile[32][33];
  int t = threadIdxX(), x = t & 31, y = t >> 5, r0 = blockIdxX() * 32, c0 = blockIdxY() * 32;
  for (int i = y; i < 32; i += 8) tile[i][x] = r0 + i < a.rows && c0 + x < a.columns ? a.x[(i64)(r0 + i) * a.pitch + c0 + x] : 0;
  syncthreads();
  for (int i = y; i < 32; i += 8)
    if (c0 + i < a.columns && r0 + x < a.pitchOut) a.out[(i64)(c0 + i) * a.pitchOut + r0 + x] = tile[x][i];
}
