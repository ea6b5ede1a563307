// The mbarriers, TMA loads and named barriers of emulate/pipeline.h.
#include "../src/pipeline.cuh"

typedef unsigned long size_t;
extern "C" {
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
int printf(const char *, ...);
void abort();
void yieldThread();
void progressed();
}

static void fail(const char *what, u32 at) {
  printf("emulate: block %d,%d,%d thread %d: %s, at %u\n", blockIdxX(), blockIdxY(), blockIdxZ(), threadIdxX(), what, at);
  abort();
}

// Mbarrier is an mbarrier's state in shared memory.
struct Mbarrier {
  u16 arrivals, missing : 15, phase : 1;
  int bytes;  // expected and not yet transferred
};
static_assert(sizeof(Mbarrier) == 8, "an mbarrier has 8 bytes");

static Mbarrier &mbarrierAt(u32 at) {
  if (at % 8) fail("mbarrier not aligned", at);
  return *(Mbarrier *)(dynamicShared + at);
}

static void completePhase(Mbarrier &c) {
  if (c.missing || c.bytes) return;
  c.missing = c.arrivals;
  c.phase ^= 1;
  progressed();
}

extern "C" void mbarrier_init(u32 mbarrier, int arrivals) { mbarrierAt(mbarrier) = {(u16)arrivals, (u16)arrivals, 0, 0}; }

extern "C" void mbarrier_arrive_expect_tx(u32 mbarrier, int bytes) {
  Mbarrier &c = mbarrierAt(mbarrier);
  if (!c.missing) fail("more arrivals than the mbarrier expects", mbarrier);
  c.bytes += bytes;
  c.missing--;
  progressed();
  completePhase(c);
}
extern "C" void mbarrier_arrive(u32 mbarrier) { mbarrier_arrive_expect_tx(mbarrier, 0); }

// TmaLoad is a load in flight.
struct TmaLoad {
  u32 dst, mbarrier;
  u64 map;
  int at[6];
  bool im2col;
};
static TmaLoad loads[256];
static int loadCount;

// TiledMap is a TensorMap in tiled mode as emulate_test.go encodes it: two-byte elements, rows of at most 128 bytes.
struct TiledMap {
  u64 address, size[3], stride[2], box[3], swizzle;
};

// Im2colMap is one in im2col mode: size and stride as in TiledMap, the first and last pixel in x and y, the step from
// one to the next.
struct Im2colMap {
  u64 address, size[4], stride[3];
  int first[2], last[2];
  u64 channels, pixels, step;
};

static int im2colBytes(const Im2colMap &m) { return m.channels * m.pixels * 2; }

static void copyIm2col(const Im2colMap &m, const int *at, u32 shared) {
  i64 x = at[1], y = at[2], image = at[3];
  for (u32 i = 0; i < m.pixels; i++) {
    i64 u = x + at[4], v = y + at[5];
    bool inside = u >= 0 && u < (i64)m.size[1] && v >= 0 && v < (i64)m.size[2] && image >= 0 && image < (i64)m.size[3];
    for (u32 k = 0; k < m.channels; k++) {
      u32 to = shared + (i * m.channels + k) * 2;
      to ^= (to >> 7 & 7) << 4;
      i64 c = at[0] + k;
      bool ok = inside && c < (i64)m.size[0];
      *(u16 *)(dynamicShared + to) = ok ? *(u16 *)(m.address + c * 2 + u * m.stride[0] + v * m.stride[1] + image * m.stride[2]) : 0;
    }
    x += m.step;
    if (x > m.last[0]) x = m.first[0], y += m.step;
    if (y > m.last[1]) y = m.first[1], image++;
  }
}

static int tileBytes(const TiledMap &m) { return m.box[0] * m.box[1] * m.box[2] * 2; }

static void copyTile(const TiledMap &m, const int *at, u32 shared) {
  for (u32 z = 0; z < m.box[2]; z++)
    for (u32 y = 0; y < m.box[1]; y++)
      for (u32 x = 0; x < m.box[0]; x++) {
        i64 i = (i64)at[0] + x, j = (i64)at[1] + y, k = (i64)at[2] + z;
        bool inside = i >= 0 && i < (i64)m.size[0] && j >= 0 && j < (i64)m.size[1] && k >= 0 && k < (i64)m.size[2];
        u32 to = shared + ((z * m.box[1] + y) * m.box[0] + x) * 2;
        if (m.swizzle == 3) to ^= (to >> 7 & 7) << 4;
        *(u16 *)(dynamicShared + to) = inside ? *(u16 *)(m.address + i * 2 + j * m.stride[0] + k * m.stride[1]) : 0;
      }
}

extern "C" void tma_load_tile(u32 dst, u64 map, int x, int y, int z, u32 mbarrier) {
  if (dst % 1024 || map % 64) fail("box or tensor map not aligned", dst);
  if (loadCount == 256) fail("too many loads in flight", dst);
  loads[loadCount++] = {dst, mbarrier, map, {x, y, z}, false};
  memset(dynamicShared + dst, 0xff, tileBytes(*(const TiledMap *)map));
}

extern "C" void tma_load_im2col(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 mbarrier) {
  if (dst % 1024 || map % 64) fail("pixels or tensor map not aligned", dst);
  if (loadCount == 256) fail("too many loads in flight", dst);
  loads[loadCount++] = {dst, mbarrier, map, {c, x, y, image, dx, dy}, true};
  memset(dynamicShared + dst, 0xff, im2colBytes(*(const Im2colMap *)map));
}

static void completeLoads(u32 mbarrier) {
  int kept = 0;
  for (int i = 0; i < loadCount; i++) {
    TmaLoad b = loads[i];
    if (b.mbarrier != mbarrier) {
      loads[kept++] = b;
      continue;
    }
    Mbarrier &c = mbarrierAt(mbarrier);
    if (b.im2col) {
      const Im2colMap &m = *(const Im2colMap *)b.map;
      copyIm2col(m, b.at, b.dst);
      c.bytes -= im2colBytes(m);
    } else {
      const TiledMap &m = *(const TiledMap *)b.map;
      copyTile(m, b.at, b.dst);
      c.bytes -= tileBytes(m);
    }
    completePhase(c);
  }
  loadCount = kept;
}

extern "C" void mbarrier_wait_parity(u32 mbarrier, u32 parity) {
  while (mbarrierAt(mbarrier).phase == (parity & 1)) {
    completeLoads(mbarrier);
    if (mbarrierAt(mbarrier).phase == (parity & 1)) yieldThread();
  }
  progressed();
}

static struct { int arrived, generation; } barriers[16];

extern "C" void named_barrier_arrive(int number, int threads) {
  if (number < 1 || number > 15 || threads % 32) fail("no such barrier", number);
  progressed();
  if (++barriers[number].arrived == threads) {
    barriers[number].arrived = 0;
    barriers[number].generation++;
  }
}
extern "C" void named_barrier_sync(int number, int threads) {
  int g = barriers[number].generation;
  named_barrier_arrive(number, threads);
  while (barriers[number].generation == g) yieldThread();
}

// pipelinesReset is called between blocks.
extern "C" void pipelinesReset() {
  loadCount = 0;
  memset(barriers, 0, sizeof barriers);
}
