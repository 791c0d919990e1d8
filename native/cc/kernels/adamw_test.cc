#include "test.h"

extern "C" void RX_FILL(adamw)(KernelTable*);

int main() {
  Random random(5);
  const std::vector<long> sizes = {1, 0, 17, 64, 32768, 32769, 100003, 3};
  const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, rate = 1e-2, scale = 0.37;
  std::vector<Floats> params, decay_of;
  std::vector<std::vector<Floats>> grads(4);
  Floats decay;
  for (long n : sizes) {
    params.push_back(random.floats(n));
    for (auto& g : grads) g.push_back(random.floats(n, -3, 3));
    decay.push_back(random.one_of({0.f, 0.1f}));
  }
  std::vector<Floats> first;
  for (int threads = 1; threads <= 3; threads++) {
    Engine engine(threads, RX_FILL(adamw));
    std::vector<Floats> p = params, m, v;
    std::vector<Doubles> P, M, V;
    for (auto& one : p) {
      m.emplace_back(one.size());
      v.emplace_back(one.size());
      P.push_back(widen(one));
      M.emplace_back(one.size());
      V.emplace_back(one.size());
    }
    for (long step = 1; step <= 4; step++) {
      std::vector<float*> ps, ms, vs;
      std::vector<const float*> gs;
      for (size_t t = 0; t < sizes.size(); t++) {
        ps.push_back(p[t].data()), ms.push_back(m[t].data()), vs.push_back(v[t].data()), gs.push_back(grads[step - 1][t].data());
        for (size_t i = 0; i < p[t].size(); i++) {
          const double g = scale * grads[step - 1][t][i];
          P[t][i] *= 1 - rate * decay[t];
          M[t][i] = beta1 * M[t][i] + (1 - beta1) * g;
          V[t][i] = beta2 * V[t][i] + (1 - beta2) * g * g;
          P[t][i] -= rate * (M[t][i] / (1 - std::pow(beta1, step))) / (std::sqrt(V[t][i] / (1 - std::pow(beta2, step))) + epsilon);
        }
      }
      const AdamW call = {(long)sizes.size(), ps.data(), gs.data(), ms.data(), vs.data(), sizes.data(), decay.data(),
                          rate, beta1, beta2, epsilon, scale, step, nullptr, 0, nullptr};
      engine.table.adamw(*engine, &call);
    }
    for (size_t t = 0; t < sizes.size(); t++) {
      const std::string name = "tensor " + std::to_string(t);
      expect_close(name, p[t], P[t], 1e-5, 1e-6);
      expect_close(name + " m", m[t], M[t], 1e-5, 1e-7);
      expect_close(name + " v", v[t], V[t], 1e-5, 1e-9);
      if (threads > 1) expect_same_bits(name, p[t], first[t]);
    }
    if (threads == 1) first = p;
  }
  return finish();
}
