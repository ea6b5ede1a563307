// Flash attention for Hopper and heads of 64, in the manner of FlashAttention-3. A producer warpgroup loads tiles of Q,
// K and V by TMA, each consumer warpgroup has 64 queries. Within a consumer the softmax of one tile overlaps with the
// wgmma of S of the next tile and of P·V of the previous one.
#include "attention.cuh"
#include "hopper.cuh"
#include "pipeline.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

struct Flash {
  TensorMap qMap, kMap, vMap;              // [samples][tokens][heads·64]; boxes of 64 queries, or a tile of keys
  void *out;
  int queries, keys, heads, tiles, width;  // tiles of queries of all heads and samples; of one head
  int pitchOut, causal, outType;
  float scale;                             // log2(e)/√64
};
// TileCoord is the head, sample and first query of a tile.
struct TileCoord {
  int head, sample, query;
  DEVICE_MEMBER TileCoord(const Flash &p, int tile, int queries) {
    int rest = tile / p.width;
    query = tile % p.width * queries;
    head = rest % p.heads;
    sample = rest / p.heads;
  }
};

// desc_lo is the low word of a matrix descriptor, which has the address: adding 2 advances it by 32 bytes. desc_from_lo
// makes the descriptor; its high word is constant (hopper.cuh).
DEVICE u32 desc_lo(u32 at) { return (u32)wgmma_desc(at); }
DEVICE u64 desc_from_lo(u32 rowsAt) { return (wgmma_desc(0) >> 32 << 32) | rowsAt; }

// fence_operand keeps fragments of A in registers of their own from here on.
template <int N> DEVICE void fence_operand(u32 (&a)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

// threadMax is the largest of a thread's scores of one row, 4j and 4j+1 of N, in four independent chains.
template <int N> DEVICE float threadMax(const float *s) {
  float m[4];
#pragma unroll
  for (int j = 0; j < N / 4; j++) m[j % 4] = j < 4 ? max(s[4 * j], s[4 * j + 1]) : max(m[j % 4], max(s[4 * j], s[4 * j + 1]));
  return max(max(m[0], m[1]), max(m[2], m[3]));
}

// flash: CONSUMERS consumer warpgroups, tiles of KEYS keys and values, STAGES stages of K and V and Q_STAGES of Q,
// BLOCKS blocks a multiprocessor. ONE_TILE: all keys lie in one tile; only then may the mask be causal.
template <int CONSUMERS, int KEYS, int STAGES, int Q_STAGES, int BLOCKS, bool ONE_TILE> DEVICE void flash(const Flash &p, u64 maps) {
  // Stage n holds K tile n and V tile n-V_LAG, which are consumed together.
  constexpr int QUERIES = 64 * CONSUMERS, TILE = KEYS * 128, MAP_BYTES = sizeof(TensorMap), V_LAG = ONE_TILE ? 0 : 2;
  constexpr int REGS = 65536 / (BLOCKS * 128 * (CONSUMERS + 1)) / 8 * 8, PRODUCER_REGS = 24, CONSUMER_REGS = (REGS * (CONSUMERS + 1) - PRODUCER_REGS) / CONSUMERS / 8 * 8;
  u32 qSmem = (cvta_to_shared(dynamicShared) + 1023) & ~1023u, kvSmem = qSmem + Q_STAGES * QUERIES * 128, full = kvSmem + 2 * STAGES * TILE;
  u32 empty = full + 8 * STAGES, qFull = empty + 8 * STAGES, qEmpty = qFull + 8 * Q_STAGES;
  int l = laneId(), w = warp_uniform(warpId()), wg = w >> 2, count = (p.keys + KEYS - 1) / KEYS;
  if (threadIdxX() == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, 4 * CONSUMERS);
    }
    for (int i = 0; i < Q_STAGES; i++) {
      mbarrier_init(qFull + 8 * i, 1);
      mbarrier_init(qEmpty + 8 * i, 4 * CONSUMERS);
    }
    fence_barrier_init();
  }
  syncthreads();
  if (wg == CONSUMERS) {
    setmaxnreg_dec<PRODUCER_REGS>();
    if (w != 4 * CONSUMERS || !elect_one()) return;
    PipelineState<STAGES> stage(1);
    PipelineState<Q_STAGES> qStage(1);
    for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
      TileCoord at(p, tile, QUERIES);
      mbarrier_wait_parity(qEmpty + 8 * qStage.index, qStage.phase);
      mbarrier_arrive_expect_tx(qFull + 8 * qStage.index, QUERIES * 128);
      for (int g = 0; g < CONSUMERS; g++)
        tma_load_tile(qSmem + (qStage.index * CONSUMERS + g) * 8192, maps, at.head * 64, at.query + g * 64, at.sample, qFull + 8 * qStage.index);
      qStage.advance();
      for (int n = 0; n < count + V_LAG; n++) {
        u32 mbarrier = full + 8 * stage.index, smem = kvSmem + stage.index * 2 * TILE;
        mbarrier_wait_parity(empty + 8 * stage.index, stage.phase);
        mbarrier_arrive_expect_tx(mbarrier, ((n < count) + (n >= V_LAG)) * TILE);
        if (n < count) tma_load_tile(smem, maps + MAP_BYTES, at.head * 64, n * KEYS, at.sample, mbarrier);
        if (n >= V_LAG) tma_load_tile(smem + TILE, maps + 2 * MAP_BYTES, at.head * 64, (n - V_LAG) * KEYS, at.sample, mbarrier);
        stage.advance();
      }
    }
    return;
  }
  setmaxnreg_inc<(CONSUMER_REGS < 240 ? CONSUMER_REGS : 240)>();
  if (!ONE_TILE && wg == 1) named_barrier_arrive(1, 256);
  PipelineState<STAGES> stage(0);
  PipelineState<Q_STAGES> qStage(0);
  float o[32], sEven[KEYS / 2], sOdd[KEYS / 2];
  u32 pFrag[KEYS / 16][4];
