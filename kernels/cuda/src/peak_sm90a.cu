#include "hopper.cuh"
#include "peak.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// peak_wgmma: each of 2 warpgroups issues 4 wgmma of 64×256×16 a round.
GLOBAL void LAUNCH_BOUNDS(256, 1) peak_wgmma(const Peak p) {
  u32 base = (cvta_to_shared(dynamicShared) + 1023) & ~1023u, state = blockIdxX() * 256 + threadIdxX() + 1;
  u16 *memory = (u16 *)(dynamicShared + (base - cvta_to_shared(dynamicShared)));
  for (int i = threadIdxX(); i < (128 + 256) * 64; i += 256) memory[i] = random16(state);
  fence_proxy_async();
  syncthreads();
  float c[128];
#pragma unroll
  for (int i = 0; i < 128; i++) c[i] = 0.f;
  u32 a = base + warpId() / 4 * 64 * 128, b = base + 128 * 128;
  for (int n = 0; n < p.rounds; n++) {
    wgmma_fence(c);
#pragma unroll
    for (int k = 0; k < 4; k++) Wgmma<256>::ss(c, wgmma_desc(a + k * 32), wgmma_desc(b + k * 32), 1);
    wgmma_commit();
    wgmma_wait<0>();
    fence_operand(c);
  }
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < 128; i++) sum += c[i];
  p.out[blockIdxX() * 256 + threadIdxX()] = sum;
}
