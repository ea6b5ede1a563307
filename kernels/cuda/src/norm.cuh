// What the GroupNorm kernels share. Moments are computed from shifted data: sums about a pivot, an element of the
// group, so that a mean far from zero costs no precision. The order of summation is fixed, so results are
// deterministic.
#pragma once

#include "common.cuh"

struct GroupNorm {
  const void *x, *x2;
  const float *weight, *bias;
  float *partial;  // [sample][group][chunk][2]: sum and sum of squares about the pivot
  void *out;
  const float *channelStats, *channelStats2;  // of x and x2, by the GEMMs that computed them (see GemmTma), and pivots are 0; or null
  int pixels, C1, C2, groups, chunks;
  int xType, x2Type, outType, act;
  float eps;
  int tileVectors;  // tuned kernels: vectors of eight channels in a channel tile, which has whole groups of 4 channels or at least 8
};

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

DEVICE float groupElement(const GroupNorm &p, i64 pixel, int c) {
  return c < p.C1 ? load(p.x, pixel * p.C1 + c, p.xType) : load(p.x2, pixel * p.C2 + (c - p.C1), p.x2Type);
}

// pixelRange is the chunk of an image that the block works on.
DEVICE void pixelRange(const GroupNorm &p, int *from, int *to) {
  int each = p.pixels / gridDimX(), more = p.pixels - each * gridDimX();
  *from = blockIdxX() * each + min(blockIdxX(), more);
  *to = *from + each + (blockIdxX() < more ? 1 : 0);
}

// StridedIterator is how the tuned kernels iterate over an image, of the 16-bit type or, if FP32, of either storage
// type. A thread has eight channels, of one group or of two, and strides over the pixels of its block with IN_FLIGHT
// loads in flight, which is all that hides their latency. Grid: (chunk of pixels, channel tile, sample).
template <bool FP32> struct StridedIterator {
  static constexpr int IN_FLIGHT = FP32 ? 4 : 8;
  int column, row, rowStep, c;  // of the thread in the tile; pixels from one to its next; its first channel
  int size, group, split;    // channels of a group; the first channel's group in the tile; channels up to the next group
  int from, to;              // pixels
  const void *x;             // the thread's channels of the sample's first pixel
  int pitch, type;
  DEVICE_MEMBER StridedIterator(const GroupNorm &p) {
    row = threadIdxX() / p.tileVectors, column = threadIdxX() - row * p.tileVectors, rowStep = blockDimX() / p.tileVectors, size = (p.C1 + p.C2) / p.groups;
    c = (blockIdxY() * p.tileVectors + column) * 8;
    group = column * 8 / size, split = (group + 1) * size - column * 8;
    bool second = c >= p.C1;
    pitch = second ? p.C2 : p.C1, type = FP32 ? second ? p.x2Type : p.xType : HALF;
    x = (const char *)(second ? p.x2 : p.x) + ((second ? c - p.C1 : c) + (i64)blockIdxZ() * p.pixels * pitch) * (type == F32 ? 4 : 2);
    pixelRange(p, &from, &to);
    if (row >= rowStep) to = from;  // no work for this thread
  }
  DEVICE_MEMBER Vec8<FP32> at(int pixel) const {
    Vec8<FP32> v;
    v.read(x, (i64)pixel * pitch, type);
    return v;
  }
  // pick selects the value of channel k's group.
  DEVICE_MEMBER float pick(int k, float first, float next) const { return k < split ? first : next; }
  DEVICE_MEMBER int groups(const GroupNorm &p) const { return p.tileVectors * 8 / size; }
};

// groupPivot is the first element of a group of the channel tile in the sample.
template <bool FP32> DEVICE float groupPivot(const GroupNorm &p, const StridedIterator<FP32> &w, int group) {
  int c = blockIdxY() * p.tileVectors * 8 + group * w.size;
  if (FP32) return groupElement(p, (i64)blockIdxZ() * p.pixels, c);
  bool second = c >= p.C1;
  return half2float(*((const u16 *)(second ? p.x2 : p.x) + (i64)blockIdxZ() * p.pixels * (second ? p.C2 : p.C1) + (second ? c - p.C1 : c)));
}

