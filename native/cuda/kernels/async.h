// Tiles on their way to shared memory and to registers: cp.async, ldmatrix.
#pragma once

#include "device.h"

namespace {

__device__ __forceinline__ float power_of_two(float x) {
#ifdef RX_EMULATE
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

__device__ __forceinline__ uint32_t shared_address(const void* at) {
#ifdef RX_EMULATE
  return emulate::shared_address(at);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
#endif
}

// 16 bytes to shared memory, or zeros. They are there after copies_end, copies_wait and a barrier.
__device__ __forceinline__ void copy_async_16(uint16_t* to, const uint16_t* from, bool inside) {
#ifdef RX_EMULATE
  emulate::copy_async(to, inside ? from : nullptr, 16);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
#endif
}
__device__ __forceinline__ void copy_async_16(uint16_t* to, const uint16_t* from) {
#ifdef RX_EMULATE
  emulate::copy_async(to, from, 16);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(shared_address(to)), "l"(from) : "memory");
#endif
}
// A float, or 0.
__device__ __forceinline__ void copy_async_4(float* to, const float* from, bool inside) {
#ifdef RX_EMULATE
  emulate::copy_async(to, inside ? from : nullptr, 4);
#else
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(inside ? 4 : 0) : "memory");
#endif
}
// Ends a group of copies of this thread.
__device__ __forceinline__ void copies_end() {
#ifdef RX_EMULATE
  emulate::copies_end();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
// Returns when all groups but the `rest` last ones have come, for this thread.
template <int rest>
__device__ __forceinline__ void copies_wait() {
#ifdef RX_EMULATE
  emulate::copies_wait(rest);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(rest) : "memory");
#endif
}

// A barrier in shared memory (mbarrier): threads end its phases by arriving, `count` of them each, and wait for phases, each thread when it
// wants to. Phases have parities 0, 1, 0 .. What threads wrote before they arrived is there for those that have waited.
__device__ __forceinline__ void phases_init(uint64_t* barrier, int count) {
#ifdef RX_EMULATE
  emulate::phases_init(barrier, static_cast<unsigned>(count));
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(count) : "memory");
#endif
}
__device__ __forceinline__ void phases_arrive(uint64_t* barrier) {
#ifdef RX_EMULATE
  emulate::phases_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
#endif
}
// Returns when the phase of this parity has ended.
__device__ __forceinline__ void phases_wait(uint64_t* barrier, int parity) {
#ifdef RX_EMULATE
  emulate::phases_wait(barrier, static_cast<unsigned>(parity));
#elif __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n.reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;\n}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
#endif
}

// Four 8 x 8 matrices: lane l brings the address of row l % 8 of matrix l / 8, and gets of each the numbers 2 (l % 4) and the next of row
// l / 4. Transposed: the numbers 2 (l % 4) and the next of column l / 4.
__device__ __forceinline__ void load_matrices(uint32_t* to, const uint16_t* row) {
#ifdef RX_EMULATE
  emulate::load_matrices(to, row, false);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t* to, const uint16_t* row) {
#ifdef RX_EMULATE
  emulate::load_matrices(to, row, true);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// 8 numbers of a row of a tile of `width` columns: pieces of a row are swapped by its number, so that 8 rows of the same piece lie in
// different banks.
template <int width>
__device__ __forceinline__ uint16_t* piece(uint16_t* tile, int row, int at) {
  constexpr int swapped = width < 64 ? width / 8 : 8;
  return tile + row * width + ((at ^ (row / (8 / swapped) % swapped)) << 3);
}

// The left operand: rows row .. row + 15, numbers 16 k .. 16 k + 15.
template <int width>
__device__ __forceinline__ void left_of(uint16_t* tile, int row, int k, uint32_t* a) {
  const int lane = threadIdx.x % 32;
  load_matrices(a, piece<width>(tile, row + lane % 16, 2 * k + lane / 16));
}
// The right operand of a product with the transpose: rows row .. row + 15 are its columns (two fragments).
template <int width>
__device__ __forceinline__ void right_of_transpose(uint16_t* tile, int row, int k, uint32_t* b) {
  const int lane = threadIdx.x % 32;
  load_matrices(b, piece<width>(tile, row + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
}
// The right operand of a product over rows row .. row + 15, columns 16 n .. 16 n + 15 (two fragments).
template <int width>
__device__ __forceinline__ void right_of(uint16_t* tile, int row, int n, uint32_t* b) {
  const int lane = threadIdx.x % 32;
  load_matrices_transposed(b, piece<width>(tile, row + lane % 16, 2 * n + lane / 16));
}

}  // namespace
