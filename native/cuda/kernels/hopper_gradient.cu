// Attention backwards on Hopper's own instructions, for heads of up to 128 columns (wider ones: hopper.cu). A block is one warpgroup: it has
// 64 rows, and goes through tiles of 64 rows of the other side. Several blocks share a multiprocessor, so that one multiplies while another
// computes exponentials; each waits for its products before the next tile, which leaves registers to the others. A row of the grid is a
// tile, a column a head. No two blocks write to the same place, and sums have one order. Elsewhere than on compute capability 9.0 these
// kernels are empty.
//
// What products take from registers is made anew for each tile: of a left operand that was loaded once, before the loop, ptxas (13.0) has
// been seen to give the registers to other values inside of it.
#include "hopper_tiles.h"

#ifdef RX_WGMMA

namespace {

constexpr int far = 1 << 30;  // more rows than there are

// A tile [64, width] that products read: its descriptors differ by constants alone.
template <int width>
struct Panels {
  static constexpr int rows = 64;
  uint64_t columns, all_rows;
  __device__ __forceinline__ explicit Panels(const uint16_t* tile) : columns(operand(tile, 16)), all_rows(operand(tile, rows * 128)) {}
  // All rows, or the first ones, and columns 16 k .., which a product sums over.
  __device__ __forceinline__ uint64_t along_columns(int k) const { return columns + ((k / 4 * rows * 128 + k % 4 * 32) >> 4); }
  // All columns, rows 16 k .., which a product sums over.
  __device__ __forceinline__ uint64_t along_rows(int k) const { return all_rows + (k * 16 * 128 >> 4); }
};

// What a thread copies of one tile [64, width] after the other: the same pieces of 16 bytes of some rows.
template <int width>
struct TilePieces {
  static constexpr int threads = 128, across = width / 8, apart = threads / across;
  static_assert(apart % 8 == 0 && 64 % apart == 0, "the pieces of a thread are swapped alike");
  const uint16_t* from;
  // Of the tile's first row, at the head's first column.
  __device__ __forceinline__ TilePieces(const uint16_t* first, long ld)
      : from(first + static_cast<long>(threadIdx.x / across) * ld + threadIdx.x % across * 8) {}
  // The first `left` rows are there.
  __device__ __forceinline__ void copy(uint16_t* tile, long ld, int left) const {
    const int row = threadIdx.x / across, at = threadIdx.x % across;
    uint16_t* const to = tile + at / 8 * 64 * 64 + row * 64 + ((at ^ row) & 7) * 8;
#pragma unroll
    for (int n = 0; n < 64 / apart; n++) copy_async_16(to + n * apart * 64, from + n * apart * ld, row + n * apart < left);
  }
};

// A row of the grid.
__device__ __forceinline__ Tile tile_of_block(const RxAttention& a) {
  const int32_t* const tile = a.tiles + 3 * blockIdx.y;
  return {tile[0], tile[1], tile[2]};
}
__device__ __forceinline__ int window_of(const RxAttention& a) { return a.window > 0 && a.window < far ? static_cast<int>(a.window) : far; }

// A group: s [64, 64] = one tile times the other, transposed.
template <int width>
__device__ __forceinline__ void scores_of(const Panels<width>& left, const Panels<width>& right, float (*s)[4]) {
#pragma unroll
  for (int k = 0; k < width / 16; k++) warpgroup_product<64>(s, left.along_columns(k), right.along_columns(k), k > 0);
  products_end();
}
// A group: sum [64, width] += p [64, 64] times the rows of a tile.
template <int width>
__device__ __forceinline__ void sum_of(const uint32_t (*p)[4], const Panels<width>& right, float (*sum)[4]) {
#pragma unroll
  for (int k = 0; k < 4; k++) add_warpgroup_product<width>(sum, p[k], right.along_rows(k));
  products_end();
}

// Of this warp's queries: out d_out, and the log-sum-exp times log2 e, for the kernel of keys, and of rows lane / 4 and 8 more for this one.
template <int width>
__device__ __forceinline__ void statistics_told(const RxAttention& a, const Tile& t, int head, float* lse, float* along) {
  const int lane = threadIdx.x % 32, half = lane % 2;
  const long row = t.first + threadIdx.x / 2;
  float sum = 0.f, scaled = INFINITY;
  if (row < t.end) {
    const uint16_t* const d_out = head_of<width>(a.d_out, head) + row * a.ld_d_out;
    const long out = (row * a.heads + head) * a.value_dim;
    constexpr int columns = width / 2;
    if (a.value_dim == width && a.out.half && (reinterpret_cast<uintptr_t>(a.out.at) & 15) == 0) {
#pragma unroll 4
      for (int c = half * columns; c < (half + 1) * columns; c += 8) {
        const uint4 x = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(a.out.at) + out + c), y = *reinterpret_cast<const uint4*>(d_out + c);
        const uint32_t of_x[4] = {x.x, x.y, x.z, x.w}, of_y[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
        for (int e = 0; e < 4; e++)
          sum += float_of(of_x[e] << 16) * float_of(of_y[e] << 16) + float_of(of_x[e] & 0xffff0000u) * float_of(of_y[e] & 0xffff0000u);
      }
    } else {
      for (int c = half * columns; c < (half + 1) * columns && c < a.value_dim; c++) sum += load(a.out, out + c) * from_bfloat16(d_out[c]);
    }
    scaled = a.lse[row * a.heads + head] * log2_e;
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (half == 0 && row < t.end) {
    a.statistics[head * a.rows + row] = scaled;
    a.statistics[(a.heads + head) * a.rows + row] = sum;
  }
#pragma unroll
  for (int of = 0; of < 2; of++) {
    lse[of] = __shfl_sync(0xffffffffu, scaled, lane / 4 * 2 + 16 * of);
    along[of] = __shfl_sync(0xffffffffu, sum, lane / 4 * 2 + 16 * of);
  }
}

// Two tiles are there at a time: one comes, one is worked on.
template <int width>
__device__ __forceinline__ void hopper_queries(const RxAttention& a) {
  using Shape = HopperGradQ<width>;
  constexpr int R = Shape::rows, C = Shape::others;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  uint16_t* const q = first_tile(memory);
  uint16_t* const d_out = q + R * width;
  uint16_t* const k = d_out + R * width;
  uint16_t* const v = k + Shape::slots * C * width;
  const Tile t = tile_of_block(a);
  const int head = blockIdx.x, kv_head = head * a.kv_heads / a.heads, lane = threadIdx.x % 32;
  const int first = static_cast<int>(t.first), end = static_cast<int>(t.end), window = window_of(a);
  const int i = first + static_cast<int>(threadIdx.x) / 32 * 16;
  const int last = static_cast<int>(end_of_tile(t, R)), from = static_cast<int>(first_key(a, t, C));
  panels_copy<width, R>(head_of<width>(a.q, head), a.ld_q, t.first, t.end, q);
  panels_copy<width, R>(head_of<width>(a.d_out, head), a.ld_d_out, t.first, t.end, d_out);
  TilePieces<width> keys(head_of<width>(a.k, kv_head) + from * a.ld_k, a.ld_k), values(head_of<width>(a.v, kv_head) + from * a.ld_v, a.ld_v);
  const auto bring = [&](int at, int stage) {
    keys.copy(k + stage * C * width, a.ld_k, end - at);
    values.copy(v + stage * C * width, a.ld_v, end - at);
    keys.from += C * a.ld_k;
    values.from += C * a.ld_v;
  };
  bring(from, 0);
  copies_end();
  float lse[2], along[2];
  statistics_told<width>(a, t, head, lse, along);
  const Panels<width> of_q(q), of_d_out(d_out);
  float sum[width / 8][4], s[C / 8][4], dp[C / 8][4];
  uint32_t ds[C / 16][4];
  clear<width>(sum);
  const float factor = a.scale * log2_e;
  // Column minus row of a number of this thread, but for what is known of its place.
  const int within = lane % 4 * 2 - lane / 4;
  int stage = 0;
  for (int at = from; at < last; at += C) {
    const int next = 1 - stage;
    copies_come();
    __syncthreads();
    const Panels<width> of_k(k + stage * C * width), of_v(v + stage * C * width);
    products_begin();
    scores_of<width>(of_q, of_k, s);
    scores_of<width>(of_d_out, of_v, dp);
    if (at + C < last) bring(at + C, next);
    copies_end();
    products_wait<1>();
    taken<C>(s);
    // This warp's queries come after all keys of the tile, and see them.
    if (!(at + C - 1 <= i && at > i + 15 - window)) {
      const int before = i - at - within;
#pragma unroll
      for (int n = 0; n < C / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int column = 8 * n + e % 2 - e / 2 * 8;
          if (column > before || column <= before - window) s[n][e] = -INFINITY;
        }
    }
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] = power_of_two(s[n][e] * factor - lse[e / 2]);
    products_wait<0>();
    taken<C>(dp);
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] *= dp[n][e] - along[e / 2];
    all_rounded<C>(s, ds);
    products_begin();
    sum_of<width>(ds, of_k, sum);
    products_wait<0>();
    stage = next;
  }
  taken<width>(sum);
  store_rows<width>(sum, a.scale, a.dq, a.ld_dq, head * a.head_dim, i, t.end, a.head_dim);
}

