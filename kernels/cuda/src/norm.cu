// Group and layer norm in float32. Sums are taken about a value of the group itself, so that a mean far from zero costs no digits, and in an
// order that does not depend on timing.
#include "common.cuh"

struct GroupNorm {
  const void *x, *x2;
  const float *weight, *bias;
  float *partial;  // [sample][group][chunk][2]: sum and sum of squares about the pivot
  void *out;
  int pixels, C1, C2, groups, chunks;
  int xType, x2Type, outType, act;
  float eps;
};

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

DEVICE float groupElement(const GroupNorm &p, i64 pixel, int c) {
  return c < p.C1 ? load(p.x, pixel * p.C1 + c, p.xType) : load(p.x2, pixel * p.C2 + (c - p.C1), p.x2Type);
}

// group_statistics: a warp for each group; grid (chunk, groups/8, sample). Where groups are even in size and the joint does not
// split a pair, a lane takes two channels at once.
GLOBAL void THREADS(256, 1) group_statistics(const GroupNorm p) {
  int group = blockY() * 8 + warp(), sample = blockZ(), l = lane();
  if (group >= p.groups) return;
  int size = (p.C1 + p.C2) / p.groups, c0 = group * size;
  i64 image = (i64)sample * p.pixels;
  int from = (int)((i64)p.pixels * blockX() / p.chunks), to = (int)((i64)p.pixels * (blockX() + 1) / p.chunks);
  float pivot = groupElement(p, image, c0), s = 0.f, q = 0.f;
  bool pairs = !(size & 1) && !(p.C1 & 1) && !(p.C2 & 1) && p.xType == T16 && (p.C2 == 0 || p.x2Type == T16);
  int across = pairs ? size / 2 : size;
  int lanesAcross = minimum(across, 32), down = 32 / lanesAcross, start = l / lanesAcross;
  if (start < down) {
    for (int i = l % lanesAcross; i < across; i += lanesAcross) {
      if (pairs) {
        int c = c0 + 2 * i;
        bool second = c >= p.C1;
        const u16 *x = second ? (const u16 *)p.x2 + (c - p.C1) : (const u16 *)p.x + c;
        i64 pitch = second ? p.C2 : p.C1;
        // Several loads on their way at a time: nothing else hides how long they take.
        constexpr int FLIGHT = 8;
        for (int pixel = from + start; pixel < to; pixel += FLIGHT * down) {
          u32 two[FLIGHT];
#pragma unroll
          for (int i = 0; i < FLIGHT; i++) {
            int at = pixel + i * down;
            two[i] = *(const u32 *)(x + (image + (at < to ? at : pixel)) * pitch);
          }
#pragma unroll
          for (int i = 0; i < FLIGHT; i++) {
            float a = widen((u16)two[i]) - pivot, b = widen((u16)(two[i] >> 16)) - pivot;
            if (pixel + i * down >= to) a = b = 0.f;
            s += a + b;
            q += a * a + b * b;
          }
        }
      } else {
        for (int pixel = from + start; pixel < to; pixel += down) {
          float a = groupElement(p, image + pixel, c0 + i) - pivot;
          s += a;
          q += a * a;
        }
      }
    }
  }
  s = warpSum(s);
  q = warpSum(q);
  if (l == 0) {
    float *out = p.partial + (((i64)sample * p.groups + group) * p.chunks + blockX()) * 2;
    out[0] = s;
    out[1] = q;
  }
}

