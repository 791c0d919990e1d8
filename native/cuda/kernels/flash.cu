// Attention of attention.cu in bfloat16 for heads of up to 256 columns, the way of FlashAttention-2 (Dao 2023): a warp keeps 16 rows of
// scores, probabilities and sums in registers, in the layout in which the tensor cores give them and take them; tiles come to shared
// memory by asynchronous copies, one ahead of what is worked on, in an order of 16-byte pieces that reads without bank conflicts. Reads
// heads as bfloat16 of `width` columns: as they lie where they are, else packed (rx_pack_heads). No two blocks write to the same place, and sums have one order.
#include "flash_rows.h"

namespace {

// to [rows, width] = rows first .. of a head, zeros beyond `end`. 8 numbers a copy.
template <int width, int rows>
__device__ __forceinline__ void tile_copy(const uint16_t* from, long ld, long first, long end, uint16_t* tile) {
  constexpr int pieces = width / 8;
  for (int i = threadIdx.x; i < rows * pieces; i += blockDim.x) {
    const int row = i / pieces, at = i % pieces;
    const bool inside = first + row < end;
    copy_async_16(piece<width>(tile, row, at), from + (inside ? (first + row) * ld + 8 * at : 0), inside);
  }
}

// s [16, columns] = rows `row` .. of one tile times those of the other, transposed, in registers: s[n] has 8 columns.
template <int width, int columns>
__device__ __forceinline__ void scores(uint16_t* left, int row, uint16_t* right, float (*s)[4]) {
#pragma unroll
  for (int n = 0; n < columns / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.f;
#pragma unroll
  for (int k = 0; k < width / 16; k++) {
    uint32_t a[4];
    left_of<width>(left, row, k, a);
#pragma unroll
    for (int n = 0; n < columns / 16; n++) {
      uint32_t b[4];
      right_of_transpose<width>(right, 16 * n, k, b);
      mma_16816(s[2 * n], a, b);
      mma_16816(s[2 * n + 1], a, b + 2);
    }
  }
}
// sum [16, width] += p [16, rows], rounded, times the rows of a tile.
template <int width, int rows>
__device__ __forceinline__ void add_product(const float (*p)[4], uint16_t* tile, float (*sum)[4]) {
#pragma unroll
  for (int k = 0; k < rows / 16; k++) {
    uint32_t a[4];
    rounded(p, k, a);
#pragma unroll
    for (int n = 0; n < width / 16; n++) {
      uint32_t b[4];
      right_of<width>(tile, 16 * k, n, b);
      mma_16816(sum[2 * n], a, b);
      mma_16816(sum[2 * n + 1], a, b + 2);
    }
  }
}
template <int width>
__device__ void flash(const RxAttention& a) {
  constexpr int R = FlashForward<width>::rows, C = FlashForward<width>::others, depth = flash_values<width>;
  RX_DYNAMIC_SHARED(uint16_t, q);
  uint16_t* const k = q + R * width;
  uint16_t* const v = k + 2 * C * width;
  const Tile t = tile_of(a, true);
  const int head = blockIdx.y, kv_head = head * a.kv_heads / a.heads;
  const uint16_t* const keys = head_of<width>(a.k, kv_head);
  const uint16_t* const values = head_of<depth>(a.v, kv_head);
  const int row = threadIdx.x / 32 * 16;
  const long i = t.first + row;
  const long last = end_of_tile(t, R), from = first_key(a, t, C);
  tile_copy<width, R>(head_of<width>(a.q, head), a.ld_q, t.first, t.end, q);
  tile_copy<width, C>(keys, a.ld_k, from, t.end, k);
  tile_copy<depth, C>(values, a.ld_v, from, t.end, v);
  copies_end();
  float sum[depth / 8][4], s[C / 8][4], shrink[2];
  clear<depth>(sum);
  Running rows = {{-INFINITY, -INFINITY}, {0.f, 0.f}};
  const float factor = a.scale * log2_e;
  int stage = 0;
  for (long at = from; at < last; at += C, stage ^= 1) {
    if (at + C < last) {
      tile_copy<width, C>(keys, a.ld_k, at + C, t.end, k + (stage ^ 1) * C * width);
      tile_copy<depth, C>(values, a.ld_v, at + C, t.end, v + (stage ^ 1) * C * depth);
    }
    copies_end();
    copies_wait<1>();
    __syncthreads();
    scores<width, C>(q, row, k + stage * C * width, s);
    exponentials<C>(a, t, i, at, factor, s, rows, shrink);
    shrunk<depth>(sum, shrink);
    add_product<depth, C>(s, v + stage * C * depth, sum);
    __syncthreads();
  }
  store_output<depth>(a, t, head, i, sum, rows);
}

template <int width>
__device__ void flash_grad_q(const RxAttention& a) {
  constexpr int R = FlashGradQ<width>::rows, C = FlashGradQ<width>::others, depth = flash_values<width>;
  RX_DYNAMIC_SHARED(uint16_t, q);
  uint16_t* const d_out = q + R * width;
  uint16_t* const k = d_out + R * depth;
  uint16_t* const v = k + 2 * C * width;
  const Tile t = tile_of(a, true);
  const int head = blockIdx.y, kv_head = head * a.kv_heads / a.heads;
  const uint16_t* const keys = head_of<width>(a.k, kv_head);
  const uint16_t* const values = head_of<depth>(a.v, kv_head);
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2, row = threadIdx.x / 32 * 16;
  const long i = t.first + row;
  const long last = end_of_tile(t, R), from = first_key(a, t, C);
  tile_copy<width, R>(head_of<width>(a.q, head), a.ld_q, t.first, t.end, q);
  tile_copy<depth, R>(head_of<depth>(a.d_out, head), a.ld_d_out, t.first, t.end, d_out);
  tile_copy<width, C>(keys, a.ld_k, from, t.end, k);
  tile_copy<depth, C>(values, a.ld_v, from, t.end, v);
  copies_end();
  float lse[2], along[2];
  statistics_of_rows(a, t, head, i, lse, along);
  float sum[width / 8][4], s[C / 8][4], dp[C / 8][4];
  clear<width>(sum);
  const float factor = a.scale * log2_e;
  int stage = 0;
  for (long at = from; at < last; at += C, stage ^= 1) {
    if (at + C < last) {
      tile_copy<width, C>(keys, a.ld_k, at + C, t.end, k + (stage ^ 1) * C * width);
      tile_copy<depth, C>(values, a.ld_v, at + C, t.end, v + (stage ^ 1) * C * depth);
    }
    copies_end();
    copies_wait<1>();
    __syncthreads();
    scores<width, C>(q, row, k + stage * C * width, s);
    scores<depth, C>(d_out, row, v + stage * C * depth, dp);
    const bool all = all_seen(a, i, at, C, t.end);
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const long j = at + 8 * n + two + e % 2;
        const bool in = all || (j < t.end && seen(a, i + group + e / 2 * 8, j));
        const float p = in ? power_of_two(s[n][e] * factor - lse[e / 2]) : 0.f;
        s[n][e] = p * (dp[n][e] - along[e / 2]);
      }
    add_product<width, C>(s, k + stage * C * width, sum);
    __syncthreads();
  }
  store_rows<width>(sum, a.scale, a.dq, a.ld_dq, head * a.head_dim, i, t.end, a.head_dim);
}

// Scores are [keys, queries] here: probabilities come out as the left operand of both products.
template <int width>
__device__ void flash_grad_kv(const RxAttention& a) {
  constexpr int R = FlashGradKv<width>::rows, C = FlashGradKv<width>::others, depth = flash_values<width>;
  RX_DYNAMIC_SHARED(uint16_t, k);
  uint16_t* const v = k + R * width;
  uint16_t* const q = v + R * depth;
  uint16_t* const d_out = q + 2 * C * width;
  // Of each query: the log-sum-exp times log2 e, and out d_out.
  float* const lse = reinterpret_cast<float*>(d_out + 2 * C * depth);
  float* const along = lse + 2 * C;
  const Tile t = tile_of(a, false);
  const int kv_head = blockIdx.y, shared_by = a.heads / a.kv_heads;
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2, row = threadIdx.x / 32 * 16;
  const long j = t.first + row;
  const long last = end_of_queries(a, t, R);
  const int tiles = static_cast<int>((last - t.first + C - 1) / C), steps = tiles * shared_by;
  const auto bring = [&](int step, int stage) {
    const int head = kv_head * shared_by + step / tiles;
    const long from = t.first + static_cast<long>(step % tiles) * C;
    tile_copy<width, C>(head_of<width>(a.q, head), a.ld_q, from, t.end, q + stage * C * width);
    tile_copy<depth, C>(head_of<depth>(a.d_out, head), a.ld_d_out, from, t.end, d_out + stage * C * depth);
    statistics_of_queries<C>(a, t, head, from, lse + stage * C, along + stage * C);
  };
  tile_copy<width, R>(head_of<width>(a.k, kv_head), a.ld_k, t.first, t.end, k);
  tile_copy<depth, R>(head_of<depth>(a.v, kv_head), a.ld_v, t.first, t.end, v);
  bring(0, 0);
  copies_end();
  float dk[width / 8][4], dv[depth / 8][4], s[C / 8][4], dp[C / 8][4];
  clear<width>(dk);
  clear<depth>(dv);
  const float factor = a.scale * log2_e;
  for (int step = 0, stage = 0; step < steps; step++, stage ^= 1) {
    if (step + 1 < steps) bring(step + 1, stage ^ 1);
    copies_end();
    copies_wait<1>();
    __syncthreads();
    const long from = t.first + static_cast<long>(step % tiles) * C;
    uint16_t* const q_now = q + stage * C * width;
    uint16_t* const d_out_now = d_out + stage * C * depth;
    scores<width, C>(k, row, q_now, s);
    // All queries of the tile come after all of this warp's keys, and see them.
    const bool all = from >= j + 15 && j + 16 <= t.end && (a.window == 0 || j > from + C - 1 - a.window);
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int c = 8 * n + two + e % 2;
        const long key = j + group + e / 2 * 8;
        const bool in = all || (key < t.end && seen(a, from + c, key));
        s[n][e] = in ? power_of_two(s[n][e] * factor - lse[stage * C + c]) : 0.f;
      }
    add_product<depth, C>(s, d_out_now, dv);
    scores<depth, C>(v, row, d_out_now, dp);
    slopes_of_keys<C>(dp, along + stage * C, s);
    add_product<width, C>(s, q_now, dk);
    __syncthreads();
  }
  store_rows<width>(dk, a.scale, a.dk, a.ld_dk, kv_head * a.head_dim, j, t.end, a.head_dim);
  store_rows<depth>(dv, 1.f, a.dv, a.ld_dv, kv_head * a.value_dim, j, t.end, a.value_dim);
}