// Where the tiles of a block of keys lie, and its tiles of queries: of all heads of the block, one after the other.
template <int width>
struct Queries {
  using Shape = HopperGradKv<width>;
  static constexpr int C = Shape::others, R = Shape::rows;
  const RxAttention& a;
  uint16_t *k, *v, *q, *d_out;
  float* statistics;  // of each tile: the log-sum-exp times log2 e, and out d_out
  Tile t;
  int first, end, last, tiles, heads, window;
  // The next tile to come.
  int at;
  TilePieces<width> of_q, of_d_out;
  const float* of_statistics;

  __device__ __forceinline__ static int heads_of_block(const RxAttention& a) { return a.heads / static_cast<int>(gridDim.x); }
  __device__ __forceinline__ Queries(const RxAttention& a, unsigned char* memory)
      : a(a),
        t(tile_of_block(a)),
        heads(heads_of_block(a)),
        of_q(head_of<width>(a.q, heads * blockIdx.x) + t.first * a.ld_q, a.ld_q),
        of_d_out(head_of<width>(a.d_out, heads * blockIdx.x) + t.first * a.ld_d_out, a.ld_d_out) {
    k = first_tile(memory);
    v = k + R * width;
    q = v + R * width;
    d_out = q + Shape::slots * C * width;
    statistics = reinterpret_cast<float*>(d_out + Shape::slots * C * width);
    first = static_cast<int>(t.first), end = static_cast<int>(t.end), last = static_cast<int>(end_of_queries(a, t, R));
    tiles = (last - first + C - 1) / C;
    window = window_of(a);
    at = first;
    const int c = threadIdx.x;
    of_statistics = a.statistics + (static_cast<long>(c / C) * a.heads + heads * static_cast<int>(blockIdx.x)) * a.rows + t.first + c % C;
  }
  __device__ __forceinline__ void bring(int stage) {
    of_q.copy(q + stage * C * width, a.ld_q, end - at);
    of_d_out.copy(d_out + stage * C * width, a.ld_d_out, end - at);
    copy_async_4(statistics + stage * 2 * C + threadIdx.x, of_statistics, at + static_cast<int>(threadIdx.x) % C < end);
    at += C;
    // The same rows of the next head.
    const bool over = at >= last;
    const long back = over ? static_cast<long>(1 - tiles) * C : C;
    of_q.from += back * a.ld_q + (over ? width : 0);
    of_d_out.from += back * a.ld_d_out + (over ? width : 0);
    of_statistics += back + (over ? a.rows : 0);
    at = over ? first : at;
  }
};

