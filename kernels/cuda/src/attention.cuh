// The parameters of the attention kernels.
#pragma once

#include "common.cuh"

struct Attention {
  const void *q, *k, *v;
  void *out;
  int queries, keys, heads, size;              // size: of a head
  int pitchQ, pitchK, pitchV, pitchOut;        // elements from token to token
  int causal, outType;
  int qType, kType, vType;                     // of the plain kernel; HALF elsewhere
  float scale;                                 // log2(e)/√size
};

// Exponentials are 2^(scale·s − base) in one multiplication and addition, base the largest scaled score of a row in its
// first tile. It follows larger ones of later tiles only when they have left it behind by LAZY powers of two: in
// floating point exponentials have as many digits whatever the base, sums of them are far from overflowing, and what
// was summed up before need not be multiplied in nearly every tile.
constexpr float LAZY = 8.f;

// follow has the base of a row follow the largest score of a tile, most above it, and returns by how much; what was
// summed up before is to be multiplied by shrink.
DEVICE float follow(float most, bool first, float &base, float &shrink) {
  float by = first ? most : max(most, 0.f);
  base += by;
  shrink = first ? 1.f : ex2_approx(-by);
  return by;
}
