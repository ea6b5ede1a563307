// softmax(q·kᵀ/√d)·v for each head. Head sizes up to 80 that are multiples of 8 run as flash attention on the tensor
// cores, larger ones unfused as two GEMMs (softmax.cu), all others on the scalar kernel attention_plain.
#include "attention.cuh"

extern "C" SHARED __attribute__((aligned(128))) char dynamicShared[];

// flash: flash attention of one head. A block of 4 warps has 128 queries, 32 a warp; tiles of 64 keys and values are
// double-buffered. D is the head size rounded up to 16. Rows of shared memory are padded by 16 bytes, so that ldmatrix
// has no bank conflicts.
template <int D> DEVICE void flash(const Attention &p) {
  constexpr int QUERIES = 128, KEYS = 64, NT = 128, PITCH = D + 8, CHUNKS = D / 8, KD = D / 16;
  constexpr int TILE = KEYS * PITCH;
  int t = threadIdxX(), l = laneId(), w = warpId(), head = blockIdxY(), sample = blockIdxZ();
  int q0 = blockIdxX() * QUERIES;
  u32 shared = cvta_to_shared(dynamicShared), tiles = shared + QUERIES * PITCH * 2;
  const u16 *q = (const u16 *)p.q + ((i64)sample * p.queries) * p.pitchQ + head * p.headDim;
  const u16 *keys = (const u16 *)p.k + ((i64)sample * p.keys) * p.pitchK + head * p.headDim;
  const u16 *values = (const u16 *)p.v + ((i64)sample * p.keys) * p.pitchV + head * p.headDim;

  auto loadRows = [&](u32 dst, const u16 *src, int pitch, int from, int limit, int rows) __attribute__((always_inline)) {
    for (int i = t; i < rows * CHUNKS; i += NT) {
      int r = i / CHUNKS, c = (i - r * CHUNKS) * 8;
      bool ok = from + r < limit && c < p.headDim;
      cp_async_zfill(dst + (r * PITCH + c) * 2, ok ? src + (i64)(from + r) * pitch + c : src, ok);
    }
  };
  int last = p.causal ? min(p.keys, q0 + QUERIES) : p.keys, count = (last + KEYS - 1) / KEYS;
  loadRows(shared, q, p.pitchQ, q0, p.queries, QUERIES);
  loadRows(tiles, keys, p.pitchK, 0, p.keys, KEYS);
  loadRows(tiles + TILE * 2, values, p.pitchV, 0, p.keys, KEYS);
  cp_async_commit();

  u32 fq[2][KD][4];
  float o[2][D / 8][4], rowMax[2][2], rowSum[2][2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) o[i][j][e] = 0.f;
    rowMax[i][0] = rowMax[i][1] = 0.f;
    rowSum[i][0] = rowSum[i][1] = 0.f;
  }
  for (int n = 0; n < count; n++) {
    cp_async_wait<0>();
    syncthreads();  // tile n has arrived, and no thread reads the other buffer
    if (n + 1 < count) {
      u32 dst = tiles + ((n + 1) & 1) * TILE * 4;
      loadRows(dst, keys, p.pitchK, (n + 1) * KEYS, p.keys, KEYS);
      loadRows(dst + TILE * 2, values, p.pitchV, (n + 1) * KEYS, p.keys, KEYS);
    }
    cp_async_commit();
    if (n == 0) {
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int d = 0; d < KD; d++) ldmatrix_x4(fq[i][d], shared + ((w * 32 + i * 16 + (l & 15)) * PITCH + d * 16 + (l >> 4) * 8) * 2);
    }
    u32 key = tiles + (n & 1) * TILE * 4, value = key + TILE * 2;
    float s[2][KEYS / 8][4];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) s[i][j][e] = 0.f;
#pragma unroll
    for (int d = 0; d < KD; d++)
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++) {
        u32 b[4];
        ldmatrix_x4(b, key + ((j * 16 + (l & 7) + (l >> 4) * 8) * PITCH + d * 16 + ((l >> 3) & 1) * 8) * 2);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          mma_m16n8k16(s[i][2 * j], fq[i][d], b[0], b[1]);
          mma_m16n8k16(s[i][2 * j + 1], fq[i][d], b[2], b[3]);
        }
      }
    int k0 = n * KEYS;
    if (k0 + KEYS > p.keys || (p.causal && k0 + KEYS > q0)) {
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            int column = k0 + j * 8 + (l & 3) * 2 + (e & 1), row = q0 + w * 32 + i * 16 + (l >> 2) + (e >> 1) * 8;
            if (column >= p.keys || (p.causal && column > row)) s[i][j][e] = -__builtin_inff();
          }
    }
    // Online softmax. The four lanes of a quad share a row.
    float tileMax[2][2];
    bool rescale = n == 0;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float m = -__builtin_inff();
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
          float *x = s[i][j] + 2 * h;
          x[0] = __builtin_fmaf(x[0], p.scale, -rowMax[i][h]);
          x[1] = __builtin_fmaf(x[1], p.scale, -rowMax[i][h]);
          m = max(m, max(x[0], x[1]));
        }
        m = max(m, shfl_xor(m, 1));
        tileMax[i][h] = max(m, shfl_xor(m, 2));
        rescale |= !(tileMax[i][h] <= RESCALE_THRESHOLD);
      }
    if (any_sync(rescale)) {
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float scaleO, delta = onlineSoftmaxUpdate(tileMax[i][h], n == 0, rowMax[i][h], scaleO);
          rowSum[i][h] *= scaleO;
#pragma unroll
          for (int j = 0; j < D / 8; j++) {
            o[i][j][2 * h] *= scaleO;
            o[i][j][2 * h + 1] *= scaleO;
          }
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++) {
            s[i][j][2 * h] -= delta;
            s[i][j][2 * h + 1] -= delta;
          }
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float total = 0.f;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float f = ex2_approx(s[i][j][2 * h + e]);
            s[i][j][2 * h + e] = f;
            total += f;
          }
        rowSum[i][h] += total;
      }
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
      u32 a[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        a[i][0] = floats2half2(s[i][2 * j][0], s[i][2 * j][1]);
        a[i][1] = floats2half2(s[i][2 * j][2], s[i][2 * j][3]);
        a[i][2] = floats2half2(s[i][2 * j + 1][0], s[i][2 * j + 1][1]);
        a[i][3] = floats2half2(s[i][2 * j + 1][2], s[i][2 * j + 1][3]);
      }