// Scores are [keys, queries] here: probabilities come out as the left operand of both products.
template <int width>
__device__ __forceinline__ void hopper_keys(const RxAttention& a) {
  using Shape = HopperGradKv<width>;
  constexpr int R = Shape::rows, C = Shape::others;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Queries<width> queries(a, memory);
  const Tile& t = queries.t;
  const int kv_head = static_cast<int>(blockIdx.x) * a.kv_heads / static_cast<int>(gridDim.x);
  const int j = queries.first + static_cast<int>(threadIdx.x) / 32 * 16;
  const int lane = threadIdx.x % 32, two = lane % 4 * 2, within = two - lane / 4;
  const int steps = queries.tiles * queries.heads;
  panels_copy<width, R>(head_of<width>(a.k, kv_head), a.ld_k, t.first, t.end, queries.k);
  panels_copy<width, R>(head_of<width>(a.v, kv_head), a.ld_v, t.first, t.end, queries.v);
  const Panels<width> of_k(queries.k), of_v(queries.v);
  int from = queries.first;
  queries.bring(0);
  copies_end();
  float dk[width / 8][4], dv[width / 8][4], s[C / 8][4], dp[C / 8][4];
  uint32_t p[C / 16][4], ds[C / 16][4];
  clear<width>(dk);
  clear<width>(dv);
  const float factor = a.scale * log2_e;
  int stage = 0;
  for (int step = 0; step < steps; step++) {
    const int next = 1 - stage;
    copies_come();
    __syncthreads();
    const Panels<width> of_q(queries.q + stage * C * width), of_d_out(queries.d_out + stage * C * width);
    const float* const lse = queries.statistics + stage * 2 * C + two;
    products_begin();
    scores_of<width>(of_k, of_q, s);
    scores_of<width>(of_v, of_d_out, dp);
    const int now = from;
    from = queries.at;
    if (step + 1 < steps) queries.bring(next);
    copies_end();
    products_wait<1>();
    taken<C>(s);
    // All queries of the tile come after all of this warp's keys, and see them.
    if (!(now >= j + 15 && j > now + C - 1 - queries.window)) {
      const int after = j - now - within;
#pragma unroll
      for (int n = 0; n < C / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int column = 8 * n + e % 2 - e / 2 * 8;
          if (column < after || column >= after + queries.window) s[n][e] = -INFINITY;
        }
    }
#pragma unroll
    for (int n = 0; n < C / 8; n++) {
      const float2 of_two = {lse[8 * n], lse[8 * n + 1]};
      s[n][0] = power_of_two(s[n][0] * factor - of_two.x);
      s[n][1] = power_of_two(s[n][1] * factor - of_two.y);
      s[n][2] = power_of_two(s[n][2] * factor - of_two.x);
      s[n][3] = power_of_two(s[n][3] * factor - of_two.y);
    }
    all_rounded<C>(s, p);
    products_begin();
    sum_of<width>(p, of_d_out, dv);
    products_wait<0>();
    taken<C>(dp);
#pragma unroll
    for (int n = 0; n < C / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] *= dp[n][e] - lse[C + 8 * n + e % 2];
    }
    all_rounded<C>(s, ds);
    products_begin();
    sum_of<width>(ds, of_q, dk);
    products_wait<0>();
    stage = next;
  }
  taken<width>(dk);
  taken<width>(dv);
  store_rows<width>(dk, a.scale, a.dk, a.ld_dk, static_cast<long>(blockIdx.x) * a.head_dim, j, t.end, a.head_dim);
  store_rows<width>(dv, 1.f, a.dv, a.ld_dv, static_cast<long>(blockIdx.x) * a.value_dim, j, t.end, a.value_dim);
}

}  // namespace

