// src/primitives.cuh for the processor. Every thread of a block is a fiber; what a warp does together is a meeting of its 32 fibers. Copies to shared
// memory happen when they are waited for, so that a missing wait shows.
#pragma once

#define GLOBAL extern "C"
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED
#define THREADS(most, blocks)

struct Meeting {
  unsigned words[2][32][6];
  int arrived, generation;
};

struct Fiber {
  void *stack;
  int thread, done;
  Meeting *meeting;  // of the warp
  int turn;          // which half of the meeting's words the next meeting uses
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
void meetWarp();
void meetBlock();
void finishCopies(int pending);
void copyLater(u32 dst, const void *src, bool valid);
}

DEVICE int thread() { return self->thread; }
DEVICE int lane() { return self->thread & 31; }
DEVICE int warp() { return self->thread >> 5; }
DEVICE int threads() { return emulatedThreads; }
DEVICE int blockX() { return emulatedBlock[0]; }
DEVICE int blockY() { return emulatedBlock[1]; }
DEVICE int blockZ() { return emulatedBlock[2]; }
DEVICE int blocksX() { return emulatedGrid[0]; }
DEVICE void trap() { __builtin_trap(); }
DEVICE void barrier() { meetBlock(); }
DEVICE void meet() { meetWarp(); }

DEVICE float maximum(float a, float b) { return __builtin_fmaxf(a, b); }

