// What surrounds the UNet in a denoising step, in float32 whatever the storage type: sinusoidal embeddings, the time
// projections, classifier-free guidance, the solver.
#include "common.cuh"

struct Sinusoid {
  const void *t;
  const float *frequency;
  void *out;
  int n, dim, cosFirst, tType, outType;
};

// sinOrCos is the sine or cosine of any float32 angle below 2^20, by range reduction and series in float64.
DEVICE float sinOrCos(float angle, bool cosine) {
  double x = angle, turns = x * 0.63661977236758134308;
  int n = (int)(turns + (turns < 0 ? -0.5 : 0.5));
  double r = (x - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11, z = r * r;
  if (cosine) n++;
  double s = r * (1 + z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800 + z / 6227020800.0))))));
  double c = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z / 479001600.0)))));
  double y = n & 1 ? c : s;
  return (float)(n & 2 ? -y : y);
}

GLOBAL void LAUNCH_BOUNDS(256, 1) sinusoid(const Sinusoid p) {
  for (i64 i = globalThreadIdx(); i < (i64)p.n * p.dim; i += globalThreadCount()) {
    int row = (int)(i / p.dim), at = (int)(i - (i64)row * p.dim), half = p.dim / 2;
    float y = 0.f;
    if (at < 2 * half) {
      y = sinOrCos(mul_rn(load(p.t, row, p.tType), p.frequency[at % half]), (at < half) == (p.cosFirst != 0));
    }
    store(p.out, i, p.outType, y);
  }
}

enum { MAX_PARTS = 32 };

struct Project {
  const u16 *x, *w;
  const float *bias;
  void *out;
  int M, K, N, parts, outType;
  int start[MAX_PARTS + 1];  // first column of each layer, and N
};

// project computes several linear layers of one input of at most 8 rows, the time projections of all residual blocks. w
// [N][K] concatenates the layers' weights; out is [M][columns] of one layer after another. A warp for each column.
GLOBAL void LAUNCH_BOUNDS(256, 4) project(const Project p) {
  constexpr int ROWS = 8, IN_FLIGHT = 5;
  int n = blockIdxX() * 8 + warpId();
  bool inside = n < p.N;
  const u16 *w = p.w + (i64)(inside ? n : 0) * p.K;
  uint4 inFlight[IN_FLIGHT];
#pragma unroll
  for (int i = 0; i < IN_FLIGHT; i++) {
    int k = (i * 32 + laneId()) * 8;
    inFlight[i] = k < p.K ? *(const uint4 *)(w + k) : uint4{0, 0, 0, 0};
  }
  if (!inside) return;
  float sums[ROWS] = {};
  auto add = [&](uint4 v, int k) __attribute__((always_inline)) {
    float f[8], x[8];
    half8ToFloat(v, f);
#pragma unroll
    for (int m = 0; m < ROWS; m++)
      if (m < p.M) {
        load8(p.x, (i64)m * p.K + k, HALF, x);
#pragma unroll
        for (int i = 0; i < 8; i++) sums[m] += f[i] * x[i];
      }
  };
#pragma unroll
  for (int i = 0; i < IN_FLIGHT; i++)
    if ((i * 32 + laneId()) * 8 < p.K) add(inFlight[i], (i * 32 + laneId()) * 8);
  for (int k = (IN_FLIGHT * 32 + laneId()) * 8; k < p.K; k += 256) add(*(const uint4 *)(w + k), k);
  int part = 0;
  while (p.start[part + 1] <= n) part++;
  int from = p.start[part], columns = p.start[part + 1] - from;
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    float sum = warpSum(sums[m]);
    if (m < p.M && laneId() == m) store(p.out, (i64)from * p.M + (i64)m * columns + (n - from), p.outType, p.bias ? sum + p.bias[n] : sum);
  }
}

struct ScaleRepeat {
  const void *x, *scale;
  void *out;
  i64 n, total;  // elements of x and of out
  int xType, scaleType, outType;
};

GLOBAL void LAUNCH_BOUNDS(256, 1) scale_repeat(const ScaleRepeat p) {
  float f = load(p.scale, 0, p.scaleType);
  for (i64 i = globalThreadIdx(); i < p.total; i += globalThreadCount()) store(p.out, i, p.outType, f * load(p.x, i % p.n, p.xType));
}

