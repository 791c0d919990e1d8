// Rotary position embedding of the first rotary_dim columns of each head. The inverse turns back, which is also the gradient.
#include "../kernel_table.h"
#include "parallel.h"
#include "turn.h"

namespace {

void rope(const Context* context, Values x, const float* cos, const float* sin, Values y, long rows, long heads,
          long head_dim, long rotary_dim, int inverse, int interleaved) {
  const long half = rotary_dim / 2;
  const long rest = head_dim - 2 * half;
  const long piece = rows_a_piece(heads * head_dim);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const c = cos + row * half;
      const float* const s = sin + row * half;
      for (long head = 0; head < heads; head++) {
        const long first = (row * heads + head) * head_dim;
        const Values from = from_number(x, first), to = from_number(y, first);
        turn([=](auto lanes, long i) { return take(lanes, from, i); }, to, c, s, half, inverse, interleaved);
        if (to.at != from.at) each_vector(rest, [&](long i, auto lanes) { put(lanes, to, 2 * half + i, take(lanes, from, 2 * half + i)); });
      }
    }
  });
}

}  // namespace

extern "C" void RX_FILL(rope)(KernelTable* table) { table->rope = rope; }
