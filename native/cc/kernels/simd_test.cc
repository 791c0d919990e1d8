// The elementary functions against libm in double precision, in units of the last place of the result.
#include "test.h"

namespace {

double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e9;
  const float nearest = (float)want;
  if (std::isinf(nearest)) return got == nearest ? 0 : 1e9;
  int exponent;
  std::frexp(want, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(got - want) / unit;
}

template <class V, class S>
void check(const char* name, double allowed, float low, float high, V vector_function, S scalar_function) {
  double worst = 0;
  float at = 0;
  Random random(7);
  Floats samples;
  for (int i = 0; i < 400000; i++) samples.push_back(low + (high - low) * (float)i / 400000.f);
  for (int i = 0; i < 100000; i++) {
    const float magnitude = std::exp(random.uniform(-80, 4));  // many sizes, both signs
    const float x = random.below(2) ? magnitude : -magnitude;
    if (x >= low && x <= high) samples.push_back(x);
  }
  samples.resize(samples.size() / VW * VW);
  for (size_t i = 0; i < samples.size(); i += VW) {
    const vf y = vector_function(load(&samples[i]));
    for (int j = 0; j < VW; j++) {
      const double error = ulps(y[j], scalar_function((double)samples[i + j]));
      if (error > worst) worst = error, at = samples[i + j];
    }
  }
  std::printf("  %s [%g, %g]: %.2f ulp at %.9g\n", name, low, high, worst, at);
  expect(std::string(name) + " is off", worst <= allowed);
}

template <class V>
void special(const char* name, V f, float x, float want) {
  const float got = f(vset(x))[VW - 1];
  const bool same = std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want);
  if (!same) report(std::string(name) + "(" + std::to_string(x) + ") = " + std::to_string(got) + ", want " + std::to_string(want));
}

}  // namespace

int main() {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const auto e = [](vf x) { return vexp(x); };
  const auto e2 = [](vf x) { return vexp2(x); };
  const auto l = [](vf x) { return vlog(x); };
  const auto t = [](vf x) { return vtanh(x); };
  const auto r = [](vf x) { return verf(x); };
  const auto s = [](vf x) { return vsigmoid(x); };
  check("exp", 1.6, -87, 88.7f, e, [](double x) { return std::exp(x); });
  check("exp", 1.6, -104, -87, e, [](double x) { return std::exp(x); });
  check("exp", 1.6, -0.5f, 0.5f, e, [](double x) { return std::exp(x); });
  check("exp2", 1.6, -126, 127.9f, e2, [](double x) { return std::exp2(x); });
  check("exp2", 1.6, -149, -126, e2, [](double x) { return std::exp2(x); });
  check("log", 1.6, 1e-38f, 3e38f, l, [](double x) { return std::log(x); });
  check("log", 1.6, 0.5f, 2.f, l, [](double x) { return std::log(x); });
  check("log", 1.6, 1e-44f, 1e-38f, l, [](double x) { return std::log(x); });
  check("tanh", 2.5, -10, 10, t, [](double x) { return std::tanh(x); });
  check("erf", 2.5, -6, 6, r, [](double x) { return std::erf(x); });
  check("sigmoid", 3, -80, 80, s, [](double x) { return 1 / (1 + std::exp(-x)); });
  special("exp", e, 0, 1);
  special("exp", e, inf, inf);
  special("exp", e, -inf, 0);
  special("exp", e, 89, inf);
  special("exp", e, -1e30f, 0);
  special("exp", e, nan, nan);
  special("exp2", e2, 0, 1);
  special("exp2", e2, 10, 1024);
  special("exp2", e2, inf, inf);
  special("exp2", e2, -inf, 0);
  special("exp2", e2, 128, inf);
  special("exp2", e2, -1e30f, 0);
  special("exp2", e2, nan, nan);
  special("log", l, 0, -inf);
  special("log", l, inf, inf);
  special("log", l, -1, nan);
  special("log", l, nan, nan);
  special("log", l, 1, 0);
  special("tanh", t, inf, 1);
  special("tanh", t, -inf, -1);
  special("tanh", t, nan, nan);
  special("erf", r, inf, 1);
  special("erf", r, -inf, -1);
  special("erf", r, nan, nan);
  special("sigmoid", s, inf, 1);
  special("sigmoid", s, -inf, 0);
  special("sigmoid", s, nan, nan);

  for (int n = 0; n < VW; n++) {
    Floats from(n), to(VW, -7.f);
    for (int i = 0; i < n; i++) from[i] = (float)(i + 1);
    const vf v = load_n(from.data(), n);
    store_n(to.data(), v + vset(1.f), n);
    for (int i = 0; i < VW; i++) {
      expect("load_n", v[i] == (i < n ? (float)(i + 1) : 0.f));
      expect("store_n", to[i] == (i < n ? (float)(i + 2) : -7.f));
      expect("keep_n", keep_n(vset(3.f), n, 5.f)[i] == (i < n ? 3.f : 5.f));
    }
  }
  vf lanes = {};
  for (int i = 0; i < VW; i++) lanes[i] = (float)((i * 5 + 3) % VW);
  expect("hsum", hsum(lanes) == VW * (VW - 1) / 2.f);
  expect("hmax", hmax(lanes) == VW - 1);
  expect("widen", hsumd(widen_low(lanes)) + hsumd(widen_high(lanes)) == VW * (VW - 1) / 2.0);
  return finish();
}
