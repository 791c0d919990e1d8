// The selective scan of Mamba (Gu & Dao 2023, arXiv 2312.00752). A channel has a state h [state_dim] that decays, is added to and is read by
// every token: h <- e^(rate a) h + rate x b, y = c h + D x, with rate = log(1 + e^dt) and a = -e^a_log. A vector holds a number of each of VW
// channels, so that states of all of them go on together and only gradients of b and c add up lanes.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"
#include "softplus.h"

namespace {

typedef SelectiveScan Scan;

enum { SLOT_THREADS = SCRATCH_KERNEL, SLOT_SUMS };

// Calls f with the lanes of the vector of channels from this one on.
template <class F>
RX_INLINE void with_lanes(const Scan* scan, long channel, F f) {
  if (channel + VW <= scan->channels)
    f(AllLanes());
  else
    f(SomeLanes{scan->channels - channel});
}

// Rows of numbers of each channel, [channels, state_dim], as vectors of channels [state_dim, VW], and back.
template <class Lanes>
RX_INLINE void take_turned(const Lanes& lanes, const float* from, long channel, long state_dim, float* to) {
  for (long s = 0; s < state_dim; s++)
    for (long i = 0; i < VW; i++) to[s * VW + i] = i < lanes.count() ? from[(channel + i) * state_dim + s] : 0.f;
}
template <class Lanes>
RX_INLINE void put_turned(const Lanes& lanes, const float* from, float* to, long channel, long state_dim) {
  for (long i = 0; i < lanes.count(); i++)
    for (long s = 0; s < state_dim; s++) to[(channel + i) * state_dim + s] = from[s * VW + i];
}

template <class Lanes>
RX_INLINE void take_rates(const Lanes& lanes, const Scan* scan, long channel, float* a) {
  take_turned(lanes, scan->a_log, channel, scan->state_dim, a);
  for (long s = 0; s < scan->state_dim * VW; s += VW) store(a + s, -vexp(load(a + s)));
}

// A row of b or c as floats.
RX_INLINE void take_row(Values from, long t, long state_dim, float* to) {
  each_vector(state_dim, [&](long s, auto lanes) { lanes.store(to + s, take(lanes, from, t * state_dim + s)); });
}

void selective_scan(const Context* context, const Scan* scan) {
  const long vectors = parts_of(scan->channels, VW), state_floats = scan->state_dim * VW;
  const long room_floats = 4 * state_floats;
  float* const threads = (float*)scratch_get(context->scratch, SLOT_THREADS, pool_threads(context->pool) * room_floats * sizeof(float));
  parallel_with_id(context, scan->documents * vectors, [=](long piece, int id) {
    const long document = piece / vectors, channel = piece % vectors * VW, state_dim = scan->state_dim;
    float* const a = threads + id * room_floats;
    float* const h = a + state_floats;
    float* const b = h + state_floats;
    float* const c = b + state_floats;
    with_lanes(scan, channel, [&](auto lanes) {
      take_rates(lanes, scan, channel, a);
      if (scan->state)
        take_turned(lanes, scan->state + document * scan->channels * state_dim, channel, state_dim, h);
      else
        __builtin_memset(h, 0, state_floats * sizeof(float));
      const vf skip = lanes.load(scan->skip + channel);
      for (long t = scan->cu_seqlens[document]; t < scan->cu_seqlens[document + 1]; t++) {
        take_row(scan->b, t, state_dim, b), take_row(scan->c, t, state_dim, c);
        const vf x = take(lanes, scan->x, t * scan->channels + channel);
        const vf rate = softplus(take(lanes, scan->dt, t * scan->channels + channel)), added = rate * x;
        vf y = skip * x;
        for (long s = 0; s < state_dim; s++) {
          const vf next = fma(vexp(rate * load(a + s * VW)), load(h + s * VW), added * vset(b[s]));
          store(h + s * VW, next);
          y = fma(next, vset(c[s]), y);
        }
        put(lanes, scan->y, t * scan->channels + channel, y);
      }
      if (scan->last) put_turned(lanes, h, scan->last + document * scan->channels * state_dim, channel, state_dim);
    });
  });
}

// Tokens whose states lie at a time on the way back.
constexpr long chunk_length = 16;

// What the way back has of one vector of channels. states: before each chunk
struct Channels {
  float *a, *g, *d_a, *d_skip, *states;
  static long floats(long state_dim, long chunks) { return (3 + chunks) * state_dim * VW + VW; }
  Channels(long state_dim, float* at)
      : a(at), g(a + state_dim * VW), d_a(g + state_dim * VW), d_skip(d_a + state_dim * VW), states(d_skip + VW) {}
};

// And of one chunk: states before and after its tokens, what stays of them, b and c, and the gradients of these, a vector of channels each.
struct Room {
  float *h, *kept, *b, *c, *d_b, *d_c;
  static long floats(long state_dim) { return (4 * chunk_length + 1) * state_dim * VW + 2 * whole_rows(state_dim); }
  static long whole_rows(long state_dim) { return chunk_length * state_dim + VW; }
  Room(long state_dim, float* at) {
    h = at, kept = h + (chunk_length + 1) * state_dim * VW;
    d_b = kept + chunk_length * state_dim * VW, d_c = d_b + chunk_length * state_dim * VW;
    b = d_c + chunk_length * state_dim * VW, c = b + whole_rows(state_dim);
  }
};

// With g what reaches a state from the tokens from its own on:
//   g += dy c, dc = Σ dy h, db = Σ g rate x, d(kept) = g h_before, d(rate x) = g b, g <- kept g
// sums of b and c being over all channels.
template <class Lanes>
RX_INLINE void chunk_back(const Lanes& lanes, const Scan* scan, long first, long length, long channel, const float* before, const Channels& of,
                          const Room& room) {
  const long state_dim = scan->state_dim, state_floats = state_dim * VW;
  vf x[chunk_length], rate[chunk_length];
  __builtin_memcpy(room.h, before, state_floats * sizeof(float));
  for (long i = 0; i < length; i++) {
    const long at = (first + i) * scan->channels + channel;
    x[i] = take(lanes, scan->x, at), rate[i] = softplus(take(lanes, scan->dt, at));
    const vf added = rate[i] * x[i];
    for (long s = 0; s < state_dim; s++) {
      const long place = i * state_floats + s * VW;
      const vf kept = vexp(rate[i] * load(of.a + s * VW));
      store(room.kept + place, kept);
      store(room.h + place + state_floats, fma(kept, load(room.h + place), added * vset(room.b[i * state_dim + s])));
    }
  }
  const vf skip = lanes.load(scan->skip + channel);
  vf d_skip = load(of.d_skip);
  for (long i = length - 1; i >= 0; i--) {
    const long at = (first + i) * scan->channels + channel;
    // Lanes beyond the last channel add nothing to what all channels share.
    const vf up = lanes.keep(take(lanes, scan->dy, at), 0.f), added = lanes.keep(rate[i] * x[i], 0.f);
    vf read = {}, d_rate = {};
    for (long s = 0; s < state_dim; s++) {
      const long place = i * state_floats + s * VW;
      const vf g = fma(up, vset(room.c[i * state_dim + s]), load(of.g + s * VW)), kept = load(room.kept + place);
      store(room.d_c + place, fma(up, load(room.h + place + state_floats), load(room.d_c + place)));
      store(room.d_b + place, fma(g, added, load(room.d_b + place)));
      read = fma(g, vset(room.b[i * state_dim + s]), read);
      const vf on = kept * g, decayed = on * load(room.h + place);
      d_rate = fma(decayed, load(of.a + s * VW), d_rate);
      store(of.d_a + s * VW, fma(decayed, rate[i], load(of.d_a + s * VW)));
      store(of.g + s * VW, on);
    }
    d_skip = fma(up, x[i], d_skip);
    put(lanes, scan->d_x, at, fma(read, rate[i], up * skip));
    put(lanes, scan->d_dt, at, fma(read, x[i], d_rate) * vsigmoid(take(lanes, scan->dt, at)));
  }
  store(of.d_skip, d_skip);
}

// The state before each chunk of a document.
template <class Lanes>
RX_INLINE void find_states(const Lanes& lanes, const Scan* scan, long from, long to, long channel, const Channels& of, float* b) {
  const long state_dim = scan->state_dim, state_floats = state_dim * VW;
  __builtin_memset(of.states, 0, state_floats * sizeof(float));
  for (long first = from, chunk = 0; first + chunk_length < to; first += chunk_length, chunk++) {
    float* const h = of.states + (chunk + 1) * state_floats;
    __builtin_memcpy(h, h - state_floats, state_floats * sizeof(float));
    for (long t = first; t < first + chunk_length; t++) {
      take_row(scan->b, t, state_dim, b);
      const long at = t * scan->channels + channel;
      const vf rate = softplus(take(lanes, scan->dt, at)), added = rate * take(lanes, scan->x, at);
      for (long s = 0; s < state_dim; s++)
        store(h + s * VW, fma(vexp(rate * load(of.a + s * VW)), load(h + s * VW), added * vset(b[s])));
    }
  }
}

void selective_scan_grad(const Context* context, const Scan* scan) {
  const long vectors = parts_of(scan->channels, VW), state_dim = scan->state_dim, state_floats = state_dim * VW;
  long longest = 1;
  for (long d = 0; d < scan->documents; d++) longest = greater(longest, scan->cu_seqlens[d + 1] - scan->cu_seqlens[d]);
  const long channels_floats = Channels::floats(state_dim, parts_of(longest, chunk_length));
  // Parts of the channels, each with sums of its own of what all share: their number depends on the shape alone.
  const long parts = smaller(vectors, 16), sums_floats = scan->rows * state_dim;
  const long thread_floats = Room::floats(state_dim) + parts_of(vectors, parts) * channels_floats;
  float* const threads = (float*)scratch_get(context->scratch, SLOT_THREADS, pool_threads(context->pool) * thread_floats * sizeof(float));
  float* const sums = (float*)scratch_get(context->scratch, SLOT_SUMS, (2 * parts * sums_floats + 1) * sizeof(float));
  parallel_with_id(context, parts, [=](long part, int id) {
    const Room room(state_dim, threads + id * thread_floats);
    float* const all = threads + id * thread_floats + Room::floats(state_dim);
    const long begin = vectors * part / parts, end = vectors * (part + 1) / parts;
    const auto each = [&](auto f) {
      for (long v = begin; v < end; v++)
        with_lanes(scan, v * VW, [&](auto lanes) { f(lanes, v * VW, Channels(state_dim, all + (v - begin) * channels_floats)); });
    };
    each([&](auto lanes, long channel, const Channels& of) {
      take_rates(lanes, scan, channel, of.a);
      __builtin_memset(of.d_a, 0, state_floats * sizeof(float));
      store(of.d_skip, vf{});
    });
    float* const own_b = sums + 2 * part * sums_floats;
    float* const own_c = own_b + sums_floats;
    for (long document = 0; document < scan->documents; document++) {
      const long from = scan->cu_seqlens[document], to = scan->cu_seqlens[document + 1];
      each([&](auto lanes, long channel, const Channels& of) {
        find_states(lanes, scan, from, to, channel, of, room.b);
        __builtin_memset(of.g, 0, state_floats * sizeof(float));
      });
      for (long chunk = parts_of(to - from, chunk_length) - 1; chunk >= 0; chunk--) {
        const long first = from + chunk * chunk_length, length = smaller(chunk_length, to - first);
        for (long i = 0; i < length; i++) {
          take_row(scan->b, first + i, state_dim, room.b + i * state_dim);
          take_row(scan->c, first + i, state_dim, room.c + i * state_dim);
        }
        __builtin_memset(room.d_b, 0, 2 * chunk_length * state_floats * sizeof(float));
        each([&](auto lanes, long channel, const Channels& of) {
          chunk_back(lanes, scan, first, length, channel, of.states + chunk * state_floats, of, room);
        });
        for (long i = 0; i < length * state_dim; i++) {
          own_b[first * state_dim + i] = hsum(load(room.d_b + i * VW));
          own_c[first * state_dim + i] = hsum(load(room.d_c + i * VW));
        }
      }
    }
    each([&](auto lanes, long channel, const Channels& of) {
      for (long s = 0; s < state_dim; s++) store(of.d_a + s * VW, load(of.d_a + s * VW) * load(of.a + s * VW));
      put_turned(lanes, of.d_a, scan->d_a_log, channel, state_dim);
      lanes.store(scan->d_skip + channel, load(of.d_skip));
    });
  });
  // The sums of the parts meet.
  const long size = 4096;
  parallel(context, parts_of(sums_floats, size), [=](long piece) {
    const long from = piece * size, count = smaller(size, sums_floats - from);
    each_vector(count, [&](long i, auto lanes) {
      vf b = {}, c = {};
      for (long part = 0; part < parts; part++) {
        const float* const own = sums + 2 * part * sums_floats + from + i;
        b = b + lanes.load(own), c = c + lanes.load(own + sums_floats);
      }
      put(lanes, scan->d_b, from + i, b), put(lanes, scan->d_c, from + i, c);
    });
  });
}

}  // namespace

extern "C" void RX_FILL(selective_scan)(KernelTable* table) {
  table->selective_scan = selective_scan;
  table->selective_scan_grad = selective_scan_grad;
}