#pragma unroll
      for (int d = 0; d < KD; d++) {
        u32 b[4];
        ldmatrix_x4_trans(b, value + ((j * 16 + (l & 15)) * PITCH + d * 16 + (l >> 4) * 8) * 2);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          mma_m16n8k16(o[i][2 * d], a[i], b[0], b[1]);
          mma_m16n8k16(o[i][2 * d + 1], a[i], b[2], b[3]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float total = rowSum[i][h];
      total += shfl_xor(total, 1);
      total += shfl_xor(total, 2);
      float f = rcp_rn(total);
      int row = q0 + w * 32 + i * 16 + (l >> 2) + h * 8;
      if (row >= p.queries) continue;
      i64 at = ((i64)sample * p.queries + row) * p.pitchOut + head * p.headDim + (l & 3) * 2;
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        if (j * 8 >= p.headDim) continue;
        float a = o[i][j][2 * h] * f, b = o[i][j][2 * h + 1] * f;
        if (p.outType == F32) {
          ((float *)p.out)[at + j * 8] = a;
          ((float *)p.out)[at + j * 8 + 1] = b;
        } else {
          *(u32 *)((u16 *)p.out + at + j * 8) = floats2half2(a, b);
        }
      }
    }
}

#define FLASH(D) \
  GLOBAL void LAUNCH_BOUNDS(128, 1) flash_##D(const Attention p) { flash<D>(p); }
FLASH(16)
FLASH(32)
FLASH(48)
FLASH(64)
FLASH(80)

// attention_plain is for any head size and storage type. A block of 128 threads has one query of one head; a thread
// computes one score at a time, then one channel of the output at a time.
GLOBAL void LAUNCH_BOUNDS(128, 1) attention_plain(const Attention p) {
  float *q = (float *)dynamicShared, *o = q + p.headDim, *weight = o + p.headDim, *part = weight + 128;
  int t = threadIdxX(), head = blockIdxY(), sample = blockIdxZ(), query = blockIdxX();
  i64 row = (i64)sample * p.queries + query;
  for (int d = t; d < p.headDim; d += 128) q[d] = load(p.q, row * p.pitchQ + head * p.headDim + d, p.qType), o[d] = 0.f;
  syncthreads();
  int last = p.causal ? query + 1 : p.keys;
  float top = -1e30f, rowSum = 0.f;
  for (int k0 = 0; k0 < last; k0 += 128) {
    int key = k0 + t;
    float s = -__builtin_inff();
    i64 first = ((i64)sample * p.keys + key) * p.pitchK + head * p.headDim;
    if (key < last) {
      s = 0.f;
      for (int d = 0; d < p.headDim; d++) s += q[d] * load(p.k, first + d, p.kType);
    }
    float m = warpMax(s);
    if (laneId() == 0) part[warpId()] = m;
    syncthreads();
    m = max(top, max(max(part[0], part[1]), max(part[2], part[3])));
    float f = ex2_approx((s - m) * p.scale), scaleO = ex2_approx((top - m) * p.scale);
    weight[t] = f;
    f = warpSum(f);
    syncthreads();
    if (laneId() == 0) part[warpId()] = f;
    syncthreads();
    rowSum = rowSum * scaleO + ((part[0] + part[1]) + (part[2] + part[3]));
    top = m;
    int count = min(128, last - k0);
    for (int d = t; d < p.headDim; d += 128) {
      float y = o[d] * scaleO;
      i64 at = ((i64)sample * p.keys + k0) * p.pitchV + head * p.headDim + d;
      for (int j = 0; j < count; j++) y += weight[j] * load(p.v, at + (i64)j * p.pitchV, p.vType);
      o[d] = y;
    }
    syncthreads();
  }
  float f = rcp_rn(rowSum);
  for (int d = t; d < p.headDim; d += 128) store(p.out, row * p.pitchOut + head * p.headDim + d, p.outType, o[d] * f);
}
