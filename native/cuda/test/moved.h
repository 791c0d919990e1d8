// What a launch of each kernel moves: bytes of the card's memory that it must read and write, each counted once, and the operations of its
// products. The emulation compares bytes with what was touched (mock.cc), so that these can stand for runs that are too large for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../emulate/cuda.h"
#include "../emulate/watch.h"
#include "../kernels/adapter_layout.h"
#include "../kernels/flash_layout.h"
#include "../kernels/scan_layout.h"
#include "../kernels/selective_layout.h"
#include "../kernels/signatures.h"

namespace moved {

struct Tally {
  emulate::Moved bytes;
  double operations = 0;
  // So many bytes fewer it may be: ids that come twice or are wrong, numbers that not every launch needs.
  long or_fewer = 0;
};
struct Grid {
  long blocks, rows_of_blocks, threads;
};

class Count {
 public:
  // What is read twice is counted once.
  Count& read(const void* at, long bytes) {
    if (at == nullptr || std::find(seen.begin(), seen.end(), at) != seen.end()) return *this;
    seen.push_back(at);
    tally.bytes.read += bytes;
    return *this;
  }
  Count& write(const void* at, long bytes) {
    if (at != nullptr) tally.bytes.written += bytes;
    return *this;
  }
  Count& read(const Values& v, long n) { return read(v.at, n * (v.half ? 2 : 4)); }
  Count& write(const Values& v, long n) { return write(v.at, n * (v.half ? 2 : 4)); }
  Count& read(const float* at, long n) { return read(static_cast<const void*>(at), 4 * n); }
  Count& write(const float* at, long n) { return write(static_cast<const void*>(at), 4 * n); }
  Count& more(long read, long written) {
    tally.bytes.read += read;
    tally.bytes.written += written;
    return *this;
  }
  Count& operations(double n) {
    tally.operations += n;
    return *this;
  }
  Count& at_most() { return or_fewer(tally.bytes.read + tally.bytes.written); }
  Count& or_fewer(long bytes) {
    tally.or_fewer = bytes;
    return *this;
  }
  operator Tally() const { return tally; }

