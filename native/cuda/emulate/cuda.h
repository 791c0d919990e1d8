// CUDA's kernel language for g++: the same .cu files, compiled for the processor. The blocks of a launch run one after another, the
// threads of a block as fibers that switch only at barriers and at the collectives of a warp, in an order that changes from block
// to block, so that what wants a barrier and has none shows; watch.h looks at every access. Dynamic shared memory starts as NaN. For tests:
// it is slow.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One block runs at a time.
#define __shared__ static

namespace emulate {

struct Index {
  unsigned x, y, z;
};
struct Thread {
  Index thread;
  unsigned lane, warp;
};

// Of the block and the thread that run.
extern Index block_index, block_size, grid_size;
extern Thread* thread_now;
extern unsigned char* shared_memory;

// Returns when all threads of the block, or of the warp, have come. A warp must come to one kind of exchange, with all of its lanes.
void block_barrier();
enum Exchange { sync_warp, shuffle_4, shuffle_8, product_16816, four_matrices, left_operand };
void warp_barrier(Exchange kind);
// 64 bytes for each lane of the warp that runs, to exchange.
unsigned char* lane_slot(unsigned lane);

// Runs body() for every thread of every block.
void launch(const char* kernel, Index grid, Index block, size_t shared_bytes, const std::function<void()>& body);

template <class T>
T shuffle(T value, unsigned from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "what a card exchanges");
  std::memcpy(lane_slot(thread_now->lane), &value, sizeof value);
  warp_barrier(sizeof(T) == 4 ? shuffle_4 : shuffle_8);
  std::memcpy(&value, lane_slot(from & 31), sizeof value);
  warp_barrier(sizeof(T) == 4 ? shuffle_4 : shuffle_8);
  return value;
}

inline float bfloat16(uint32_t bits) {
  bits <<= 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// c [16, 8] += a [16, 16] b [16, 8]: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, fragments as PTX lays them out.
inline void mma_16816(float* c, const uint32_t* a, const uint32_t* b) {
  unsigned char* const mine = lane_slot(thread_now->lane);
  std::memcpy(mine, a, 16);
  std::memcpy(mine + 16, b, 8);
  warp_barrier(product_16816);
  const unsigned group = thread_now->lane / 4, pair = thread_now->lane % 4;
  const auto word = [](unsigned lane, unsigned i) {
    uint32_t w;
    std::memcpy(&w, lane_slot(lane) + 4 * i, 4);
    return w;
  };
  const auto half = [](uint32_t w, unsigned k) { return bfloat16(k % 2 ? w >> 16 : w & 0xffff); };
  for (unsigned row = 0; row < 2; row++)
    for (unsigned column = 0; column < 2; column++) {
      float sum = c[row * 2 + column];
      for (unsigned k = 0; k < 16; k++) {
        const unsigned lane_a = group * 4 + k % 8 / 2, lane_b = (pair * 2 + column) * 4 + k % 8 / 2;
        sum += half(word(lane_a, row + k / 8 * 2), k) * half(word(lane_b, 4 + k / 8), k);
      }
      c[row * 2 + column] = sum;
    }
  warp_barrier(product_16816);
}

// cp.async: nothing is there before the thread that asked has waited for the group. Null: zeros.
void copy_async(void* to, const void* from, unsigned bytes);
void copies_end();
void copies_wait(unsigned rest);
// Ends the program where a card would refuse the address.
void must_be_aligned(const void* at, unsigned bytes);

// ldmatrix.sync.aligned.m8n8.x4.shared.b16, with .trans or not.
inline void load_matrices(uint32_t* to, const uint16_t* row, bool transposed) {
  const unsigned lane = thread_now->lane;
  std::memcpy(lane_slot(lane), &row, sizeof row);
  warp_barrier(four_matrices);
  for (unsigned i = 0; i < 4; i++) {
    const auto at = [&](unsigned r, unsigned c) {
      const uint16_t* from;
      std::memcpy(&from, lane_slot(8 * i + r), sizeof from);
      must_be_aligned(from, 16);
      return static_cast<uint32_t>(from[c]);
    };
    const unsigned two = lane % 4 * 2, other = lane / 4;
    to[i] = transposed ? at(two, other) | at(two + 1, other) << 16 : at(other, two) | at(other, two + 1) << 16;
  }
  warp_barrier(four_matrices);
}

// mbarrier.init, .arrive and .try_wait.parity until it is so: a phase ends when `count` threads have arrived.
void phases_init(uint64_t* barrier, unsigned count);
void phases_arrive(uint64_t* barrier);
void phases_wait(uint64_t* barrier, unsigned parity);

// Addresses of shared memory as a card counts them.
uint32_t shared_address(const void* at);

// fence.proxy.async: what this thread wrote to shared memory is there for products after the next barrier; watch.h misses it.
void shared_written();
// wgmma.fence, wgmma.commit_group and wgmma.wait_group.
void products_begin();
void products_end();
void products_wait(unsigned rest);
// wgmma.mma_async.m64nNk16.f32.bf16.bf16, K-major a in shared memory, or in registers (not null); b K-major, or MN-major (transposed).
// `sums` are columns / 2 floats of this thread.
void product_64(float* sums, unsigned columns, const uint32_t* a, uint64_t descriptor_a, uint64_t descriptor_b, bool transposed, bool add);

}  // namespace emulate

// Aligned as on a card: read elsewhere they fail here too.
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

#define threadIdx (emulate::thread_now->thread)
#define blockIdx emulate::block_index
#define blockDim emulate::block_size
#define gridDim emulate::grid_size

inline void __syncthreads() { emulate::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulate::warp_barrier(emulate::sync_warp); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulate::shuffle(value, emulate::thread_now->lane ^ static_cast<unsigned>(mask));
}
inline bool __all_sync(unsigned mask, bool value) {
  for (int other = 16; other > 0; other /= 2) value = __shfl_xor_sync(mask, static_cast<int>(value), other) && value;
  return value;
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulate::shuffle(value, static_cast<unsigned>(lane));
}
