// What the group norm kernels share. Sums are taken about a value of the group itself, so that a mean far from zero
// costs no digits, and in an order that does not depend on timing.
#pragma once

#include "common.cuh"

struct GroupNorm {
  const void *x, *x2;
  const float *weight, *bias;
  float *partial;  // [sample][group][chunk][2]: sum and sum of squares about the pivot
  void *out;
  const float *totals, *totals2;  // of x and x2 from the products that made them, see Product, or null: then pivots are 0
  int pixels, C1, C2, groups, chunks;
  int xType, x2Type, outType, act;
  float eps;
  int across;  // of all but the general kernels: vectors of eight channels in a slab, whose groups are whole and of 4 channels or at least 8
};

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

DEVICE float groupElement(const GroupNorm &p, i64 pixel, int c) {
  return c < p.C1 ? load(p.x, pixel * p.C1 + c, p.xType) : load(p.x2, pixel * p.C2 + (c - p.C1), p.x2Type);
}

// pixelsOf is the part of an image that a block works on.
DEVICE void pixelsOf(const GroupNorm &p, int *from, int *to) {
  int each = p.pixels / gridDimX(), more = p.pixels - each * gridDimX();
  *from = blockIdxX() * each + min(blockIdxX(), more);
  *to = *from + each + (blockIdxX() < more ? 1 : 0);
}

// Walk is how all but the general kernels go over images, of 16 bits or, if WIDE, of either storage type: a thread
// keeps to eight channels, which are of one group or of two, and steps over the pixels of its block, FLIGHT loads on
// their way at any time, since nothing else hides how long they take. Grid (chunk of pixels, slab of channels, sample).
template <bool WIDE> struct Walk {
  static constexpr int FLIGHT = WIDE ? 4 : 8;
  int column, row, down, c;  // of the slab's vectors; c is the first channel
  int size, group, split;    // of a group; the first channel's, counted from the slab's; channels before the next one begins
  int from, to;              // pixels
  const void *x;             // of the sample's first pixel
  int pitch, type;
  DEVICE_MEMBER Walk(const GroupNorm &p) {
    row = threadIdxX() / p.across, column = threadIdxX() - row * p.across, down = blockDimX() / p.across, size = (p.C1 + p.C2) / p.groups;
    c = (blockIdxY() * p.across + column) * 8;
    group = column * 8 / size, split = (group + 1) * size - column * 8;
    bool second = c >= p.C1;
    pitch = second ? p.C2 : p.C1, type = WIDE ? second ? p.x2Type : p.xType : HALF;
    x = (const char *)(second ? p.x2 : p.x) + ((second ? c - p.C1 : c) + (i64)blockIdxZ() * p.pixels * pitch) * (type == F32 ? 4 : 2);
    pixelsOf(p, &from, &to);
    if (row >= down) to = from;  // left over
  }
  DEVICE_MEMBER Eight<WIDE> at(int pixel) const {
    Eight<WIDE> v;
    v.read(x, (i64)pixel * pitch, type);
    return v;
  }
  // pick is of the first group's number and the next one's that of channel k.
  DEVICE_MEMBER float pick(int k, float first, float next) const { return k < split ? first : next; }
  DEVICE_MEMBER int groups(const GroupNorm &p) const { return p.across * 8 / size; }
};

// pivotOf is the first element of a group of the slab in the sample.
template <bool WIDE> DEVICE float pivotOf(const GroupNorm &p, const Walk<WIDE> &w, int group) {
  int c = blockIdxY() * p.across * 8 + group * w.size;
  if (WIDE) return groupElement(p, (i64)blockIdxZ() * p.pixels, c);
  bool second = c >= p.C1;
  return half2float(*((const u16 *)(second ? p.x2 : p.x) + (i64)blockIdxZ() * p.pixels * (second ? p.C2 : p.C1) + (second ? c - p.C1 : c)));
}

