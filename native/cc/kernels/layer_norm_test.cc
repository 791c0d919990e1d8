#include "norm_test.h"

extern "C" void RX_FILL(layer_norm)(KernelTable*);

namespace {

struct Case {
  long rows, columns;
  bool bias, residual, weights;
};

Doubles forward(const Doubles& x, const Doubles& gain, const Doubles& bias, long rows, long columns, double eps) {
  Doubles y(x.size());
  for (long r = 0; r < rows; r++) {
    double mean = 0, square = 0;
    for (long i = 0; i < columns; i++) mean += x[r * columns + i] / columns;
    for (long i = 0; i < columns; i++) square += std::pow(x[r * columns + i] - mean, 2) / columns;
    for (long i = 0; i < columns; i++)
      y[r * columns + i] = (x[r * columns + i] - mean) / std::sqrt(square + eps) * gain[i] + (bias.empty() ? 0 : bias[i]);
  }
  return y;
}

}  // namespace

int main() {
  const float eps = 1e-5f;
  std::vector<Case> cases = {{0, 5, true, false, true},  {1, 1, true, true, true},      {3, 7, true, true, true},
                             {2, 16, false, false, true}, {5, 33, true, false, false},   {130, 64, true, true, true},
                             {67, 768, true, true, true}, {1000, 37, true, false, true}, {3, 20011, false, true, true}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.rows * 31 + c.columns));
    const Floats x = random.floats(c.rows * c.columns, -3, 5), gain = random.floats(c.columns), bias = random.floats(c.columns);
    const Floats dy = random.floats(c.rows * c.columns), residual = random.floats(c.rows * c.columns);
    const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.columns);
    Doubles dx_want, weights_want;
    Floats y0, dx0, gain0, bias0;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(layer_norm));
      Floats y(x.size()), mean(c.rows), rstd(c.rows), dx(x.size()), d_gain(c.columns), d_bias(c.columns);
      engine.table.layer_norm(*engine, {values_of(x.data()), {}, {}, nullptr}, gain.data(), c.bias ? bias.data() : nullptr, values_of(y.data()), mean.data(), rstd.data(),
                              c.rows, c.columns, eps);
      engine.table.layer_norm_grad(*engine, values_of(dy.data()), values_of(x.data()), gain.data(), mean.data(), rstd.data(),
                                   c.residual ? residual.data() : nullptr, dx.data(), c.weights ? d_gain.data() : nullptr,
                                   c.weights && c.bias ? d_bias.data() : nullptr, c.rows, c.columns);
      Floats mean_of_sum(c.rows), rstd_of_sum(c.rows);
      expect_of_sum(name, x, residual, [&](const NormInput& input, Floats& to) {
        engine.table.layer_norm(*engine, input, gain.data(), c.bias ? bias.data() : nullptr, values_of(to.data()), mean_of_sum.data(),
                                rstd_of_sum.data(), c.rows, c.columns, eps);
      });
      if (threads == 1) {
        y0 = y, dx0 = dx, gain0 = d_gain, bias0 = d_bias;
        Doubles X = widen(x), G = widen(gain), B = c.bias ? widen(bias) : Doubles();
        expect_close(name + " y", y, forward(X, G, B, c.rows, c.columns, eps), 1e-5, 1e-5);
        // every derivative of Σ y dy by central differences; a sample of them where there are many
        const auto along = [&](long r) {
          const Doubles row(X.begin() + r * c.columns, X.begin() + (r + 1) * c.columns);
          const Doubles out = forward(row, G, B, 1, c.columns, eps);
          double sum = 0;
          for (long i = 0; i < c.columns; i++) sum += out[i] * dy[r * c.columns + i];
          return sum;
        };
        for (int sample = 0; sample < 200 && c.rows > 0; sample++) {
          const long r = random.below(c.rows), i = random.below(c.columns), at = r * c.columns + i;
          const double want = slope(X[at], 1e-5, [&] { return along(r); }) + (c.residual ? residual[at] : 0);
          expect_close(name + " dx[" + std::to_string(at) + "]", &dx[at], &want, 1, 2e-4, 2e-5 * (c.columns == 1 ? 100 : 1));
        }
        if (c.weights) {
          Doubles gain_want(c.columns), bias_want(c.columns);
          for (long r = 0; r < c.rows; r++)
            for (long i = 0; i < c.columns; i++) {
              gain_want[i] += dy[r * c.columns + i] * ((double)x[r * c.columns + i] - mean[r]) * rstd[r];
              bias_want[i] += dy[r * c.columns + i];
            }
          expect_close(name + " dGain", d_gain, gain_want, 1e-4, 1e-4);
          if (c.bias) expect_close(name + " dBias", d_bias, bias_want, 1e-4, 1e-4);
        }
      }
      expect_same_bits(name + " y", y, y0);
      expect_same_bits(name + " dx", dx, dx0);
      expect_same_bits(name + " dGain", d_gain, gain0);
      expect_same_bits(name + " dBias", d_bias, bias0);
    }
  }
  // a large mean must not drown the variance; NaN stays in its row
  Engine engine(1, RX_FILL(layer_norm));
  Floats x = {1000.f, 1001.f, 1002.f, std::nanf(""), 1.f, 2.f}, gain = {1, 1, 1}, y(6), mean(2), rstd(2);
  engine.table.layer_norm(*engine, {values_of(x.data()), {}, {}, nullptr}, gain.data(), nullptr, values_of(y.data()), mean.data(), rstd.data(), 2, 3, 0);
  expect_close("large mean", y, {-std::sqrt(1.5), 0, std::sqrt(1.5), NAN, NAN, NAN}, 1e-5, 1e-5);
  return finish();
}
