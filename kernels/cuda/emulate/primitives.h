// src/primitives.cuh for the CPU. Every thread of a block is a fiber; the 32 fibers of a warp meet where its lanes
// exchange data. A cp.async copies when it is waited for, so that a missing wait shows.
#pragma once

#define GLOBAL extern "C"
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED
#define LAUNCH_BOUNDS(maxThreads, minBlocks)

struct WarpExchange {
  unsigned words[2][32][6];
  int arrived, generation;
};

struct Fiber {
  void *stack;
  int thread, done;
  WarpExchange *exchange;  // of the warp
  int buffer;              // the half of its words that the next exchange uses: the other may still be read
  struct {
    u32 dst;
    const void *src;
    int valid, group;
  } copies[512];
  int copyCount, group;
};

extern "C" {
extern Fiber *self;
extern int emulatedThreads, emulatedBlock[3], emulatedGrid[3];
extern char dynamicShared[];
void syncWarp();
void syncBlock();
void cpAsyncWait(int pending);
void cpAsyncIssue(u32 dst, const void *src, bool valid);
}

DEVICE int threadIdxX() { return self->thread; }
DEVICE int laneId() { return self->thread & 31; }
DEVICE int warpId() { return self->thread >> 5; }
DEVICE int blockDimX() { return emulatedThreads; }
DEVICE int blockIdxX() { return emulatedBlock[0]; }
DEVICE int blockIdxY() { return emulatedBlock[1]; }
DEVICE int blockIdxZ() { return emulatedBlock[2]; }
DEVICE int gridDimX() { return emulatedGrid[0]; }
DEVICE void trap() { __builtin_trap(); }
DEVICE void syncthreads() { syncBlock(); }
DEVICE void syncwarp() { syncWarp(); }

DEVICE float max(float a, float b) { return __builtin_fmaxf(a, b); }

DEVICE float fp16ToFloat(u16 h) { return (float)__builtin_bit_cast(_Float16, h); }
DEVICE u16 floatToFp16(float f) { return __builtin_bit_cast(u16, (_Float16)f); }
#ifdef BF16
DEVICE float half2float(u16 h) { return __builtin_bit_cast(float, (u32)h << 16); }
DEVICE u16 float2half(float f) {
  u32 b = __builtin_bit_cast(u32, f);
  if (f != f) return 0x7fff;
  return (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}
#else
DEVICE float half2float(u16 h) { return fp16ToFloat(h); }
DEVICE u16 float2half(float f) { return floatToFp16(f); }
#endif
DEVICE u32 floats2half2(float low, float high) { return float2half(low) | (u32)float2half(high) << 16; }

DEVICE u32 shfl_xor(u32 w, int mask) {
  int buffer = self->buffer;
  self->buffer = 1 - buffer;
  self->exchange->words[buffer][laneId()][0] = w;
  syncWarp();
  return self->exchange->words[buffer][laneId() ^ mask][0];
}
DEVICE float shfl_xor(float f, int mask) { return __builtin_bit_cast(float, shfl_xor(__builtin_bit_cast(u32, f), mask)); }

DEVICE int warp_uniform(int x) { return x; }

DEVICE bool any_sync(bool condition) {
  int buffer = self->buffer;
  self->buffer = 1 - buffer;
  self->exchange->words[buffer][laneId()][0] = condition;
  syncWarp();
  for (int i = 0; i < 32; i++)
    if (self->exchange->words[buffer][i][0]) return true;
  return false;
}
DEVICE float ex2_approx(float x) { return __builtin_exp2f(x); }
DEVICE float rcp_rn(float x) { return 1.f / x; }
DEVICE float rcp_approx(float x) { return 1.f / x; }
DEVICE float sqrt_rn(float x) { return __builtin_sqrtf(x); }
DEVICE float mul_rn(float a, float b) { return a * b; }

DEVICE u32 ldg(const void *p) { return *(const u32 *)p; }
DEVICE void ldg_float2(const float *p, float *f) { f[0] = p[0], f[1] = p[1]; }

DEVICE u32 cvta_to_shared(const void *p) { return (u32)((const char *)p - dynamicShared); }
DEVICE void cp_async_zfill(u32 dst, const void *src, bool valid) { cpAsyncIssue(dst, src, valid); }
DEVICE void prefetch_l1(u32, const void *) {}
DEVICE void cp_async_commit() { self->group++; }
template <int N> DEVICE void cp_async_wait() { cpAsyncWait(N); }

DEVICE void ldmatrix_x4(u32 *r, u32 at) {
  int buffer = self->buffer, l = laneId();
  self->buffer = 1 - buffer;
  self->exchange->words[buffer][l][0] = at;
  syncWarp();
  for (int i = 0; i < 4; i++) r[i] = *(u32 *)(dynamicShared + self->exchange->words[buffer][8 * i + l / 4][0] + 4 * (l % 4));
}
DEVICE void stmatrix_x4(u32 at, const u32 *w) {
  int buffer = self->buffer, l = laneId();
  self->buffer = 1 - buffer;
  self->exchange->words[buffer][l][0] = at;
  syncWarp();
  for (int i = 0; i < 4; i++) *(u32 *)(dynamicShared + self->exchange->words[buffer][8 * i + l / 4][0] + 4 * (l % 4)) = w[i];
}
DEVICE uint4 ld_shared_v4(u32 at) { return *(const uint4 *)(dynamicShared + at); }
DEVICE void ldmatrix_x4_trans(u32 *r, u32 at) {
  int buffer = self->buffer, l = laneId();
  self->buffer = 1 - buffer;
  self->exchange->words[buffer][l][0] = at;
  syncWarp();
  for (int i = 0; i < 4; i++) {
    u16 low = *(u16 *)(dynamicShared + self->exchange->words[buffer][8 * i + 2 * (l % 4)][0] + 2 * (l / 4));
    u16 high = *(u16 *)(dynamicShared + self->exchange->words[buffer][8 * i + 2 * (l % 4) + 1][0] + 2 * (l / 4));
    r[i] = low | (u32)high << 16;
  }
}
DEVICE void mma_m16n8k16(float *c, const u32 *a, u32 b0, u32 b1) {
  int buffer = self->buffer, l = laneId(), g = l / 4, q = l % 4;
  self->buffer = 1 - buffer;
  u32(*w)[6] = self->exchange->words[buffer];
  for (int i = 0; i < 4; i++) w[l][i] = a[i];
  w[l][4] = b0;
  w[l][5] = b1;
  syncWarp();
  auto half = [](u32 x, int i) { return half2float((u16)(i ? x >> 16 : x)); };
  for (int e = 0; e < 4; e++) {
    int row = g + (e >> 1) * 8, column = 2 * q + (e & 1);
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      u32 x = w[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], y = w[column * 4 + k % 8 / 2][4 + k / 8];
      sum += half(x, k & 1) * half(y, k & 1);
    }
    c[e] += sum;
  }
}

