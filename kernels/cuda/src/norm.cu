// GroupNorm and LayerNorm, computed in float32.
#include "norm.cuh"

// groupMoments computes mean and 1/σ of a group from the sums of its chunks. LANES neighbouring lanes share a group and
// get the same result. All 32 lanes of a warp must call it.
template <int LANES> DEVICE void groupMoments(const GroupNorm &p, int sample, int group, float *mean, float *inverse) {
  const float *in = p.partial + ((i64)sample * p.groups + group) * p.chunks * 2;
  float pivot = p.channelStats ? 0.f : groupElement(p, (i64)sample * p.pixels, group * ((p.C1 + p.C2) / p.groups)), s = 0.f, q = 0.f;
#pragma unroll 4
  for (int i = laneId() % LANES; i < p.chunks; i += LANES) s += in[2 * i], q += in[2 * i + 1];
#pragma unroll
  for (int m = LANES / 2; m > 0; m >>= 1) s += shfl_xor(s, m), q += shfl_xor(q, m);
  finalizeMoments(p, pivot, s, q, mean, inverse);
}

// groupSums: dynamic shared memory holds blockReduceGroups' scratch and output.
template <bool FP32> DEVICE void groupSums(const GroupNorm &p) {
  constexpr int IN_FLIGHT = StridedIterator<FP32>::IN_FLIGHT;
  float *scratch = (float *)dynamicShared, *groupTotals = scratch + 4 * (blockDimX() + p.tileVectors);
  StridedIterator<FP32> w(p);
  Vec8<FP32> v[IN_FLIGHT];
#pragma unroll
  for (int i = 0; i < IN_FLIGHT; i++)
    if (w.from + w.row + i * w.rowStep < w.to) v[i] = w.at(w.from + w.row + i * w.rowStep);
  ShiftedSums sums(p, w);
  for (int pixel = w.from + w.row; pixel < w.to; pixel += IN_FLIGHT * w.rowStep) {
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) {
      int at = pixel + i * w.rowStep, next = at + IN_FLIGHT * w.rowStep;
      Vec8<FP32> now = v[i];
      if (next < w.to) v[i] = w.at(next);
      if (at < w.to) sums.add(now);
    }
  }
  blockReduceGroups(p, w, sums, scratch, groupTotals);
  int groups = w.groups(p);
  for (int g = threadIdxX(); g < groups; g += blockDimX()) {
    float *out = p.partial + (((i64)blockIdxZ() * p.groups + blockIdxY() * groups + g) * p.chunks + blockIdxX()) * 2;
    out[0] = groupTotals[2 * g];
    out[1] = groupTotals[2 * g + 1];
  }
}
GLOBAL void LAUNCH_BOUNDS(512, 1) group_sums(const GroupNorm p) { groupSums<false>(p); }
GLOBAL void LAUNCH_BOUNDS(512, 1) group_sums_fp32(const GroupNorm p) { groupSums<true>(p); }

// group_reduce_stats takes the place of group_sums where the GEMMs that computed the image wrote its channel
// statistics. Grid: (chunk, group, sample).
GLOBAL void LAUNCH_BOUNDS(128, 8) group_reduce_stats(const GroupNorm p) {
  int sample = blockIdxZ(), pairs = (p.C1 + p.C2) / p.groups / 2, first = blockIdxY() * pairs, rows = p.pixels / 64;
  int each = (rows + gridDimX() - 1) / gridDimX(), from = blockIdxX() * each, to = min(from + each, rows);
  float s = 0.f, q = 0.f;
#pragma unroll 4
  for (int i = threadIdxX(); i < (to - from) * pairs; i += 128) {
    int row = i / pairs, pair = first + i - row * pairs;
    bool second = 2 * pair >= p.C1;
    i64 at = (i64)(sample * rows + from + row) * ((second ? p.C2 : p.C1) / 2) + pair - (second ? p.C1 / 2 : 0);
    const float *f = (second ? p.channelStats2 : p.channelStats) + at * 4;
    uint4 v = *(const uint4 *)f;
    s += __builtin_bit_cast(float, v.x) + __builtin_bit_cast(float, v.y);
    q += __builtin_bit_cast(float, v.z) + __builtin_bit_cast(float, v.w);
  }
  float *sums = (float *)dynamicShared;
  s = warpSum(s), q = warpSum(q);
  if (laneId() == 0) sums[2 * warpId()] = s, sums[2 * warpId() + 1] = q;
  syncthreads();
  if (threadIdxX() < 2) {
    float sum = 0.f;
    for (int w = 0; w < 4; w++) sum += sums[2 * w + threadIdxX()];
    p.partial[(((i64)sample * p.groups + blockIdxY()) * p.chunks + blockIdxX()) * 2 + threadIdxX()] = sum;
  }
}

