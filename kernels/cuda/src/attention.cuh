// The parameters of the attention kernels.
#pragma once

#include "common.cuh"

struct Attention {
  const void *q, *k, *v;
  void *out;
  int queries, keys, heads, headDim;
  int pitchQ, pitchK, pitchV, pitchOut;        // elements from token to token
  int causal, outType;
  int qType, kType, vType;                     // of attention_plain; HALF elsewhere
  float scale;                                 // log2(e)/√headDim
};

// Online softmax with lazy rescaling. P is 2^(scale·s − rowMax), one fma and one exponential an element. rowMax is the
// largest scaled score of the row's first tile; a later tile raises it only if its largest score exceeds it by more
// than RESCALE_THRESHOLD powers of two. Floating point keeps the precision whatever the reference is, the row sum stays
// far from overflow, and most tiles need not rescale O.
constexpr float RESCALE_THRESHOLD = 8.f;

// onlineSoftmaxUpdate raises a row's rowMax to the largest score of a tile, tileMax above it, and returns the
// difference. The row's sum and accumulators of O must be multiplied by scaleO.
DEVICE float onlineSoftmaxUpdate(float tileMax, bool first, float &rowMax, float &scaleO) {
  float delta = first ? tileMax : max(tileMax, 0.f);
  rowMax += delta;
  scaleO = first ? 1.f : ex2_approx(-delta);
  return delta;
}
