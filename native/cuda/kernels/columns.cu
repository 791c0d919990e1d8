// Sums, copies and selections of rows and columns. Sums have one order, whatever runs them: the same bits every time.
#include "device.h"

// `rows` rows of `width` floats between two row strides.
extern "C" __global__ void rx_copy_columns(Values from, long ld_from, Values to, long ld_to, long rows, long width) {
  const long each = from.half ? 8 : 4;  // numbers of 16 bytes
  if (width % each == 0 && ld_from % each == 0 && ld_to % each == 0 && in_vectors(from.at, to.at)) {
    const float4* const vectors = static_cast<const float4*>(from.at);
    for (long i = thread_index(); i < rows * (width / each); i += grid_threads()) {
      const Split at = split(i, width / each);
      static_cast<float4*>(to.at)[at.whole * (ld_to / each) + at.rest] = vectors[at.whole * (ld_from / each) + at.rest];
    }
    return;
  }
  const auto one_by_one = [&](const auto* x, auto* y) {
    for (long i = thread_index(); i < rows * width; i += grid_threads()) {
      const Split at = split(i, width);
      y[at.whole * ld_to + at.rest] = x[at.whole * ld_from + at.rest];
    }
  };
  if (from.half)
    one_by_one(static_cast<const uint16_t*>(from.at), static_cast<uint16_t*>(to.at));
  else
    one_by_one(static_cast<const float*>(from.at), static_cast<float*>(to.at));
}

// The same, into bfloat16, 8 columns a thread; rows of `to` have room for whole vectors of 8, filled up with zeros.
extern "C" __global__ void rx_narrow_rows(const float* from, long ld_from, uint16_t* to, long ld_to, long rows, long width) {
  const long pieces = (width + 7) / 8;
  const bool vectors = ld_from % 4 == 0 && in_vectors(from);
  for (long i = thread_index(); i < rows * pieces; i += grid_threads()) {
    const Split at = split(i, pieces);
    const long c = 8 * at.rest;
    const float* const source = from + at.whole * ld_from + c;
    float x[8] = {};
    if (vectors && c + 8 <= width)
      load_eight(source, x);
    else
      for (int e = 0; e < 8; e++)
        if (c + e < width) x[e] = source[e];
    store_eight(to + at.whole * ld_to + c, x);
  }
}

// Rows of bfloat16, 8 columns a thread: all of them whole vectors.
extern "C" __global__ void rx_copy_rows_bf16(const uint16_t* from, long ld_from, uint16_t* to, long ld_to, long rows, long width) {
  for (long i = thread_index(); i < rows * (width / 8); i += grid_threads()) {
    const Split at = split(i, width / 8);
    reinterpret_cast<uint4*>(to + at.whole * ld_to)[at.rest] = reinterpret_cast<const uint4*>(from + at.whole * ld_from)[at.rest];
  }
}

// to [rows, columns] of ld = factor times a small matrix that lies in any way, zeros beyond its `height` and `width`; and, where it is given,
// a matrix [lines, line] of bfloat16 beside or above that, in rows of ld too, all of whole vectors.
extern "C" __global__ void rx_place_scaled(const float* from, long row_step, long column_step, long height, long width, uint16_t* to, long ld,
                                           long rows, long columns, float factor, const uint16_t* matrix /* ? */, long ld_matrix, uint16_t* to_matrix,
                                           long lines, long line) {
  if (matrix != nullptr)
    for (long i = thread_index(); i < lines * (line / 8); i += grid_threads()) {
      const Split at = split(i, line / 8);
      reinterpret_cast<uint4*>(to_matrix + at.whole * ld)[at.rest] = reinterpret_cast<const uint4*>(matrix + at.whole * ld_matrix)[at.rest];
    }
  for (long i = thread_index(); i < rows * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    const bool inside = at.whole < height && at.rest < width;
    to[at.whole * ld + at.rest] = inside ? to_bfloat16(from[at.whole * row_step + at.rest * column_step] * factor) : uint16_t(0);
  }
}

