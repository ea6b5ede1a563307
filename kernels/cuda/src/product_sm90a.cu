// The product for Hopper where the copy engine can gather its operands: matrices, and NHWC images of any stride whose channels are multiples of 8. One warpgroup
// copies slices of 64 of the depth, two multiply; blocks go on from tile to tile, so that the copies of the next one run during the end of the last. The two
// share every tile, or take turns (CUTLASS calls that ping-pong): while one turns its sums into outputs, the other has the matrix units. Blocks of a cluster have
// tiles one below the other, and each copies a part of the columns' slices to all of them, for what leaves the second-level cache is what limits them.
#include "finish.cuh"
#include "hopper.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// Cluster is this block's place in its cluster, and which of the cluster's tiles, of all its blocks' rows together, it has.
struct Cluster {
  int blocks, rank, first, step;
  DEVICE_MEMBER Cluster() : blocks(clusterBlocks()), rank(clusterRank()), first(blockX() / blocks), step(blocksX() / blocks) {}
  // corner is where this block's part of a tile begins. Tiles come in groups of eight rows of tiles, so that the blocks running at once share both operands in cache.
  DEVICE_MEMBER void corner(const Product &p, int tile, int bm, int bn, int &m0, int &n0) const {
    int group = tile / (8 * p.tilesN), inGroup = tile % (8 * p.tilesN), height = minimum(8, p.tilesM - group * 8);
    m0 = ((group * 8 + inGroup % height) * blocks + rank) * bm, n0 = inGroup / height * bn;
  }
};

// copyOperands is the warpgroup that copies: one thread of it. What comes of weights is under way before the kernel ahead is done.
template <int BM, int BN, int STAGES> DEVICE void copyOperands(const Product &p, const Cluster &cluster, u64 maps, u32 base, u32 full, u32 free) {
  constexpr int STAGE = (BM + BN) * 128, MAP = sizeof(TensorMap);
  int part = BN / cluster.blocks;
  int stage = 0, taps = maximum(p.taps, 1), each = p.slices1 + p.slices2, ahead = 0;
  auto column = [&](int tap, int s) { return tap * p.channels + (s < p.slices1 ? s * 64 : p.channels1 + (s - p.slices1) * 64); };
  auto copyColumns = [&](int stage, int tap, int s, int n0) {
    arriveExpecting(full + 8 * stage, STAGE);
    u32 at = base + stage * STAGE + BM * 128 + cluster.rank * part * 128;
    if (cluster.blocks > 1)
      copyBoxToAll(at, maps + 2 * MAP, column(tap, s), n0 + cluster.rank * part, 0, full + 8 * stage, cluster.blocks);
    else
      copyBox(at, maps + 2 * MAP, column(tap, s), n0, 0, full + 8 * stage);
  };
  if (p.weights && cluster.first < p.tiles) {
    int m0, n0;
    cluster.corner(p, cluster.first, BM, BN, m0, n0);
    for (; ahead < minimum(STAGES, taps * each); ahead++) copyColumns(ahead, ahead / each, ahead % each, n0);
  }
  awaitPrevious();
  u32 parity = 1;
  for (int tile = cluster.first; tile < p.tiles; tile += cluster.step) {
    int m0, n0;
    cluster.corner(p, tile, BM, BN, m0, n0);
    int image = 0, y = 0, x = 0;
    if (p.taps) {
      image = m0 / (p.OH * p.OW);
      int pixel = m0 - image * (p.OH * p.OW);
      y = pixel / p.OW * p.stride - p.top, x = pixel % p.OW * p.stride - p.left;
    }
    for (int tap = 0; tap < taps; tap++) {
      int ky = tap / p.kw, kx = tap - ky * p.kw;
      for (int s = 0; s < each; s++) {
        bool second = s >= p.slices1;
        int c = (second ? s - p.slices1 : s) * 64;
        u64 map = second ? maps + MAP : maps;
        u32 at = base + stage * STAGE, counter = full + 8 * stage;
        if (ahead > 0) {
          ahead--;
        } else {
          awaitPhase(free + 8 * stage, parity);
          copyColumns(stage, tap, s, n0);
        }
        if (p.taps)
          copyPixels(at, map, c, x, y, image, kx, ky, counter);
        else
          copyBox(at, map, c, m0, 0, counter);
        if (++stage == STAGES) stage = 0, parity ^= 1;
      }
    }
  }
}

