// The gated delta rule in chunks of tokens, by the formulas of native/cc/kernels/gated_delta_rule.cc. With s the running sums of decay in a
// chunk, S the state before it and T the inverse of I + A, A[i, j] = rate_i k_i k_j e^(s_i - s_j), j < i:
//   u = T (rate (v - e^s k S)),  out = e^s q S + P u,  S <- e^(s_last) S + (e^(s_last - s) k)ᵀ u
// T and P are made for all chunks at once, as are outputs and gradients; only u and S, and on the way back their gradients, are made chunk
// after chunk, by one block for each head of a document and 32 columns of the state, which stay float32. T is found by substitution in
// float32. What lies between kernels is T, bfloat16 or float32; no sum depends on the order of blocks.
#include "chunk_tiles.h"

namespace {
namespace delta {

using namespace scan;

// A chunk and a value head.
struct Piece {
  int first, length;  // rows
  int key_head, head;
  long square;        // where its matrices [chunk, chunk] lie, in chunks' squares
  __device__ Piece(const RxDeltaRule& a, long chunk, int head)
      : first(a.chunks[2 * chunk]), length(a.chunks[2 * chunk + 1]), key_head(head / (a.value_heads / a.key_heads)), head(head), square(chunk * a.value_heads + head) {}
};
template <class T>
__device__ __forceinline__ T* square_of(void* all, const Piece& p) {
  return static_cast<T*>(all) + p.square * chunk_of<T> * chunk_of<T>;
}
// The state of a chunk and a head, [keys, values].
template <class T>
__device__ __forceinline__ T* state_of(const RxDeltaRule& a, void* all, const Piece& p) {
  return static_cast<T*>(all) + p.square * a.keys * a.values;
}
// Rows of unit queries or keys, `key_row(a)` numbers apart; rows of a value head.
__device__ __forceinline__ long key_row(const RxDeltaRule& a) { return static_cast<long>(a.key_heads) * a.keys; }
__device__ __forceinline__ long value_row(const RxDeltaRule& a) { return static_cast<long>(a.value_heads) * a.values; }
template <class T>
__device__ __forceinline__ const T* keys_of(const RxDeltaRule& a, const void* all, const Piece& p) {
  return static_cast<const T*>(all) + p.first * key_row(a) + static_cast<long>(p.key_head) * a.keys;
}
template <class T>
__device__ __forceinline__ T* values_of_head(const RxDeltaRule& a, void* all, const Piece& p) {
  return static_cast<T*>(all) + p.first * value_row(a) + static_cast<long>(p.head) * a.values;
}
__device__ __forceinline__ long qkv_row(const RxDeltaRule& a) { return 2L * a.key_heads * a.key_dim + static_cast<long>(a.value_heads) * a.value_dim; }
__device__ __forceinline__ Given given_values(const RxDeltaRule& a, const Values& qkv, int head) {
  return {qkv, 2L * a.key_heads * a.key_dim + static_cast<long>(head) * a.value_dim, qkv_row(a), a.value_dim};
}
__device__ __forceinline__ Given given_out(const RxDeltaRule& a, const Values& out, int head) {
  return {out, static_cast<long>(head) * a.value_dim, static_cast<long>(a.value_heads) * a.value_dim, a.value_dim};
}

// By all threads; the barrier after it is the caller's.
template <int chunk>
__device__ __forceinline__ void find_decays(const RxDeltaRule& a, const Piece& p, Decays<chunk>& d) {
  const auto at = [&](int i) { return static_cast<long>(p.first + i) * a.value_heads + p.head; };
  sum_decays(d, [&](int i) { return i < p.length ? a.decay[at(i)] : 0.f; });
  for (int i = threadIdx.x; i < chunk; i += blockDim.x) d.rate[i] = i < p.length ? a.rate[at(i)] : 0.f;
}

// ---- before all chunks ----

// The query or key that a warp has.
struct Vector {
  long row;
  bool key;
  int head;
  __device__ Vector(const RxDeltaRule& a)
      : row((static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32),
        key(static_cast<int>(blockIdx.y) >= a.key_heads),
        head(key ? blockIdx.y - a.key_heads : blockIdx.y) {}
  __device__ Given given(const RxDeltaRule& a, const Values& of) const { return {of, static_cast<long>(blockIdx.y) * a.key_dim, qkv_row(a), a.key_dim}; }
};

// q and k of length 1 / sqrt(key_dim) and 1, filled up with zeros.
template <class T>
__device__ void units(const RxDeltaRule& a) {
  const int lane = threadIdx.x % 32;
  const Vector v(a);
  if (v.row >= a.rows) return;
  const Given from = v.given(a, a.qkv);
  float squares = 0.f;
  for (int c = 4 * lane; c < a.keys; c += 128) {
    const float4 x = from.four(v.row, c);
    squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
  }
  squares = over_warp(squares, Sum());
  const float scale = (v.key ? 1.f : over_root(static_cast<float>(a.key_dim))) * over_root(squares + a.eps);
  T* const to = static_cast<T*>(v.key ? a.k : a.q) + v.row * key_row(a) + static_cast<long>(v.head) * a.keys;
  for (int c = 4 * lane; c < a.keys; c += 128) {
    const float4 x = from.four(v.row, c);
    store_four(to + c, {x.x * scale, x.y * scale, x.z * scale, x.w * scale});
  }
}

// T and P of a chunk and a head.
template <class T>
__device__ void squares(const RxDeltaRule& a) {
  constexpr int C = chunk_of<T>, ld = square_ld<C>;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const k = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T* const q = k + C * a.keys;
  // in their place, once they are multiplied
  float* const system = reinterpret_cast<float*>(k);
  float* const inverse = system + C * ld;
  const Piece p(a, blockIdx.x, blockIdx.y);
  bring_all<C>(k, keys_of<T>(a, a.k, p), key_row(a), p.length, a.keys);
  bring_all<C>(q, keys_of<T>(a, a.q, p), key_row(a), p.length, a.keys);
  copies_end();
  find_decays(a, p, d);
  copies_wait<0>();
  __syncthreads();
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  float alike[C / 8][4], attended[C / 8][4];
  cleared<C>(alike);
  cleared<C>(attended);
  for (int c = 0; c < a.keys; c += scan_tile) {
    add_tiles<false, scan_tile, true, scan_tile, C, scan_tile>(k + C * c, row, k + C * c, 0, alike);
    add_tiles<false, scan_tile, true, scan_tile, C, scan_tile>(q + C * c, row, k + C * c, 0, attended);
  }
  __syncthreads();
  T* const to = square_of<T>(a.attended, p);
#pragma unroll
  for (int n = 0; n < C / 8; n++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int i = row + group + 8 * h, j = 8 * n + two;
      const float low = j <= i ? d.pair(i, j) : 0.f, high = j + 1 <= i ? d.pair(i, j + 1) : 0.f;
      system[i * ld + j] = j < i ? d.rate[i] * alike[n][2 * h] * low : 0.f;
      system[i * ld + j + 1] = j + 1 < i ? d.rate[i] * alike[n][2 * h + 1] * high : 0.f;
      put_two(to + i * C + j, j <= i ? attended[n][2 * h] * low : 0.f, j + 1 <= i ? attended[n][2 * h + 1] * high : 0.f);
    }
  __syncthreads();
  // Two threads have a column: each keeps every second row of it, and reads no other's.
  const int j = threadIdx.x / 2, parity = threadIdx.x % 2;
  for (int i = 0; i < C; i++) {
    float sum = 0.f;
    for (int l = j + ((j ^ parity) & 1); l < i; l += 2) sum = fmaf(system[i * ld + l], inverse[l * ld + j], sum);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    if (i % 2 == parity) inverse[i * ld + j] = i < j ? 0.f : i == j ? 1.f : -sum;
  }
  __syncthreads();
  T* const result = square_of<T>(a.inverse, p);
  for (int at = threadIdx.x; at < C * C / 2; at += blockDim.x) {
    const int i = at / (C / 2), c = at % (C / 2) * 2;
    put_two(result + i * C + c, inverse[i * ld + c], inverse[i * ld + c + 1]);
  }
}

// ---- chunk after chunk ----

// Tiles of a chunk in shared memory, those of the next one on their way where there is room for both.
template <class T>
struct Stage {
  T *k, *q, *inverse, *attended;  // q and attended on the way back alone
};
template <class T>
__device__ __forceinline__ void bring_stage(const RxDeltaRule& a, const Piece& p, const Stage<T>& s, bool back) {
  constexpr int C = chunk_of<T>;
  bring_all<C>(s.k, keys_of<T>(a, a.k, p), key_row(a), p.length, a.keys);
  bring<C, C>(s.inverse, square_of<T>(a.inverse, p), C, C);
  if (!back) return;
  bring_all<C>(s.q, keys_of<T>(a, a.q, p), key_row(a), p.length, a.keys);
  bring<C, C>(s.attended, square_of<T>(a.attended, p), C, C);
}

// Calls body(piece, tiles) of the chunks of a document one after the other, the last one first where `back`. All threads have come to a barrier
// before, with what they wrote, decays among it.
template <class T, class F>
__device__ __forceinline__ void over_chunks(const RxDeltaRule& a, int document, int head, bool back, const Stage<T>* stages, Decays<chunk_of<T>>& d, F body) {
  const int from = a.first_chunk[document], count = a.first_chunk[document + 1] - from;
  const auto chunk_at = [&](int i) { return Piece(a, from + (back ? count - 1 - i : i), head); };
  if (count > 0) bring_stage(a, chunk_at(0), stages[0], back);
  copies_end();
  for (int i = 0; i < count; i++) {
    const Piece p = chunk_at(i);
    const bool ahead = a.stages == 2;
    if (ahead && i + 1 < count) bring_stage(a, chunk_at(i + 1), stages[(i + 1) % 2], back);
    if (ahead) copies_end();
    find_decays(a, p, d);
    if (ahead)
      copies_wait<1>();
    else
      copies_wait<0>();
    __syncthreads();
    body(p, stages[ahead ? i % 2 : 0]);
    __syncthreads();
    if (!ahead && i + 1 < count) bring_stage(a, chunk_at(i + 1), stages[0], back);
    if (!ahead) copies_end();
  }
  copies_wait<0>();
}

template <class T>
__device__ void forwards(const RxDeltaRule& a) {
  constexpr int C = chunk_of<T>, W = scan_columns;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  State<T> state;
  T* at = state.lie(memory + sizeof(Decays<C>), a.keys);
  T* const wanted = at;           // rate (v - e^s k S)
  T* const scaled = at + C * W;   // e^(s_last - s) u
  at += 2 * C * W;
  Stage<T> stages[2];
  for (int s = 0; s < a.stages; s++) {
    stages[s] = {at, nullptr, at + C * a.keys, nullptr};
    at += C * a.keys + C * C;
  }
  const int document = blockIdx.x / a.value_heads, head = blockIdx.x % a.value_heads, first = blockIdx.y * W;
  const long kept = (static_cast<long>(document) * a.value_heads + head) * a.key_dim;
  for (int i = threadIdx.x; i < a.keys * (W / 2); i += blockDim.x) {
    const int row = i / (W / 2), c = i % (W / 2) * 2;
    const auto value = [&](int column) { return a.state != nullptr && row < a.key_dim && column < a.value_dim ? a.state[(kept + row) * a.value_dim + column] : 0.f; };
    state.set(row, c, value(first + c), value(first + c + 1));
  }
  const Given v = given_values(a, a.qkv, head);
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  over_chunks<T>(a, document, head, false, stages, d, [&](const Piece& p, const Stage<T>& s) {
    T* const u = values_of_head<T>(a, a.u, p) + first;
    T* const missing = a.missing != nullptr ? values_of_head<T>(a, a.missing, p) + first : nullptr;
    state.write(state_of<T>(a, a.states, p) + first, a.keys, a.values);
    float sum[W / 8][4];
    cleared<W>(sum);
    for (int c = 0; c < a.keys; c += scan_tile) add_tiles<false, scan_tile, false, W, W, scan_tile>(s.k + C * c, row, state.narrow + c * W, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, c = 8 * n + two;
        float low = 0.f, high = 0.f;
        if (i < p.length) {
          v.two(p.first + i, first + c, low, high);
          low -= d.since[i] * sum[n][2 * h], high -= d.since[i] * sum[n][2 * h + 1];
          if (missing != nullptr) put_two(missing + i * value_row(a) + c, low, high);
        }
        put_two(number<W>(wanted, i, c), d.rate[i] * low, d.rate[i] * high);
      }
    __syncthreads();
    cleared<W>(sum);
    add_tiles<false, C, false, W, W, C>(s.inverse, row, wanted, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, c = 8 * n + two;
        if (i < p.length) put_two(u + i * value_row(a) + c, sum[n][2 * h], sum[n][2 * h + 1]);
        put_two(number<W>(scaled, i, c), d.left[i] * sum[n][2 * h], d.left[i] * sum[n][2 * h + 1]);
      }
    __syncthreads();
    advance(state, a.keys, d.last, [&](int of_keys, float (*product)[4]) {
      add_tiles<true, scan_tile, false, W, W, C>(s.k + C * (of_keys / scan_tile * scan_tile), of_keys % scan_tile, scaled, 0, product);
    });
  });
  if (a.last_state == nullptr) return;
  __syncthreads();
  for (int i = threadIdx.x; i < a.key_dim * W; i += blockDim.x) {
    const int of_keys = i / W, c = i % W;
    if (first + c < a.value_dim) a.last_state[(kept + of_keys) * a.value_dim + first + c] = *number<W>(state.wide, of_keys, c);
  }
}

// The gradient of the state behind each chunk, and that of rate (v - e^s k S):
//   du = e^(s_last - s) k dS + Pᵀ d_out,  dc = Tᵀ du,  dS <- e^s_last dS + (e^s q)ᵀ d_out - (e^s k)ᵀ (rate dc)
template <class T>
__device__ void backwards(const RxDeltaRule& a) {
  constexpr int C = chunk_of<T>, W = scan_columns;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  State<T> state;
  T* at = state.lie(memory + sizeof(Decays<C>), a.keys);
  T *const d_out = at, *const d_u = at + C * W, *const d_missing = at + 2 * C * W;
  at += 3 * C * W;
  Stage<T> stages[2];
  for (int s = 0; s < a.stages; s++) {
    stages[s] = {at, at + C * a.keys, at + 2 * C * a.keys, at + 2 * C * a.keys + C * C};
    at += 2 * C * a.keys + 2 * C * C;
  }
  const int document = blockIdx.x / a.value_heads, head = blockIdx.x % a.value_heads, first = blockIdx.y * W;
  for (int i = threadIdx.x; i < a.keys * (W / 2); i += blockDim.x) state.set(i / (W / 2), i % (W / 2) * 2, 0.f, 0.f);
  const Given given = given_out(a, a.d_out, head);
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  over_chunks<T>(a, document, head, true, stages, d, [&](const Piece& p, const Stage<T>& s) {
    bring_given<W, C>(d_out, given, p.first, first, p.length);
    state.write(state_of<T>(a, a.d_states, p) + first, a.keys, a.values);
    float sum[W / 8][4];
    cleared<W>(sum);
    for (int c = 0; c < a.keys; c += scan_tile) add_tiles<false, scan_tile, false, W, W, scan_tile>(s.k + C * c, row, state.narrow + c * W, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[n][e] *= d.left[row + group + e / 2 * 8];
    __syncthreads();
    add_tiles<true, C, false, W, W, C>(s.attended, row, d_out, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) put_two(number<W>(d_u, row + group + 8 * h, 8 * n + two), sum[n][2 * h], sum[n][2 * h + 1]);
    __syncthreads();
    cleared<W>(sum);
    add_tiles<true, C, false, W, W, C>(s.inverse, row, d_u, 0, sum);
    T* const d_corrections = values_of_head<T>(a, a.d_corrections, p) + first;
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, c = 8 * n + two;
        if (i < p.length) put_two(d_corrections + i * value_row(a) + c, sum[n][2 * h], sum[n][2 * h + 1]);
        const float factor = -d.rate[i] * d.since[i];
        put_two(number<W>(d_missing, i, c), factor * sum[n][2 * h], factor * sum[n][2 * h + 1]);
        // All have read it as it was.
        float low, high;
        T* const own = number<W>(d_out, i, c);
        take_two(own, low, high);
        put_two(own, d.since[i] * low, d.since[i] * high);
      }
    __syncthreads();
    advance(state, a.keys, d.last, [&](int of_keys, float (*product)[4]) {
      const int tile = C * (of_keys / scan_tile * scan_tile), column = of_keys % scan_tile;
      add_tiles<true, scan_tile, false, W, W, C>(s.q + tile, column, d_out, 0, product);
      add_tiles<true, scan_tile, false, W, W, C>(s.k + tile, column, d_missing, 0, product);
    });
  });
}

// ---- after all chunks ----

template <class T>
__device__ void outputs(const RxDeltaRule& a) {
  constexpr int C = chunk_of<T>, W = scan_tile;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const q = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T *const u = q + C * W, *const state = u + C * W, *const attended = state + W * W;
  const Piece p(a, blockIdx.x, blockIdx.y);
  find_decays(a, p, d);
  bring<C, C>(attended, square_of<T>(a.attended, p), C, C);
  const Given out = given_out(a, a.out, p.head);
  const int row = threadIdx.x / 32 * 16, group = group_of(), two = two_of();
  for (int first = 0; first < a.values; first += W) {
    bring<W, C>(u, values_of_head<T>(a, a.u, p) + first, value_row(a), p.length);
    float sum[W / 8][4];
    cleared<W>(sum);
    for (int c = 0; c < a.keys; c += W) {
      bring<W, C>(q, keys_of<T>(a, a.q, p) + c, key_row(a), p.length);
      bring<W, W>(state, state_of<T>(a, a.states, p) + static_cast<long>(c) * a.values + first, a.values, W);
      copies_end();
      copies_wait<0>();
      __syncthreads();
      add_tiles<false, W, false, W, W, W>(q, row, state, 0, sum);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[n][e] *= d.since[row + group + e / 2 * 8];
    add_tiles<false, C, false, W, W, C>(attended, row, u, 0, sum);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h;
        if (i < p.length) out.put_two(p.first + i, first + 8 * n + two, sum[n][2 * h], sum[n][2 * h + 1]);
      }
    __syncthreads();
  }
}

// Gradients of a chunk and a head: of values, decays and rates, and of unit queries and keys, [rows, value_heads, keys].
template <class T>
__device__ void gradients(const RxDeltaRule& a) {
  constexpr int C = chunk_of<T>, W = scan_tile, warps = C / 16;
  RX_DYNAMIC_SHARED(unsigned char, memory);
  Decays<C>& d = *reinterpret_cast<Decays<C>*>(memory);
  T* const d_out = reinterpret_cast<T*>(memory + sizeof(Decays<C>));
  T *const u = d_out + C * W, *const d_corrections = u + C * W, *const q = d_corrections + C * W, *const k = q + C * W;
  T *const state = k + C * W, *const d_state = state + W * W;
  T *const of_attended = d_state + W * W, *const of_system = of_attended + C * C;
  float* const sums = reinterpret_cast<float*>(of_system + C * C);  // of tokens' decays: each row's
  float *const written = sums + C, *const columns = written + C;    // [C], [warps, C]
  const Piece p(a, blockIdx.x, blockIdx.y);
  find_decays(a, p, d);
  const Given given = given_out(a, a.d_out, p.head), d_values = given_values(a, a.d_qkv, p.head);
  const int warp = threadIdx.x / 32, row = warp * 16, group = group_of(), two = two_of();
  const auto bring_values = [&](int first) {
    bring<W, C>(u, values_of_head<T>(a, a.u, p) + first, value_row(a), p.length);
    bring<W, C>(d_corrections, values_of_head<T>(a, a.d_corrections, p) + first, value_row(a), p.length);
    bring_given<W, C>(d_out, given, p.first, first, p.length);
  };
  float for_rate[2] = {0.f, 0.f};
  {
    float da[C / 8][4], ds[C / 8][4], alike[C / 8][4];
    cleared<C>(da);
    cleared<C>(ds);
    cleared<C>(alike);
    for (int first = 0; first < a.values; first += W) {
      bring_values(first);
      copies_end();
      copies_wait<0>();
      __syncthreads();
      add_tiles<false, W, true, W, C, W>(d_out, row, u, 0, da);
      add_tiles<false, W, true, W, C, W>(d_corrections, row, u, 0, ds);
      const T* const missing = values_of_head<T>(a, a.missing, p) + first;
#pragma unroll
      for (int n = 0; n < W / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int i = row + group + 8 * h, c = 8 * n + two;
          if (i >= p.length) continue;
          float low, high, x, y;
          take_two(number<W>(d_corrections, i, c), low, high);
          take_two(missing + i * value_row(a) + c, x, y);
          for_rate[h] += low * x + high * y;
          d_values.put_two(p.first + i, first + c, d.rate[i] * low, d.rate[i] * high);
        }
      __syncthreads();
    }
    for (int c = 0; c < a.keys; c += W) {
      bring<W, C>(k, keys_of<T>(a, a.k, p) + c, key_row(a), p.length);
      copies_end();
      copies_wait<0>();
      __syncthreads();
      add_tiles<false, W, true, W, C, W>(k, row, k, 0, alike);
      __syncthreads();
    }
    // Of P = q kᵀ e^… and of A = rate k kᵀ e^…, and what of both comes to the decays between two tokens.
    const T* const attended = square_of<T>(a.attended, p);
    float along[2] = {0.f, 0.f};
#pragma unroll
    for (int n = 0; n < C / 8; n++) {
      float down[2] = {0.f, 0.f};
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, j = 8 * n + two;
        float p_of[2], of_p[2], of_a[2];
        take_two(attended + i * C + j, p_of[0], p_of[1]);
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const float pair = j + e <= i ? d.pair(i, j + e) : 0.f;
          const float d_p = j + e <= i ? da[n][2 * h + e] : 0.f, d_a = j + e < i ? -ds[n][2 * h + e] : 0.f;
          const float likeness = j + e < i ? alike[n][2 * h + e] * pair : 0.f;
          const float both = d_p * p_of[e] + d_a * d.rate[i] * likeness;
          along[h] += both, down[e] += both;
          for_rate[h] += d_a * likeness;
          of_p[e] = d_p * pair, of_a[e] = d_a * d.rate[i] * pair;
        }
        put_two(number<C>(of_attended, i, j), of_p[0], of_p[1]);
        put_two(number<C>(of_system, i, j), of_a[0], of_a[1]);
      }
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float sum = over_column(down[e]);
        if (group == 0) columns[warp * C + 8 * n + two + e] = sum;
      }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const float sum = over_row(along[h]), rate = over_row(for_rate[h]);
      const int i = row + group + 8 * h;
      if (two == 0) sums[i] = sum;
      if (two == 0 && i < p.length) a.d_rate[static_cast<long>(p.first + i) * a.value_heads + p.head] = rate;
    }
  }
  __syncthreads();
  float through = 0.f;
  const long out_row = static_cast<long>(a.value_heads) * a.keys;
  for (int c = 0; c < a.keys; c += W) {
    bring<W, C>(k, keys_of<T>(a, a.k, p) + c, key_row(a), p.length);
    bring<W, C>(q, keys_of<T>(a, a.q, p) + c, key_row(a), p.length);
    float dq[W / 8][4], dk[W / 8][4], behind[W / 8][4];
    cleared<W>(dq);
    cleared<W>(dk);
    cleared<W>(behind);
    float read[2] = {0.f, 0.f}, kept[2] = {0.f, 0.f};
    for (int first = 0; first < a.values; first += W) {
      bring_values(first);
      const long at = static_cast<long>(c) * a.values + first;
      bring<W, W>(state, state_of<T>(a, a.states, p) + at, a.values, W);
      bring<W, W>(d_state, state_of<T>(a, a.d_states, p) + at, a.values, W);
      copies_end();
      copies_wait<0>();
      __syncthreads();
      add_tiles<false, W, true, W, W, W>(d_out, row, state, 0, dq);
      add_tiles<false, W, true, W, W, W>(d_corrections, row, state, 0, dk);
      add_tiles<false, W, true, W, W, W>(u, row, d_state, 0, behind);
      // both tiles lie in one order
      for (int i = threadIdx.x; i < W * W / 2; i += blockDim.x) {
        float low, high, x, y;
        take_two(state + 2 * i, low, high);
        take_two(d_state + 2 * i, x, y);
        through += low * x + high * y;
      }
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h, at = 8 * n + two;
        const float since = d.since[i], back = -since * d.rate[i], left = d.left[i];
        float q_of[2], k_of[2];
        take_two(number<W>(q, i, at), q_of[0], q_of[1]);
        take_two(number<W>(k, i, at), k_of[0], k_of[1]);
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float &x = dq[n][2 * h + e], &y = dk[n][2 * h + e], &z = behind[n][2 * h + e];
          x *= since, y *= back, z *= left;
          read[h] += x * q_of[e] + y * k_of[e];
          kept[h] += z * k_of[e];
          y += z;
        }
      }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int i = row + group + 8 * h;
      const float of_states = over_row(read[h]), of_behind = over_row(kept[h]);
      if (two == 0) sums[i] += of_states, written[i] = (c == 0 ? 0.f : written[i]) + of_behind;
    }
    add_tiles<false, C, false, W, W, C>(of_attended, row, k, 0, dq);
    add_tiles<true, C, false, W, W, C>(of_attended, row, q, 0, dk);
    add_tiles<false, C, false, W, W, C>(of_system, row, k, 0, dk);
    add_tiles<true, C, false, W, W, C>(of_system, row, k, 0, dk);
