#include "test.h"

extern "C" void RX_FILL(combine_rows)(KernelTable*);

int main() {
  struct Case {
    long n, each, columns;
  };
  const std::vector<Case> cases = {{0, 2, 5}, {1, 1, 1}, {7, 3, 17}, {300, 2, 64}, {129, 8, 97}, {50, 4, 768}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.n + c.columns));
    const long rows = c.n * c.each;
    const Floats x = random.floats(rows * c.columns), weights = random.floats(rows), dy = random.floats(c.n * c.columns);
    std::vector<int32_t> places(rows);
    for (long i = 0; i < rows; i++) places[i] = (int32_t)i;
    for (long i = rows - 1; i > 0; i--) std::swap(places[i], places[random.below((unsigned)i + 1)]);
    const std::string name = std::to_string(c.n) + " of " + std::to_string(c.each) + " rows of " + std::to_string(c.columns);
    Doubles want(c.n * c.columns), plain(c.n * c.columns), dx_want(x.size()), d_weights_want(rows);
    for (long r = 0; r < c.n; r++)
      for (long j = r * c.each; j < (r + 1) * c.each; j++)
        for (long i = 0; i < c.columns; i++) {
          const double value = x[places[j] * c.columns + i], up = dy[r * c.columns + i];
          want[r * c.columns + i] += value * weights[j];
          plain[r * c.columns + i] += value;
          dx_want[places[j] * c.columns + i] = up * weights[j];
          d_weights_want[j] += value * up;
        }
    Floats first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(combine_rows));
      Floats out(want.size(), 99.f), sum(want.size(), 99.f), dx(x.size(), 99.f), d_weights(rows, 99.f);
      engine.table.combine_rows(*engine, values_of(x.data()), weights.data(), places.data(), values_of(out.data()), c.n, c.each, c.columns);
      engine.table.combine_rows(*engine, values_of(x.data()), nullptr, places.data(), values_of(sum.data()), c.n, c.each, c.columns);
      engine.table.combine_rows_grad(*engine, values_of(dy.data()), values_of(x.data()), weights.data(), places.data(), values_of(dx.data()),
                                     d_weights.data(), c.n, c.each, c.columns);
      expect_close(name, out, want, 1e-5, 1e-5);
      expect_close(name + " unweighted", sum, plain, 1e-5, 1e-5);
      expect_close(name + " grad", dx, dx_want, 1e-6, 1e-6);
      expect_close(name + " grad of weights", d_weights, d_weights_want, 1e-4, 1e-4);
      if (threads == 1) first = out;
      expect_same_bits(name, out, first);
    }
  }
  return finish();
}
