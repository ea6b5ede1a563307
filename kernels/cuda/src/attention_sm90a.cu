// Flash attention for Hopper and heads of 64: both products by wgmma with the left operand in registers.
#include "attention.cuh"
#include "hopper.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// flash: GROUPS warpgroups of 64 queries each; keys and values come in tiles of KEYS, two of them in flight. While one warpgroup computes exponentials, the
// others multiply.
template <int GROUPS, int KEYS> DEVICE void flash(const Attention &p) {
  constexpr int QUERIES = 64 * GROUPS, NT = 128 * GROUPS, TILE = KEYS * 128;
  int t = thread(), l = lane(), head = blockY(), sample = blockZ(), q0 = blockX() * QUERIES, row0 = q0 + warp() * 16 + (l >> 2);
  u32 shared = (sharedAddress(dynamicShared) + 1023) & ~1023u, tiles = shared + QUERIES * 128;
  const u16 *q = (const u16 *)p.q + ((i64)sample * p.queries) * p.pitch + head * 64;
  const u16 *keys = (const u16 *)p.k + ((i64)sample * p.keys) * p.pitch + head * 64;
  const u16 *values = (const u16 *)p.v + ((i64)sample * p.keys) * p.pitch + head * 64;

  auto copyRows = [&](u32 dst, const u16 *src, int from, int limit, int rows) __attribute__((always_inline)) {
#pragma unroll
    for (int i = t; i < rows * 8; i += NT) {
      int r = i / 8, c = i % 8;
      bool ok = from + r < limit;
      copyAsync(dst + r * 128 + ((c ^ (r & 7)) << 4), ok ? src + (i64)(from + r) * p.pitch + c * 8 : src, ok);
    }
  };
  int last = p.causal ? minimum(p.keys, q0 + QUERIES) : p.keys, count = (last + KEYS - 1) / KEYS;
  copyRows(shared, q, q0, p.queries, QUERIES);
  copyRows(tiles, keys, 0, p.keys, KEYS);
  copyRows(tiles + TILE, values, 0, p.keys, KEYS);
  copiesBegun();

  u32 fq[4][4];
  float o[32], s[KEYS / 2], top[2] = {-1e30f, -1e30f}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int i = 0; i < 32; i++) o[i] = 0.f;
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++) s[i] = 0.f;
  for (int n = 0; n < count; n++) {
    awaitCopies<0>();
    fenceShared();
    barrier();  // tile n has arrived, and nobody multiplies by the other buffer any more
    if (n + 1 < count) {
      u32 dst = tiles + ((n + 1) & 1) * 2 * TILE;
      copyRows(dst, keys, (n + 1) * KEYS, p.keys, KEYS);
      copyRows(dst + TILE, values, (n + 1) * KEYS, p.keys, KEYS);
    }
    copiesBegun();
    if (n == 0) {
      int r = warp() * 16 + (l & 15);
#pragma unroll
      for (int d = 0; d < 4; d++) loadMatrices(fq[d], shared + r * 128 + (((d * 2 + (l >> 4)) ^ (r & 7)) << 4));
    }
    u32 key = tiles + (n & 1) * 2 * TILE, value = key + TILE;
    groupBegins(s);
#pragma unroll
    for (int d = 0; d < 4; d++) Wgmma<KEYS>::template multiplyRows<0>(s, fq[d], describe(key + d * 32), d);
    groupEnds();
    awaitGroups<0>();
    settled(s);
    int k0 = n * KEYS;
    if (k0 + KEYS > p.keys || (p.causal && k0 + KEYS > q0)) {
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int column = k0 + j * 8 + (l & 3) * 2 + (e & 1);
          if (column >= p.keys || (p.causal && column > row0 + (e >> 1) * 8)) s[4 * j + e] = -__builtin_inff();
        }
    }
    // Running maximum and sum of each row; the four lanes of a quad share a row.
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float m = top[h];
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++) m = maximum(m, maximum(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
      m = maximum(m, shuffleXor(m, 1));
      m = maximum(m, shuffleXor(m, 2));
      float shrink = exp2Fast((top[h] - m) * p.scale), total = 0.f;
      top[h] = m;
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float f = exp2Fast((s[4 * j + 2 * h + e] - m) * p.scale);  // exactly 1 for the largest, which a fused product is not
          s[4 * j + 2 * h + e] = f;
          total += f;
        }
      sum[h] = sum[h] * shrink + total;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        o[4 * j + 2 * h] *= shrink;
        o[4 * j + 2 * h + 1] *= shrink;
      }
    }
    u32 a[KEYS / 16][4];
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) a[j][e] = narrow2(s[8 * j + 2 * e], s[8 * j + 2 * e + 1]);
    groupBegins(o);
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) Wgmma<64>::multiplyRows<1>(o, a[j], describe(value + j * 2048), 1);
    groupEnds();
    awaitGroups<0>();
    settled(o);
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float total = sum[h];
    total += shuffleXor(total, 1);
    total += shuffleXor(total, 2);
    float f = reciprocal(total);
    int row = row0 + h * 8;
    if (row >= p.queries) continue;
    i64 first = ((i64)sample * p.queries + row) * p.pitch + head * 64 + (l & 3) * 2;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      float x = o[4 * j + 2 * h] * f, y = o[4 * j + 2 * h + 1] * f;
      if (p.outType == F32) {
        ((float *)p.out)[first + j * 8] = x;
        ((float *)p.out)[first + j * 8 + 1] = y;
      } else {
        *(u32 *)((u16 *)p.out + first + j * 8) = narrow2(x, y);
      }
    }
  }
}

GLOBAL void THREADS(256, 2) wflash_128x64(const Attention p) { flash<2, 64>(p); }
GLOBAL void THREADS(384, 1) wflash_192x128(const Attention p) { flash<3, 128>(p); }
