#include "test.h"

extern "C" void RX_FILL(rope)(KernelTable*);

int main() {
  struct Case {
    long rows, heads, head_dim, rotary;
  };
  const std::vector<Case> cases = {{0, 2, 4, 4}, {1, 1, 2, 2}, {5, 3, 10, 6}, {33, 2, 64, 64}, {7, 9, 48, 48}, {130, 4, 37, 24}, {9, 1, 256, 256}};
  for (const Case& c : cases)
    for (const int interleaved : {0, 1}) {
    Random random((unsigned)(c.rows + c.head_dim));
    const long width = c.heads * c.head_dim, half = c.rotary / 2;
    const Floats x = random.floats(c.rows * width);
    Floats cosines(c.rows * half), sines(c.rows * half);
    for (long i = 0; i < c.rows * half; i++) {
      const float angle = random.uniform(-4, 4);
      cosines[i] = std::cos(angle), sines[i] = std::sin(angle);
    }
    const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.head_dim) + (interleaved ? " interleaved" : "");
    Doubles want = widen(x);
    for (long r = 0; r < c.rows; r++)
      for (long h = 0; h < c.heads; h++)
        for (long i = 0; i < half; i++) {
          const long first = r * width + h * c.head_dim;
          const long a = first + (interleaved ? 2 * i : i), b = a + (interleaved ? 1 : half);
          want[a] = (double)x[a] * cosines[r * half + i] - (double)x[b] * sines[r * half + i];
          want[b] = (double)x[b] * cosines[r * half + i] + (double)x[a] * sines[r * half + i];
        }
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(rope));
      Floats y(x.size(), 99.f), back(x.size(), 99.f), in_place = x;
      engine.table.rope(*engine, values_of(x.data()), cosines.data(), sines.data(), values_of(y.data()), c.rows, c.heads, c.head_dim, c.rotary, 0, interleaved);
      engine.table.rope(*engine, values_of(y.data()), cosines.data(), sines.data(), values_of(back.data()), c.rows, c.heads, c.head_dim, c.rotary, 1, interleaved);
      engine.table.rope(*engine, values_of(x.data()), cosines.data(), sines.data(), values_of(in_place.data()), c.rows, c.heads, c.head_dim, c.rotary, 0, interleaved);
      engine.table.rope(*engine, values_of(in_place.data()), cosines.data(), sines.data(), values_of(in_place.data()), c.rows, c.heads, c.head_dim, c.rotary, 1, interleaved);
      expect_close(name, y, want, 1e-6, 1e-6);
      expect_close(name + " and back", back, widen(x), 1e-6, 1e-6);
      expect_same_bits(name + " in place", in_place, back);
    }
  }
  return finish();
}
