// Sums, copies and selections of rows and columns. Sums have one order, whatever runs them: the same bits every time.
#include "device.h"

// `rows` rows of `width` floats between two row strides.
extern "C" __global__ void rx_copy_columns(const float* from, long ld_from, float* to, long ld_to, long rows, long width) {
  for (long i = thread_index(); i < rows * width; i += grid_threads())
    to[i / width * ld_to + i % width] = from[i / width * ld_from + i % width];
}

// The same, into bfloat16.
extern "C" __global__ void rx_narrow_rows(const float* from, long ld_from, uint16_t* to, long ld_to, long rows, long width) {
  for (long i = thread_index(); i < rows * width; i += grid_threads())
    to[i / width * ld_to + i % width] = to_bfloat16(from[i / width * ld_from + i % width]);
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

// parts [gridDim.y, columns]: sums of bands of `band` rows, a column a thread.
extern "C" __global__ void rx_column_sums(const float* x, long ld, float* parts, long rows, long columns, long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float sum = 0;
  for (long r = first; r < end; r++) sum += x[r * ld + c];
  parts[blockIdx.y * columns + c] = sum;
}

// out [columns] = the sum of `count` rows of `ld` floats, plus out where add.
extern "C" __global__ void rx_add_parts(const float* parts, long count, long ld, float* out, int add, long columns) {
  const long c = thread_index();
  if (c >= columns) return;
  float sum = add ? out[c] : 0.f;
  for (long p = 0; p < count; p++) sum += parts[p * ld + c];
  out[c] = sum;
}

// out [count, columns]: rows of a table of `size` rows; NaN where there is no such row.
extern "C" __global__ void rx_gather_rows(const float* x, const int32_t* rows, float* out, long count, long size, long columns) {
  for (long i = thread_index(); i < count * columns; i += grid_threads()) {
    const long row = rows[i / columns];
    out[i] = row >= 0 && row < size ? x[row * columns + i % columns] : not_a_number();
  }
}
extern "C" __global__ void rx_gather_rows_bf16(const uint16_t* x, const int32_t* rows, float* out, long count, long size,
                                               long columns) {
  for (long i = thread_index(); i < count * columns; i += grid_threads()) {
    const long row = rows[i / columns];
    out[i] = row >= 0 && row < size ? from_bfloat16(x[row * columns + i % columns]) : not_a_number();
  }
}

// out[target[t]] += the rows order[start[t]] .. order[start[t + 1] - 1] of x, in this order. The targets differ from each other, so no
// two threads write to the same place.
extern "C" __global__ void rx_sum_rows_by_target(const float* x, const int32_t* order, const int32_t* start, const int32_t* target,
                                                 float* out, long targets, long columns) {
  for (long i = thread_index(); i < targets * columns; i += grid_threads()) {
    const long t = i / columns, c = i % columns;
    float sum = 0;
    for (long at = start[t]; at < start[t + 1]; at++) sum += x[order[at] * columns + c];
    out[target[t] * columns + c] += sum;
  }
}
