// The product for every card: mma.sync on fragments that matrix loads bring to registers.
#include "gemm.cuh"

// product computes one tile of BM by BN with WM×WN warps.
template <int BM, int BN, int BK, int STAGES, int WM, int WN> DEVICE void product(const Gemm &p) {
  constexpr int NT = 32 * WM * WN, TM = BM / WM, TN = BN / WN, MT = TM / 16, NP = TN / 16;
  constexpr int STAGE = Loader<BM, BN, BK, NT>::STAGE;
  static_assert(TM % 16 == 0 && TN % 16 == 0, "tile");
  u32 base = cvta_to_shared(dynamicShared);
  int l = lane(), wm = warp() / WN, wn = warp() % WN, m0, n0;
  corner<BM, BN>(p, m0, n0);
  Loader<BM, BN, BK, NT> loader(p, (Row *)(dynamicShared + STAGES * STAGE), base, m0, n0);
  syncthreads();

  float acc[MT][2 * NP][4];
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < 2 * NP; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;

  int slices = (p.K + BK - 1) / BK;
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < slices) loader.load(s);
    cp_async_commit();
  }
  // What of the next depth of 16 is multiplied first is on its way to registers while this one is multiplied, from one
  // slice to the next too.
  u32 fa[2][MT][4], fb[NP][4];
  auto fetchA = [&](int into, int stage, int kk) {
#pragma unroll
    for (int i = 0; i < MT; i++) ldmatrix_x4(fa[into][i], base + stage * STAGE + at<BK>(wm * TM + i * 16 + (l & 15), kk * 2 + (l >> 4)));
  };
  auto fetchB = [&](int j, int stage, int kk) {
    ldmatrix_x4(fb[j], base + stage * STAGE + BM * BK * 2 + at<BK>(wn * TN + j * 16 + (l & 7) + (l >> 4) * 8, kk * 2 + ((l >> 3) & 1)));
  };
  cp_async_wait<STAGES - 2>();
  syncthreads();
  fetchA(0, 0, 0);
#pragma unroll
  for (int j = 0; j < NP; j++) fetchB(j, 0, 0);
  constexpr int DEPTHS = BK / 16;
  int now = 0, next = STAGES - 1;
  for (int s = 0; s < slices; s++) {
#pragma unroll
    for (int kk = 0; kk < DEPTHS; kk++) {
      if (kk == DEPTHS - 1) {
        now = now + 1 == STAGES ? 0 : now + 1;
        cp_async_wait<STAGES - 2>();
        syncthreads();  // the next slice has arrived for every thread, and every thread has fetched all of this one
      }
      fetchA((kk + 1) & 1, now, (kk + 1) % DEPTHS);
      if (kk == 0) {
        if (s + STAGES - 1 < slices) loader.load(next);
        cp_async_commit();
        next = next + 1 == STAGES ? 0 : next + 1;
      }
#pragma unroll
      for (int j = 0; j < NP; j++) {
#pragma unroll
        for (int i = 0; i < MT; i++) {
          mma_m16n8k16(acc[i][2 * j], fa[kk & 1][i], fb[j][0], fb[j][1]);
          mma_m16n8k16(acc[i][2 * j + 1], fa[kk & 1][i], fb[j][2], fb[j][3]);
        }
        fetchB(j, now, (kk + 1) % DEPTHS);
      }
    }
  }
  cp_async_wait<0>();
  syncthreads();

  constexpr int PITCH = BN + 8;
  static_assert(BM * PITCH * 4 <= STAGES * STAGE, "the sums overlap the rows");
  float *sums = (float *)dynamicShared;
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < 2 * NP; j++) {
      float *corner = sums + (wm * TM + i * 16 + (l >> 2)) * PITCH + wn * TN + j * 8 + (l & 3) * 2;
      corner[0] = acc[i][j][0];
      corner[1] = acc[i][j][1];
      corner[8 * PITCH] = acc[i][j][2];
      corner[8 * PITCH + 1] = acc[i][j][3];
    }
  syncthreads();
  finishTile<BM, BN, NT>(p, sums, m0, n0);
}

#define TILE(BM, BN, BK, STAGES, WM, WN, BLOCKS)                                                         \
  GLOBAL void LAUNCH_BOUNDS(32 * WM * WN, BLOCKS) gemm_##BM##x##BN(const Gemm p) { \
    product<BM, BN, BK, STAGES, WM, WN>(p);                                                                \
  }

TILE(128, 128, 64, 3, 2, 2, 2)
TILE(128, 160, 32, 5, 4, 2, 1)
TILE(128, 64, 64, 3, 2, 2, 2)
TILE(64, 160, 32, 5, 2, 2, 2)
TILE(64, 64, 64, 3, 2, 2, 3)

// skinny is the product of at most 8 rows with a matrix, no GEGLU: a warp for each column, so that the matrix is read
// once at the speed of memory.
GLOBAL void LAUNCH_BOUNDS(256, 2) skinny(const Gemm p) {
  constexpr int ROWS = 8;
  int n = blockIdxX() * 8 + warp();
  if (n >= p.N) return;
  float sums[ROWS] = {};
  for (int k = lane() * 8; k < p.K; k += 256) {
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
    if (m < p.M && lane() == m) finishOne(p, sum, 0.f, m, n, 0);
  }
}
