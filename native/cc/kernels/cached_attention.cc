// Attention of the last tokens of a text over the keys and values that were kept of all of it: one query and head at a time, each key
// and value read where it lies. Bounded by reading them.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

// weights [rows] and sums [values_of_head()] are this thread's own.
void attend(const CachedAttention& a, Values q, const float* keys, const float* values, long last, const float* sink, float lean, float* weights,
            float* sums, Values out) {
  const long first = a.window ? greater(0, last - a.window + 1) : 0, count = last + 1 - first, V = values_of_head(a);
  const long ld = a.kv_heads * a.head_dim, ld_v = a.kv_heads * V;
  const float* const k = keys + first * ld;
  const float* const v = values + first * ld_v;
  for (long j = 0; j < count; j++) {
    vf sum = {};
    each_vector(a.head_dim, [&](long d, auto lanes) { sum = fma(take(lanes, q, d), lanes.load(k + j * ld + d), sum); });
    weights[j] = a.scale * hsum(sum);
  }
  if (a.softcap > 0)
    each_vector(count, [&](long j, auto lanes) {
      lanes.store(weights + j, vtanh(lanes.load(weights + j) * vset(1 / a.softcap)) * vset(a.softcap));
    });
  if (lean != 0)
    for (long j = 0; j < count; j++) weights[j] += lean * (float)(j + 1 - count);
  // NaN is passed over here, and comes back in the exponential
  float highest = sink ? *sink : -__builtin_inff();
  for (long j = 0; j < count; j++)
    if (weights[j] > highest) highest = weights[j];
  vf total = {};
  each_vector(count, [&](long j, auto lanes) {
    const vf weight = vexp(lanes.load(weights + j) - vset(highest));
    lanes.store(weights + j, weight);
    total += lanes.keep(weight, 0.f);
  });
  const float share = 1.f / (hsum(total) + (sink ? (float)__builtin_exp(*sink - highest) : 0.f));
  __builtin_memset(sums, 0, V * sizeof(float));
  for (long j = 0; j < count; j++) {
    const vf weight = vset(weights[j] * share);
    each_vector(V, [&](long d, auto lanes) { lanes.store(sums + d, fma(weight, lanes.load(v + j * ld_v + d), lanes.load(sums + d))); });
  }
  each_vector(V, [&](long d, auto lanes) { put(lanes, out, d, lanes.load(sums + d)); });
}

void cached_attention(const Context* context, Values q, const float* keys, const float* values, Values out, CachedAttention a) {
  const long V = values_of_head(a), weights = parts_of(a.rows, 16) * 16, stride = weights + parts_of(V, 16) * 16;
  float* const memory = (float*)scratch_get(context->scratch, SCRATCH_KERNEL, (size_t)(pool_threads(context->pool) * stride) * sizeof(float));
  parallel_with_id(context, a.n * a.heads, [=](long task, int id) {
    const long i = task / a.heads, head = task % a.heads, kv = head / (a.heads / a.kv_heads);
    float* const own = memory + id * stride;
    attend(a, from_number(q, task * a.head_dim), keys + kv * a.head_dim, values + kv * V, a.rows - a.n + i, a.sinks ? a.sinks + head : nullptr,
           a.alibi == 0 ? 0 : a.alibi * alibi_slope(head, a.heads), own, own + weights, from_number(out, task * V));
  });
}

}  // namespace

extern "C" void RX_FILL(cached_attention)(KernelTable* table) { table->cached_attention = cached_attention; }
