// What the tests of both norms share.
#pragma once

#include "test.h"

// norm(input, y) of x + added must be that of their sum, bit for bit, with the sum and what is kept of it written beside.
template <class Norm>
void expect_of_sum(const std::string& name, const Floats& x, const Floats& added, Norm norm) {
  const size_t n = x.size();
  Floats want_sum(n), want_y(n), sum(n), y(n);
  std::vector<uint16_t> kept(n), alone(n);
  for (size_t i = 0; i < n; i++) want_sum[i] = x[i] + added[i];
  norm(NormInput{values_of(want_sum.data()), {}, {}, nullptr}, want_y);
  norm(NormInput{values_of(x.data()), values_of(added.data()), values_of(sum.data()), kept.data()}, y);
  expect_same_bits(name + " y of a sum", y, want_y);
  expect_same_bits(name + " sum", sum, want_sum);
  norm(NormInput{values_of(want_sum.data()), {}, {}, alone.data()}, y);
  expect_same_bits(name + " y while x is kept", y, want_y);
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    std::memcpy(&bits, &want_sum[i], 4);
    const uint16_t want = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    expect(name + " kept", kept[i] == want && alone[i] == want);
  }
}
