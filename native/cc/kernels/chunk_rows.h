// What scans in chunks of tokens do to decays and to rows, which are whole vectors long.
#pragma once

#include "../simd.h"

namespace {

// The logarithm of a token's decay as chunks sum it up. e^-104 is 0 as it is; less would take the digits that the tokens after it need out of
// the sums, or make their differences no numbers. NaN stays.
RX_INLINE float summed_decay(float decay) { return decay < -104.f ? -104.f : decay; }

RX_INLINE float dot(const float* a, const float* b, long width) {
  vf sum = {};
  for (long j = 0; j < width; j += VW) sum = fma(load(a + j), load(b + j), sum);
  return hsum(sum);
}
RX_INLINE void scale_row(const float* from, float* to, long width, float factor) {
  for (long j = 0; j < width; j += VW) store(to + j, load(from + j) * vset(factor));
}

}  // namespace
