// The instructions that the kernels are made of. No header of the CUDA toolkit is needed.
#pragma once

#define GLOBAL extern "C" __attribute__((global))
#define DEVICE static __attribute__((device)) inline __attribute__((always_inline))
#define DEVICE_MEMBER __attribute__((device)) inline __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define THREADS(most, blocks) __attribute__((launch_bounds(most, blocks)))

DEVICE int thread() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE int lane() { return __nvvm_read_ptx_sreg_tid_x() & 31; }
DEVICE int warp() { return __nvvm_read_ptx_sreg_tid_x() >> 5; }
DEVICE int threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE int blockX() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE int blockY() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE int blockZ() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE int blocksX() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE void trap() { asm volatile("trap;"); }
DEVICE void barrier() { asm volatile("bar.sync 0;" ::: "memory"); }

// meet is a barrier of a warp's lanes: what they wrote to shared memory before it, all of them read after it.
DEVICE void meet() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

DEVICE float maximum(float a, float b) {
  float r;
  asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

DEVICE float widenHalf(u16 h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}

// widen and narrow convert one number from and to the storage type, rounding to nearest even.
#ifdef BF16
#define MMA_TYPE "bf16"
DEVICE float widen(u16 h) { return __builtin_bit_cast(float, (u32)h << 16); }
DEVICE u16 narrow(float f) {
  u16 h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
DEVICE u32 narrow2(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
#else
#define MMA_TYPE "f16"
DEVICE float widen(u16 h) { return widenHalf(h); }
DEVICE u16 narrow(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
DEVICE u32 narrow2(float low, float high) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
#endif

// shuffleXor is the value of the lane whose number differs in the bits of mask.
DEVICE u32 shuffleXor(u32 w, int mask) { return __nvvm_shfl_sync_bfly_i32(0xffffffff, w, mask, 31); }
DEVICE float shuffleXor(float f, int mask) { return __builtin_bit_cast(float, shuffleXor(__builtin_bit_cast(u32, f), mask)); }

// uniform is x, which is the same in all lanes of the warp, in a way that shows the assembler that it is.
DEVICE int uniform(int x) { return __nvvm_shfl_sync_idx_i32(0xffffffff, x, 0, 31); }

// anyLane is whether the condition holds in some lane of the warp.
DEVICE bool anyLane(bool condition) {
  int r;
  asm volatile("{.reg .pred p, q; setp.ne.s32 p, %1, 0; vote.sync.any.pred q, p, 0xffffffff; selp.s32 %0, 1, 0, q;}" : "=r"(r) : "r"((int)condition));
  return r;
}

DEVICE float exp2Fast(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float reciprocal(float x) {
  float r;
  asm("rcp.rn.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float rootOf(float x) {
  float r;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

DEVICE float reciprocalFast(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// product without being fused into a sum.
DEVICE float timesRounded(float a, float b) {
  float r;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// constantWord loads a word that no kernel writes while this one runs: the compiler may move it ahead of stores. Where an operand is
// overwritten in place, that holds for elements that the thread itself overwrites.
DEVICE u32 constantWord(const void *p) {
  u32 w;
  asm("ld.global.nc.u32 %0, [%1];" : "=r"(w) : "l"(p));
  return w;
}
// loadsBegun2 loads two such numbers where it stands, for use later.
DEVICE void loadsBegun2(const float *p, float *f) { asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(f[0]), "=f"(f[1]) : "l"(p)); }

// copyAsync starts a copy of 16 bytes to shared memory; zeros instead where valid is false. copiesBegun ends a group of them.
DEVICE u32 sharedAddress(const void *p) { return (u32)(u64)(const __attribute__((address_space(3))) void *)p; }
DEVICE void copyAsync(u32 dst, const void *src, bool valid) {
  int n = valid ? 16 : 0;
  asm volatile("{.reg .u64 g; cvta.to.global.u64 g, %1; cp.async.cg.shared.global [%0], [g], 16, %2;}" ::"r"(dst), "l"(src), "r"(n) : "memory");
}
// warmCache copies a word there, for the rest of its sector to lie in the first-level cache when it is asked for.
DEVICE void warmCache(u32 dst, const void *src) {
  asm volatile("{.reg .u64 g; cvta.to.global.u64 g, %1; cp.async.ca.shared.global [%0], [g], 4;}" ::"r"(dst), "l"(src) : "memory");
}
DEVICE void copiesBegun() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void awaitCopies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// loadMatrices reads four 8×8 matrices of 16-bit elements; lane i gives the address of row i%8 of matrix i/8.
DEVICE void loadMatrices(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
DEVICE void loadMatricesTransposed(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// storeMatrices is the reverse of loadMatrices (capability 9.0).
#if __CUDA_ARCH__ >= 900
DEVICE void storeMatrices(u32 at, const u32 *w) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
}
#endif
DEVICE Vec4 loadShared(u32 at) {
  Vec4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}

// multiply is c += a·b for a 16×16, b 16×8. In lane 4g+q: a holds rows g, g+8, columns 2q, 2q+1 and those plus 8; b rows 2q, 2q+1 and those
// plus 8 of column g; c rows g (c[0], c[1]) and g+8 (c[2], c[3]), columns 2q, 2q+1.
DEVICE void multiply(float *c, const u32 *a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." MMA_TYPE "." MMA_TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Products of a warpgroup (capability 9.0 alone). Shared memory that ordinary or asynchronous copies wrote is seen by them after fenceShared and a
// barrier. groupBegins … groupEnds encloses the products of one group; awaitGroups waits until at most N groups are left.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
DEVICE void fenceShared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// settled keeps the compiler from reading sums before the wait in front of it.
template <int N> DEVICE void settled(float (&acc)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(acc[i])::"memory");
}
template <int N> DEVICE void groupBegins(float (&acc)[N]) {
  settled(acc);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE void groupEnds() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEVICE void awaitGroups() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
#endif