 private:
  std::vector<const void*> seen;
  Tally tally;
};

inline long parts(long n, long part) { return (n + part - 1) / part; }
inline long whole(long n) { return parts(n, 8) * 8; }

// ---- single elements ----

inline Tally add(Grid, Values a, Values b, Values out, long n) { return Count().read(a, n).read(b, n).write(out, n); }
inline Tally axpy(Grid, float* y, const float* x, float, long n) { return Count().read(y, n).read(x, n).write(y, n); }
inline Tally scale(Grid, const float* x, float* y, float, long n) { return Count().read(x, n).write(y, n); }
inline Tally binary(Grid, int, const float* a, long n_a, const float* b, long n_b, float* out, long n) {
  return Count().read(a, n_a).read(b, n_b).write(out, n);
}
inline Tally unary(Grid, int, const float* x, float* y, long n) { return Count().read(x, n).write(y, n); }
inline Tally fill(Grid, float* out, float, long n) { return Count().write(out, n); }
inline Tally activation(Grid, int, Values x, Values y, long n) { return Count().read(x, n).write(y, n); }
inline Tally activation_grad(Grid, int, Values x, Values dy, Values dx, long n) { return Count().read(x, n).read(dy, n).write(dx, n); }
inline Tally gated_activation(Grid, int, Values gate, Values up, Values y, long n) { return Count().read(gate, n).read(up, n).write(y, n); }
inline Tally gated_activation_grad(Grid, int, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  return Count().read(gate, n).read(up, n).read(dy, n).write(d_gate, n).write(d_up, n);
}
inline Tally clamped_gate(Grid, float, Values gate, Values up, Values y, long n) { return Count().read(gate, n).read(up, n).write(y, n); }
inline Tally clamped_gate_grad(Grid, float, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  return Count().read(gate, n).read(up, n).read(dy, n).write(d_gate, n).write(d_up, n);
}
// What is dropped is not read.
inline Tally dropout(Grid, Values x, Values y, long n, float, int, uint32_t, uint64_t) { return Count().read(x, n).write(y, n).at_most(); }
inline Tally narrow(Grid, const float* x, uint16_t* y, long n) { return Count().read(x, n).write(y, 2 * n); }
inline Tally widen(Grid, const uint16_t* x, float* y, long n) { return Count().read(x, 2 * n).write(y, n); }

// ---- quantised ----

inline Tally int8_rows_f32(Grid, const int8_t* q, const float* scale, float* out, long, long rows, long columns) {
  return Count().read(q, rows * columns).read(scale, rows).write(out, rows * columns);
}
inline Tally int8_rows_bf16(Grid, const int8_t* q, const float* scale, uint16_t* out, long, long rows, long columns) {
  return Count().read(q, rows * columns).read(scale, rows).write(out, 2 * rows * columns);
}
inline Tally four_bit_f32(Grid, const uint8_t* q, const float* scale, const float* code, float* out, long, long, long n, long block) {
  return Count().read(q, parts(n, 2)).read(scale, parts(n, block)).read(code, 16).write(out, n);
}
inline Tally four_bit_bf16(Grid, const uint8_t* q, const float* scale, const float* code, uint16_t* out, long, long, long n, long block) {
  return Count().read(q, parts(n, 2)).read(scale, parts(n, block)).read(code, 16).write(out, 2 * n);
}
inline Tally int8_outliers(Grid, const float* x, float* outlier, long rows, long columns, float) {
  return Count().read(x, rows * columns).write(outlier, columns);
}
inline Tally int8_activations(Grid g, const float* x, const float* outlier, float* y, long columns, float) {
  return Count().read(x, g.blocks * columns).read(outlier, columns).write(y, g.blocks * columns);
}

// ---- rows and columns ----

inline Tally copy_columns(Grid, Values from, long, Values to, long, long rows, long width) {
  return Count().read(from, rows * width).write(to, rows * width);
}
inline Tally narrow_rows(Grid, const float* from, long, uint16_t* to, long, long rows, long width) {
  return Count().read(from, rows * width).write(to, 2 * rows * parts(width, 8) * 8);
}
inline Tally copy_rows_bf16(Grid, const uint16_t* from, long, uint16_t* to, long, long rows, long width) {
  return Count().read(from, 2 * rows * width).write(to, 2 * rows * width);
}
inline Tally place_scaled(Grid, const float* from, long, long, long height, long width, uint16_t* to, long, long rows, long columns, float,
                          const uint16_t* matrix, long, uint16_t*, long lines, long line) {
  const long copied = matrix != nullptr ? 2 * lines * line : 0;
  return Count().read(from, height * width).write(to, 2 * rows * columns).more(copied, copied);
}
inline Tally row_sum(Grid, const float* x, float* out, long rows, long columns) { return Count().read(x, rows * columns).write(out, rows); }
inline Tally row_arg_max(Grid, const float* x, int32_t* out, long rows, long columns) {
  return Count().read(x, rows * columns).write(out, 4 * rows);
}
inline Tally column_sums(Grid g, Values x, long, float* out, long rows, long columns, long) {
  return Count().read(x, rows * columns).write(out, g.rows_of_blocks * columns);
}
inline Tally add_parts(Grid, const float* from, long count, long, float* out, int add, long columns) {
  return Count().read(from, count * columns).read(add ? out : nullptr, columns).write(out, columns);
}
inline Tally gather_rows(Grid, const float* x, const int32_t* rows, float* out, long count, long size, long columns) {
  return Count().read(x, std::min(count, size) * columns).read(rows, 4 * count).write(out, count * columns).at_most();
}
inline Tally gather_rows_bf16(Grid, const uint16_t* x, const int32_t* rows, float* out, long count, long size, long columns) {
  return Count().read(x, 2 * std::min(count, size) * columns).read(rows, 4 * count).write(out, count * columns).at_most();
}
// Rows that several take are counted each time: a mixture's experts read them apart.
inline Tally take_rows(Grid, Values x, const int32_t* rows, Values out, long count, long, long columns) {
  return Count().read(x, count * columns).read(rows, 4 * count).write(out, count * columns).or_fewer(4 * count * columns);
}
inline Tally combine_rows(Grid, Values x, const float* weights, const int32_t* places, Values out, long n, long each, long columns) {
  return Count().read(x, n * each * columns).read(weights, n * each).read(places, 4 * n * each).write(out, n * columns);
}
inline Tally combine_rows_grad(Grid, Values dy, Values x, const float* weights, const int32_t* places, Values dx, float* d_weights, long rows,
                               long each, long columns) {
  return Count().read(dy, rows / each * columns).read(x, rows * columns).read(weights, rows).read(places, 4 * rows).write(dx, rows * columns)
      .write(d_weights, rows);
}
inline Tally routes(Grid, Routes a) {
  const long all = a.tokens * a.experts, pairs = a.tokens * a.each;
  return Count().read(a.logits, all).read(a.correction, a.tokens > 0 ? a.experts : 0).write(a.probabilities, all).write(a.chosen, 4 * pairs).write(a.weights, pairs)
      .write(a.shares, pairs * a.experts);
}
inline Tally route_counts(Grid g, const int32_t* chosen, int32_t* counts, long pairs, long experts, long) {
  return Count().read(chosen, 4 * pairs).write(counts, 4 * g.blocks * experts);
}
inline Tally route_places(Grid g, const int32_t* counts, Routes a, long) {
  const long pairs = a.tokens * a.each;
  return Count().read(counts, 4 * g.blocks * a.experts).read(a.chosen, 4 * pairs).write(a.places, 4 * pairs).write(a.order, 4 * pairs).write(a.rows, 4 * pairs)
      .write(a.counts, 4 * a.experts);
}
inline Tally routes_grad(Grid, RoutesGrad a) {
  const long all = a.tokens * a.experts, pairs = a.tokens * a.each;
  return Count().read(a.probabilities, all).read(a.chosen, 4 * pairs).read(a.weights, pairs).read(a.shares, pairs * a.experts).read(a.d_weights, pairs)
      .read(a.slopes, a.tokens > 0 ? a.experts : 0).write(a.d_logits, all).or_fewer(4 * pairs);
}
inline Tally sum_rows_by_target(Grid, const float* x, const int32_t* order, const int32_t* start, const int32_t* target, float* out,
                                long targets, long columns) {
  const long rows = start[targets];
  return Count().read(x, rows * columns).read(order, 4 * rows).read(start, 4 * (targets + 1)).read(target, 4 * targets).read(out, targets * columns).write(out, targets * columns);
}

// ---- norms ----

inline Count norm_input(const NormInput& x, long n) {
  return Count().read(x.x, n).read(x.added, n).write(x.sum, n).write(x.kept, 2 * n);
}
inline Tally layer_norm(Grid g, NormInput x, const float* gain, const float* bias, Values y, float* mean, float* rstd, long columns, float) {
  const long n = g.blocks * columns;
  return norm_input(x, n).read(gain, columns).read(bias, columns).write(y, n).write(mean, g.blocks).write(rstd, g.blocks);
}
inline Tally layer_norm_grad(Grid g, Values dy, Values x, const float* gain, const float* mean, const float* rstd, const float* residual,
                             float* dx, uint16_t* narrowed, long, long columns) {
  const long n = g.blocks * columns;
  return Count().read(dy, n).read(x, n).read(gain, columns).read(mean, g.blocks).read(rstd, g.blocks).read(residual, n).write(dx, n).write(narrowed, 2 * n);
}
inline Tally layer_norm_parts(Grid g, Values dy, Values x, const float* mean, const float* rstd, float* out, long rows, long columns, long) {
  return Count().read(dy, rows * columns).read(x, rows * columns).read(mean, rows).read(rstd, rows).write(out, 2 * g.rows_of_blocks * columns);
}
inline Tally rms_norm(Grid g, NormInput x, const float* gain, Values y, float* rstd, long columns, float, float) {
  return norm_input(x, g.blocks * columns).read(gain, columns).write(y, g.blocks * columns).write(rstd, g.blocks);
}
inline Tally rms_norm_grad(Grid g, Values dy, Values x, const float* gain, const float* rstd, const float* residual, float* dx,
                           uint16_t* narrowed, long, long columns, float, int) {
  const long n = g.blocks * columns;
  return Count().read(dy, n).read(x, n).read(gain, columns).read(rstd, g.blocks).read(residual, n).write(dx, n).write(narrowed, 2 * n);
}
inline Tally rms_norm_parts(Grid g, Values dy, Values x, const float* rstd, float* out, long rows, long columns, long) {
  return Count().read(dy, rows * columns).read(x, rows * columns).read(rstd, rows).write(out, g.rows_of_blocks * columns);
}
inline Tally rope(Grid, Values x, const float* cosines, const float* sines, Values y, long rows, long heads, long head_dim, long rotary_dim,
                  int, int) {
  const long n = rows * heads * head_dim, angles = rows * rotary_dim / 2;
  return Count().read(x, n).read(cosines, angles).read(sines, angles).write(y, n);
}

inline Tally latent_heads(Grid, const RxLatentHeads& a) {
  const long all = a.rows * a.heads, queries = all * (a.nope_dim + a.rope_dim), kv = all * (a.nope_dim + a.value_dim), angles = a.rows * a.rope_dim / 2;
  return Count().read(a.q, queries).read(a.kv, kv).read(a.shared, a.rows * a.rope_dim).read(a.cos, angles).read(a.sin, angles).write(a.q_out, queries)
      .write(a.k, queries).write(a.v, all * a.value_dim);
}
inline Tally latent_heads_grad(Grid, const RxLatentHeads& a) {
  const long all = a.rows * a.heads, queries = all * (a.nope_dim + a.rope_dim), kv = all * (a.nope_dim + a.value_dim), angles = a.rows * a.rope_dim / 2;
  return Count().read(a.q, queries).read(a.k, queries).read(a.v, all * a.value_dim).read(a.cos, angles).read(a.sin, angles).write(a.q_out, queries)
      .write(a.kv, kv).write(a.shared, a.rows * a.rope_dim);
}

inline Tally cached_attention(Grid, Values q, const float* keys, const float* values, Values out, long n, long rows, long heads, long kv_heads,
                              long head_dim, long value_dim, long window, float, float, const float* sinks, float) {
  const long first = window != 0 ? std::max(0L, rows - n - window + 1) : 0, kept = (rows - first) * kv_heads;
  return Count().read(q, n * heads * head_dim).read(keys, kept * head_dim).read(values, kept * value_dim).read(sinks, heads)
      .write(out, n * heads * value_dim);
}

// ---- the two ends of a step ----

// What is not held in shared memory is read twice, and counted once.
inline Tally cross_entropy(Grid, const RxCrossEntropy& a) {
  const long n = a.rows * parts(a.vocabulary, 4) * 4, written = a.rows * whole(a.vocabulary);
  return Count().read(a.logits, n).read(a.targets, 4 * a.rows).read(a.gradient ? a.weights : nullptr, a.rows)
      .write(static_cast<const void*>(a.gradient ? a.logits : nullptr), (a.half ? 2 : 4) * written).write(a.loss, a.rows).write(a.correct, a.rows).write(a.entropy, a.rows);
}
inline Tally weighted_sum(Grid, const float* losses, const float* weights, float* total, long rows) {
  return Count().read(losses, rows).read(weights, rows).write(total, 1);
}
template <class Piece>
long numbers_of(Grid g, const Piece* pieces) {
  long n = 0;
  for (long i = 0; i < g.blocks; i++) n += pieces[i].n;
  return n;
}
inline Tally squared_norm_parts(Grid g, const RxPiece* pieces, double* sums) {
  return Count().read(pieces, 16 * g.blocks).read(pieces->x, numbers_of(g, pieces)).write(sums, 8 * g.blocks);
}
inline Tally sum_doubles(Grid, const double* sums, long n, float* out) { return Count().read(sums, 8 * n).write(out, 1); }
inline Tally adamw(Grid g, const RxAdamWPiece* pieces, RxAdamWRates, const float* squared_norm, double) {
  // No finite number: nothing is done.
  if (squared_norm != nullptr && !(*squared_norm < HUGE_VALF)) return Count().read(squared_norm, 1);
  const long n = numbers_of(g, pieces);
  long rounded = 0;
  for (long i = 0; i < g.blocks; i++)
    if (pieces[i].rounded != nullptr) rounded += 2 * pieces[i].n;
  return Count().read(squared_norm, 1).read(pieces, 52 * g.blocks).read(pieces->p, 4 * n).write(pieces->p, 3 * n).more(0, rounded);
}
inline Tally adamw_8bit(Grid g, const RxAdamW8bitPiece* pieces, const float* maps, RxAdamWRates) {
  const long n = numbers_of(g, pieces);
  long scales = 0;
  for (long i = 0; i < g.blocks; i++) scales += 2 * parts(pieces[i].n, 256);
  return Count().read(pieces, 60 * g.blocks).read(maps, 512).read(static_cast<const void*>(pieces->p), 10 * n + 4 * scales)
      .write(static_cast<const void*>(pieces->p), 6 * n + 4 * scales);
}

// ---- products and attention ----

template <class T>
Tally gemm(const T* a, const T* b, const Values& c, const Values& start, long ld_start, long m, long n, long k) {
  const long each = sizeof(T);
  return Count().read(static_cast<const void*>(a), each * m * k).read(static_cast<const void*>(b), each * k * n).read(start, ld_start == 0 ? n : m * n).write(c, m * n).operations(2. * static_cast<double>(m * n) * static_cast<double>(k));
}
inline Tally gemm_f32(Grid, const float* a, long, int, const float* b, long, int, Values c, long, Values start, long ld_start, float, long m,
                      long n, long k) {
  return gemm(a, b, c, start, ld_start, m, n, k);
}
inline Tally gemm_bf16(Grid, const uint16_t* a, long, int, const uint16_t* b, long, int, Values c, long, Values start, long ld_start, float,
                       long m, long n, long k) {
  return gemm(a, b, c, start, ld_start, m, n, k);
}

// Blocks share the rows of u and B: what is read twice is counted once.
inline Tally adapter_grad(Grid, const RxAdapters& all) {
  Count count;
  if (all.more != nullptr) count.read(all.more, (long)sizeof *all.more * all.count);
  for (long i = 0; i < all.count; i++) {
    const RxAdapterPart& p = all.more != nullptr ? all.more[i] : all.few[i];
    const long slabs = parts(p.columns, adapter_columns);
    const long each_u = p.u.half ? 2 : 4, each_du = p.du.half ? 2 : 4;
    count.more(2 * p.rows * parts(p.columns, 8) * 8 + (each_u * p.rows + 4 * p.columns) * p.rank, (each_du * slabs * p.rows + 4 * p.bands * p.columns) * p.rank);
    count.operations(4. * static_cast<double>(p.rows * p.columns) * p.rank);
  }
  return count;
}
inline Tally adapter_grad_16(Grid g, const RxAdapters& all) { return adapter_grad(g, all); }
inline Tally adapter_grad_32(Grid g, const RxAdapters& all) { return adapter_grad(g, all); }
inline Tally adapter_grad_64(Grid g, const RxAdapters& all) { return adapter_grad(g, all); }
inline Tally adapter_sums(Grid g, const RxSums& all) {
  Count count;
  if (all.more != nullptr) count.read(all.more, (long)sizeof *all.more * g.rows_of_blocks);
  for (long i = 0; i < g.rows_of_blocks; i++) {
    const RxSumPiece& p = all.more != nullptr ? all.more[i] : all.few[i];
    count.more(4 * p.n * p.count, (p.to.half ? 2 : 4) * p.n);
  }
  return count;
}

// Tiles of a group share its matrices and its bias.
inline Tally grouped_of(Grid g, const RxGrouped& all, bool turned) {
  Count count;
  count.read(all.pieces, (long)sizeof *all.pieces * g.blocks).or_fewer(32 * g.blocks);
  for (long i = 0; i < g.blocks; i++) {
    const RxGroupedPiece& p = all.pieces[i];
    const long each = all.half ? 2 : 4;
    count.more(2 * p.rows * whole(all.depth), each * p.rows * all.columns).read(p.w, 2 * all.columns * (turned ? all.depth : whole(all.depth))).read(p.bias, all.columns);
    if (all.depth2 > 0) count.more(2 * p.rows * whole(all.depth2), 0).read(p.w2, 2 * all.columns * (turned ? all.depth2 : whole(all.depth2)));
    if (p.start != nullptr) count.more(each * p.rows * all.columns, 0);
    count.operations(2. * static_cast<double>(p.rows * all.columns) * static_cast<double>(all.depth + all.depth2));
  }
  return count;
}
inline Tally grouped(Grid g, const RxGrouped& all) { return grouped_of(g, all, false); }
inline Tally grouped_turned(Grid g, const RxGrouped& all) { return grouped_of(g, all, true); }
// Tiles of one result share the rows that are summed over; what lies beside a piece's columns, up to a whole vector, may be another's.
inline Tally grouped_grad(Grid g, const RxGroupedGrad& all) {
  Count count;
  count.read(all.pieces, (long)sizeof *all.pieces * g.blocks);
  long beside = 0;
  for (long i = 0; i < g.blocks; i++) {
    const RxGroupedGradPiece& p = all.pieces[i];
    count.more(2 * p.rows * whole(p.height), 4 * p.height * all.columns);
    // The rows of a group that has none begin where the next one's do.
    if (p.rows > 0) count.read(p.x, 2 * p.rows * all.columns);
    beside += 2 * p.rows * (whole(p.height) - p.height);
    count.operations(2. * static_cast<double>(p.rows * all.columns) * static_cast<double>(p.height));
  }
  return count.or_fewer(beside);
}
inline Tally grouped_matrices(Grid g, const RxMatrixPiece* pieces) {
  Count count;
  count.read(pieces, (long)sizeof *pieces * g.blocks);
  long unread = 4 * g.blocks;
  for (long i = 0; i < g.blocks; i++) {
    const RxMatrixPiece& m = pieces[i];
    const long n = m.rows * m.columns;
    const long read = m.kind == 0 ? 4 * n : m.kind == 1 ? 2 * n : m.kind == 2 ? n + 4 * m.rows : parts(n, 2) + 4 * parts(n, m.block);
    count.more(read, 2 * m.rows * m.ld);
    count.read(m.code, m.kind == 3 ? 16 : 0);
    unread += 40 + (m.kind == 3 ? 64 : 0);
  }
  return count.or_fewer(unread);
}
inline Tally grouped_dropout(Grid, Values x, Values y, const long* ends, const uint32_t* seeds, long count, float, int) {
  return Count().read(ends, 8 * count).read(seeds, 4 * count).read(x, ends[count - 1]).write(y, ends[count - 1]).at_most();
}

// Rows of the tiles of a launch, and pairs of rows that see each other.
struct Rows {
  long n = 0;
  double pairs = 0;
};
inline Rows rows_of(Grid g, const RxAttention& a, long rows) {
  Rows r;
  for (long t = 0; t < g.blocks; t++) {
    const int32_t *tile = a.tiles + 3 * t, begin = tile[0], end = tile[1], first = tile[2];
    const long last = std::min<long>(end, first + rows);
    r.n += last - first;
    for (long i = first; i < last; i++) r.pairs += static_cast<double>(a.window > 0 ? std::min<long>(a.window, i - begin + 1) : i - begin + 1);
  }
  return r;
}
// Rows of a tile, columns of a head's keys and values, and bytes of a number, as the kernel reads them.
inline Tally attention_of(Grid g, const RxAttention& a, bool backwards, bool queries, long rows, long keys, long values, bool packed) {
  const Rows r = rows_of(g, a, rows);
  const long q = r.n * a.heads, kv = r.n * a.kv_heads, lse = r.n * a.heads;
  const auto given = [&](Values v) {
    if (packed) v.half = 1;
    return v;
  };
  Count count;
  count.read(a.tiles, 12 * g.blocks).or_fewer(4 * g.blocks).read(given(a.q), q * keys).read(given(a.k), kv * keys).read(given(a.v), kv * values);
  const long columns = !backwards ? keys + values : queries ? 2 * keys + values : 2 * keys + 2 * values;
  count.operations(2. * r.pairs * static_cast<double>(a.heads * columns));
  if (!backwards) return count.read(a.sinks, a.heads).write(a.out, q * a.value_dim).write(a.lse, lse);
  count.read(given(a.d_out), q * values).read(a.lse, lse).read(a.along, lse);
  return queries ? count.write(a.dq, q * a.head_dim) : count.write(a.dk, kv * a.head_dim).write(a.dv, kv * a.value_dim);
}
// A row of blocks is a tile here, and a column a head, or some query heads of one of keys.
inline Tally hopper_gradient(Grid g, const RxAttention& a, long rows, long width, bool queries) {
  const Rows r = rows_of({g.rows_of_blocks, g.blocks, g.threads}, a, rows);
  const long q = r.n * a.heads, kv = r.n * a.kv_heads;
  const auto packed = [](Values v) { return Values{v.at, 1}; };
  Count count;
  count.read(a.tiles, 12 * g.rows_of_blocks).or_fewer(4 * g.rows_of_blocks).read(packed(a.q), q * width).read(packed(a.k), kv * width);
  count.read(packed(a.v), kv * width).read(packed(a.d_out), q * width).operations(2. * r.pairs * static_cast<double>(a.heads * (queries ? 3 : 4) * width));
  if (queries) return count.read(a.out, q * a.value_dim).read(a.lse, q).write(a.statistics, 2 * q).write(a.dq, q * a.head_dim);
  return count.read(a.statistics, 2 * q).write(a.dk, r.n * g.blocks * a.head_dim).write(a.dv, r.n * g.blocks * a.value_dim);
}
inline Tally hopper_grad_sums(Grid, const RxAttention& a, const float* parts, int of_each) {
  const long n = a.rows * a.kv_heads;
  return Count().read(parts, n * of_each * (a.head_dim + a.value_dim)).write(a.dk, n * a.head_dim).write(a.dv, n * a.value_dim);
}
#define PLAIN(name, backwards, queries) \
  inline Tally name(Grid g, const RxAttention& a) { return attention_of(g, a, backwards, queries, g.threads / 2, a.head_dim, a.value_dim, false); }
#define PACKED_AS(name, shape, width, backwards, queries)   \
  inline Tally name##_##width(Grid g, const RxAttention& a) { \
    return attention_of(g, a, backwards, queries, shape<width>::rows, width, flash_values<width>, true); \
  }