// wgmma: operands are in shared memory, each lane computes its own accumulators, and the swizzle is one of addresses.
DEVICE void fence_proxy_async() {}
template <int N> DEVICE void wgmma_fence(float (&)[N]) {}
template <int N> DEVICE void fence_operand(float (&)[N]) {}
DEVICE void wgmma_commit() {}
template <int N> DEVICE void wgmma_wait() {}

DEVICE float descElement(u64 d, int row, int k, bool transposed) {
  u32 at = (u32)(d & 0x3fff) * 16, step = (u32)(d >> 32 & 0x3fff) * 16;
  at += transposed ? step * (k / 8) + k % 8 * 128 + row * 2 : step * (row / 8) + row % 8 * 128 + k * 2;
  at ^= (at >> 7 & 7) << 4;
  return half2float(*(u16 *)(dynamicShared + at));
}
template <int N> struct Wgmma {
  static void sums(float *c, float (*x)[16], u64 b, int scaleD, bool transposed) {
    for (int i = 0; i < N / 2 && !scaleD; i++) c[i] = 0;
    for (int j = 0; j < N / 8; j++)
      for (int e = 0; e < 2; e++)
        for (int k = 0; k < 16; k++) {
          float y = descElement(b, j * 8 + laneId() % 4 * 2 + e, k, transposed);
          c[4 * j + e] += x[0][k] * y;
          c[4 * j + 2 + e] += x[1][k] * y;
        }
  }
  static void ss(float *c, u64 a, u64 b, int scaleD) {
    int row = warpId() % 4 * 16 + laneId() / 4;
    float x[2][16];
    for (int k = 0; k < 16; k++) x[0][k] = descElement(a, row, k, false), x[1][k] = descElement(a, row + 8, k, false);
    sums(c, x, b, scaleD, false);
  }
  template <int TRANS_B> static void rs(float *c, const u32 *a, u64 b, int scaleD) {
    int buffer = self->buffer, l = laneId();
    self->buffer = 1 - buffer;
    u32(*w)[6] = self->exchange->words[buffer];
    for (int i = 0; i < 4; i++) w[l][i] = a[i];
    syncWarp();
    float x[2][16];
    for (int h = 0; h < 2; h++)
      for (int k = 0; k < 16; k++) {
        u32 two = w[l / 4 * 4 + k % 8 / 2][h + k / 8 * 2];
        x[h][k] = half2float((u16)(k & 1 ? two >> 16 : two));
      }
    sums(c, x, b, scaleD, TRANS_B);
  }
};
