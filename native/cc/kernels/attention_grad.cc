// The way back through causal attention: weights are computed again from lse, never kept.
//
// With P the weights and dP = dO Vᵀ: dV = Pᵀ dO, dS = P (dP - rowsum(dO O)), dQ = scale dS K, dK = scale dSᵀ Q. One task is one
// key head of one document, or a range of its keys where there are fewer of these than threads would like; it owns its part of
// dK and dV. dQ is a sum over ranges: each range but the first (that too where dQ is bfloat16) writes into memory of its own, and a second
// pass adds them up in order. So no two threads add to the same number, and the order of every sum depends on shapes and the number of threads alone.
#include "attention_tiles.h"

namespace {

constexpr long most_ranges = 16;

typedef struct Task {
  int32_t document_start, document_end;
  int32_t from, to;  // keys
  int32_t kv_head;
  int32_t range;
  long partial;   // where in the memory for partial dq this document's rows of this range begin; -1: it writes dq itself
} Task;

// What the threads share.
typedef struct Shared {
  const Attention* a;
  float* partial;  // dq of ranges, rows of heads * head_dim
  long width;      // head_dim up to whole vectors
  long value_width;  // the same of values
  long span;       // keys whose dk and dv are held at a time
} Shared;

// Memory of one thread.
typedef struct Held {
  Scored *q, *d_out;           // panels of queries; q times what scores are in
  float *keys, *values;        // rows of a span as scores are computed from them, where they are not read as they lie
  float* summed_keys;          // and keys as dq is
  float *q_rows, *d_out_rows;  // [query_block, width] and [query_block, value_width] as dk and dv are; q times scale
  float* dq;                   // panel of queries
  float *weights, *slopes;     // [slope_keys, slope_lanes]: scores, then P; dP, then dS
  float* ds_pairs;             // [grad_key_block / 2, slope_lanes] of dS in pairs of keys, or the same memory as slopes
  float *p, *ds;               // [grad_key_block, query_block] of P and dS to sum over queries: the same memory, or halves
  float *lse, *delta;          // [query_block]; lse in powers of two
  float *dk, *dv;              // [span, width], [span, value_width]
} Held;

Held hold(const Shared& shared, Memory memory, long* used = nullptr) {
  const Attention* const a = shared.a;
  const long width = shared.width, value_width = shared.value_width, span = shared.span, V = values_of_head(*a);
  Held h;
  h.q = (Scored*)memory.take(scored_columns(a->head_dim) * query_block);
  h.d_out = (Scored*)memory.take(scored_columns(V) * query_block);
  h.keys = memory.take(scored_floats(span, a->head_dim));
  h.values = memory.take(scored_floats(span, V));
  h.summed_keys = memory.take(summed_floats(span, a->head_dim));
  h.dq = memory.take(summed_columns(a->head_dim) * query_block);
  h.q_rows = memory.take(query_block * width / in_float);
  h.d_out_rows = memory.take(query_block * value_width / in_float);
  h.weights = memory.take(slope_keys * slope_lanes);
  h.slopes = memory.take(slope_keys * slope_lanes);
  h.ds_pairs = slope_keys == grad_key_block ? h.slopes : memory.take(grad_key_block / 2 * slope_lanes);
  h.p = packs ? memory.take(grad_key_block * query_block / in_float) : h.weights;
  h.ds = packs ? memory.take(grad_key_block * query_block / in_float) : h.slopes;
  h.lse = memory.take(query_block);
  h.delta = memory.take(query_block);
  h.dk = memory.take(span * width);
  h.dv = memory.take(span * value_width);
  if (used) *used = memory.used;
  return h;
}

void load_queries(const Shared& shared, long head, long first, long rows, long padded, const Held& h) {
  const Attention* const a = shared.a;
  const long D = a->head_dim, V = values_of_head(*a), ld = a->heads * V;
  const Values q = numbers(a, a->q, first * a->ld_q + head * D);
  const Values out = numbers(a, a->out, first * ld + head * V), d_out = numbers(a, a->d_out, first * ld + head * V);
  score_panel(q, a->ld_q, rows, D, score_factor(a), h.q, padded);
  score_panel(d_out, ld, rows, V, 1.f, h.d_out, padded);
  pack_spread(q, a->ld_q, rows, D, a->scale, h.q_rows, shared.width);
  pack_spread(d_out, ld, rows, V, 1.f, h.d_out_rows, shared.value_width);
  __builtin_memset(h.dq, 0, summed_columns(D) * query_block * sizeof(float));
  for (long i = 0; i < padded; i++) {
    // beyond the last query every weight is e^-inf = 0
    h.lse[i] = i < rows ? a->lse[(first + i) * a->heads + head] * log2_e : __builtin_inff();
    vf sum = {};
    if (i < rows) each_vector(V, [&](long c, auto lanes) { sum = fma(take(lanes, out, i * ld + c), scored_worth(take(lanes, d_out, i * ld + c)), sum); });
    h.delta[i] = hsum(sum);
  }
}

// Weights p and slopes ds of NV vectors of queries `first` + lanes for the keys low .. high - 1, the first of which is row `row`
// of `score_keys`, `score_values` and `summed_keys`, and their share of dq.
template <int NV>
RX_STATIC void differentiate(const Attention* a, long first, long low, long high, const ScoredRows& score_keys,
                             const ScoredRows& score_values, const SummedRows& summed_keys, long row, bool masked, float lean, const Scored* q,
                             const Scored* d_out, float* weights, float* slopes, float* ds_pairs, float* p, float* ds, const float* lse,
                             const float* delta, float* dq) {
  const long keys = high - low;
#ifdef RX_ATTENTION_TILES
  // 32 keys at a time, so that what is computed of them stays in the nearest cache
  const vf base[2] = {load(lse), load(lse + VW)}, along[2] = {load(delta), load(delta + VW)};
  for (long from = 0; from < keys; from += together) {
    score<NV>(together, a->head_dim, score_keys, row + from, q, weights, slope_lanes);
    score<NV>(together, values_of_head(*a), score_values, row + from, d_out, slopes, slope_lanes);
    if (a->softcap > 0) cap_slopes<NV>(weights, slopes, slope_lanes, together, a->softcap, delta);
    if (lean != 0) lean_scores<NV>(weights, slope_lanes, first, low + from, together, lean);
    if (masked) mask_scores<NV>(weights, slope_lanes, first, low + from, low + from + together, a->window);
    for (long j = 0; j < together; j += 2) {
      __m512i rows[2];
#pragma GCC unroll 2
      for (int i = 0; i < 2; i++) {
        vf weight[2], slope[2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
          weight[v] = rough_exp2(load(weights + (j + i) * slope_lanes + v * VW) - base[v]);
          slope[v] = weight[v] * (load(slopes + (j + i) * slope_lanes + v * VW) - along[v]);
        }
        rows[i] = rounded(slope[0], slope[1]);
        store(p + (from + j + i) * query_block / 2, (vf)rounded(weight[0], weight[1]));
        store(ds + (from + j + i) * query_block / 2, (vf)rows[i]);
      }
      store_pairs(rows[0], rows[1], ds_pairs + (from + j) / 2 * slope_lanes);
    }
  }
#else
  score<NV>(keys, a->head_dim, score_keys, row, q, weights, slope_lanes);
  score<NV>(keys, values_of_head(*a), score_values, row, d_out, slopes, slope_lanes);
  if (a->softcap > 0) cap_slopes<NV>(weights, slopes, slope_lanes, keys, a->softcap, delta);
  if (lean != 0) lean_scores<NV>(weights, slope_lanes, first, low, keys, lean);
  if (masked) mask_scores<NV>(weights, slope_lanes, first, low, high, a->window);
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    const vf base = load(lse + v * VW), along = load(delta + v * VW);
#ifdef RX_HALF
    vf slope[2];
    for (long j = 0; j < keys; j += 2) {
      slope[1] = vf{};
      for (long i = j; i < j + 2 && i < keys; i++) {
        const vf weight = vexp2(*(vf*)(weights + i * query_block + v * VW) - base);
        slope[i - j] = weight * (*(vf*)(slopes + i * query_block + v * VW) - along);
        *(__m256i*)((uint16_t*)p + i * query_block + v * VW) = halves(weight);
        *(__m256i*)((uint16_t*)ds + i * query_block + v * VW) = halves(slope[i - j]);
      }
      *(__m512i*)(slopes + j / 2 * query_block + v * VW) = side_by_side(slope[0], slope[1]);
    }
#else
    for (long j = 0; j < keys; j++) {
      vf* const weight = (vf*)(weights + j * query_block + v * VW);
      vf* const slope = (vf*)(slopes + j * query_block + v * VW);
      *weight = vexp2(*weight - base);
      *slope = *weight * (*slope - along);
    }
    (void)p, (void)ds;
#endif
  }
#endif
  sum_over_keys<NV, TILE_ADD>(keys, a->head_dim, summed_keys, row, ds_pairs, slope_lanes, dq, nullptr);
}

