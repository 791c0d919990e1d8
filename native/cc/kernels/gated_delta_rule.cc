// The gated delta rule in chunks of tokens (Gated DeltaNet, Yang, Kautz & Hatamizadeh 2024; the chunks as in Yang et al. 2024, arXiv
// 2406.06484). With s the running sums of decay in the chunk and S the state before it:
//   (I + A) u = rate (v - e^s k S),  A[i, j] = rate_i k_i k_j e^(s_i - s_j), j < i
//   out = e^s q S + P u,             P[i, j] = q_i k_j e^(s_i - s_j), j <= i
//   S  <- e^(s_last) S + (e^(s_last - s) k)ᵀ u
// A head of a document is one piece of work, chunk after chunk; on the way back a key head with all its value heads is, whose chunks
// run forward once more for their states.
#include "../kernel_table.h"
#include "../simd.h"
#include "chunk_rows.h"
#include "halves.h"
#include "parallel.h"
#include "small_products.h"

namespace {

constexpr long chunk = 64;

// x of (I - a) x = b in place of b [c, n], a strictly lower triangular: blocks of rows, each less what those above it give.
void solve_lower(const float* a, float* x, long ldx, long c, long n) {
  for (long i = 0; i < c; i += 4) {
    const long rows = smaller(4, c - i);
    if (i > 0) multiply({x + i * ldx, ldx, {a + i * chunk, chunk, 1}, x, ldx}, rows, n, i, true);
    for (long r = 1; r < rows; r++)
      for (long q = 0; q < r; q++) {
        const vf factor = vset(a[(i + r) * chunk + i + q]);
        for (long j = 0; j < n; j += VW)
          store(x + (i + r) * ldx + j, fma(factor, load(x + (i + q) * ldx + j), load(x + (i + r) * ldx + j)));
      }
  }
}

// The same with a transposed, from the last rows up.
void solve_upper(const float* a, float* x, long ldx, long c, long n) {
  for (long end = c; end > 0;) {
    const long rows = smaller(4, end), i = end - rows;
    if (end < c) multiply({x + i * ldx, ldx, {a + end * chunk + i, 1, chunk}, x + end * ldx, ldx}, rows, n, c - end, true);
    for (long r = rows - 2; r >= 0; r--)
      for (long q = r + 1; q < rows; q++) {
        const vf factor = vset(a[(i + q) * chunk + i + r]);
        for (long j = 0; j < n; j += VW)
          store(x + (i + r) * ldx + j, fma(factor, load(x + (i + q) * ldx + j), load(x + (i + r) * ldx + j)));
      }
    end = i;
  }
}

// ---- rows ----

RX_INLINE void add_row(float* y, const float* x, long n) {
  for (long i = 0; i < n; i += VW) store(y + i, load(y + i) + load(x + i));
}

// n numbers and zeros up to whole vectors.
RX_INLINE void take_row(Values x, long at, long n, float* to) {
  const Values from = from_number(x, at);
  each_vector(n, [&](long i, auto lanes) { store(to + i, take(lanes, from, i)); });
}
RX_INLINE void put_row(const float* x, Values y, long at, long n) {
  const Values to = from_number(y, at);
  each_vector(n, [&](long i, auto lanes) { put(lanes, to, i, lanes.load(x + i)); });
}

// ---- one chunk ----

struct Sizes {
  long keys, values, kw, vw, row, first_key, first_value;
  explicit Sizes(const GatedDeltaRule& g)
      : keys(g.key_dim),
        values(g.value_dim),
        kw(whole(g.key_dim)),
        vw(whole(g.value_dim)),
        row(2 * g.key_heads * g.key_dim + g.value_heads * g.value_dim),
        first_key(g.key_heads * g.key_dim),
        first_value(2 * g.key_heads * g.key_dim) {}
  long state() const { return keys * vw; }
};

// Memory of one thread, taken piece by piece.
struct Room {
  float* at;
  float* take(long floats) {
    float* const piece = at;
    at += parts_of(floats, 16) * 16;
    return piece;
  }
};

struct Chunk {
  float *q, *k, *kt;              // [c, kw], [c, kw], [kw, chunk]
  float *likeness, *system, *attended;  // [c, chunk]: k kᵀ e^…, -A, P
  float *pair;                    // [c, chunk] e^(s_i - s_j), 0 above the diagonal
  float rate[chunk], since[chunk], left[chunk], last;

