// Causal attention within documents, with a sliding window and grouped heads, forwards and backwards, without a matrix of all scores:
// the online softmax of FlashAttention (Dao 2023), and a backward pass that computes the probabilities again from the saved log-sum-exp.
// A block has R rows of one document for one head (R: tile_rows) and walks over tiles of R rows of the other side. No two blocks write to
// the same place, and sums have one order.
#include "attention_layout.h"
#include "attention_rows.h"
#include "tile.h"

namespace {

// Shared memory, handed out piece by piece.
struct Pieces {
  unsigned char* at;
  template <class T>
  __device__ T* take(int count) {
    T* const piece = reinterpret_cast<T*>(at);
    at += static_cast<long>(count) * sizeof(T);
    return piece;
  }
};

// Of a head's keys and values: tiles of both have rows of one length.
__device__ __forceinline__ int widest(const RxAttention& a) { return a.head_dim > a.value_dim ? a.head_dim : a.value_dim; }

// Scores in the number format of the products: the same memory where that is float.
__device__ __forceinline__ float* in_format(Pieces&, float* scores, int, float) { return scores; }
__device__ __forceinline__ uint16_t* in_format(Pieces& pieces, float*, int count, uint16_t) { return pieces.take<uint16_t>(count); }

template <class T>
__device__ void attention(const RxAttention& a) {
  RX_DYNAMIC_SHARED(unsigned char, memory);
  const int R = tile_rows(), D = attention_width(a.head_dim), W = attention_width(a.value_dim), ld = attention_ld(widest(a)), ld_s = R + 2;
  Pieces pieces = {memory};
  float* const sum = pieces.take<float>(R * ld);
  float* const s = pieces.take<float>(R * ld_s);
  T* const q = pieces.take<T>(R * ld);
  T* const kv = pieces.take<T>(R * ld);
  T* const p = in_format(pieces, s, R * ld_s, T());
  const Tile t = tile_of(a, false);
  const long head = blockIdx.y, kv_head = head * a.kv_heads / a.heads;
  tile_load(a.q, a.ld_q, head * a.head_dim, t.first, t.end, a.head_dim, q, ld, D);
  for (int i = threadIdx.x; i < R * ld; i += blockDim.x) sum[i] = 0.f;
  // Two threads have a row; both know its greatest score so far and its sum of exponentials.
  const int row = threadIdx.x / 2, half = threadIdx.x % 2;
  const long i = t.first + row;
  const float lean = lean_of(a, head);
  // A sink is what has been seen before all keys.
  float top = a.sinks != nullptr ? a.sinks[head] : -INFINITY, total = a.sinks != nullptr ? 1.f : 0.f;
  const long last = end_of_tile(t, R);
  for (long from = first_key(a, t, R); from < last; from += R) {
    tile_load(a.k, a.ld_k, kv_head * a.head_dim, from, t.end, a.head_dim, kv, ld, D);
    __syncthreads();
    tile_product<false, true>(q, ld, kv, ld, s, ld_s, R, D, false);
    __syncthreads();
    tile_load(a.v, a.ld_v, kv_head * a.value_dim, from, t.end, a.value_dim, kv, ld, W);
    float here = -INFINITY;
    for (int c = half; c < R; c += 2)
      if (from + c < t.end && seen(a, i, from + c)) here = Greater()(score_of(a, s[row * ld_s + c]) + lean * static_cast<float>(from + c - i), here);
    here = Greater()(here, __shfl_xor_sync(0xffffffffu, here, 1));
    const float next = Greater()(here, top);
    // Nothing seen yet: exp(-inf - -inf) would be NaN.
    const float shrink = next == -INFINITY ? 1.f : expf(top - next);
    float added = 0.f;
    for (int c = half; c < R; c += 2) {
      const bool in = from + c < t.end && seen(a, i, from + c);
      const float value = in ? expf(score_of(a, s[row * ld_s + c]) + lean * static_cast<float>(from + c - i) - next) : 0.f;
      added += value;
      store(p + row * ld_s + c, value);
    }
    added += __shfl_xor_sync(0xffffffffu, added, 1);
    total = total * shrink + added;
    top = next;
    for (int c = half; c < W; c += 2) sum[row * ld + c] *= shrink;
    __syncthreads();
    tile_product<false, false>(p, ld_s, kv, ld, sum, ld, W, R, true);
    __syncthreads();
  }
  if (i >= t.end) return;
  for (int c = half; c < a.value_dim; c += 2) store(a.out, (i * a.heads + head) * a.value_dim + c, sum[row * ld + c] / total);
  if (half == 0) a.lse[i * a.heads + head] = top + logf(total);
}

// p = probabilities of a tile of scores, ds = p (dp - along) scale, both in the number format; zero where nothing is seen. Scores and
// dp are [queries, keys].
template <class T>
__device__ void probabilities(const RxAttention& a, const Tile& t, long head, long first_query, long first_key, const float* s,
                              const float* dp, int ld_s, T* p, T* ds) {
  const int R = tile_rows(), row = threadIdx.x / 2, half = threadIdx.x % 2;
  const long i = first_query + row;
  const float lean = lean_of(a, head);
  const float lse = i < t.end ? a.lse[i * a.heads + head] : 0.f, along = i < t.end ? a.along[i * a.heads + head] : 0.f;
  for (int c = half; c < R; c += 2) {
    const long j = first_key + c;
    const bool in = i < t.end && j < t.end && seen(a, i, j);
    const float score = score_of(a, s[row * ld_s + c]), value = in ? expf(score + lean * static_cast<float>(j - i) - lse) : 0.f;
    const float slope = in ? value * (dp[row * ld_s + c] - along) * a.scale * rise_of(a, score) : 0.f;
    store(p + row * ld_s + c, value);
    store(ds + row * ld_s + c, slope);
  }
}

template <class T>
__device__ void attention_grad_q(const RxAttention& a) {
  RX_DYNAMIC_SHARED(unsigned char, memory);
  const int R = tile_rows(), D = attention_width(a.head_dim), W = attention_width(a.value_dim), ld = attention_ld(widest(a)), ld_s = R + 2;
  Pieces pieces = {memory};
  float* const dq = pieces.take<float>(R * ld);
  float* const s = pieces.take<float>(R * ld_s);
  float* const dp = pieces.take<float>(R * ld_s);
  T* const q = pieces.take<T>(R * ld);
  T* const d_out = pieces.take<T>(R * ld);
  T* const kv = pieces.take<T>(R * ld);
  T* const p = in_format(pieces, s, R * ld_s, T());
  T* const ds = in_format(pieces, dp, R * ld_s, T());
  const Tile t = tile_of(a, false);
  const long head = blockIdx.y, kv_head = head * a.kv_heads / a.heads;
  tile_load(a.q, a.ld_q, head * a.head_dim, t.first, t.end, a.head_dim, q, ld, D);
  tile_load(a.d_out, a.ld_d_out, head * a.value_dim, t.first, t.end, a.value_dim, d_out, ld, W);
  for (int i = threadIdx.x; i < R * ld; i += blockDim.x) dq[i] = 0.f;
  const long last = end_of_tile(t, R);
  for (long from = first_key(a, t, R); from < last; from += R) {
    tile_load(a.v, a.ld_v, kv_head * a.value_dim, from, t.end, a.value_dim, kv, ld, W);
    __syncthreads();
    tile_product<false, true>(d_out, ld, kv, ld, dp, ld_s, R, W, false);
    __syncthreads();
    tile_load(a.k, a.ld_k, kv_head * a.head_dim, from, t.end, a.head_dim, kv, ld, D);
    __syncthreads();
    tile_product<false, true>(q, ld, kv, ld, s, ld_s, R, D, false);
    __syncthreads();
    probabilities(a, t, head, t.first, from, s, dp, ld_s, p, ds);
    __syncthreads();
    tile_product<false, false>(ds, ld_s, kv, ld, dq, ld, D, R, true);
    __syncthreads();
  }
  tile_store(dq, ld, a.dq, a.ld_dq, head * a.head_dim, t.first, t.end, a.head_dim);
}

template <class T>
__device__ void attention_grad_kv(const RxAttention& a) {
  RX_DYNAMIC_SHARED(unsigned char, memory);
  const int R = tile_rows(), D = attention_width(a.head_dim), W = attention_width(a.value_dim), ld = attention_ld(widest(a)), ld_s = R + 2;
  Pieces pieces = {memory};
  float* const dk = pieces.take<float>(R * ld);
  float* const dv = pieces.take<float>(R * ld);
  float* const s = pieces.take<float>(R * ld_s);
  float* const dp = pieces.take<float>(R * ld_s);
  T* const k = pieces.take<T>(R * ld);
  T* const v = pieces.take<T>(R * ld);
  T* const q = pieces.take<T>(R * ld);
  T* const d_out = pieces.take<T>(R * ld);
  T* const p = in_format(pieces, s, R * ld_s, T());
  T* const ds = in_format(pieces, dp, R * ld_s, T());
  const Tile t = tile_of(a, false);
  const long kv_head = blockIdx.y, shared_by = a.heads / a.kv_heads;
  tile_load(a.k, a.ld_k, kv_head * a.head_dim, t.first, t.end, a.head_dim, k, ld, D);
  tile_load(a.v, a.ld_v, kv_head * a.value_dim, t.first, t.end, a.value_dim, v, ld, W);
  for (int i = threadIdx.x; i < R * ld; i += blockDim.x) dk[i] = dv[i] = 0.f;
  const long last = end_of_queries(a, t, R);
  for (long head = kv_head * shared_by; head < (kv_head + 1) * shared_by; head++)
    for (long from = t.first; from < last; from += R) {
      tile_load(a.q, a.ld_q, head * a.head_dim, from, t.end, a.head_dim, q, ld, D);
      tile_load(a.d_out, a.ld_d_out, head * a.value_dim, from, t.end, a.value_dim, d_out, ld, W);
      __syncthreads();
      tile_product<false, true>(q, ld, k, ld, s, ld_s, R, D, false);
      tile_product<false, true>(d_out, ld, v, ld, dp, ld_s, R, W, false);
      __syncthreads();
      probabilities(a, t, head, from, t.first, s, dp, ld_s, p, ds);
      __syncthreads();
      tile_product<true, false>(p, ld_s, d_out, ld, dv, ld, W, R, true);
      tile_product<true, false>(ds, ld_s, q, ld, dk, ld, D, R, true);
      __syncthreads();
    }
  tile_store(dk, ld, a.dk, a.ld_dk, kv_head * a.head_dim, t.first, t.end, a.head_dim);
  tile_store(dv, ld, a.dv, a.ld_dv, kv_head * a.value_dim, t.first, t.end, a.value_dim);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128) rx_attention_f32(RxAttention a) { attention<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_attention_bf16(RxAttention a) { attention<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_attention_grad_q_f32(RxAttention a) { attention_grad_q<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_attention_grad_q_bf16(RxAttention a) { attention_grad_q<uint16_t>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_attention_grad_kv_f32(RxAttention a) { attention_grad_kv<float>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_attention_grad_kv_bf16(RxAttention a) { attention_grad_kv<uint16_t>(a); }

// along [rows, heads] = Σ out d_out over a head's columns, a warp each.
extern "C" __global__ void rx_attention_along(RxAttention a, long rows) {
  const long at = thread_index() / 32;
  if (at >= rows * a.heads) return;
  float sum = 0.f;
  for (int c = threadIdx.x % 32; c < a.value_dim; c += 32) sum += load(a.out, at * a.value_dim + c) * load(a.d_out, at * a.value_dim + c);
  sum = over_warp(sum, Sum());
  if (threadIdx.x % 32 == 0) a.along[at] = sum;
}
