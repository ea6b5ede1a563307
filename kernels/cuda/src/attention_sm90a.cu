// Flash attention for Hopper and heads of 64. One warpgroup copies tiles of queries, keys and values, the others do 64
// queries each: while a warpgroup computes the exponentials of one tile of scores, the matrix units compute its scores
// of the next one and its products with the values of the one before.
#include "attention.cuh"
#include "hopper.cuh"
#include "pipeline.cuh"

extern "C" SHARED __attribute__((aligned(1024))) char dynamicShared[];

struct Flash {
  TensorMap qMap, kMap, vMap;              // [samples][tokens][heads·64]; boxes of 64 queries, or a tile of keys
  void *out;
  int queries, keys, heads, tiles, width;  // tiles: of queries, of all heads and samples, width of them a head
  int pitchOut, causal, outType;
  float scale;                             // log2(e)/√64
};
// Position is where a tile lies.
struct Position {
  int head, sample, query;
  DEVICE_MEMBER Position(const Flash &p, int tile, int queries) {
    int rest = tile / p.width;
    query = tile % p.width * queries;
    head = rest % p.heads;
    sample = rest / p.heads;
  }
};

// rowsAt is a matrix descriptor but for its constants (hopper.cuh), and can be added to: 2 for 32 bytes. rows is the
// descriptor.
DEVICE u32 rowsAt(u32 at) { return (u32)wgmma_desc(at); }
DEVICE u64 rows(u32 rowsAt) { return (wgmma_desc(0) >> 32 << 32) | rowsAt; }

// held keeps fragments in registers of their own from here on.
template <int N> DEVICE void fence_operand(u32 (&a)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

// best is the largest of the scores 4j and 4j+1 of N, in four chains that do not wait for one another.
template <int N> DEVICE float best(const float *s) {
  float m[4];
#pragma unroll
  for (int j = 0; j < N / 4; j++) m[j % 4] = j < 4 ? max(s[4 * j], s[4 * j + 1]) : max(m[j % 4], max(s[4 * j], s[4 * j + 1]));
  return max(max(m[0], m[1]), max(m[2], m[3]));
}

// flash: GROUPS warpgroups that multiply, tiles of KEYS keys and values, STAGES of both and SLOTS of queries in flight,
// BLOCKS on a multiprocessor. ONE: all keys lie in one tile. Only then may the mask be causal.
template <int GROUPS, int KEYS, int STAGES, int SLOTS, int BLOCKS, bool ONE> DEVICE void flash(const Flash &p, u64 maps) {
  // Stage n has keys n and values n-LAG, which are needed at the same time.
  constexpr int QUERIES = 64 * GROUPS, TILE = KEYS * 128, MAP = sizeof(TensorMap), LAG = ONE ? 0 : 2;
  constexpr int SHARE = 65536 / (BLOCKS * 128 * (GROUPS + 1)) / 8 * 8, FEW = 24, REST = (SHARE * (GROUPS + 1) - FEW) / GROUPS / 8 * 8;
  u32 shared = (cvta_to_shared(dynamicShared) + 1023) & ~1023u, tiles = shared + SLOTS * QUERIES * 128, full = tiles + 2 * STAGES * TILE;
  u32 free = full + 8 * STAGES, queryFull = free + 8 * STAGES, queryFree = queryFull + 8 * SLOTS;
  int l = lane(), w = warp_uniform(warp()), group = w >> 2, count = (p.keys + KEYS - 1) / KEYS;
  if (threadIdxX() == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(free + 8 * i, 4 * GROUPS);
    }
    for (int i = 0; i < SLOTS; i++) {
      mbarrier_init(queryFull + 8 * i, 1);
      mbarrier_init(queryFree + 8 * i, 4 * GROUPS);
    }
    fence_barrier_init();
  }
  syncthreads();
  if (group == GROUPS) {
    setmaxnreg_dec<FEW>();
    if (w != 4 * GROUPS || !elect_one()) return;
    PipelineState<STAGES> stage(1);
    PipelineState<SLOTS> slot(1);
    for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
      Position at(p, tile, QUERIES);
      mbarrier_wait_parity(queryFree + 8 * slot.index, slot.phase);
      mbarrier_arrive_expect_tx(queryFull + 8 * slot.index, QUERIES * 128);
      for (int g = 0; g < GROUPS; g++)
        tma_load_tile(shared + (slot.index * GROUPS + g) * 8192, maps, at.head * 64, at.query + g * 64, at.sample, queryFull + 8 * slot.index);
      slot.advance();
      for (int n = 0; n < count + LAG; n++) {
        u32 counter = full + 8 * stage.index, to = tiles + stage.index * 2 * TILE;
        mbarrier_wait_parity(free + 8 * stage.index, stage.phase);
        mbarrier_arrive_expect_tx(counter, ((n < count) + (n >= LAG)) * TILE);
        if (n < count) tma_load_tile(to, maps + MAP, at.head * 64, n * KEYS, at.sample, counter);
        if (n >= LAG) tma_load_tile(to + TILE, maps + 2 * MAP, at.head * 64, (n - LAG) * KEYS, at.sample, counter);
        stage.advance();
      }
    }
    return;
  }
  setmaxnreg_inc<(REST < 240 ? REST : 240)>();
  if (!ONE && group == 1) named_barrier_arrive(1, 256);
  PipelineState<STAGES> stage(0);
  PipelineState<SLOTS> slot(0);
  float o[32], even[KEYS / 2], odd[KEYS / 2];
  u32 a[KEYS / 16][4];