  static long room(const Sizes& z) { return 2 * chunk * z.kw + z.kw * chunk + 4 * chunk * chunk + 8 * 16; }
  Chunk(Room& room, const Sizes& z)
      : q(room.take(chunk * z.kw)),
        k(room.take(chunk * z.kw)),
        kt(room.take(chunk * z.kw)),
        likeness(room.take(chunk * chunk)),
        system(room.take(chunk * chunk)),
        attended(room.take(chunk * chunk)),
        pair(room.take(chunk * chunk)) {}

  static void take_unit(const GatedDeltaRule& g, long at, const Sizes& z, float* x, float length) {
    take_row(g.qkv, at, z.keys, x);
    scale_row(x, x, z.kw, length / __builtin_sqrtf(dot(x, x, z.kw) + g.eps));
  }

  // Rows token .. token + c - 1 of a key head and a value head.
  void read(const GatedDeltaRule& g, const Sizes& z, long token, long c, long key_head, long head) {
    const float root = __builtin_sqrtf((float)z.keys);
    for (long i = 0; i < c; i++) {
      const long row = (token + i) * z.row + key_head * z.keys;
      take_unit(g, row, z, q + i * z.kw, 1.f / root);
      take_unit(g, row + z.first_key, z, k + i * z.kw, 1.f);
    }
    for (long i = c; i < whole(c); i++) {
      __builtin_memset(q + i * z.kw, 0, z.kw * sizeof(float));
      __builtin_memset(k + i * z.kw, 0, z.kw * sizeof(float));
    }
    transpose_into(k, z.kw, whole(c), z.kw, kt, chunk);
    float sums[chunk + VW] = {};
    float sum = 0;
    for (long i = 0; i < c; i++) {
      const long at = (token + i) * g.value_heads + head;
      sums[i] = sum += summed_decay(g.decay[at]);
      rate[i] = g.rate[at];
    }
    for (long i = 0; i < whole(c); i += VW) {
      float e[VW], l[VW];
      store(e, vexp(load(sums + i)));
      store(l, vexp(vset(sum) - load(sums + i)));
      for (long j = i; j < smaller(c, i + VW); j++) since[j] = e[j - i], left[j] = l[j - i];
    }
    last = since[c - 1];
    multiply({likeness, chunk, {k, z.kw, 1}, kt, chunk}, c, whole(c), z.keys, false, LOWER_RESULT);
    multiply({attended, chunk, {q, z.kw, 1}, kt, chunk}, c, whole(c), z.keys, false, LOWER_RESULT);
    for (long i = 0; i < c; i++)
      for (long j = 0; j < whole(c); j += VW) {
        const vi at = iota() + vseti((int32_t)j);
        const vi strictly = at < vseti((int32_t)i), lower = at <= vseti((int32_t)i);
        // Above the diagonal the difference is positive: e to it may be no number, and nor may what was left there.
        const vf decayed = lower ? vexp(vmin(vset(sums[i]) - load(sums + j), vset(0.f))) : vset(0.f);
        const vf alike = strictly ? load(likeness + i * chunk + j) * decayed : vset(0.f);
        store(pair + i * chunk + j, decayed);
        store(likeness + i * chunk + j, alike);
        store(system + i * chunk + j, alike * vset(-rate[i]));
        store(attended + i * chunk + j, lower ? load(attended + i * chunk + j) * decayed : vset(0.f));
      }
  }

