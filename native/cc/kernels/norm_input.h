// What norms read, a row at a time.
#pragma once

#include "../values.h"
#include "halves.h"

namespace {

// The row that begins at `first`, once added and kept; calls body(i, lanes, numbers) for each of its vectors.
template <class F>
RX_INLINE const float* take_row(const NormInput& input, long first, long columns, F body) {
  const float* const x = floats(input.x) + first;
  const float* const added = input.added.at ? floats(input.added) + first : 0;
  float* const sum = added ? floats(input.sum) + first : 0;
  uint16_t* const kept = input.kept ? input.kept + first : 0;
  each_vector(columns, [&](long i, auto lanes) {
    vf value = lanes.load(x + i);
    if (added) {
      value += lanes.load(added + i);
      lanes.store(sum + i, value);
    }
    if (kept) store_halves(lanes, kept + i, value);
    body(i, lanes, value);
  });
  return added ? sum : x;
}

}  // namespace
