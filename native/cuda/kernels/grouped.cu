// Products of groups of rows with a matrix each, all in one launch: the experts of a mixture, where few rows go to each, and their
// adapters, whose product with a second matrix adds to the same numbers. A block has
// 64 x 128 numbers of one group's result, two by two warps 32 x 64 of them in registers; tiles of both operands come by asynchronous copies,
// two ahead of what is worked on.
#include "async.h"
#include "grouped_layout.h"

namespace {

// [columns, depth] of w, K-major, or (turned) [depth, columns].
template <bool turned>
__device__ __forceinline__ void grouped(const RxGroupedPiece p, const RxGrouped all) {
  constexpr int R = GroupedTile::rows, C = GroupedTile::columns, D = GroupedTile::depth, stages = GroupedTile::stages;
  RX_DYNAMIC_SHARED(uint16_t, memory);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, two = lane % 4 * 2;
  const int row = warp / 2 * 32, column = warp % 2 * 64;
  const long first = static_cast<long>(blockIdx.y) * C;
  const auto left = [&](int stage) { return memory + stage * D * (R + C); };
  const auto right = [&](int stage) { return left(stage) + D * R; };
  // Steps through the first product's depth, then through the second's.
  const long own = (all.depth + D - 1) / D, steps = own + (all.depth2 + D - 1) / D;
  const auto bring = [&](long step) {
    const int stage = static_cast<int>(step % stages);
    const bool second = step >= own;
    const long at = (second ? step - own : step) * D, depth = second ? all.depth2 : all.depth, ld_x = second ? all.ld_x2 : all.ld_x;
    const uint16_t* const x = second ? p.x2 : p.x;
    const uint16_t* const w = second ? p.w2 : p.w;
    for (int i = threadIdx.x; i < R * (D / 8); i += 128) {
      const int r = i / (D / 8), c = i % (D / 8);
      const bool inside = r < p.rows && at + 8 * c < depth;
      copy_async_16(piece<D>(left(stage), r, c), x + (inside ? r * ld_x + at + 8 * c : 0), inside);
    }
    if constexpr (turned) {
      for (int i = threadIdx.x; i < D * (C / 8); i += 128) {
        const int r = i / (C / 8), c = i % (C / 8);
        const bool inside = at + r < depth && first + 8 * c < all.columns;
        copy_async_16(piece<C>(right(stage), r, c), w + (inside ? (at + r) * all.columns + first + 8 * c : 0), inside);
      }
    } else {
      const long ld_w = second ? all.ld_w2 : all.ld_w;
      for (int i = threadIdx.x; i < C * (D / 8); i += 128) {
        const int r = i / (D / 8), c = i % (D / 8);
        const bool inside = first + r < all.columns && at + 8 * c < depth;
        copy_async_16(piece<D>(right(stage), r, c), w + (inside ? (first + r) * ld_w + at + 8 * c : 0), inside);
      }
    }
  };
  float sum[2][8][4];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int n = 0; n < 8; n++) sum[i][n][0] = sum[i][n][1] = sum[i][n][2] = sum[i][n][3] = 0.f;
  for (int step = 0; step < stages - 1; step++) {
    if (step < steps) bring(step);
    copies_end();
  }
  for (long step = 0; step < steps; step++) {
    copies_wait<stages - 2>();
    // The stage that all have read is written to next.
    __syncthreads();
    if (step + stages - 1 < steps) bring(step + stages - 1);
    copies_end();
    uint16_t* const a = left(static_cast<int>(step % stages));
    uint16_t* const b = right(static_cast<int>(step % stages));
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t of_a[2][4];
      left_of<D>(a, row, k, of_a[0]);
      left_of<D>(a, row + 16, k, of_a[1]);
#pragma unroll
      for (int n = 0; n < 4; n++) {
        uint32_t of_b[4];
        if constexpr (turned)
          right_of<C>(b, 16 * k, column / 16 + n, of_b);
        else
          right_of_transpose<D>(b, column + 16 * n, k, of_b);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          mma_16816(sum[i][2 * n], of_a[i], of_b);
          mma_16816(sum[i][2 * n + 1], of_a[i], of_b + 2);
        }
      }
    }
  }
  const Values c = {p.c, all.half}, start = {const_cast<void*>(p.start), all.half};
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = row + 16 * i + 8 * half + group;
      if (r >= p.rows) continue;
#pragma unroll
      for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const long s = first + column + 8 * n + two + e;
          if (s >= all.columns) continue;
          float value = sum[i][n][2 * half + e];
          if (p.bias != nullptr) value += p.bias[s];
          if (p.start != nullptr) value += load(start, r * all.columns + s);
          store(c, r * all.columns + s, value);
        }
    }
}

