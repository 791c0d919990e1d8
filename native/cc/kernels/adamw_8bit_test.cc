#include "dynamic_map.h"

#include <algorithm>

extern "C" void RX_FILL(adamw_8bit)(KernelTable*);

struct Case {
  Floats p, g, m_absmax, v_absmax;
  std::vector<uint8_t> m, v;
};

// Which of the ascending magnitudes is nearest to a share of the greatest, one border after the other.
static int nearest_of(const float* magnitudes, int count, float x, float absmax) {
  if (std::isinf(x)) return 0;
  if (std::isnan(x)) return count - 1;
  const float share = std::fabs(x) / (absmax == 0 ? 1.f : absmax);
  int found = 0;
  while (found < count - 1 && share > (magnitudes[found] + magnitudes[found + 1]) / 2) found++;
  return found;
}

static bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

// One block of n numbers is what the formula makes of each of them alone, bit by bit.
static void expect_formula(const std::string& name, const Floats& with_sign, const Floats& no_sign, double beta1, double beta2, Case c) {
  const double epsilon = 1e-8, rate = 1e-2, scale = 1;
  const long step = 3, n = (long)c.g.size();
  const Case was = c;
  const float decay = 0.1f;
  Engine engine(1, RX_FILL(adamw_8bit));
  float *const p = c.p.data(), *const am = c.m_absmax.data(), *const av = c.v_absmax.data();
  uint8_t *const m = c.m.data(), *const v = c.v.data();
  const float* const g = c.g.data();
  const AdamW8bit call = {1, &p, &g, &m, &v, &am, &av, &n, &decay, with_sign.data(), no_sign.data(), rate, beta1, beta2, epsilon, scale, step};
  engine.table.adamw_8bit(*engine, &call);
  Floats M, V;
  float top1 = 0, top2 = 0;
  for (long i = 0; i < n; i++) {
    // lanes of vectors, since whether a product is rounded before its sum is left to simd.h
    const vf grad = vset(was.g[i]) * vset((float)scale);
    const vf first = fma(vset(with_sign[was.m[i]] * was.m_absmax[0]), vset((float)beta1), grad * vset((float)(1 - beta1)));
    const vf second = fma(vset(no_sign[was.v[i]] * was.v_absmax[0]), vset((float)beta2), grad * grad * vset((float)(1 - beta2)));
    const vf divisor = fma(vsqrt(second), vset((float)(1 / std::sqrt(1 - std::pow(beta2, (double)step)))), vset((float)epsilon));
    const vf moved = vset((float)(rate / (1 - std::pow(beta1, (double)step)))) * (first / divisor);
    if (!same(c.p[i], fma(vset(was.p[i]), vset((float)(1 - rate * decay)), -moved)[0])) report(name + ": parameter " + std::to_string(i));
    M.push_back(first[0]), V.push_back(second[0]);
    if (std::fabs(M[i]) > top1) top1 = std::fabs(M[i]);
    if (V[i] > top2) top2 = V[i];
  }
  if (!same(am[0], top1) || !same(av[0], top2)) report(name + ": scales");
  for (long i = 0; i < n; i++) {
    const int up = nearest_of(with_sign.data() + 127, 129, M[i], top1);
    const int code = M[i] < 0 ? 127 - std::min(127, std::max(1, up)) : 127 + up;
    if (c.m[i] != code) report(name + ": first code " + std::to_string(c.m[i]) + " for " + std::to_string(code) + " of " + std::to_string(M[i]));
    const int other = nearest_of(no_sign.data(), 256, V[i], top2);
    if (c.v[i] != other) report(name + ": second code " + std::to_string(c.v[i]) + " for " + std::to_string(other) + " of " + std::to_string(V[i]));
  }
}

static void formula_laws(const Floats& with_sign, const Floats& no_sign) {
  Random random(11);
  const float inf = INFINITY, nan = NAN;
  const auto state = [&](Floats g) {
    const long n = (long)g.size();
    Case c = {random.floats(n), g, random.floats(1, 0, 2), random.floats(1, 0, 2), {}, {}};
    for (long i = 0; i < n; i++) c.m.push_back((uint8_t)random.below(256)), c.v.push_back((uint8_t)random.below(256));
    return c;
  };
  for (int trial = 0; trial < 2000; trial++) {
    Floats g;
    const float low = random.uniform(-45, 30), high = random.uniform(low, 38);
    const long n = random.one_of({256L, 256L, 255L, 16L, 17L, 1L}), odd = random.one_of({0L, 3L, 40L});
    for (long i = 0; i < n; i++) {
      const float plain = (float)std::pow(10., random.uniform(low, high)) * random.one_of({1.f, -1.f});
      const float special = random.one_of({0.f, -0.f, 1e-45f, -3e-42f, 1e-38f, 3e38f, inf, -inf, nan});
      g.push_back(random.below(100) < odd ? special : plain);
    }
    Case c = state(g);
    if (random.below(2)) c.m_absmax[0] = (float)std::pow(10., random.uniform(low, high));
    if (random.below(2)) c.v_absmax[0] = (float)std::pow(10., random.uniform(low, high));
    if (random.below(8) == 0) c.m_absmax[0] = random.one_of({0.f, 1e-45f, 3e38f, inf, nan});
    if (random.below(8) == 0) c.v_absmax[0] = random.one_of({0.f, 1e-45f, 3e38f, inf, nan});
    expect_formula("block " + std::to_string(trial), with_sign, no_sign, random.one_of({0.9, 0.}), random.one_of({0.999, 0.}), c);
  }
  // with no memory of the past the moments are g and g²: these lie on the borders, and a few floats beside them
  for (int second = 0; second < 2; second++)
    for (int i = 0; i < (second ? 255 : 128); i++) {
      const float* const map = second ? no_sign.data() : with_sign.data() + 127;
      const float border = (map[i] + map[i + 1]) / 2;
      float near = second ? std::sqrt(border) : border;
      for (int j = 0; j < 4; j++) near = std::nextafter(near, 0.f);
      Floats g = {1};
      for (int j = 0; j < 9; j++, near = std::nextafter(near, 2.f)) g.push_back(near), g.push_back(-near);
      for (float& x : g) x = x > 1 ? 1 : x;
      expect_formula("border " + std::to_string(i), with_sign, no_sign, 0, 0, state(g));
    }
}