// product: if ALTERNATE, tiles of 64·ROWS by BN, every second one a warpgroup's; else tiles of 128·ROWS by BN, of which each warpgroup has 64·ROWS rows.
template <int ROWS, int BN, int STAGES, bool ALTERNATE> DEVICE void product(const Product &p, u64 maps) {
  constexpr int OWN = 64 * ROWS, BM = ALTERNATE ? OWN : 2 * OWN, STAGE = (BM + BN) * 128;
  // What is finished at a time is 64 rows and a number of columns that leaves registers for loads.
  constexpr int PIECES = BN > 160 ? 2 : 1, PIECE = BN / PIECES, SUMS = ROWS * BN / 2;
  // The swizzle is one of addresses, and no static shared memory is in front of what is aligned to 1024 bytes.
  u32 base = sharedAddress(dynamicShared), full = base + STAGES * STAGE, free = full + 8 * STAGES, turns = free + 8 * STAGES;
  Staged<PIECE> staged{turns + 16 + warp() * Staged<PIECE>::SIZE};
  int group = uniform(warp() >> 2);
  Cluster cluster;
  allowNext();
  if (thread() == 0) {
    for (int i = 0; i < STAGES; i++) {
      counterBegins(full + 8 * i, 1);
      counterBegins(free + 8 * i, (ALTERNATE ? 4 : 8) * cluster.blocks);  // the warps that multiply
    }
    for (int i = 0; i < 2; i++) counterBegins(turns + 8 * i, 4);
    countersBegun();
  }
  if (cluster.blocks > 1)
    clusterBarrier();
  else
    barrier();
  // Another block may still copy to this one, or arrive at its counters.
  auto end = [&] {
    if (cluster.blocks > 1) meet(), clusterBarrier();
  };
  if (group == 2) {
    giveRegisters<40>();
    if (thread() == 256)
      copyOperands<BM, BN, STAGES>(p, cluster, maps, base, full, free);
    else
      awaitPrevious();
    end();
    return;
  }
  awaitPrevious();
  takeRegisters<232>();
  int slices = (p.slices1 + p.slices2) * maximum(p.taps, 1), stage = 0, tile = cluster.first, step = cluster.step;
  u32 parity = 0, turn = group ^ 1;
  auto skip = [&] {  // the stages of a tile that is the other's
    stage += slices;
    parity ^= stage / STAGES & 1;
    stage %= STAGES;
  };
  if (ALTERNATE) {
    if (group) tile += step, skip();
    step *= 2;
  }
  bool speaks = lane() == 0;
  auto release = [&](int stage) {  // to whoever copies to it
    if (cluster.blocks > 1) {
      if (lane() < cluster.blocks) arriveAt(free + 8 * stage, lane());
    } else if (speaks) {
      arrive(free + 8 * stage);
    }
  };
  float acc[SUMS];
#pragma unroll
  for (int i = 0; i < SUMS; i++) acc[i] = 0.f;
  for (; tile < p.tiles; tile += step) {
    int m0, n0, before = 0;
    cluster.corner(p, tile, BM, BN, m0, n0);
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
      awaitPhase(turns + 8 * group, turn);
      turn ^= 1;
    }
    for (int s = 0; s < slices; s++) {
      awaitPhase(full + 8 * stage, parity);
      u32 a = base + stage * STAGE + (ALTERNATE ? 0 : group * ROWS * 8192), b = base + stage * STAGE + BM * 128;
      groupBegins(acc);
#pragma unroll
      for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int kk = 0; kk < 4; kk++) Wgmma<BN>::multiply(acc + r * BN / 2, describe(a + r * 8192 + kk * 32), describe(b + kk * 32), kk ? 1 : s);
      groupEnds();
      if (!ALTERNATE && s == 0) fetchRows();  // while the products are under way
      if (ALTERNATE && s == slices - 1 && speaks) arrive(turns + 8 * (group ^ 1));
      awaitGroups<1>();
      if (s > 0) release(before);
      before = stage;
      if (++stage == STAGES) stage = 0, parity ^= 1;
    }
    awaitGroups<0>();
    settled(acc);
    release(before);
    if (ALTERNATE)
      skip();
    else
      settleRows();
    Sums sums;
#pragma clang loop unroll(disable)
    for (int i = 0; i < ROWS * PIECES; i++) {  // the registers go through the loop, so that its code stays short
      int m = m0 + i / PIECES * 64, n = n0 + i % PIECES * PIECE;
      if (i && p.residual && whole<PIECE>(p, n)) staged.fill(p, m, n);
      finish<PIECE>(p, rows[0], acc, sums, staged, m, n);
#pragma unroll
      for (int k = 0; k < SUMS - PIECE / 2; k++) acc[k] = acc[k + PIECE / 2];
      if ((i + 1) % PIECES) continue;
      sums.write(p, m, n0 / BN);
      sums = Sums{};
      rows[0] = rows[ROWS - 1];
    }
  }
  end();
}

#define TILE(ROWS, BM, BN, STAGES) \
  GLOBAL void THREADS(384, 1) tgemm_##BM##x##BN(const Product p) { product<ROWS, BN, STAGES, false>(p, MAPS(tgemm_##BM##x##BN, p)); }
#define ALTERNATE(ROWS, BM, BN, STAGES) \
  GLOBAL void THREADS(384, 1) agemm_##BM##x##BN(const Product p) { product<ROWS, BN, STAGES, true>(p, MAPS(agemm_##BM##x##BN, p)); }

TILE(1, 128, 256, 4)
TILE(1, 128, 160, 5)
TILE(1, 128, 128, 6)
TILE(2, 256, 128, 4)
ALTERNATE(2, 128, 160, 5)
ALTERNATE(1, 64, 160, 6)
ALTERNATE(1, 64, 80, 10)
