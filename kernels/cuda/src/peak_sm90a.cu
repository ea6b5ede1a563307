#include "hopper.cuh"
#include "peak.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

// wpeak: each of 2 warpgroups makes 4 products of 64×256×16 a round.
GLOBAL void THREADS(256, 1) wpeak(const Peak p) {
  u32 base = (sharedAddress(dynamicShared) + 1023) & ~1023u, state = blockX() * 256 + thread() + 1;
  u16 *memory = (u16 *)(dynamicShared + (base - sharedAddress(dynamicShared)));
  for (int i = thread(); i < (128 + 256) * 64; i += 256) memory[i] = random16(state);
  fenceShared();
  barrier();
  float c[128];
#pragma unroll
  for (int i = 0; i < 128; i++) c[i] = 0.f;
  u32 a = base + warp() / 4 * 64 * 128, b = base + 128 * 128;
  for (int n = 0; n < p.rounds; n++) {
    groupBegins(c);
#pragma unroll
    for (int k = 0; k < 4; k++) Wgmma<256>::multiply(c, describe(a + k * 32), describe(b + k * 32), 1);
    groupEnds();
    awaitGroups<0>();
    settled(c);
  }
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < 128; i++) sum += c[i];
  p.out[blockX() * 256 + thread()] = sum;
}
