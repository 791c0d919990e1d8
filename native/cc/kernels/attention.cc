// Causal attention with an online softmax (Dao et al. 2022): a block of queries of one head walks the keys it sees, block by
// block, and keeps for each query the running maximum, the running sum and the weighted values. Nothing is ever larger than
// query_block x key_block.
#include "attention_tiles.h"

namespace {

typedef struct Block {
  int32_t document_start, first, rows;
  int32_t packed;  // of the document's keys, where they begin in those of all documents
  int32_t before, count;  // blocks of the documents before this one, and of this one
  int32_t last;  // of its document: the first to run, which finds keys and values far from the cache
} Block;

// Keys and values of all documents as they are multiplied, a key head after the other: empty where they are read as they lie.
typedef struct Packed {
  float *keys, *values;
  long rows;
} Packed;

struct Running {
  float *greatest, *sum, *factor;  // [query_block]
};

// Memory of one thread.
typedef struct Held {
  Scored* q;      // panel of queries times scale, in powers of two
  float* out;     // panel of sums
  float* scores;  // [key_block, group_lanes], then weights
  Running running;
} Held;

Held hold(const Attention* a, Memory memory, long* used = nullptr) {
  Held h;
  h.q = (Scored*)memory.take(scored_columns(a->head_dim) * query_block);
  h.out = memory.take(summed_columns(values_of_head(*a)) * query_block);
  h.scores = memory.take(key_block * group_lanes);
  h.running = {memory.take(query_block), memory.take(query_block), memory.take(query_block)};
  if (used) *used = memory.used;
  return h;
}

// The tile of NV vectors of queries and `keys` keys: scores (in powers of two) -> weights, in place; the running maximum and
// sum move on; factor becomes what earlier sums must be multiplied with.
#ifdef RX_ATTENTION_TILES
template <int NV>
RX_INLINE void soften(float* scores, long keys, const Running& r) {
  vf top[2], base[2], factor[2], sum[2] = {};
#pragma GCC unroll 2
  for (int v = 0; v < 2; v++) {
    const float* const column = scores + v * VW;
    const vf before = *(vf*)(r.greatest + v * VW);
    vf top0 = before, top1 = before;
    for (long j = 0; j < keys; j += 2) {
      top0 = vmax(*(vf*)(column + j * group_lanes), top0);  // passes over NaN, which the exponential then brings back
      top1 = vmax(*(vf*)(column + (j + 1) * group_lanes), top1);
    }
    top[v] = vmax(top0, top1);
    // a lane that has seen no key yet has -inf everywhere, and -inf - -inf would be NaN
    base[v] = top[v] == vset(-__builtin_inff()) ? vset(0.f) : top[v];
    factor[v] = vexp2(before - base[v]);
    *(vf*)(r.greatest + v * VW) = top[v];
  }
  for (long j = 0; j < keys; j += 2) {
    vf weight[2][2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 2
      for (int v = 0; v < 2; v++) {
        weight[i][v] = rough_exp2(*(vf*)(scores + (j + i) * group_lanes + v * VW) - base[v]);
        sum[v] += weight[i][v];
      }
    store_pairs(rounded(weight[0][0], weight[0][1]), rounded(weight[1][0], weight[1][1]), scores + j / 2 * group_lanes);
  }
#pragma GCC unroll 2
  for (int v = 0; v < 2; v++) *(vf*)(r.sum + v * VW) = fma(*(vf*)(r.sum + v * VW), factor[v], sum[v]);
  as_lanes(factor[0], factor[1], (vf*)r.factor, (vf*)(r.factor + VW));
}
#else
template <int NV>
RX_INLINE void soften(float* scores, long keys, const Running& r) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    float* const column = scores + v * VW;
    const vf before = *(vf*)(r.greatest + v * VW);
    vf top0 = before, top1 = before;
    long j = 0;
    for (; j + 2 <= keys; j += 2) {
      top0 = vmax(*(vf*)(column + j * group_lanes), top0);  // passes over NaN, which the exponential then brings back
      top1 = vmax(*(vf*)(column + (j + 1) * group_lanes), top1);
    }
    if (j < keys) top0 = vmax(*(vf*)(column + j * group_lanes), top0);
    const vf top = vmax(top0, top1);
    // a lane that has seen no key yet has -inf everywhere, and -inf - -inf would be NaN
    const vf base = top == vset(-__builtin_inff()) ? vset(0.f) : top;
    const vf factor = vexp2(before - base);
    vf sum = {};
#ifdef RX_HALF
    for (j = 0; j < keys; j += 2) {
      const vf even = vexp2(*(vf*)(column + j * group_lanes) - base);
      const vf odd = j + 1 < keys ? vexp2(*(vf*)(column + (j + 1) * group_lanes) - base) : vf{};
      *(__m512i*)(column + j / 2 * group_lanes) = side_by_side(even, odd);
      sum += even + odd;
    }
#else
    for (j = 0; j < keys; j++) {
      vf* const at = (vf*)(column + j * group_lanes);
      const vf weight = vexp2(*at - base);
      *at = weight;
      sum += weight;
    }
#endif
    *(vf*)(r.greatest + v * VW) = top;
    *(vf*)(r.sum + v * VW) = fma(*(vf*)(r.sum + v * VW), factor, sum);
    *(vf*)(r.factor + v * VW) = factor;
  }
}
#endif