#pragma unroll
    for (int n = 0; n < W / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int i = row + group + 8 * h;
        if (i >= p.length) continue;
        const long at = (p.first + i) * out_row + static_cast<long>(p.head) * a.keys + c + 8 * n + two;
        put_two(a.dq + at, dq[n][2 * h], dq[n][2 * h + 1]);
        put_two(a.dk + at, dk[n][2 * h], dk[n][2 * h + 1]);
      }
    __syncthreads();
  }
  // Starts and ends with a barrier.
  through = over_block(through, Sum(), 0.f) * d.last;
  if (warp > 0) return;
  // A decay counts for all that goes past its token: what is read after it, and all of the state behind the chunk.
  const int lane = threadIdx.x;
  float after = through;
  for (int i = 0; i < C; i += 32) after += over_warp(written[i + lane], Sum());
  for (int from = C - 32; from >= 0; from -= 32) {
    // in the order from the last token
    const int i = from + 31 - lane;
    float own = sums[i] - written[i];
    for (int w = 0; w < warps; w++) own -= columns[w * C + i];
    const float up_to = summed_up(own);
    if (i < p.length) a.d_decay[static_cast<long>(p.first + i) * a.value_heads + p.head] = after + up_to;
    after += __shfl_sync(0xffffffffu, up_to, 31);
  }
}

