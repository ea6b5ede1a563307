// Flash attention for Hopper and heads of 64. One warpgroup copies tiles of queries, keys and values, the others do 64 queries each: while a warpgroup computes
// the exponentials of one tile of scores, the matrix units compute its scores of the next one and its products with the values of the one before.
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

// rowsAt is a matrix descriptor but for its constants (hopper.cuh), and can be added to: 2 for 32 bytes. rows is the descriptor.
DEVICE u32 rowsAt(u32 at) { return (u32)describe(at); }
DEVICE u64 rows(u32 rowsAt) { return (describe(0) >> 32 << 32) | rowsAt; }

// held keeps fragments in registers of their own from here on.
template <int N> DEVICE void held(u32 (&a)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

// best is the largest of the scores 4j and 4j+1 of N, in four chains that do not wait for one another.
template <int N> DEVICE float best(const float *s) {
  float m[4];
#pragma unroll
  for (int j = 0; j < N / 4; j++) m[j % 4] = j < 4 ? maximum(s[4 * j], s[4 * j + 1]) : maximum(m[j % 4], maximum(s[4 * j], s[4 * j + 1]));
  return maximum(maximum(m[0], m[1]), maximum(m[2], m[3]));
}

// flash: GROUPS warpgroups that multiply, tiles of KEYS keys and values, STAGES of both and SLOTS of queries in flight, BLOCKS on a multiprocessor.
// ONE: all keys lie in one tile. Only then may the mask be causal.
template <int GROUPS, int KEYS, int STAGES, int SLOTS, int BLOCKS, bool ONE> DEVICE void flash(const Flash &p, u64 maps) {
  // Stage n has keys n and values n-LAG, which are needed at the same time.
  constexpr int QUERIES = 64 * GROUPS, TILE = KEYS * 128, MAP = sizeof(TensorMap), LAG = ONE ? 0 : 2;
  constexpr int SHARE = 65536 / (BLOCKS * 128 * (GROUPS + 1)) / 8 * 8, FEW = 24, REST = (SHARE * (GROUPS + 1) - FEW) / GROUPS / 8 * 8;
  u32 shared = (sharedAddress(dynamicShared) + 1023) & ~1023u, tiles = shared + SLOTS * QUERIES * 128, full = tiles + 2 * STAGES * TILE;
  u32 free = full + 8 * STAGES, queryFull = free + 8 * STAGES, queryFree = queryFull + 8 * SLOTS;
  int l = lane(), w = uniform(warp()), group = w >> 2, count = (p.keys + KEYS - 1) / KEYS;
  if (thread() == 0) {
    for (int i = 0; i < STAGES; i++) {
      counterBegins(full + 8 * i, 1);
      counterBegins(free + 8 * i, 4 * GROUPS);
    }
    for (int i = 0; i < SLOTS; i++) {
      counterBegins(queryFull + 8 * i, 1);
      counterBegins(queryFree + 8 * i, 4 * GROUPS);
    }
    countersBegun();
  }
  barrier();
  if (group == GROUPS) {
    giveRegisters<FEW>();
    if (w != 4 * GROUPS || !elected()) return;
    Ring<STAGES> stage(1);
    Ring<SLOTS> slot(1);
    for (int tile = blockX(); tile < p.tiles; tile += blocksX()) {
      Position at(p, tile, QUERIES);
      awaitPhase(queryFree + 8 * slot.at, slot.parity);
      arriveExpecting(queryFull + 8 * slot.at, QUERIES * 128);
      for (int g = 0; g < GROUPS; g++)
        copyBox(shared + (slot.at * GROUPS + g) * 8192, maps, at.head * 64, at.query + g * 64, at.sample, queryFull + 8 * slot.at);
      slot.next();
      for (int n = 0; n < count + LAG; n++) {
        u32 counter = full + 8 * stage.at, to = tiles + stage.at * 2 * TILE;
        awaitPhase(free + 8 * stage.at, stage.parity);
        arriveExpecting(counter, ((n < count) + (n >= LAG)) * TILE);
        if (n < count) copyBox(to, maps + MAP, at.head * 64, n * KEYS, at.sample, counter);
        if (n >= LAG) copyBox(to + TILE, maps + 2 * MAP, at.head * 64, (n - LAG) * KEYS, at.sample, counter);
        stage.next();
      }
    }
    return;
  }
  takeRegisters<(REST < 240 ? REST : 240)>();
  if (!ONE && group == 1) arriveAt(1, 256);
  Ring<STAGES> stage(0);
  Ring<SLOTS> slot(0);
  float o[32], even[KEYS / 2], odd[KEYS / 2];
  u32 a[KEYS / 16][4];
#pragma unroll
  for (int i = 0; i < 32; i++) o[i] = 0.f;
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++) even[i] = odd[i] = 0.f;
  for (int tile = blockX(); tile < p.tiles; tile += blocksX()) {
    int n = 0;
    u32 q = shared + (slot.at * GROUPS + group) * 8192;
    float base[2] = {0.f, 0.f}, sum[2] = {0.f, 0.f}, shrink[2];
    bool grown;

    auto awaitStage = [&](int ahead) __attribute__((always_inline)) {
      Ring<STAGES> next = stage;
      if (ahead) next.next();
      awaitPhase(full + 8 * next.at, next.parity);
    };
    auto stageRead = [&]() __attribute__((always_inline)) {
      if (l == 0) arrive(free + 8 * stage.at);
      stage.next();
    };
    // Products begin between groupBegins and groupEnds; the stage that they read is given back after the wait for them.
    auto scores = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      u32 left = rowsAt(q), right = rowsAt(tiles + stage.at * 2 * TILE);
#pragma unroll
      for (int d = 0; d < 4; d++) Wgmma<KEYS>::multiply(s, rows(left + d * 2), rows(right + d * 2), d);
    };
    auto products = [&](int keep) __attribute__((always_inline)) {
      u32 right = rowsAt(tiles + stage.at * 2 * TILE + TILE);
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++) Wgmma<64>::template multiplyRows<1>(o, a[j], rows(right + j * 128), j ? 1 : keep);
    };
    // exponentials puts those of tile n in the place of its scores; the four lanes of a quad share a row. The two warpgroups take turns at it, after barriers 1
    // and 2: side by side they would wait for the unit that computes exponentials, and then both have nothing for it.
    auto exponentials = [&](float(&s)[KEYS / 2], bool last) __attribute__((always_inline)) {
      int k0 = n * KEYS;
      if (last && (k0 + KEYS > p.keys || p.causal)) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int query = tile % p.width * QUERIES + group * 64 + (w & 3) * 16 + (l >> 2) + h * 8;
          int left = (ONE && p.causal ? minimum(p.keys, query + 1) : p.keys) - k0 - (l & 3) * 2;
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
        m = maximum(m, shuffleXor(m, 1));
        most[h] = maximum(m, shuffleXor(m, 2));
      }
      grown = n == 0 || anyLane(!(maximum(most[0], most[1]) <= LAZY));
      if (grown) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float by = follow(most[h], n == 0, base[h], shrink[h]);
          sum[h] *= shrink[h];
