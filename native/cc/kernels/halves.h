// bfloat16, the upper half of a float32, a vector at a time.
#pragma once

#include "../simd.h"
#include "../values.h"

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

RX_INLINE uint16_t half_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return (bits & 0x7fffffffu) > 0x7f800000u ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Vectors of values from number i on, however they lie.
template <class Lanes>
RX_INLINE vf take(const Lanes& lanes, Values x, long i) {
  return x.half ? load_halves(lanes, (const uint16_t*)x.at + i) : lanes.load((const float*)x.at + i);
}
template <class Lanes>
RX_INLINE void put(const Lanes& lanes, Values x, long i, vf value) {
  if (x.half)
    store_halves(lanes, (uint16_t*)x.at + i, value);
  else
    lanes.store((float*)x.at + i, value);
}
// Calls f with a pointer to the numbers.
template <class F>
RX_INLINE void with_numbers(Values x, F f) {
  if (x.half)
    f((const uint16_t*)x.at);
  else
    f((const float*)x.at);
}
// The same values from number i on.
RX_INLINE Values from_number(Values x, long i) { return {x.half ? (void*)((uint16_t*)x.at + i) : (void*)((float*)x.at + i), x.half}; }

}  // namespace