#pragma unroll
  for (int i = 0; i < 32; i++) o[i] = 0.f;
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++) sEven[i] = sOdd[i] = 0.f;
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int n = 0;
    u32 q = qSmem + (qStage.index * CONSUMERS + wg) * 8192;
    float rowMax[2] = {0.f, 0.f}, rowSum[2] = {0.f, 0.f}, scaleO[2];
    bool rescale;

    auto waitStage = [&](int ahead) __attribute__((always_inline)) {
      PipelineState<STAGES> next = stage;
      if (ahead) next.advance();
      mbarrier_wait_parity(full + 8 * next.index, next.phase);
    };
    auto releaseStage = [&]() __attribute__((always_inline)) {
      if (l == 0) mbarrier_arrive(empty + 8 * stage.index);
      stage.advance();
    };
    // gemmQK and gemmPV are called between wgmma_fence and wgmma_commit; their stage is released after the wgmma_wait.
    auto gemmQK = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      u32 left = desc_lo(q), right = desc_lo(kvSmem + stage.index * 2 * TILE);
#pragma unroll
      for (int d = 0; d < 4; d++) Wgmma<KEYS>::ss(s, desc_from_lo(left + d * 2), desc_from_lo(right + d * 2), d);
    };
    auto gemmPV = [&](int scaleD) __attribute__((always_inline)) {
      u32 right = desc_lo(kvSmem + stage.index * 2 * TILE + TILE);
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++) Wgmma<64>::template rs<1>(o, pFrag[j], desc_from_lo(right + j * 128), j ? 1 : scaleD);
    };
    // softmaxTile turns the scores of tile n into P in place. The four lanes of a quad share a row. Named barriers 1
    // and 2 let the two consumers compute exponentials alternately (FlashAttention-3's warp scheduler barriers):
    // together they would both wait for the special function unit, and then both leave it idle.
    auto softmaxTile = [&](float(&s)[KEYS / 2], bool last) __attribute__((always_inline)) {
      int k0 = n * KEYS;
      if (last && (k0 + KEYS > p.keys || p.causal)) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int query = tile % p.width * QUERIES + wg * 64 + (w & 3) * 16 + (l >> 2) + h * 8;
          int left = (ONE_TILE && p.causal ? min(p.keys, query + 1) : p.keys) - k0 - (l & 3) * 2;
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (j * 8 + e >= left) s[4 * j + 2 * h + e] = -__builtin_inff();
        }
      }
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++) s[i] = __builtin_fmaf(s[i], p.scale, -rowMax[i >> 1 & 1]);
      float tileMax[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float m = threadMax<KEYS / 2>(s + 2 * h);
        m = max(m, shfl_xor(m, 1));
        tileMax[h] = max(m, shfl_xor(m, 2));
      }
      rescale = n == 0 || any_sync(!(max(tileMax[0], tileMax[1]) <= RESCALE_THRESHOLD));
      if (rescale) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float delta = onlineSoftmaxUpdate(tileMax[h], n == 0, rowMax[h], scaleO[h]);
          rowSum[h] *= scaleO[h];
