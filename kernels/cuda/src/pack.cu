// Packs weights while they are uploaded: from the checkpoint's type and layout to the engine's.
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

DEVICE float rawElement(const void *p, i64 i, int from) {
  if (from == FROM_F32) return ((const float *)p)[i];
  u16 h = ((const u16 *)p)[i];
  if (from == FROM_BF16) return __builtin_bit_cast(float, (u32)h << 16);
  return fp16ToFloat(h);
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
