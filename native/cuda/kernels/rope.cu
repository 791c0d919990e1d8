// Rotary position embedding on split halves of the first rotary_dim columns of each head: (a, b) -> (a cos - b sin, b cos + a sin). A
// pair or a column that stays a thread; y may be x.
#include "device.h"

extern "C" __global__ void rx_rope(const float* x, const float* cosines, const float* sines, float* y, long rows, long heads,
                                   long head_dim, long rotary_dim, int inverse) {
  const long half = rotary_dim / 2;
  const long each = head_dim - half;
  for (long i = thread_index(); i < rows * heads * each; i += grid_threads()) {
    const Split at = split(i, each);
    const long head = at.whole, c = at.rest, row = split(head, heads).whole;
    const float* const from = x + head * head_dim;
    float* const to = y + head * head_dim;
    if (c < half) {
      const float a = from[c], b = from[half + c];
      const float cosine = cosines[row * half + c];
      const float sine = inverse ? -sines[row * half + c] : sines[row * half + c];
      to[c] = a * cosine - b * sine;
      to[half + c] = b * cosine + a * sine;
    } else {
      to[half + c] = from[half + c];
    }
  }
}