// A block a row.
extern "C" __global__ void rx_row_sum(const float* x, float* out, long rows, long columns) {
  for (long row = blockIdx.x; row < rows; row += gridDim.x) {
    double sum = 0;
    for (long c = threadIdx.x; c < columns; c += blockDim.x) sum += x[row * columns + c];
    sum = over_block(sum, Sum(), 0.0);
    if (threadIdx.x == 0) out[row] = static_cast<float>(sum);
  }
}

namespace {

struct Later {
  __device__ __forceinline__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};

}  // namespace

// The first place of the greatest; NaN is passed over, unless it comes first: then 0. A block a row; places and numbers go together, in
// an order in which the greater number and then the earlier place is greater.
extern "C" __global__ void rx_row_arg_max(const float* x, int32_t* out, long rows, long columns) {
  for (long row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* const from = x + row * columns;
    uint64_t best = 0;
    for (long c = threadIdx.x; c < columns; c += blockDim.x) {
      const float number = from[c] + 0.f;  // no -0
      const uint32_t bits = bits_of(number), order = bits >> 31 ? ~bits : bits | 0x80000000u;
      if (number == number) best = Later()(static_cast<uint64_t>(order) << 32 | (0xffffffffu - static_cast<uint32_t>(c)), best);
    }
    best = over_block(best, Later(), uint64_t(0));
    if (threadIdx.x == 0) out[row] = from[0] == from[0] ? static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(best)) : 0;
  }
}

// parts [gridDim.y, columns]: sums of bands of `band` rows, a column a thread.
extern "C" __global__ void rx_column_sums(Values x, long ld, float* parts, long rows, long columns, long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float sum = 0;
  for (long r = first; r < end; r++) sum += load(x, r * ld + c);
  parts[blockIdx.y * columns + c] = sum;
}

// out [columns] = the sum of `count` rows of `ld` floats, plus out where add. A block has 32 columns, each warp every eighth row of them:
// there are few columns, and many rows that one thread after another would wait for.
extern "C" __global__ void __launch_bounds__(256) rx_add_parts(const float* parts, long count, long ld, float* out, int add, long columns) {
  __shared__ float of_warp[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long c = static_cast<long>(blockIdx.x) * 32 + lane;
  float sum = 0.f;
  if (c < columns)
    for (long p = warp; p < count; p += 8) sum += parts[p * ld + c];
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= columns) return;
  sum = add ? out[c] : 0.f;
  for (int w = 0; w < 8; w++) sum += of_warp[w][lane];
  out[c] = sum;
}

// out [count, columns]: rows of a table of `size` rows; NaN where there is no such row.
extern "C" __global__ void rx_gather_rows(const float* x, const int32_t* rows, float* out, long count, long size, long columns) {
  for (long i = thread_index(); i < count * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    const long row = rows[at.whole];
    out[i] = row >= 0 && row < size ? x[row * columns + at.rest] : not_a_number();
  }
}
extern "C" __global__ void rx_gather_rows_bf16(const uint16_t* x, const int32_t* rows, float* out, long count, long size,
                                               long columns) {
  for (long i = thread_index(); i < count * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    const long row = rows[at.whole];
    out[i] = row >= 0 && row < size ? from_bfloat16(x[row * columns + at.rest]) : not_a_number();
  }
}

// out [count, columns] = rows of x [size, columns], which lie as out does; zeros where there is no such row.
extern "C" __global__ void rx_take_rows(Values x, const int32_t* rows, Values out, long count, long size, long columns) {
  const long bytes = columns * (x.half ? 2 : 4);
  const auto there = [=](long row) { return row >= 0 && row < size; };
  if (bytes % 16 == 0 && in_vectors(x.at, out.at)) {
    for (long i = thread_index(); i < count * (bytes / 16); i += grid_threads()) {
      const Split at = split(i, bytes / 16);
      const long row = rows[at.whole];
      static_cast<uint4*>(out.at)[i] = there(row) ? static_cast<const uint4*>(x.at)[row * (bytes / 16) + at.rest] : uint4{0, 0, 0, 0};
    }
    return;
  }
  for (long i = thread_index(); i < count * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    const long row = rows[at.whole];
    store(out, i, there(row) ? load(x, row * columns + at.rest) : 0.f);
  }
}

