#include "test.h"

extern "C" void RX_FILL(activation)(KernelTable*);

namespace {

double value(int kind, double x) {
  switch (kind) {
    case ACTIVATION_GELU: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ACTIVATION_GELU_NEW: return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACTIVATION_RELU: return x > 0 ? x : 0;
    case ACTIVATION_RELU2: return x > 0 ? x * x : 0;
    case ACTIVATION_SIGMOID: return 1 / (1 + std::exp(-x));
    case ACTIVATION_SILU: return x / (1 + std::exp(-x));
    default: return x / (1 + std::exp(-1.702 * x));
  }
}

}  // namespace

int main() {
  for (int kind = ACTIVATION_GELU; kind < ACTIVATIONS; kind++)
    for (long n : {0L, 1L, 15L, 31L, 1000L, 16385L, 50021L}) {
      Random random((unsigned)n);
      Floats x = random.floats(n, -9, 9);
      const Floats up = random.floats(n, -2, 2), dy = random.floats(n, -2, 2);
      if (kind == ACTIVATION_RELU)
        for (auto& one : x)
          if (std::fabs(one) < 1e-3f) one = 1;  // no derivative at 0
      const std::string name = "kind " + std::to_string(kind) + " n " + std::to_string(n);
      Doubles y_want(n), dx_want(n), gated_want(n), gate_want(n), up_want(n);
      for (long i = 0; i < n; i++) {
        double at = x[i];
        const double d = slope(at, 1e-6, [&] { return value(kind, at); });
        y_want[i] = value(kind, at);
        dx_want[i] = dy[i] * d;
        gated_want[i] = y_want[i] * up[i];
        gate_want[i] = d * dy[i] * up[i];
        up_want[i] = y_want[i] * dy[i];
      }
      for (int threads = 1; threads <= 3; threads++) {
        Engine engine(threads, RX_FILL(activation));
        Floats y(n), dx(n), gated(n), d_gate(n), d_up(n), in_place = x;
        engine.table.activation(*engine, kind, values_of(x.data()), values_of(y.data()), n);
        engine.table.activation_grad(*engine, kind, values_of(x.data()), values_of(dy.data()), values_of(dx.data()), n);
        engine.table.gated_activation(*engine, kind, values_of(x.data()), values_of(up.data()), values_of(gated.data()), n);
        engine.table.gated_activation_grad(*engine, kind, values_of(x.data()), values_of(up.data()), values_of(dy.data()), values_of(d_gate.data()), values_of(d_up.data()), n);
        engine.table.activation(*engine, kind, values_of(in_place.data()), values_of(in_place.data()), n);
        expect_close(name + " y", y, y_want, 1e-6, 5e-7);
        expect_close(name + " dx", dx, dx_want, 1e-5, 2e-6);
        expect_close(name + " gated", gated, gated_want, 1e-6, 1e-6);
        expect_close(name + " dGate", d_gate, gate_want, 1e-5, 4e-6);
        expect_close(name + " dUp", d_up, up_want, 1e-6, 1e-6);
        expect_same_bits(name + " in place", in_place, y);
      }
    }
  for (const float limit : {0.7f, 7.f})
    for (long n : {0L, 1L, 31L, 16385L}) {
      Random random((unsigned)n + 1);
      Floats gate = random.floats(n, -9, 9), up = random.floats(n, -9, 9);
      const Floats dy = random.floats(n, -2, 2);
      for (Floats* const x : {&gate, &up})
        for (auto& one : *x)
          if (std::fabs(std::fabs(one) - limit) < 1e-3f) one = 0.5f;  // no derivative at the border
      Doubles y_want(n), gate_want(n), up_want(n);
      for (long i = 0; i < n; i++) {
        double g = gate[i], u = up[i];
        const auto y = [&] { return value(ACTIVATION_QUICK_GELU, std::min(g, (double)limit)) * (std::max(std::min(u, (double)limit), -(double)limit) + 1); };
        y_want[i] = y();
        gate_want[i] = dy[i] * slope(g, 1e-6, y);
        up_want[i] = dy[i] * slope(u, 1e-6, y);
      }
      for (int threads = 1; threads <= 2; threads++) {
        Engine engine(threads, RX_FILL(activation));
        Floats y(n), d_gate(n), d_up(n);
        engine.table.clamped_gate(*engine, limit, values_of(gate.data()), values_of(up.data()), values_of(y.data()), n);
        engine.table.clamped_gate_grad(*engine, limit, values_of(gate.data()), values_of(up.data()), values_of(dy.data()), values_of(d_gate.data()), values_of(d_up.data()), n);
        const std::string name = "clamped at " + std::to_string(limit) + " n " + std::to_string(n);
        expect_close(name + " y", y, y_want, 1e-6, 1e-6);
        expect_close(name + " dGate", d_gate, gate_want, 2e-5, 8e-6);
        expect_close(name + " dUp", d_up, up_want, 1e-5, 2e-6);
      }
    }
  // far outside and not a number
  const float inf = std::numeric_limits<float>::infinity();
  const Floats x = {std::nanf(""), inf, 1e30f, -1e30f, 3e4f, -3e4f, 0}, one(7, 1.f);
  Engine engine(1, RX_FILL(activation));
  for (int kind = ACTIVATION_GELU; kind < ACTIVATIONS; kind++) {
    Floats y(7), dx(7);
    engine.table.activation(*engine, kind, values_of(x.data()), values_of(y.data()), 7);
    engine.table.activation_grad(*engine, kind, values_of(x.data()), values_of(one.data()), values_of(dx.data()), 7);
    if (kind == ACTIVATION_SIGMOID) {
      expect_close("extremes of the sigmoid", y, {NAN, 1, 1, 0, 1, 0, 0.5}, 0, 0);
      expect_close("slopes at extremes of the sigmoid", dx, {NAN, 0, 0, 0, 0, 0, 0.25}, 0, 0);
      continue;
    }
    const bool squares = kind == ACTIVATION_RELU2;
    const double zero_slope = kind == ACTIVATION_RELU || squares ? 0 : 0.5;
    const Doubles y_want = {NAN, inf, squares ? inf : 1e30f, 0, squares ? 9e8f : 3e4f, 0, 0};
    const Doubles slopes = {squares ? 2e30f : 1, 0, squares ? 6e4f : 1, 0, zero_slope};
    expect_close("extremes of kind " + std::to_string(kind), y, y_want, 0, 1e-30);
    expect_close("slopes at extremes of kind " + std::to_string(kind), Floats(dx.begin() + 2, dx.end()), slopes, 0, 0);
    expect("slope at NaN", kind == ACTIVATION_RELU || std::isnan(dx[0]));
  }
  return finish();
}
