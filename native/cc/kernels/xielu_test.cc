#include "test.h"

extern "C" void RX_FILL(xielu)(KernelTable*);

namespace {

double softplus(double a) { return std::log1p(std::exp(a)); }

double value(double x, double alpha_p, double alpha_n) {
  const double b = 0.5;
  if (x > 0) return softplus(alpha_p) * x * x + b * x;
  return (b + softplus(alpha_n)) * (std::expm1(std::fmin(x, -1e-6)) - x) + b * x;
}

}  // namespace

int main() {
  for (long n : {0L, 1L, 15L, 31L, 1000L, 16385L, 50021L}) {
    Random random((unsigned)n);
    Floats x = random.floats(n, -9, 9);
    // near 0, where numbers cancel, and no derivative at it
    for (long i = 0; i < n; i += 3) x[i] *= 0.02f;
    for (auto& one : x)
      if (std::fabs(one) < 1e-3f) one = -0.01f;
    const Floats dy = random.floats(n, -2, 2);
    const float alpha_p = 0.3f, alpha_n = -0.7f;
    Doubles y_want(n), dx_want(n);
    double p = 0, q = 0;
    for (long i = 0; i < n; i++) {
      double at = x[i], ap = alpha_p, an = alpha_n;
      y_want[i] = value(at, ap, an);
      dx_want[i] = dy[i] * slope(at, 1e-6, [&] { return value(at, ap, an); });
      p += dy[i] * slope(ap, 1e-6, [&] { return value(at, ap, an); });
      q += dy[i] * slope(an, 1e-6, [&] { return value(at, ap, an); });
    }
    const std::string name = "n " + std::to_string(n);
    Floats first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(xielu));
      Floats y(n), dx(n), plain(n), in_place = x, d_p(1, 99.f), d_n(1, 99.f);
      engine.table.xielu(*engine, values_of(x.data()), &alpha_p, &alpha_n, values_of(y.data()), n);
      engine.table.xielu(*engine, values_of(in_place.data()), &alpha_p, &alpha_n, values_of(in_place.data()), n);
      engine.table.xielu_grad(*engine, values_of(x.data()), &alpha_p, &alpha_n, values_of(dy.data()), values_of(dx.data()), d_p.data(), d_n.data(), n);
      engine.table.xielu_grad(*engine, values_of(x.data()), &alpha_p, &alpha_n, values_of(dy.data()), values_of(plain.data()), nullptr, nullptr, n);
      expect_close(name + " y", y, y_want, 1e-6, 1e-6);
      expect_close(name + " dx", dx, dx_want, 1e-5, 1e-5);
      expect_close(name + " dAlphaP", d_p, {p}, 1e-4, 1e-2);
      expect_close(name + " dAlphaN", d_n, {q}, 1e-4, 1e-2);
      expect_same_bits(name + " without weights", plain, dx);
      expect_same_bits(name + " in place", in_place, y);
      if (threads == 1) first = d_p;
      expect_same_bits(name + " with threads", d_p, first);
    }
  }
  // far outside and not a number
  const float inf = std::numeric_limits<float>::infinity(), zero = 0;
  const Floats x = {std::nanf(""), 1e30f, -1e30f, 0, inf}, one(5, 1.f);
  Floats y(5), dx(5);
  Engine engine(1, RX_FILL(xielu));
  engine.table.xielu(*engine, values_of(x.data()), &zero, &zero, values_of(y.data()), 5);
  engine.table.xielu_grad(*engine, values_of(x.data()), &zero, &zero, values_of(one.data()), values_of(dx.data()), nullptr, nullptr, 5);
  expect("a NaN stays", std::isnan(y[0]) && std::isnan(dx[0]));
  expect_close("extremes", Floats(y.begin() + 1, y.begin() + 3), {inf, 1e30 * softplus(0)}, 1e-6, 0);
  expect_close("slope far below", Floats(dx.begin() + 2, dx.begin() + 3), {-softplus(0)}, 1e-6, 0);
  return finish();
}
