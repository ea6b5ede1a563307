// The product for Hopper where the copy engine can gather its operands: matrices, and NHWC images of any stride whose channels are multiples of 8. Threads of one
// warpgroup copy slices of 64 of the depth, two multiply; blocks go on from tile to tile, so that the copies of the next one run during the end of the last. The two
// share every tile, or take turns (CUTLASS calls that ping-pong): while one turns its sums into outputs, the other has the matrix units.
#include "finish.cuh"
#include "hopper.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// corner is where a tile begins. Tiles come in groups of eight rows of tiles, so that the blocks running at once share both operands in cache.
DEVICE void corner(const Product &p, int tile, int bm, int bn, int &m0, int &n0) {
  int group = p.tilesM > 8 ? tile / (8 * p.tilesN) : 0, inGroup = tile - group * 8 * p.tilesN, height = min(8, p.tilesM - group * 8);
  int column = inGroup / height;
  m0 = (group * 8 + inGroup - column * height) * bm, n0 = column * bn;
}

// Slice is a place in the depth.
struct Slice {
  int each, tap = 0, s = 0, ky = 0, kx = 0;  // slices of a tap; this one's tap, and its number there
  DEVICE_MEMBER explicit Slice(const Product &p) : each(p.slices1 + p.slices2) {}
  DEVICE_MEMBER void next(const Product &p) {
    if (++s < each) return;
    s = 0, tap++;
    if (++kx == p.kw) kx = 0, ky++;
  }
  // channel is its first, counted through both sources.
  DEVICE_MEMBER int channel(const Product &p) const { return s < p.slices1 ? s * 64 : p.channels1 + (s - p.slices1) * 64; }
};

// copyColumns copies what tiles need of w: one thread.
template <int BM, int BN, int STAGES> DEVICE void copyColumns(const Product &p, u64 map, u32 base, u32 full, u32 free) {
  int slices = (p.slices1 + p.slices2) * max(p.taps, 1);
  Ring<STAGES> stage(1);
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int m0, n0;
    corner(p, tile, BM, BN, m0, n0);
    Slice at(p);
    for (int i = 0; i < slices; i++, at.next(p), stage.next()) {
      mbarrier_wait_parity(free + 8 * stage.at, stage.parity);
      mbarrier_arrive_expect_tx(full + 8 * stage.at, BN * 128);
      tma_load_tile(base + stage.at * (BM + BN) * 128 + BM * 128, map, at.tap * p.channels + at.channel(p), n0, 0, full + 8 * stage.at);
    }
  }
}

// copyRows copies what they need of x and x2: another thread.
template <int BM, int BN, int STAGES> DEVICE void copyRows(const Product &p, u64 maps, u32 base, u32 full, u32 free) {
  int slices = (p.slices1 + p.slices2) * max(p.taps, 1);
  Ring<STAGES> stage(1);
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int m0, n0;
    corner(p, tile, BM, BN, m0, n0);
    int image = 0, y = 0, x = 0;
    if (p.taps) {
      image = m0 / (p.OH * p.OW);
      int pixel = m0 - image * (p.OH * p.OW);
      y = pixel / p.OW * p.stride - p.top, x = pixel % p.OW * p.stride - p.left;
    }
    Slice at(p);
    for (int i = 0; i < slices; i++, at.next(p), stage.next()) {
      bool second = at.s >= p.slices1;
      int c = at.channel(p) - (second ? p.channels1 : 0);
      u64 map = second ? maps + sizeof(TensorMap) : maps;
      u32 to = base + stage.at * (BM + BN) * 128, counter = full + 8 * stage.at;
      mbarrier_wait_parity(free + 8 * stage.at, stage.parity);
      mbarrier_arrive_expect_tx(counter, BM * 128);
      if (p.taps)
        tma_load_im2col(to, map, c, x, y, image, at.kx, at.ky, counter);
      else
        tma_load_tile(to, map, c, m0, 0, counter);
    }
  }
}

// product: if ALTERNATE, tiles of 64·ROWS by BN, every second one a warpgroup's; else tiles of 128·ROWS by BN, of which each warpgroup has 64·ROWS rows.
template <int ROWS, int BN, int STAGES, bool ALTERNATE> DEVICE void product(const Product &p, u64 maps) {
  constexpr int OWN = 64 * ROWS, BM = ALTERNATE ? OWN : 2 * OWN, STAGE = (BM + BN) * 128;
  // What is finished at a time is 64 rows and a number of columns that leaves registers for loads.
  constexpr int PIECES = BN > 160 ? 2 : 1, PIECE = BN / PIECES, SUMS = ROWS * BN / 2;
  // The swizzle is one of addresses, and no static shared memory is in front of what is aligned to 1024 bytes.
  u32 base = cvta_to_shared(dynamicShared), full = base + STAGES * STAGE, free = full + 8 * STAGES, turns = free + 8 * STAGES;
  Staged<PIECE> staged{turns + 16 + warp() * Staged<PIECE>::SIZE};
  int group = warp_uniform(warp() >> 2);
  if (threadIdxX() == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 2);
      mbarrier_init(free + 8 * i, ALTERNATE ? 4 : 8);  // the warps that multiply
    }
    for (int i = 0; i < 2; i++) mbarrier_init(turns + 8 * i, 4);
    fence_barrier_init();
  }
  syncthreads();
  if (group == 2) {
    setmaxnreg_dec<40>();
    int w = warp_uniform(warp());
    if (w == 8 && elect_one())
      copyColumns<BM, BN, STAGES>(p, maps + 2 * sizeof(TensorMap), base, full, free);
    else if (w == 9 && elect_one())
      copyRows<BM, BN, STAGES>(p, maps, base, full, free);
    return;
  }
  setmaxnreg_inc<232>();
  int slices = (p.slices1 + p.slices2) * max(p.taps, 1), tile = blockIdxX(), step = gridDimX();
  u32 turn = group ^ 1;
  Ring<STAGES> stage(0);
  if (ALTERNATE) {
    if (group) tile += step, stage.skip(slices);
    step *= 2;
  }
  bool speaks = lane() == 0;
  auto release = [&](u32 stage) {
    if (speaks) mbarrier_arrive(free + 8 * stage);
  };
  float acc[SUMS];
