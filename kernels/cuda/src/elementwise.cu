// Elementwise and data movement kernels: activations, slopes, additions, concat, pixels, resize, embedding, gather,
// conversions. A kernel whose name ends in _8 handles eight channels a thread, for channel counts that are multiples of
// 8. All are grid-stride loops.
#include "common.cuh"

// Map are the parameters of out[i] = f(x[i], y[i]).
struct Map {
  const void *x, *y;
  void *out;
  i64 n;        // elements of out
  int C, C2;    // last axis of x and of y
  int sample;   // pixels of a sample, if y is a row for each sample; else 0
  int act, xType, yType, outType;
};

template <int V> DEVICE void loadVec(const void *p, i64 i, int type, float *v) {
  if constexpr (V == 8)
    load8(p, i, type, v);
  else
    v[0] = load(p, i, type);
}
template <int V> DEVICE void storeVec(void *p, i64 i, int type, const float *v) {
  if constexpr (V == 8)
    store8(p, i, type, v);
  else
    store(p, i, type, v[0]);
}

// activateAll applies an activation; the identity converts. GEGLU reads rows twice as wide as it writes: C is the
// output's width.
template <int V> DEVICE void activateAll(const Map &p) {
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    float v[V], gate[V];
    if (p.act == GEGLU) {
      i64 row = i / p.C, at = row * 2 * p.C + (i - row * p.C);
      loadVec<V>(p.x, at, p.xType, v);
      loadVec<V>(p.x, at + p.C, p.xType, gate);
#pragma unroll
      for (int k = 0; k < V; k++) v[k] *= gelu(gate[k]);
    } else {
      loadVec<V>(p.x, i, p.xType, v);
#pragma unroll
      for (int k = 0; k < V; k++) v[k] = activate(p.act, v[k]);
    }
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) activate_1(const Map p) {
  activateAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) activate_8(const Map p) {
  activateAll<8>(p);
}

// addAll is x + y, or x plus the row of y for its sample if sample is not 0.
template <int V> DEVICE void addAll(const Map &p) {
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    float v[V], w[V];
    i64 at = i;
    if (p.sample) {
      i64 row = i / p.C;
      at = row / p.sample * p.C + (i - row * p.C);
    }
    loadVec<V>(p.x, i, p.xType, v);
    loadVec<V>(p.y, at, p.yType, w);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] += w[k];
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) add_1(const Map p) {
  addAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) add_8(const Map p) {
  addAll<8>(p);
}

// Masked are the parameters of out = x + mask·y.
struct Masked {
  const void *x, *y, *mask;
  void *out;
  i64 n; // elements of out
  int C; // its last axis, which has one mask
  int xType, yType, maskType, outType;
};

template <int V> DEVICE void addMaskedAll(const Masked &p) {
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    float v[V], w[V], mask = load(p.mask, i / p.C, p.maskType);
    loadVec<V>(p.x, i, p.xType, v);
    loadVec<V>(p.y, i, p.yType, w);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] += mask * w[k];
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) add_masked_1(const Masked p) {
  addMaskedAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) add_masked_8(const Masked p) {
  addMaskedAll<8>(p);
}

// preluAll multiplies what is below 0 by its channel's slope, y.
template <int V> DEVICE void preluAll(const Map &p) {
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    float v[V], slope[V];
    loadVec<V>(p.x, i, p.xType, v);
    loadVec<V>(p.y, i % p.C, p.yType, slope);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] = v[k] < 0 ? v[k] * slope[k] : v[k];
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) prelu_1(const Map p) {
  preluAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) prelu_8(const Map p) {
  preluAll<8>(p);
}

template <int V> DEVICE void concatAll(const Map &p) {
  int C = p.C + p.C2;
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    i64 row = i / C;
    int c = (int)(i - row * C);
    float v[V];
    if (c < p.C)
      loadVec<V>(p.x, row * p.C + c, p.xType, v);
    else
      loadVec<V>(p.y, row * p.C2 + c - p.C, p.yType, v);
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) concat_1(const Map p) {
  concatAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) concat_8(const Map p) {
  concatAll<8>(p);
}