#pragma unroll
  for (int i = 0; i < 32; i++) o[i] = 0.f;
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++) even[i] = odd[i] = 0.f;
  for (int tile = blockIdxX(); tile < p.tiles; tile += gridDimX()) {
    int n = 0;
    u32 q = shared + (slot.index * GROUPS + group) * 8192;
    float base[2] = {0.f, 0.f}, sum[2] = {0.f, 0.f}, shrink[2];
    bool grown;

    auto awaitStage = [&](int ahead) __attribute__((always_inline)) {
      PipelineState<STAGES> next = stage;
      if (ahead) next.advance();
      mbarrier_wait_parity(full + 8 * next.index, next.phase);
    };
    auto stageRead = [&]() __attribute__((always_inline)) {
      if (l == 0) mbarrier_arrive(free + 8 * stage.index);
      stage.advance();
    };
    // Products begin between groupBegins and groupEnds; the stage that they read is given back after the wait for them.
    auto scores = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      u32 left = rowsAt(q), right = rowsAt(tiles + stage.index * 2 * TILE);
#pragma unroll
      for (int d = 0; d < 4; d++) Wgmma<KEYS>::ss(s, rows(left + d * 2), rows(right + d * 2), d);
    };
    auto products = [&](int keep) __attribute__((always_inline)) {
      u32 right = rowsAt(tiles + stage.index * 2 * TILE + TILE);
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++) Wgmma<64>::template rs<1>(o, a[j], rows(right + j * 128), j ? 1 : keep);
    };
    // exponentials puts those of tile n in the place of its scores; the four lanes of a quad share a row. The two
    // warpgroups take turns at it, after barriers 1 and 2: side by side they would wait for the unit that computes
    // exponentials, and then both have nothing for it.
    auto exponentials = [&](float(&s)[KEYS / 2], bool last) __attribute__((always_inline)) {
      int k0 = n * KEYS;
      if (last && (k0 + KEYS > p.keys || p.causal)) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int query = tile % p.width * QUERIES + group * 64 + (w & 3) * 16 + (l >> 2) + h * 8;
          int left = (ONE && p.causal ? min(p.keys, query + 1) : p.keys) - k0 - (l & 3) * 2;
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (j * 8 + e >= left) s[4 * j + 2 * h + e] = -__builtin_inff();
        }
      }
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++) s[i] = __builtin_fmaf(s[i], p.scale, -base[i >> 1 & 1]);
      float most[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float m = best<KEYS / 2>(s + 2 * h);
        m = max(m, shfl_xor(m, 1));
        most[h] = max(m, shfl_xor(m, 2));
      }
      grown = n == 0 || any_sync(!(max(most[0], most[1]) <= LAZY));
      if (grown) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float by = follow(most[h], n == 0, base[h], shrink[h]);
          sum[h] *= shrink[h];
