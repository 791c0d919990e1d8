// Rotation of pairs of numbers (Su et al. 2021).
#pragma once

#include "../simd.h"
#include "halves.h"

namespace {

// Writes 2 * half numbers, each pair (x1, x2) as (x1 cos - x2 sin, x2 cos + x1 sin), or turned back; c, s [half]. A pair's entries lie half
// apart (the layout of Llama) or, interleaved, beside each other (that of GPT-J). read(lanes, i) gives the numbers from i on; they are read
// before they are written, so that they may be the same.
template <class Read>
RX_INLINE void turn(Read read, Values to, const float* c, const float* s, long half, bool inverse, bool interleaved) {
  const vf sign = vset(inverse ? -1.f : 1.f);
  if (interleaved) {
    const vf signs = (iota() & 1) == 1 ? sign : -sign;
    each_vector(2 * half, [&](long i, auto lanes) {
      const vf a = read(lanes, i);
      const vf cosine = twice_each(load_n(c + i / 2, lanes.count() / 2));
      const vf sine = twice_each(load_n(s + i / 2, lanes.count() / 2)) * signs;
      put(lanes, to, i, fma(swap_neighbours(a), sine, a * cosine));
    });
  } else each_vector(half, [&](long i, auto lanes) {
    const vf a = read(lanes, i);
    const vf b = read(lanes, half + i);
    const vf cosine = lanes.load(c + i);
    const vf sine = lanes.load(s + i) * sign;
    put(lanes, to, i, fma(-b, sine, a * cosine));
    put(lanes, to, half + i, fma(a, sine, b * cosine));
  });
}

}  // namespace
