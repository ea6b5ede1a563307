// src/pipeline.cuh for the CPU. The destination of a TMA load is filled with NaN when the load is issued, and with its
// data when a thread waits for its mbarrier, so that a missing wait and a load that is issued too early both show.
#pragma once

#define TENSOR_MAPS(kernel, parameter) ((u64)&(parameter))

extern "C" {
void mbarrier_init(u32 mbarrier, int arrivals);
void mbarrier_arrive(u32 mbarrier);
void mbarrier_arrive_expect_tx(u32 mbarrier, int bytes);
void mbarrier_wait_parity(u32 mbarrier, u32 parity);
void tma_load_tile(u32 dst, u64 map, int x, int y, int z, u32 mbarrier);
void tma_load_im2col(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 mbarrier);
void named_barrier_sync(int number, int threads);
void named_barrier_arrive(int number, int threads);
}

DEVICE void fence_barrier_init() {}
DEVICE bool elect_one() { return laneId() == 31; }
template <int N> DEVICE void setmaxnreg_dec() {}
template <int N> DEVICE void setmaxnreg_inc() {}

DEVICE u32 ld_shared_u32(u32 at) { return *(u32 *)(dynamicShared + at); }
DEVICE void st_shared_v4(u32 at, const float *f) {
  for (int i = 0; i < 4; i++) *(float *)(dynamicShared + at + 4 * i) = f[i];
}