// to[j][.] += sum over queries i of from[j][i] rows[i][.], for keys low + j < high; queries that no key of a tile is seen by
// are passed over.
template <int NV>
RX_INLINE void spread(const float* from, const float* rows, float* to, long width, long first, long queries, long low, long high,
                      long window) {
  for (long j = low; j < high; j += spread_keys) {
    const long some = smaller(spread_keys, high - j);
    long start = greater(0, j - first);
    start -= start % together;  // weights of queries that do not see a key are 0
    const long end = window ? smaller(queries, j + some - 1 + window - first) : queries;
    if (start >= end) continue;
    sum_over_queries<NV>(some, end - start, from + ((j - low) * query_block + start) / in_float, rows + start / in_float * width,
                         width, to + (j - low) * width);
  }
}

// Asks for what load_queries will read.
RX_INLINE void prefetch_queries(const Attention* a, long head, long from, long to) {
  const long D = a->head_dim, V = values_of_head(*a), ld = a->heads * V;
  const Values q = numbers(a, a->q, head * D), d_out = numbers(a, a->d_out, head * V), out = numbers(a, a->out, head * V);
  const long step = q.half ? 32 : 16;
  for (long i = from; i < to; i++) {
    for (long c = 0; c < D; c += step) __builtin_prefetch(from_number(q, i * a->ld_q + c).at, 0, 2);
    for (long c = 0; c < V; c += step) {
      __builtin_prefetch(from_number(d_out, i * ld + c).at, 0, 2);
      __builtin_prefetch(from_number(out, i * ld + c).at, 0, 2);
    }
  }
}

