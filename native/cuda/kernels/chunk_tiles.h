// What scans in chunks of tokens have in common: tiles in shared memory as bfloat16 or float32, their products with sums in registers, and
// decays. A block has two threads a token of a chunk: a warp has 16 of them. Bfloat16 is multiplied on the tensor cores, float32 on the
// ordinary units with sums in the same layout (mma_16816), so that all else is written once.
#pragma once

#include "async.h"
#include "device.h"
#include "scan_layout.h"

namespace {
namespace scan {

template <class T>
constexpr int chunk_of = scan_chunk(sizeof(T));
template <int chunk>
constexpr int square_ld = scan_square_ld(chunk);

// Number (row, c) of a tile of `width` columns, in the order of pieces of 16 bytes that async.h reads.
template <int width, class T>
__device__ __forceinline__ T* number(T* tile, int row, int c) {
  constexpr int each = 16 / sizeof(T), swapped = width / each < 8 ? width / each : 8;
  return tile + row * width + ((c / each ^ row / (8 / swapped) % swapped) * each) + c % each;
}

// Where this lane's sums are: x[n][e] of row `row` + group (8 more for e > 1), column 8 n + two + e % 2.
__device__ __forceinline__ int group_of() { return threadIdx.x % 32 / 4; }
__device__ __forceinline__ int two_of() { return threadIdx.x % 4 * 2; }

template <int columns>
__device__ __forceinline__ void cleared(float (*sum)[4]) {
#pragma unroll
  for (int n = 0; n < columns / 8; n++) sum[n][0] = sum[n][1] = sum[n][2] = sum[n][3] = 0.f;
}

// The left operand of a tile that is transposed: its columns row .. row + 15, numbers 16 k .. of them.
template <int width>
__device__ __forceinline__ void left_of_transpose(uint16_t* tile, int row, int k, uint32_t* a) {
  const int lane = threadIdx.x % 32;
  load_matrices_transposed(a, piece<width>(tile, 16 * k + lane / 16 * 8 + lane % 8, row / 8 + lane / 8 % 2));
}

// sum [16, columns] += rows row .. of op(a) [.., depth] times columns column .. of op(b) [depth, ..]; turned: op transposes a tile of that
// width.
template <bool a_turned, int width_a, bool b_turned, int width_b, int columns, int depth>
__device__ __forceinline__ void add_tiles(uint16_t* a, int row, uint16_t* b, int column, float (*sum)[4]) {
#pragma unroll
  for (int k = 0; k < depth / 16; k++) {
    uint32_t left[4];
    if constexpr (a_turned)
      left_of_transpose<width_a>(a, row, k, left);
    else
      left_of<width_a>(a, row, k, left);
#pragma unroll
    for (int n = 0; n < columns / 16; n++) {
      uint32_t right[4];
      if constexpr (b_turned)
        right_of_transpose<width_b>(b, column + 16 * n, k, right);
      else
        right_of<width_b>(b, 16 * k, column / 16 + n, right);
      mma_16816(sum[2 * n], left, right);
      mma_16816(sum[2 * n + 1], left, right + 2);
    }
  }
}
template <bool a_turned, int width_a, bool b_turned, int width_b, int columns, int depth>
__device__ __forceinline__ void add_tiles(float* a, int row, float* b, int column, float (*sum)[4]) {
  const int upper = row + group_of(), first = column + two_of();
#pragma unroll 2
  for (int k = 0; k < depth; k++) {
    const float left[2] = {a_turned ? *number<width_a>(a, k, upper) : *number<width_a>(a, upper, k),
                           a_turned ? *number<width_a>(a, k, upper + 8) : *number<width_a>(a, upper + 8, k)};
#pragma unroll
    for (int n = 0; n < columns / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int c = first + 8 * n + e % 2;
        sum[n][e] = fmaf(left[e / 2], b_turned ? *number<width_b>(b, c, k) : *number<width_b>(b, k, c), sum[n][e]);
      }
  }
}

// Two numbers beside each other, the first at an even place.
__device__ __forceinline__ void put_two(uint16_t* to, float low, float high) { *reinterpret_cast<uint32_t*>(to) = two_bfloat16(low, high); }
__device__ __forceinline__ void put_two(float* to, float low, float high) { to[0] = low, to[1] = high; }
__device__ __forceinline__ void take_two(const uint16_t* from, float& low, float& high) {
  const uint32_t both = *reinterpret_cast<const uint32_t*>(from);
  low = float_of(both << 16), high = float_of(both & 0xffff0000u);
}
__device__ __forceinline__ void take_two(const float* from, float& low, float& high) { low = from[0], high = from[1]; }

// tile [rows, width] = the first `inside` of `rows` rows that lie as T on borders of 16 bytes, zeros below. It is there after copies_end,
// copies_wait and a barrier.
template <int width, int rows, class T>
__device__ __forceinline__ void bring(T* tile, const T* from, long ld, int inside) {
  constexpr int each = 16 / sizeof(T), pieces = width / each;
  for (int i = threadIdx.x; i < rows * pieces; i += blockDim.x) {
    const int row = i / pieces, at = i % pieces * each;
    const bool in = row < inside;
    copy_async_16(reinterpret_cast<uint16_t*>(number<width>(tile, row, at)), reinterpret_cast<const uint16_t*>(from + (in ? row * ld + at : 0)), in);
  }
}
// Side by side tiles of a chunk's rows, `columns` in all.
template <int rows, class T>
__device__ __forceinline__ void bring_all(T* tiles, const T* from, long ld, int inside, int columns) {
  for (int c = 0; c < columns; c += scan_tile) bring<scan_tile, rows>(tiles + rows * c, from + c, ld, inside);
}

// A head's columns of rows that lie as they are given: some of `columns` numbers from `start` on, ld apart.
struct Given {
  Values at;
  long start, ld;
  int columns;
  bool fours;
  __device__ Given(const Values& at, long start, long ld, int columns)
      : at(at), start(start), ld(ld), columns(columns), fours(((start | ld | columns) & 3) == 0 && in_fours(at)) {}
  // Numbers c .. c + 3 of a row, zeros beyond the columns.
  __device__ __forceinline__ float4 four(long row, int c) const {
    const long i = start + row * ld + c;
    if (fours) return c < columns ? load_four(at, i) : float4{0.f, 0.f, 0.f, 0.f};
    const auto one = [&](int e) { return c + e < columns ? load(at, i + e) : 0.f; };
    return {one(0), one(1), one(2), one(3)};
  }
  __device__ __forceinline__ void put_four(long row, int c, float4 x) const {
    const long i = start + row * ld + c;
    if (fours) {
      if (c < columns) store_four(at, i, x);
      return;
    }
    const float each[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (c + e < columns) store(at, i + e, each[e]);
  }
  // Two of them, the first at an even place, as sums lie.
  __device__ __forceinline__ void two(long row, int c, float& low, float& high) const {
    const long i = start + row * ld + c;
    if (fours && c < columns) return as_they_lie(at, i, [&](const auto* from) { take_two(from, low, high); });
    low = c < columns ? load(at, i) : 0.f;
    high = c + 1 < columns ? load(at, i + 1) : 0.f;
  }
  __device__ __forceinline__ void put_two(long row, int c, float low, float high) const {
    const long i = start + row * ld + c;
    if (fours && c < columns) return as_they_lie(at, i, [&](auto* to) { scan::put_two(to, low, high); });
    if (c < columns) store(at, i, low);
    if (c + 1 < columns) store(at, i + 1, high);
  }
};

// tile [rows, width] = columns first .. of rows of these, rounded where T is bfloat16; factor(row) times.
template <int width, int rows, class T, class F>
__device__ __forceinline__ void bring_given(T* tile, const Given& from, long row, int first, int inside, F factor) {
  for (int i = threadIdx.x; i < rows * (width / 4); i += blockDim.x) {
    const int r = i / (width / 4), c = i % (width / 4) * 4;
    float4 x = {0.f, 0.f, 0.f, 0.f};
    if (r < inside) {
      x = from.four(row + r, first + c);
      const float f = factor(r);
      x.x *= f, x.y *= f, x.z *= f, x.w *= f;
    }
    store_four(number<width>(tile, r, c), x);
  }
}
template <int width, int rows, class T>
__device__ __forceinline__ void bring_given(T* tile, const Given& from, long row, int first, int inside) {
  bring_given<width, rows>(tile, from, row, first, inside, [](int) { return 1.f; });
}

// ---- states that chunks change one after the other ----

// A state's 32 columns in shared memory: float32, and as it is multiplied, which is the same memory for float32.
template <class T>
struct State {
  float* wide;
  T* narrow;
  // The memory, and what lies behind it.
  __device__ T* lie(void* memory, int keys) {
    wide = static_cast<float*>(memory);
    narrow = reinterpret_cast<T*>(wide + (sizeof(T) == 2 ? keys * scan_columns : 0));
    return narrow + keys * scan_columns;
  }
  __device__ __forceinline__ void set(int row, int c, float low, float high) {
    if constexpr (sizeof(T) == 2) put_two(number<scan_columns>(narrow, row, c), low, high);
    put_two(number<scan_columns>(wide, row, c), low, high);
  }
  // Where T is float32 these are rows of 32 as well: the order of pieces is the same.
  __device__ __forceinline__ void get(int row, int c, float& low, float& high) { take_two(number<scan_columns>(wide, row, c), low, high); }
  // Columns first .. of [keys, ld]; in pieces of 16 bytes.
  __device__ __forceinline__ void write(T* to, int keys, long ld) {
    constexpr int each = 16 / sizeof(T), pieces = scan_columns / each;
    for (int i = threadIdx.x; i < keys * pieces; i += blockDim.x) {
      const int row = i / pieces, at = i % pieces * each;
      *reinterpret_cast<uint4*>(to + row * ld + at) = *reinterpret_cast<const uint4*>(number<scan_columns>(narrow, row, at));
    }
  }
};

// state = e^s_last state + the product of tiles, of rows of keys that this warp has.
template <class T, class F>
__device__ __forceinline__ void advance(State<T>& state, int keys, float last, F add) {
  constexpr int warps = chunk_of<T> / 16;
  for (int row = threadIdx.x / 32 * 16; row < keys; row += 16 * warps) {
    float sum[scan_columns / 8][4];
#pragma unroll
    for (int n = 0; n < scan_columns / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        state.get(row + group_of() + 8 * h, 8 * n + two_of(), sum[n][2 * h], sum[n][2 * h + 1]);
        sum[n][2 * h] *= last, sum[n][2 * h + 1] *= last;
      }
    add(row, sum);
#pragma unroll
    for (int n = 0; n < scan_columns / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) state.set(row + group_of() + 8 * h, 8 * n + two_of(), sum[n][2 * h], sum[n][2 * h + 1]);
  }
}

// 1 / sqrt(x), without the calls that exact roots and quotients may need, around which registers would go to memory.
__device__ __forceinline__ float over_root(float x) {
#ifdef RX_EMULATE
  return 1.f / sqrtf(x);
#else
  return rsqrtf(x);
#endif
}

// ---- decays ----

// Sums s of the logarithms of decays in a chunk, up to each token.
template <int chunk>
struct Decays {
  float sum[chunk];
  float since[chunk];  // e^s: what the state before counts
  float left[chunk];   // e^(s_last - s)
  float rate[chunk];
  float last;          // e^s_last
  float unused[3];
  // What token j counts at token i, not before it.
  __device__ __forceinline__ float pair(int i, int j) const {
    const float apart = sum[i] - sum[j];
    return expf(apart < 0.f ? apart : apart == apart ? 0.f : apart);
  }
};
static_assert(sizeof(Decays<64>) == decays_bytes(64) && sizeof(Decays<32>) == decays_bytes(32), "as the host counts them");

// x summed up to each lane of a warp, that of lane 0 first.
__device__ __forceinline__ float summed_up(float x) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const float before = __shfl_sync(0xffffffffu, x, lane - step);
    if (lane >= step) x += before;
  }
  return x;
}
// As summed_decay in native/cc/kernels/chunk_rows.h: NaN stays.
__device__ __forceinline__ float summed_decay(float decay) { return decay < -104.f ? -104.f : decay; }

// By the first warp, of each token's logarithm of its decay (0 where there is no token); the barrier before what reads it is the caller's, and
// rates are.
template <int chunk, class F>
__device__ __forceinline__ void sum_decays(Decays<chunk>& d, F log_decay) {
  if (threadIdx.x >= 32) return;
  const int lane = threadIdx.x;
  float sums[chunk / 32], before = 0.f;
#pragma unroll
  for (int h = 0; h < chunk / 32; h++) {
    sums[h] = summed_up(summed_decay(log_decay(32 * h + lane))) + before;
    before = __shfl_sync(0xffffffffu, sums[h], 31);
  }
#pragma unroll
  for (int h = 0; h < chunk / 32; h++) {
    const int i = 32 * h + lane;
    d.sum[i] = sums[h], d.since[i] = expf(sums[h]), d.left[i] = expf(before - sums[h]);
  }
  if (lane == 0) d.last = expf(before);
}

// Over the four lanes that have a row's sums.
__device__ __forceinline__ float over_row(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
// Over the eight that have a column's.
__device__ __forceinline__ float over_column(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 4);
  x += __shfl_xor_sync(0xffffffffu, x, 8);
  return x + __shfl_xor_sync(0xffffffffu, x, 16);
}

}  // namespace scan
}  // namespace