// Sums are a thread's, of each of its channels and of the squares, about the pivots.
struct Sums {
  float pivot[8], s[8], q[8];
  template <bool WIDE> DEVICE_MEMBER Sums(const GroupNorm &p, const Walk<WIDE> &w) {
    float first = pivotOf(p, w, w.group), next = w.split < 8 ? pivotOf(p, w, w.group + 1) : 0.f;
#pragma unroll
    for (int k = 0; k < 8; k++) pivot[k] = w.pick(k, first, next), s[k] = q[k] = 0.f;
  }
  template <bool WIDE> DEVICE_MEMBER void add(const Eight<WIDE> &v) {
    float f[8];
    v.values(f);
#pragma unroll
    for (int k = 0; k < 8; k++) {
      float d = f[k] - pivot[k];
      s[k] += d;
      q[k] += d * d;
    }
  }
};

// groupTotals adds up the sums of a block by group: out [group of the slab][2], which all threads may read after it.
// area has room for 4 numbers of each thread and 4 of each column.
template <bool WIDE> DEVICE void groupTotals(const GroupNorm &p, const Walk<WIDE> &w, const Sums &sums, float *area, float *out) {
  int T = blockDimX();
  float *columns = area + 4 * T;
  float part[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
  for (int k = 0; k < 8; k++) {
    part[0] += w.pick(k, sums.s[k], 0.f);
    part[1] += w.pick(k, sums.q[k], 0.f);
    part[2] += w.pick(k, 0.f, sums.s[k]);
    part[3] += w.pick(k, 0.f, sums.q[k]);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) area[i * T + threadIdxX()] = part[i];
  syncthreads();
  for (int item = threadIdxX(); item < 4 * p.across; item += T) {
    int kind = item / p.across, column = item - kind * p.across;
    float sum = 0.f;
    for (int row = 0; row < w.down; row++) sum += area[kind * T + row * p.across + column];
    columns[4 * column + kind] = sum;
  }
  syncthreads();
  for (int g = threadIdxX(); g < w.groups(p); g += T) {
    float s = 0.f, q = 0.f;
    int first = g * w.size, column = first / 8;
    if (column * 8 < first) s += columns[4 * column + 2], q += columns[4 * column + 3], column++;
    for (; column * 8 < first + w.size; column++) s += columns[4 * column], q += columns[4 * column + 1];
    out[2 * g] = s;
    out[2 * g + 1] = q;
  }
  syncthreads();
}

// Factors make eight normalised channels of a thread: of 16-bit operands, which have no digits to lose by it, by one
// multiplication and one addition.
template <bool WIDE> struct Factors {
  float f[8], b[8], m[2];  // m: the means of both groups
  DEVICE_MEMBER void read(const GroupNorm &p, int c) {
    load8(p.weight, c, F32, f);
    load8(p.bias, c, F32, b);
  }
  // scale takes mean and 1/σ of the slab's groups.
  DEVICE_MEMBER void scale(const Walk<WIDE> &w, const float *mean, const float *inverse) {
    int next = w.split < 8 ? w.group + 1 : w.group;
    float i[2] = {inverse[w.group], inverse[next]};
    m[0] = mean[w.group], m[1] = mean[next];
#pragma unroll
    for (int k = 0; k < 8; k++) {
      f[k] *= w.pick(k, i[0], i[1]);
      if (!WIDE) b[k] -= w.pick(k, m[0], m[1]) * f[k];
    }
  }
  DEVICE_MEMBER void write(const GroupNorm &p, const Walk<WIDE> &w, const Eight<WIDE> &v, int pixel) const {
    float y[8];
    v.values(y);
#pragma unroll
    for (int k = 0; k < 8; k++) {
      y[k] = (WIDE ? y[k] - w.pick(k, m[0], m[1]) : y[k]) * f[k] + b[k];
      if (p.act == SILU) y[k] *= sigmoid(y[k]);
    }
    store8(p.out, ((i64)blockIdxZ() * p.pixels + pixel) * (p.C1 + p.C2) + w.c, p.outType, y);
  }
};

// momentsOf makes mean and 1/σ from sums about a pivot over n elements.
DEVICE void momentsOf(const GroupNorm &p, float pivot, float s, float q, float *mean, float *inverse) {
  float n = (float)p.pixels * (float)((p.C1 + p.C2) / p.groups), shift = s / n, variance = q / n - shift * shift;
  *mean = pivot + shift;
  *inverse = rcp_rn(sqrt_rn((variance > 0.f ? variance : 0.f * variance) + p.eps));
}