#pragma unroll
          for (int i = 2 * h; i < KEYS / 2; i += 4) s[i] -= by, s[i + 1] -= by;
        }
      }
      if (!ONE) named_barrier_sync(1 + group, 256);
      float part[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++) {
        s[i] = ex2_approx(s[i]);
        part[i >> 1 & 1][i & 1] += s[i];
      }
      sum[0] += part[0][0] + part[0][1];
      sum[1] += part[1][0] + part[1][1];
      // Its branch keeps ptxas from moving most exponentials behind the wait for products, where the matrix units would
      // have nothing to do.
      if (!ONE) awaitStage(1);
      if (!ONE) named_barrier_arrive(2 - group, 256);
    };
    // rounded are the exponentials of tile n as a factor, and o relative to the same base.
    auto rounded = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      fence_operand(s);
      if (grown) {
#pragma unroll
        for (int i = 0; i < 32; i++) o[i] *= shrink[i >> 1 & 1];
      }
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) a[j][e] = floats2half2(s[8 * j + 2 * e], s[8 * j + 2 * e + 1]);
      fence_operand(a);
    };
    auto first = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      awaitStage(0);
      wgmma_fence(s);
      scores(s);
      wgmma_commit();
      if (!ONE) awaitStage(1);
      wgmma_wait<0>();
      fence_operand(s);
      if (!ONE) stageRead();
    };
    // step is tile n of those before the last: its scores are there.
    auto step = [&](float(&s)[KEYS / 2], float(&next)[KEYS / 2]) __attribute__((always_inline)) {
      fence_operand(o);
      wgmma_fence(next);
      if (n > 0) products(n > 1);
      scores(next);
      wgmma_commit();
      exponentials(s, false);
      wgmma_wait<0>();
      fence_operand(o);
      fence_operand(next);
      stageRead();
      rounded(s);
      n++;
    };
    auto last = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      if (!ONE && n > 0) {
        wgmma_fence(o);
        products(n > 1);
        wgmma_commit();
      }
      exponentials(s, true);
      wgmma_wait<0>();
      fence_operand(o);
      if (!ONE) stageRead();
      rounded(s);
      wgmma_fence(o);
      products(!ONE && n > 0);
      wgmma_commit();
      wgmma_wait<0>();
      fence_operand(o);
      stageRead();
    };

    mbarrier_wait_parity(queryFull + 8 * slot.index, slot.phase);
    // The last tile's scores are always those in even: ptxas serializes products where two such ends meet.
    if (ONE || (count & 1)) {
      first(even);
    } else {
      first(odd);
      step(odd, even);
    }
    while (!ONE && n + 1 < count) {
      step(even, odd);
      step(odd, even);
    }
    last(even);
    if (l == 0) mbarrier_arrive(queryFree + 8 * slot.index);
    slot.advance();

#pragma unroll
    for (int h = 0; h < 2; h++) {
      float total = sum[h];
      total += shfl_xor(total, 1);
      total += shfl_xor(total, 2);
      float f = rcp_rn(total);
#pragma unroll
      for (int i = 2 * h; i < 32; i += 4) o[i] *= f, o[i + 1] *= f;
    }
    Position at(p, tile, QUERIES);
    int q0 = at.query + group * 64, row = (w & 3) * 16 + (l >> 2);
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
  if (!ONE && group == 0) named_barrier_sync(1, 256);  // the other's last turn has ended
}

#define FLASH(QUERIES, KEYS, STAGES, SLOTS, BLOCKS, ONE)                                                    \
  GLOBAL void LAUNCH_BOUNDS(2 * QUERIES + 128, BLOCKS) wflash_##QUERIES##x##KEYS(const Flash p) {                  \
    flash<QUERIES / 64, KEYS, STAGES, SLOTS, BLOCKS, ONE>(p, TENSOR_MAPS(wflash_##QUERIES##x##KEYS, p));            \
  }
FLASH(128, 128, 3, 2, 1, false)
FLASH(64, 80, 2, 2, 3, true)
