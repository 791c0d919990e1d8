// Attention of flash.cu forwards on Hopper's own instructions (wgmma.h): a warpgroup has 64 rows of scores, probabilities and sums in
// registers, and what it multiplies them with comes from shared memory as it lies there. One more warpgroup brings tiles there; the others
// go on at their own pace, so that products of some run while exponentials of others are computed, and within a warpgroup those of one
// tile with the exponentials of the next. Takes, gives and sums the same as flash.cu. Elsewhere than on compute capability 9.0 these
// kernels are empty.
#include "hopper_tiles.h"

#ifdef RX_WGMMA

namespace {

// Tiles of `rows` rows of a head that come one after the other, as panels_copy has them: which part of a tile this thread brings is found
// once. A pass brings 8 columns of a panel, of every `step`th row.
template <int width, int rows, int threads>
struct Bringing {
  static constexpr int step = threads / 8, passes = (rows + step - 1) / step;
  static_assert(step % 8 == 0, "the pieces of a row are swapped alike in every pass");
  const uint16_t* from;  // in the tile that comes next
  long ld;
  int place;  // in shared memory
  int row;    // of this thread in the first pass
  int rest;   // rows of the document from the tile's first on

  __device__ __forceinline__ Bringing(const uint16_t* head, long ld, long first, long end) : ld(ld) {
    const int thread = threadIdx.x % threads, at = thread % 8;
    row = thread / 8;
    from = head + (first + row) * ld + 8 * at;
    place = row * 64 + ((at ^ row) & 7) * 8;
    rest = static_cast<int>(end - first);
  }
  // The next tile, zeros beyond the document's end.
  __device__ __forceinline__ void next(uint16_t* tile) {
    uint16_t* const to = tile + place;
    if (rest >= rows)
      all<true>(to);
    else
      all<false>(to);
    from += rows * ld;
    rest -= rows;
  }

 private:
  template <bool whole>
  __device__ __forceinline__ void all(uint16_t* to) {
    const uint16_t* at = from;
#pragma unroll
    for (int n = 0; n < passes; n++, at += step * ld) {
      if (rows % step != 0 && n == passes - 1 && row >= rows - n * step) break;
#pragma unroll
      for (int p = 0; p < width / 64; p++) {
        uint16_t* const here = to + p * rows * 64 + n * step * 64;
        if constexpr (whole)
          copy_async_16(here, at + 64 * p);
        else
          copy_async_16(here, at + 64 * p, row + n * step < rest);
      }
    }
  }
};

// Scores of rows i + lane / 4 (and 8 more) with keys that they do not see become -inf; rows and the document's end counted from the
// first key of the tile on.
template <int columns>
__device__ __forceinline__ void only_seen(const RxAttention& a, int i, int end, float (*s)[4]) {
  const int two = threadIdx.x % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int own = i + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * half, last = (own < end ? own : end - 1) - two;
#pragma unroll
    for (int n = 0; n < columns / 8; n++)
#pragma unroll
      for (int e = 0; e < 2; e++) s[n][2 * half + e] = 8 * n + e <= last ? s[n][2 * half + e] : -INFINITY;
    if (a.window == 0) continue;
    const long before = own - a.window - two;
#pragma unroll
    for (int n = 0; n < columns / 8; n++)
#pragma unroll
      for (int e = 0; e < 2; e++) s[n][2 * half + e] = 8 * n + e > before ? s[n][2 * half + e] : -INFINITY;
  }
}

// A descriptor of wgmma.h in two words: the second is the same for all, and what lies further on in the tile adds to the first.
struct Place {
  uint32_t low;
  __device__ __forceinline__ explicit Place(uint64_t descriptor) : low(static_cast<uint32_t>(descriptor)) {}
  // `numbers` further on, a multiple of 8.
  __device__ __forceinline__ uint64_t at(int numbers) const { return uint64_t(1) << 62 | uint64_t(1024 >> 4) << 32 | (low + numbers / 8); }
};

// A group: s [64, columns] = 64 rows of one tile times those of the other, transposed; `from` numbers on.
template <int width, int rows, int columns>
__device__ __forceinline__ void begin_scores(Place left, Place right, int from, float (*s)[4]) {
#pragma unroll
  for (int k = 0; k < width / 16; k++)
    warpgroup_product<columns>(s, left.at(k / 4 * rows * 64 + k % 4 * 16), right.at(from + k / 4 * columns * 64 + k % 4 * 16), k > 0);
  products_end();
}
// A group: sum [64, width] += p [64, rows] times the rows of a tile, of these 16 first .. to 16 last.
template <int width, int rows, int first = 0, int last = rows / 16>
__device__ __forceinline__ void begin_sum(const uint32_t (*p)[4], Place tile, int from, float (*sum)[4]) {
  constexpr int most = 128;  // columns of one product
#pragma unroll
  for (int k = first; k < last; k++) {
    add_warpgroup_product<width < most ? width : most>(sum, p[k], tile.at(from + k * 16 * 64));
    if constexpr (width > most) add_warpgroup_product<width - most>(sum + most / 8, p[k], tile.at(from + most * rows + k * 16 * 64));
  }
  products_end();
}