// groupScale iterates over the pixels in the opposite order to groupSums, to find the last ones in L2. Dynamic shared
// memory holds mean and 1/σ of the tile's groups.
template <bool FP32> DEVICE void groupScale(const GroupNorm &p) {
  constexpr int IN_FLIGHT = StridedIterator<FP32>::IN_FLIGHT;
  StridedIterator<FP32> w(p);
  int groups = w.groups(p);
  float *mean = (float *)dynamicShared, *inverse = mean + groups;
  ScaleShift<FP32> scaleShift;
  scaleShift.read(p, w.c);
  Vec8<FP32> v[IN_FLIGHT];
  int last = w.to - 1 - w.row;
#pragma unroll
  for (int i = 0; i < IN_FLIGHT; i++)
    if (last - i * w.rowStep >= w.from) v[i] = w.at(last - i * w.rowStep);
  constexpr int LANES = 16;
  for (int g = threadIdxX() / LANES; g / (32 / LANES) * (32 / LANES) < groups; g += blockDimX() / LANES) {
    float m, i;
    groupMoments<LANES>(p, blockIdxZ(), blockIdxY() * groups + min(g, groups - 1), &m, &i);
    if (g < groups && laneId() % LANES == 0) mean[g] = m, inverse[g] = i;
  }
  syncthreads();
  scaleShift.scale(w, mean, inverse);
  for (int pixel = last; pixel >= w.from; pixel -= IN_FLIGHT * w.rowStep) {
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) {
      int at = pixel - i * w.rowStep, next = at - IN_FLIGHT * w.rowStep;
      Vec8<FP32> now = v[i];
      if (next >= w.from) v[i] = w.at(next);
      if (at >= w.from) scaleShift.write(p, w, now, at);
    }
  }
}
GLOBAL void LAUNCH_BOUNDS(512, 1) group_scale(const GroupNorm p) { groupScale<false>(p); }
GLOBAL void LAUNCH_BOUNDS(512, 1) group_scale_fp32(const GroupNorm p) { groupScale<true>(p); }

// groupNormOnePass holds all pixels of a 16-bit channel tile in the registers of one block, at most V vectors a thread,
// so that one kernel reads the image once. Dynamic shared memory holds blockReduceGroups' scratch and output.
template <int V> DEVICE void groupNormOnePass(const GroupNorm &p) {
  float *scratch = (float *)dynamicShared, *groupTotals = scratch + 4 * (blockDimX() + p.tileVectors);
  StridedIterator<false> w(p);
  ScaleShift<false> scaleShift;
  scaleShift.read(p, w.c);
  Vec8<false> v[V];
#pragma unroll
  for (int i = 0; i < V; i++)
    if (w.row + i * w.rowStep < w.to) v[i] = w.at(w.row + i * w.rowStep);
  ShiftedSums sums(p, w);
#pragma unroll
  for (int i = 0; i < V; i++)
    if (w.row + i * w.rowStep < w.to) sums.add(v[i]);
  blockReduceGroups(p, w, sums, scratch, groupTotals);
  int groups = w.groups(p);
  float *mean = scratch, *inverse = mean + groups;
  for (int g = threadIdxX(); g < groups; g += blockDimX()) finalizeMoments(p, groupPivot(p, w, g), groupTotals[2 * g], groupTotals[2 * g + 1], mean + g, inverse + g);
  syncthreads();
  scaleShift.scale(w, mean, inverse);
#pragma unroll
  for (int i = 0; i < V; i++) {
    asm volatile("" : "+r"(v[i].v.x), "+r"(v[i].v.y), "+r"(v[i].v.z), "+r"(v[i].v.w));  // else the compiler keeps bfloat16 converted, in twice the registers
    if (w.row + i * w.rowStep < w.to) scaleShift.write(p, w, v[i], w.row + i * w.rowStep);
  }
}
GLOBAL void LAUNCH_BOUNDS(384, 1) group_norm_4(const GroupNorm p) { groupNormOnePass<4>(p); }
GLOBAL void LAUNCH_BOUNDS(384, 1) group_norm_7(const GroupNorm p) { groupNormOnePass<7>(p); }
GLOBAL void LAUNCH_BOUNDS(384, 1) group_norm_14(const GroupNorm p) { groupNormOnePass<14>(p); }