// pad converts to the 16-bit type and pads rows of C elements to C2 with zeros, for GEMMs, which load 16 bytes at a
// time.
GLOBAL void LAUNCH_BOUNDS(256, 1) pad(const Map p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    i64 row = i / p.C2;
    int c = (int)(i - row * p.C2);
    ((u16 *)p.out)[i] = c < p.C ? float2half(load(p.x, row * p.C + c, p.xType)) : 0;
  }
}

// to_pixels and from_pixels convert between images of three channels in [−1, 1] and RGBA bytes, a thread for each
// pixel. Scaling by powers of 2 is exact, so results do not depend on fma contraction.
GLOBAL void LAUNCH_BOUNDS(256, 1) to_pixels(const Map p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    u32 pixel = 255u << 24;
#pragma unroll
    for (int c = 0; c < 3; c++) {
      float v = __builtin_fminf(__builtin_fmaxf(load(p.x, 3 * i + c, p.xType) * 0.5f + 0.5f, 0), 1);
      pixel |= (u32)__builtin_rintf(v * 255) << (8 * c);
    }
    ((u32 *)p.out)[i] = pixel;
  }
}

GLOBAL void LAUNCH_BOUNDS(256, 1) from_pixels(const Map p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    u32 pixel = ((const u32 *)p.x)[i];
#pragma unroll
    for (int c = 0; c < 3; c++) store(p.out, 3 * i + c, p.outType, 2 * ((float)(pixel >> (8 * c) & 255) / 255) - 1);
  }
}

struct Resize {
  const void *x;
  void *out;
  i64 n;
  int h, w, H, W, C, xType, outType;
};

template <int V> DEVICE void resizeAll(const Resize &p) {
  for (i64 i = globalThreadIdx() * V; i < p.n; i += globalThreadCount() * V) {
    i64 pixel = i / p.C, row = pixel / p.W, image = row / p.H;
    int c = (int)(i - pixel * p.C), x = (int)(pixel - row * p.W), y = (int)(row - image * p.H);
    i64 from = (image * p.h + (i64)y * p.h / p.H) * p.w + (i64)x * p.w / p.W;
    float v[V];
    loadVec<V>(p.x, from * p.C + c, p.xType, v);
    storeVec<V>(p.out, i, p.outType, v);
  }
}
GLOBAL void LAUNCH_BOUNDS(256, 1) resize_1(const Resize p) {
  resizeAll<1>(p);
}
GLOBAL void LAUNCH_BOUNDS(256, 1) resize_8(const Resize p) {
  resizeAll<8>(p);
}

// Rows are the parameters of embedding and gather. The host checks the indices; the kernels clamp them besides.
struct Rows {
  const int *ids;
  const void *table, *positions;  // embedding: weights in the 16-bit type; gather: table has the sequences
  void *out;
  i64 n;
  int T, C, rows, tableType, outType;
};

GLOBAL void LAUNCH_BOUNDS(256, 1) embedding(const Rows p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    i64 token = i / p.C;
    int c = (int)(i - token * p.C), id = max(0, min(p.ids[token], p.rows - 1));
    store(p.out, i, p.outType, load(p.table, (i64)id * p.C + c, p.tableType) + load(p.positions, token % p.T * p.C + c, p.tableType));
  }
}

GLOBAL void LAUNCH_BOUNDS(256, 1) gather(const Rows p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    i64 b = i / p.C;
    int c = (int)(i - b * p.C), row = max(0, min(p.ids[b], p.T - 1));
    store(p.out, i, p.outType, load(p.table, (b * p.T + row) * p.C + c, p.tableType));
  }
}

// finite sets both flags, of this run and of all runs, if an element is NaN or infinite. Threads may race: all write 1.
struct Finite {
  const void *x;
  int *flags;
  i64 n;
  int type;
};

GLOBAL void LAUNCH_BOUNDS(256, 1) finite(const Finite p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount())
    if (!(__builtin_fabsf(load(p.x, i, p.type)) < __builtin_inff())) p.flags[0] = p.flags[1] = 1;
}