// Exponentials count from a number of their row's own, `top`: the greatest score of some tile before, times scale and log2 e. It need not be
// the greatest of all: sums lose nothing while they are far from what a float can hold. So a tile whose exponentials add up to less than
// this needs no maximum, and nothing is rescaled. NaN: no score has been seen yet.
constexpr float too_much = 1152921504606846976.f;  // 2^60

// Columns 16 from .. to 16 to of s as exponentials, rounded; s stays. What they add up to, for two rows, in two parts each, since additions
// wait for each other.
template <int from, int to>
__device__ __forceinline__ void powers_of(float factor, const float (*s)[4], const float* top, float (*added)[2], uint32_t (*p)[4]) {
#pragma unroll
  for (int k = from; k < to; k++)
#pragma unroll
    for (int part = 0; part < 4; part++) {
      const int half = part % 2;
      const float* const x = &s[2 * k + part / 2][2 * half];
      const float low = power_of_two(x[0] * factor - top[half]), high = power_of_two(x[1] * factor - top[half]);
      added[half][0] += low;
      added[half][1] += high;
      p[k][part] = two_bfloat16(low, high);
    }
}
// The same of all columns, counted from the greatest score so far; so is what was summed. Where a score is NaN, so is the sum.
template <int columns, int width>
__device__ __forceinline__ void rebased(float factor, const float (*s)[4], Running& rows, float (*sum)[4], uint32_t (*p)[4]) {
  float shrink[2], base[2], added[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
#ifndef RX_EMULATE
  // The compiler would keep what it has multiplied before, and has no registers for it.
  asm("" : "+f"(factor));
#endif
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float here = fmaxf(s[0][2 * half], s[0][2 * half + 1]);
#pragma unroll
    for (int n = 1; n < columns / 8; n++) here = fmaxf(fmaxf(s[n][2 * half], s[n][2 * half + 1]), here);
    here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 1));
    here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 2));
    const bool first = rows.top[half] != rows.top[half];
    const float next = fmaxf(here * factor, rows.top[half]);
    const bool none = next == -INFINITY;
    shrink[half] = first ? 1.f : power_of_two(rows.top[half] - next);
    base[half] = none ? 0.f : next;
    rows.top[half] = none ? not_a_number() : next;
  }
  powers_of<0, columns / 16>(factor, s, base, added, p);
#pragma unroll
  for (int half = 0; half < 2; half++) rows.total[half] = rows.total[half] * shrink[half] + (added[half][0] + added[half][1]);
  shrunk<width>(sum, shrink);
}

