// Rotary position embedding on split halves of the first rotary_dim columns of each head (Su et al. 2021, the layout of
// Llama): (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin). The inverse turns back, which is also the gradient.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

void rope(const Context* context, Values input, const float* cos, const float* sin, Values output, long rows, long heads,
          long head_dim, long rotary_dim, int inverse) {
  const float* const x = floats(input);
  float* const y = floats(output);
  const long half = rotary_dim / 2;
  const long rest = head_dim - 2 * half;
  const long piece = rows_a_piece(heads * head_dim);
  const vf sign = vset(inverse ? -1.f : 1.f);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const c = cos + row * half;
      const float* const s = sin + row * half;
      for (long head = 0; head < heads; head++) {
        const float* const from = x + (row * heads + head) * head_dim;
        float* const to = y + (row * heads + head) * head_dim;
        each_vector(half, [&](long i, auto lanes) {
          const vf a = lanes.load(from + i);
          const vf b = lanes.load(from + half + i);
          const vf cosine = lanes.load(c + i);
          const vf sine = lanes.load(s + i) * sign;
          lanes.store(to + i, fma(-b, sine, a * cosine));
          lanes.store(to + half + i, fma(a, sine, b * cosine));
        });
        if (rest && to != from) __builtin_memcpy(to + 2 * half, from + 2 * half, rest * sizeof(float));
      }
    }
  });
}

}  // namespace

extern "C" void RX_FILL(rope)(KernelTable* table) { table->rope = rope; }
