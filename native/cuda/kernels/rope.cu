// Rotary position embedding of the first rotary_dim columns of each head: (a, b) -> (a cos - b sin, b cos + a sin), the two half of
// rotary_dim apart or, interleaved, beside each other. A pair or a column that stays a thread; y may be x.
#include "device.h"

namespace {

// A thread turns eight pairs of some heads of a row, whose angles it reads once.
constexpr long heads_of_a_thread = 4;

template <class T>
__device__ void turn_vectors(const T* x, const float* cosines, const float* sines, T* y, long rows, long heads, long head_dim, long rotary_dim,
                             bool inverse) {
  const long half = rotary_dim / 2, pieces = half / 8, beside = (heads + heads_of_a_thread - 1) / heads_of_a_thread;
  for (long i = thread_index(); i < rows * beside * pieces; i += grid_threads()) {
    const Split at = split(i, pieces), place = split(at.whole, beside);
    const long row = place.whole, c = 8 * at.rest;
    float cosine[8], sine[8];
    load_eight(cosines + row * half + c, cosine);
    load_eight(sines + row * half + c, sine);
#pragma unroll
    for (int e = 0; e < 8; e++) sine[e] = inverse ? -sine[e] : sine[e];
#pragma unroll
    for (long h = 0; h < heads_of_a_thread; h++) {
      const long head = place.rest + h * beside;
      if (head >= heads) break;
      const long one = (row * heads + head) * head_dim + c, other = one + half;
      float a[8], b[8], left[8], right[8];
      load_eight(x + one, a);
      load_eight(x + other, b);
#pragma unroll
      for (int e = 0; e < 8; e++) {
        left[e] = a[e] * cosine[e] - b[e] * sine[e];
        right[e] = b[e] * cosine[e] + a[e] * sine[e];
      }
      store_eight(y + one, left);
      store_eight(y + other, right);
    }
  }
}

}  // namespace

extern "C" __global__ void rx_rope(Values x, const float* cosines, const float* sines, Values y, long rows, long heads,
                                   long head_dim, long rotary_dim, int inverse, int interleaved) {
  const long half = rotary_dim / 2;
  const bool whole = head_dim == rotary_dim || x.at == y.at;
  if (whole && !interleaved && half > 0 && half % 8 == 0 && head_dim % 8 == 0 && x.half == y.half && in_vectors(x.at, y.at, cosines, sines)) {
    as_they_lie(x, 0, [&](auto* from) {
      turn_vectors(from, cosines, sines, static_cast<decltype(from)>(y.at), rows, heads, head_dim, rotary_dim, inverse != 0);
    });
    return;
  }
  const long each = head_dim - half;
  for (long i = thread_index(); i < rows * heads * each; i += grid_threads()) {
    const Split at = split(i, each);
    const long head = at.whole, c = at.rest, row = split(head, heads).whole;
    const long first = head * head_dim;
    if (c < half) {
      const long one = first + (interleaved ? 2 * c : c), other = one + (interleaved ? 1 : half);
      const float a = load(x, one), b = load(x, other);
      const float cosine = cosines[row * half + c];
      const float sine = inverse ? -sines[row * half + c] : sines[row * half + c];
      store(y, one, a * cosine - b * sine);
      store(y, other, b * cosine + a * sine);
    } else {
      store(y, first + half + c, load(x, first + half + c));
    }
  }
}