// One block of queries of one head against the keys from .. to - 1, whose dk and dv are held; fresh when those keys have not
// been read before.
void visit(const Shared& shared, long head, long first, long rows, long document_end, long from, long to, bool fresh, const Held& h) {
  const Attention* const a = shared.a;
  const long V = values_of_head(*a), key_head = head / (a->heads / a->kv_heads), column = key_head * a->head_dim, of_values = key_head * V;
  const long padded = parts_of(rows, lanes_together) * lanes_together;
  const long last = first + rows - 1;
  long start = a->window ? greater(from, first - a->window + 1) : from;
  start -= (start - from) % together;  // a key before the window is masked
  const long end = smaller(to, last + 1);
  const ScoredRows keys = scored_rows(numbers(a, a->k, from * a->ld_k + column), a->ld_k, a->head_dim, h.keys);
  const ScoredRows values = scored_rows(numbers(a, a->v, from * a->ld_v + of_values), a->ld_v, V, h.values);
  const SummedRows summed = summed_rows(numbers(a, a->k, from * a->ld_k + column), a->ld_k, a->head_dim, h.summed_keys);
  const long scored = scored_columns(a->head_dim);
  const float lean = lean_of(a, head);
  const long next = first + query_block, ahead = smaller(query_block, document_end - next), blocks = parts_of(end - start, grad_key_block);
  for (long block = start, b = 0; block < end; block += grad_key_block, b++) {
    const long block_end = smaller(block + grad_key_block, end);
    if (packs && ahead > 0) prefetch_queries(a, head, next + ahead * b / blocks, next + ahead * (b + 1) / blocks);
    if (fresh && !packs) {
      prefetch_rows(numbers(a, a->v, block * a->ld_v + of_values), a->ld_v, block_end - block, V);
      prefetch_rows(numbers(a, a->k, block_end * a->ld_k + column), a->ld_k, smaller(grad_key_block, end - block_end), a->head_dim);
    }
    for (long lane = 0; lane < padded; lane += group_lanes) {
      const long wide = smaller(group_lanes, padded - lane);
      const long first_of_group = first + lane;
      const long final = smaller(first_of_group + wide, last + 1) - 1;
      long low = a->window ? smaller(greater(block, first_of_group - a->window + 1), block_end) : block;
      if (low < block_end) low -= (low - block) % together;
      const long high = low + whole_keys(greater(0, smaller(block_end, final + 1) - low));
      float* const p = h.p + lane / in_float;
      float* const ds = h.ds + lane / in_float;
      const long whole_end = block + whole_keys(block_end - block);
      for (long j = block; j < whole_end; j++) {
        if (j == low) j = high;
        if (j >= whole_end) break;
        __builtin_memset(p + (j - block) * query_block / in_float, 0, wide * sizeof(float) / in_float);
        __builtin_memset(ds + (j - block) * query_block / in_float, 0, wide * sizeof(float) / in_float);
      }
      if (low == high) continue;
      const bool masked = high - 1 > first_of_group || (a->window && low <= final - a->window);
      // lanes of one group after the other, or side by side
      const long at = slope_lanes > group_lanes ? (low - block) * slope_lanes + lane : 0;
      const long half = (low - block) * query_block / in_float;
      with_vectors(wide, [&](auto vectors) {
        differentiate<decltype(vectors)::NV>(a, first_of_group, low, high, keys, values, summed, low - from, masked, lean, h.q + lane * scored,
                                             h.d_out + lane * scored_columns(V), h.weights + at, h.slopes + at, h.ds_pairs + at, p + half, ds + half,
                                             h.lse + lane, h.delta + lane, h.dq + lane * summed_columns(a->head_dim));
      });
    }
    const auto spread_all = [&](const float* from_pairs, const float* query_rows, float* to_keys, long width) {
      for (long c = 0; c < width; c += group_lanes)
        with_vectors(smaller(group_lanes, width - c), [&](auto vectors) {
          spread<decltype(vectors)::NV>(from_pairs, query_rows + c, to_keys + (block - from) * width + c, width, first, rows, block, block_end,
                                        a->window);
        });
    };
    spread_all(h.p, h.d_out_rows, h.dv, shared.value_width);
    spread_all(h.ds, h.q_rows, h.dk, shared.width);
  }
}

