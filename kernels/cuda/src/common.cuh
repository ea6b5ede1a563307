// What every kernel shares: the 16-bit storage type (bfloat16 if BF16 is defined, else float16), loads and stores of
// any storage type, warp reductions and activations. The instructions are in primitives.cuh; emulate/primitives.h has
// them for the CPU.
#pragma once

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
typedef long long i64;

// CUDA's vector types.
struct __attribute__((aligned(8))) uint2 { u32 x, y; };
struct __attribute__((aligned(16))) uint4 { u32 x, y, z, w; };
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };

// Storage types of an operand, as the engine numbers them.
enum { F32 = 0, HALF = 1 };

// Activations, as package kernels numbers them.
enum { IDENTITY = 0, SILU = 1, GELU = 2, QUICK_GELU = 3, RELU = 4, SOFT_CLAMP = 5, LEAKY_RELU = 6, GEGLU = 7 };

#ifdef EMULATE
#include "../emulate/primitives.h"
#else
#include "primitives.cuh"
#endif

DEVICE i64 globalThreadIdx() { return (i64)blockIdxX() * blockDimX() + threadIdxX(); }
DEVICE i64 globalThreadCount() { return (i64)gridDimX() * blockDimX(); }

DEVICE int min(int a, int b) { return a < b ? a : b; }
DEVICE int max(int a, int b) { return a > b ? a : b; }
// load and store move element i of an operand of either storage type.
DEVICE float load(const void *p, i64 i, int type) { return type == F32 ? ((const float *)p)[i] : half2float(((const u16 *)p)[i]); }
DEVICE void store(void *p, i64 i, int type, float f) {
  if (type == F32)
    ((float *)p)[i] = f;
  else
    ((u16 *)p)[i] = float2half(f);
}

// half8ToFloat converts eight elements of the 16-bit type.
DEVICE void half8ToFloat(uint4 v, float *f) {
  u32 w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int k = 0; k < 4; k++) {
    f[2 * k] = half2float((u16)w[k]);
    f[2 * k + 1] = half2float((u16)(w[k] >> 16));
  }
}

// load8 and store8 move eight elements from i on; their address is a multiple of 16 bytes.
DEVICE void load8(const void *p, i64 i, int type, float *f) {
  if (type == F32) {
    const float4 *q = (const float4 *)((const float *)p + i);
    float4 a = q[0], b = q[1];
    f[0] = a.x, f[1] = a.y, f[2] = a.z, f[3] = a.w, f[4] = b.x, f[5] = b.y, f[6] = b.z, f[7] = b.w;
    return;
  }
  half8ToFloat(*(const uint4 *)((const u16 *)p + i), f);
}
DEVICE void store8(void *p, i64 i, int type, const float *f) {
  if (type == F32) {
    float4 *q = (float4 *)((float *)p + i);
    q[0] = float4{f[0], f[1], f[2], f[3]};
    q[1] = float4{f[4], f[5], f[6], f[7]};
    return;
  }
  *(uint4 *)((u16 *)p + i) = uint4{floats2half2(f[0], f[1]), floats2half2(f[2], f[3]), floats2half2(f[4], f[5]), floats2half2(f[6], f[7])};
}
// Vec8 is eight elements of an operand in registers: of the 16-bit type as loaded, or, if FP32, of either storage
// type in float32.
template <bool FP32> struct Vec8 {
  uint4 v;
  DEVICE_MEMBER void read(const void *p, i64 i, int) { v = *(const uint4 *)((const u16 *)p + i); }
  DEVICE_MEMBER void values(float *f) const { half8ToFloat(v, f); }
};
template <> struct Vec8<true> {
  float v[8];
  DEVICE_MEMBER void read(const void *p, i64 i, int type) { load8(p, i, type, v); }
  DEVICE_MEMBER void values(float *f) const {
#pragma unroll
    for (int k = 0; k < 8; k++) f[k] = v[k];
  }
};
// add8 adds eight elements from i on.
DEVICE void add8(const void *p, i64 i, int type, float *f) {
  float w[8];
  load8(p, i, type, w);
#pragma unroll
  for (int k = 0; k < 8; k++) f[k] += w[k];
}

// Warp reductions (butterfly): every lane gets the result, in a fixed order of summation.
DEVICE float warpSum(float f) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) f += shfl_xor(f, m);
  return f;
}
DEVICE float warpMax(float f) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) f = max(f, shfl_xor(f, m));
  return f;
}

// quad_transpose transposes the 4×4 words that the four lanes of a quad hold, four each. A lane of an accumulator
// fragment has two columns of each of four groups of eight; after it, lane q has all eight columns of group q.
template <class T> DEVICE void quad_transpose(T (&w)[4]) {
#pragma unroll
  for (int mask = 1; mask < 4; mask *= 2)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i & mask) continue;
      bool upper = laneId() & mask;
      T low = w[i], high = w[i | mask], got = shfl_xor(upper ? low : high, mask);
      w[i] = upper ? got : low, w[i | mask] = upper ? high : got;
    }
}

DEVICE float exp_approx(float x) { return ex2_approx(x * 1.4426950408889634f); }
// sigmoid is 0 where the exponential overflows.
DEVICE float sigmoid(float x) {
  return rcp_approx(1.f + exp_approx(-x));
}

// gelu is x·Φ(x). Φ(−|x|) is exp(−x²/2) times a polynomial in 1/(1+0.36|x|) that gen/gelu.py fitted, so that it keeps
// its digits far below zero: relative error below 1.4e-5, a thirtieth of what rounding to 16 bits adds.
DEVICE float gelu(float x) {
  float t = rcp_approx(1.f + 0.36f * __builtin_fabsf(x)), p = -0.09851489f;
  p = p * t + 0.25438544f;
  p = p * t + 0.035118394f;
  p = p * t + 0.16869485f;
  p = p * t + 0.14012428f;
  p = p * t + 0.00019127420f;
  float below = p * ex2_approx(x * (x * -0.72134752f));
  return x * (x < 0 ? below : 1.f - below);
}

// softClamp is 3·tanh(x/3), by a series where the quotient of exponentials would lose digits.
DEVICE float softClamp(float x) {
  float y = x * (1.f / 3.f), s = y * y, e = ex2_approx(-2.8853900817779268f * __builtin_fabsf(y));
  if (s < 0.04f) return x + x * s * (-0.33333333f + s * (0.13333333f + s * (-0.053968254f + s * 0.021869489f)));
  float far = 3.f * (1.f - e) * rcp_approx(1.f + e);
  return x < 0 ? -far : far;
}

DEVICE float activate(int act, float x) {
  switch (act) {
  case SILU: return x * sigmoid(x);
  case GELU: return gelu(x);
  case QUICK_GELU: return x * sigmoid(1.702f * x);
  case RELU: return x < 0 ? 0.f : x;  // NaN stays NaN
  case LEAKY_RELU: return x < 0 ? 0.2f * x : x;
  case SOFT_CLAMP: return softClamp(x);
  }
  return x;
}
