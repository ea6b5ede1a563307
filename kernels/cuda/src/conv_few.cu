// Direct 3×3 convolution to at most eight output channels, the last layer of UNet and VAE. An implicit GEMM would load
// every pixel nine times, for tiles whose columns are mostly unused. This kernel loads a tile of pixels with its halo
// to shared memory once, and each tap reads its operand at another offset.
#include "common.cuh"

struct ConvFew {
  const u16 *x, *w;  // images of C channels; w is [columns][9][C]
  const float *bias;
  void *out;
  int H, W, C;  // C is a multiple of 8
  int columns, outType;
};

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

// conv_few: a block computes all channels of 8 rows of 16 output pixels, each of its four warps two rows. K-tiles of 64
// channels, of the pixels with their halo and of w, are double-buffered in shared memory. Grid: (tiles across, tiles
// down, image).
GLOBAL void LAUNCH_BOUNDS(128, 3) conv_few(const ConvFew p) {
  constexpr int ACROSS = 16, DOWN = 8, HALO_WIDTH = ACROSS + 2, PIXELS = HALO_WIDTH * (DOWN + 2), ROWS = 9 * 8;  // of w in a K-tile: eight columns of each tap
  constexpr int PITCH = 64 * 2 + 16, STAGE = (PIXELS + ROWS) * PITCH;                                  // padded: ldmatrix has no bank conflicts
  int x0 = blockIdxX() * ACROSS, y0 = blockIdxY() * DOWN, t = threadIdxX(), l = laneId(), kTiles = (p.C + 63) / 64;
  i64 image = (i64)blockIdxZ() * p.H * p.W;
  u32 shared = cvta_to_shared(dynamicShared);
  auto copy = [&](int kTile) {
    u32 to = shared + (kTile & 1) * STAGE;
    for (int i = t; i < (PIXELS + ROWS) * 8 && kTile < kTiles; i += 128) {
      int row = i >> 3, c = kTile * 64 + (i & 7) * 8;
      bool inside = c < p.C;
      const u16 *from = p.x;
      if (row < PIXELS) {
        int y = y0 + row / HALO_WIDTH - 1, x = x0 + row % HALO_WIDTH - 1;
        inside = inside && y >= 0 && y < p.H && x >= 0 && x < p.W;
        if (inside) from += (image + (i64)y * p.W + x) * p.C + c;
      } else {
        int tap = (row - PIXELS) >> 3, n = (row - PIXELS) & 7;
        inside = inside && n < p.columns;
        if (inside) from = p.w + ((i64)n * 9 + tap) * p.C + c;
      }
      cp_async_zfill(to + row * PITCH + (i & 7) * 16, from, inside);
    }
    cp_async_commit();
  };
  copy(0);
  float sums[2][4] = {};
  for (int kTile = 0; kTile < kTiles; kTile++) {
    copy(kTile + 1);
    cp_async_wait<1>();
    syncthreads();
    // ldmatrix addresses. A: lane l gives pixel l%16 of a row, half l/16 of 16 channels. B: column l%8, quarter l/8 of
    // 32 channels.
    u32 stage = shared + (kTile & 1) * STAGE, left = stage + (warpId() * 2 * HALO_WIDTH + (l & 15)) * PITCH + (l >> 4) * 16;
    u32 right = stage + (PIXELS + (l & 7)) * PITCH + (l >> 3) * 16;
#pragma clang loop unroll(disable)
    for (int ky = 0; ky < 3; ky++) {
#pragma unroll
      for (int kx = 0; kx < 3; kx++)
#pragma unroll
        for (int k = 0; k < 4; k += 2) {
          u32 a[4], b[4];
          ldmatrix_x4(b, right + (ky * 3 + kx) * 8 * PITCH + k * 32);
#pragma unroll
          for (int half = 0; half < 2; half++)
#pragma unroll
            for (int row = 0; row < 2; row++) {
              ldmatrix_x4(a, left + ((row + ky) * HALO_WIDTH + kx) * PITCH + (k + half) * 32);
              mma_m16n8k16(sums[row], a, b[2 * half], b[2 * half + 1]);
            }
        }
    }
    syncthreads();
  }
#pragma unroll
  for (int row = 0; row < 2; row++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      int y = y0 + warpId() * 2 + row, x = x0 + (l >> 2) + (e >> 1) * 8, n = (l & 3) * 2 + (e & 1);
      if (y >= p.H || x >= p.W || n >= p.columns) continue;
      store(p.out, (image + (i64)y * p.W + x) * p.columns + n, p.outType, sums[row][e] + (p.bias ? p.bias[n] : 0.f));
    }
}
