// Runs kernels on the CPU, one block after another, each thread as a fiber with a stack of its own. For tests on x86-64
// machines without a card.
#include "../src/common.cuh"

typedef unsigned long size_t;
extern "C" {
void *mmap(void *, size_t, int, int, int, long);
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
int printf(const char *, ...);
void abort();
void pipelinesReset();

Fiber *self;
int emulatedThreads, emulatedBlock[3], emulatedGrid[3];
alignas(1024) char dynamicShared[256 << 10];
}

static const int mostThreads = 1024;
static const size_t stackSize = 64 << 10;
static Fiber fibers[mostThreads];
static WarpExchange exchanges[mostThreads / 32];
static char *stacks;
static void *scheduler;
static int alive, arrived, generation;

// switchTo saves the registers that a call keeps and continues on another stack.
extern "C" void switchTo(void **from, void *to);
asm(R"(
.globl switchTo
switchTo:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

static void yield() {
  Fiber *f = self;
  switchTo(&f->stack, scheduler);
}

extern "C" void fiberDone() {
  self->done = 1;
  alive--;
  yield();
}
// The kernel returns here; the stack is as a call leaves it.
extern "C" void fiberEnd();
asm(R"(
.globl fiberEnd
fiberEnd:
  andq $-16, %rsp
  call fiberDone
)");

static int stalled;

// yieldThread runs the other threads of the block. progressed records that something happened that a thread may wait
// for.
extern "C" void yieldThread() { yield(); }
extern "C" void progressed() { stalled = 0; }

extern "C" void syncWarp() {
  WarpExchange *m = self->exchange;
  int g = m->generation;
  stalled = 0;
  if (++m->arrived == 32) {
    m->arrived = 0;
    m->generation++;
    return;
  }
  while (m->generation == g) yield();
}

extern "C" void syncBlock() {
  int g = generation;
  stalled = 0;
  arrived++;
  while (generation == g) {
    if (arrived >= alive) {
      arrived = 0;
      generation++;
      break;
    }
    yield();
  }
}

extern "C" void cpAsyncIssue(u32 dst, const void *src, bool valid) {
  if (self->copyCount == 512 || dst % 16 || (u64)src % 16) {
    printf("emulate: too many copies in flight, or one from %p to %u that is not aligned\n", src, dst);
    abort();
  }
  auto &c = self->copies[self->copyCount++];
  c.dst = dst, c.src = src, c.valid = valid, c.group = self->group;
  if (valid) volatile char probe = *(const char *)src; else volatile char probe = *(const char *)src;
}

extern "C" void cpAsyncWait(int pending) {
  int kept = 0;
  for (int i = 0; i < self->copyCount; i++) {
    auto &c = self->copies[i];
    if (c.group < self->group - pending) {
      if (c.valid)
        memcpy(dynamicShared + c.dst, c.src, 16);
      else
        memset(dynamicShared + c.dst, 0, 16);
    } else {
      self->copies[kept++] = c;
    }
  }
  self->copyCount = kept;
}

// emulate runs a kernel whose only parameter is a struct of size bytes, which the calling convention puts on the stack.
// It returns 0, or 1 on a deadlock: all threads that have not ended wait.
extern "C" int emulate(void (*kernel)(), const int *grid, int threads, const void *params, int size) {
  if (!stacks) stacks = (char *)mmap(0, mostThreads * stackSize, 3, 0x22, -1, 0);
  emulatedThreads = threads;
  memcpy(emulatedGrid, grid, sizeof emulatedGrid);
  for (int z = 0; z < grid[2]; z++)
    for (int y = 0; y < grid[1]; y++)
      for (int x = 0; x < grid[0]; x++) {
        emulatedBlock[0] = x, emulatedBlock[1] = y, emulatedBlock[2] = z;
        memset(dynamicShared, 0xff, sizeof dynamicShared);  // NaN
        memset(exchanges, 0, sizeof exchanges);
        pipelinesReset();
        alive = threads;
        arrived = 0;
        for (int t = 0; t < threads; t++) {
          Fiber &f = fibers[t];
          f.thread = t, f.done = 0, f.buffer = 0, f.copyCount = 0, f.group = 0;
          f.exchange = &exchanges[t / 32];
          char *at = stacks + (t + 1) * stackSize - ((size + 127) & ~127);
          memcpy(at, params, size);
          void **top = (void **)at;
          *--top = (void *)fiberEnd;
          *--top = (void *)kernel;
          for (int i = 0; i < 6; i++) *--top = 0;
          f.stack = top;
        }
        stalled = 0;
        while (alive > 0) {
          if (stalled++ > 3) {
            printf("emulate: block %d,%d,%d stalls with %d threads\n", x, y, z, alive);
            return 1;
          }
          for (int t = 0; t < threads; t++)
            if (!fibers[t].done) {
              self = &fibers[t];
              switchTo(&scheduler, fibers[t].stack);
            }
        }
      }
  return 0;
}
