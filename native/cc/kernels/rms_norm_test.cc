#include "norm_test.h"

extern "C" void RX_FILL(rms_norm)(KernelTable*);

namespace {

struct Case {
  long rows, columns;
  float offset;
  bool residual, weights;
};

double along(const double* x, const float* gain, const float* dy, long columns, double eps, double offset) {
  double square = 0, sum = 0;
  for (long i = 0; i < columns; i++) square += x[i] * x[i] / columns;
  for (long i = 0; i < columns; i++) sum += x[i] / std::sqrt(square + eps) * (gain[i] + offset) * dy[i];
  return sum;
}

}  // namespace

int main() {
  const float eps = 1e-6f;
  std::vector<Case> cases = {{0, 5, 0, false, true},  {1, 1, 1, true, true},   {3, 7, 1, true, true},     {2, 16, 0, false, true},
                             {5, 33, 0, false, false}, {130, 64, 1, true, true}, {67, 576, 0, true, true}, {1000, 37, 0, false, true}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.rows * 31 + c.columns));
    const Floats x = random.floats(c.rows * c.columns, -3, 5), gain = random.floats(c.columns);
    const Floats dy = random.floats(c.rows * c.columns), residual = random.floats(c.rows * c.columns);
    const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.columns);
    Floats y0, dx0, gain0;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(rms_norm));
      Floats y(x.size()), rstd(c.rows), dx(x.size()), d_gain(c.columns);
      engine.table.rms_norm(*engine, {values_of(x.data()), {}, {}, nullptr}, gain.data(), values_of(y.data()), rstd.data(), c.rows, c.columns, eps, c.offset);
      engine.table.rms_norm_grad(*engine, values_of(dy.data()), values_of(x.data()), gain.data(), rstd.data(), c.residual ? residual.data() : nullptr,
                                 dx.data(), c.weights ? d_gain.data() : nullptr, c.rows, c.columns, c.offset);
      expect_of_sum(name, x, residual, [&](const NormInput& input, Floats& to) {
        engine.table.rms_norm(*engine, input, gain.data(), values_of(to.data()), rstd.data(), c.rows, c.columns, eps, c.offset);
      });
      if (threads == 1) {
        y0 = y, dx0 = dx, gain0 = d_gain;
        Doubles want(x.size()), gain_want(c.columns), X = widen(x);
        for (long r = 0; r < c.rows; r++) {
          double square = 0;
          for (long i = 0; i < c.columns; i++) square += X[r * c.columns + i] * X[r * c.columns + i] / c.columns;
          for (long i = 0; i < c.columns; i++) {
            const double unit = X[r * c.columns + i] / std::sqrt(square + eps);
            want[r * c.columns + i] = unit * ((double)gain[i] + c.offset);
            gain_want[i] += unit * dy[r * c.columns + i];
          }
        }
        expect_close(name + " y", y, want, 1e-5, 1e-6);
        if (c.weights) expect_close(name + " dGain", d_gain, gain_want, 1e-4, 1e-4);
        for (int sample = 0; sample < 200 && c.rows > 0; sample++) {
          const long r = random.below(c.rows), i = random.below(c.columns), at = r * c.columns + i;
          const double slope_want = slope(X[at], 1e-5, [&] {
            return along(&X[r * c.columns], gain.data(), &dy[r * c.columns], c.columns, eps, c.offset);
          });
          const double dx_want = slope_want + (c.residual ? residual[at] : 0);
          expect_close(name + " dx[" + std::to_string(at) + "]", &dx[at], &dx_want, 1, 2e-4, 2e-5);
        }
      }
      expect_same_bits(name + " y", y, y0);
      expect_same_bits(name + " dx", dx, dx0);
      expect_same_bits(name + " dGain", d_gain, gain0);
    }
  }
  return finish();
}