// ShiftedSums are a thread's sums and sums of squares of each of its channels, about the pivots.
struct ShiftedSums {
  float pivot[8], s[8], q[8];
  template <bool FP32> DEVICE_MEMBER ShiftedSums(const GroupNorm &p, const StridedIterator<FP32> &w) {
    float first = groupPivot(p, w, w.group), next = w.split < 8 ? groupPivot(p, w, w.group + 1) : 0.f;
#pragma unroll
    for (int k = 0; k < 8; k++) pivot[k] = w.pick(k, first, next), s[k] = q[k] = 0.f;
  }
  template <bool FP32> DEVICE_MEMBER void add(const Vec8<FP32> &v) {
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

// blockReduceGroups reduces the sums of a block by group to out, [group of the tile][2], which all threads may read
// after it. scratch has 4 numbers for each thread and 4 for each column.
template <bool FP32> DEVICE void blockReduceGroups(const GroupNorm &p, const StridedIterator<FP32> &w, const ShiftedSums &sums, float *scratch, float *out) {
  int T = blockDimX();
  float *columns = scratch + 4 * T;
  float part[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
  for (int k = 0; k < 8; k++) {
    part[0] += w.pick(k, sums.s[k], 0.f);
    part[1] += w.pick(k, sums.q[k], 0.f);
    part[2] += w.pick(k, 0.f, sums.s[k]);
    part[3] += w.pick(k, 0.f, sums.q[k]);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) scratch[i * T + threadIdxX()] = part[i];
  syncthreads();
  for (int item = threadIdxX(); item < 4 * p.tileVectors; item += T) {
    int kind = item / p.tileVectors, column = item - kind * p.tileVectors;
    float sum = 0.f;
    for (int row = 0; row < w.rowStep; row++) sum += scratch[kind * T + row * p.tileVectors + column];
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

// ScaleShift normalises a thread's eight channels: 16-bit operands by one multiplication and one addition, which costs
// them no precision, float32 ones about their mean.
template <bool FP32> struct ScaleShift {
  float f[8], b[8], m[2];  // scale, shift; m: the means of both groups
  DEVICE_MEMBER void read(const GroupNorm &p, int c) {
    load8(p.weight, c, F32, f);
    load8(p.bias, c, F32, b);
  }
  // scale applies mean and 1/σ of the tile's groups.
  DEVICE_MEMBER void scale(const StridedIterator<FP32> &w, const float *mean, const float *inverse) {
    int next = w.split < 8 ? w.group + 1 : w.group;
    float i[2] = {inverse[w.group], inverse[next]};
    m[0] = mean[w.group], m[1] = mean[next];
#pragma unroll
    for (int k = 0; k < 8; k++) {
      f[k] *= w.pick(k, i[0], i[1]);
      if (!FP32) b[k] -= w.pick(k, m[0], m[1]) * f[k];
    }
  }
  DEVICE_MEMBER void write(const GroupNorm &p, const StridedIterator<FP32> &w, const Vec8<FP32> &v, int pixel) const {
    float y[8];
    v.values(y);
#pragma unroll
    for (int k = 0; k < 8; k++) {
      y[k] = (FP32 ? y[k] - w.pick(k, m[0], m[1]) : y[k]) * f[k] + b[k];
      if (p.act == SILU) y[k] *= sigmoid(y[k]);
    }
    store8(p.out, ((i64)blockIdxZ() * p.pixels + pixel) * (p.C1 + p.C2) + w.c, p.outType, y);
  }
};

// finalizeMoments computes mean and 1/σ of a group from sums about a pivot.
DEVICE void finalizeMoments(const GroupNorm &p, float pivot, float s, float q, float *mean, float *inverse) {
  float n = (float)p.pixels * (float)((p.C1 + p.C2) / p.groups), shift = s / n, variance = q / n - shift * shift;
  *mean = pivot + shift;
  *inverse = rcp_rn(sqrt_rn((variance > 0.f ? variance : 0.f * variance) + p.eps));
}
