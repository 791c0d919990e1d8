// Attention of flash.cu backwards on Hopper's own instructions, as hopper_forward.cu has it forwards: no two blocks write to the same
// place, and sums have one order. Elsewhere than on compute capability 9.0 these kernels are empty.
#include "hopper_tiles.h"

#ifdef RX_WGMMA

namespace {

// Three tiles are there at a time: one comes, one is worked on, the one before may still be multiplied.
template <int width>
__device__ void hopper_grad_q(const RxAttention& a) {
  constexpr int R = HopperGradQ<width>::rows, C = HopperGradQ<width>::others, depth = flash_values<width>;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  uint16_t* const q = first_tile(memory);
  uint16_t* const d_out = q + R * width;
  uint16_t* const k = d_out + R * depth;
  uint16_t* const v = k + 3 * C * width;
  const Tile t = tile_of(a, true);
  const int head = blockIdx.y, kv_head = head * a.kv_heads / a.heads, group_row = warpgroup_row();
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2;
  const long i = t.first + threadIdx.x / 32 * 16;
  const long last = end_of_tile(t, R), from = first_key(a, t, C);
  const auto bring = [&](long at, int stage) {
    panels_copy<width, C>(head_of<width>(a.k, kv_head), a.ld_k, at, t.end, k + stage * C * width);
    panels_copy<depth, C>(head_of<depth>(a.v, kv_head), a.ld_v, at, t.end, v + stage * C * depth);
  };
  panels_copy<width, R>(head_of<width>(a.q, head), a.ld_q, t.first, t.end, q);
  panels_copy<depth, R>(head_of<depth>(a.d_out, head), a.ld_d_out, t.first, t.end, d_out);
  bring(from, 0);
  copies_end();
  float lse[2], along[2];
  statistics_of_rows(a, t, head, i, lse, along);
  float sum[width / 8][4], s[C / 8][4], dp[C / 8][4];
  uint32_t ds[C / 16][4];
  clear<width>(sum);
  const float factor = a.scale * log2_e;
  int stage = 0;
  for (long at = from; at < last; at += C) {
    const int next = stage == 2 ? 0 : stage + 1;
    copies_come();
    __syncthreads();
    if (at + C < last) bring(at + C, next);
    copies_end();
    products_begin();
    scores_begin<width, R, C>(q, group_row, k + stage * C * width, s);
    scores_begin<depth, R, C>(d_out, group_row, v + stage * C * depth, dp);
    products_wait<1>();
    taken<C>(s);
    const bool all = all_seen(a, i, at, C, t.end);
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const long j = at + 8 * n + two + e % 2;
        const bool in = all || (j < t.end && seen(a, i + group + e / 2 * 8, j));
        s[n][e] = in ? power_of_two(s[n][e] * factor - lse[e / 2]) : 0.f;
      }
    products_wait<0>();
    taken<C>(dp);
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] *= dp[n][e] - along[e / 2];
    all_rounded<C>(s, ds);
    products_begin();
    sum_begin<width, C>(ds, k + stage * C * width, sum);
    stage = next;
  }
  products_wait<0>();
  taken<width>(sum);
  store_rows<width>(sum, a.scale, a.dq, a.ld_dq, head * a.head_dim, i, t.end, a.head_dim);
}