// The same by two warps for the same keys: the first of the block's have probabilities and gradients of values, the others gradients of
// keys, and are told the probabilities.
template <int width>
__device__ void flash_shared_grad_kv(const RxAttention& a) {
  static_assert(flash_shares<width> && flash_values<width> == width, "both gradients are sums of one shape");
  constexpr int R = FlashGradKv<width>::rows, C = FlashGradKv<width>::others;
  RX_DYNAMIC_SHARED(uint16_t, k);
  uint16_t* const v = k + R * width;
  uint16_t* const q = v + R * width;
  uint16_t* const d_out = q + 2 * C * width;
  // Of each query: the log-sum-exp times log2 e, and out d_out.
  float* const lse = reinterpret_cast<float*>(d_out + 2 * C * width);
  float* const along = lse + 2 * C;
  // The probabilities, as the threads of a half have them.
  float4* const told = reinterpret_cast<float4*>(along + 2 * C);
  const Tile t = tile_of(a, false);
  const int kv_head = blockIdx.y, shared_by = a.heads / a.kv_heads, thread = threadIdx.x % (2 * R), row = thread / 32 * 16;
  const bool of_values = threadIdx.x < 2 * R;
  const int lane = threadIdx.x % 32, group = lane / 4, two = lane % 4 * 2;
  const long j = t.first + row;
  const long last = end_of_queries(a, t, R);
  const int tiles = static_cast<int>((last - t.first + C - 1) / C), steps = tiles * shared_by;
  const auto bring = [&](int step, int stage) {
    const int head = kv_head * shared_by + step / tiles;
    const long from = t.first + static_cast<long>(step % tiles) * C;
    tile_copy<width, C>(head_of<width>(a.q, head), a.ld_q, from, t.end, q + stage * C * width);
    tile_copy<width, C>(head_of<width>(a.d_out, head), a.ld_d_out, from, t.end, d_out + stage * C * width);
    statistics_of_queries<C>(a, t, head, from, lse + stage * C, along + stage * C);
  };
  tile_copy<width, R>(head_of<width>(a.k, kv_head), a.ld_k, t.first, t.end, k);
  tile_copy<width, R>(head_of<width>(a.v, kv_head), a.ld_v, t.first, t.end, v);
  bring(0, 0);
  copies_end();
  float sum[width / 8][4], s[C / 8][4];
  clear<width>(sum);
  const float factor = a.scale * log2_e;
  for (int step = 0, stage = 0; step < steps; step++, stage ^= 1) {
    if (step + 1 < steps) bring(step + 1, stage ^ 1);
    copies_end();
    copies_wait<1>();
    __syncthreads();
    const long from = t.first + static_cast<long>(step % tiles) * C;
    uint16_t* const q_now = q + stage * C * width;
    uint16_t* const d_out_now = d_out + stage * C * width;
    scores<width, C>(of_values ? k : v, row, of_values ? q_now : d_out_now, s);
    if (of_values) {
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
        told[n * 2 * R + thread] = {s[n][0], s[n][1], s[n][2], s[n][3]};
      }
    }
    __syncthreads();
    if (!of_values) {
#pragma unroll
      for (int n = 0; n < C / 8; n++) {
        const float4 x = told[n * 2 * R + thread];
        const float probability[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 4; e++) s[n][e] = probability[e] * (s[n][e] - along[stage * C + 8 * n + two + e % 2]);
      }
    }
    add_product<width, C>(s, of_values ? d_out_now : q_now, sum);
    __syncthreads();
  }
  if (of_values)
    store_rows<width>(sum, 1.f, a.dv, a.ld_dv, kv_head * a.value_dim, j, t.end, a.value_dim);
  else
    store_rows<width>(sum, a.scale, a.dk, a.ld_dk, kv_head * a.head_dim, j, t.end, a.head_dim);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) rx_flash_64(RxAttention a) { flash<64>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_128(RxAttention a) { flash<128>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_192(RxAttention a) { flash<192>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_256(RxAttention a) { flash<256>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_q_64(RxAttention a) { flash_grad_q<64>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_q_128(RxAttention a) { flash_grad_q<128>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_q_192(RxAttention a) { flash_grad_q<192>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_q_256(RxAttention a) { flash_grad_q<256>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_kv_64(RxAttention a) { flash_grad_kv<64>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_kv_128(RxAttention a) { flash_grad_kv<128>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_kv_192(RxAttention a) { flash_grad_kv<192>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_flash_grad_kv_256(RxAttention a) { flash_shared_grad_kv<256>(a); }

// to [rows, heads, width] = heads of `head_dim` columns of a matrix, as bfloat16, filled up with zeros. A thread has 8 numbers.
extern "C" __global__ void rx_pack_heads(Values from, long ld, uint16_t* to, long rows, int heads, int head_dim, int width) {
  const int each = width / 8, pieces = heads * each;
  const bool vectors = head_dim % 8 == 0 && ld % 4 == 0 && in_fours(from);
  for (long row = blockIdx.y; row < rows; row += gridDim.y)
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += gridDim.x * blockDim.x) {
      const int head = i / each, c = i % each * 8;
      const long source = row * ld + head * head_dim + c;
      float x[8] = {};
      if (vectors && c < head_dim) {
        const float4 low = load_four(from, source), high = load_four(from, source + 4);
        x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
        x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
      }
      if (!vectors)
#pragma unroll
        for (int e = 0; e < 8; e++)
          if (c + e < head_dim) x[e] = load(from, source + e);
      store_eight(to + row * pieces * 8 + i * 8, x);
    }
}
