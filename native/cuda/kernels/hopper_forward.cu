// Attention of flash.cu forwards on Hopper's own instructions (wgmma.h): a warpgroup has 64 rows of scores, probabilities and sums in
// registers, and what it multiplies them with comes from shared memory as it lies there. Products run while exponentials are computed:
// those of one tile with the next one's scores, in the order of groups that the loop says. Takes, gives and sums the same as flash.cu.
// Elsewhere than on compute capability 9.0 these kernels are empty.
#include "hopper_tiles.h"

#ifdef RX_WGMMA

namespace {

template <int width>
__device__ void hopper(const RxAttention& a) {
  constexpr int R = HopperForward<width>::rows, C = HopperForward<width>::others, depth = flash_values<width>;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  uint16_t* const q = first_tile(memory);
  uint16_t* const k = q + R * width;
  uint16_t* const v = k + 2 * C * width;
  const Tile t = tile_of(a, true);
  const int head = blockIdx.y, kv_head = head * a.kv_heads / a.heads, group_row = warpgroup_row();
  const uint16_t* const keys = head_of<width>(a.k, kv_head);
  const uint16_t* const values = head_of<depth>(a.v, kv_head);
  const long i = t.first + threadIdx.x / 32 * 16;
  const long from = first_key(a, t, C);
  const int tiles = static_cast<int>((end_of_tile(t, R) - from + C - 1) / C);
  panels_copy<width, R>(head_of<width>(a.q, head), a.ld_q, t.first, t.end, q);
  panels_copy<width, C>(keys, a.ld_k, from, t.end, k);
  copies_end();
  float sum[depth / 8][4], s[C / 8][4], shrink[2];
  uint32_t p[C / 16][4];
  clear<depth>(sum);
  Running rows = {{-INFINITY, -INFINITY}, {0.f, 0.f}};
  const float factor = a.scale * log2_e;
  // The next keys, and the values of the keys that are worked on: they wait one step longer.
  const auto bring = [&](int step) {
    if (step + 1 < tiles) panels_copy<width, C>(keys, a.ld_k, from + static_cast<long>(step + 1) * C, t.end, k + (step + 1) % 2 * C * width);
    panels_copy<depth, C>(values, a.ld_v, from + static_cast<long>(step) * C, t.end, v + step % 2 * C * depth);
    copies_end();
  };
  copies_come();
  __syncthreads();
  bring(0);
  products_begin();
  scores_begin<width, R, C>(q, group_row, k, s);
  products_wait<0>();
  taken<C>(s);
  exponentials<C>(a, t, i, from, factor, s, rows, shrink);
  all_rounded<C>(s, p);
  for (int step = 1; step < tiles; step++) {
    copies_come();
    __syncthreads();
    bring(step);
    products_begin();
    scores_begin<width, R, C>(q, group_row, k + step % 2 * C * width, s);
    sum_begin<depth, C>(p, v + (step - 1) % 2 * C * depth, sum);
    products_wait<1>();
    taken<C>(s);
    exponentials<C>(a, t, i, from + static_cast<long>(step) * C, factor, s, rows, shrink);
    products_wait<0>();
    taken<depth>(sum);
    shrunk<depth>(sum, shrink);
    all_rounded<C>(s, p);
  }
  copies_come();
  __syncthreads();
  products_begin();
  sum_begin<depth, C>(p, v + (tiles - 1) % 2 * C * depth, sum);
  products_wait<0>();
  taken<depth>(sum);
  store_output<depth>(a, t, head, i, sum, rows);
}

}  // namespace

#endif

extern "C" __global__ void __launch_bounds__(256) rx_hopper_64(RxAttention a) { RX_ON_HOPPER(hopper<64>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_128(RxAttention a) { RX_ON_HOPPER(hopper<128>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_192(RxAttention a) { RX_ON_HOPPER(hopper<192>(a)); }
extern "C" __global__ void __launch_bounds__(256) rx_hopper_256(RxAttention a) { RX_ON_HOPPER(hopper<256>(a)); }
