// The state-space scan of Mamba-2 in chunks of tokens (Dao & Gu 2024, arXiv 2405.21060). A head has a state H [state_dim, head_dim] that
// decays, is added to and is read by every token: H <- e^a H + B x~ᵀ, y = Hᵀ C + D x, with rate = clamp(softplus(dt + dt_bias)),
// a = -e^a_log rate and x~ = rate x. With s the running sums of a in a chunk and H the state before it:
//   y_i = Σ_{j <= i} e^(s_i - s_j) (C_i B_j) x~_j + e^s_i Hᵀ C_i + D x_i
//   H  <- e^s_last H + Σ_j e^(s_last - s_j) B_j x~_jᵀ
// What heads of a group share, B, C and C Bᵀ, is laid out first, a chunk at a time. Then heads of documents are pieces of work, chunk after
// chunk; on the way back some heads of one group are, which add up what they make of B and C.
#include "../kernel_table.h"
#include "../simd.h"
#include "chunk_rows.h"
#include "halves.h"
#include "parallel.h"
#include "small_products.h"
#include "softplus.h"

namespace {

constexpr long chunk_length = 64;

typedef StateSpaceScan Scan;

// Tokens first .. first + length - 1 of a document, and where what is laid out for them lies.
struct Chunk {
  long first, length, at;
};

enum { SLOT_CHUNKS = SCRATCH_KERNEL, SLOT_SHARED, SLOT_THREADS, SLOT_SUMS };

// Floats of what a chunk of so many tokens shares: B and C [length, whole(state_dim)], and products [length, whole(length)].
RX_INLINE long vectors_floats(const Scan* scan, long length) { return length * whole(scan->state_dim); }
RX_INLINE long shared_floats(const Scan* scan, long length) { return 2 * vectors_floats(scan, length) + length * whole(length); }

// The chunks of all documents, and of each document the number of its first.
struct Chunks {
  Chunk* list;
  long* first;
  long count, floats;
  Chunks(const Context* context, const Scan* scan) {
    count = 0, floats = 0;
    for (long d = 0; d < scan->documents; d++) count += parts_of(scan->cu_seqlens[d + 1] - scan->cu_seqlens[d], chunk_length);
    list = (Chunk*)scratch_get(context->scratch, SLOT_CHUNKS, (count + 1) * sizeof(Chunk) + (scan->documents + 1) * sizeof(long));
    first = (long*)(list + count + 1);
    long c = 0;
    for (long d = 0; d < scan->documents; d++) {
      first[d] = c;
      for (long row = scan->cu_seqlens[d]; row < scan->cu_seqlens[d + 1]; row += chunk_length, c++) {
        const long length = smaller(chunk_length, scan->cu_seqlens[d + 1] - row);
        list[c] = {row, length, floats};
        floats += shared_floats(scan, length);
      }
    }
    first[scan->documents] = c;
  }
};

RX_INLINE long inner(const Scan* scan) { return scan->heads * scan->head_dim; }
RX_INLINE long row_width(const Scan* scan) { return inner(scan) + 2 * scan->groups * scan->state_dim; }

// Rows of floats, whole vectors wide, of `columns` numbers of each of the rows from `row` on, ld apart.
RX_STATIC void take_rows(Values from, long ld, long row, long column, long rows, long columns, float* to) {
  const long width = whole(columns);
  for (long i = 0; i < rows; i++)
    each_vector(columns, [&](long j, auto lanes) {
      store(to + i * width + j, lanes.keep(take(lanes, from, (row + i) * ld + column + j), 0.f));
    });
}
RX_STATIC void put_rows(const float* from, Values to, long ld, long row, long column, long rows, long columns) {
  const long width = whole(columns);
  for (long i = 0; i < rows; i++)
    each_vector(columns, [&](long j, auto lanes) { put(lanes, to, (row + i) * ld + column + j, load(from + i * width + j)); });
}
RX_INLINE void clear(float* to, long floats) { __builtin_memset(to, 0, floats * sizeof(float)); }

// Columns of B and C of a group.
RX_INLINE long b_column(const Scan* scan, long group) { return inner(scan) + group * scan->state_dim; }
RX_INLINE long c_column(const Scan* scan, long group) { return b_column(scan, scan->groups + group); }

// What the heads of a group share in a chunk: B, C and their products, C Bᵀ on the way there and B Cᵀ on the way back.
struct Shared {
  float *b, *c, *products;
  Shared(const Scan* scan, const Chunk& chunk, const Chunks& chunks, float* base, long group) {
    b = base + group * chunks.floats + chunk.at;
    c = b + vectors_floats(scan, chunk.length);
    products = c + vectors_floats(scan, chunk.length);
  }
};

float* lay_out_shared(const Context* context, const Scan* scan, const Chunks& chunks, bool back) {
  float* const base = (float*)scratch_get(context->scratch, SLOT_SHARED, (scan->groups * chunks.floats + 1) * sizeof(float));
  const long threads = pool_threads(context->pool), turned_floats = whole(scan->state_dim) * whole(chunk_length);
  float* const all_turned = (float*)scratch_get(context->scratch, SLOT_THREADS, threads * turned_floats * sizeof(float));
  parallel_with_id(context, chunks.count * scan->groups, [=](long part, int id) {
    const long group = part % scan->groups;
    const Chunk& chunk = chunks.list[part / scan->groups];
    const Shared shared(scan, chunk, chunks, base, group);
    const long length = chunk.length, width = whole(scan->state_dim), across = whole(length);
    float* const turned = all_turned + id * turned_floats;
    take_rows(scan->xbc, row_width(scan), chunk.first, b_column(scan, group), length, scan->state_dim, shared.b);
    take_rows(scan->xbc, row_width(scan), chunk.first, c_column(scan, group), length, scan->state_dim, shared.c);
    transpose_into(back ? shared.c : shared.b, width, length, width, turned, across);
    multiply({shared.products, across, {back ? shared.b : shared.c, width, 1}, turned, across}, length, across, scan->state_dim, false,
             back ? UPPER_RESULT : LOWER_RESULT);
  });
  return base;
}

RX_INLINE float number_at(Values from, long i) { return take(SomeLanes{1}, from, i)[0]; }

// What of a head's decay is needed in a chunk.
struct Decay {
  float rate[chunk_length];     // what a token adds counts
  float slope[chunk_length];    // of rate, by what dt is
  float sum[chunk_length];      // s
  float from[chunk_length];     // e^s: what the state before counts
  float to_end[chunk_length];   // e^(s_last - s)
  float last;                   // e^s_last
};

RX_STATIC void find_decay(const Scan* scan, const Chunk& chunk, long head, float a, Decay* decay) {
  float x[chunk_length];
  for (long i = 0; i < chunk.length; i++) x[i] = number_at(scan->dt, (chunk.first + i) * scan->heads + head) + scan->dt_bias[head];
  each_vector(chunk.length, [&](long i, auto lanes) {
    const vf at = lanes.load(x + i), soft = softplus(at);
    const vf low = vset(scan->least), high = vset(scan->most);
    const vf rate = soft < low ? low : soft > high ? high : soft;
    lanes.store(decay->rate + i, rate);
    const vf inside = (soft >= low) & (soft <= high) ? vset(1.f) : vset(0.f);
    lanes.store(decay->slope + i, inside * vsigmoid(at));
  });
  float sum = 0;
  for (long i = 0; i < chunk.length; i++) decay->sum[i] = sum += summed_decay(a * decay->rate[i]);
  each_vector(chunk.length, [&](long i, auto lanes) {
    const vf at = lanes.load(decay->sum + i);
    lanes.store(decay->from + i, vexp(at));
    lanes.store(decay->to_end + i, vexp(vset(sum) - at));
  });
  decay->last = decay->from[chunk.length - 1];
}

// Which tokens of the vector from j on are not after i, and which are not before it.
RX_INLINE vi up_to(long i, long j) { return iota() + vseti((int32_t)j) <= vseti((int32_t)i); }
RX_INLINE vi onward(long i, long j) { return iota() + vseti((int32_t)j) >= vseti((int32_t)i); }

RX_INLINE vf sums_at(const Decay& decay, long j, long length) {
  return j + VW <= length ? load(decay.sum + j) : load_n(decay.sum + j, length - j);
}

RX_INLINE float slope_of_time(const Scan* scan, long head) {
  const vf power = vexp(vset(scan->a_log[head]));
  return -power[0];
}

RX_INLINE void take_state(const Scan* scan, long document, long head, float* state) {
  const Values from = values_of(scan->state);
  take_rows(from, scan->head_dim, (document * scan->heads + head) * scan->state_dim, 0, scan->state_dim, scan->head_dim, state);
}

void state_space_scan(const Context* context, const Scan* scan) {
  const Chunks chunks(context, scan);
  float* const base = lay_out_shared(context, scan, chunks, false);
  const long width = whole(scan->state_dim), depth = whole(scan->head_dim), across = whole(chunk_length);
  const long state_floats = scan->state_dim * depth;
  const long thread_floats = state_floats + 3 * chunk_length * depth + chunk_length * across;
  float* const threads = (float*)scratch_get(context->scratch, SLOT_THREADS, pool_threads(context->pool) * thread_floats * sizeof(float));
  parallel_with_id(context, scan->documents * scan->heads, [=](long part, int id) {
    const long document = part / scan->heads, head = part % scan->heads, group = head / (scan->heads / scan->groups);
    float* const state = threads + id * thread_floats;
    float* const x = state + state_floats;
    float* const added = x + chunk_length * depth;
    float* const y = added + chunk_length * depth;
    float* const weights = y + chunk_length * depth;
    const float a = slope_of_time(scan, head);
    bool holds = scan->state != nullptr;
    if (holds) take_state(scan, document, head, state);
    for (long c = chunks.first[document]; c < chunks.first[document + 1]; c++) {
      const Chunk& chunk = chunks.list[c];
      const Shared shared(scan, chunk, chunks, base, group);
      const long length = chunk.length, ld = whole(length);
      Decay decay;
      find_decay(scan, chunk, head, a, &decay);
      take_rows(scan->xbc, row_width(scan), chunk.first, head * scan->head_dim, length, scan->head_dim, x);
      for (long i = 0; i < length; i++) scale_row(x + i * depth, added + i * depth, depth, decay.rate[i]);
      for (long i = 0; i < length; i++)
        for (long j = 0; j < ld; j += VW) {
          // Beyond the diagonal lies what no product wrote, and e^(s_i - s_j) may be infinite.
          const vi earlier = up_to(i, j);
          const vf between = vexp(earlier ? vset(decay.sum[i]) - sums_at(decay, j, length) : vf{});
          store(weights + i * ld + j, earlier ? load(shared.products + i * ld + j) * between : vf{});
        }
      if (holds) {
        multiply({y, depth, {shared.c, width, 1}, state, depth}, length, depth, scan->state_dim, false);
        for (long i = 0; i < length; i++) scale_row(y + i * depth, y + i * depth, depth, decay.from[i]);
      }
      multiply({y, depth, {weights, ld, 1}, added, depth}, length, depth, length, holds, LOWER);
      const vf skip = vset(scan->skip[head]);
      for (long i = 0; i < length * depth; i += VW) store(y + i, fma(skip, load(x + i), load(y + i)));
      put_rows(y, scan->y, inner(scan), chunk.first, head * scan->head_dim, length, scan->head_dim);
      if (c + 1 == chunks.first[document + 1] && !scan->last) continue;
      for (long i = 0; i < length; i++) scale_row(added + i * depth, added + i * depth, depth, decay.to_end[i]);
      if (holds) scale_row(state, state, state_floats, decay.last);
      multiply({state, depth, {shared.b, 1, width}, added, depth}, scan->state_dim, depth, length, holds);
      holds = true;
    }
    if (!scan->last) return;
    if (!holds) clear(state, state_floats);
    const Values to = values_of(scan->last);
    put_rows(state, to, scan->head_dim, (document * scan->heads + head) * scan->state_dim, 0, scan->state_dim, scan->head_dim);
  });
}

// What the way back has on one thread while it goes through a head of a document.
struct Room {
  // states: of the state before each chunk, [head_dim, whole(state_dim)], and decays: of each chunk
  float *states, *d_state, *turned_state, *x, *added, *dy, *turned_dy, *d_added, *from_state, *weights, *d_weights;
  Decay* decays;
  static long floats(const Scan* scan, long longest) {
    const long width = whole(scan->state_dim), depth = whole(scan->head_dim), across = whole(chunk_length);
    const long decay_floats = whole((long)(sizeof(Decay) / sizeof(float)) + VW);
    return (longest + 1) * depth * width + width * depth + 4 * chunk_length * depth + depth * across +
           chunk_length * greater(width, depth) + 2 * chunk_length * across + longest * decay_floats;
  }
  Room(const Scan* scan, long longest, float* at) {
    const long width = whole(scan->state_dim), depth = whole(scan->head_dim), across = whole(chunk_length);
    states = at, d_state = states + longest * depth * width;
    turned_state = d_state + depth * width;
    x = turned_state + width * depth;
    added = x + chunk_length * depth;
    dy = added + chunk_length * depth;
    d_added = dy + chunk_length * depth;
    turned_dy = d_added + chunk_length * depth;
    from_state = turned_dy + depth * across;
    weights = from_state + chunk_length * greater(width, depth);
    d_weights = weights + chunk_length * across;
    decays = (Decay*)(d_weights + chunk_length * across);
  }
};

// Gradients of a_log, skip and dt_bias of one head in one document.
struct HeadSums {
  double a_log, skip, dt_bias;
};

// With M_ij = e^(s_i - s_j) (C_i B_j) and dH the gradient of the state after a chunk:
//   dx~_j = Σ_{i >= j} M_ij dy_i + e^(s_last - s_j) dHᵀ B_j
//   dB_j  = Σ_h Σ_i dM_ij e^(s_i - s_j) C_i + e^(s_last - s_j) dH x~_j,  dC_i likewise of e^s_i H dy_i
//   dH   <- e^s_last dH + Σ_i e^s_i C_i dy_iᵀ
// da_t is the sum of all that goes past t, each at its own gradient, so that nothing large is subtracted from its like:
//   da_t  = Σ_{i >= t > k} dM_ik M_ik + Σ_{i >= t} e^s_i dy_i Hᵀ C_i + Σ_{k < t} e^(s_last - s_k) x~_k dHᵀ B_k + e^s_last dH H
// Products of tokens lie the other way round here, row j having those of all i >= j.
RX_STATIC HeadSums head_back(const Scan* scan, const Chunks& chunks, float* base, float* part_base, long document, long head, bool first_of_part,
                             const Room& room) {
  const long group = head / (scan->heads / scan->groups);
  const long width = whole(scan->state_dim), depth = whole(scan->head_dim), state_floats = scan->head_dim * width;
  const long from = chunks.first[document], to = chunks.first[document + 1];
  const float a = slope_of_time(scan, head);
  HeadSums sums = {};
  for (long c = from; c < to; c++) {
    const Chunk& chunk = chunks.list[c];
    const Shared shared(scan, chunk, chunks, base, group);
    Decay& decay = room.decays[c - from];
    find_decay(scan, chunk, head, a, &decay);
    if (c + 1 == to) break;
    take_rows(scan->xbc, row_width(scan), chunk.first, head * scan->head_dim, chunk.length, scan->head_dim, room.x);
    for (long i = 0; i < chunk.length; i++) scale_row(room.x + i * depth, room.added + i * depth, depth, decay.rate[i] * decay.to_end[i]);
    float* const after = room.states + (c + 1 - from) * state_floats;
    if (c > from) scale_row(after - state_floats, after, state_floats, decay.last);
    multiply({after, width, {room.added, 1, depth}, shared.b, width}, scan->head_dim, width, chunk.length, c > from);
  }
  for (long c = to - 1; c >= from; c--) {
    const Chunk& chunk = chunks.list[c];
    const Shared shared(scan, chunk, chunks, base, group), part(scan, chunk, chunks, part_base, 0);
    const Decay& decay = room.decays[c - from];
    const long length = chunk.length, ld = whole(length);
    const bool has_before = c > from, has_after = c + 1 < to;
    float* const before = room.states + (c - from) * state_floats;
    if (first_of_part) clear(part.b, shared_floats(scan, length));
    take_rows(scan->xbc, row_width(scan), chunk.first, head * scan->head_dim, length, scan->head_dim, room.x);
    take_rows(scan->dy, inner(scan), chunk.first, head * scan->head_dim, length, scan->head_dim, room.dy);
    for (long i = 0; i < length; i++) scale_row(room.x + i * depth, room.added + i * depth, depth, decay.rate[i]);
    transpose_into(room.dy, depth, length, depth, room.turned_dy, ld);
    multiply({room.d_weights, ld, {room.added, depth, 1}, room.turned_dy, ld}, length, ld, scan->head_dim, false, UPPER_RESULT);
    // What comes from tokens before t, by where it goes; and all of it that goes past t.
    float arrived[chunk_length] = {}, past[chunk_length];
    for (long j = 0; j < length; j++) {
      vf passing = {};
      for (long i = 0; i < ld; i += VW) {
        if (i + VW <= j) {
          store(room.weights + j * ld + i, vf{});
          continue;
        }
        const vi later = onward(j, i) & up_to(length - 1, i);
        const vf between = vexp(later ? sums_at(decay, i, length) - vset(decay.sum[j]) : vf{});
        const vf d = later ? load(room.d_weights + j * ld + i) : vf{};
        const vf weight = later ? load(shared.products + j * ld + i) * between : vf{};
        store(room.weights + j * ld + i, weight);
        store(part.products + j * ld + i, fma(d, later ? between : vf{}, load(part.products + j * ld + i)));
        const vf before = load(arrived + i);
        passing += later ? before : vf{};
        store(arrived + i, fma(d, weight, before));
      }
      past[j] = hsum(passing);
    }
    multiply({room.d_added, depth, {room.weights, ld, 1}, room.dy, depth}, length, depth, length, false, UPPER);
    float kept_on[chunk_length] = {}, read[chunk_length] = {}, through = 0;
    if (has_after) {
      transpose_into(room.d_state, width, scan->head_dim, width, room.turned_state, depth);
      multiply({room.from_state, depth, {shared.b, width, 1}, room.turned_state, depth}, length, depth, scan->state_dim, false);
      for (long i = 0; i < length; i++) {
        float* const own = room.from_state + i * depth;
        scale_row(own, own, depth, decay.to_end[i]);
        kept_on[i] = dot(own, room.added + i * depth, depth);
        for (long j = 0; j < depth; j += VW) store(room.d_added + i * depth + j, load(room.d_added + i * depth + j) + load(own + j));
        scale_row(room.added + i * depth, own, depth, decay.to_end[i]);
      }
      multiply({part.b, width, {room.from_state, depth, 1}, room.d_state, width}, length, width, scan->head_dim, true);
      if (has_before) through = decay.last * dot(room.d_state, before, state_floats);
    }
    // dy counts for D and x first: then it is scaled for the state.
    const vf skip = vset(scan->skip[head]);
    float of_x[chunk_length];
    for (long i = 0; i < length; i++) {
      float* const d = room.d_added + i * depth;
      of_x[i] = dot(d, room.x + i * depth, depth);
      sums.skip += dot(room.dy + i * depth, room.x + i * depth, depth);
      for (long j = 0; j < depth; j += VW) store(d + j, fma(skip, load(room.dy + i * depth + j), load(d + j) * vset(decay.rate[i])));
    }
    put_rows(room.d_added, scan->d_xbc, row_width(scan), chunk.first, head * scan->head_dim, length, scan->head_dim);
    if (has_before) {
      for (long i = 0; i < length; i++) scale_row(room.dy + i * depth, room.dy + i * depth, depth, decay.from[i]);
      multiply({room.from_state, width, {room.dy, depth, 1}, before, width}, length, width, scan->head_dim, false);
      for (long i = 0; i < length; i++) {
        const float* const own = room.from_state + i * width;
        read[i] = dot(own, shared.c + i * width, width);
        for (long j = 0; j < width; j += VW) store(part.c + i * width + j, load(part.c + i * width + j) + load(own + j));
      }
      if (has_after) scale_row(room.d_state, room.d_state, state_floats, decay.last);
      multiply({room.d_state, width, {room.dy, 1, depth}, shared.c, width}, scan->head_dim, width, length, has_after);
    }
    float kept_before = 0;
    for (long i = 0; i < length; i++) past[i] += kept_before, kept_before += kept_on[i];
    float read_after = 0;
    for (long i = length - 1; i >= 0; i--) {
      read_after += read[i];
      const float da = past[i] + read_after + through;
      sums.a_log += da * decay.rate[i] * a;
      const float d_dt = (a * da + of_x[i]) * decay.slope[i];
      sums.dt_bias += d_dt;
      const long at = (chunk.first + i) * scan->heads + head;
      put(SomeLanes{1}, scan->d_dt, at, vset(d_dt));
    }
  }
  return sums;
}

void state_space_scan_grad(const Context* context, const Scan* scan) {
  const Chunks chunks(context, scan);
  float* const base = lay_out_shared(context, scan, chunks, true);
  long longest = 0;
  for (long d = 0; d < scan->documents; d++) longest = greater(longest, chunks.first[d + 1] - chunks.first[d]);
  // Parts of a group's heads, each with sums of its own: their number depends on the shape alone.
  const long heads = scan->heads / scan->groups;
  const long parts = smaller(heads, smaller(8, parts_of(16, greater(1, scan->documents * scan->groups))));
  const long room_floats = whole(Room::floats(scan, longest)), head_sums = scan->documents * scan->heads;
  const long sums_floats = scan->groups * parts * chunks.floats;
  float* const threads = (float*)scratch_get(context->scratch, SLOT_THREADS, pool_threads(context->pool) * room_floats * sizeof(float));
  float* const sums = (float*)scratch_get(context->scratch, SLOT_SUMS, (sums_floats + 1) * sizeof(float) + (head_sums + 1) * sizeof(HeadSums));
  HeadSums* const of_heads = (HeadSums*)(sums + sums_floats);
  parallel_with_id(context, scan->documents * scan->groups * parts, [=](long piece, int id) {
    const long part = piece % parts, group = piece / parts % scan->groups, document = piece / parts / scan->groups;
    const Room room(scan, longest, threads + id * room_floats);
    const long from = group * heads + heads * part / parts, to = group * heads + heads * (part + 1) / parts;
    for (long head = from; head < to; head++)
      of_heads[document * scan->heads + head] =
          head_back(scan, chunks, base, sums + (group * parts + part) * chunks.floats, document, head, head == from, room);
  });
  // What lies shared has served; the sums of the parts meet in the first.
  parallel(context, chunks.count * scan->groups, [=](long piece) {
    const long group = piece % scan->groups;
    const Chunk& chunk = chunks.list[piece / scan->groups];
    const long length = chunk.length, width = whole(scan->state_dim), ld = whole(length), floats = shared_floats(scan, length);
    float* const own = sums + group * parts * chunks.floats;
    for (long part = 1; part < parts; part++)
      for (long i = 0; i < floats; i += VW) {
        float* const to = own + chunk.at + i;
        store(to, load(to) + load(to + part * chunks.floats));
      }
    const Shared shared(scan, chunk, chunks, base, group), d(scan, chunk, chunks, own, 0);
    multiply({d.c, width, {d.products, 1, ld}, shared.b, width}, length, width, length, true, LOWER);
    multiply({d.b, width, {d.products, ld, 1}, shared.c, width}, length, width, length, true, UPPER);
    put_rows(d.b, scan->d_xbc, row_width(scan), chunk.first, b_column(scan, group), length, scan->state_dim);
    put_rows(d.c, scan->d_xbc, row_width(scan), chunk.first, c_column(scan, group), length, scan->state_dim);
  });
  for (long head = 0; head < scan->heads; head++) {
    HeadSums sum = {};
    for (long document = 0; document < scan->documents; document++) {
      if (chunks.first[document] == chunks.first[document + 1]) continue;
      const HeadSums& one = of_heads[document * scan->heads + head];
      sum.a_log += one.a_log, sum.skip += one.skip, sum.dt_bias += one.dt_bias;
    }
    scan->d_a_log[head] = (float)sum.a_log, scan->d_skip[head] = (float)sum.skip, scan->d_dt_bias[head] = (float)sum.dt_bias;
  }
}

}  // namespace

extern "C" void RX_FILL(state_space_scan)(KernelTable* table) {
  table->state_space_scan = state_space_scan;
  table->state_space_scan_grad = state_space_scan_grad;
}
