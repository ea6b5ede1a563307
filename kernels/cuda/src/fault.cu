// A kernel that fails, for the test that the engine survives it.
#include "common.cuh"

struct Fault {
  u64 unused;
};

GLOBAL void LAUNCH_BOUNDS(32, 1) fault(const Fault) { trap(); }
