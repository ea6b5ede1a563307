// The counters, boxes and numbered barriers of emulate/pipeline.h.
#include "../src/pipeline.cuh"

typedef unsigned long size_t;
extern "C" {
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
int printf(const char *, ...);
void abort();
void giveWay();
void moved();
}

static void complain(const char *what, u32 at) {
  printf("emulate: block %d,%d,%d thread %d: %s, at %u\n", blockX(), blockY(), blockZ(), thread(), what, at);
  abort();
}

// Counter is what lies in shared memory.
struct Counter {
  u16 arrivals, missing : 15, phase : 1;
  int bytes;  // announced less arrived
};
static_assert(sizeof(Counter) == 8, "a counter has 8 bytes");

static Counter &counterAt(u32 at) {
  if (at % 8) complain("counter not aligned", at);
  return *(Counter *)(dynamicShared + at);
}

static void settle(Counter &c) {
  if (c.missing || c.bytes) return;
  c.missing = c.arrivals;
  c.phase ^= 1;
  moved();
}

extern "C" void counterBegins(u32 counter, int arrivals) { counterAt(counter) = {(u16)arrivals, (u16)arrivals, 0, 0}; }

extern "C" void arriveExpecting(u32 counter, int bytes) {
  Counter &c = counterAt(counter);
  if (!c.missing) complain("more arrivals than the counter has", counter);
  c.bytes += bytes;
  c.missing--;
  moved();
  settle(c);
}
extern "C" void arrive(u32 counter) { arriveExpecting(counter, 0); }

// Box is a copy that has begun: the map as the test's driver encodes it.
struct Box {
  u32 dst, counter;
  u64 map;
  int at[6];
  bool pixels;
};
static Box boxes[256];
static int boxCount;

// Map is how emulate_test.go fills a TensorMap: two-byte elements, rows of at most 128 bytes swizzled as a whole.
struct Map {
  u64 address, size[3], stride[2], box[3], swizzle;
};

// PixelMap is how it fills that of an image: size and stride as in Map, first and last places of pixels in x and y, step from one to the next.
struct PixelMap {
  u64 address, size[4], stride[3];
  int first[2], last[2];
  u64 channels, pixels, step;
};

static int pixelBytes(const PixelMap &m) { return m.channels * m.pixels * 2; }

static void walkPixels(const PixelMap &m, const int *at, u32 shared) {
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

static int boxBytes(const Map &m) { return m.box[0] * m.box[1] * m.box[2] * 2; }

static void walk(const Map &m, const int *at, u32 shared) {
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

extern "C" void copyBox(u32 dst, u64 map, int x, int y, int z, u32 counter) {
  if (dst % 1024 || map % 64) complain("box or map not aligned", dst);
  if (boxCount == 256) complain("too many boxes in flight", dst);
  boxes[boxCount++] = {dst, counter, map, {x, y, z}, false};
  memset(dynamicShared + dst, 0xff, boxBytes(*(const Map *)map));
}

extern "C" void copyPixels(u32 dst, u64 map, int c, int x, int y, int image, int dx, int dy, u32 counter) {
  if (dst % 1024 || map % 64) complain("pixels or map not aligned", dst);
  if (boxCount == 256) complain("too many boxes in flight", dst);
  boxes[boxCount++] = {dst, counter, map, {c, x, y, image, dx, dy}, true};
  memset(dynamicShared + dst, 0xff, pixelBytes(*(const PixelMap *)map));
}

static void arriveBoxes(u32 counter) {
  int kept = 0;
  for (int i = 0; i < boxCount; i++) {
    Box b = boxes[i];
    if (b.counter != counter) {
      boxes[kept++] = b;
      continue;
    }
    Counter &c = counterAt(counter);
    if (b.pixels) {
      const PixelMap &m = *(const PixelMap *)b.map;
      walkPixels(m, b.at, b.dst);
      c.bytes -= pixelBytes(m);
    } else {
      const Map &m = *(const Map *)b.map;
      walk(m, b.at, b.dst);
      c.bytes -= boxBytes(m);
    }
    settle(c);
  }
  boxCount = kept;
}

extern "C" void awaitPhase(u32 counter, u32 parity) {
  while (counterAt(counter).phase == (parity & 1)) {
    arriveBoxes(counter);
    if (counterAt(counter).phase == (parity & 1)) giveWay();
  }
  moved();
}

static struct { int arrived, generation; } barriers[16];

extern "C" void arriveAt(int number, int threads) {
  if (number < 1 || number > 15 || threads % 32) complain("no such barrier", number);
  moved();
  if (++barriers[number].arrived == threads) {
    barriers[number].arrived = 0;
    barriers[number].generation++;
  }
}
extern "C" void barrierOf(int number, int threads) {
  int g = barriers[number].generation;
  arriveAt(number, threads);
  while (barriers[number].generation == g) giveWay();
}

// pipelinesReset is called between blocks.
extern "C" void pipelinesReset() {
  boxCount = 0;
  memset(barriers, 0, sizeof barriers);
}
