#include "peak.cuh"

// peak: each of 8 warps issues 16 mma of 16×8×16 a round.
GLOBAL void LAUNCH_BOUNDS(256, 2) peak(const Peak p) {
  u32 state = blockIdxX() * 256 + threadIdxX() + 1, a[2][4], b[4][2];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    u32 low = random16(state), high = random16(state);
    a[i / 4][i % 4] = low | high << 16;
    low = random16(state), high = random16(state);
    b[i / 2][i % 2] = low | high << 16;
  }
  float c[2][4][4];
#pragma unroll
  for (int i = 0; i < 32; i++) c[i / 16][i / 4 % 4][i % 4] = 0.f;
  for (int n = 0; n < 2 * p.rounds; n++)
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) mma_m16n8k16(c[i][j], a[i], b[j][0], b[j][1]);
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < 32; i++) sum += c[i / 16][i / 4 % 4][i % 4];
  p.out[blockIdxX() * 256 + threadIdxX()] = sum;
}