int main() {
  Random random(7);
  const Floats with_sign = dynamic_map(true), no_sign = dynamic_map(false);
  const std::vector<long> sizes = {1, 0, 17, 256, 257, 4096, 16384, 16385, 70003};
  const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, rate = 1e-2, scale = 0.37;
  const long step = 3;
  std::vector<Case> cases;
  Floats decay;
  for (long n : sizes) {
    Case c = {random.floats(n), random.floats(n, -3, 3), random.floats((n + 255) / 256, 0, 2), random.floats((n + 255) / 256, 0, 2), {}, {}};
    for (long i = 0; i < n; i++) {
      c.m.push_back((uint8_t)random.below(256)), c.v.push_back((uint8_t)random.below(256));
      // from the tiny to the large, so that every code is met
      c.g[i] *= (float)std::pow(10., random.uniform(-7, 0));
      if (random.below(9) == 0) c.g[i] = 0;
    }
    for (float& absmax : c.m_absmax)
      if (random.below(4) == 0) absmax = 0;
    cases.push_back(c);
    decay.push_back(random.one_of({0.f, 0.1f}));
  }
  std::vector<Case> first;
  for (int threads = 1; threads <= 3; threads++) {
    Engine engine(threads, RX_FILL(adamw_8bit));
    std::vector<Case> now = cases;
    std::vector<float*> ps, mas, vas;
    std::vector<const float*> gs;
    std::vector<uint8_t*> ms, vs;
    for (Case& c : now) {
      ps.push_back(c.p.data()), gs.push_back(c.g.data()), ms.push_back(c.m.data()), vs.push_back(c.v.data());
      mas.push_back(c.m_absmax.data()), vas.push_back(c.v_absmax.data());
    }
    const AdamW8bit call = {(long)sizes.size(), ps.data(), gs.data(), ms.data(), vs.data(), mas.data(), vas.data(), sizes.data(),
                            decay.data(), with_sign.data(), no_sign.data(), rate, beta1, beta2, epsilon, scale, step};
    engine.table.adamw_8bit(*engine, &call);
    for (size_t t = 0; t < sizes.size(); t++) {
      const std::string name = "tensor " + std::to_string(t);
      const long n = sizes[t];
      const Case &was = cases[t], &is = now[t];
      Doubles P(n), M(n), V(n), top1((n + 255) / 256), top2((n + 255) / 256);
      for (long i = 0; i < n; i++) {
        const double g = scale * was.g[i];
        M[i] = beta1 * with_sign[was.m[i]] * was.m_absmax[i / 256] + (1 - beta1) * g;
        V[i] = beta2 * no_sign[was.v[i]] * was.v_absmax[i / 256] + (1 - beta2) * g * g;
        P[i] = was.p[i] * (1 - rate * decay[t]) -
               rate * (M[i] / (1 - std::pow(beta1, step))) / (std::sqrt(V[i] / (1 - std::pow(beta2, step))) + epsilon);
        top1[i / 256] = std::max(top1[i / 256], std::fabs(M[i]));
        top2[i / 256] = std::max(top2[i / 256], V[i]);
      }
      expect_close(name, is.p, P, 1e-4, 1e-6);
      expect_close(name + " m scales", is.m_absmax, top1, 1e-5, 1e-9);
      expect_close(name + " v scales", is.v_absmax, top2, 1e-5, 1e-9);
      // no code is nearer than the one taken
      const auto nearest = [&](const Floats& map, double x, int code, const std::string& what) {
        const double off = std::fabs(map[code] - x);
        for (int other = 0; other < 256; other++)
          if (std::fabs(map[other] - x) < off - 1e-6 * std::fabs(x) - 1e-12) return report(what + ": a nearer code than " + std::to_string(code));
      };
      for (long i = 0; i < n; i++) {
        const double x = top1[i / 256] == 0 ? 0 : M[i] / top1[i / 256];
        if (M[i] < 0 && std::fabs(x) < 2.8e-7) {
          if (is.m[i] != 126) report(name + ": a small negative moment became " + std::to_string(is.m[i]));
        } else {
          nearest(with_sign, x, is.m[i], name + " m");
        }
        nearest(no_sign, top2[i / 256] == 0 ? 0 : V[i] / top2[i / 256], is.v[i], name + " v");
      }
      if (threads > 1) {
        expect_same_bits(name, is.p, first[t].p);
        if (is.m != first[t].m || is.v != first[t].v) report(name + ": other codes with " + std::to_string(threads) + " threads");
      }
    }
    if (threads == 1) first = now;
  }
  formula_laws(with_sign, no_sign);
  return finish();
}
