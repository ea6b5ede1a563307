// The product for Hopper where the copy engine can gather its operands: matrices, and NHWC images of any stride whose channels are multiples of 8. One warpgroup
// copies slices of 64 of the depth, two multiply; blocks go on from tile to tile, so that the copies of the next one run during the end of the last.
#include "finish.cuh"
#include "hopper.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// corner is where a tile begins. Tiles come in groups of eight rows of tiles, so that the blocks running at once share both operands in cache.
DEVICE void corner(const Product &p, int tile, int bm, int bn, int &m0, int &n0) {
  int group = tile / (8 * p.tilesN), inGroup = tile % (8 * p.tilesN), height = minimum(8, p.tilesM - group * 8);
  m0 = (group * 8 + inGroup % height) * bm, n0 = inGroup / height * bn;
}

// copyOperands is the warpgroup that copies: one thread of it.
template <int BM, int BN, int STAGES> DEVICE void copyOperands(const Product &p, u64 maps, u32 base, u32 full, u32 free) {
  constexpr int STAGE = (BM + BN) * 128, MAP = sizeof(TensorMap);
  int stage = 0, taps = maximum(p.taps, 1);
  u32 parity = 1;
  for (int tile = blockX(); tile < p.tiles; tile += blocksX()) {
    int m0, n0;
    corner(p, tile, BM, BN, m0, n0);
    int image = 0, y = 0, x = 0;
    if (p.taps) {
      image = m0 / (p.OH * p.OW);
      int pixel = m0 - image * (p.OH * p.OW);
      y = pixel / p.OW * p.stride - p.top, x = pixel % p.OW * p.stride - p.left;
    }
    for (int tap = 0; tap < taps; tap++) {
      int ky = tap / p.kw, kx = tap - ky * p.kw;
      for (int s = 0; s < p.slices1 + p.slices2; s++) {
        bool second = s >= p.slices1;
        int c = (second ? s - p.slices1 : s) * 64, k = tap * p.channels + c + (second ? p.channels1 : 0);
        u64 map = second ? maps + MAP : maps;
        u32 at = base + stage * STAGE, counter = full + 8 * stage;
        awaitPhase(free + 8 * stage, parity);
        arriveExpecting(counter, STAGE);
        if (p.taps)
          copyPixels(at, map, c, x, y, image, kx, ky, counter);
        else
          copyBox(at, map, c, m0, 0, counter);
        copyBox(at + BM * 128, maps + 2 * MAP, k, n0, 0, counter);
        if (++stage == STAGES) stage = 0, parity ^= 1;
      }
    }
  }
}

// product: tiles of 128·ROWS by BN; each of the two warpgroups has 64·ROWS rows.
template <int ROWS, int BN, int STAGES> DEVICE void product(const Product &p, u64 maps) {
  constexpr int BM = 128 * ROWS, STAGE = (BM + BN) * 128;
  u32 base = (sharedAddress(dynamicShared) + 1023) & ~1023u, full = base + STAGES * STAGE, free = full + 8 * STAGES;
  int group = warp() >> 2;
  allowNext();
  if (thread() == 0) {
    for (int i = 0; i < STAGES; i++) {
      counterBegins(full + 8 * i, 1);
      counterBegins(free + 8 * i, 8);  // the warps that multiply
    }
    countersBegun();
  }
  barrier();
  awaitPrevious();
  if (group == 2) {
    giveRegisters<40>();
    if (thread() == 256) copyOperands<BM, BN, STAGES>(p, maps, base, full, free);
    return;
  }
  takeRegisters<232>();
  int stage = 0, slices = (p.slices1 + p.slices2) * maximum(p.taps, 1);
  u32 parity = 0;
  bool speaks = lane() == 0;
  float acc[ROWS][BN / 2];
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int i = 0; i < BN / 2; i++) acc[r][i] = 0.f;
  for (int tile = blockX(); tile < p.tiles; tile += blocksX()) {
    int m0, n0, before = 0;
    corner(p, tile, BM, BN, m0, n0);
    Rows rows[ROWS];
    for (int s = 0; s < slices; s++) {
      awaitPhase(full + 8 * stage, parity);
      u32 a = base + stage * STAGE + group * ROWS * 8192, b = base + stage * STAGE + BM * 128;
#pragma unroll
      for (int r = 0; r < ROWS; r++) settled(acc[r]);
      groupBegins(acc[0]);
#pragma unroll
      for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int kk = 0; kk < 4; kk++) Wgmma<BN>::multiply(acc[r], describe(a + r * 8192 + kk * 32), describe(b + kk * 32), s + kk);
      groupEnds();
      if (s == 0) {  // while the first products are under way
#pragma unroll
        for (int r = 0; r < ROWS; r++) rows[r].read(p, m0 + (group * ROWS + r) * 64 + (warp() & 3) * 16 + (lane() >> 2));
      }
      awaitGroups<1>();
      if (s > 0 && speaks) arrive(free + 8 * before);
      before = stage;
      if (++stage == STAGES) stage = 0, parity ^= 1;
    }
    awaitGroups<0>();
#pragma unroll
    for (int r = 0; r < ROWS; r++) settled(acc[r]);
    if (speaks) arrive(free + 8 * before);
    int m = m0 + group * ROWS * 64;
    finish<BN, ROWS * BN <= 160>(p, rows[0], acc[0], m, n0);
    if constexpr (ROWS > 1) finish<BN, ROWS * BN <= 160>(p, rows[1], acc[1], m + 64, n0);
  }
}

#define TILE(ROWS, BM, BN, STAGES) \
  GLOBAL void THREADS(384, 1) tgemm_##BM##x##BN(const Product p) { product<ROWS, BN, STAGES>(p, MAPS(tgemm_##BM##x##BN, p)); }

TILE(1, 128, 256, 4)
TILE(1, 128, 160, 6)
TILE(1, 128, 128, 6)
TILE(2, 256, 128, 4)