DEVICE float widenHalf(u16 h) { return (float)__builtin_bit_cast(_Float16, h); }
#ifdef BF16
DEVICE float widen(u16 h) { return __builtin_bit_cast(float, (u32)h << 16); }
DEVICE u16 narrow(float f) {
  u32 b = __builtin_bit_cast(u32, f);
  if (f != f) return 0x7fff;
  return (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}
#else
DEVICE float widen(u16 h) { return widenHalf(h); }
DEVICE u16 narrow(float f) { return __builtin_bit_cast(u16, (_Float16)f); }
#endif
DEVICE u32 narrow2(float low, float high) { return narrow(low) | (u32)narrow(high) << 16; }

DEVICE u32 shuffleXor(u32 w, int mask) {
  int turn = self->turn;
  self->turn = 1 - turn;
  self->meeting->words[turn][lane()][0] = w;
  meetWarp();
  return self->meeting->words[turn][lane() ^ mask][0];
}
DEVICE float shuffleXor(float f, int mask) { return __builtin_bit_cast(float, shuffleXor(__builtin_bit_cast(u32, f), mask)); }

DEVICE int uniform(int x) { return x; }

DEVICE bool anyLane(bool condition) {
  int turn = self->turn;
  self->turn = 1 - turn;
  self->meeting->words[turn][lane()][0] = condition;
  meetWarp();
  for (int i = 0; i < 32; i++)
    if (self->meeting->words[turn][i][0]) return true;
  return false;
}
DEVICE float exp2Fast(float x) { return __builtin_exp2f(x); }
DEVICE float reciprocal(float x) { return 1.f / x; }
DEVICE float reciprocalFast(float x) { return 1.f / x; }
DEVICE float rootOf(float x) { return __builtin_sqrtf(x); }
DEVICE float timesRounded(float a, float b) { return a * b; }


DEVICE u32 constantWord(const void *p) { return *(const u32 *)p; }
DEVICE void loadsBegun2(const float *p, float *f) { f[0] = p[0], f[1] = p[1]; }

DEVICE u32 sharedAddress(const void *p) { return (u32)((const char *)p - dynamicShared); }
DEVICE void copyAsync(u32 dst, const void *src, bool valid) { copyLater(dst, src, valid); }
DEVICE void warmCache(u32, const void *) {}
DEVICE void copiesBegun() { self->group++; }
template <int N> DEVICE void awaitCopies() { finishCopies(N); }

DEVICE void loadMatrices(u32 *r, u32 at) {
  int turn = self->turn, l = lane();
  self->turn = 1 - turn;
  self->meeting->words[turn][l][0] = at;
  meetWarp();
  for (int i = 0; i < 4; i++) r[i] = *(u32 *)(dynamicShared + self->meeting->words[turn][8 * i + l / 4][0] + 4 * (l % 4));
}
DEVICE void storeMatrices(u32 at, const u32 *w) {
  int turn = self->turn, l = lane();
  self->turn = 1 - turn;
  self->meeting->words[turn][l][0] = at;
  meetWarp();
  for (int i = 0; i < 4; i++) *(u32 *)(dynamicShared + self->meeting->words[turn][8 * i + l / 4][0] + 4 * (l % 4)) = w[i];
}
DEVICE Vec4 loadShared(u32 at) { return *(const Vec4 *)(dynamicShared + at); }
DEVICE void loadMatricesTransposed(u32 *r, u32 at) {
  int turn = self->turn, l = lane();
  self->turn = 1 - turn;
  self->meeting->words[turn][l][0] = at;
  meetWarp();
  for (int i = 0; i < 4; i++) {
    u16 low = *(u16 *)(dynamicShared + self->meeting->words[turn][8 * i + 2 * (l % 4)][0] + 2 * (l / 4));
    u16 high = *(u16 *)(dynamicShared + self->meeting->words[turn][8 * i + 2 * (l % 4) + 1][0] + 2 * (l / 4));
    r[i] = low | (u32)high << 16;
  }
}
DEVICE void multiply(float *c, const u32 *a, u32 b0, u32 b1) {
  int turn = self->turn, l = lane(), g = l / 4, q = l % 4;
  self->turn = 1 - turn;
  u32(*w)[6] = self->meeting->words[turn];
  for (int i = 0; i < 4; i++) w[l][i] = a[i];
  w[l][4] = b0;
  w[l][5] = b1;
  meetWarp();
  auto half = [](u32 x, int i) { return widen((u16)(i ? x >> 16 : x)); };
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

// What a warpgroup multiplies is in shared memory: each lane computes its own sums, and the swizzle is one of addresses.
DEVICE void fenceShared() {}
template <int N> DEVICE void groupBegins(float (&)[N]) {}
template <int N> DEVICE void settled(float (&)[N]) {}
DEVICE void groupEnds() {}
template <int N> DEVICE void awaitGroups() {}

DEVICE float described(u64 d, int row, int k, bool turned) {
  u32 at = (u32)(d & 0x3fff) * 16, step = (u32)(d >> 32 & 0x3fff) * 16;
  at += turned ? step * (k / 8) + k % 8 * 128 + row * 2 : step * (row / 8) + row % 8 * 128 + k * 2;
  at ^= (at >> 7 & 7) << 4;
  return widen(*(u16 *)(dynamicShared + at));
}
template <int N> struct Wgmma {
  static void sums(float *c, float (*x)[16], u64 b, int keep, bool turned) {
    for (int i = 0; i < N / 2 && !keep; i++) c[i] = 0;
    for (int j = 0; j < N / 8; j++)
      for (int e = 0; e < 2; e++)
        for (int k = 0; k < 16; k++) {
          float y = described(b, j * 8 + lane() % 4 * 2 + e, k, turned);
          c[4 * j + e] += x[0][k] * y;
          c[4 * j + 2 + e] += x[1][k] * y;
        }
  }
  static void multiply(float *c, u64 a, u64 b, int keep) {
    int row = warp() % 4 * 16 + lane() / 4;
    float x[2][16];
    for (int k = 0; k < 16; k++) x[0][k] = described(a, row, k, false), x[1][k] = described(a, row + 8, k, false);
    sums(c, x, b, keep, false);
  }
  template <int TURNED> static void multiplyRows(float *c, const u32 *a, u64 b, int keep) {
    int turn = self->turn, l = lane();
    self->turn = 1 - turn;
    u32(*w)[6] = self->meeting->words[turn];
    for (int i = 0; i < 4; i++) w[l][i] = a[i];
    meetWarp();
    float x[2][16];
    for (int h = 0; h < 2; h++)
      for (int k = 0; k < 16; k++) {
        u32 two = w[l / 4 * 4 + k % 8 / 2][h + k / 8 * 2];
        x[h][k] = widen((u16)(k & 1 ? two >> 16 : two));
      }
    sums(c, x, b, keep, TURNED);
  }
};
