// Building blocks of asynchronous pipelines (sm_90a): TMA loads, the mbarriers that track their completion, named
// barriers, setmaxnreg.
#pragma once

#include "common.cuh"

// TensorMap is CUtensorMap, the descriptor of a tensor that TMA loads from.
struct __attribute__((aligned(64))) TensorMap { u64 words[16]; };

// PipelineState is the index of a stage in a circular buffer and the phase parity of its mbarriers, as in CUTLASS. A
// consumer begins with phase 0, a producer with 1: all stages are empty.
template <int STAGES> struct PipelineState {
  u32 index = 0, phase;
  DEVICE_MEMBER explicit PipelineState(u32 phase) : phase(phase) {}
  DEVICE_MEMBER void advance() {
    if (++index == STAGES) index = 0, phase ^= 1;
  }
  DEVICE_MEMBER void advance(u32 stages) {
    index += stages;
    phase ^= index / STAGES & 1;
    index %= STAGES;
  }
};

#ifdef EMULATE
#include "../emulate/pipeline.h"
#else
// TENSOR_MAPS is the generic address of the tensor maps that the kernel's only parameter begins with. TMA reads them
// from parameter space.
#define TENSOR_MAPS(kernel, parameter) \
  ({ u64 at; asm("{.reg .u64 a; mov.u64 a, " #kernel "_param_0; cvta.param.u64 %0, a;}" : "=l"(at)); at; })

// An mbarrier takes 8 bytes of shared memory. Its phase completes when the expected number of threads has arrived and
// the expected bytes (expect_tx) have been transferred. mbarrier_wait_parity returns when the phase of that parity has
// completed: the first phase has parity 0, the next 1. On a new mbarrier a wait for parity 1 returns at once.
DEVICE void mbarrier_init(u32 mbarrier, int arrivals) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(mbarrier), "r"(arrivals) : "memory"); }
// fence_barrier_init makes initialised mbarriers visible to the async proxy (TMA). A barrier must follow.
DEVICE void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void mbarrier_arrive(u32 mbarrier) { asm volatile("{.reg .b64 s; mbarrier.arrive.shared.b64 s, [%0];}" ::"r"(mbarrier) : "memory"); }
// mbarrier_arrive_expect_tx also adds to the bytes that the phase expects.
DEVICE void mbarrier_arrive_expect_tx(u32 mbarrier, int bytes) {
  asm volatile("{.reg .b64 s; mbarrier.arrive.expect_tx.shared.b64 s, [%0], %1;}" ::"r"(mbarrier), "r"(bytes) : "memory");
}
DEVICE void mbarrier_wait_parity(u32 mbarrier, u32 parity) {
  asm volatile("{.reg .pred p; AGAIN: mbarrier.try_wait.parity.shared.b64 p, [%0], %1; @p bra DONE; bra AGAIN; DONE:}" ::"r"(mbarrier), "r"(parity)
               : "memory");
}

// tma_load_tile starts the load of the box at x, y, z of a tensor (tiled mode). The mbarrier receives complete_tx.
DEVICE void tma_load_tile(u32 dst, u64 map, int x, int y, int z, u32 mbarrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(dst), "l"(map), "r"(x),
               "r"(y), "r"(z), "r"(mbarrier)
               : "memory");
}
// tma_load_im2col starts the load of as many pixels as the map says, c channels on, in im2col mode: from the pixel at
// x, y of an image on, row by row and image by image, each offset by dx, dy.
DEVICE void tma_load_im2col(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 mbarrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(dst),
               "l"(map), "r"(c), "r"(x), "r"(y), "r"(image), "r"(mbarrier), "h"((u16)dx), "h"((u16)dy)
               : "memory");
}

// named_barrier_sync waits at named barrier 1 to 15 until so many threads have come. named_barrier_arrive counts as
// coming and does not wait.
DEVICE void named_barrier_sync(int number, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory"); }
DEVICE void named_barrier_arrive(int number, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory"); }

// elect_one is true in one lane of the warp. ptxas knows that what the branch does is done once a warp.
DEVICE bool elect_one() {
  int r;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.s32 %0, 1, 0, p;}" : "=r"(r));
  return r;
}

// setmaxnreg_dec and setmaxnreg_inc set how many registers each thread of the warpgroup has, a multiple of 8. An
// increase waits for registers that other warpgroups of the block have released.
template <int N> DEVICE void setmaxnreg_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEVICE void setmaxnreg_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }

DEVICE void st_shared_v4(u32 at, const float *f) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(f[0]), "f"(f[1]), "f"(f[2]), "f"(f[3]) : "memory");
}
DEVICE u32 ld_shared_u32(u32 at) {
  u32 w;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(w) : "r"(at) : "memory");
  return w;
}
#endif
