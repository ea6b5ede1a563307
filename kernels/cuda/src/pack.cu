// Packs weights while they are uploaded, from the checkpoint's type and layout to the engine's, and adds low-rank
// products to them before that.
#include "common.cuh"

enum { FROM_F32 = 0, FROM_F16 = 1, FROM_BF16 = 2 };

struct Pack {
  const void *raw;  // rows first … first+count−1 of [N][C1+C2][taps]
  void *out;        // [N packed][taps][P1+P2], or float32 as raw
  i64 n;            // elements of out that these rows are packed to, without padding rows
  int first, C1, C2, P1, P2, taps;
  int half;         // GEGLU: rows of value and of gate; 0: rows stay in order
  int from, toFloat;
};

template <int FROM> DEVICE float rawElement(const void *p, i64 i) {
  if (FROM == FROM_F32) return ((const float *)p)[i];
  u16 h = ((const u16 *)p)[i];
  if (FROM == FROM_BF16) return __builtin_bit_cast(float, (u32)h << 16);
  return fp16ToFloat(h);
}

DEVICE float rawElement(const void *p, i64 i, int from) {
  if (from == FROM_F32) return rawElement<FROM_F32>(p, i);
  if (from == FROM_BF16) return rawElement<FROM_BF16>(p, i);
  return rawElement<FROM_F16>(p, i);
}

// pack permutes to channels last and pads channels to P1 and P2 with zeros. GEGLU's rows are interleaved in eights,
// values then gates, so that an output's value and gate lie in one tile.
GLOBAL void LAUNCH_BOUNDS(256, 1) pack(const Pack p) {
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    if (p.toFloat) {
      ((float *)p.out)[i] = rawElement(p.raw, i, p.from);
      continue;
    }
    int width = p.P1 + p.P2, K = p.taps * width;
    i64 row = i / K;
    int k = (int)(i - row * K), tap = k / width, c = k - tap * width;
    bool second = c >= p.P1, zero = second ? c - p.P1 >= p.C2 : c >= p.C1;
    if (second) c += p.C1 - p.P1;
    float f = zero ? 0.f : rawElement(p.raw, (row * (p.C1 + p.C2) + c) * p.taps + tap, p.from);
    i64 n = p.first + row;
    if (p.half) {
      i64 j = n % p.half;
      n = j / 8 * 16 + n / p.half * 8 + j % 8;
    }
    ((u16 *)p.out)[n * K + k] = float2half(f);
  }
}

// Product is a low-rank product: Scale·Up·Down, Up [N][rank], Down [rank][columns], both offsets in bytes from the
// table of products that is in front of them.
struct Product {
  int rank;
  float scale;
  i64 up, down;
  int upFrom, downFrom;  // types
};

struct Merge {
  void *raw;               // rows first … first+rows−1 of [N][columns], as in the checkpoint
  const Product *factors;  // a table, and what it points to
  int rows, columns, first;
  int products, from;
  int unused;
};

DEVICE void setRawElement(void *p, i64 i, int from, float f) {
  if (from == FROM_F32) {
    ((float *)p)[i] = f;
    return;
  }
  u16 h;
  if (from == FROM_F16) {
    h = floatToFp16(f);
  } else { // to nearest even; a NaN stays one
    u32 b = __builtin_bit_cast(u32, f);
    h = (u16)(f != f ? b >> 16 | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16);
  }
  ((u16 *)p)[i] = h;
}

enum { MERGE_ROWS = 8 };

// Tile is a thread's column of MERGE_ROWS rows. Rows behind the last one are computed as that one is, and not stored.
struct Tile {
  int row, column, last;

  // read loads the elements, without a branch between them, so that they are on their way together.
  template <int FROM> DEVICE_MEMBER void read(const Merge &p, float *w) const {
#pragma unroll
    for (int k = 0; k < MERGE_ROWS; k++) w[k] = rawElement<FROM>(p.raw, (i64)(row + min(k, last)) * p.columns + column);
  }

  // sums computes the sums of a product's terms.
  template <int UP, int DOWN> DEVICE_MEMBER void sums(const Merge &p, const Product &q, float *sum) const {
    const char *up = (const char *)p.factors + q.up, *down = (const char *)p.factors + q.down;
    i64 at[MERGE_ROWS];
#pragma unroll
    for (int k = 0; k < MERGE_ROWS; k++) at[k] = (i64)(p.first + row + min(k, last)) * q.rank, sum[k] = 0;
#pragma unroll 2
    for (int r = 0; r < q.rank; r++) {
      float d = rawElement<DOWN>(down, (i64)r * p.columns + column);
#pragma unroll
      for (int k = 0; k < MERGE_ROWS; k++) sum[k] = __builtin_fmaf(rawElement<UP>(up, at[k] + r), d, sum[k]);
    }
  }
  template <int UP> DEVICE_MEMBER void sums(const Merge &p, const Product &q, float *sum) const {
    switch (q.downFrom) {
    case FROM_F32: return sums<UP, FROM_F32>(p, q, sum);
    case FROM_F16: return sums<UP, FROM_F16>(p, q, sum);
    }
    sums<UP, FROM_BF16>(p, q, sum);
  }
};

// merge adds products to rows. A thread has a column of MERGE_ROWS rows, so that an element of Down is loaded once for
// all of them; the elements of Up are the same for all threads of a warp. For each product in turn, the sum of its
// terms, in order, is added in float32; what comes of it is rounded once, to the checkpoint's type. An element does not
// depend on how the rows are split.
GLOBAL void LAUNCH_BOUNDS(256, 1) merge(const Merge p) {
  i64 n = (i64)((p.rows + MERGE_ROWS - 1) / MERGE_ROWS) * p.columns;
  for (i64 i = globalThreadIdx(); i < n; i += globalThreadCount()) {
    Tile t;
    t.row = (int)(i / p.columns) * MERGE_ROWS, t.column = (int)(i % p.columns), t.last = min(MERGE_ROWS, p.rows - t.row) - 1;
    float w[MERGE_ROWS], sum[MERGE_ROWS];
    switch (p.from) {
    case FROM_F32: t.read<FROM_F32>(p, w); break;
    case FROM_F16: t.read<FROM_F16>(p, w); break;
    default: t.read<FROM_BF16>(p, w);
    }
    for (int j = 0; j < p.products; j++) {
      Product q = p.factors[j];
      switch (q.upFrom) {
      case FROM_F32: t.sums<FROM_F32>(p, q, sum); break;
      case FROM_F16: t.sums<FROM_F16>(p, q, sum); break;
      default: t.sums<FROM_BF16>(p, q, sum);
      }
#pragma unroll
      for (int k = 0; k < MERGE_ROWS; k++) w[k] = __builtin_fmaf(q.scale, sum[k], w[k]);
    }
#pragma unroll
    for (int k = 0; k < MERGE_ROWS; k++)
      if (k <= t.last) setRawElement(p.raw, (i64)(t.row + k) * p.columns + t.column, p.from, w[k]);
  }
}