// One group of NV vectors of queries against the keys from .. to - 1, of which the first is row `row` of `keys` and `values`.
template <int NV>
RX_STATIC void attend(const Attention* a, long first, long from, long to, const ScoredRows& keys, const SummedRows& values, long row,
                      bool masked, float lean, const Scored* q, float* scores, float* out, const Running& r) {
  score<NV>(to - from, a->head_dim, keys, row, q, scores, group_lanes);
  if (a->softcap > 0) cap_scores<NV>(scores, group_lanes, to - from, a->softcap);
  if (lean != 0) lean_scores<NV>(scores, group_lanes, first, from, to - from, lean);
  if (masked) mask_scores<NV>(scores, group_lanes, first, from, to, a->window);
  soften<NV>(scores, to - from, r);
  sum_over_keys<NV, TILE_SCALE_AND_ADD>(to - from, values_of_head(*a), values, row, scores, group_lanes, out, r.factor);
}

void attend_block(const Attention* a, const Block& block, long head, const Packed& packed, float* memory) {
  const long D = a->head_dim, V = values_of_head(*a);
  const long padded = parts_of(block.rows, lanes_together) * lanes_together;
  const Held h = hold(a, Memory{memory});
  const long key_head = head / (a->heads / a->kv_heads);
  const long shared = key_head * D, of_values = key_head * V;
  const long row = key_head * packed.rows + block.packed;
  const ScoredRows keys = scored_rows(numbers(a, a->k, block.document_start * a->ld_k + shared), a->ld_k, D, packed.keys + scored_floats(row, D));
  const SummedRows values = summed_rows(numbers(a, a->v, block.document_start * a->ld_v + of_values), a->ld_v, V, packed.values + summed_floats(row, V));

  const long last = block.first + block.rows - 1;
  long start = a->window ? greater(block.document_start, block.first - a->window + 1) : block.document_start;
  start -= (start - block.document_start) % together;  // a key before the window is masked
  if (block.last && !packs) prefetch_rows(numbers(a, a->k, start * a->ld_k + shared), a->ld_k, smaller(key_block, last + 1 - start), D);
  score_panel(numbers(a, a->q, block.first * a->ld_q + head * D), a->ld_q, block.rows, D, score_factor(a), h.q, padded);
  const Values out = numbers(a, a->out, (block.first * a->heads + head) * V);
  if (packs) prefetch_rows(out, a->heads * V, block.rows, V);
  __builtin_memset(h.out, 0, summed_columns(V) * query_block * sizeof(float));
  const float lean = lean_of(a, head);
  // A sink is what has been seen before all keys.
  const float sink = a->sinks ? a->sinks[head] * log2_e : -__builtin_inff();
  for (long i = 0; i < query_block; i++) h.running.greatest[i] = sink, h.running.sum[i] = a->sinks ? 1.f : 0.f;

  for (long from = start; from <= last; from += key_block) {
    const long to = smaller(from + key_block, last + 1);
    if (block.last && !packs) {
      prefetch_rows(numbers(a, a->v, from * a->ld_v + of_values), a->ld_v, to - from, V);
      prefetch_rows(numbers(a, a->k, to * a->ld_k + shared), a->ld_k, smaller(key_block, last + 1 - to), D);
    }
    for (long lane = 0; lane < padded; lane += group_lanes) {
      const long wide = smaller(group_lanes, padded - lane);
      const long first = block.first + lane;
      const long final = smaller(first + wide, last + 1) - 1;  // last query of the group
      long low = a->window ? greater(from, first - a->window + 1) : from;
      low -= (low - from) % together;
      long high = smaller(to, final + 1);
      if (low >= high) continue;
      high = low + whole_keys(high - low);
      const bool masked = high - 1 > first || (a->window && low <= final - a->window);
      const Running r = {h.running.greatest + lane, h.running.sum + lane, h.running.factor + lane};
      with_vectors(wide, [&](auto vectors) {
        attend<decltype(vectors)::NV>(a, first, low, high, keys, values, low - block.document_start, masked, lean, h.q + lane * scored_columns(D),
                                      h.scores, h.out + lane * summed_columns(V), r);
      });
    }
  }

  for (long i = 0; i < padded; i += VW) {
    const vf sum = load(h.running.sum + i);
    store(h.running.factor + i, vset(1.f) / sum);
    store(h.running.sum + i, fma(load(h.running.greatest + i), vset(ln_2), vlog(sum)));
  }
  for (long i = 0; i < block.rows; i++) a->lse[(block.first + i) * a->heads + head] = h.running.sum[i];
  panel_out<false>(h.out, block.rows, V, h.running.factor, out, a->heads * V);
}

