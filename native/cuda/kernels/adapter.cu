// Both gradients of a low-rank adapter's B in one pass over dy [rows, columns]: du = dy B [rows, rank] and dB = dyᵀ u [columns, rank]. A block
// keeps B's rows of its slab of columns in shared memory and dB's in registers while it walks over its band of rows; du of a tile is
// complete but for other slabs, dB but for other bands. rx_adapter_sums adds these up, in their order.
#include "adapter_layout.h"
#include "async.h"

namespace {

// to [rows, rank] = rows `first` .. of a matrix, as bfloat16; zeros beyond `end` and beyond its columns.
template <int rank, int rows>
struct RowsOf {
  static constexpr int each = rows * rank / 256;
  float x[each];

  template <class T>
  __device__ __forceinline__ void load(const T* from, long ld, long first, long end, int columns) {
#pragma unroll
    for (int e = 0; e < each; e++) {
      const int i = 256 * e + threadIdx.x, row = i / rank, column = i % rank;
      x[e] = first + row < end && column < columns ? ::load(from + (first + row) * ld + column) : 0.f;
    }
  }
  __device__ __forceinline__ void load(const Values& from, long ld, long first, long end, int columns) {
    as_they_lie(from, 0, [&](const auto* rows_of) { load(rows_of, ld, first, end, columns); });
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
template <class T>
__device__ __forceinline__ void put_two(T* row, int column, int rank, float low, float high) {
  if (column < rank) store(row + column, low);
  if (column + 1 < rank) store(row + column + 1, high);
}

// The part whose blocks these are.
__device__ __forceinline__ RxAdapterPart part_of(const RxAdapters& all, long block) {
  const auto at = [&](long i) { return all.more != nullptr ? all.more[i].first : all.few[i].first; };
  long low = 0, high = all.count;
  while (high - low > 1) {
    const long middle = (low + high) / 2;
    if (at(middle) <= block)
      low = middle;
    else
      high = middle;
  }
  return all.more != nullptr ? all.more[low] : all.few[low];
}

// All but the `rest` last groups of copies have come; rest is one of 1 .. 3.
__device__ __forceinline__ void wait_but(int rest) {
  if (rest == 1)
    copies_wait<1>();
  else if (rest == 2)
    copies_wait<2>();
  else
    copies_wait<3>();
}

template <int rank>
__device__ void adapter_grad(const RxAdapters& all) {
  constexpr int R = AdapterTile<rank>::rows, C = AdapterTile<rank>::columns;
  // Of du a warp has 16 rows and so many times 8 columns; of dB 64 rows and all columns.
  constexpr int across = R / 16, shares = rank / 8 * across / 8, each = C / 8;
  RX_DYNAMIC_SHARED(uint16_t, dy);
  // Not in registers, of which the tiles take all.
  __shared__ RxAdapterPart p;
  if (threadIdx.x == 0) p = part_of(all, blockIdx.x);
  __syncthreads();
  const int stages = all.stages;
  const long block = blockIdx.x - p.first, slab = block / p.bands, band = block % p.bands;
  const long begin = band * p.band, end = begin + p.band < p.rows ? begin + p.band : p.rows, column = slab * C;
  float* const to_db = p.db + band * p.step_db;
  uint16_t* const b = dy + stages * R * C;
  uint16_t* const u = b + C * rank;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, two = lane % 4 * 2;
  const int width = static_cast<int>(p.columns - column < C ? p.columns - column : C), whole = (width + 7) / 8;
  const uint16_t* const from = p.dy + column;
  // A group of copies each, of nothing behind the band's end.
  const auto bring = [&](long first, int stage) {
    if (first < end)
      for (int i = threadIdx.x; i < R * (C / 8); i += 256) {
        const int row = i / (C / 8), at = i % (C / 8);
        const bool inside = first + row < end && at < whole;
        copy_async_16(piece<C>(dy + stage * R * C, row, at), from + (inside ? (first + row) * p.ld_dy + 8 * at : 0), inside);
      }
    copies_end();
  };
  for (int stage = 0; stage + 1 < stages; stage++) bring(begin + stage * R, stage);
  // Some numbers a thread at a time.
  constexpr int some = (rank == 64 ? 16 : 32) * 256 / rank;
  RowsOf<rank, some> rows_of_b;
  for (int row = 0; row < C; row += some) {
    rows_of_b.load(p.b, p.rank, column + row, p.columns, p.rank);
    rows_of_b.put(b + row * rank);
  }
  RowsOf<rank, R> next;
  next.load(p.u, p.ld_u, begin, end, p.rank);
  next.put(u);
  float db[each / 16][rank / 8][4];
#pragma unroll
  for (int t = 0; t < each / 16; t++)
#pragma unroll
    for (int j = 0; j < rank / 8; j++) db[t][j][0] = db[t][j][1] = db[t][j][2] = db[t][j][3] = 0.f;

  int stage = 0, parity = 0;
  for (long first = begin; first < end; first += R, parity ^= 1) {
    const bool more = first + R < end;
    // The stage before this one has been read.
    bring(first + (stages - 1) * R, stage == 0 ? stages - 1 : stage - 1);
    if (more) next.load(p.u, p.ld_u, first + R, end, p.rank);
    wait_but(stages - 1);
    __syncthreads();
    uint16_t* const tile = dy + stage * R * C;
    uint16_t* const of_u = u + parity * R * rank;
    stage = stage + 1 == stages ? 0 : stage + 1;

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
        if (at < end)
          as_they_lie(p.du, slab * p.step_du + at * p.ld_du, [&](auto* to) {
            put_two(to, 8 * (share + 8 / across * s) + two, p.rank, du[s][2 * half] * p.factor_du, du[s][2 * half + 1] * p.factor_du);
          });
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
    if (more) next.put(u + (parity ^ 1) * R * rank);
    __syncthreads();
  }
#pragma unroll
  for (int t = 0; t < each / 16; t++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const long at = column + warp * each + 16 * t + group + 8 * half;
      if (at >= p.columns) continue;
#pragma unroll
      for (int j = 0; j < rank / 8; j++)
        put_two(to_db + at * p.rank, 8 * j + two, p.rank, db[t][j][2 * half] * p.factor_db, db[t][j][2 * half + 1] * p.factor_db);
    }
}

}  // namespace

// Blocks of a part: its slabs' bands.
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_16(RxAdapters all) { adapter_grad<16>(all); }
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_32(RxAdapters all) { adapter_grad<32>(all); }
extern "C" __global__ void __launch_bounds__(256) rx_adapter_grad_64(RxAdapters all) { adapter_grad<64>(all); }

// Number i of `to` is factor times the sum of numbers i of `count` matrices, in their order. A row of blocks a sum.
extern "C" __global__ void __launch_bounds__(256) rx_adapter_sums(RxSums all) {
  const RxSumPiece p = all.more != nullptr ? all.more[blockIdx.y] : all.few[blockIdx.y];
  const bool fours = p.n % 4 == 0 && p.width % 4 == 0 && p.ld % 4 == 0 && in_vectors(p.parts, p.to.at);
  for (long i = 4 * thread_index(); i < p.n; i += 4 * grid_threads()) {
    if (fours) {
      float4 sum = {0.f, 0.f, 0.f, 0.f};
      // Reads that do not wait for each other.
#pragma unroll 8
      for (long part = 0; part < p.count; part++) {
        const float4 x = load_four(p.parts + part * p.n + i);
        sum = {sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w};
      }
      const Split at = split(i, p.width);
      const float4 whole = {sum.x * p.factor, sum.y * p.factor, sum.z * p.factor, sum.w * p.factor};
      as_they_lie(p.to, at.whole * p.ld + at.rest, [&](auto* to) { store_four(to, whole); });
      continue;
    }
    for (long e = i; e < i + 4 && e < p.n; e++) {
      float sum = 0.f;
#pragma unroll 8
      for (long part = 0; part < p.count; part++) sum += p.parts[part * p.n + e];
      const Split at = split(e, p.width);
      store(p.to, at.whole * p.ld + at.rest, sum * p.factor);
    }
  }
}
