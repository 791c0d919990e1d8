// routes.cc: against the plain definition, in any number of threads. More tokens than a piece of work has.
#include "../routes.cc"

#include <algorithm>
#include <numeric>

#include "test.h"

namespace {

using Ints = std::vector<int32_t>;

struct Made {
  Floats probabilities, weights, shares, d_logits;
  Ints chosen, counts, order, rows, places;
};

Made made(const Context* context, Routes a, const Floats& d_weights, const Floats& slopes) {
  const size_t all = (size_t)(a.tokens * a.experts), pairs = (size_t)(a.tokens * a.each);
  Made m = {Floats(all, 9.f), Floats(pairs, 9.f), Floats(a.mixed ? pairs * (size_t)a.experts : 0, 9.f), Floats(all, 9.f), Ints(pairs, 9),
            Ints((size_t)a.experts, 9), Ints(pairs, 9), Ints(pairs, 9), Ints(pairs, 9)};
  a.probabilities = m.probabilities.data(), a.weights = m.weights.data(), a.shares = a.mixed ? m.shares.data() : nullptr;
  a.chosen = m.chosen.data(), a.counts = m.counts.data(), a.order = m.order.data(), a.rows = m.rows.data(), a.places = m.places.data();
  make_routes(context, &a);
  const RoutesGrad g = {a.tokens, a.experts, a.each, a.sigmoid, a.normalized, a.least_sum, a.factor, a.probabilities, a.chosen, a.weights, a.shares,
                        d_weights.data(), slopes.data(), m.d_logits.data()};
  make_routes_grad(context, &g);
  return m;
}

void check(const std::string& name, const Routes& a, const Made& m) {
  Ints by_expert(m.order.size()), counts((size_t)a.experts);
  std::iota(by_expert.begin(), by_expert.end(), 0);
  std::stable_sort(by_expert.begin(), by_expert.end(), [&](int32_t i, int32_t j) { return m.chosen[i] < m.chosen[j]; });
  for (const int32_t e : m.chosen) counts[(size_t)e]++;
  if (m.order != by_expert) report(name + ": pairs in another order");
  if (m.counts != counts) report(name + ": other counts");
  for (size_t at = 0; at < by_expert.size(); at++) {
    if (m.places[(size_t)by_expert[at]] != (int32_t)at) report(name + ": a pair lies elsewhere");
    if (m.rows[at] != by_expert[at] / a.each) report(name + ": another token's row");
  }
  if (a.groups > 0) return;
  for (long t = 0; t < a.tokens; t++) {
    Ints order((size_t)a.experts);
    std::iota(order.begin(), order.end(), 0);
    const auto rank = [&](int32_t e) {
      return a.correction != nullptr ? m.probabilities[t * a.experts + e] + a.correction[e] : a.logits[t * a.experts + e];
    };
    std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return rank(i) > rank(j); });
    double sum = 0, exps = 0;
    for (long e = 0; e < a.experts; e++) exps += std::exp((double)a.logits[t * a.experts + e]);
    for (long e = 0; e < a.experts; e++) {
      const double power = std::exp((double)a.logits[t * a.experts + e]), want = a.sigmoid ? power / (1 + power) : power / exps;
      if (std::fabs(m.probabilities[t * a.experts + e] - want) > 1e-6) report(name + ": another probability");
    }
    for (long j = 0; j < a.each; j++) {
      if (m.chosen[t * a.each + j] != order[(size_t)j]) report(name + ": another expert");
      sum += m.weights[t * a.each + j];
    }
    if (a.normalized && a.least_sum == 0 && std::fabs(sum - a.factor) > 1e-5) report(name + ": weights have another sum");
  }
}

}  // namespace

int main() {
  struct Case {
    long tokens, experts, each, groups;
    int sigmoid, normalized, corrected, mixed;
  };
  const std::vector<Case> cases = {{0, 4, 2, 0, 0, 0, 0, 0},    {1, 1, 1, 0, 0, 1, 0, 0},    {300, 64, 8, 0, 0, 0, 0, 0}, {129, 9, 3, 0, 1, 1, 1, 0},
                                   {400, 16, 4, 4, 1, 1, 1, 0}, {257, 7, 2, 0, 0, 0, 0, 1}, {513, 128, 8, 0, 0, 1, 0, 0}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.tokens + c.experts));
    Floats logits = random.floats(c.tokens * c.experts, -3, 3);
    // Some are alike.
    for (float& x : logits) x = random.below(2) == 0 ? std::round(4 * x) / 4 : x;
    const Floats correction = random.floats(c.experts), d_weights = random.floats(c.tokens * c.each), slopes = random.floats(c.experts);
    Routes a = {};
    a.tokens = c.tokens, a.experts = c.experts, a.each = c.each, a.sigmoid = c.sigmoid, a.normalized = c.normalized;
    a.factor = c.mixed ? 1 : 2.5, a.groups = c.groups, a.open = c.groups / 2, a.best = 2, a.mixed = c.mixed, a.tolerance = 0.3;
    a.logits = logits.data(), a.correction = c.corrected ? correction.data() : nullptr;
    const std::string name = std::to_string(c.tokens) + " tokens, " + std::to_string(c.experts) + " experts";
    Made first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, [](KernelTable*) {});
      const Made m = made(*engine, a, d_weights, slopes);
      check(name, a, m);
      if (threads == 1) first = m;
      expect_same_bits(name + ", probabilities", m.probabilities, first.probabilities);
      expect_same_bits(name + ", weights", m.weights, first.weights);
      expect_same_bits(name + ", shares", m.shares, first.shares);
      expect_same_bits(name + ", gradient", m.d_logits, first.d_logits);
      if (m.chosen != first.chosen || m.order != first.order || m.counts != first.counts) report(name + ": other routes by " + std::to_string(threads));
    }
  }
  return finish();
}