// The first key that queries from `first` on can see of those from `from` on.
RX_INLINE long first_seen(const Attention* a, long first, long from) {
  return a->window ? greater(from, first - a->window + 1) : from;
}

void run_task(const Shared& shared, const Task& task, float* memory) {
  const Attention* const a = shared.a;
  const long D = a->head_dim, V = values_of_head(*a), group = a->heads / a->kv_heads;
  const Held h = hold(shared, Memory{memory});
  const bool alone = task.partial < 0;
  const long ld_dq = alone ? a->ld_dq : a->heads * D;
  const Values dq = alone ? numbers(a, a->dq, task.document_start * a->ld_dq) : values_of(shared.partial + task.partial);
  for (long from = task.from; from < task.to; from += shared.span) {
    const long to = smaller(from + shared.span, task.to);
    __builtin_memset(h.dk, 0, whole_keys(to - from) * shared.width * sizeof(float));
    __builtin_memset(h.dv, 0, whole_keys(to - from) * shared.value_width * sizeof(float));
    if (packs) {
      const Values k = numbers(a, a->k, from * a->ld_k + task.kv_head * D);
      const Values v = numbers(a, a->v, from * a->ld_v + task.kv_head * V);
      pack_scored(k, a->ld_k, to - from, D, h.keys);
      pack_summed(k, a->ld_k, to - from, D, h.summed_keys);
      pack_scored(v, a->ld_v, to - from, V, h.values);
    }
    for (long head = task.kv_head * group; head < (task.kv_head + 1) * group; head++) {
      // blocks of queries are counted from the start of the document
      const long first_block = (from - task.document_start) / query_block;
      for (long first = task.document_start + first_block * query_block; first < task.document_end; first += query_block) {
        const long rows = smaller(query_block, task.document_end - first);
        const long seen = first_seen(a, first, task.from);
        if (first_seen(a, first, from) >= to) break;  // past the window
        load_queries(shared, head, first, rows, parts_of(rows, lanes_together) * lanes_together, h);
        const Values at = from_number(dq, (first - task.document_start) * ld_dq + head * D);
        if (packs) prefetch_rows(at, ld_dq, rows, D);
        visit(shared, head, first, rows, task.document_end, from, to, head == task.kv_head * group && first <= from + query_block, h);
        // The scale belongs to q in q·k; what h.dq holds is dS K.
        float factor[query_block];
        for (long i = 0; i < query_block; i++) factor[i] = a->scale;
        if (seen >= from)
          panel_out<false>(h.dq, rows, D, factor, at, ld_dq);
        else
          panel_out<true>(h.dq, rows, D, factor, at, ld_dq);
      }
    }
    for (long j = from; j < to; j++) {
      if (packs) {
        prefetch_rows(numbers(a, a->dk, smaller(j + 8, to - 1) * a->ld_dk + task.kv_head * D), a->ld_dk, 1, D);
        prefetch_rows(numbers(a, a->dv, smaller(j + 8, to - 1) * a->ld_dv + task.kv_head * V), a->ld_dv, 1, V);
      }
      each_vector(D, [&](long i, auto lanes) {
        put(lanes, numbers(a, a->dk, j * a->ld_dk + task.kv_head * D), i, load(h.dk + (j - from) * shared.width + i));
      });
      each_vector(V, [&](long i, auto lanes) {
        put(lanes, numbers(a, a->dv, j * a->ld_dv + task.kv_head * V), i, load(h.dv + (j - from) * shared.value_width + i));
      });
    }
  }
}