  // missing [c, vw] = v - e^s k S, of v in it; corrections [c, vw].
  void correct(const Sizes& z, long c, const float* state, float* missing, float* corrections) const {
    multiply({corrections, z.vw, {k, z.kw, 1}, state, z.vw}, c, z.vw, z.keys, false);
    for (long i = 0; i < c; i++)
      for (long j = 0; j < z.vw; j += VW) {
        const vf x = load(missing + i * z.vw + j) - vset(since[i]) * load(corrections + i * z.vw + j);
        store(missing + i * z.vw + j, x);
        store(corrections + i * z.vw + j, vset(rate[i]) * x);
      }
    solve_lower(system, corrections, z.vw, c, z.vw);
  }

  // The state behind the chunk from that before it; `scaled` [c, kw] is free to be written to, and may be k.
  void advance(const Sizes& z, long c, float* state, const float* corrections, float* scaled) const {
    for (long i = 0; i < c; i++) scale_row(k + i * z.kw, scaled + i * z.kw, z.kw, left[i]);
    scale_row(state, state, z.state(), last);
    multiply({state, z.vw, {scaled, 1, z.kw}, corrections, z.vw}, z.keys, z.vw, c, true);
  }
};

void take_values(const GatedDeltaRule& g, const Sizes& z, long token, long c, long head, float* v) {
  for (long i = 0; i < c; i++) take_row(g.qkv, (token + i) * z.row + z.first_value + head * z.values, z.values, v + i * z.vw);
}

void gated_delta_rule(const Context* context, const GatedDeltaRule* call) {
  const GatedDeltaRule g = *call;
  const Sizes z(g);
  const long room = z.state() + Chunk::room(z) + 3 * (chunk * z.vw + 16) + 16;
  float* const scratch =
      (float*)scratch_get(context->scratch, SCRATCH_KERNEL, pool_threads(context->pool) * room * sizeof(float));
  parallel_with_id(context, g.documents * g.value_heads, [=](long piece, int id) {
    const long document = piece / g.value_heads, head = piece % g.value_heads;
    const long key_head = head / (g.value_heads / g.key_heads);
    const long start = g.cu_seqlens[document], end = g.cu_seqlens[document + 1];
    Room own = {scratch + id * room};
    float* const state = own.take(z.state());
    Chunk now(own, z);
    float* const missing = own.take(chunk * z.vw);
    float* const corrections = own.take(chunk * z.vw);
    float* const out = own.take(chunk * z.vw);
    const long kept = piece * z.keys * z.values;
    for (long i = 0; i < z.keys; i++)
      if (g.state)
        take_row(values_of(g.state), kept + i * z.values, z.values, state + i * z.vw);
      else
        __builtin_memset(state + i * z.vw, 0, z.vw * sizeof(float));
    for (long token = start; token < end; token += chunk) {
      const long c = smaller(chunk, end - token);
      now.read(g, z, token, c, key_head, head);
      take_values(g, z, token, c, head, missing);
      now.correct(z, c, state, missing, corrections);
      multiply({out, z.vw, {now.q, z.kw, 1}, state, z.vw}, c, z.vw, z.keys, false);
      for (long i = 0; i < c; i++) scale_row(out + i * z.vw, out + i * z.vw, z.vw, now.since[i]);
      multiply({out, z.vw, {now.attended, chunk, 1}, corrections, z.vw}, c, z.vw, c, true, LOWER);
      for (long i = 0; i < c; i++) put_row(out + i * z.vw, g.out, ((token + i) * g.value_heads + head) * z.values, z.values);
      now.advance(z, c, state, corrections, now.k);
    }
    if (g.last_state)
      for (long i = 0; i < z.keys; i++) put_row(state + i * z.vw, values_of(g.last_state), kept + i * z.values, z.values);
  });
}

// ---- the way back ----

// Gradient of x from that of x / sqrt(|x|² + eps), times `factor`.
void unit_grad(Values x, long at, const float* dy, float factor, const GatedDeltaRule& g, const Sizes& z, float* unit) {
  take_row(x, at, z.keys, unit);
  const float r = 1.f / __builtin_sqrtf(dot(unit, unit, z.kw) + g.eps);
  scale_row(unit, unit, z.kw, r);
  const vf along = vset(dot(unit, dy, z.kw));
  for (long j = 0; j < z.kw; j += VW) store(unit + j, vset(r * factor) * (load(dy + j) - along * load(unit + j)));
  put_row(unit, g.d_qkv, at, z.keys);
}

struct Back {
  const GatedDeltaRule& g;
  const Sizes& z;
  Chunk now;
  float *states, *missing, *corrections;  // of all chunks of a document: before each; [length, vw]
  float *dq, *dk;                         // [length, kw], sums over the value heads
  float *state, *d_state, *turned;        // [keys, vw], the same, [vw, kw] (also [vw, chunk])
  float *d_out, *d_corrections;           // [c, vw]
  float *d_attended, *d_system;           // [c, chunk]
  float *part, *scaled;                   // [c, kw]

