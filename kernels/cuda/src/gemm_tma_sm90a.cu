// Warp-specialised persistent GEMM and implicit-GEMM convolution for Hopper, by TMA (tiled, or im2col for NHWC images
// of any stride) and wgmma. Channels are multiples of 8. One producer warpgroup loads K-tiles of 64, two consumer
// warpgroups multiply, and a block works through several output tiles. The schedules are CUTLASS's: cooperative, where
// both consumers share every tile, and ping-pong, where they work on alternate tiles and one runs its epilogue while
// the other has the tensor cores.
#include "epilogue.cuh"
#include "hopper.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// rasterize is the tile scheduler: it returns where output tile number tile begins. Tiles are rasterized in groups of
// eight rows of tiles, so that the blocks that run at once share both operands in L2.
DEVICE void rasterize(const GemmTma &p, int tile, int bm, int bn, int &m0, int &n0) {
  int group = p.tilesM > 8 ? tile / (8 * p.tilesN) : 0, inGroup = tile - group * 8 * p.tilesN, height = min(8, p.tilesM - group * 8);
  int column = inGroup / height;
  m0 = (group * 8 + inGroup - column * height) * bm, n0 = column * bn;
}

// KTile iterates over the K-tiles of a product: over the channels of both sources, then over the taps.
struct KTile {
  int perTap, tap = 0, index = 0, ky = 0, kx = 0;  // index: within the tap
  DEVICE_MEMBER explicit KTile(const GemmTma &p) : perTap(p.kTiles1 + p.kTiles2) {}
  DEVICE_MEMBER void advance(const GemmTma &p) {
    if (++index < perTap) return;
    index = 0, tap++;
    if (++kx == p.kw) kx = 0, ky++;
  }
  // channel is the first channel, counted through both sources.
  DEVICE_MEMBER int channel(const GemmTma &p) const { return index < p.kTiles1 ? index * 64 : p.channels1 + (index - p.kTiles1) * 64; }
};

// loadB is the producer of B, a single thread: it loads the K-tiles of w for every output tile of the block.
template <int BM, int BN, int STAGES> DEVICE void loadB(const GemmTma &p, u64 map, u32 base, u32 full, u32 empty) {
  int kTiles = (p.kTiles1 + p.kTiles2) * max(p.taps, 1);
  PipelineState<STAGES> stage(1);
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int m0, n0;
    rasterize(p, tile, BM, BN, m0, n0);
    KTile k(p);
    for (int i = 0; i < kTiles; i++, k.advance(p), stage.advance()) {
      mbarrier_wait_parity(empty + 8 * stage.index, stage.phase);
      mbarrier_arrive_expect_tx(full + 8 * stage.index, BN * 128);
      tma_load_tile(base + stage.index * (BM + BN) * 128 + BM * 128, map, k.tap * p.channels + k.channel(p), n0, 0, full + 8 * stage.index);
    }
  }
}

// loadA is the producer of A, another thread: it loads the K-tiles of x and x2.
template <int BM, int BN, int STAGES> DEVICE void loadA(const GemmTma &p, u64 maps, u32 base, u32 full, u32 empty) {
  int kTiles = (p.kTiles1 + p.kTiles2) * max(p.taps, 1);
  PipelineState<STAGES> stage(1);
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int m0, n0;
    rasterize(p, tile, BM, BN, m0, n0);
    int image = 0, y = 0, x = 0;
    if (p.taps) {
      image = m0 / (p.OH * p.OW);
      int pixel = m0 - image * (p.OH * p.OW);
      y = pixel / p.OW * p.stride - p.top, x = pixel % p.OW * p.stride - p.left;
    }
    KTile k(p);
    for (int i = 0; i < kTiles; i++, k.advance(p), stage.advance()) {
      bool second = k.index >= p.kTiles1;
      int c = k.channel(p) - (second ? p.channels1 : 0);
      u64 map = second ? maps + sizeof(TensorMap) : maps;
      u32 smem = base + stage.index * (BM + BN) * 128, mbarrier = full + 8 * stage.index;
      mbarrier_wait_parity(empty + 8 * stage.index, stage.phase);
      mbarrier_arrive_expect_tx(mbarrier, BM * 128);
      if (p.taps)
        tma_load_im2col(smem, map, c, x, y, image, k.kx, k.ky, mbarrier);
      else
        tma_load_tile(smem, map, c, m0, 0, mbarrier);
    }
  }
}

// gemm: if PINGPONG, tiles of 64·WG_TILES by BN, alternately of one consumer warpgroup and the other; else
// (cooperative) tiles of 128·WG_TILES by BN, of which each consumer has 64·WG_TILES rows.
template <int WG_TILES, int BN, int STAGES, bool PINGPONG> DEVICE void gemm(const GemmTma &p, u64 maps) {
  constexpr int WG_M = 64 * WG_TILES, BM = PINGPONG ? WG_M : 2 * WG_M, STAGE = (BM + BN) * 128;
  // The epilogue works on 64 rows and EPI_N columns at a time, which leaves registers for its loads.
  constexpr int EPI_TILES = BN > 160 ? 2 : 1, EPI_N = BN / EPI_TILES, ACC = WG_TILES * BN / 2;
  // The 128-byte swizzle is a function of the address. dynamicShared is aligned to 1024 bytes, since there is no static
  // shared memory in front of it.
  u32 base = cvta_to_shared(dynamicShared), full = base + STAGES * STAGE, empty = full + 8 * STAGES, order = empty + 8 * STAGES;
  Staging<EPI_N> staging{order + 16 + warpId() * Staging<EPI_N>::SIZE};
  int group = warp_uniform(warpId() >> 2);
  if (threadIdxX() == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 2);
      mbarrier_init(empty + 8 * i, PINGPONG ? 4 : 8);  // consumer warps
    }
    for (int i = 0; i < 2; i++) mbarrier_init(order + 8 * i, 4);
    fence_barrier_init();
  }
  syncthreads();
  if (group == 2) {
    setmaxnreg_dec<40>();
    int w = warp_uniform(warpId());
    if (w == 8 && elect_one())
      loadB<BM, BN, STAGES>(p, maps + 2 * sizeof(TensorMap), base, full, empty);
    else if (w == 9 && elect_one())
      loadA<BM, BN, STAGES>(p, maps, base, full, empty);
    return;
  }
  setmaxnreg_inc<232>();
  int kTiles = (p.kTiles1 + p.kTiles2) * max(p.taps, 1), tile = blockIdxX(), step = gridDimX();
  u32 orderPhase = group ^ 1;
  PipelineState<STAGES> stage(0);
  if (PINGPONG) {
    if (group) tile += step, stage.advance(kTiles);
    step *= 2;
  }
  bool leader = laneId() == 0;
  auto release = [&](u32 stage) {
    if (leader) mbarrier_arrive(empty + 8 * stage);
  };
  float acc[ACC];
