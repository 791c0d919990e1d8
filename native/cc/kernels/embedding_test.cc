#include "test.h"

extern "C" void RX_FILL(embedding)(KernelTable*);

int main() {
  struct Case {
    long n, vocabulary, columns;
  };
  const std::vector<Case> cases = {{0, 3, 5}, {1, 1, 1}, {7, 3, 17}, {300, 11, 64}, {129, 1000, 97}, {50, 5000, 768}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.n + c.columns));
    const Floats table = random.floats(c.vocabulary * c.columns), dy = random.floats(c.n * c.columns);
    const Floats start = random.floats(c.vocabulary * c.columns);
    std::vector<int32_t> ids(c.n);
    for (auto& id : ids) id = (int32_t)random.below(c.vocabulary);
    const std::string name = std::to_string(c.n) + " of " + std::to_string(c.vocabulary) + "x" + std::to_string(c.columns);
    Doubles want(c.n * c.columns), grad_want(table.size()), sum_want = widen(start);
    for (long i = 0; i < c.n; i++)
      for (long j = 0; j < c.columns; j++) {
        want[i * c.columns + j] = table[ids[i] * c.columns + j];
        grad_want[ids[i] * c.columns + j] += dy[i * c.columns + j];
        sum_want[ids[i] * c.columns + j] += dy[i * c.columns + j];
      }
    Floats grad0;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(embedding));
      Floats out(c.n * c.columns), grad(table.size(), 99.f), sum = start;
      engine.table.embedding(*engine, table.data(), ids.data(), out.data(), c.n, c.vocabulary, c.columns);
      engine.table.embedding_grad(*engine, dy.data(), ids.data(), grad.data(), c.n, c.vocabulary, c.columns, 0);
      engine.table.embedding_grad(*engine, dy.data(), ids.data(), sum.data(), c.n, c.vocabulary, c.columns, 1);
      expect_close(name, out, want, 0, 0);
      expect_close(name + " grad", grad, grad_want, 1e-5, 1e-5);
      expect_close(name + " accumulated", sum, sum_want, 1e-5, 1e-5);
      if (threads == 1) grad0 = grad;
      expect_same_bits(name + " grad", grad, grad0);
    }
  }
  // ids outside the table touch nothing
  Engine engine(2, RX_FILL(embedding));
  const Floats table = {1, 2, 3, 4}, dy = {1, 1, 1, 1, 1, 1};
  const int32_t ids[] = {-1, 1, 2};
  Floats out(6), grad(4);
  engine.table.embedding(*engine, table.data(), ids, out.data(), 3, 2, 2);
  engine.table.embedding_grad(*engine, dy.data(), ids, grad.data(), 3, 2, 2, 0);
  expect_close("outside", out, {NAN, NAN, 3, 4, NAN, NAN}, 0, 0);
  expect_close("outside grad", grad, {0, 0, 1, 1}, 0, 0);
  return finish();
}