  static long length_room(const Sizes& z, long length) {
    return parts_of(length, chunk) * z.state() + 2 * length * z.vw + 2 * length * z.kw + 5 * 16;
  }
  static long room(const Sizes& z, long length) {
    return length_room(z, length) + Chunk::room(z) + 2 * z.state() + z.vw * greater(z.kw, chunk) + 2 * chunk * z.vw +
           2 * chunk * chunk + 2 * chunk * z.kw + 16 * 16;
  }
  Back(const GatedDeltaRule& g, const Sizes& z, Room own, long length)
      : g(g),
        z(z),
        now(own, z),
        states(own.take(parts_of(length, chunk) * z.state())),
        missing(own.take(length * z.vw)),
        corrections(own.take(length * z.vw)),
        dq(own.take(length * z.kw)),
        dk(own.take(length * z.kw)),
        state(own.take(z.state())),
        d_state(own.take(z.state())),
        turned(own.take(z.vw * greater(z.kw, chunk))),
        d_out(own.take(chunk * z.vw)),
        d_corrections(own.take(chunk * z.vw)),
        d_attended(own.take(chunk * chunk)),
        d_system(own.take(chunk * chunk)),
        part(own.take(chunk * z.kw)),
        scaled(own.take(chunk * z.kw)) {}

  // part [c, kw] = factor[i] a [c, vw] sᵀ, sᵀ in `turned`; sums[i] += along its rows, with `x`.
  void through(const float* a, const float* factor, float sign, const float* x, long c, float* sums, float sums_sign) {
    multiply({part, z.kw, {a, z.vw, 1}, turned, z.kw}, c, z.kw, z.values, false);
    for (long i = 0; i < c; i++) {
      scale_row(part + i * z.kw, part + i * z.kw, z.kw, sign * factor[i]);
      sums[i] += sums_sign * dot(x + i * z.kw, part + i * z.kw, z.kw);
    }
  }
  // A state with its rows as columns; keys are no whole vectors, and what lies beyond them is nothing.
  void turn(const float* s) {
    for (long i = 0; i < z.keys; i += VW) {
      const long rows = smaller(VW, z.keys - i);
      for (long j = 0; j < z.vw; j += VW) {
        vf block[VW];
        for (int r = 0; r < VW; r++) block[r] = r < rows ? load(s + (i + r) * z.vw + j) : vset(0.f);
        transpose_block(block);
        for (int r = 0; r < VW; r++) store(turned + (j + r) * z.kw + i, block[r]);
      }
    }
  }
  void add_to(float* rows, long from, long c) {
    for (long i = 0; i < c; i++) add_row(rows + (from + i) * z.kw, part + i * z.kw, z.kw);
  }

