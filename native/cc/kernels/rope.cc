// Rotary position embedding of the first rotary_dim columns of each head (Su et al. 2021): pairs (x1, x2) -> (x1 cos - x2 sin, x2 cos +
// x1 sin), a pair's entries half of rotary_dim apart (the layout of Llama) or, interleaved, beside each other (that of GPT-J). The inverse
// turns back, which is also the gradient.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

void rope(const Context* context, Values x, const float* cos, const float* sin, Values y, long rows, long heads,
          long head_dim, long rotary_dim, int inverse, int interleaved) {
  const long half = rotary_dim / 2;
  const long rest = head_dim - 2 * half;
  const long piece = rows_a_piece(heads * head_dim);
  const vf sign = vset(inverse ? -1.f : 1.f);
  const vf signs = (iota() & 1) == 1 ? sign : -sign;
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const c = cos + row * half;
      const float* const s = sin + row * half;
      for (long head = 0; head < heads; head++) {
        const long first = (row * heads + head) * head_dim;
        const Values from = from_number(x, first), to = from_number(y, first);
        if (interleaved) {
          each_vector(2 * half, [&](long i, auto lanes) {
            const vf a = take(lanes, from, i);
            const vf cosine = twice_each(load_n(c + i / 2, lanes.count() / 2));
            const vf sine = twice_each(load_n(s + i / 2, lanes.count() / 2)) * signs;
            put(lanes, to, i, fma(swap_neighbours(a), sine, a * cosine));
          });
        } else each_vector(half, [&](long i, auto lanes) {
          const vf a = take(lanes, from, i);
          const vf b = take(lanes, from, half + i);
          const vf cosine = lanes.load(c + i);
          const vf sine = lanes.load(s + i) * sign;
          put(lanes, to, i, fma(-b, sine, a * cosine));
          put(lanes, to, half + i, fma(a, sine, b * cosine));
        });
        if (to.at != from.at) each_vector(rest, [&](long i, auto lanes) { put(lanes, to, 2 * half + i, take(lanes, from, 2 * half + i)); });
      }
    }
  });
}

}  // namespace

extern "C" void RX_FILL(rope)(KernelTable* table) { table->rope = rope; }
