// Wrappers of PTX instructions and of CUDA's built-in functions, under their own names. No header of the CUDA toolkit
// is needed.
#pragma once

#define GLOBAL extern "C" __attribute__((global))
#define DEVICE static __attribute__((device)) inline __attribute__((always_inline))
#define DEVICE_MEMBER __attribute__((device)) inline __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define LAUNCH_BOUNDS(maxThreads, minBlocks) __attribute__((launch_bounds(maxThreads, minBlocks)))

DEVICE int threadIdxX() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE int laneId() { return __nvvm_read_ptx_sreg_tid_x() & 31; }
DEVICE int warpId() { return __nvvm_read_ptx_sreg_tid_x() >> 5; }
DEVICE int blockDimX() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE int blockIdxX() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE int blockIdxY() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE int blockIdxZ() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE int gridDimX() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE void trap() { asm volatile("trap;"); }
DEVICE void syncthreads() { asm volatile("bar.sync 0;" ::: "memory"); }

// syncwarp is a barrier of a warp's lanes: after it every lane reads what any lane wrote to shared memory before it.
DEVICE void syncwarp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

DEVICE float max(float a, float b) {
  float r;
  asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

DEVICE float fp16ToFloat(u16 h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}

// floatToFp16 rounds to nearest even.
DEVICE u16 floatToFp16(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

// half2float and float2half convert between the 16-bit storage type (HALF: float16 or bfloat16) and float32, rounding
// to nearest even. fp16ToFloat and floatToFp16 convert float16 whatever the storage type.
#ifdef BF16
#define MMA_TYPE "bf16"
DEVICE float half2float(u16 h) { return __builtin_bit_cast(float, (u32)h << 16); }
DEVICE u16 float2half(float f) {
  u16 h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
DEVICE u32 floats2half2(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
#else
#define MMA_TYPE "f16"
DEVICE float half2float(u16 h) { return fp16ToFloat(h); }
DEVICE u16 float2half(float f) { return floatToFp16(f); }
DEVICE u32 floats2half2(float low, float high) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
#endif

// shfl_xor is the value of the lane whose number is this lane's xor mask.
DEVICE u32 shfl_xor(u32 w, int mask) { return __nvvm_shfl_sync_bfly_i32(0xffffffff, w, mask, 31); }
DEVICE float shfl_xor(float f, int mask) { return __builtin_bit_cast(float, shfl_xor(__builtin_bit_cast(u32, f), mask)); }

// warp_uniform broadcasts lane 0's x. All lanes hold the same x already; the shuffle lets ptxas know it.
DEVICE int warp_uniform(int x) { return __nvvm_shfl_sync_idx_i32(0xffffffff, x, 0, 31); }

// any_sync reports whether the condition holds in any lane of the warp.
DEVICE bool any_sync(bool condition) {
  int r;
  asm volatile("{.reg .pred p, q; setp.ne.s32 p, %1, 0; vote.sync.any.pred q, p, 0xffffffff; selp.s32 %0, 1, 0, q;}" : "=r"(r) : "r"((int)condition));
  return r;
}

DEVICE float ex2_approx(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float rcp_rn(float x) {
  float r;
  asm("rcp.rn.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float sqrt_rn(float x) {
  float r;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

DEVICE float rcp_approx(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// mul_rn is a multiplication that is never contracted into an fma.
DEVICE float mul_rn(float a, float b) {
  float r;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// ldg loads a 32-bit word through the read-only path (ld.global.nc): the compiler may move it ahead of stores. Where a
// kernel overwrites an operand in place, a thread may only load words so that it overwrites itself, later.
DEVICE u32 ldg(const void *p) {
  u32 w;
  asm("ld.global.nc.u32 %0, [%1];" : "=r"(w) : "l"(p));
  return w;
}
// ldg_float2 does the same for two floats, but stays where it stands, ahead of the code that hides its latency.
DEVICE void ldg_float2(const float *p, float *f) { asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(f[0]), "=f"(f[1]) : "l"(p)); }

// cvta_to_shared is the shared-space address of a generic pointer.
DEVICE u32 cvta_to_shared(const void *p) { return (u32)(u64)(const __attribute__((address_space(3))) void *)p; }
// cp_async_zfill starts a copy of 16 bytes from global to shared memory, or of zeros if valid is false.
DEVICE void cp_async_zfill(u32 dst, const void *src, bool valid) {
  int n = valid ? 16 : 0;
  asm volatile("{.reg .u64 g; cvta.to.global.u64 g, %1; cp.async.cg.shared.global [%0], [g], 16, %2;}" ::"r"(dst), "l"(src), "r"(n) : "memory");
}
// prefetch_l1 brings the sector of src into the L1 cache. It copies 4 bytes of it to shared memory at dst, which nobody
// reads.
DEVICE void prefetch_l1(u32 dst, const void *src) {
  asm volatile("{.reg .u64 g; cvta.to.global.u64 g, %1; cp.async.ca.shared.global [%0], [g], 4;}" ::"r"(dst), "l"(src) : "memory");
}
// cp_async_commit ends a group of copies; cp_async_wait waits until at most N groups are in flight.
DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// ldmatrix_x4 reads four 8×8 matrices of 16-bit elements; lane i gives the address of row i%8 of matrix i/8.
DEVICE void ldmatrix_x4(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
DEVICE void ldmatrix_x4_trans(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// stmatrix_x4 is the reverse of ldmatrix_x4 (compute capability 9.0).
#if __CUDA_ARCH__ >= 900
DEVICE void stmatrix_x4(u32 at, const u32 *w) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
}
#endif
DEVICE uint4 ld_shared_v4(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}

// mma_m16n8k16 is c += a·b for a 16×16, b 16×8. Fragments of lane 4g+q: a has rows g and g+8, columns 2q, 2q+1, 2q+8
// and 2q+9; b has rows 2q, 2q+1, 2q+8 and 2q+9 of column g; c has columns 2q and 2q+1 of rows g (c[0], c[1]) and g+8
// (c[2], c[3]).
DEVICE void mma_m16n8k16(float *c, const u32 *a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." MMA_TYPE "." MMA_TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// wgmma (sm_90a). A warpgroup's wgmma reads shared memory through the async proxy: what st.shared or cp.async wrote is
// visible to it after fence_proxy_async and a barrier. wgmma_fence … wgmma_commit encloses one group; wgmma_wait waits
// until at most N groups are in flight.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
DEVICE void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// fence_operand keeps the compiler from moving reads of accumulators ahead of the wgmma_wait in front of it.
template <int N> DEVICE void fence_operand(float (&acc)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(acc[i])::"memory");
}
template <int N> DEVICE void wgmma_fence(float (&acc)[N]) {
  fence_operand(acc);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
#endif