  void chunk_back(long start, long from, long c, long key_head, long head) {
    now.read(g, z, start + from, c, key_head, head);
    const float* const before = states + from / chunk * z.state();
    float* const x = missing + from * z.vw;
    float* const u = corrections + from * z.vw;
    for (long i = 0; i < c; i++)
      take_row(g.d_out, ((start + from + i) * g.value_heads + head) * z.values, z.values, d_out + i * z.vw);
    // Of the corrections, through the state behind and through what attends to them.
    multiply({d_corrections, z.vw, {now.k, z.kw, 1}, d_state, z.vw}, c, z.vw, z.keys, false);
    for (long i = 0; i < c; i++) scale_row(d_corrections + i * z.vw, d_corrections + i * z.vw, z.vw, now.left[i]);
    multiply({d_corrections, z.vw, {now.attended, 1, chunk}, d_out, z.vw}, c, z.vw, c, true, UPPER);
    solve_upper(now.system, d_corrections, z.vw, c, z.vw);
    // Of P and A; rows of corrections beyond the chunk are others', and not wanted.
    const long high = whole(c);
    for (long i = 0; i < high; i += VW)
      for (long j = 0; j < z.vw; j += VW) {
        vf block[VW];
        for (int r = 0; r < VW; r++) block[r] = i + r < c ? load(u + (i + r) * z.vw + j) : vset(0.f);
        transpose_block(block);
        for (int r = 0; r < VW; r++) store(turned + (j + r) * chunk + i, block[r]);
      }
    multiply({d_attended, chunk, {d_out, z.vw, 1}, turned, chunk}, c, high, z.values, false, LOWER_RESULT);
    multiply({d_system, chunk, {d_corrections, z.vw, 1}, turned, chunk}, c, high, z.values, false, LOWER_RESULT);
    float sums[chunk] = {}, columns[chunk + VW] = {};
    for (long i = 0; i < c; i++) {
      const vf rate = vset(now.rate[i]);
      vf along = {}, alike = {};
      for (long j = 0; j < high; j += VW) {
        const long at = i * chunk + j;
        const vi place = iota() + vseti((int32_t)j);
        const vf da = place <= vseti((int32_t)i) ? load(d_attended + at) : vset(0.f);
        const vf ds = place < vseti((int32_t)i) ? -load(d_system + at) : vset(0.f);
        const vf likeness = load(now.likeness + at), pair = load(now.pair + at);
        const vf both = fma(da, load(now.attended + at), ds * rate * likeness);
        along = along + both;
        alike = fma(ds, likeness, alike);
        store(columns + j, load(columns + j) + both);
        store(d_attended + at, da * pair);        // of q k
        store(d_system + at, ds * rate * pair);   // of k k
      }
      sums[i] = hsum(along);
      g.d_rate[(start + from + i) * g.value_heads + head] =
          hsum(alike) + dot(d_corrections + i * z.vw, x + i * z.vw, z.vw);
    }
    for (long i = 0; i < c; i++) sums[i] -= columns[i];
    // Of what is missing, which is that of the values too.
    float* const d_missing = d_corrections;
    for (long i = 0; i < c; i++) {
      scale_row(d_missing + i * z.vw, d_missing + i * z.vw, z.vw, now.rate[i]);
      put_row(d_missing + i * z.vw, g.d_qkv, (start + from + i) * z.row + z.first_value + head * z.values, z.values);
    }
    turn(before);
    through(d_out, now.since, 1, now.q, c, sums, 1);
    multiply({part, z.kw, {d_attended, chunk, 1}, now.k, z.kw}, c, z.kw, c, true, LOWER);
    add_to(dq, from, c);
    through(d_missing, now.since, -1, now.k, c, sums, 1);
    multiply({part, z.kw, {d_attended, 1, chunk}, now.q, z.kw}, c, z.kw, c, true, UPPER);
    multiply({part, z.kw, {d_system, chunk, 1}, now.k, z.kw}, c, z.kw, c, true, LOWER);
    multiply({part, z.kw, {d_system, 1, chunk}, now.k, z.kw}, c, z.kw, c, true, UPPER);
    add_to(dk, from, c);
    turn(d_state);
    float written[chunk] = {};
    through(u, now.left, 1, now.k, c, written, 1);
    add_to(dk, from, c);
    float last = now.last * dot(d_state, before, z.state());
    for (long i = 0; i < c; i++) {
      sums[i] -= written[i];
      last += written[i];
    }
    for (long i = c - 1; i >= 0; i--) g.d_decay[(start + from + i) * g.value_heads + head] = last += sums[i];
    // Of the state before.
    scale_row(d_state, d_state, z.state(), now.last);
    for (long i = 0; i < c; i++) scale_row(now.q + i * z.kw, scaled + i * z.kw, z.kw, now.since[i]);
    multiply({d_state, z.vw, {scaled, 1, z.kw}, d_out, z.vw}, z.keys, z.vw, c, true);
    for (long i = 0; i < c; i++) scale_row(now.k + i * z.kw, scaled + i * z.kw, z.kw, -now.since[i]);
    multiply({d_state, z.vw, {scaled, 1, z.kw}, d_missing, z.vw}, z.keys, z.vw, c, true);
  }