#define PACKED(name, shape, backwards, queries) \
  PACKED_AS(name, shape, 64, backwards, queries) PACKED_AS(name, shape, 128, backwards, queries) PACKED_AS(name, shape, 192, backwards, queries) PACKED_AS(name, shape, 256, backwards, queries)
PLAIN(attention_f32, false, true)
PLAIN(attention_bf16, false, true)
PLAIN(attention_grad_q_f32, true, true)
PLAIN(attention_grad_q_bf16, true, true)
PLAIN(attention_grad_kv_f32, true, false)
PLAIN(attention_grad_kv_bf16, true, false)
PACKED(flash, FlashForward, false, true)
PACKED(flash_grad_q, FlashGradQ, true, true)
PACKED(flash_grad_kv, FlashGradKv, true, false)
PACKED(hopper, HopperForward, false, true)
PACKED_AS(hopper_grad_q, HopperGradQ, 192, true, true)
PACKED_AS(hopper_grad_q, HopperGradQ, 256, true, true)
PACKED_AS(hopper_grad_kv, HopperGradKv, 192, true, false)
PACKED_AS(hopper_grad_kv, HopperGradKv, 256, true, false)
#define NARROW(width)                                                                                                              \
  inline Tally hopper_grad_q_##width(Grid g, const RxAttention& a) { return hopper_gradient(g, a, HopperGradQ<width>::rows, width, true); } \
  inline Tally hopper_grad_kv_##width(Grid g, const RxAttention& a) { return hopper_gradient(g, a, HopperGradKv<width>::rows, width, false); }