namespace {

// Where the j-th row of a sum lies: places[j], or j itself without places; -1: nowhere among `rows`.
__device__ __forceinline__ long place_of(const int32_t* places, long j, long rows) {
  const long place = places != nullptr ? places[j] : j;
  return place >= 0 && place < rows ? place : -1;
}

}  // namespace

// out[r] [columns] = the sum of weights[j] x[places[j]], j = r each .. (r + 1) each - 1; 1 in place of null weights, j in place of null places.
extern "C" __global__ void rx_combine_rows(Values x, const float* weights, const int32_t* places, Values out, long n, long each, long columns) {
  const long rows = n * each;
  if (columns % 4 == 0 && in_fours(x) && in_fours(out)) {
    for (long i = thread_index(); i < n * (columns / 4); i += grid_threads()) {
      const Split at = split(i, columns / 4);
      float4 sum = {0.f, 0.f, 0.f, 0.f};
      for (long j = at.whole * each; j < (at.whole + 1) * each; j++) {
        const long place = place_of(places, j, rows);
        if (place < 0) continue;
        const float weight = weights != nullptr ? weights[j] : 1.f;
        const float4 value = load_four(x, place * columns + 4 * at.rest);
        sum = {sum.x + weight * value.x, sum.y + weight * value.y, sum.z + weight * value.z, sum.w + weight * value.w};
      }
      store_four(out, 4 * i, sum);
    }
    return;
  }
  for (long i = thread_index(); i < n * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    float sum = 0.f;
    for (long j = at.whole * each; j < (at.whole + 1) * each; j++) {
      const long place = place_of(places, j, rows);
      if (place >= 0) sum += (weights != nullptr ? weights[j] : 1.f) * load(x, place * columns + at.rest);
    }
    store(out, i, sum);
  }
}

// A warp a row of x: dx[places[j]] = weights[j] dy[j / each], d_weights[j] = dy[j / each] x[places[j]].
extern "C" __global__ void rx_combine_rows_grad(Values dy, Values x, const float* weights, const int32_t* places, Values dx, float* d_weights,
                                                long rows, long each, long columns) {
  const long j = static_cast<long>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (j >= rows) return;
  const int lane = threadIdx.x % 32;
  const long place = place_of(places, j, rows);
  if (place < 0) {
    if (lane == 0) d_weights[j] = 0.f;
    return;
  }
  const long from = j / each * columns, to = place * columns;
  const float weight = weights[j];
  float along = 0.f;
  if (columns % 4 == 0 && in_fours(dy) && in_fours(x) && in_fours(dx)) {
    for (long c = 4 * lane; c < columns; c += 128) {
      const float4 d = load_four(dy, from + c), v = load_four(x, to + c);
      along += d.x * v.x + d.y * v.y + d.z * v.z + d.w * v.w;
      store_four(dx, to + c, {weight * d.x, weight * d.y, weight * d.z, weight * d.w});
    }
  } else {
    for (long c = lane; c < columns; c += 32) {
      const float d = load(dy, from + c);
      along += d * load(x, to + c);
      store(dx, to + c, weight * d);
    }
  }
  along = over_warp(along, Sum());
  if (lane == 0) d_weights[j] = along;
}

// out[target[t]] += the rows order[start[t]] .. order[start[t + 1] - 1] of x, in this order. The targets differ from each other, so no
// two threads write to the same place.
extern "C" __global__ void rx_sum_rows_by_target(const float* x, const int32_t* order, const int32_t* start, const int32_t* target,
                                                 float* out, long targets, long columns) {
  for (long i = thread_index(); i < targets * columns; i += grid_threads()) {
    const Split at_i = split(i, columns);
    const long t = at_i.whole, c = at_i.rest;
    float sum = 0;
    for (long at = start[t]; at < start[t + 1]; at++) sum += x[order[at] * columns + c];
    out[target[t] * columns + c] += sum;
  }
}