  void value_head(long start, long length, long key_head, long head) {
    __builtin_memset(state, 0, z.state() * sizeof(float));
    for (long from = 0; from < length; from += chunk) {
      const long c = smaller(chunk, length - from);
      __builtin_memcpy(states + from / chunk * z.state(), state, z.state() * sizeof(float));
      now.read(g, z, start + from, c, key_head, head);
      take_values(g, z, start + from, c, head, missing + from * z.vw);
      now.correct(z, c, state, missing + from * z.vw, corrections + from * z.vw);
      now.advance(z, c, state, corrections + from * z.vw, now.k);
    }
    __builtin_memset(d_state, 0, z.state() * sizeof(float));
    for (long from = (parts_of(length, chunk) - 1) * chunk; from >= 0; from -= chunk)
      chunk_back(start, from, smaller(chunk, length - from), key_head, head);
  }
};

void gated_delta_rule_grad(const Context* context, const GatedDeltaRule* call) {
  const GatedDeltaRule g = *call;
  const Sizes z(g);
  long longest = 0;
  for (long d = 0; d < g.documents; d++) longest = greater(longest, g.cu_seqlens[d + 1] - g.cu_seqlens[d]);
  const long room = Back::room(z, longest);
  float* const scratch =
      (float*)scratch_get(context->scratch, SCRATCH_KERNEL, pool_threads(context->pool) * room * sizeof(float));
  const long group = g.value_heads / g.key_heads;
  parallel_with_id(context, g.documents * g.key_heads, [=](long piece, int id) {
    const long document = piece / g.key_heads, key_head = piece % g.key_heads;
    const long start = g.cu_seqlens[document], length = g.cu_seqlens[document + 1] - start;
    if (length == 0) return;
    Back back(g, z, {scratch + id * room}, length);
    __builtin_memset(back.dq, 0, length * z.kw * sizeof(float));
    __builtin_memset(back.dk, 0, length * z.kw * sizeof(float));
    for (long head = key_head * group; head < (key_head + 1) * group; head++) back.value_head(start, length, key_head, head);
    const float shrunk = 1.f / __builtin_sqrtf((float)z.keys);
    for (long i = 0; i < length; i++) {
      const long at = (start + i) * z.row + key_head * z.keys;
      unit_grad(g.qkv, at, back.dq + i * z.kw, shrunk, g, z, back.part);
      unit_grad(g.qkv, at + z.first_key, back.dk + i * z.kw, 1, g, z, back.part);
    }
  });
}

}  // namespace

extern "C" void RX_FILL(gated_delta_rule)(KernelTable* table) {
  table->gated_delta_rule = gated_delta_rule;
  table->gated_delta_rule_grad = gated_delta_rule_grad;
}
