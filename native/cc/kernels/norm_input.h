// What norms read, a row at a time.
#pragma once

#include "../values.h"
#include "halves.h"

namespace {

// The row that begins at `first`, once added and kept; calls body(i, lanes, numbers) for each of its vectors. A sum is what is written of
// it: the way back reads that.
template <class F>
RX_INLINE Values take_row(const NormInput& input, long first, long columns, F body) {
  const bool adds = input.added.at != nullptr;
  uint16_t* const kept = input.kept ? input.kept + first : 0;
  each_vector(columns, [&](long i, auto lanes) {
    vf value = take(lanes, input.x, first + i);
    if (adds) {
      value += take(lanes, input.added, first + i);
      put(lanes, input.sum, first + i, value);
      if (input.sum.half) value = take(lanes, input.sum, first + i);
    }
    if (kept) store_halves(lanes, kept + i, value);
    body(i, lanes, value);
  });
  return from_number(adds ? input.sum : input.x, first);
}

}  // namespace