// Gradients of queries and keys from those of their unit vectors, which all value heads of a key head have a part of.
__device__ void unit_gradients(const RxDeltaRule& a) {
  const int lane = threadIdx.x % 32, shared_by = a.value_heads / a.key_heads;
  const Vector v(a);
  if (v.row >= a.rows) return;
  const float shrunk = v.key ? 1.f : over_root(static_cast<float>(a.key_dim));
  const Given from = v.given(a, a.qkv);
  const float* const parts = (v.key ? a.dk : a.dq) + (v.row * a.value_heads + static_cast<long>(v.head) * shared_by) * a.keys;
  const auto slope = [&](int c) {
    float4 sum = load_four(parts + c);
    for (int part = 1; part < shared_by; part++) {
      const float4 more = load_four(parts + static_cast<long>(part) * a.keys + c);
      sum.x += more.x, sum.y += more.y, sum.z += more.z, sum.w += more.w;
    }
    return sum;
  };
  float squares = 0.f, along = 0.f;
  for (int c = 4 * lane; c < a.keys; c += 128) {
    const float4 x = from.four(v.row, c), dy = slope(c);
    squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
    along += x.x * dy.x + x.y * dy.y + x.z * dy.z + x.w * dy.w;
  }
  squares = over_warp(squares, Sum());
  along = over_warp(along, Sum());
  const float r = over_root(squares + a.eps), factor = r * shrunk, back = along * r * r;
  const Given to = v.given(a, a.d_qkv);
  for (int c = 4 * lane; c < a.keys; c += 128) {
    const float4 x = from.four(v.row, c), dy = slope(c);
    to.put_four(v.row, c, {factor * (dy.x - back * x.x), factor * (dy.y - back * x.y), factor * (dy.z - back * x.z), factor * (dy.w - back * x.w)});
  }
}

}  // namespace delta
}  // namespace

extern "C" __global__ void __launch_bounds__(128) rx_delta_units_bf16(RxDeltaRule a) { delta::units<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_units_f32(RxDeltaRule a) { delta::units<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_squares_bf16(RxDeltaRule a) { delta::squares<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_delta_squares_f32(RxDeltaRule a) { delta::squares<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_scan_bf16(RxDeltaRule a) { delta::forwards<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_delta_scan_f32(RxDeltaRule a) { delta::forwards<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_scan_back_bf16(RxDeltaRule a) { delta::backwards<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_delta_scan_back_f32(RxDeltaRule a) { delta::backwards<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_out_bf16(RxDeltaRule a) { delta::outputs<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_delta_out_f32(RxDeltaRule a) { delta::outputs<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_grad_bf16(RxDeltaRule a) { delta::gradients<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(64) rx_delta_grad_f32(RxDeltaRule a) { delta::gradients<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_delta_units_grad(RxDeltaRule a) { delta::unit_gradients(a); }