NARROW(64)
NARROW(128)
#undef NARROW
#undef PLAIN
#undef PACKED
#undef PACKED_AS
inline Tally attention_along(Grid, const RxAttention& a, long rows) {
  const long n = rows * a.heads * a.value_dim;
  return Count().read(a.out, n).read(a.d_out, n).write(a.along, rows * a.heads);
}

// ---- what reads earlier tokens through a state ----

inline Tally causal_conv(const RxCausalConv& a) {
  const long n = a.rows * a.channels, width = a.gated ? 3 : 1;
  return Count().read(a.x, width * n).read(a.weight, a.channels * a.taps).read(a.bias, a.channels).read(a.cu_seqlens, 4 * (a.documents + 1)).write(a.y, n)
      .or_fewer(4 * (a.documents + 1));
}
inline Tally causal_conv_grad(Grid g, const RxCausalConv& a) {
  const long n = a.rows * a.channels, width = a.gated ? 3 : 1;
  const bool reads = a.silu || a.gated || a.parts != nullptr;
  return Count().read(a.dy, n).read(reads ? a.x : Values{}, width * n).read(a.weight, a.channels * a.taps).read(a.bias, a.channels)
      .read(a.cu_seqlens, 4 * (a.documents + 1)).write(a.dx, width * n).write(a.parts, g.blocks * a.channels * (a.taps + 1)).or_fewer(4 * (a.documents + 1));
}
inline Tally causal_conv_4(Grid, const RxCausalConv& a) { return causal_conv(a); }
inline Tally causal_conv_16(Grid, const RxCausalConv& a) { return causal_conv(a); }
inline Tally causal_conv_grad_4(Grid g, const RxCausalConv& a) { return causal_conv_grad(g, a); }
inline Tally causal_conv_grad_16(Grid g, const RxCausalConv& a) { return causal_conv_grad(g, a); }
inline Tally xielu(Grid, Values x, const float* alpha_p, const float* alpha_n, Values y, long n) {
  return Count().read(x, n).read(alpha_p, 1).read(alpha_n, 1).write(y, n);
}
inline Tally xielu_grad(Grid g, Values x, const float* alpha_p, const float* alpha_n, Values dy, Values dx, float* out, long n) {
  return Count().read(x, n).read(alpha_p, 1).read(alpha_n, 1).read(dy, n).write(dx, n).write(out, 2 * g.blocks);
}
inline Tally xielu_sums(Grid, const float* from, long count, const float* alpha_p, const float* alpha_n, float* d_alpha_p, float* d_alpha_n) {
  return Count().read(from, 2 * count).read(alpha_p, 1).read(alpha_n, 1).write(d_alpha_p, 1).write(d_alpha_n, 1);
}

