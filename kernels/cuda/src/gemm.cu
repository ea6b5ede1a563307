// The portable GEMM (sm_80): cp.async pipeline, ldmatrix, mma.sync.
#include "gemm.cuh"

// gemm computes one tile of BM by BN with WM×WN warps.
template <int BM, int BN, int BK, int STAGES, int WM, int WN> DEVICE void gemm(const Gemm &p) {
  constexpr int NT = 32 * WM * WN, TM = BM / WM, TN = BN / WN, MT = TM / 16, NP = TN / 16;
  constexpr int STAGE = Loader<BM, BN, BK, NT>::STAGE;
  static_assert(TM % 16 == 0 && TN % 16 == 0, "tile");
  u32 base = cvta_to_shared(dynamicShared);
  int l = laneId(), wm = warpId() / WN, wn = warpId() % WN, m0, n0;
  rasterize<BM, BN>(p, m0, n0);
  Loader<BM, BN, BK, NT> loader(p, (GatherRow *)(dynamicShared + STAGES * STAGE), base, m0, n0);
  syncthreads();

  float acc[MT][2 * NP][4];
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < 2 * NP; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;

  int kTiles = (p.K + BK - 1) / BK;
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < kTiles) loader.load(s);
    cp_async_commit();
  }
  // Fragments are double-buffered: those of the next k step are loaded while this one is multiplied, across K-tiles
  // too.
  u32 fa[2][MT][4], fb[NP][4];
  auto loadFragmentA = [&](int into, int stage, int kk) {
#pragma unroll
    for (int i = 0; i < MT; i++) ldmatrix_x4(fa[into][i], base + stage * STAGE + swizzle<BK>(wm * TM + i * 16 + (l & 15), kk * 2 + (l >> 4)));
  };
  auto loadFragmentB = [&](int j, int stage, int kk) {
    ldmatrix_x4(fb[j], base + stage * STAGE + BM * BK * 2 + swizzle<BK>(wn * TN + j * 16 + (l & 7) + (l >> 4) * 8, kk * 2 + ((l >> 3) & 1)));
  };
  cp_async_wait<STAGES - 2>();
  syncthreads();
  loadFragmentA(0, 0, 0);
#pragma unroll
  for (int j = 0; j < NP; j++) loadFragmentB(j, 0, 0);
  constexpr int K_STEPS = BK / 16;
  int read = 0, write = STAGES - 1;
  for (int s = 0; s < kTiles; s++) {
#pragma unroll
    for (int kk = 0; kk < K_STEPS; kk++) {
      if (kk == K_STEPS - 1) {
        read = read + 1 == STAGES ? 0 : read + 1;
        cp_async_wait<STAGES - 2>();
        syncthreads();  // the next K-tile has arrived, and every thread has loaded its fragments of this one
      }
      loadFragmentA((kk + 1) & 1, read, (kk + 1) % K_STEPS);
      if (kk == 0) {
        if (s + STAGES - 1 < kTiles) loader.load(write);
        cp_async_commit();
        write = write + 1 == STAGES ? 0 : write + 1;
      }
#pragma unroll
      for (int j = 0; j < NP; j++) {
#pragma unroll
        for (int i = 0; i < MT; i++) {
          mma_m16n8k16(acc[i][2 * j], fa[kk & 1][i], fb[j][0], fb[j][1]);
          mma_m16n8k16(acc[i][2 * j + 1], fa[kk & 1][i], fb[j][2], fb[j][3]);
        }
        loadFragmentB(j, read, (kk + 1) % K_STEPS);
      }
    }
  }
  cp_async_wait<0>();
  syncthreads();

  constexpr int PITCH = BN + 8;
  static_assert(BM * PITCH * 4 <= STAGES * STAGE, "the accumulators overlap the rows");
  float *accumulators = (float *)dynamicShared;
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < 2 * NP; j++) {
      float *quad = accumulators + (wm * TM + i * 16 + (l >> 2)) * PITCH + wn * TN + j * 8 + (l & 3) * 2;
      quad[0] = acc[i][j][0];
      quad[1] = acc[i][j][1];
      quad[8 * PITCH] = acc[i][j][2];
      quad[8 * PITCH + 1] = acc[i][j][3];
    }
  syncthreads();
  epilogueTile<BM, BN, NT>(p, accumulators, m0, n0);
}

#define GEMM(BM, BN, BK, STAGES, WM, WN, BLOCKS)                                                         \
  GLOBAL void LAUNCH_BOUNDS(32 * WM * WN, BLOCKS) gemm_##BM##x##BN(const Gemm p) { \
    gemm<BM, BN, BK, STAGES, WM, WN>(p);                                                                \
  }

GEMM(128, 128, 64, 3, 2, 2, 2)
GEMM(128, 160, 32, 5, 4, 2, 1)
GEMM(128, 64, 64, 3, 2, 2, 2)
GEMM(64, 160, 32, 5, 2, 2, 2)
GEMM(64, 64, 64, 3, 2, 2, 3)

// skinny is the GEMM of at most 8 rows (GEMV for one), without GEGLU: a warp for each column, so that the matrix is
// read once at memory bandwidth.
GLOBAL void LAUNCH_BOUNDS(256, 2) skinny(const Gemm p) {
  constexpr int ROWS = 8;
  int n = blockIdxX() * 8 + warpId();
  if (n >= p.N) return;
  float sums[ROWS] = {};
  for (int k = laneId() * 8; k < p.K; k += 256) {
    float w[8], x[8];
    load8(p.w, (i64)n * p.pitchW + k, HALF, w);
#pragma unroll
    for (int m = 0; m < ROWS; m++)
      if (m < p.M) {
        load8(p.x, (i64)m * p.pitch1 + k, HALF, x);
#pragma unroll
        for (int i = 0; i < 8; i++) sums[m] += w[i] * x[i];
      }
  }
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    float sum = warpSum(sums[m]);
    if (m < p.M && laneId() == m) epilogueElement(p, sum, 0.f, m, n, 0);
  }
}