#pragma unroll
          for (int i = 2 * h; i < KEYS / 2; i += 4) s[i] -= by, s[i + 1] -= by;
        }
      }
      if (!ONE) barrierOf(1 + group, 256);
      float part[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++) {
        s[i] = exp2Fast(s[i]);
        part[i >> 1 & 1][i & 1] += s[i];
      }
      sum[0] += part[0][0] + part[0][1];
      sum[1] += part[1][0] + part[1][1];
      // Its branch keeps ptxas from moving most exponentials behind the wait for products, where the matrix units would have nothing to do.
      if (!ONE) awaitStage(1);
      if (!ONE) arriveAt(2 - group, 256);
    };
    // rounded are the exponentials of tile n as a factor, and o relative to the same base.
    auto rounded = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      settled(s);
      if (grown) {
#pragma unroll
        for (int i = 0; i < 32; i++) o[i] *= shrink[i >> 1 & 1];
      }
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) a[j][e] = narrow2(s[8 * j + 2 * e], s[8 * j + 2 * e + 1]);
      held(a);
    };
    auto first = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      awaitStage(0);
      groupBegins(s);
      scores(s);
      groupEnds();
      if (!ONE) awaitStage(1);
      awaitGroups<0>();
      settled(s);
      if (!ONE) stageRead();
    };
    // step is tile n of those before the last: its scores are there.
    auto step = [&](float(&s)[KEYS / 2], float(&next)[KEYS / 2]) __attribute__((always_inline)) {
      settled(o);
      groupBegins(next);
      if (n > 0) products(n > 1);
      scores(next);
      groupEnds();
      exponentials(s, false);
      awaitGroups<0>();
      settled(o);
      settled(next);
      stageRead();
      rounded(s);
      n++;
    };
    auto last = [&](float(&s)[KEYS / 2]) __attribute__((always_inline)) {
      if (!ONE && n > 0) {
        groupBegins(o);
        products(n > 1);
        groupEnds();
      }
      exponentials(s, true);
      awaitGroups<0>();
      settled(o);
      if (!ONE) stageRead();
      rounded(s);
      groupBegins(o);
      products(!ONE && n > 0);
      groupEnds();
      awaitGroups<0>();
      settled(o);
      stageRead();
    };

    awaitPhase(queryFull + 8 * slot.at, slot.parity);
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
    if (l == 0) arrive(queryFree + 8 * slot.at);
    slot.next();

#pragma unroll
    for (int h = 0; h < 2; h++) {
      float total = sum[h];
      total += shuffleXor(total, 1);
      total += shuffleXor(total, 2);
      float f = reciprocal(total);
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
          for (int j = 0; j < 4; j++) pairs[j] = narrow2(o[16 * half + 4 * j + 2 * h], o[16 * half + 4 * j + 2 * h + 1]);
          turn(pairs);
          if (query < p.queries) *(Vec4 *)(out + half * 32) = Vec4{pairs[0], pairs[1], pairs[2], pairs[3]};
        }
      }
    }
  }
  if (!ONE && group == 0) barrierOf(1, 256);  // the other's last turn has ended
}

#define FLASH(QUERIES, KEYS, STAGES, SLOTS, BLOCKS, ONE)                                                    \
  GLOBAL void THREADS(2 * QUERIES + 128, BLOCKS) wflash_##QUERIES##x##KEYS(const Flash p) {                  \
    flash<QUERIES / 64, KEYS, STAGES, SLOTS, BLOCKS, ONE>(p, MAPS(wflash_##QUERIES##x##KEYS, p));            \
  }
FLASH(128, 128, 3, 2, 1, false)
FLASH(64, 80, 2, 2, 3, true)
