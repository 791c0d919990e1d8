// What flash.cu and hopper*.cu do with the rows that a warp has in registers, in the layout of mma_16816: x[n][e] of a
// lane is of row lane / 4 (8 more for e > 1), column 8 n + 2 (lane % 4) + e % 2.
#pragma once

#include "async.h"
#include "attention_rows.h"
#include "device.h"
#include "flash_layout.h"

namespace {

constexpr float log2_e = 1.4426950408889634f;

template <int width>
__device__ __forceinline__ const uint16_t* head_of(const Values& rows, int head) {
  return static_cast<const uint16_t*>(rows.at) + head * width;
}

template <int columns>
__device__ __forceinline__ void clear(float (*sum)[4]) {
#pragma unroll
  for (int n = 0; n < columns / 8; n++) sum[n][0] = sum[n][1] = sum[n][2] = sum[n][3] = 0.f;
}
// Columns 16 k .. 16 k + 15, rounded, as a left operand.
__device__ __forceinline__ void rounded(const float (*x)[4], int k, uint32_t* a) {
  a[0] = two_bfloat16(x[2 * k][0], x[2 * k][1]);
  a[1] = two_bfloat16(x[2 * k][2], x[2 * k][3]);
  a[2] = two_bfloat16(x[2 * k + 1][0], x[2 * k + 1][1]);
  a[3] = two_bfloat16(x[2 * k + 1][2], x[2 * k + 1][3]);
}

// Whether rows i .. i + 15 all see all of j .. j + columns - 1, inside of the document.
__device__ __forceinline__ bool all_seen(const RxAttention& a, long i, long j, int columns, long end) {
  return j + columns - 1 <= i && j + columns <= end && (a.window == 0 || j > i + 15 - a.window);
}

// The way to probabilities, a tile of scores after the other. Of rows lane / 4 and lane / 4 + 8:
struct Running {
  float top[2];    // the greatest score so far, times scale and log2 e
  float total[2];  // the sum of exponentials, of this lane's columns
};
// s [16, columns], scores of rows i .. and keys `at` .., becomes exponentials; what was summed so far counts `shrink` times.
template <int columns>
__device__ __forceinline__ void exponentials(const RxAttention& a, const Tile& t, long i, long at, float factor, float (*s)[4], Running& rows,
                                             float* shrink) {
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2;
  if (!all_seen(a, i, at, columns, t.end))
#pragma unroll
    for (int n = 0; n < columns / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const long j = at + 8 * n + two + e % 2;
        if (j >= t.end || !seen(a, i + group + e / 2 * 8, j)) s[n][e] = -INFINITY;
      }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float here = -INFINITY;
#pragma unroll
    for (int n = 0; n < columns / 8; n++) here = Greater()(s[n][2 * half + 1], Greater()(s[n][2 * half], here));
    here = Greater()(here, __shfl_xor_sync(0xffffffffu, here, 1));
    here = Greater()(here, __shfl_xor_sync(0xffffffffu, here, 2));
    const float next = Greater()(here * factor, rows.top[half]);
    // Nothing seen yet: exp(-inf - -inf) would be NaN.
    const float base = next == -INFINITY ? 0.f : next;
    shrink[half] = power_of_two(rows.top[half] - base);
    float added = 0.f;
#pragma unroll
    for (int n = 0; n < columns / 8; n++)
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; e++) {
        s[n][e] = power_of_two(s[n][e] * factor - base);
        added += s[n][e];
      }
    rows.total[half] = rows.total[half] * shrink[half] + added;
    rows.top[half] = next;
  }
}
template <int width>
__device__ __forceinline__ void shrunk(float (*sum)[4], const float* shrink) {
#pragma unroll
  for (int n = 0; n < width / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) sum[n][e] *= shrink[e / 2];
}

// This lane's numbers of one of its two rows, times a factor, into the columns of a head from `start` on.
template <int width>
__device__ __forceinline__ void store_row(const float (*sum)[4], int half, float factor, const Values& to, long start, int head_dim) {
  const int two = threadIdx.x % 4 * 2;
  // Two at once, where they are one word of bfloat16.
  const bool pairs = to.half && head_dim == width && start % 2 == 0 && (reinterpret_cast<uintptr_t>(to.at) & 3) == 0;
#pragma unroll
  for (int n = 0; n < width / 8; n++) {
    const int c = 8 * n + two;
    const float low = sum[n][2 * half] * factor, high = sum[n][2 * half + 1] * factor;
    if (pairs) {
      *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(to.at) + start + c) = two_bfloat16(low, high);
    } else {
      if (c < head_dim) store(to, start + c, low);
      if (c + 1 < head_dim) store(to, start + c + 1, high);
    }
  }
}
// Rows i .. of a gradient, the columns of one head from `start` on.
template <int width>
__device__ __forceinline__ void store_rows(const float (*sum)[4], float factor, const Values& to, long ld, long start, long i, long end,
                                           int head_dim) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const long at = i + threadIdx.x % 32 / 4 + 8 * half;
    if (at < end) store_row<width>(sum, half, factor, to, at * ld + start, head_dim);
  }
}
// Rows i .. of the output, and their log-sum-exp.
template <int width>
__device__ __forceinline__ void store_output(const RxAttention& a, const Tile& t, int head, long i, const float (*sum)[4], Running& rows) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float total = rows.total[half];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    const long at = i + threadIdx.x % 32 / 4 + 8 * half;
    if (at >= t.end) continue;
    store_row<width>(sum, half, 1.f / total, a.out, (at * a.heads + head) * a.value_dim, a.value_dim);
    if (threadIdx.x % 4 == 0) a.lse[at * a.heads + head] = rows.top[half] / log2_e + logf(total);
  }
}

// The way back. Of rows i + lane / 4 and 8 more: the log-sum-exp times log2 e, and out d_out; a row beyond the end has no probabilities.
__device__ __forceinline__ void statistics_of_rows(const RxAttention& a, const Tile& t, int head, long i, float* lse, float* along) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const long at = i + threadIdx.x % 32 / 4 + 8 * half;
    lse[half] = at < t.end ? a.lse[at * a.heads + head] * log2_e : INFINITY;
    along[half] = at < t.end ? a.along[at * a.heads + head] : 0.f;
  }
}
// The same of `columns` queries from `from` on, by all threads of the block, to shared memory.
template <int columns>
__device__ __forceinline__ void statistics_of_queries(const RxAttention& a, const Tile& t, int head, long from, float* lse, float* along) {
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const bool inside = from + c < t.end;
    lse[c] = inside ? a.lse[(from + c) * a.heads + head] * log2_e : INFINITY;
    along[c] = inside ? a.along[(from + c) * a.heads + head] : 0.f;
  }
}
// s [16, columns], probabilities of keys and queries, becomes the scores' gradient; dp is that of the probabilities.
template <int columns>
__device__ __forceinline__ void slopes_of_keys(const float (*dp)[4], const float* along, float (*s)[4]) {
  const int two = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < columns / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) s[n][e] *= dp[n][e] - along[8 * n + two + e % 2];
}

}  // namespace
