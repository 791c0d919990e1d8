// The scan of Mamba-2 in chunks of tokens, by the formulas of native/cc/kernels/state_space_scan.cc. States are made chunk after chunk, forwards
// and, for their gradients, from the last one, by one block for each head of a document and 32 columns; they stay float32 there, and lie as T
// where all chunks read them at once, for outputs and gradients. What the heads of a group share, B and C, gets its gradient from one block
// that goes through these heads in order. No sum depends on the order of blocks.
#include "chunk_tiles.h"

namespace {
namespace space {

using namespace scan;

__device__ __forceinline__ long inner(const RxStateSpace& a) { return static_cast<long>(a.heads) * a.head_dim; }
__device__ __forceinline__ long row_of(const RxStateSpace& a) { return inner(a) + 2L * a.groups * a.state_dim; }
// Rows of B or C, filled up.
__device__ __forceinline__ long shared_row(const RxStateSpace& a) { return static_cast<long>(a.groups) * a.keys; }

// A chunk and a head.
struct Piece {
  int first, length, head, group;
  long number;  // of its state
  __device__ Piece(const RxStateSpace& a, long chunk, int head)
      : first(a.chunks[2 * chunk]), length(a.chunks[2 * chunk + 1]), head(head), group(head / (a.heads / a.groups)), number(chunk * a.heads + head) {}
};
template <class T>
__device__ __forceinline__ T* state_of(const RxStateSpace& a, void* all, const Piece& p) {
  return static_cast<T*>(all) + p.number * a.keys * a.values;
}
template <class T>
__device__ __forceinline__ const T* shared_of(const RxStateSpace& a, const void* all, const Piece& p) {
  return static_cast<const T*>(all) + p.first * shared_row(a) + static_cast<long>(p.group) * a.keys;
}
__device__ __forceinline__ Given given_x(const RxStateSpace& a, const Values& xbc, int head) {
  return {xbc, static_cast<long>(head) * a.head_dim, row_of(a), a.head_dim};
}
__device__ __forceinline__ Given given_y(const RxStateSpace& a, const Values& y, int head) {
  return {y, static_cast<long>(head) * a.head_dim, inner(a), a.head_dim};
}

// What of a token is added counts `rate`, which rises by `slope` where dt does.
struct Rate {
  float rate, slope;
};
__device__ __forceinline__ Rate rate_of(const RxStateSpace& a, const Piece& p, int i) {
  const float x = load(a.dt, static_cast<long>(p.first + i) * a.heads + p.head) + a.dt_bias[p.head];
  const float soft = log1pf(expf(-fabsf(x))) + (x > 0.f ? x : x == x ? 0.f : x);
  const bool inside = soft >= a.least && soft <= a.most;
  return {soft < a.least ? a.least : soft > a.most ? a.most : soft, inside ? 1.f / (1.f + expf(-x)) : 0.f};
}
// By all threads; the barrier after it is the caller's.
template <int chunk>
__device__ __forceinline__ void find_decays(const RxStateSpace& a, const Piece& p, Decays<chunk>& d) {
  const float per_rate = -expf(a.a_log[p.head]);
  sum_decays(d, [&](int i) { return i < p.length ? per_rate * rate_of(a, p, i).rate : 0.f; });
  for (int i = threadIdx.x; i < chunk; i += blockDim.x) d.rate[i] = i < p.length ? rate_of(a, p, i).rate : 0.f;
}

// B and C as T, filled up with zeros. A warp has a row of one of them.
template <class T>
__device__ void pack(const RxStateSpace& a) {
  const int lane = threadIdx.x % 32, group = blockIdx.y % a.groups;
  const bool is_c = static_cast<int>(blockIdx.y) >= a.groups;
  const long row = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (row >= a.rows) return;
  const Given from = {a.xbc, inner(a) + static_cast<long>(blockIdx.y) * a.state_dim, row_of(a), a.state_dim};
  T* const to = static_cast<T*>(is_c ? a.c : a.b) + row * shared_row(a) + static_cast<long>(group) * a.keys;
  for (int c = 4 * lane; c < a.keys; c += 128) store_four(to + c, from.four(row, c));
}

// The state before each chunk, or (back) the gradient of that behind it:
//   H <- e^s_last H + (e^(s_last - s) B)ᵀ rate x,  dH <- e^s_last dH + (e^s C)ᵀ dy
template <class T, bool back>
__device__ void states(const RxStateSpace& a) {
  constexpr int C = chunk_of<T>, W = scan_columns;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  State<T> state;
  T* const added = state.lie(memory + sizeof(Decays<C>), a.keys);
  T* const stages = added + C * W;
  const int document = blockIdx.x / a.heads, head = blockIdx.x % a.heads, first = blockIdx.y * W;
  const long kept = (static_cast<long>(document) * a.heads + head) * a.state_dim;
  for (int i = threadIdx.x; i < a.keys * (W / 2); i += blockDim.x) {
    const int row = i / (W / 2), c = i % (W / 2) * 2;
    const auto value = [&](int column) {
      return !back && a.state != nullptr && row < a.state_dim && column < a.head_dim ? a.state[(kept + row) * a.head_dim + column] : 0.f;
    };
    state.set(row, c, value(first + c), value(first + c + 1));
  }
  const Given given = back ? given_y(a, a.dy, head) : given_x(a, a.xbc, head);
  const int from = a.first_chunk[document], count = a.first_chunk[document + 1] - from;
  const auto chunk_at = [&](int i) { return Piece(a, from + (back ? count - 1 - i : i), head); };
  const bool ahead = a.stages == 2;
  const auto bring_stage = [&](int i) {
    const Piece p = chunk_at(i);
    bring_all<C>(stages + (ahead ? i % 2 : 0) * C * a.keys, shared_of<T>(a, back ? a.c : a.b, p), shared_row(a), p.length, a.keys);
  };
  if (count > 0) bring_stage(0);
  copies_end();
  for (int i = 0; i < count; i++) {
    const Piece p = chunk_at(i);
    if (ahead && i + 1 < count) bring_stage(i + 1);
    if (ahead) copies_end();
    find_decays(a, p, d);
    __syncthreads();
    state.write(state_of<T>(a, back ? a.d_states : a.states, p) + first, a.keys, a.values);
    bring_given<W, C>(added, given, p.first, first, p.length, [&](int row) { return back ? d.since[row] : d.rate[row] * d.left[row]; });
    if (ahead)
      copies_wait<1>();
    else
      copies_wait<0>();
    __syncthreads();
    T* const shared = stages + (ahead ? i % 2 : 0) * C * a.keys;
    advance(state, a.keys, d.last, [&](int of_keys, float (*product)[4]) {
      add_tiles<true, scan_tile, false, W, W, C>(shared + C * (of_keys / scan_tile * scan_tile), of_keys % scan_tile, added, 0, product);
    });
    __syncthreads();
    if (!ahead && i + 1 < count) bring_stage(i + 1);
    if (!ahead) copies_end();
  }
  copies_wait<0>();
  if (back || a.last == nullptr) return;
  __syncthreads();
  for (int i = threadIdx.x; i < a.state_dim * W; i += blockDim.x) {
    const int row = i / W, c = i % W;
    if (first + c < a.head_dim) a.last[(kept + row) * a.head_dim + first + c] = *number<W>(state.wide, row, c);
  }
}

// weights [C, C] = products of C and B, decayed, up to the diagonal.
template <class T>
__device__ __forceinline__ void weigh(const Decays<chunk_of<T>>& d, int row, const float (*products)[4], T* weights) {
  constexpr int C = chunk_of<T>;
#pragma unroll
  for (int n = 0; n < C / 8; n++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int i = row + group_of() + 8 * h, j = 8 * n + two_of();
      put_two(number<C>(weights, i, j), j <= i ? products[n][2 * h] * d.pair(i, j) : 0.f, j + 1 <= i ? products[n][2 * h + 1] * d.pair(i, j + 1) : 0.f);
    }
}

template <class T>
__device__ void outputs(const RxStateSpace& a) {
  constexpr int C = chunk_of<T>, W = scan_tile;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const b = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T *const c = b + C * W, *const x = c + C * W, *const state = x + C * W, *const weights = state + W * W;
  const Piece p(a, blockIdx.x, blockIdx.y);
  find_decays(a, p, d);
  __syncthreads();
  const Given from = given_x(a, a.xbc, p.head), to = given_y(a, a.y, p.head);
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  const float skip = a.skip[p.head];
  float products[C / 8][4];
  cleared<C>(products);
  for (int first = 0; first < a.values; first += W) {
    bring_given<W, C>(x, from, p.first, first, p.length, [&](int i) { return d.rate[i]; });
    float sum[W / 8][4];
    cleared<W>(sum);
    for (int k = 0; k < a.keys; k += W) {
      bring<W, C>(c, shared_of<T>(a, a.c, p) + k, shared_row(a), p.length);
      if (first == 0) bring<W, C>(b, shared_of<T>(a, a.b, p) + k, shared_row(a), p.length);
      bring<W, W>(state, state_of<T>(a, a.states, p) + static_cast<long>(k) * a.values + first, a.values, W);
      copies_end();
      copies_wait<0>();
      __syncthreads();
      if (first == 0) add_tiles<false, W, true, W, C, W>(c, row, b, 0, products);
      add_tiles<false, W, false, W, W, W>(c, row, state, 0, sum);
      __syncthreads();
    }
    // A warp reads the rows that it has written.
    if (first == 0) weigh<T>(d, row, products, weights);
    __syncwarp();
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[n][e] *= d.since[row + group + e / 2 * 8];
    add_tiles<false, C, false, W, W, C>(weights, row, x, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, at = first + 8 * n + two;
        if (i >= p.length) continue;
        float low, high;
        from.two(p.first + i, at, low, high);
        to.put_two(p.first + i, at, sum[n][2 * h] + skip * low, sum[n][2 * h + 1] + skip * high);
      }
    __syncthreads();
  }
}

// Gradients of a chunk and a head: of x, dt, and the head's numbers. As head_back of the processor's kernel, rows and columns the other way round.
template <class T>
__device__ void gradients(const RxStateSpace& a) {
  constexpr int C = chunk_of<T>, W = scan_tile, ld = C + 1;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const b = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T *const c = b + C * W, *const x = c + C * W, *const dy = x + C * W, *const state = dy + C * W, *const d_state = state + W * W;
  T* const weights = d_state + W * W;
  float* const passing = reinterpret_cast<float*>(weights + C * C);  // [C, ld]
  float *const read = passing + C * ld, *const kept = read + C, *const of_x = kept + C;
  const Piece p(a, blockIdx.x, blockIdx.y);
  find_decays(a, p, d);
  __syncthreads();
  const Given from = given_x(a, a.xbc, p.head), d_x = given_x(a, a.d_xbc, p.head), of_y = given_y(a, a.dy, p.head);
  const int warp = threadIdx.x / 32, row = warp * 16, group = group_of(), two = two_of();
  const float skip = a.skip[p.head];
  float through = 0.f, for_skip = 0.f;
  {
    float products[C / 8][4], slopes[C / 8][4];
    cleared<C>(products);
    cleared<C>(slopes);
    for (int first = 0; first < a.values; first += W) {
      bring_given<W, C>(x, from, p.first, first, p.length, [&](int i) { return d.rate[i]; });
      bring_given<W, C>(dy, of_y, p.first, first, p.length);
      float reads[W / 8][4], keeps[W / 8][4];
      cleared<W>(reads);
      cleared<W>(keeps);
      for (int k = 0; k < a.keys; k += W) {
        bring<W, C>(b, shared_of<T>(a, a.b, p) + k, shared_row(a), p.length);
        bring<W, C>(c, shared_of<T>(a, a.c, p) + k, shared_row(a), p.length);
        const long at = static_cast<long>(k) * a.values + first;
        bring<W, W>(state, state_of<T>(a, a.states, p) + at, a.values, W);
        bring<W, W>(d_state, state_of<T>(a, a.d_states, p) + at, a.values, W);
        copies_end();
        copies_wait<0>();
        __syncthreads();
        if (first == 0) add_tiles<false, W, true, W, C, W>(c, row, b, 0, products);
        add_tiles<false, W, false, W, W, W>(c, row, state, 0, reads);
        add_tiles<false, W, false, W, W, W>(b, row, d_state, 0, keeps);
        // both tiles lie in one order
        for (int i = threadIdx.x; i < W * W / 2; i += blockDim.x) {
          float low, high, other_low, other_high;
          take_two(state + 2 * i, low, high);
          take_two(d_state + 2 * i, other_low, other_high);
          through += low * other_low + high * other_high;
        }
        __syncthreads();
      }
      if (first == 0) weigh<T>(d, row, products, weights);
      add_tiles<false, W, true, W, C, W>(dy, row, x, 0, slopes);
      float was_read[2] = {0.f, 0.f}, was_kept[2] = {0.f, 0.f}, along[2] = {0.f, 0.f};
#pragma unroll
      for (int n = 0; n < W / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int i = row + group + 8 * h, at = 8 * n + two;
          float dy_of[2], x_of[2];
          take_two(number<W>(dy, i, at), dy_of[0], dy_of[1]);
          take_two(number<W>(x, i, at), x_of[0], x_of[1]);
#pragma unroll
          for (int e = 0; e < 2; e++) {
            was_read[h] += d.since[i] * reads[n][2 * h + e] * dy_of[e];
            keeps[n][2 * h + e] *= d.left[i];
            was_kept[h] += keeps[n][2 * h + e] * x_of[e];
          }
        }
      // of all warps' weights
      __syncthreads();
      add_tiles<true, C, false, W, W, C>(weights, row, dy, 0, keeps);
#pragma unroll
      for (int n = 0; n < W / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int i = row + group + 8 * h, at = 8 * n + two;
          if (i >= p.length) continue;
          float dy_of[2], x_of[2];
          take_two(number<W>(dy, i, at), dy_of[0], dy_of[1]);
          from.two(p.first + i, first + at, x_of[0], x_of[1]);
#pragma unroll
          for (int e = 0; e < 2; e++) {
            along[h] += keeps[n][2 * h + e] * x_of[e];
            for_skip += dy_of[e] * x_of[e];
          }
          d_x.put_two(p.first + i, first + at, skip * dy_of[0] + d.rate[i] * keeps[n][2 * h], skip * dy_of[1] + d.rate[i] * keeps[n][2 * h + 1]);
        }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h;
        const float reads_of = over_row(was_read[h]), keeps_of = over_row(was_kept[h]), along_of = over_row(along[h]);
        if (two != 0) continue;
        read[i] = (first == 0 ? 0.f : read[i]) + reads_of;
        kept[i] = (first == 0 ? 0.f : kept[i]) + keeps_of;
        of_x[i] = (first == 0 ? 0.f : of_x[i]) + along_of;
      }
      __syncthreads();
    }
    // What token j gives to token i, at its gradient.
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int i = row + group + e / 2 * 8, j = 8 * n + two + e % 2;
        passing[i * ld + j] = j <= i ? slopes[n][e] * load(number<C>(weights, i, j)) : 0.f;
      }
  }
  __syncthreads();
  // Of each token i: what it is given by those before j.
  const int token = threadIdx.x;
  if (token < C) {
    float sum = 0.f;
    for (int j = 0; j < C; j++) {
      const float own = passing[token * ld + j];
      passing[token * ld + j] = sum;
      sum += own;
    }
  }
  // Starts and ends with a barrier.
  through = over_block(through, Sum(), 0.f) * d.last;
  for_skip = over_block(for_skip, Sum(), 0.f);
  float past = 0.f;
  if (token < C)
    for (int i = token; i < C; i++) past += passing[i * ld + token];
  __syncthreads();
  if (token < C) passing[token] = past;
  __syncthreads();
  if (warp > 0) return;
  // As the decays of a chunk are summed up: what is kept before a token goes past it, and so does what is read from it on.
  const float per_rate = -expf(a.a_log[p.head]);
  float before = 0.f, after = 0.f, for_log = 0.f, for_bias = 0.f;
  for (int i = 0; i < C; i += 32) after += over_warp(read[i + token], Sum());
  for (int from_token = 0; from_token < C; from_token += 32) {
    const int i = from_token + token;
    const float keeps = kept[i], reads = read[i], keeps_up = summed_up(keeps), reads_up = summed_up(reads);
    const float da = passing[i] + (before + keeps_up - keeps) + (after - (reads_up - reads)) + through;
    before += __shfl_sync(0xffffffffu, keeps_up, 31);
    after -= __shfl_sync(0xffffffffu, reads_up, 31);
    if (i >= p.length) continue;
    const Rate rate = rate_of(a, p, i);
    for_log += da * rate.rate * per_rate;
    const float d_dt = (per_rate * da + of_x[i]) * rate.slope;
    for_bias += d_dt;
    store(a.d_dt, static_cast<long>(p.first + i) * a.heads + p.head, d_dt);
  }
  for_log = over_warp(for_log, Sum());
  for_bias = over_warp(for_bias, Sum());
  if (token > 0) return;
  float* const sums = a.sums + static_cast<long>(blockIdx.x) * 3 * a.heads + p.head;
  sums[0] = for_log, sums[a.heads] = for_skip, sums[2 * a.heads] = for_bias;
}

