// The parameters of the attention kernels.
#pragma once

#include "common.cuh"

struct Attention {
  const void *q, *k, *v;
  void *out;
  int queries, keys, heads, size;              // size: of a head
  int pitchQ, pitchK, pitchV, pitchOut;        // elements from token to token
  int causal, outType;
  int qType, kType, vType;                     // of the plain kernel; T16 elsewhere
  float scale;                                 // log2(e)/√size
};

// Exponentials are 2^(scale·s − scale·top), top the largest score of a row so far, in one multiplication and addition. Where scale·top is beyond FAR, its
// rounding would show in a weight that should be 1, and top is subtracted first.
constexpr float FAR = 256.f;
