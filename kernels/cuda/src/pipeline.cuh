// Tile pipelines of capability 9.0: boxes of tensors that the copy engine moves, and the counters in shared memory by which their arrival is awaited.
#pragma once

#include "common.cuh"

// TensorMap is CUtensorMap: what the copy engine needs to know of a tensor.
struct __attribute__((aligned(64))) TensorMap { u64 words[16]; };

// Ring is a place in a ring of stages and the parity of the round.
template <int SIZE> struct Ring {
  u32 at = 0, parity;
  DEVICE_MEMBER explicit Ring(u32 parity) : parity(parity) {}
  DEVICE_MEMBER void next() {
    if (++at == SIZE) at = 0, parity ^= 1;
  }
  DEVICE_MEMBER void skip(u32 stages) {
    at += stages;
    parity ^= at / SIZE & 1;
    at %= SIZE;
  }
};

#ifdef EMULATE
#include "../emulate/pipeline.h"
#else
// MAPS(kernel) is where the tensor maps lie that the kernel's only parameter begins with: the copy engine reads them in place.
#define MAPS(kernel, parameter) \
  ({ u64 at; asm("{.reg .u64 a; mov.u64 a, " #kernel "_param_0; cvta.param.u64 %0, a;}" : "=l"(at)); at; })

// A counter takes 8 bytes. A phase of it ends when so many threads have arrived and the announced bytes have come. awaitPhase returns when the phase of that
// parity has ended: 0 for the first, 1 for the second; for parity 1 it returns at once while the first goes on.
DEVICE void counterBegins(u32 counter, int arrivals) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(counter), "r"(arrivals) : "memory"); }
// countersBegun shows new counters to the copy engine; a barrier follows.
DEVICE void countersBegun() { asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void arrive(u32 counter) { asm volatile("{.reg .b64 s; mbarrier.arrive.shared.b64 s, [%0];}" ::"r"(counter) : "memory"); }
// arriveExpecting also announces bytes.
DEVICE void arriveExpecting(u32 counter, int bytes) {
  asm volatile("{.reg .b64 s; mbarrier.arrive.expect_tx.shared.b64 s, [%0], %1;}" ::"r"(counter), "r"(bytes) : "memory");
}
DEVICE void awaitPhase(u32 counter, u32 parity) {
  asm volatile("{.reg .pred p; AGAIN: mbarrier.try_wait.parity.shared.b64 p, [%0], %1; @p bra DONE; bra AGAIN; DONE:}" ::"r"(counter), "r"(parity)
               : "memory");
}

// copyBox begins to fill shared memory with the box at x, y, z of a tensor; the counter gets the bytes.
DEVICE void copyBox(u32 dst, u64 map, int x, int y, int z, u32 counter) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(dst), "l"(map), "r"(x),
               "r"(y), "r"(z), "r"(counter)
               : "memory");
}
// copyPixels is the same for an image: so many pixels as the map says, from the one at x, y of an image on, row by row and image by image, each moved by dx, dy.
DEVICE void copyPixels(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 counter) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(dst),
               "l"(map), "r"(c), "r"(x), "r"(y), "r"(image), "r"(counter), "h"((u16)dx), "h"((u16)dy)
               : "memory");
}

// barrierOf is a barrier of some warps, with a number from 1 to 15. Those that arriveAt it are counted and go on.
DEVICE void barrierOf(int number, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory"); }
DEVICE void arriveAt(int number, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory"); }

// elected is true in one lane of a warp. Of what that lane alone does the assembler knows that a warp does it once.
DEVICE bool elected() {
  int r;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.s32 %0, 1, 0, p;}" : "=r"(r));
  return r;
}

// giveRegisters and takeRegisters change how many a thread of the warpgroup has, a multiple of 8; what is given is what others take.
template <int N> DEVICE void giveRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEVICE void takeRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }

DEVICE void storeSharedVec(u32 at, const float *f) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(f[0]), "f"(f[1]), "f"(f[2]), "f"(f[3]) : "memory");
}
DEVICE u32 loadSharedWord(u32 at) {
  u32 w;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(w) : "r"(at) : "memory");
  return w;
}
#endif
