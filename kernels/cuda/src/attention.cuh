// The parameters of the attention kernels.
#pragma once

#include "common.cuh"

struct Attention {
  const void *q, *k, *v;
  void *out;
  int queries, keys, heads, size, pitch;  // pitch: elements from token to token; size: of a head
  int causal, outType;
  int qType, kType, vType;                // of the plain kernel; T16 elsewhere
  float scale;                            // log2(e)/√size
};
