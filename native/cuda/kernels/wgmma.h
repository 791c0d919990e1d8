// Products of Hopper's warpgroups (wgmma, compute capability 9.0 alone), of bfloat16 numbers that lie in shared memory: descriptors,
// layout and order of calls as the PTX ISA has them under "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions".
//
// A tile [rows, width] lies as panels of 64 columns, one behind the other, a row of a panel in 128 bytes; the 16-byte pieces of a row
// are swapped by the row's number modulo 8 (128-byte swizzling). Such a tile is an operand both ways: multiplied along its columns
// (K-major) and along its rows (MN-major), so that nothing is ever transposed. It begins at a multiple of 1024 bytes, where the
// pattern of swapping does.
#pragma once

#include "async.h"

#if defined(RX_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RX_WGMMA

namespace {

// The order of calls: what a thread has written or copied to shared memory, shared_written, a barrier; products_begin, products,
// products_end; products_wait, then `taken` of what the products added to. In between nobody touches accumulators or a left operand.

// What this thread wrote to shared memory, by whatever way, is there for products that begin after the next barrier.
__device__ __forceinline__ void shared_written() {
#ifdef RX_EMULATE
  emulate::shared_written();
#else
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}
// Registers as they are now are what the next products take and add to.
__device__ __forceinline__ void products_begin() {
#ifdef RX_EMULATE
  emulate::products_begin();
#else
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}
// Ends a group of products.
__device__ __forceinline__ void products_end() {
#ifdef RX_EMULATE
  emulate::products_end();
#else
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}
// Returns when all groups but the `rest` last ones are computed.
template <int rest>
__device__ __forceinline__ void products_wait() {
#ifdef RX_EMULATE
  emulate::products_wait(rest);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(rest) : "memory");
#endif
}
// The compiler moves no use of these numbers to before the wait that this follows.
template <int columns>
__device__ __forceinline__ void taken(float (*sum)[4]) {
#ifndef RX_EMULATE
#pragma unroll
  for (int n = 0; n < columns / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) asm volatile("" : "+f"(sum[n][e])::"memory");
#endif
}

// Each thread of the warpgroup has `count` registers from here on: what some give back, others of the block take.
template <int count>
__device__ __forceinline__ void fewer_registers() {
#ifndef RX_EMULATE
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(count));
#endif
}
template <int count>
__device__ __forceinline__ void more_registers() {
#ifndef RX_EMULATE
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(count));
#endif
}

// The first of `bytes + 1024` bytes at which a tile may begin.
__device__ __forceinline__ uint16_t* first_tile(unsigned char* memory) {
  return reinterpret_cast<uint16_t*>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
}

// 128-byte swizzling; distances in bytes, `leading` between panels, `stride` between 8 rows.
__device__ __forceinline__ uint64_t operand(const uint16_t* at, uint32_t leading) {
  constexpr uint64_t stride = 1024, swizzled = uint64_t(1) << 62;
  return ((shared_address(at) & 0x3ffff) >> 4) | static_cast<uint64_t>(leading >> 4) << 16 | (stride >> 4) << 32 | swizzled;
}
// Rows row .. of a tile of `rows` rows, columns 16 k .. 16 k + 15, which a product sums over. `row` is a multiple of 8.
template <int rows>
__device__ __forceinline__ uint64_t along_columns(const uint16_t* tile, int row, int k) {
  return operand(tile + k / 4 * rows * 64 + row * 64 + k % 4 * 16, 16);
}
// Rows 16 k .. 16 k + 15, which a product sums over, and all columns.
template <int rows>
__device__ __forceinline__ uint64_t along_rows(const uint16_t* tile, int k) {
  return operand(tile + k * 16 * 64, rows * 128);
}

#define RX_SUMS_4(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define RX_SUMS_16 RX_SUMS_4(0), RX_SUMS_4(1), RX_SUMS_4(2), RX_SUMS_4(3)
#define RX_SUMS_32(n)                                                                                                      \
  RX_SUMS_4(n), RX_SUMS_4(n + 1), RX_SUMS_4(n + 2), RX_SUMS_4(n + 3), RX_SUMS_4(n + 4), RX_SUMS_4(n + 5), RX_SUMS_4(n + 6), \
      RX_SUMS_4(n + 7)
#define RX_SUMS_64 RX_SUMS_32(0), RX_SUMS_32(8)
#define RX_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define RX_NAMES_32                                                                                                         \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define RX_NAMES_64                                                                                                                  \
  RX_NAMES_32                                                                                                                        \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// c [64, columns] = a [64, 16] b [16, columns], added to what c is where `add`. Warp w of the warpgroup holds rows 16 w .. of c, and of
// a in registers, in the layout of mma_16816. Both along their columns:
template <int columns>
__device__ __forceinline__ void warpgroup_product(float (*c)[4], uint64_t a, uint64_t b, bool add) {
  static_assert(columns == 32 || columns == 64 || columns == 128, "as many registers as are named");
#ifdef RX_EMULATE
  emulate::product_64(c[0], columns, nullptr, a, b, false, add);
#else
  if constexpr (columns == 32)
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" RX_NAMES_16 "}, %16, %17, p, 1, 1, 0, 0;\n}\n"
                 : RX_SUMS_16
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  else if constexpr (columns == 64)
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" RX_NAMES_32 "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
                 : RX_SUMS_32(0)
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  else
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" RX_NAMES_64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
                 : RX_SUMS_64
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));
#endif
}
// a in registers, b along its rows:
template <int columns>
__device__ __forceinline__ void add_warpgroup_product(float (*c)[4], const uint32_t* a, uint64_t b) {
  static_assert(columns == 64 || columns == 128, "as many registers as are named");
#ifdef RX_EMULATE
  emulate::product_64(c[0], columns, a, 0, b, true, true);
#else
  if constexpr (columns == 64)
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" RX_NAMES_32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;\n"
                 : RX_SUMS_32(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" RX_NAMES_64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;\n"
                 : RX_SUMS_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}

#undef RX_SUMS_4
#undef RX_SUMS_16
#undef RX_SUMS_32
#undef RX_SUMS_64
#undef RX_NAMES_16
#undef RX_NAMES_32
#undef RX_NAMES_64

}  // namespace

#endif