// group_statistics and group_apply are for any operands. group_statistics: a warp for each group. Grid: (chunk,
// groups/8, sample).
GLOBAL void LAUNCH_BOUNDS(256, 1) group_statistics(const GroupNorm p) {
  int group = blockIdxY() * 8 + warpId(), sample = blockIdxZ(), l = laneId(), from, to;
  if (group >= p.groups) return;
  int size = (p.C1 + p.C2) / p.groups, c0 = group * size;
  i64 image = (i64)sample * p.pixels;
  pixelRange(p, &from, &to);
  float pivot = groupElement(p, image, c0), s = 0.f, q = 0.f;
  int across = min(size, 32), down = 32 / across, start = l / across;
  if (start < down) {
    for (int i = l % across; i < size; i += across)
      for (int pixel = from + start; pixel < to; pixel += down) {
        float a = groupElement(p, image + pixel, c0 + i) - pivot;
        s += a;
        q += a * a;
      }
  }
  s = warpSum(s);
  q = warpSum(q);
  if (l == 0) {
    float *out = p.partial + (((i64)sample * p.groups + group) * p.chunks + blockIdxX()) * 2;
    out[0] = s;
    out[1] = q;
  }
}

// group_apply: a thread for each channel. Grid: (pixel chunk, tile of 256 channels, sample). Shared memory holds mean
// and 1/σ of every group.
GLOBAL void LAUNCH_BOUNDS(256, 1) group_apply(const GroupNorm p) {
  float *mean = (float *)dynamicShared, *inverse = mean + p.groups;
  int t = threadIdxX(), sample = blockIdxZ(), C = p.C1 + p.C2, size = C / p.groups, from, to;
  for (int group = warpId(); group < p.groups; group += 8) {
    float m, f;
    groupMoments<32>(p, sample, group, &m, &f);
    if (laneId() == 0) mean[group] = m, inverse[group] = f;
  }
  syncthreads();
  int tile = blockIdxY() * 256, across = min(C - tile, 256), down = 256 / across;
  if (t >= across * down) return;
  int c = tile + t % across, group = c / size;
  float m = mean[group], f = inverse[group] * p.weight[c], b = p.bias[c];
  i64 image = (i64)sample * p.pixels;
  pixelRange(p, &from, &to);
  for (int pixel = from + t / across; pixel < to; pixel += down) {
    float y = (groupElement(p, image + pixel, c) - m) * f + b;
    if (p.act == SILU) y *= sigmoid(y);
    store(p.out, (image + pixel) * C + c, p.outType, y);
  }
}

struct LayerNorm {
  const void *x;
  const float *weight, *bias;
  void *out;
  int rows, C, xType, outType;
  float eps;
};

// layer_norm is for any operands: a warp for each row, eight rows a block. It reads the row three times, twice of them
// from L1.
GLOBAL void LAUNCH_BOUNDS(256, 1) layer_norm(const LayerNorm p) {
  int row = blockIdxX() * 8 + warpId();
  if (row >= p.rows) return;
  i64 first = (i64)row * p.C;
  float sum = 0.f;
  for (int i = laneId(); i < p.C; i += 32) sum += load(p.x, first + i, p.xType);
  float mean = warpSum(sum) / (float)p.C;
  sum = 0.f;
  for (int i = laneId(); i < p.C; i += 32) {
    float d = load(p.x, first + i, p.xType) - mean;
    sum += d * d;
  }
  float inverse = rcp_rn(sqrt_rn(warpSum(sum) / (float)p.C + p.eps));
  for (int i = laneId(); i < p.C; i += 32)
    store(p.out, first + i, p.outType, (load(p.x, first + i, p.xType) - mean) * inverse * p.weight[i] + p.bias[i]);
}

