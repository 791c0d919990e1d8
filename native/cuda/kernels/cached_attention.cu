// Attention of the last tokens of a text over the keys and values that were kept of all of it. A block a query and head; its warps take
// turns at the keys, each with a softmax of its own as it goes along, which are put together in the end in one order.
#include "device.h"

extern "C" __global__ void rx_cached_attention(Values q, const float* keys, const float* values, Values out, long n, long rows, long heads,
                                               long kv_heads, long head_dim, long value_dim, long window, float scale, float softcap,
                                               const float* sinks, float alibi) {
  RX_DYNAMIC_SHARED(float, memory);
  __shared__ float tops[32], totals[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const long head = blockIdx.x % heads, ld = kv_heads * head_dim, ld_values = kv_heads * value_dim;
  const long last = rows - n + blockIdx.x / heads, first = window != 0 && last - window + 1 > 0 ? last - window + 1 : 0;
  const long kv_head = head / (heads / kv_heads), kv = kv_head * head_dim, kv_values = kv_head * value_dim;
  float* const query = memory;
  float* const sums = memory + head_dim;
  float* const sum = sums + warp * value_dim;
  for (long c = threadIdx.x; c < head_dim; c += blockDim.x) query[c] = load(q, blockIdx.x * head_dim + c);
  for (long c = lane; c < value_dim; c += 32) sum[c] = 0.f;
  __syncthreads();
  const float lean = alibi == 0.f ? 0.f : alibi * alibi_slope(head, heads);
  float top = -INFINITY, total = 0.f;
  for (long j = first + warp; j <= last; j += warps) {
    float score = 0.f;
    for (long c = lane; c < head_dim; c += 32) score += query[c] * keys[j * ld + kv + c];
    score = over_warp(score, Sum()) * scale;
    if (softcap > 0.f) score = softcap * tanhf(score / softcap);
    score += lean * static_cast<float>(j - last);
    const float next = Greater()(score, top), shrink = top == -INFINITY ? 0.f : expf(top - next), weight = expf(score - next);
    for (long c = lane; c < value_dim; c += 32) sum[c] = sum[c] * shrink + weight * values[j * ld_values + kv_values + c];
    total = total * shrink + weight;
    top = next;
  }
  if (lane == 0) tops[warp] = top, totals[warp] = total;
  __syncthreads();
  const float sink = sinks != nullptr ? sinks[head] : -INFINITY;
  float highest = sink;
  for (int w = 0; w < warps; w++) highest = Greater()(tops[w], highest);
  float whole = sinks != nullptr ? expf(sink - highest) : 0.f;
  for (int w = 0; w < warps; w++) whole += totals[w] * expf(tops[w] - highest);
  for (long c = threadIdx.x; c < value_dim; c += blockDim.x) {
    float here = 0.f;
    for (int w = 0; w < warps; w++) here += sums[w * value_dim + c] * expf(tops[w] - highest);
    store(out, blockIdx.x * value_dim + c, here / whole);
  }
}