#pragma unroll
  for (int i = 0; i < ACC; i++) acc[i] = 0.f;
  for (; tile < p.tiles; tile += step) {
    int m0, n0;
    u32 previous = 0;
    rasterize(p, tile, BM, BN, m0, n0);
    if (!PINGPONG) m0 += group * WG_M;
    staging.prefetchColumns(p, n0);
    if (p.residual && vectorizable<EPI_N>(p, n0)) staging.loadResidual(p, m0, n0);
    RowCorrection rows[WG_TILES];
    auto rowOf = [&](int r) { return m0 + r * 64 + (warpId() & 3) * 16 + (laneId() >> 2); };
    auto loadRows = [&] {
#pragma unroll
      for (int r = 0; r < WG_TILES; r++) rows[r].load(p, rowOf(r));
    };
    auto finishRows = [&] {
#pragma unroll
      for (int r = 0; r < WG_TILES; r++) rows[r].finish(p, rowOf(r));
    };
    if (PINGPONG) {  // while the other consumer has the tensor cores
      loadRows(), finishRows();
      // The order barrier also keeps a consumer from running a phase ahead: it would take the completion of a stage's
      // earlier phase for the one that it waits for.
      mbarrier_wait_parity(order + 8 * group, orderPhase);
      orderPhase ^= 1;
    }
    for (int s = 0; s < kTiles; s++) {
      mbarrier_wait_parity(full + 8 * stage.index, stage.phase);
      u32 a = base + stage.index * STAGE + (PINGPONG ? 0 : group * WG_TILES * 8192), b = base + stage.index * STAGE + BM * 128;
      wgmma_fence(acc);
#pragma unroll
      for (int r = 0; r < WG_TILES; r++)
#pragma unroll
        for (int kk = 0; kk < 4; kk++) Wgmma<BN>::ss(acc + r * BN / 2, wgmma_desc(a + r * 8192 + kk * 32), wgmma_desc(b + kk * 32), kk ? 1 : s);
      wgmma_commit();
      if (!PINGPONG && s == 0) loadRows();  // while wgmma runs
      if (PINGPONG && s == kTiles - 1 && leader) mbarrier_arrive(order + 8 * (group ^ 1));
      wgmma_wait<1>();
      if (s > 0) release(previous);
      previous = stage.index;
      stage.advance();
    }
    wgmma_wait<0>();
    fence_operand(acc);
    release(previous);
    if (PINGPONG)
      stage.advance(kTiles);  // past the other consumer's tile
    else
      finishRows();
    RowMoments moments;
#pragma clang loop unroll(disable)
    for (int i = 0; i < WG_TILES * EPI_TILES; i++) {  // the loop shifts the accumulators through registers, which keeps its code small
      int m = m0 + i / EPI_TILES * 64, n = n0 + i % EPI_TILES * EPI_N;
      if (i && p.residual && vectorizable<EPI_N>(p, n)) staging.loadResidual(p, m, n);
      epilogue<EPI_N>(p, rows[0], acc, moments, staging, m, n);
      if (p.channelStats) epilogueChannelStats<EPI_N>(p, staging, m, n);
#pragma unroll
      for (int k = 0; k < ACC - EPI_N / 2; k++) acc[k] = acc[k + EPI_N / 2];
      if ((i + 1) % EPI_TILES) continue;
      moments.store(p, m, n0 / BN);
      moments = RowMoments{};
      rows[0] = rows[WG_TILES - 1];
    }
  }
}

#define COOPERATIVE(WG_TILES, BM, BN, STAGES) \
  GLOBAL void LAUNCH_BOUNDS(384, 1) gemm_cooperative_##BM##x##BN(const GemmTma p) { gemm<WG_TILES, BN, STAGES, false>(p, TENSOR_MAPS(gemm_cooperative_##BM##x##BN, p)); }
#define PINGPONG(WG_TILES, BM, BN, STAGES) \
  GLOBAL void LAUNCH_BOUNDS(384, 1) gemm_pingpong_##BM##x##BN(const GemmTma p) { gemm<WG_TILES, BN, STAGES, true>(p, TENSOR_MAPS(gemm_pingpong_##BM##x##BN, p)); }

COOPERATIVE(1, 128, 256, 4)
COOPERATIVE(1, 128, 160, 5)
COOPERATIVE(1, 128, 128, 6)
COOPERATIVE(2, 256, 128, 4)
PINGPONG(2, 128, 160, 5)
PINGPONG(1, 64, 160, 6)
PINGPONG(1, 64, 80, 10)
