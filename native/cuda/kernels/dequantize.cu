// Stored weights to numbers, for the product that reads them next. int8 rows: q scale[row]; four bits: code[q] scale[i / block], two
// codes a byte, the first in the high half.
#include "device.h"

namespace {

template <class T>
__device__ void int8_rows(const int8_t* q, const float* scale, T* out, long rows, long columns) {
  for (long i = thread_index(); i < rows * columns; i += grid_threads()) store(out + i, static_cast<float>(q[i]) * scale[i / columns]);
}

template <class T>
__device__ void four_bit(const uint8_t* packed, const float* scale, const float* code, T* out, long n, long block) {
  __shared__ float codes[16];
  if (threadIdx.x < 16) codes[threadIdx.x] = code[threadIdx.x];
  __syncthreads();
  for (long pair = thread_index(); pair < (n + 1) / 2; pair += grid_threads()) {
    const int byte = packed[pair];
    const long i = 2 * pair;
    store(out + i, codes[byte >> 4] * scale[i / block]);
    if (i + 1 < n) store(out + i + 1, codes[byte & 15] * scale[(i + 1) / block]);
  }
}

}  // namespace

extern "C" __global__ void rx_int8_rows_f32(const int8_t* q, const float* scale, float* out, long rows, long columns) {
  int8_rows(q, scale, out, rows, columns);
}
extern "C" __global__ void rx_int8_rows_bf16(const int8_t* q, const float* scale, uint16_t* out, long rows, long columns) {
  int8_rows(q, scale, out, rows, columns);
}
extern "C" __global__ void rx_four_bit_f32(const uint8_t* packed, const float* scale, const float* code, float* out, long n,
                                           long block) {
  four_bit(packed, scale, code, out, n, block);
}
extern "C" __global__ void rx_four_bit_bf16(const uint8_t* packed, const float* scale, const float* code, uint16_t* out, long n,
                                            long block) {
  four_bit(packed, scale, code, out, n, block);
}
