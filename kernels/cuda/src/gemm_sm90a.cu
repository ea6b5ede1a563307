// The GEMM for Hopper where TMA cannot load the operands: cp.async pipeline and wgmma, by one or two warpgroups of 64
// rows each.
#include "gemm.cuh"
#include "hopper.cuh"

// gemm computes one tile of 64·WARPGROUPS by BN. The copies run STAGES−2 K-tiles ahead, since wgmma may still read the
// K-tile before the current one.
template <int WARPGROUPS, int BN, int STAGES> DEVICE void gemm(const Gemm &p) {
  constexpr int BM = 64 * WARPGROUPS, BK = 64, NT = 128 * WARPGROUPS, STAGE = Loader<BM, BN, BK, NT>::STAGE;
  u32 base = (cvta_to_shared(dynamicShared) + 1023) & ~1023u;  // the swizzle is a function of the address
  char *memory = dynamicShared + (base - cvta_to_shared(dynamicShared));
  int l = laneId(), m0, n0, wgRow = warp_uniform(warpId()) / 4 * 64;
  rasterize<BM, BN>(p, m0, n0);
  Loader<BM, BN, BK, NT> loader(p, (GatherRow *)(memory + STAGES * STAGE), base, m0, n0);
  syncthreads();

  float acc[BN / 2];
#pragma unroll
  for (int i = 0; i < BN / 2; i++) acc[i] = 0.f;
  int kTiles = (p.K + BK - 1) / BK;
#pragma unroll
  for (int s = 0; s < STAGES - 2; s++) {
    if (s < kTiles) loader.load(s);
    cp_async_commit();
  }
  int read = 0, write = STAGES - 2;
  for (int s = 0; s < kTiles; s++) {
    cp_async_wait<STAGES - 3>();
    fence_proxy_async();
    syncthreads();  // the K-tile has arrived, and no warpgroup reads the one that is overwritten next
    u32 a = base + read * STAGE + wgRow * 128, b = base + read * STAGE + BM * 128;
    wgmma_fence(acc);
#pragma unroll
    for (int kk = 0; kk < BK / 16; kk++) Wgmma<BN>::ss(acc, wgmma_desc(a + kk * 32), wgmma_desc(b + kk * 32), kk ? 1 : s);
    wgmma_commit();
    if (s + STAGES - 2 < kTiles) loader.load(write);
    cp_async_commit();
    wgmma_wait<1>();
    read = read + 1 == STAGES ? 0 : read + 1;
    write = write + 1 == STAGES ? 0 : write + 1;
  }
  wgmma_wait<0>();
  fence_operand(acc);
  cp_async_wait<0>();
  syncthreads();

  constexpr int PITCH = BN + 8;
  static_assert(BM * PITCH * 4 <= STAGES * STAGE, "the accumulators overlap the rows");
  float *accumulators = (float *)memory;
#pragma unroll
  for (int j = 0; j < BN / 8; j++) {
    float *quad = accumulators + (wgRow + warpId() % 4 * 16 + (l >> 2)) * PITCH + j * 8 + (l & 3) * 2;
    quad[0] = acc[4 * j];
    quad[1] = acc[4 * j + 1];
    quad[8 * PITCH] = acc[4 * j + 2];
    quad[8 * PITCH + 1] = acc[4 * j + 3];
  }
  syncthreads();
  epilogueTile<BM, BN, NT>(p, accumulators, m0, n0);
}

#define GEMM(WARPGROUPS, BM, BN, STAGES, BLOCKS) \
  GLOBAL void LAUNCH_BOUNDS(128 * WARPGROUPS, BLOCKS) gemm_wgmma_##BM##x##BN##x##STAGES(const Gemm p) { gemm<WARPGROUPS, BN, STAGES>(p); }

GEMM(2, 128, 256, 4, 1)
GEMM(2, 128, 160, 3, 2)
GEMM(2, 128, 64, 4, 2)
GEMM(1, 64, 64, 4, 3)