// Ranges of keys of a document of this length: enough that one is no more than a fourth of a thread's share of all work.
RX_INLINE long ranges_of(long length, double share) {
  const double wanted = share > 0 ? (double)length * (double)length / share : 1;
  const long limit = smaller(most_ranges, parts_of(length, 2 * query_block));
  return wanted >= (double)limit ? greater(1, limit) : greater(1, (long)__builtin_ceil(wanted));
}

// Where range r of n begins: without a window, the keys before x of all `length` cost length² - (length - x)².
RX_INLINE long range_start(long length, long r, long n, long window) {
  if (r <= 0) return 0;
  if (r >= n) return length;
  const double part = (double)r / (double)n;
  const double x = window && window < length / 2 ? part : 1 - __builtin_sqrt(1 - part);
  return smaller(length, (long)(x * (double)length / query_block + 0.5) * query_block);
}

// Ranges of a document that write dq themselves: the first, unless it would round what more is added to.
RX_INLINE long ranges_alone(const Attention* a, long length, long ranges, long span) {
  return numbers(a, a->dq, 0).half && (ranges > 1 || length > span) ? 0 : 1;
}

void attention_grad(const Context* context, const Attention* a) {
  const long threads = pool_threads(context->pool);
  const long D = a->head_dim, row = a->heads * D;
  Shared shared = {a, nullptr, parts_of(D, VW) * VW, parts_of(values_of_head(*a), VW) * VW, 0};
  shared.span = greater(1, 32768 / shared.width / grad_key_block) * grad_key_block;
  double work = 0;
  for (long d = 0; d < a->documents; d++) {
    const double length = a->cu_seqlens[d + 1] - a->cu_seqlens[d];
    work += length * length * (double)a->kv_heads;
  }
  const double share = threads == 1 ? 0 : work / (4.0 * (double)threads);
  long tasks = 0, partial_floats = 0;
  for (long d = 0; d < a->documents; d++) {
    const long length = a->cu_seqlens[d + 1] - a->cu_seqlens[d];
    const long n = ranges_of(length, share);
    tasks += n * a->kv_heads;
    partial_floats += (n - ranges_alone(a, length, n, shared.span)) * length * row;
  }

  long floats = 0;
  hold(shared, Memory{nullptr}, &floats);
  Task* const list = (Task*)scratch_get(context->scratch, SCRATCH_KERNEL, (tasks + 1) * sizeof(Task));
  float* const memory = (float*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, threads * floats * sizeof(float));
  if (partial_floats) shared.partial = (float*)scratch_get(context->scratch, SCRATCH_KERNEL + 2, partial_floats * sizeof(float));

  long t = 0, offset = 0;
  for (long d = 0; d < a->documents; d++) {
    const long start = a->cu_seqlens[d], end = a->cu_seqlens[d + 1], length = end - start;
    const long n = ranges_of(length, share), alone = ranges_alone(a, length, n, shared.span);
    for (long r = 0; r < n; r++) {
      const long from = range_start(length, r, n, a->window), to = range_start(length, r + 1, n, a->window);
      for (long kv = 0; kv < a->kv_heads; kv++)
        list[t++] = {(int32_t)start, (int32_t)end, (int32_t)(start + from), (int32_t)(start + to), (int32_t)kv, (int32_t)r,
                     r < alone ? -1 : offset + (r - alone) * length * row};
    }
    offset += (n - alone) * length * row;
  }
  parallel_with_id(context, tasks, [=](long task, int id) { 
    products_begin();
    run_task(shared, list[task], memory + id * floats);
    products_end();
  });
  if (partial_floats == 0) return;

  // dq: the ranges' sums, in order; a range wrote only blocks of queries that see one of its keys.
  long place = 0;
  for (long d = 0; d < a->documents; d++) {
    const long start = a->cu_seqlens[d], length = a->cu_seqlens[d + 1] - start;
    const long n = ranges_of(length, share), alone = ranges_alone(a, length, n, shared.span);
    if (n > alone)
      parallel(context, parts_of(length, query_block), [=](long block) {
        const long first = block * query_block;
        const long rows = smaller(query_block, length - first);
        long wrote[most_ranges], count = 0;
        for (long r = 0; r < n; r++) {
          const long from = range_start(length, r, n, a->window), to = range_start(length, r + 1, n, a->window);
          if (from < first + rows && first_seen(a, first, from) < to) wrote[count++] = r;
        }
        if (count == 1 && wrote[0] < alone) return;
        for (long i = first; i < first + rows; i++) {
          const Values to = numbers(a, a->dq, (start + i) * a->ld_dq);
          const float* const sums = shared.partial + place + i * row;
          each_vector(row, [&](long c, auto lanes) {
            vf sum = {};
            for (long q = 0; q < count; q++) {
              const long r = wrote[q];
              const vf more = r < alone ? take(lanes, to, c) : lanes.load(sums + (r - alone) * length * row + c);
              sum = q == 0 ? more : sum + more;
            }
            put(lanes, to, c, sum);
          });
        }
      });
    place += (n - alone) * length * row;
  }
}

}  // namespace

#ifdef RX_HALF
extern "C" void RX_FILL(attention_grad_bf16)(KernelTable* table) { table->attention_grad_bf16 = attention_grad; }
#else
extern "C" void RX_FILL(attention_grad)(KernelTable* table) { table->attention_grad = attention_grad; }
#endif
