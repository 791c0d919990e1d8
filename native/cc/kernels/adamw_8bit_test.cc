#include "test.h"

#include <algorithm>

extern "C" void RX_FILL(adamw_8bit)(KernelTable*);

// bitsandbytes' dynamic maps, in doubles
static Floats dynamic_map(bool with_sign) {
  Floats map = {0, 1};
  for (int e = 0; e < 7; e++) {
    const int parts = with_sign ? 1 << e : 2 << e;
    for (int i = 0; i < parts; i++) {
      const double middle = std::pow(10., e - 6) * (0.1 + 0.9 * (i + 0.5) / parts);
      map.push_back((float)middle);
      if (with_sign) map.push_back((float)-middle);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

struct Case {
  Floats p, g, m_absmax, v_absmax;
  std::vector<uint8_t> m, v;
};

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
  return finish();
}