// layerNormRows keeps ROWS rows of at most 256·V channels, a multiple of 8, and weight and bias, which it loads once,
// in the registers of a warp. Operands are of the 16-bit type or, if FP32, in float32. Four warps a block.
template <int V, int ROWS, bool FP32> DEVICE void layerNormRows(const LayerNorm &p) {
  int row = (blockIdxX() * 4 + warpId()) * ROWS, l = laneId(), vectors = p.C / 8;
  float weight[V][8], bias[V][8];
#pragma unroll
  for (int i = 0; i < V; i++) {
    int c = min(i * 32 + l, vectors - 1) * 8;
    load8(p.weight, c, F32, weight[i]);
    load8(p.bias, c, F32, bias[i]);
  }
  if (row >= p.rows) return;
  Vec8<FP32> raw[ROWS][V];
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int i = 0; i < V; i++) {
      raw[r][i] = {};
      if (i * 32 + l < vectors) raw[r][i].read(p.x, (i64)min(row + r, p.rows - 1) * p.C + (i * 32 + l) * 8, F32);
    }
  float mean[ROWS], inverse[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    float sum = 0.f, f[8];
#pragma unroll
    for (int i = 0; i < V; i++) {
      raw[r][i].values(f);
#pragma unroll
      for (int k = 0; k < 8; k++) sum += f[k];
    }
    mean[r] = warpSum(sum) / (float)p.C;
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    float sum = 0.f, f[8];
#pragma unroll
    for (int i = 0; i < V; i++)
      if (i * 32 + l < vectors) {
        raw[r][i].values(f);
#pragma unroll
        for (int k = 0; k < 8; k++) sum += (f[k] - mean[r]) * (f[k] - mean[r]);
      }
    inverse[r] = rcp_rn(sqrt_rn(warpSum(sum) / (float)p.C + p.eps));
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int i = 0; i < V; i++) {
      float f[8];
      if (i * 32 + l >= vectors || row + r >= p.rows) continue;
      raw[r][i].values(f);
#pragma unroll
      for (int k = 0; k < 8; k++) f[k] = (f[k] - mean[r]) * inverse[r] * weight[i][k] + bias[i][k];
      store8(p.out, (i64)(row + r) * p.C + (i * 32 + l) * 8, p.outType, f);
    }
}
GLOBAL void LAUNCH_BOUNDS(128, 4) layer_norm_768(const LayerNorm p) { layerNormRows<3, 2, false>(p); }
GLOBAL void LAUNCH_BOUNDS(128, 4) layer_norm_1280(const LayerNorm p) { layerNormRows<5, 1, false>(p); }
GLOBAL void LAUNCH_BOUNDS(128, 2) layer_norm_2048(const LayerNorm p) { layerNormRows<8, 1, false>(p); }
GLOBAL void LAUNCH_BOUNDS(128, 4) layer_norm_768_fp32(const LayerNorm p) { layerNormRows<3, 1, true>(p); }
GLOBAL void LAUNCH_BOUNDS(128, 2) layer_norm_1280_fp32(const LayerNorm p) { layerNormRows<5, 1, true>(p); }
GLOBAL void LAUNCH_BOUNDS(128, 2) layer_norm_2048_fp32(const LayerNorm p) { layerNormRows<8, 1, true>(p); }

struct Fold {
  u16 *w;                            // [rows][K]
  const float *gamma, *beta, *bias;  // [K], [K], [rows] or null
  float *weightSums, *foldedBias;     // [rows]
  int rows, K;                       // K is a multiple of 8
};

// fold_layer_norm folds a LayerNorm into the GEMM that follows it: it multiplies the GEMM's weight by gamma and
// computes the sum of each row and the bias with beta's contribution. A warp for each row.
GLOBAL void LAUNCH_BOUNDS(256, 1) fold_layer_norm(const Fold p) {
  int n = blockIdxX() * 8 + warpId();
  if (n >= p.rows) return;
  float sum = 0.f, foldedBias = 0.f;
  for (int k = laneId() * 8; k < p.K; k += 256) {
    float w[8], g[8], b[8];
    load8(p.w, (i64)n * p.K + k, HALF, w);
    load8(p.gamma, k, F32, g);
    load8(p.beta, k, F32, b);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      foldedBias += w[i] * b[i];
      w[i] = half2float(float2half(w[i] * g[i]));
      sum += w[i];
    }
    store8(p.w, (i64)n * p.K + k, HALF, w);
  }
  sum = warpSum(sum);
  foldedBias = warpSum(foldedBias);
  if (laneId() == 0) {
    p.weightSums[n] = sum;
    p.foldedBias[n] = foldedBias + (p.bias ? p.bias[n] : 0.f);
  }
}