#endif

namespace {

// Where blocks share the query heads of a head of keys, their gradients are added: `count` parts, of all heads of keys, float32.
__device__ __forceinline__ void sum_of_parts(const float* parts, int count, const Values& to, long ld, int heads, int columns, long rows) {
  const long all = rows * heads * columns, row = static_cast<long>(heads) * columns;
  const bool fours = columns % 4 == 0 && ld % 4 == 0 && in_fours(to);
  const int each = fours ? 4 : 1;
  for (long i = thread_index() * each; i < all; i += grid_threads() * each) {
    const Split of_row = split(i, row), of_head = split(of_row.rest, columns);
    const float* const from = parts + (of_row.whole * row + of_head.whole * columns) * count + of_head.rest;
    const long at = of_row.whole * ld + of_row.rest;
    if (fours) {
      float4 sum = load_four(from);
      for (int p = 1; p < count; p++) {
        const float4 x = load_four(from + static_cast<long>(p) * columns);
        sum = {sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w};
      }
      store_four(to, at, sum);
    } else {
      float sum = *from;
      for (int p = 1; p < count; p++) sum += from[static_cast<long>(p) * columns];
      store(to, at, sum);
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128, 4) rx_hopper_grad_q_64(RxAttention a) { RX_ON_HOPPER(hopper_queries<64>(a)); }
extern "C" __global__ void __launch_bounds__(128, 2) rx_hopper_grad_q_128(RxAttention a) { RX_ON_HOPPER(hopper_queries<128>(a)); }
extern "C" __global__ void __launch_bounds__(128, 3) rx_hopper_grad_kv_64(RxAttention a) { RX_ON_HOPPER(hopper_keys<64>(a)); }
extern "C" __global__ void __launch_bounds__(128, 2) rx_hopper_grad_kv_128(RxAttention a) { RX_ON_HOPPER(hopper_keys<128>(a)); }

extern "C" __global__ void rx_hopper_grad_sums(RxAttention a, const float* parts, int count) {
  sum_of_parts(parts, count, a.dk, a.ld_dk, a.kv_heads, a.head_dim, a.rows);
  sum_of_parts(parts + a.rows * a.kv_heads * count * a.head_dim, count, a.dv, a.ld_dv, a.kv_heads, a.value_dim, a.rows);
}