// The last warpgroup brings tiles, the others multiply. Keys of tile n and values of the one before come to a slot as one group of copies;
// phases of `there` end when it has come, those of `done` when all have multiplied with it.
template <int width>
__device__ void hopper(const RxAttention& a) {
  using Shape = HopperForward<width>;
  constexpr int R = Shape::rows, C = Shape::others, depth = flash_values<width>;
  constexpr int slots = Shape::slots, ahead = Shape::ahead, bringers = Shape::bringers;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  uint16_t* const q = first_tile(memory);
  uint16_t* const k = q + R * width;
  uint16_t* const v = k + slots * C * width;
  uint64_t* const there = reinterpret_cast<uint64_t*>(v + slots * C * depth);
  uint64_t* const done = there + slots;
  if (threadIdx.x == 0)
    for (int n = 0; n < slots; n++) {
      phases_init(there + n, bringers / 32);
      phases_init(done + n, R / 16);
    }
  __syncthreads();
  // Heads that share keys are beside each other; the host has the longest tiles first.
  const int block = blockIdx.y * gridDim.x + blockIdx.x, head = block % a.heads;
  const int32_t* const of = a.tiles + 3 * (block / a.heads);
  const Tile t = {of[0], of[1], of[2]};
  const int from = static_cast<int>(first_key(a, t, C)), tiles = (static_cast<int>(end_of_tile(t, R)) - from + C - 1) / C;
  const int group_row = warpgroup_row();
  const bool leads = threadIdx.x % 32 == 0;
  if (group_row == R) {
    fewer_registers<Shape::registers_to_bring>();
    const int kv_head = head * a.kv_heads / a.heads;
    Bringing<width, C, bringers> keys(head_of<width>(a.k, kv_head), a.ld_k, from, t.end);
    Bringing<depth, C, bringers> values(head_of<depth>(a.v, kv_head), a.ld_v, from, t.end);
    Bringing<width, R, bringers>(head_of<width>(a.q, head), a.ld_q, t.first, t.end).next(q);
    int arriving = 0;
    const auto arrive = [&] {
      shared_written();
      __syncwarp();
      if (leads) phases_arrive(there + arriving);
      if (++arriving == slots) arriving = 0;
    };
    int slot = 0, phase = 1;
    for (int n = 0; n <= tiles; n++) {
      if (n >= slots) phases_wait(done + slot, phase);
      if (n < tiles) keys.next(k + slot * C * width);
      if (n > 0) values.next(v + slot * C * depth);
      copies_end();
      if (n >= ahead) {
        copies_wait<ahead>();
        arrive();
      }
      if (++slot == slots) slot = 0, phase ^= 1;
    }
    copies_wait<0>();
    for (int n = tiles < ahead ? 0 : tiles + 1 - ahead; n <= tiles; n++) arrive();
    return;
  }
  more_registers<Shape::registers_to_multiply>();
  // Rows counted from the first key on: the first one of this warpgroup, of this warp, and the document's end.
  const int first = static_cast<int>(t.first) - from + group_row, i = first + static_cast<int>(threadIdx.x) % 128 / 32 * 16;
  const int end = static_cast<int>(t.end) - from;
  // Tiles that a row of this warpgroup sees.
  const int own = first < end ? ((first + 64 < end ? first + 64 : end) + C - 1) / C : 0;
  const Place q_at(along_columns<R>(q, group_row, 0)), k_at(along_columns<C>(k, 0, 0)), v_at(along_rows<C>(v, 0));
  // Of these tiles all of this warp's rows see all keys.
  const int seen_until = (i + 1 < end ? i + 1 : end) / C;
  const int seen_from = a.window > 0 && i + 15 >= a.window ? (i + 15 - static_cast<int>(a.window)) / C + 1 : 0;
  float sum[depth / 8][4], s[C / 8][4];
  uint32_t p[C / 16][4];
  Running rows = {{not_a_number(), not_a_number()}, {0.f, 0.f}};
  const float factor = a.scale * log2_e;
  int slot = 0, phase = 0;
  const auto over = [&] {
    __syncwarp();
    if (leads) phases_arrive(done + slot);
    if (++slot == slots) slot = 0, phase ^= 1;
  };
  int step = 0;
  if (own > 0) {
    clear<depth>(sum);
    phases_wait(there, 0);
    products_begin();
    begin_scores<width, R, C>(q_at, k_at, 0, s);
    products_wait<0>();
    taken<C>(s);
    over();
    if (0 < seen_from || 0 >= seen_until) only_seen<C>(a, i, end, s);
    rebased<C, depth>(factor, s, rows, sum, p);
    for (step = 1; step < own; step++) {
      phases_wait(there + slot, phase);
      products_begin();
      begin_scores<width, R, C>(q_at, k_at, slot * C * width, s);
      begin_sum<depth, C, 0, C / 32>(p, v_at, slot * C * depth, sum);
      begin_sum<depth, C, C / 32, C / 16>(p, v_at, slot * C * depth, sum);
      float added[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
      products_wait<1>();
      taken<C>(s);
      if (step < seen_from || step >= seen_until) only_seen<C>(a, i - step * C, end - step * C, s);
      powers_of<0, C / 32>(factor, s, rows.top, added, p);
      products_wait<0>();
      taken<depth>(sum);
      over();
      powers_of<C / 32, C / 16>(factor, s, rows.top, added, p);
      const float more[2] = {added[0][0] + added[0][1], added[1][0] + added[1][1]};
      if (__all_sync(0xffffffffu, more[0] < too_much && more[1] < too_much)) {
        rows.total[0] += more[0];
        rows.total[1] += more[1];
      } else {
        rebased<C, depth>(factor, s, rows, sum, p);
      }
    }
    phases_wait(there + slot, phase);
    products_begin();
    begin_sum<depth, C>(p, v_at, slot * C * depth, sum);
    products_wait<0>();
    taken<depth>(sum);
    over();
    store_output<depth>(a, t, head, from + i, sum, rows);
    step++;
  }
  for (; step <= tiles; step++) {
    phases_wait(there + slot, phase);
    over();
  }
}

}  // namespace

#endif

extern "C" __global__ void __launch_bounds__(512) rx_hopper_64(RxAttention a) { RX_ON_HOPPER(hopper<64>(a)); }
extern "C" __global__ void __launch_bounds__(512) rx_hopper_128(RxAttention a) { RX_ON_HOPPER(hopper<128>(a)); }
extern "C" __global__ void __launch_bounds__(384) rx_hopper_192(RxAttention a) { RX_ON_HOPPER(hopper<192>(a)); }
extern "C" __global__ void __launch_bounds__(384) rx_hopper_256(RxAttention a) { RX_ON_HOPPER(hopper<256>(a)); }
