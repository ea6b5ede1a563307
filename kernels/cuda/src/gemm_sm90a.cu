// The product for Hopper: wgmma on operands that stay in shared memory, two warpgroups of 64 rows each, or one.
#include "gemm.cuh"
#include "hopper.cuh"

// product computes one tile of 64·GROUPS by BN. The copies run STAGES−2 slices ahead: the slice before the one that is
// multiplied may still be read.
template <int GROUPS, int BN, int STAGES> DEVICE void product(const Gemm &p) {
  constexpr int BM = 64 * GROUPS, BK = 64, NT = 128 * GROUPS, STAGE = Loader<BM, BN, BK, NT>::STAGE;
  u32 base = (cvta_to_shared(dynamicShared) + 1023) & ~1023u;  // the swizzle is one of addresses
  char *memory = dynamicShared + (base - cvta_to_shared(dynamicShared));
  int l = lane(), m0, n0, mine = warp_uniform(warp()) / 4 * 64;
  corner<BM, BN>(p, m0, n0);
  Loader<BM, BN, BK, NT> loader(p, (Row *)(memory + STAGES * STAGE), base, m0, n0);
  syncthreads();

  float acc[BN / 2];
#pragma unroll
  for (int i = 0; i < BN / 2; i++) acc[i] = 0.f;
  int slices = (p.K + BK - 1) / BK;
#pragma unroll
  for (int s = 0; s < STAGES - 2; s++) {
    if (s < slices) loader.load(s);
    cp_async_commit();
  }
  int now = 0, next = STAGES - 2;
  for (int s = 0; s < slices; s++) {
    cp_async_wait<STAGES - 3>();
    fence_proxy_async();
    syncthreads();  // the slice has arrived for every thread, and no warpgroup multiplies the one that is loaded over next
    u32 a = base + now * STAGE + mine * 128, b = base + now * STAGE + BM * 128;
    wgmma_fence(acc);
#pragma unroll
    for (int kk = 0; kk < BK / 16; kk++) Wgmma<BN>::ss(acc, wgmma_desc(a + kk * 32), wgmma_desc(b + kk * 32), kk ? 1 : s);
    wgmma_commit();
    if (s + STAGES - 2 < slices) loader.load(next);
    cp_async_commit();
    wgmma_wait<1>();
    now = now + 1 == STAGES ? 0 : now + 1;
    next = next + 1 == STAGES ? 0 : next + 1;
  }
  wgmma_wait<0>();
  fence_operand(acc);
  cp_async_wait<0>();
  syncthreads();

  constexpr int PITCH = BN + 8;
  static_assert(BM * PITCH * 4 <= STAGES * STAGE, "the sums overlap the rows");
  float *sums = (float *)memory;
#pragma unroll
  for (int j = 0; j < BN / 8; j++) {
    float *corner = sums + (mine + warp() % 4 * 16 + (l >> 2)) * PITCH + j * 8 + (l & 3) * 2;
    corner[0] = acc[4 * j];
    corner[1] = acc[4 * j + 1];
    corner[8 * PITCH] = acc[4 * j + 2];
    corner[8 * PITCH + 1] = acc[4 * j + 3];
  }
  syncthreads();
  finishTile<BM, BN, NT>(p, sums, m0, n0);
}

#define TILE(GROUPS, BM, BN, STAGES, BLOCKS) \
  GLOBAL void LAUNCH_BOUNDS(128 * GROUPS, BLOCKS) wgemm_##BM##x##BN##x##STAGES(const Gemm p) { product<GROUPS, BN, STAGES>(p); }

TILE(2, 128, 256, 4, 1)
TILE(2, 128, 160, 3, 2)
TILE(2, 128, 64, 4, 2)
TILE(1, 64, 64, 4, 3)
