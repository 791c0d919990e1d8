// Matrix products where there is no cublasLt: right, not fast. c [m, n] = alpha op(a) op(b) + start, start a matrix of ld_start numbers a
// row, one row for all (0), or none (null); it may be c. A block has 64 x 64 elements of c.
#include "tile.h"

namespace {

constexpr int side = 64, depth = 32;

template <class T>
__device__ T zero() { return T(0); }

template <class T>
__device__ void gemm(const T* a, long ld_a, int a_transposed, const T* b, long ld_b, int b_transposed, const Values& c, long ld_c,
                     const Values& start, long ld_start, float alpha, long m, long n, long k) {
  // Odd numbers of words a row: columns of a fragment lie in different banks.
  constexpr int ld_left = depth + 2, ld_right = side + 2, ld_sum = side + 1;
  __shared__ T left[side * ld_left];
  __shared__ T right[depth * ld_right];
  __shared__ float sum[side * ld_sum];
  const long row = static_cast<long>(blockIdx.y) * side, column = static_cast<long>(blockIdx.x) * side;
  for (int i = threadIdx.x; i < side * ld_sum; i += blockDim.x) sum[i] = 0.f;
  for (long at = 0; at < k; at += depth) {
    __syncthreads();
    for (int i = threadIdx.x; i < side * depth; i += blockDim.x) {
      // neighbouring threads read neighbouring elements
      const int r = a_transposed ? i % side : i / depth, p = a_transposed ? i / side : i % depth;
      const bool inside = row + r < m && at + p < k;
      left[r * ld_left + p] = inside ? a[a_transposed ? (at + p) * ld_a + row + r : (row + r) * ld_a + at + p] : zero<T>();
      const int q = b_transposed ? i % depth : i / side, s = b_transposed ? i / depth : i % side;
      const bool within = at + q < k && column + s < n;
      right[q * ld_right + s] = within ? b[b_transposed ? (column + s) * ld_b + at + q : (at + q) * ld_b + column + s] : zero<T>();
    }
    __syncthreads();
    tile_product<false, false>(left, ld_left, right, ld_right, sum, ld_sum, side, depth, true);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < side * side; i += blockDim.x) {
    const long r = row + i / side, s = column + i % side;
    if (r >= m || s >= n) continue;
    const float value = alpha * sum[i / side * ld_sum + i % side];
    store(c, r * ld_c + s, start.at != nullptr ? value + load(start, r * ld_start + s) : value);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128)
    rx_gemm_f32(const float* a, long ld_a, int a_transposed, const float* b, long ld_b, int b_transposed, Values c, long ld_c,
                Values start, long ld_start, float alpha, long m, long n, long k) {
  gemm(a, ld_a, a_transposed, b, ld_b, b_transposed, c, ld_c, start, ld_start, alpha, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128)
    rx_gemm_bf16(const uint16_t* a, long ld_a, int a_transposed, const uint16_t* b, long ld_b, int b_transposed, Values c, long ld_c,
                 Values start, long ld_start, float alpha, long m, long n, long k) {
  gemm(a, ld_a, a_transposed, b, ld_b, b_transposed, c, ld_c, start, ld_start, alpha, m, n, k);
}
