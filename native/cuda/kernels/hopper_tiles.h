// What the kernels of hopper*.cu make of wgmma.h: tiles come to shared memory, a warpgroup multiplies 64 rows of one,
// or probabilities that it has in registers, with the rows of another.
#pragma once

#include "flash_rows.h"
#include "wgmma.h"

#ifdef RX_WGMMA

namespace {

// to [rows, width], in panels = rows first .. of a head, zeros beyond `end`. 8 numbers a copy.
template <int width, int rows>
__device__ __forceinline__ void panels_copy(const uint16_t* from, long ld, long first, long end, uint16_t* tile) {
  constexpr int pieces = width / 8;
  for (int i = threadIdx.x; i < rows * pieces; i += blockDim.x) {
    const int row = i / pieces, at = i % pieces;
    const bool inside = first + row < end;
    copy_async_16(tile + at / 8 * rows * 64 + row * 64 + ((at ^ row) & 7) * 8, from + (inside ? (first + row) * ld + 8 * at : 0), inside);
  }
}
// What this thread asked for has come, and may be multiplied after the next barrier.
__device__ __forceinline__ void copies_come() {
  copies_wait<0>();
  shared_written();
}

// The first row of this warp's warpgroup; the same value in all lanes, as the compiler can see.
__device__ __forceinline__ int warpgroup_row() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0) * 64; }

// A group: s [64, columns] = rows `row` .. of one tile times those of the other, transposed.
template <int width, int rows, int columns>
__device__ __forceinline__ void scores_begin(const uint16_t* left, int row, const uint16_t* right, float (*s)[4]) {
#pragma unroll
  for (int k = 0; k < width / 16; k++)
    warpgroup_product<columns>(s, along_columns<rows>(left, row, k), along_columns<columns>(right, 0, k), k > 0);
  products_end();
}
// A group: sum [64, width] += p [64, rows] times the rows of a tile.
template <int width, int rows>
__device__ __forceinline__ void sum_begin(const uint32_t (*p)[4], const uint16_t* tile, float (*sum)[4]) {
  constexpr int most = 128;  // columns of one product
#pragma unroll
  for (int k = 0; k < rows / 16; k++) {
    add_warpgroup_product<width < most ? width : most>(sum, p[k], along_rows<rows>(tile, k));
    if constexpr (width > most) add_warpgroup_product<width - most>(sum + most / 8, p[k], along_rows<rows>(tile + most * rows, k));
  }
  products_end();
}
template <int columns>
__device__ __forceinline__ void all_rounded(const float (*x)[4], uint32_t (*a)[4]) {
#pragma unroll
  for (int k = 0; k < columns / 16; k++) rounded(x, k, a[k]);
}

}  // namespace

#define RX_ON_HOPPER(call) call
#else
#define RX_ON_HOPPER(call)
#endif