// Bytes of what lies between the kernels of a delta rule, whose numbers have `each` bytes.
struct DeltaRule {
  const RxDeltaRule& a;
  long each, chunk, chunks;
  DeltaRule(const RxDeltaRule& a, int each) : a(a), each(each), chunk(scan_chunk(each)), chunks(a.first_chunk[a.documents]) {}
  long keys() const { return each * a.rows * a.key_heads * a.keys; }
  long values() const { return each * a.rows * a.value_heads * a.values; }
  long square() const { return each * chunks * a.value_heads * chunk * chunk; }
  long state() const { return each * chunks * a.value_heads * a.keys * a.values; }
  long given() const { return a.rows * a.value_heads * a.value_dim; }
  long of_keys() const { return 2 * a.rows * a.key_heads * a.key_dim; }
  long slopes() const { return 4 * a.rows * a.value_heads * a.keys; }
  static long bytes(const Values& v, long n) { return n * (v.half ? 2 : 4); }
  // Products of [chunk, n] and [n, m] of every chunk and head.
  double product(long n, long m) const { return 2. * static_cast<double>(chunks * a.value_heads * chunk) * static_cast<double>(n) * static_cast<double>(m); }
  Count start(bool decays = true) const {
    Count count;
    count.read(a.chunks, 8 * chunks);
    if (decays) count.read(a.decay, a.rows * a.value_heads).read(a.rate, a.rows * a.value_heads);
    return count;
  }
};
inline Tally delta_units(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  return Count().more(DeltaRule::bytes(a.qkv, d.of_keys()), 2 * d.keys());
}
inline Tally delta_squares(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  return d.start().more(2 * d.keys(), 2 * d.square()).operations(2 * d.product(a.keys, d.chunk));
}
inline Tally delta_scan(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  const long kept = a.documents * a.value_heads * a.key_dim * a.value_dim;
  return d.start().read(a.first_chunk, 4 * (a.documents + 1)).read(a.state, kept).more(d.keys() + d.square() + DeltaRule::bytes(a.qkv, d.given()), d.state() + d.values())
      .write(a.missing, d.values()).write(a.last_state, kept).operations(2 * d.product(a.keys, a.values) + d.product(d.chunk, a.values));
}
inline Tally delta_scan_back(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  return d.start().read(a.first_chunk, 4 * (a.documents + 1)).more(2 * d.keys() + 2 * d.square() + DeltaRule::bytes(a.d_out, d.given()), d.state() + d.values())
      .operations(3 * d.product(a.keys, a.values) + 2 * d.product(d.chunk, a.values));
}
inline Tally delta_out(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  return d.start().more(d.keys() + d.square() + d.state() + d.values(), DeltaRule::bytes(a.out, d.given()))
      .operations(d.product(a.keys, a.values) + d.product(d.chunk, a.values));
}
inline Tally delta_grad(const RxDeltaRule& a, int each) {
  const DeltaRule d(a, each);
  return d.start().more(2 * d.keys() + d.square() + 2 * d.state() + 3 * d.values() + DeltaRule::bytes(a.d_out, d.given()), DeltaRule::bytes(a.d_qkv, d.given()) + 2 * d.slopes())
      .write(a.d_decay, a.rows * a.value_heads).write(a.d_rate, a.rows * a.value_heads)
      .operations(3 * d.product(a.keys, a.values) + 2 * d.product(d.chunk, a.values) + 5 * d.product(d.chunk, a.keys));
}
inline Tally delta_units_grad(Grid, const RxDeltaRule& a) {
  const DeltaRule d(a, 4);
  return Count().more(DeltaRule::bytes(a.qkv, d.of_keys()) + 2 * d.slopes(), DeltaRule::bytes(a.d_qkv, d.of_keys()));
}
#define OF_BOTH(name)                                                                      \
  inline Tally name##_bf16(Grid, const RxDeltaRule& a) { return name(a, 2); } \
  inline Tally name##_f32(Grid, const RxDeltaRule& a) { return name(a, 4); }
