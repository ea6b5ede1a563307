// src/pipeline.cuh for the processor. A box is poisoned when its copy begins and arrives when somebody waits for its counter, so that a missing wait and a
// copy that begins too early both show.
#pragma once

#define MAPS(kernel, parameter) ((u64)&(parameter))

extern "C" {
void counterBegins(u32 counter, int arrivals);
void arrive(u32 counter);
void arriveExpecting(u32 counter, int bytes);
void awaitPhase(u32 counter, u32 parity);
void copyBox(u32 dst, u64 map, int x, int y, int z, u32 counter);
void copyPixels(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 counter);
void barrierOf(int number, int threads);
void arriveAt(int number, int threads);
}

DEVICE void countersBegun() {}
DEVICE bool elected() { return lane() == 31; }
template <int N> DEVICE void giveRegisters() {}
template <int N> DEVICE void takeRegisters() {}

DEVICE u32 loadSharedWord(u32 at) { return *(u32 *)(dynamicShared + at); }
DEVICE void storeSharedVec(u32 at, const float *f) {
  for (int i = 0; i < 4; i++) *(float *)(dynamicShared + at + 4 * i) = f[i];
}
