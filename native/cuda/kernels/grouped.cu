// Products of groups of rows with a matrix each, all in one launch: the experts of a mixture, where few rows go to each. A block has
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
  const auto bring = [&](long step) {
    const int stage = static_cast<int>(step % stages);
    const long at = step * D;
    for (int i = threadIdx.x; i < R * (D / 8); i += 128) {
      const int r = i / (D / 8), c = i % (D / 8);
      const bool inside = r < p.rows && at + 8 * c < all.depth;
      copy_async_16(piece<D>(left(stage), r, c), p.x + (inside ? r * all.ld_x + at + 8 * c : 0), inside);
    }
    if constexpr (turned) {
      for (int i = threadIdx.x; i < D * (C / 8); i += 128) {
        const int r = i / (C / 8), c = i % (C / 8);
        const bool inside = at + r < all.depth && first + 8 * c < all.columns;
        copy_async_16(piece<C>(right(stage), r, c), p.w + (inside ? (at + r) * all.columns + first + 8 * c : 0), inside);
      }
    } else {
      for (int i = threadIdx.x; i < C * (D / 8); i += 128) {
        const int r = i / (D / 8), c = i % (D / 8);
        const bool inside = first + r < all.columns && at + 8 * c < all.depth;
        copy_async_16(piece<D>(right(stage), r, c), p.w + (inside ? (first + r) * all.depth + at + 8 * c : 0), inside);
      }
    }
  };
  float sum[2][8][4];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int n = 0; n < 8; n++) sum[i][n][0] = sum[i][n][1] = sum[i][n][2] = sum[i][n][3] = 0.f;
  const long steps = (all.depth + D - 1) / D;
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

}  // namespace

extern "C" __global__ void __launch_bounds__(128) rx_grouped(RxGrouped all) { grouped<false>(all.pieces[blockIdx.x], all); }
extern "C" __global__ void __launch_bounds__(128) rx_grouped_turned(RxGrouped all) { grouped<true>(all.pieces[blockIdx.x], all); }