OF_BOTH(delta_units)
OF_BOTH(delta_squares)
OF_BOTH(delta_scan)
OF_BOTH(delta_scan_back)
OF_BOTH(delta_out)
OF_BOTH(delta_grad)
#undef OF_BOTH

// As of a delta rule.
struct StateSpace {
  const RxStateSpace& a;
  long each, chunk, chunks;
  StateSpace(const RxStateSpace& a, int each) : a(a), each(each), chunk(scan_chunk(each)), chunks(a.first_chunk[a.documents]) {}
  long shared() const { return each * a.rows * a.groups * a.keys; }
  long state() const { return each * chunks * a.heads * a.keys * a.values; }
  long given() const { return a.rows * a.heads * a.head_dim; }
  long of_groups() const { return 2 * a.rows * a.groups * a.state_dim; }
  static long bytes(const Values& v, long n) { return n * (v.half ? 2 : 4); }
  double product(long n, long m) const { return 2. * static_cast<double>(chunks * a.heads * chunk) * static_cast<double>(n) * static_cast<double>(m); }
  Count start() const { return Count().read(a.chunks, 8 * chunks).read(a.dt, a.rows * a.heads).read(a.a_log, a.heads).read(a.dt_bias, a.heads); }
};
inline Tally space_pack(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  return Count().more(StateSpace::bytes(a.xbc, s.of_groups()), 2 * s.shared());
}
inline Tally space_scan(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  const long kept = a.documents * a.heads * a.state_dim * a.head_dim;
  return s.start().read(a.first_chunk, 4 * (a.documents + 1)).read(a.state, kept).more(s.shared() + StateSpace::bytes(a.xbc, s.given()), s.state()).write(a.last, kept)
      .operations(s.product(a.keys, a.values)).or_fewer(a.rows == 0 ? 8 * a.heads : 0);
}
inline Tally space_scan_back(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  return s.start().read(a.first_chunk, 4 * (a.documents + 1)).more(s.shared() + StateSpace::bytes(a.dy, s.given()), s.state())
      .operations(s.product(a.keys, a.values)).or_fewer(a.rows == 0 ? 8 * a.heads : 0);
}
inline Tally space_out(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  return s.start().read(a.skip, a.heads).more(2 * s.shared() + s.state() + StateSpace::bytes(a.xbc, s.given()), StateSpace::bytes(a.y, s.given()))
      .operations(s.product(a.keys, a.values) + s.product(a.keys, s.chunk) + s.product(s.chunk, a.values));
}
inline Tally space_grad(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  return s.start().read(a.skip, a.heads).more(2 * s.shared() + 2 * s.state() + StateSpace::bytes(a.xbc, s.given()) + StateSpace::bytes(a.dy, s.given()), StateSpace::bytes(a.d_xbc, s.given()))
      .write(a.d_dt, a.rows * a.heads).write(a.sums, 3 * s.chunks * a.heads)
      .operations(2 * s.product(a.keys, a.values) + s.product(a.keys, s.chunk) + 2 * s.product(s.chunk, a.values));
}
inline Tally space_shared_grad(const RxStateSpace& a, int each) {
  const StateSpace s(a, each);
  return s.start().more(2 * s.shared() + 2 * s.state() + StateSpace::bytes(a.xbc, s.given()) + StateSpace::bytes(a.dy, s.given()), StateSpace::bytes(a.d_xbc, s.of_groups()))
      .operations(2 * s.product(a.keys, a.values) + static_cast<double>(a.keys / scan_tile) * s.product(s.chunk, a.values));
}
#define OF_BOTH(name)                                                                       \
  inline Tally name##_bf16(Grid, const RxStateSpace& a) { return name(a, 2); } \
  inline Tally name##_f32(Grid, const RxStateSpace& a) { return name(a, 4); }
