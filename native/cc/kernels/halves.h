// bfloat16, the upper half of a float32, a vector at a time.
#pragma once

#include "../simd.h"

namespace {

typedef uint16_t Halves __attribute__((vector_size(VW * 2), aligned(2), may_alias));
typedef uint32_t HalvesBits __attribute__((vector_size(VW * 4)));

// To nearest, ties to even; NaN stays NaN. As many as there are lanes.
template <class Lanes>
RX_INLINE void store_halves(const Lanes& lanes, uint16_t* to, vf x) {
  const HalvesBits bits = (HalvesBits)x;
  const HalvesBits odd = (bits >> 16) & 1;
  const HalvesBits rounded = (bits + 0x7fff + odd) >> 16;
  const HalvesBits kept = (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40 : rounded;
  const Halves half = __builtin_convertvector(kept, Halves);
  if (lanes.count() == VW)
    *(Halves*)to = half;
  else
    for (long j = 0; j < lanes.count(); j++) to[j] = half[j];
}

// Zeros beyond the lanes.
template <class Lanes>
RX_INLINE vf load_halves(const Lanes& lanes, const uint16_t* from) {
  Halves half = {};
  if (lanes.count() == VW)
    half = *(const Halves*)from;
  else
    for (long j = 0; j < lanes.count(); j++) half[j] = from[j];
  return (vf)(__builtin_convertvector(half, HalvesBits) << 16);
}

}  // namespace