// The same tiles of a product over rows: of dy [rows, ..] as it lies the columns are c's rows.
__device__ __forceinline__ void grouped_grad(const RxGroupedGradPiece p, const RxGroupedGrad all) {
  constexpr int R = GroupedTile::rows, C = GroupedTile::columns, D = GroupedTile::depth, stages = GroupedTile::stages;
  RX_DYNAMIC_SHARED(uint16_t, memory);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, two = lane % 4 * 2;
  const int row = warp / 2 * 32, column = warp % 2 * 64;
  const long first = static_cast<long>(blockIdx.y) * C;
  const auto left = [&](int stage) { return memory + stage * D * (R + C); };
  const auto right = [&](int stage) { return left(stage) + D * R; };
  const auto bring = [&](long step) {
    const int stage = static_cast<int>(step % stages);
    const long at = step * D;
    for (int i = threadIdx.x; i < D * (R / 8); i += 128) {
      const int r = i / (R / 8), c = i % (R / 8);
      const bool inside = at + r < p.rows && 8 * c < p.height;
      copy_async_16(piece<R>(left(stage), r, c), p.dy + (inside ? (at + r) * all.ld_dy + 8 * c : 0), inside);
    }
    for (int i = threadIdx.x; i < D * (C / 8); i += 128) {
      const int r = i / (C / 8), c = i % (C / 8);
      const bool inside = at + r < p.rows && first + 8 * c < all.columns;
      copy_async_16(piece<C>(right(stage), r, c), p.x + (inside ? (at + r) * all.ld_x + first + 8 * c : 0), inside);
    }
  };
  float sum[2][8][4];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int n = 0; n < 8; n++) sum[i][n][0] = sum[i][n][1] = sum[i][n][2] = sum[i][n][3] = 0.f;
  const long steps = (p.rows + D - 1) / D;
  for (int step = 0; step < stages - 1; step++) {
    if (step < steps) bring(step);
    copies_end();
  }
  for (long step = 0; step < steps; step++) {
    copies_wait<stages - 2>();
    __syncthreads();
    if (step + stages - 1 < steps) bring(step + stages - 1);
    copies_end();
    uint16_t* const a = left(static_cast<int>(step % stages));
    uint16_t* const b = right(static_cast<int>(step % stages));
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t of_a[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++)
        load_matrices_transposed(of_a[i], piece<R>(a, 16 * k + lane / 16 * 8 + lane % 8, (row + 16 * i) / 8 + lane / 8 % 2));
#pragma unroll
      for (int n = 0; n < 4; n++) {
        uint32_t of_b[4];
        right_of<C>(b, 16 * k, column / 16 + n, of_b);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          mma_16816(sum[i][2 * n], of_a[i], of_b);
          mma_16816(sum[i][2 * n + 1], of_a[i], of_b + 2);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = row + 16 * i + 8 * half + group;
      if (r >= p.height) continue;
#pragma unroll
      for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const long s = first + column + 8 * n + two + e;
          if (s < all.columns) p.c[r * all.columns + s] = sum[i][n][2 * half + e];
        }
    }
}

__device__ __forceinline__ float stored(const RxMatrixPiece& m, long row, long column) {
  const long at = row * m.columns + column;
  if (m.kind == 0) return static_cast<const float*>(m.from)[at];
  if (m.kind == 1) return from_bfloat16(static_cast<const uint16_t*>(m.from)[at]);
  if (m.kind == 2) return static_cast<float>(static_cast<const int8_t*>(m.from)[at]) * m.scale[row];
  const int byte = static_cast<const uint8_t*>(m.from)[at / 2];
  return m.code[at % 2 == 0 ? byte >> 4 : byte & 15] * m.scale[split(at, m.block).whole];
}

}  // namespace

// A row of blocks a matrix, a vector of 8 a thread.
extern "C" __global__ void __launch_bounds__(256) rx_grouped_matrices(const RxMatrixPiece* pieces) {
  const RxMatrixPiece m = pieces[blockIdx.x];
  const long each = m.ld / 8;
  for (long i = static_cast<long>(blockIdx.y) * 256 + threadIdx.x; i < m.rows * each; i += static_cast<long>(gridDim.y) * 256) {
    const Split at = split(i, each);
    float x[8];
#pragma unroll
    for (int j = 0; j < 8; j++) x[j] = 8 * at.rest + j < m.columns ? stored(m, at.whole, 8 * at.rest + j) * m.factor : 0.f;
    store_eight(m.to + 8 * i, x);
  }
}

extern "C" __global__ void __launch_bounds__(128) rx_grouped_grad(RxGroupedGrad all) { grouped_grad(all.pieces[blockIdx.x], all); }
extern "C" __global__ void __launch_bounds__(128) rx_grouped(RxGrouped all) { grouped<false>(all.pieces[blockIdx.x], all); }
extern "C" __global__ void __launch_bounds__(128) rx_grouped_turned(RxGrouped all) { grouped<true>(all.pieces[blockIdx.x], all); }