// Packs the keys and values of a block's own tokens.
void pack_block(const Attention* a, const Block& block, long key_head, const Packed& packed) {
  const long D = a->head_dim, V = values_of_head(*a);
  const long row = key_head * packed.rows + block.packed + block.first - block.document_start;
  const Values v = numbers(a, a->v, block.first * a->ld_v + key_head * V);
  prefetch_rows(v, a->ld_v, block.rows, V);
  pack_scored(numbers(a, a->k, block.first * a->ld_k + key_head * D), a->ld_k, block.rows, D, packed.keys + scored_floats(row, D));
  pack_summed(v, a->ld_v, block.rows, V, packed.values + summed_floats(row, V));
}

void attention(const Context* context, const Attention* a) {
  const long blocks = count_blocks(a), D = a->head_dim;
  const long threads = pool_threads(context->pool);
  long floats = 0;
  hold(a, Memory{nullptr}, &floats);
  Block* const list = (Block*)scratch_get(context->scratch, SCRATCH_KERNEL, (blocks + 1) * sizeof(Block));
  float* const memory = (float*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, threads * floats * sizeof(float));
  // Within a document the last block sees most keys: it comes first, so that the threads end together.
  long b = 0;
  Packed packed = {};
  for (long d = 0; d < a->documents; d++) {
    const long start = a->cu_seqlens[d], length = a->cu_seqlens[d + 1] - start;
    const long n = parts_of(length, query_block);
    const int32_t before = (int32_t)b;
    for (long i = n - 1; i >= 0; i--) {
      const long first = i * query_block;
      list[b++] = {(int32_t)start, (int32_t)(start + first), (int32_t)smaller(query_block, length - first), (int32_t)packed.rows,
                   before, (int32_t)n, i == n - 1};
    }
    packed.rows += parts_of(length, together) * together;
  }
  if (packs) {
    const long rows = packed.rows * a->kv_heads, keys = parts_of(scored_floats(rows, D), 16) * 16;
    packed.keys = (float*)scratch_get(context->scratch, SCRATCH_KERNEL + 2, (keys + summed_floats(rows, values_of_head(*a))) * sizeof(float));
    packed.values = packed.keys + keys;
    parallel(context, blocks * a->kv_heads, [=](long task) { pack_block(a, list[task / a->kv_heads], task % a->kv_heads, packed); });
  }
  // Heads of one document one after the other, which lie side by side, and blocks of one head: its keys and values stay in the cache.
  parallel_with_id(context, blocks * a->heads, [=](long task, int id) {
    const Block& some = list[task / a->heads];
    const long place = task - some.before * a->heads;
    products_begin();
    attend_block(a, list[some.before + place % some.count], place / some.count, packed, memory + id * floats);
    products_end();
  });
}

}  // namespace

#ifdef RX_HALF
extern "C" void RX_FILL(attention_bf16)(KernelTable* table) { table->attention_bf16 = attention; }
#else
extern "C" void RX_FILL(attention)(KernelTable* table) { table->attention = attention; }
#endif
