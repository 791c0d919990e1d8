// One step of AdamW (Loshchilov & Hutter 2019, the form of torch.optim.AdamW) for a vector of numbers.
#pragma once

#include "../simd.h"

namespace {

struct AdamWRule {
  double learning_rate;
  vf beta1, rest1, beta2, rest2, keep, rate, root, epsilon, scale;

  // Of an AdamW or an AdamW8bit, without decay.
  template <class Update>
  explicit AdamWRule(const Update* a)
      : learning_rate(a->learning_rate),
        beta1(vset((float)a->beta1)),
        rest1(vset((float)(1 - a->beta1))),
        beta2(vset((float)a->beta2)),
        rest2(vset((float)(1 - a->beta2))),
        keep(vset(1)),
        rate(vset((float)(a->learning_rate / (1 - __builtin_pow(a->beta1, (double)a->step))))),
        root(vset((float)(1 / __builtin_sqrt(1 - __builtin_pow(a->beta2, (double)a->step))))),
        epsilon(vset((float)a->epsilon)),
        scale(vset((float)a->grad_scale)) {}

  inline __attribute__((always_inline)) AdamWRule with_decay(double decay) const {
    AdamWRule rule = *this;
    rule.keep = vset((float)(1 - learning_rate * decay));
    return rule;
  }

  // Moves the moments; gives the parameter as it is then.
  inline __attribute__((always_inline)) vf operator()(vf p, vf g, vf& m, vf& v) const {
    const vf grad = g * scale;
    m = fma(m, beta1, grad * rest1);
    v = fma(v, beta2, grad * grad * rest2);
    const vf divisor = fma(vsqrt(v), root, epsilon);
    return fma(p, keep, -(rate * (m / divisor)));
  }
};

}  // namespace