// The same by two warpgroups that have the same keys: one (of_values) has the probabilities and the gradient of values, the other the
// gradient of keys, and is told the probabilities.
template <int width, bool of_values>
__device__ void hopper_one_grad(const RxAttention& a, unsigned char* memory) {
  constexpr int R = HopperGradKv<width>::rows, C = HopperGradKv<width>::others, depth = flash_values<width>;
  // Columns of this warpgroup's first product, which are summed over, and of its gradient.
  constexpr int inner = of_values ? width : depth, own = of_values ? depth : width;
  uint16_t* const k = first_tile(memory);
  uint16_t* const v = k + R * width;
  uint16_t* const q = v + R * depth;
  uint16_t* const d_out = q + 3 * C * width;
  // Of each query: the log-sum-exp times log2 e, and out d_out.
  float* const lse = reinterpret_cast<float*>(d_out + 3 * C * depth);
  float* const along = lse + 3 * C;
  // The probabilities, as the threads of a warpgroup have them.
  float4* const told = reinterpret_cast<float4*>(along + 3 * C);
  const Tile t = tile_of(a, false);
  const int kv_head = blockIdx.y, shared_by = a.heads / a.kv_heads, thread = threadIdx.x % 128;
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2;
  const long j = t.first + thread / 32 * 16;
  const long last = end_of_queries(a, t, R);
  const int tiles = static_cast<int>((last - t.first + C - 1) / C), steps = tiles * shared_by;
  const auto bring = [&](int step, int stage) {
    const int head = kv_head * shared_by + step / tiles;
    const long from = t.first + static_cast<long>(step % tiles) * C;
    panels_copy<width, C>(head_of<width>(a.q, head), a.ld_q, from, t.end, q + stage * C * width);
    panels_copy<depth, C>(head_of<depth>(a.d_out, head), a.ld_d_out, from, t.end, d_out + stage * C * depth);
    statistics_of_queries<C>(a, t, head, from, lse + stage * C, along + stage * C);
  };
  panels_copy<width, R>(head_of<width>(a.k, kv_head), a.ld_k, t.first, t.end, k);
  panels_copy<depth, R>(head_of<depth>(a.v, kv_head), a.ld_v, t.first, t.end, v);
  bring(0, 0);
  copies_end();
  float sum[own / 8][4], s[C / 8][4];
  uint32_t p[C / 16][4];
  clear<own>(sum);
  const float factor = a.scale * log2_e;
  int stage = 0;
  for (int step = 0; step < steps; step++) {
    const int next = stage == 2 ? 0 : stage + 1;
    copies_come();
    __syncthreads();
    if (step + 1 < steps) bring(step + 1, next);
    copies_end();
    const long from = t.first + static_cast<long>(step % tiles) * C;
    const uint16_t* const q_now = q + stage * C * width;
    const uint16_t* const d_out_now = d_out + stage * C * depth;
    products_begin();
    scores_begin<inner, R, C>(of_values ? k : v, 0, of_values ? q_now : d_out_now, s);
    products_wait<0>();
    taken<C>(s);
    if constexpr (of_values) {
      // All queries of the tile come after all of this warp's keys, and see them.
      const bool all = from >= j + 15 && j + 16 <= t.end && (a.window == 0 || j > from + C - 1 - a.window);
#pragma unroll
      for (int n = 0; n < C / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int c = 8 * n + two + e % 2;
          const long key = j + group + e / 2 * 8;
          const bool in = all || (key < t.end && seen(a, from + c, key));
          s[n][e] = in ? power_of_two(s[n][e] * factor - lse[stage * C + c]) : 0.f;
        }
        told[n * 128 + thread] = {s[n][0], s[n][1], s[n][2], s[n][3]};
      }
    }
    __syncthreads();
    if constexpr (!of_values) {
#pragma unroll
      for (int n = 0; n < C / 8; n++) {
        const float4 x = told[n * 128 + thread];
        const float probability[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 4; e++) s[n][e] = probability[e] * (s[n][e] - along[stage * C + 8 * n + two + e % 2]);
      }
    }
    all_rounded<C>(s, p);
    products_begin();
    sum_begin<own, C>(p, of_values ? d_out_now : q_now, sum);
    stage = next;
  }
  products_wait<0>();
  taken<own>(sum);
  if constexpr (of_values)
    store_rows<own>(sum, 1.f, a.dv, a.ld_dv, kv_head * a.value_dim, j, t.end, a.value_dim);
  else
    store_rows<own>(sum, a.scale, a.dk, a.ld_dk, kv_head * a.head_dim, j, t.end, a.head_dim);
}
template <int width>
__device__ void hopper_shared_grad_kv(const RxAttention& a) {
  static_assert(!hopper_narrow<width> && HopperGradKv<width>::rows == 64, "a warpgroup has all rows");
  RX_DYNAMIC_SHARED(unsigned char, memory);
  if (warpgroup_row() == 0)
    hopper_one_grad<width, true>(a, memory);
  else
    hopper_one_grad<width, false>(a, memory);
}

}  // namespace

#endif

extern "C" __global__ void __launch_bounds__(256) rx_hopper_grad_q_192(RxAttention a) { RX_ON_HOPPER(hopper_grad_q<192>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_grad_q_256(RxAttention a) { RX_ON_HOPPER(hopper_grad_q<256>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_grad_kv_192(RxAttention a) { RX_ON_HOPPER(hopper_shared_grad_kv<192>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_grad_kv_256(RxAttention a) { RX_ON_HOPPER(hopper_shared_grad_kv<256>(a)); }