#pragma unroll
  for (int i = 0; i < SUMS; i++) acc[i] = 0.f;
  for (; tile < p.tiles; tile += step) {
    int m0, n0;
    u32 before = 0;
    corner(p, tile, BM, BN, m0, n0);
    if (!ALTERNATE) m0 += group * OWN;
    staged.warm(p, n0);
    if (p.residual && whole<PIECE>(p, n0)) staged.fill(p, m0, n0);
    Rows rows[ROWS];
    auto rowOf = [&](int r) { return m0 + r * 64 + (warp() & 3) * 16 + (lane() >> 2); };
    auto fetchRows = [&] {
#pragma unroll
      for (int r = 0; r < ROWS; r++) rows[r].fetch(p, rowOf(r));
    };
    auto settleRows = [&] {
#pragma unroll
      for (int r = 0; r < ROWS; r++) rows[r].settle(p, rowOf(r));
    };
    if (ALTERNATE) {  // while the other multiplies
      fetchRows(), settleRows();
      // Ahead of its turn, a warpgroup would take the end of an earlier phase of a stage for the one that it waits for.
      mbarrier_wait_parity(turns + 8 * group, turn);
      turn ^= 1;
    }
    for (int s = 0; s < slices; s++) {
      mbarrier_wait_parity(full + 8 * stage.at, stage.parity);
      u32 a = base + stage.at * STAGE + (ALTERNATE ? 0 : group * ROWS * 8192), b = base + stage.at * STAGE + BM * 128;
      wgmma_fence(acc);
#pragma unroll
      for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int kk = 0; kk < 4; kk++) Wgmma<BN>::ss(acc + r * BN / 2, wgmma_desc(a + r * 8192 + kk * 32), wgmma_desc(b + kk * 32), kk ? 1 : s);
      wgmma_commit();
      if (!ALTERNATE && s == 0) fetchRows();  // while the products are under way
      if (ALTERNATE && s == slices - 1 && speaks) mbarrier_arrive(turns + 8 * (group ^ 1));
      wgmma_wait<1>();
      if (s > 0) release(before);
      before = stage.at;
      stage.next();
    }
    wgmma_wait<0>();
    fence_operand(acc);
    release(before);
    if (ALTERNATE)
      stage.skip(slices);  // those of a tile that is the other's
    else
      settleRows();
    Sums sums;
#pragma clang loop unroll(disable)
    for (int i = 0; i < ROWS * PIECES; i++) {  // the registers go through the loop, so that its code stays short
      int m = m0 + i / PIECES * 64, n = n0 + i % PIECES * PIECE;
      if (i && p.residual && whole<PIECE>(p, n)) staged.fill(p, m, n);
      finish<PIECE>(p, rows[0], acc, sums, staged, m, n);
      if (p.totals) addUp<PIECE>(p, staged, m, n);
#pragma unroll
      for (int k = 0; k < SUMS - PIECE / 2; k++) acc[k] = acc[k + PIECE / 2];
      if ((i + 1) % PIECES) continue;
      sums.write(p, m, n0 / BN);
      sums = Sums{};
      rows[0] = rows[ROWS - 1];
    }
  }
}

#define TILE(ROWS, BM, BN, STAGES) \
  GLOBAL void LAUNCH_BOUNDS(384, 1) tgemm_##BM##x##BN(const Product p) { product<ROWS, BN, STAGES, false>(p, TENSOR_MAPS(tgemm_##BM##x##BN, p)); }
#define ALTERNATE(ROWS, BM, BN, STAGES) \
  GLOBAL void LAUNCH_BOUNDS(384, 1) agemm_##BM##x##BN(const Product p) { product<ROWS, BN, STAGES, true>(p, TENSOR_MAPS(agemm_##BM##x##BN, p)); }

TILE(1, 128, 256, 4)
TILE(1, 128, 160, 5)
TILE(1, 128, 128, 6)
TILE(2, 256, 128, 4)
ALTERNATE(2, 128, 160, 5)
ALTERNATE(1, 64, 160, 6)
ALTERNATE(1, 64, 80, 10)
