// What every kernel file starts with: nvcc's language, or its emulation (RX_EMULATE), and the few primitives kernels share.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef RX_EMULATE
#include "../emulate/cuda.h"
#define RX_DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(emulate::shared_memory)
#else
#define RX_DYNAMIC_SHARED(type, name)               \
  extern __shared__ __align__(16) unsigned char rx_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(rx_dynamic_shared)
#endif

#include "signatures.h"

#define X(name, ...) extern "C" __global__ void rx_##name(__VA_ARGS__);
RX_CUDA_KERNELS(X)
#undef X

namespace {

// As in kernel_table.h.
__device__ __forceinline__ float alibi_slope(long head, long heads) {
  long n = 1;
  while (2 * n <= heads) n *= 2;
  return exp2f(head < n ? -8.f * static_cast<float>(head + 1) / static_cast<float>(n)
                        : -4.f * static_cast<float>(2 * (head - n) + 1) / static_cast<float>(n));
}

// The flat index of this thread and the number of threads of the grid.
__device__ __forceinline__ long thread_index() { return static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long grid_threads() { return static_cast<long>(gridDim.x) * blockDim.x; }

// i / n and i % n: in 32 bits where that is enough, since 64-bit division takes dozens of instructions.
struct Split {
  long whole, rest;
};
__device__ __forceinline__ Split split(long i, long n) {
  if (((i | n) >> 32) != 0) return {i / n, i % n};
  const uint32_t whole = static_cast<uint32_t>(i) / static_cast<uint32_t>(n);
  return {static_cast<long>(whole), i - static_cast<long>(whole) * n};
}

// Whether 16 bytes at a time can be read and written at all of these.
template <class... P>
__device__ __forceinline__ bool in_vectors(P... at) {
  return ((reinterpret_cast<uintptr_t>(at) | ... | 0) & 15) == 0;
}

__device__ __forceinline__ uint32_t bits_of(float x) {
#ifdef RX_EMULATE
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
#else
  return __float_as_uint(x);
#endif
}
__device__ __forceinline__ float float_of(uint32_t bits) {
#ifdef RX_EMULATE
  float x;
  memcpy(&x, &bits, 4);
  return x;
#else
  return __uint_as_float(bits);
#endif
}

__device__ __forceinline__ float not_a_number() { return float_of(0x7fc00000u); }

// bfloat16: the upper half of a float. To nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ uint16_t to_bfloat16(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ float from_bfloat16(uint16_t x) { return float_of(static_cast<uint32_t>(x) << 16); }

// Two floats rounded to bfloat16, the first in the low half.
__device__ __forceinline__ uint32_t two_bfloat16(float low, float high) {
#ifdef RX_EMULATE
  return static_cast<uint32_t>(to_bfloat16(low)) | static_cast<uint32_t>(to_bfloat16(high)) << 16;
#else
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#endif
}

// Eight numbers, as 32 bytes or as 16.
__device__ __forceinline__ void load_eight(const float* from, float* x) {
  const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}
__device__ __forceinline__ void load_eight(const uint16_t* from, float* x) {
  const uint4 pairs = *reinterpret_cast<const uint4*>(from);
  x[0] = float_of(pairs.x << 16), x[1] = float_of(pairs.x & 0xffff0000u), x[2] = float_of(pairs.y << 16), x[3] = float_of(pairs.y & 0xffff0000u);
  x[4] = float_of(pairs.z << 16), x[5] = float_of(pairs.z & 0xffff0000u), x[6] = float_of(pairs.w << 16), x[7] = float_of(pairs.w & 0xffff0000u);
}
__device__ __forceinline__ void store_eight(float* to, const float* x) {
  *reinterpret_cast<float4*>(to) = {x[0], x[1], x[2], x[3]};
  *reinterpret_cast<float4*>(to + 4) = {x[4], x[5], x[6], x[7]};
}
__device__ __forceinline__ void store_eight(uint16_t* to, const float* x) {
  *reinterpret_cast<uint4*>(to) = {two_bfloat16(x[0], x[1]), two_bfloat16(x[2], x[3]), two_bfloat16(x[4], x[5]), two_bfloat16(x[6], x[7])};
}

// Four numbers, as 16 bytes or as 8.
__device__ __forceinline__ float4 load_four(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ __forceinline__ float4 load_four(const uint16_t* from) {
  const uint2 pairs = *reinterpret_cast<const uint2*>(from);
  return {float_of(pairs.x << 16), float_of(pairs.x & 0xffff0000u), float_of(pairs.y << 16), float_of(pairs.y & 0xffff0000u)};
}
__device__ __forceinline__ void store_four(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }
__device__ __forceinline__ void store_four(uint16_t* to, float4 x) {
  *reinterpret_cast<uint2*>(to) = {two_bfloat16(x.x, x.y), two_bfloat16(x.z, x.w)};
}

__device__ __forceinline__ float load(const float* x) { return *x; }
__device__ __forceinline__ float load(const uint16_t* x) { return from_bfloat16(*x); }
__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(uint16_t* to, float x) { *to = to_bfloat16(x); }

// Floats, for what takes values of either kind.
__device__ __forceinline__ Values plain(const float* x) { return {const_cast<float*>(x), 0}; }

// Values of either kind: every thread of a launch takes the same branch.
template <class F>
__device__ __forceinline__ auto as_they_lie(const Values& v, long i, F f) {
  return v.half ? f(static_cast<uint16_t*>(v.at) + i) : f(static_cast<float*>(v.at) + i);
}
__device__ __forceinline__ float load(const Values& v, long i) {
  return as_they_lie(v, i, [](const auto* from) { return load(from); });
}
__device__ __forceinline__ void store(const Values& v, long i, float x) {
  as_they_lie(v, i, [=](auto* to) { store(to, x); });
}
__device__ __forceinline__ float4 load_four(const Values& v, long i) {
  return as_they_lie(v, i, [](const auto* from) { return load_four(from); });
}
__device__ __forceinline__ void store_four(const Values& v, long i, float4 x) {
  as_they_lie(v, i, [=](auto* to) { store_four(to, x); });
}
__device__ __forceinline__ bool in_fours(const Values& v) { return (reinterpret_cast<uintptr_t>(v.at) & (v.half ? 7 : 15)) == 0; }

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
};
// NaN wins.
struct Greater {
  __device__ __forceinline__ float operator()(float a, float b) const { return a != a || a > b ? a : b; }
};

// Over the 32 lanes; every lane gets the result, in the same order of additions everywhere.
template <class T, class F>
__device__ __forceinline__ T over_warp(T x, F f) {
  for (int mask = 16; mask > 0; mask >>= 1) x = f(x, __shfl_xor_sync(0xffffffffu, x, mask));
  return x;
}

// Over a block of whole warps, at most 32 of them; every thread gets the result. Starts and ends with a barrier.
template <class T, class F>
__device__ T over_block(T x, F f, T nothing) {
  __shared__ T of_warp[32];
  x = over_warp(x, f);
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  x = threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : nothing;
  return over_warp(x, f);
}

// c [16, 8] += a [16, 16] b [16, 8], of bfloat16 pairs, on a tensor core. Lane 4 g + p holds of a rows g and g + 8, columns 2 p, 2 p + 1
// and 8 further: (g, 0), (g + 8, 0), (g, 8), (g + 8, 8); of b rows 2 p, 2 p + 1 and 8 further in column g; of c rows g and g + 8,
// columns 2 p and 2 p + 1.
__device__ __forceinline__ void mma_16816(float* c, const uint32_t* a, const uint32_t* b) {
#ifdef RX_EMULATE
  emulate::mma_16816(c, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace
