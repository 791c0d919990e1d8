// Heads of multi-head latent attention (DeepSeek-V2, section 2.1), in one launch each way: queries turned in part, keys and values out of
// the matrix that has both side by side, and what turns of keys, once for all heads, to each of them. Everything is read once and written
// once, four numbers a thread where whole vectors of four lie so.
#include "device.h"

namespace {

// `some` numbers from i on.
template <int some>
__device__ __forceinline__ void read_some(const Values& from, long i, float* x) {
  if constexpr (some == 4) {
    const float4 all = load_four(from, i);
    x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
  } else {
    x[0] = load(from, i);
  }
}
template <int some>
__device__ __forceinline__ void write_some(const Values& to, long i, const float* x) {
  if constexpr (some == 4)
    store_four(to, i, {x[0], x[1], x[2], x[3]});
  else
    store(to, i, x[0]);
}
template <int some>
__device__ __forceinline__ void copy_some(const Values& from, long i, const Values& to, long j) {
  float x[some];
  read_some<some>(from, i, x);
  write_some<some>(to, j, x);
}

// Pairs c .. c + some - 1 of what turns of a row, from its first number on: (one, other), beside each other or half a row apart.
template <int some>
struct Pairs {
  float one[some], other[some];

  __device__ __forceinline__ void read(const RxLatentHeads& a, const Values& from, long first, long c) {
    if (!a.interleaved) {
      read_some<some>(from, first + c, one);
      read_some<some>(from, first + a.rope_dim / 2 + c, other);
    } else if constexpr (some == 4) {
      float x[8];
      read_some<4>(from, first + 2 * c, x);
      read_some<4>(from, first + 2 * c + 4, x + 4);
#pragma unroll
      for (int e = 0; e < 4; e++) one[e] = x[2 * e], other[e] = x[2 * e + 1];
    } else {
      one[0] = load(from, first + 2 * c), other[0] = load(from, first + 2 * c + 1);
    }
  }
  __device__ __forceinline__ void write(const RxLatentHeads& a, const Values& to, long first, long c) const {
    if (!a.interleaved) {
      write_some<some>(to, first + c, one);
      write_some<some>(to, first + a.rope_dim / 2 + c, other);
    } else if constexpr (some == 4) {
      const float x[8] = {one[0], other[0], one[1], other[1], one[2], other[2], one[3], other[3]};
      write_some<4>(to, first + 2 * c, x);
      write_some<4>(to, first + 2 * c + 4, x + 4);
    } else {
      store(to, first + 2 * c, one[0]), store(to, first + 2 * c + 1, other[0]);
    }
  }
  __device__ __forceinline__ void turn(const RxLatentHeads& a, long row, long c, bool back) {
    const long at = row * (a.rope_dim / 2) + c;
    float cosine[some], sine[some];
    read_some<some>(plain(a.cos), at, cosine);
    read_some<some>(plain(a.sin), at, sine);
#pragma unroll
    for (int e = 0; e < some; e++) {
      const float x = one[e], y = other[e], s = back ? -sine[e] : sine[e];
      one[e] = x * cosine[e] - y * s;
      other[e] = y * cosine[e] + x * s;
    }
  }
};

__device__ __forceinline__ bool latent_in_fours(const RxLatentHeads& a) {
  return a.nope_dim % 4 == 0 && a.rope_dim % 8 == 0 && a.value_dim % 4 == 0 && in_fours(a.q) && in_fours(a.kv) && in_fours(a.shared) &&
         in_fours(a.k) && in_fours(a.v) && in_fours(a.q_out) && in_vectors(a.cos, a.sin);
}

// The pieces of a head: of a query what stays and what turns, of a key likewise, values.
template <int some>
__device__ void latent_heads(const RxLatentHeads& a) {
  const long stays = a.nope_dim / some, turns = a.rope_dim / 2 / some, values = a.value_dim / some;
  const long each = 2 * stays + 2 * turns + values, width = a.nope_dim + a.rope_dim, both = a.nope_dim + a.value_dim;
  for (long i = thread_index(); i < a.rows * a.heads * each; i += grid_threads()) {
    const Split at = split(i, each);
    const long head = at.whole, row = split(head, a.heads).whole;
    long c = at.rest;
    if (c < stays) {
      copy_some<some>(a.q, head * width + c * some, a.q_out, head * width + c * some);
    } else if ((c -= stays) < stays) {
      copy_some<some>(a.kv, head * both + c * some, a.k, head * width + c * some);
    } else if ((c -= stays) < values) {
      copy_some<some>(a.kv, head * both + a.nope_dim + c * some, a.v, head * a.value_dim + c * some);
    } else {
      c -= values;
      const bool key = c >= turns;
      if (key) c -= turns;
      Pairs<some> pairs;
      pairs.read(a, key ? a.shared : a.q, key ? row * a.rope_dim : head * width + a.nope_dim, c * some);
      pairs.turn(a, row, c * some, false);
      pairs.write(a, key ? a.k : a.q_out, head * width + a.nope_dim, c * some);
    }
  }
}

// Of a row, the pieces of all heads, and then those of what all of them share, summed in the order of heads.
template <int some>
__device__ void latent_heads_grad(const RxLatentHeads& a) {
  const long stays = a.nope_dim / some, turns = a.rope_dim / 2 / some, values = a.value_dim / some;
  const long each = 2 * stays + turns + values, of_row = a.heads * each + turns, width = a.nope_dim + a.rope_dim, both = a.nope_dim + a.value_dim;
  for (long i = thread_index(); i < a.rows * of_row; i += grid_threads()) {
    const Split at = split(i, of_row);
    const long row = at.whole;
    // What is shared takes longest: first.
    if (at.rest < turns) {
      const long c = at.rest * some;
      Pairs<some> sum, next;
#pragma unroll
      for (int e = 0; e < some; e++) sum.one[e] = sum.other[e] = 0.f;
      for (long head = row * a.heads; head < (row + 1) * a.heads; head++) {
        next.read(a, a.k, head * width + a.nope_dim, c);
#pragma unroll
        for (int e = 0; e < some; e++) sum.one[e] += next.one[e], sum.other[e] += next.other[e];
      }
      sum.turn(a, row, c, true);
      sum.write(a, a.shared, row * a.rope_dim, c);
      continue;
    }
    const Split of_head = split(at.rest - turns, each);
    const long head = row * a.heads + of_head.whole;
    long c = of_head.rest;
    if (c < stays) {
      copy_some<some>(a.q, head * width + c * some, a.q_out, head * width + c * some);
    } else if ((c -= stays) < stays) {
      copy_some<some>(a.k, head * width + c * some, a.kv, head * both + c * some);
    } else if ((c -= stays) < values) {
      copy_some<some>(a.v, head * a.value_dim + c * some, a.kv, head * both + a.nope_dim + c * some);
    } else {
      c -= values;
      Pairs<some> pairs;
      pairs.read(a, a.q, head * width + a.nope_dim, c * some);
      pairs.turn(a, row, c * some, true);
      pairs.write(a, a.q_out, head * width + a.nope_dim, c * some);
    }
  }
}

}  // namespace

extern "C" __global__ void rx_latent_heads(RxLatentHeads a) {
  if (latent_in_fours(a))
    latent_heads<4>(a);
  else
    latent_heads<1>(a);
}
extern "C" __global__ void rx_latent_heads_grad(RxLatentHeads a) {
  if (latent_in_fours(a))
    latent_heads_grad<4>(a);
  else
    latent_heads_grad<1>(a);
}
