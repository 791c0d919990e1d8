// Stored weights to numbers, for the product that reads them next, and activations as LLM.int8 rounds them. int8 rows: q scale[row];
// four bits: code[q] scale[i / block], two codes a byte, the first in the high half.
#include "device.h"

namespace {

template <class T>
__device__ void int8_rows(const int8_t* q, const float* scale, T* out, long ld, long rows, long columns) {
  if (columns % 8 == 0 && ld % 8 == 0 && in_vectors(out) && (reinterpret_cast<uintptr_t>(q) & 7) == 0) {
    for (long i = thread_index(); i < rows * (columns / 8); i += grid_threads()) {
      const Split at = split(i, columns / 8);
      const float factor = scale[at.whole];
      const uint2 codes = reinterpret_cast<const uint2*>(q)[i];
      float x[8];
#pragma unroll
      for (int e = 0; e < 8; e++) x[e] = static_cast<float>(static_cast<int8_t>((e < 4 ? codes.x : codes.y) >> (8 * (e % 4)))) * factor;
      store_eight(out + at.whole * ld + 8 * at.rest, x);
    }
    return;
  }
  for (long i = thread_index(); i < rows * columns; i += grid_threads()) {
    const Split at = split(i, columns);
    store(out + at.whole * ld + at.rest, static_cast<float>(q[i]) * scale[at.whole]);
  }
}

template <class T>
__device__ void four_bit(const uint8_t* packed, const float* scale, const float* code, T* out, long ld, long columns, long n, long block) {
  __shared__ float codes[16];
  if (threadIdx.x < 16) codes[threadIdx.x] = code[threadIdx.x];
  __syncthreads();
  // 8 numbers of one block a thread
  if (n % 8 == 0 && columns % 8 == 0 && ld % 8 == 0 && block % 8 == 0 && in_vectors(out) && (reinterpret_cast<uintptr_t>(packed) & 3) == 0) {
    for (long i = thread_index(); i < n / 8; i += grid_threads()) {
      const uint32_t four = reinterpret_cast<const uint32_t*>(packed)[i];
      const float factor = scale[split(i, block / 8).whole];
      float x[8];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t byte = (four >> (8 * e)) & 255u;
        x[2 * e] = codes[byte >> 4] * factor;
        x[2 * e + 1] = codes[byte & 15] * factor;
      }
      const Split at = split(8 * i, columns);
      store_eight(out + at.whole * ld + at.rest, x);
    }
    return;
  }
  for (long pair = thread_index(); pair < (n + 1) / 2; pair += grid_threads()) {
    const int byte = packed[pair];
    const long i = 2 * pair;
    for (long e = i; e < i + 2 && e < n; e++) {
      const Split at = split(e, columns);
      store(out + at.whole * ld + at.rest, codes[e == i ? byte >> 4 : byte & 15] * scale[split(e, block).whole]);
    }
  }
}

// The nearest half-precision number, ties to even.
__device__ float through_half(float x) {
  const float a = fabsf(x);
  const uint32_t bits = bits_of(a);
  const float normal = float_of((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
  const float tiny = (a + 0.75f) - 0.75f;  // multiples of 2^-24
  float y = a < 6.103515625e-5f ? tiny : normal;
  if (a >= 65520.f) y = INFINITY;
  return copysignf(x == x ? y : x, x);
}

}  // namespace

extern "C" __global__ void rx_int8_rows_f32(const int8_t* q, const float* scale, float* out, long ld, long rows, long columns) {
  int8_rows(q, scale, out, ld, rows, columns);
}
extern "C" __global__ void rx_int8_rows_bf16(const int8_t* q, const float* scale, uint16_t* out, long ld, long rows, long columns) {
  int8_rows(q, scale, out, ld, rows, columns);
}
extern "C" __global__ void rx_four_bit_f32(const uint8_t* packed, const float* scale, const float* code, float* out, long ld, long columns,
                                            long n, long block) {
  four_bit(packed, scale, code, out, ld, columns, n, block);
}
extern "C" __global__ void rx_four_bit_bf16(const uint8_t* packed, const float* scale, const float* code, uint16_t* out, long ld, long columns,
                                            long n, long block) {
  four_bit(packed, scale, code, out, ld, columns, n, block);
}

// outlier [columns]: 1 where a column has an element of at least the threshold. A column a thread.
extern "C" __global__ void rx_int8_outliers(const float* x, float* outlier, long rows, long columns, float threshold) {
  const long c = thread_index();
  if (c >= columns) return;
  float found = 0.f;
  for (long r = 0; r < rows; r++)
    if (fabsf(through_half(x[r * columns + c])) >= threshold) found = 1.f;
  outlier[c] = found;
}

// A row a block: columns of outliers stay in half precision, the others are rounded to 127ths of the row's greatest other element.
extern "C" __global__ void rx_int8_activations(const float* x, const float* outlier, float* y, long columns, float threshold) {
  const float* const from = x + blockIdx.x * columns;
  float top = 0.f;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float size = fabsf(through_half(from[c]));
    if (size < threshold && size > top) top = size;
  }
  top = over_block(top, Greater(), 0.f);
  const float divisor = top == 0.f ? 1.f : top, unit = top / 127.f;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float half = through_half(from[c]);
    y[blockIdx.x * columns + c] = outlier[c] != 0.f ? half : rintf(half * 127.f / divisor) * unit;
  }
}