// group_apply: grid (pixel chunks, channel slabs, sample). A thread keeps its V channels' factors in registers and walks down the pixels. Shared
// memory holds mean and 1/σ of every group.
template <int V> DEVICE void apply(const GroupNorm &p) {
  float *mean = (float *)dynamicShared, *inverse = mean + p.groups;
  int t = thread(), sample = blockZ(), C = p.C1 + p.C2, size = C / p.groups;
  i64 image = (i64)sample * p.pixels;
  for (int group = warp(); group < p.groups; group += 8) {
    const float *in = p.partial + ((i64)sample * p.groups + group) * p.chunks * 2;
    float s = 0.f, q = 0.f;
    for (int i = lane(); i < p.chunks; i += 32) s += in[2 * i], q += in[2 * i + 1];
    s = warpSum(s);
    q = warpSum(q);
    if (lane() == 0) {
      float n = (float)p.pixels * (float)size, shift = s / n, variance = q / n - shift * shift;
      mean[group] = groupElement(p, image, group * size) + shift;
      inverse[group] = reciprocal(rootOf((variance > 0.f ? variance : 0.f * variance) + p.eps));
    }
  }
  barrier();
  int vectors = C / V, slab = blockY() * 256, across = minimum(vectors - slab, 256), down = 256 / across;
  if (t >= across * down) return;
  int c = (slab + t % across) * V;
  float m[V], f[V], b[V];
#pragma unroll
  for (int i = 0; i < V; i++) {
    int group = (c + i) / size;
    m[i] = mean[group];
    f[i] = inverse[group] * p.weight[c + i];
    b[i] = p.bias[c + i];
  }
  bool second = c >= p.C1;
  const void *x = second ? p.x2 : p.x;
  int pitch = second ? p.C2 : p.C1, type = second ? p.x2Type : p.xType, at = second ? c - p.C1 : c;
  int from = (int)((i64)p.pixels * blockX() / blocksX()), to = (int)((i64)p.pixels * (blockX() + 1) / blocksX());
  for (int pixel = from + t / across; pixel < to; pixel += down) {
    float v[V];
    if constexpr (V == 8)
      load8(x, (image + pixel) * pitch + at, type, v);
    else
      v[0] = load(x, (image + pixel) * pitch + at, type);
#pragma unroll
    for (int i = 0; i < V; i++) {
      v[i] = (v[i] - m[i]) * f[i] + b[i];
      if (p.act == SILU) v[i] *= sigmoid(v[i]);
    }
    if constexpr (V == 8)
      store8(p.out, (image + pixel) * C + c, p.outType, v);
    else
      store(p.out, (image + pixel) * C + c, p.outType, v[0]);
  }
}
GLOBAL void THREADS(256, 1) group_apply_1(const GroupNorm p) { apply<1>(p); }
GLOBAL void THREADS(256, 1) group_apply_8(const GroupNorm p) { apply<8>(p); }

struct LayerNorm {
  const void *x;
  const float *weight, *bias;
  void *out;
  int rows, C, xType, outType;
  float eps;
};

// layer_norm: a warp for each row, eight rows a block. The row is read three times, twice of them from the first-level cache.
template <int V> DEVICE void layerNorm(const LayerNorm &p) {
  int row = blockX() * 8 + warp(), l = lane(), vectors = p.C / V;
  if (row >= p.rows) return;
  i64 first = (i64)row * p.C;
  float v[V];
  auto read = [&](int i) __attribute__((always_inline)) {
    if constexpr (V == 8)
      load8(p.x, first + i * 8, p.xType, v);
    else
      v[0] = load(p.x, first + i, p.xType);
  };
  float sum = 0.f;
  for (int i = l; i < vectors; i += 32) {
    read(i);
#pragma unroll
    for (int k = 0; k < V; k++) sum += v[k];
  }
  float mean = warpSum(sum) / (float)p.C;
  sum = 0.f;
  for (int i = l; i < vectors; i += 32) {
    read(i);
#pragma unroll
    for (int k = 0; k < V; k++) sum += (v[k] - mean) * (v[k] - mean);
  }
  float inverse = reciprocal(rootOf(warpSum(sum) / (float)p.C + p.eps));
  for (int i = l; i < vectors; i += 32) {
    read(i);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] = (v[k] - mean) * inverse * p.weight[i * V + k] + p.bias[i * V + k];
    if constexpr (V == 8)
      store8(p.out, first + i * 8, p.outType, v);
    else
      store(p.out, first + i, p.outType, v[0]);
  }
}
GLOBAL void THREADS(256, 1) layer_norm_1(const LayerNorm p) { layerNorm<1>(p); }
GLOBAL void THREADS(256, 1) layer_norm_8(const LayerNorm p) { layerNorm<8>(p); }
