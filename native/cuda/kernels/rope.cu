// Rotary position embedding of the first rotary_dim columns of each head: (a, b) -> (a cos - b sin, b cos + a sin), the two half of
// rotary_dim apart or, interleaved, beside each other. A pair or a column that stays a thread; y may be x.
#include "device.h"

extern "C" __global__ void rx_rope(Values x, const float* cosines, const float* sines, Values y, long rows, long heads,
                                   long head_dim, long rotary_dim, int inverse, int interleaved) {
  const long half = rotary_dim / 2;
  const long each = head_dim - half;
  for (long i = thread_index(); i < rows * heads * each; i += grid_threads()) {
    const Split at = split(i, each);
    const long head = at.whole, c = at.rest, row = split(head, heads).whole;
    const long first = head * head_dim;
    if (c < half) {
      const long one = first + (interleaved ? 2 * c : c), other = one + (interleaved ? 1 : half);
      const float a = load(x, one), b = load(x, other);
      const float cosine = cosines[row * half + c];
      const float sine = inverse ? -sines[row * half + c] : sines[row * half + c];
      store(y, one, a * cosine - b * sine);
      store(y, other, b * cosine + a * sine);
    } else {
      store(y, first + half + c, load(x, first + half + c));
    }
  }
}