#pragma unroll
          for (int i = 2 * h; i < KEYS / 2; i += 4) s[i] -= delta, s[i + 1] -= delta;
        }
      }
      if (!ONE_TILE) named_barrier_sync(1 + wg, 256);
      float part[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++) {
        s[i] = ex2_approx(s[i]);
        part[i >> 1 & 1][i & 1] += s[i];
      }
      rowSum[0] += part[0][0] + part[0][1];
      rowSum[1] += part[1][0] + part[1][1];
      // The branch of this wait keeps ptxas from moving most exponentials behind the wgmma_wait, where the tensor cores
      // would be idle.
      if (!ONE_TILE) waitStage(1);
      if (!ONE_TILE) named_barrier_arrive(2 - wg, 256);
    };
    // roundP converts P of tile n to 16 bits, as operand A of gemmPV, and rescales O to the same rowMax.
    auto roundP = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      fence_operand(s);
      if (rescale) {
#pragma unroll
        for (int i = 0; i < 32; i++) o[i] *= scaleO[i >> 1 & 1];
      }
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) pFrag[j][e] = floats2half2(s[8 * j + 2 * e], s[8 * j + 2 * e + 1]);
      fence_operand(pFrag);
    };
    auto firstTile = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      waitStage(0);
      wgmma_fence(s);
      gemmQK(s);
      wgmma_commit();
      if (!ONE_TILE) waitStage(1);
      wgmma_wait<0>();
      fence_operand(s);
      if (!ONE_TILE) releaseStage();
    };
    // mainTile handles tile n, which is not the last and whose scores are computed.
    auto mainTile = [&](float(&s)[KEYS / 2], float(&next)[KEYS / 2]) __attribute__((always_inline)) {
      fence_operand(o);
      wgmma_fence(next);
      if (n > 0) gemmPV(n > 1);
      gemmQK(next);
      wgmma_commit();
      softmaxTile(s, false);
      wgmma_wait<0>();
      fence_operand(o);
      fence_operand(next);
      releaseStage();
      roundP(s);
      n++;
    };
    auto lastTile = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      if (!ONE_TILE && n > 0) {
        wgmma_fence(o);
        gemmPV(n > 1);
        wgmma_commit();
      }
      softmaxTile(s, true);
      wgmma_wait<0>();
      fence_operand(o);
      if (!ONE_TILE) releaseStage();
      roundP(s);
      wgmma_fence(o);
      gemmPV(!ONE_TILE && n > 0);
      wgmma_commit();
      wgmma_wait<0>();
      fence_operand(o);
      releaseStage();
    };

    mbarrier_wait_parity(qFull + 8 * qStage.index, qStage.phase);
    // The scores of the last tile are always in sEven: ptxas serializes wgmma where two such paths meet.
    if (ONE_TILE || (count & 1)) {
      firstTile(sEven);
    } else {
      firstTile(sOdd);
      mainTile(sOdd, sEven);
    }
    while (!ONE_TILE && n + 1 < count) {
      mainTile(sEven, sOdd);
      mainTile(sOdd, sEven);
    }
    lastTile(sEven);
    if (l == 0) mbarrier_arrive(qEmpty + 8 * qStage.index);
    qStage.advance();

#pragma unroll
    for (int h = 0; h < 2; h++) {
      float total = rowSum[h];
      total += shfl_xor(total, 1);
      total += shfl_xor(total, 2);
      float f = rcp_rn(total);
#pragma unroll
      for (int i = 2 * h; i < 32; i += 4) o[i] *= f, o[i + 1] *= f;
    }
    TileCoord at(p, tile, QUERIES);
    int q0 = at.query + wg * 64, row = (w & 3) * 16 + (l >> 2);
    if (p.outType == F32) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        if (q0 + row + h * 8 >= p.queries) continue;
        float *out = (float *)p.out + ((i64)at.sample * p.queries + q0 + row + h * 8) * p.pitchOut + at.head * 64 + (l & 3) * 2;
#pragma unroll
        for (int j = 0; j < 8; j++) out[j * 8] = o[4 * j + 2 * h], out[j * 8 + 1] = o[4 * j + 2 * h + 1];
      }
    } else {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int query = q0 + row + h * 8;
        u16 *out = (u16 *)p.out + ((i64)at.sample * p.queries + query) * p.pitchOut + at.head * 64 + (l & 3) * 8;
#pragma unroll
        for (int half = 0; half < 2; half++) {
          u32 pairs[4];
#pragma unroll
          for (int j = 0; j < 4; j++) pairs[j] = floats2half2(o[16 * half + 4 * j + 2 * h], o[16 * half + 4 * j + 2 * h + 1]);
          quad_transpose(pairs);
          if (query < p.queries) *(uint4 *)(out + half * 32) = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
        }
      }
    }
  }
  if (!ONE_TILE && wg == 0) named_barrier_sync(1, 256);  // matches the other consumer's last arrive
}

#define FLASH(QUERIES, KEYS, STAGES, Q_STAGES, BLOCKS, ONE_TILE)                                                    \
  GLOBAL void LAUNCH_BOUNDS(2 * QUERIES + 128, BLOCKS) flash_wgmma_##QUERIES##x##KEYS(const Flash p) {                  \
    flash<QUERIES / 64, KEYS, STAGES, Q_STAGES, BLOCKS, ONE_TILE>(p, TENSOR_MAPS(flash_wgmma_##QUERIES##x##KEYS, p));            \
  }
FLASH(128, 128, 3, 2, 1, false)
FLASH(64, 80, 2, 2, 3, true)
