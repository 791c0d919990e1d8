// Both gradients of a low-rank adapter's B in one pass over dy [rows, columns]: du = dy B [rows, rank] and dB = dyᵀ u [columns, rank]. A block
// keeps B's rows of its slab of columns in shared memory and dB's in registers while it walks over its band of rows; du of a tile is
// complete but for other slabs, dB but for other bands. rx_adapter_sums adds these up, in their order.
#include "adapter_layout.h"
#include "async.h"

namespace {

// to [rows, rank] = rows `first` .. of a float32 matrix, as bfloat16; zeros beyond `end` and beyond its columns.
template <int rank, int rows>
struct RowsOf {
  static constexpr int each = rows * rank / 256;
  float x[each];

  __device__ __forceinline__ void load(const float* from, long ld, long first, long end, int columns) {
#pragma unroll
    for (int e = 0; e < each; e++) {
      const int i = 256 * e + threadIdx.x, row = i / rank, column = i % rank;
      x[e] = first + row < end && column < columns ? from[(first + row) * ld + column] : 0.f;
    }
  }
  __device__ __forceinline__ void put(uint16_t* to) const {
#pragma unroll
    for (int e = 0; e < each; e++) {
      const int i = 256 * e + threadIdx.x, row = i / rank, column = i % rank;
      piece<rank>(to, row, column / 8)[column % 8] = to_bfloat16(x[e]);
    }
  }
};

// Two neighbouring numbers of a row of `rank` columns.
__device__ __forceinline__ void put_two(float* row, int column, int rank, float low, float high) {
  if (column < rank) row[column] = low;
  if (column + 1 < rank) row[column + 1] = high;
}

template <int rank>
__device__ void adapter_grad(const RxAdapterPiece& p) {
  constexpr int R = AdapterTile<rank>::rows, C = AdapterTile<rank>::columns;
  // Of du a warp has 16 rows and so many times 8 columns; of dB 64 rows and all columns.
  constexpr int across = R / 16, shares = rank / 8 * across / 8, each = C / 8;
  RX_DYNAMIC_SHARED(uint16_t, dy);
  uint16_t* const b = dy + 2 * R * C;
  uint16_t* const u = b + C * rank;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, two = lane % 4 * 2;
  const int width = static_cast<int>(p.columns - p.column < C ? p.columns - p.column : C), whole = (width + 7) / 8;
  // In registers: an asynchronous copy may change any memory, for all that the compiler knows.
  const uint16_t* const from = p.dy + p.column;
  const long ld = p.ld_dy, end = p.end;
  const auto bring = [&](long first, int stage) {
    for (int i = threadIdx.x; i < R * (C / 8); i += 256) {
      const int row = i / (C / 8), at = i % (C / 8);
      const bool inside = first + row < end && at < whole;
      copy_async_16(piece<C>(dy + stage * R * C, row, at), from + (inside ? (first + row) * ld + 8 * at : 0), inside);
    }
  };
  RowsOf<rank, R> next;
  bring(p.first, 0);
  copies_end();
  for (int row = 0; row < C; row += R) {
    next.load(p.b, p.rank, p.column + row, p.columns, p.rank);
    next.put(b + row * rank);
  }
  next.load(p.u, p.ld_u, p.first, p.end, p.rank);
  next.put(u);
  float db[each / 16][rank / 8][4];
#pragma unroll
  for (int t = 0; t < each / 16; t++)
#pragma unroll
    for (int j = 0; j < rank / 8; j++) db[t][j][0] = db[t][j][1] = db[t][j][2] = db[t][j][3] = 0.f;

  int stage = 0;
  for (long first = p.first; first < p.end; first += R, stage ^= 1) {
    const bool more = first + R < p.end;
    if (more) {
      bring(first + R, stage ^ 1);
      next.load(p.u, p.ld_u, first + R, p.end, p.rank);
    }
    copies_end();
    copies_wait<1>();
    __syncthreads();
    uint16_t* const tile = dy + stage * R * C;
    uint16_t* const of_u = u + stage * R * rank;

    float du[shares][4];
#pragma unroll
    for (int s = 0; s < shares; s++) du[s][0] = du[s][1] = du[s][2] = du[s][3] = 0.f;
    const int row = warp % across * 16, share = warp / across;
    for (int k = 0; k < C && k < width; k += 32) {
      uint32_t left[8];
      left_of<C>(tile, row, k / 16, left);
      left_of<C>(tile, row, k / 16 + 1, left + 4);
#pragma unroll
      for (int s = 0; s < shares; s++) {
        uint32_t right[4];
        load_matrices_transposed(right, piece<rank>(b, k + lane, share + 8 / across * s));
        mma_16816(du[s], left, right);
        mma_16816(du[s], left + 4, right + 2);
      }
    }
#pragma unroll
    for (int s = 0; s < shares; s++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const long at = first + row + group + 8 * half;
        if (at < p.end)
          put_two(p.du + at * p.ld_du, 8 * (share + 8 / across * s) + two, p.rank, du[s][2 * half] * p.factor_du, du[s][2 * half + 1] * p.factor_du);
      }

#pragma unroll
    for (int k = 0; k < R; k += 32) {
      uint32_t left[each / 16][8];
#pragma unroll
      for (int t = 0; t < each / 16; t++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          load_matrices_transposed(left[t] + 4 * h, piece<C>(tile, k + 16 * h + lane / 16 * 8 + lane % 8, (warp * each + 16 * t) / 8 + lane / 8 % 2));
#pragma unroll
      for (int j = 0; j < rank / 8; j++) {
        uint32_t right[4];
        load_matrices_transposed(right, piece<rank>(of_u, k + lane, j));
#pragma unroll
        for (int t = 0; t < each / 16; t++) {
          mma_16816(db[t][j], left[t], right);
          mma_16816(db[t][j], left[t] + 4, right + 2);
        }
      }
    }
    if (more) next.put(u + (stage ^ 1) * R * rank);
    __syncthreads();
  }
#pragma unroll
  for (int t = 0; t < each / 16; t++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const long at = p.column + warp * each + 16 * t + group + 8 * half;
      if (at >= p.columns) continue;
#pragma unroll
      for (int j = 0; j < rank / 8; j++)
        put_two(p.db + at * p.rank, 8 * j + two, p.rank, db[t][j][2 * half] * p.factor_db, db[t][j][2 * half + 1] * p.factor_db);
    }
}

}  // namespace

// A block a piece.
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_16(const RxAdapterPiece* pieces) { adapter_grad<16>(pieces[blockIdx.x]); }
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_32(const RxAdapterPiece* pieces) { adapter_grad<32>(pieces[blockIdx.x]); }
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_64(const RxAdapterPiece* pieces) { adapter_grad<64>(pieces[blockIdx.x]); }

// Number i of `to`, `width` numbers a row, is factor times the sum of numbers i of `count` matrices.
extern "C" __global__ void __launch_bounds__(256) rx_adapter_sums(const RxSumPiece* pieces) {
  const RxSumPiece p = pieces[blockIdx.x];
  for (long i = p.first + threadIdx.x; i < p.end; i += 256) {
    float sum = 0.f;
    for (long part = 0; part < p.count; part++) sum += p.parts[part * p.step + i];
    const Split at = split(i, p.width);
    p.to[at.whole * p.ld + at.rest] = sum * p.factor;
  }
}