// Gradients of 64 columns of B and C of a chunk and a group:
//   dB = Σ e^(s_last - s) rate x dHᵀ + dSᵀ C,  dC = Σ e^s dy Hᵀ + dS B,  dS = Σ (dy (rate x)ᵀ e^(s_i - s_j)), sums over the group's heads.
template <class T>
__device__ void shared_gradients(const RxStateSpace& a) {
  constexpr int C = chunk_of<T>, W = scan_tile;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const x = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T *const dy = x + C * W, *const x_left = dy + C * W, *const dy_since = x_left + C * W;
  T *const state = dy_since + C * W, *const d_state = state + W * W, *const of_products = d_state + W * W;
  const int tiles = a.keys / W, shared_by = a.heads / a.groups, group_number = blockIdx.y / tiles, k = blockIdx.y % tiles * W;
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  float for_b[W / 8][4], for_c[W / 8][4], slopes[C / 8][4];
  cleared<W>(for_b);
  cleared<W>(for_c);
  cleared<C>(slopes);
  for (int head = group_number * shared_by; head < (group_number + 1) * shared_by; head++) {
    const Piece p(a, blockIdx.x, head);
    find_decays(a, p, d);
    __syncthreads();
    const Given from = given_x(a, a.xbc, head), of_y = given_y(a, a.dy, head);
    float own[C / 8][4];
    cleared<C>(own);
    for (int first = 0; first < a.values; first += W) {
      const long at = static_cast<long>(k) * a.values + first;
      bring<W, W>(state, state_of<T>(a, a.states, p) + at, a.values, W);
      bring<W, W>(d_state, state_of<T>(a, a.d_states, p) + at, a.values, W);
      copies_end();
      for (int i = threadIdx.x; i < C * (W / 4); i += blockDim.x) {
        const int r = i / (W / 4), c = i % (W / 4) * 4;
        const bool inside = r < p.length;
        const float4 none = {0.f, 0.f, 0.f, 0.f}, v = inside ? from.four(p.first + r, first + c) : none, u = inside ? of_y.four(p.first + r, first + c) : none;
        const auto times = [](const float4& all, float f) { return float4{all.x * f, all.y * f, all.z * f, all.w * f}; };
        store_four(number<W>(x, r, c), times(v, d.rate[r]));
        store_four(number<W>(x_left, r, c), times(v, d.rate[r] * d.left[r]));
        store_four(number<W>(dy, r, c), u);
        store_four(number<W>(dy_since, r, c), times(u, d.since[r]));
      }
      copies_wait<0>();
      __syncthreads();
      add_tiles<false, W, true, W, C, W>(dy, row, x, 0, own);
      add_tiles<false, W, true, W, W, W>(x_left, row, d_state, 0, for_b);
      add_tiles<false, W, true, W, W, W>(dy_since, row, state, 0, for_c);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int i = row + group + e / 2 * 8, j = 8 * n + two + e % 2;
        if (j <= i) slopes[n][e] = fmaf(own[n][e], d.pair(i, j), slopes[n][e]);
      }
    __syncthreads();
  }
  const Piece p(a, blockIdx.x, group_number * shared_by);
  T *const b = x, *const c = dy;
  bring<W, C>(b, shared_of<T>(a, a.b, p) + k, shared_row(a), p.length);
  bring<W, C>(c, shared_of<T>(a, a.c, p) + k, shared_row(a), p.length);
  copies_end();
#pragma unroll
  for (int n = 0; n < C / 8; n++)
#pragma unroll
    for (int h = 0; h < 2; h++) put_two(number<C>(of_products, row + group + 8 * h, 8 * n + two), slopes[n][2 * h], slopes[n][2 * h + 1]);
  copies_wait<0>();
  __syncthreads();
  add_tiles<true, C, false, W, W, C>(of_products, row, c, 0, for_b);
  add_tiles<false, C, false, W, W, C>(of_products, row, b, 0, for_c);
  const Given d_b = {a.d_xbc, inner(a) + static_cast<long>(group_number) * a.state_dim, row_of(a), a.state_dim};
  const Given d_c = {a.d_xbc, inner(a) + static_cast<long>(a.groups + group_number) * a.state_dim, row_of(a), a.state_dim};
#pragma unroll
  for (int n = 0; n < W / 8; n++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int i = row + group + 8 * h;
      if (i >= p.length) continue;
      d_b.put_two(p.first + i, k + 8 * n + two, for_b[n][2 * h], for_b[n][2 * h + 1]);
      d_c.put_two(p.first + i, k + 8 * n + two, for_c[n][2 * h], for_c[n][2 * h + 1]);
    }
}

}  // namespace space
}  // namespace

extern "C" __global__ void __launch_bounds__(128) rx_space_pack_bf16(RxStateSpace a) { space::pack<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_pack_f32(RxStateSpace a) { space::pack<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_scan_bf16(RxStateSpace a) { space::states<uint16_t, false>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_space_scan_f32(RxStateSpace a) { space::states<float, false>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_scan_back_bf16(RxStateSpace a) { space::states<uint16_t, true>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_space_scan_back_f32(RxStateSpace a) { space::states<float, true>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_out_bf16(RxStateSpace a) { space::outputs<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_space_out_f32(RxStateSpace a) { space::outputs<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_grad_bf16(RxStateSpace a) { space::gradients<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_space_grad_f32(RxStateSpace a) { space::gradients<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_space_shared_grad_bf16(RxStateSpace a) { space::shared_gradients<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_space_shared_grad_f32(RxStateSpace a) { space::shared_gradients<float>(a); }
