// Activations and their gradients, as kernels are given them.
#pragma once

#include <stdint.h>

// Numbers that lie as float32, or (half) as bfloat16. What a kernel computes is float32 either way.
typedef struct Values {
  void* at;
  int half;
} Values;

// What a norm reads: x, or x + added, which it writes to `sum`; as it goes it writes what it reads to `kept`, as bfloat16.
typedef struct NormInput {
  Values x;
  Values added;    // ?
  Values sum;      // ? where something is added
  uint16_t* kept;  // ?
} NormInput;

static inline Values values_of(const float* x) {
  const Values v = {(void*)x, 0};
  return v;
}
// As a product is given them, which is told apart how they lie.
static inline float* floats(Values v) { return (float*)v.at; }
