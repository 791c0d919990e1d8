// Causal attention with an online softmax (Dao et al. 2022): a block of queries of one head walks the keys it sees, block by
// block, and keeps for each query the running maximum, the running sum and the weighted values. Nothing is ever larger than
// query_block x key_block.
#include "attention_tiles.h"

namespace {

typedef struct Block {
  int32_t document_start, first, rows;
  int32_t last;  // of its document: the first to run, which finds keys and values far from the cache
} Block;

struct Running {
  float *greatest, *sum, *factor;  // [query_block]
};

// The tile of NV vectors of queries and `keys` keys: scores (in powers of two) -> weights, in place; the running maximum and
// sum move on; factor becomes what earlier sums must be multiplied with.
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

// One group of NV vectors of queries against the keys from .. to - 1, of which the first is row `row` of `keys` and `values`.
template <int NV>
RX_STATIC void attend(const Attention* a, long first, long from, long to, const ScoredRows& keys, const SummedRows& values, long row,
                      bool masked, const Scored* q, float* scores, float* out, const Running& r) {
  score<NV>(to - from, a->head_dim, keys, row, q, scores, group_lanes);
  if (masked) mask_scores<NV>(scores, group_lanes, first, from, to, a->window);
  soften<NV>(scores, to - from, r);
  sum_over_keys<NV, TILE_SCALE_AND_ADD>(to - from, a->head_dim, values, row, scores, group_lanes, out, r.factor);
}

void attend_block(const Attention* a, const Block& block, long head, float* memory) {
  const long D = a->head_dim;
  const long padded = parts_of(block.rows, VW) * VW;
  Scored* const q = (Scored*)take(&memory, D * query_block);
  float* const key_memory = take(&memory, scored_floats(key_block, D));
  float* const value_memory = take(&memory, summed_floats(key_block, D));
  float* const out = take(&memory, D * query_block);
  float* const scores = take(&memory, key_block * group_lanes);
  const Running running = {take(&memory, query_block), take(&memory, query_block), take(&memory, query_block)};
  const long shared = head / (a->heads / a->kv_heads) * D;

  const long last = block.first + block.rows - 1;
  const long start = a->window ? greater(block.document_start, block.first - a->window + 1) : block.document_start;
  if (block.last) prefetch_rows(a->k + start * a->ld_k + shared, a->ld_k, smaller(key_block, last + 1 - start), D);
  score_panel(a->q + block.first * a->ld_q + head * D, a->ld_q, block.rows, D, a->scale * log2_e, q, padded);
  __builtin_memset(out, 0, D * query_block * sizeof(float));
  for (long i = 0; i < query_block; i++) running.greatest[i] = -__builtin_inff(), running.sum[i] = 0;

  for (long from = start; from <= last; from += key_block) {
    const long to = smaller(from + key_block, last + 1);
    if (block.last) {
      prefetch_rows(a->v + from * a->ld_v + shared, a->ld_v, to - from, D);
      prefetch_rows(a->k + to * a->ld_k + shared, a->ld_k, smaller(key_block, last + 1 - to), D);
    }
    const ScoredRows keys = score_rows(a->k + from * a->ld_k + shared, a->ld_k, to - from, D, key_memory);
    const SummedRows values = summed_rows(a->v + from * a->ld_v + shared, a->ld_v, to - from, D, 1.f, value_memory, D);
    for (long lane = 0; lane < padded; lane += group_lanes) {
      const long wide = smaller(group_lanes, padded - lane);
      const long first = block.first + lane;
      const long final = smaller(first + wide, last + 1) - 1;  // last query of the group
      long low = a->window ? greater(from, first - a->window + 1) : from;
      low -= (low - from) % together;  // a key before the window is masked
      const long high = smaller(to, final + 1);
      if (low >= high) continue;
      const bool masked = high - 1 > first || (a->window && low <= final - a->window);
      const Running r = {running.greatest + lane, running.sum + lane, running.factor + lane};
      with_vectors(wide, [&](auto vectors) {
        attend<decltype(vectors)::NV>(a, first, low, high, keys, values, low - from, masked, q + lane * scored_columns(D), scores,
                                      out + lane * D, r);
      });
    }
  }

  for (long i = 0; i < padded; i += VW) {
    const vf sum = load(running.sum + i);
    store(running.factor + i, vset(1.f) / sum);
    store(running.sum + i, fma(load(running.greatest + i), vset(ln_2), vlog(sum)));
  }
  for (long i = 0; i < block.rows; i++) a->lse[(block.first + i) * a->heads + head] = running.sum[i];
  panel_out<false>(out, block.rows, D, running.factor, a->out + block.first * a->heads * D + head * D, a->heads * D);
}

void attention(const Context* context, const Attention* a) {
  const long blocks = count_blocks(a);
  const long threads = pool_threads(context->pool);
  const long numbers = 2 * a->head_dim * query_block + scored_floats(key_block, a->head_dim) + summed_floats(key_block, a->head_dim) +
                       key_block * group_lanes + 3 * query_block;
  const long floats = parts_of(numbers, 16) * 16 + 8 * 16;  // whole vectors: each thread's begins with one;
  Block* const list = (Block*)scratch_get(context->scratch, SCRATCH_KERNEL, (blocks + 1) * sizeof(Block));
  float* const memory = (float*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, threads * floats * sizeof(float));
  // Within a document the last block sees most keys: it comes first, so that the threads end together.
  long b = 0;
  for (long d = 0; d < a->documents; d++) {
    const long start = a->cu_seqlens[d], length = a->cu_seqlens[d + 1] - start;
    const long n = parts_of(length, query_block);
    for (long i = n - 1; i >= 0; i--)
      list[b++] = {(int32_t)start, (int32_t)(start + i * query_block), (int32_t)smaller(query_block, length - i * query_block), i == n - 1};
  }
  // Blocks of one head one after the other: its keys and values stay in the cache.
  parallel_with_id(context, blocks * a->heads, [=](long task, int id) {
    attend_block(a, list[task % blocks], task / blocks, memory + id * floats);
  });
}

}  // namespace

#ifdef RX_HALF
extern "C" void RX_FILL(attention_bf16)(KernelTable* table) { table->attention_bf16 = attention; }
#else
extern "C" void RX_FILL(attention)(KernelTable* table) { table->attention = attention; }
#endif