OF_BOTH(space_pack)
OF_BOTH(space_scan)
OF_BOTH(space_scan_back)
OF_BOTH(space_out)
OF_BOTH(space_grad)
OF_BOTH(space_shared_grad)
#undef OF_BOTH

struct Selective {
  const RxSelective& a;
  long chunks, of_channels, of_states, width;
  explicit Selective(const RxSelective& a)
      : a(a), chunks(a.first_chunk[a.documents]), of_channels(a.rows * a.channels), of_states(a.rows * a.state_dim), width(selective_each * selective_lanes(a.state_dim)) {}
  long states() const { return chunks * a.channels * width; }
  // Counts the powers that decays are.
  Count start() const {
    return Count().read(a.chunks, 8 * chunks).read(a.dt, of_channels).read(a.a_log, a.channels * a.state_dim).operations(static_cast<double>(of_channels * width));
  }
};
inline Tally selective_ends_16(Grid, const RxSelective& a) {
  const Selective s(a);
  return s.start().read(a.x, s.of_channels).read(a.b, s.of_states).write(a.states, s.states()).write(a.rates, s.chunks * a.channels);
}
inline Tally selective_ends_128(Grid grid, const RxSelective& a) { return selective_ends_16(grid, a); }
inline Tally selective_ends_back_16(Grid, const RxSelective& a) {
  const Selective s(a);
  return s.start().read(a.dy, s.of_channels).read(a.c, s.of_states).write(a.d_states, s.states());
}
inline Tally selective_ends_back_128(Grid grid, const RxSelective& a) { return selective_ends_back_16(grid, a); }
inline Tally selective_joined(const RxSelective& a, float* states) {
  const Selective s(a);
  const long own = s.chunks * a.channels * a.state_dim, kept = a.documents * a.channels * a.state_dim;
  return Count().read(a.first_chunk, 4 * (a.documents + 1)).read(a.state, kept).read(states, own).read(a.rates, s.chunks * a.channels)
      .read(a.a_log, s.chunks > 0 ? a.channels * a.state_dim : 0).write(states, own).write(a.last, kept);
}
inline Tally selective_join(Grid, const RxSelective& a) { return selective_joined(a, a.states); }
inline Tally selective_join_back(Grid, const RxSelective& a) { return selective_joined(a, a.d_states); }
inline Tally selective_out_16(Grid, const RxSelective& a) {
  const Selective s(a);
  return s.start().read(a.x, s.of_channels).read(a.b, s.of_states).read(a.c, s.of_states).read(a.skip, a.channels).read(a.states, s.states()).write(a.y, s.of_channels);
}
inline Tally selective_out_128(Grid grid, const RxSelective& a) { return selective_out_16(grid, a); }
inline Tally selective_grad_16(Grid, const RxSelective& a) {
  const Selective s(a);
  return s.start().read(a.x, s.of_channels).read(a.dy, s.of_channels).read(a.b, s.of_states).read(a.c, s.of_states).read(a.skip, a.channels)
      .read(a.states, s.states()).read(a.d_states, s.states()).write(a.states, s.states()).write(a.rates, s.chunks * a.channels)
      .write(a.d_x, s.of_channels).write(a.d_dt, s.of_channels).write(a.shared, a.parts * a.rows * 2 * s.width);
}
inline Tally selective_grad_128(Grid grid, const RxSelective& a) { return selective_grad_16(grid, a); }
inline Tally selective_shared(Grid, const RxSelective& a) {
  const Selective s(a);
  return Count().read(a.shared, a.parts * 2 * s.of_states).write(a.d_b, s.of_states).write(a.d_c, s.of_states);
}
inline Tally selective_sums(Grid, const RxSelective& a) {
  const Selective s(a);
  return Count().more(4, 0).read(a.states, s.chunks * a.channels * a.state_dim).read(a.rates, s.chunks * a.channels)
      .write(a.d_a_log, a.channels * a.state_dim).write(a.d_skip, a.channels);
}

inline Tally pack_heads(Grid, Values from, long, uint16_t* to, long rows, int heads, int head_dim, int width) {
  return Count().read(from, rows * heads * head_dim).write(to, 2 * rows * heads * width);
}

}  // namespace moved
