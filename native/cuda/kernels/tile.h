// Products of small matrices in shared memory by one block of 2 R threads, R = 16, 32 or 64 rows: float32 on the ordinary units, bfloat16
// on the tensor cores (a warp for 16 rows). What a kernel does between products is the same for both.
#pragma once

#include "device.h"

namespace {

__device__ __forceinline__ int tile_rows() { return static_cast<int>(blockDim.x) / 2; }

__device__ __forceinline__ uint32_t pair(const uint16_t* first, int step) {
  return static_cast<uint32_t>(first[0]) | static_cast<uint32_t>(first[step]) << 16;
}

// c [R, n] (+)= op(a) [R, k] op(b) [k, n]; n a multiple of 8, k of 16. transposed: stored the other way round. All threads of the block
// call it, barriers are theirs.
template <bool a_transposed, bool b_transposed>
__device__ void tile_product(const uint16_t* a, int ld_a, const uint16_t* b, int ld_b, float* c, int ld_c, int n, int k, bool add) {
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16 + group;
  const int along_a = a_transposed ? ld_a : 1, across_a = a_transposed ? 1 : ld_a;
  const int along_b = b_transposed ? 1 : ld_b, across_b = b_transposed ? ld_b : 1;
  for (int column = 0; column < n; column += 8) {
    float* const upper = c + row * ld_c + column + two;
    float* const lower = upper + 8 * ld_c;
    float sum[4] = {add ? upper[0] : 0.f, add ? upper[1] : 0.f, add ? lower[0] : 0.f, add ? lower[1] : 0.f};
    for (int at = 0; at < k; at += 16) {
      const uint16_t* const from_a = a + row * across_a + (at + two) * along_a;
      const uint16_t* const from_b = b + (column + group) * across_b + (at + two) * along_b;
      const uint32_t left[4] = {pair(from_a, along_a), pair(from_a + 8 * across_a, along_a), pair(from_a + 8 * along_a, along_a),
                                pair(from_a + 8 * across_a + 8 * along_a, along_a)};
      const uint32_t right[2] = {pair(from_b, along_b), pair(from_b + 8 * along_b, along_b)};
      mma_16816(sum, left, right);
    }
    upper[0] = sum[0];
    upper[1] = sum[1];
    lower[0] = sum[2];
    lower[1] = sum[3];
  }
}

// The same in float32: a thread has 8 rows and up to 4 columns, 16 apart, at a time.
template <bool a_transposed, bool b_transposed>
__device__ void tile_product(const float* a, int ld_a, const float* b, int ld_b, float* c, int ld_c, int n, int k, bool add) {
  const int first = static_cast<int>(threadIdx.x) % 16, row = static_cast<int>(threadIdx.x) / 16 * 8;
  const int along_a = a_transposed ? ld_a : 1, across_a = a_transposed ? 1 : ld_a;
  const int along_b = b_transposed ? 1 : ld_b, across_b = b_transposed ? ld_b : 1;
  for (int start = first; start < n; start += 64) {
    float sum[8][4];
    for (int i = 0; i < 8; i++)
      for (int j = 0; j < 4; j++) sum[i][j] = add && start + 16 * j < n ? c[(row + i) * ld_c + start + 16 * j] : 0.f;
    for (int at = 0; at < k; at++) {
      float right[4];
      for (int j = 0; j < 4; j++) right[j] = start + 16 * j < n ? b[(start + 16 * j) * across_b + at * along_b] : 0.f;
      for (int i = 0; i < 8; i++) {
        const float left = a[(row + i) * across_a + at * along_a];
        for (int j = 0; j < 4; j++) sum[i][j] += left * right[j];
      }
    }
    for (int i = 0; i < 8; i++)
      for (int j = 0; j < 4; j++)
        if (start + 16 * j < n) c[(row + i) * ld_c + start + 16 * j] = sum[i][j];
  }
}

// to [R, width] = rows first .. of a matrix, its columns from `start` on; zeros beyond `end` and beyond the columns.
template <class T>
__device__ void tile_load(const Values& from, long ld, long start, long first, long end, int columns, T* to, int ld_to, int width) {
  const int rows = tile_rows();
  for (int i = threadIdx.x; i < rows * width; i += blockDim.x) {
    const int r = i / width, c = i % width;
    store(to + r * ld_to + c, first + r < end && c < columns ? load(from, (first + r) * ld + start + c) : 0.f);
  }
}

// The other way: the first `columns` columns of a tile, up to row `end`.
__device__ __forceinline__ void tile_store(const float* tile, int ld, const Values& to, long ld_to, long start, long first, long end,
                                           int columns) {
  for (int i = threadIdx.x; i < tile_rows() * columns; i += blockDim.x) {
    const int r = i / columns, c = i % columns;
    if (first + r < end) store(to, (first + r) * ld_to + start + c, tile[r * ld + c]);
  }
}

}  // namespace
