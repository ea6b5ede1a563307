// Peak throughput of the tensor cores: mma or wgmma on random numbers and nothing else.
#pragma once

#include "common.cuh"

struct Peak {
  float *out;  // one for each thread, so that the compiler removes nothing
  int rounds, unused;
};

// random16 is a number of the storage type between 1 and 2, of either sign.
DEVICE u16 random16(u32 &state) {
  state = state * 1664525u + 1013904223u;
  float f = 1.f + (float)(state >> 9) * (1.f / 8388608.f);
  return float2half(state >> 8 & 1 ? f : -f);
}