struct Guidance {
  const void *m, *scale, *phi;
  void *out;
  i64 n;      // elements of a sample
  int batch;  // of out
  int rescale, mType, scaleType, phiType, outType;
};

// guidance is classifier-free guidance. Grid: (blocks, sample); with guidance rescale one block of 1024 threads a
// sample.
GLOBAL void LAUNCH_BOUNDS(1024, 1) guidance(const Guidance p) {
  SHARED static float part[4][32];
  i64 u = (i64)blockIdxY() * p.n, c = ((i64)p.batch + blockIdxY()) * p.n;
  float scale = load(p.scale, 0, p.scaleType), factor = 1.f;
  auto guided = [&](i64 i) __attribute__((always_inline)) {
    float a = load(p.m, u + i, p.mType);
    return a + scale * (load(p.m, c + i, p.mType) - a);
  };
  if (p.rescale) {
    // Both standard deviations, from shifted data: the pivots are the first elements.
    float pc = load(p.m, c, p.mType), pg = guided(0), s[4] = {0.f, 0.f, 0.f, 0.f};
    for (i64 i = threadIdxX(); i < p.n; i += blockDimX()) {
      float a = load(p.m, c + i, p.mType) - pc, b = guided(i) - pg;
      s[0] += a, s[1] += a * a, s[2] += b, s[3] += b * b;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
      s[k] = warpSum(s[k]);
      if (laneId() == 0) part[k][warpId()] = s[k];
    }
    syncthreads();
#pragma unroll
    for (int k = 0; k < 4; k++) s[k] = warpSum(laneId() < blockDimX() / 32 ? part[k][laneId()] : 0.f);
    float n = (float)p.n, phi = load(p.phi, 0, p.phiType);
    float vc = s[1] - s[0] * s[0] / n, vg = s[3] - s[2] * s[2] / n;
    factor = phi * sqrt_rn(vc / vg) + (1.f - phi);
  }
  for (i64 i = (i64)blockIdxX() * blockDimX() + threadIdxX(); i < p.n; i += (i64)gridDimX() * blockDimX()) store(p.out, (i64)blockIdxY() * p.n + i, p.outType, guided(i) * factor);
}

enum { MAX_HISTORY = 8 };

struct Solver {
  const void *x, *m, *noise;
  const float *coefficients;
  const void *history[MAX_HISTORY];
  void *out[1 + MAX_HISTORY];
  i64 n;
  int K, xType, mType, noiseType;
  int historyType[MAX_HISTORY], outType[1 + MAX_HISTORY];
};

// solver reads every operand of an element before it writes an output, since outputs may alias inputs. An operand with
// a zero coefficient is not read. The clamp passes NaN.
GLOBAL void LAUNCH_BOUNDS(256, 1) solver(const Solver p) {
  const float *f = p.coefficients;
  float a = f[0], b = f[1], clip = f[2];
  int width = 4 + p.K;
  for (i64 i = globalThreadIdx(); i < p.n; i += globalThreadCount()) {
    float next[1 + MAX_HISTORY], x0 = 0.f;
    if (a != 0.f) x0 = a * load(p.x, i, p.xType);
    if (b != 0.f) x0 += b * load(p.m, i, p.mType);
    if (clip != 0.f) x0 = x0 > clip ? clip : x0 < -clip ? -clip : x0;
#pragma unroll
    for (int r = 0; r <= MAX_HISTORY; r++) {
      next[r] = 0.f;
      if (r > p.K) continue;
      const float *row = f + 3 + r * width;
      float y = 0.f;
      if (row[0] != 0.f) y += row[0] * load(p.x, i, p.xType);
      if (row[1] != 0.f) y += row[1] * x0;
      if (row[2] != 0.f) y += row[2] * load(p.m, i, p.mType);
      if (row[3] != 0.f) y += row[3] * load(p.noise, i, p.noiseType);
#pragma unroll
      for (int k = 0; k < MAX_HISTORY; k++)
        if (k < p.K && row[4 + k] != 0.f) y += row[4 + k] * load(p.history[k], i, p.historyType[k]);
      next[r] = y;
    }
#pragma unroll
    for (int r = 0; r <= MAX_HISTORY; r++)
      if (r <= p.K) store(p.out[r], i, p.outType[r], next[r]);
  }
}
