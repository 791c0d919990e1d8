#include "test.h"

extern "C" void RX_FILL(gated_delta_rule)(KernelTable*);

namespace {

constexpr double eps = 1e-6;

struct Case {
  std::vector<int32_t> borders;
  long key_heads, value_heads, key_dim, value_dim;
  float forgets = 0;  // decay of some tokens, if any
  long row() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
};

struct Naive {
  Doubles out, last, d_qkv, d_decay, d_rate;
};

struct Unit {
  Doubles x;
  double length;
  Unit(const Doubles& from, long at, long n) : x(from.begin() + at, from.begin() + at + n) {
    double sum = eps;
    for (const double value : x) sum += value * value;
    length = std::sqrt(sum);
    for (double& value : x) value /= length;
  }
  // to += the gradient of what it was made of, from that of x
  void back(const Doubles& dx, double* to) const {
    double along = 0;
    for (size_t i = 0; i < x.size(); i++) along += x[i] * dx[i];
    for (size_t i = 0; i < x.size(); i++) to[i] += (dx[i] - along * x[i]) / length;
  }
};

// Token after token in double precision, and back again.
Naive naive(const Case& c, const Doubles& qkv, const Doubles& decay, const Doubles& rate, const Doubles& state, const Doubles& d_out) {
  const long n = c.borders.back(), K = c.key_dim, V = c.value_dim, H = c.value_heads;
  Naive r;
  r.out.resize(n * H * V), r.last = state;
  r.d_qkv.resize(n * c.row()), r.d_decay.resize(n * H), r.d_rate.resize(n * H);
  for (size_t d = 0; d + 1 < c.borders.size(); d++)
    for (long h = 0; h < H; h++) {
      double* const S = &r.last[((long)d * H + h) * K * V];
      const long keys = h * c.key_heads / H * K;
      std::vector<Doubles> before, decayed, after, missing;
      std::vector<Unit> qs, ks;
      for (long t = c.borders[d]; t < c.borders[d + 1]; t++) {
        qs.emplace_back(qkv, t * c.row() + keys, K), ks.emplace_back(qkv, t * c.row() + c.key_heads * K + keys, K);
        const double* const v = &qkv[t * c.row() + 2 * c.key_heads * K + h * V];
        before.emplace_back(S, S + K * V);
        for (long i = 0; i < K * V; i++) S[i] *= std::exp(decay[t * H + h]);
        decayed.emplace_back(S, S + K * V);
        Doubles m(v, v + V);
        for (long i = 0; i < K; i++)
          for (long j = 0; j < V; j++) m[j] -= decayed.back()[i * V + j] * ks.back().x[i];
        for (long i = 0; i < K; i++)
          for (long j = 0; j < V; j++) {
            S[i * V + j] += rate[t * H + h] * ks.back().x[i] * m[j];
            r.out[(t * H + h) * V + j] += S[i * V + j] * qs.back().x[i] / std::sqrt((double)K);
          }
        after.emplace_back(S, S + K * V);
        missing.push_back(m);
      }
      Doubles dS(K * V);
      for (long t = c.borders[d + 1] - 1; t >= c.borders[d]; t--) {
        const long at = t - c.borders[d];
        const double beta = rate[t * H + h], kept = std::exp(decay[t * H + h]);
        const Doubles &k = ks[at].x, &q = qs[at].x, &m = missing[at];
        Doubles dq(K), dk(K), dw(V);
        for (long i = 0; i < K; i++)
          for (long j = 0; j < V; j++) {
            const double up = d_out[(t * H + h) * V + j] / std::sqrt((double)K);
            dq[i] += after[at][i * V + j] * up;
            dS[i * V + j] += q[i] * up;
          }
        for (long i = 0; i < K; i++)
          for (long j = 0; j < V; j++) {
            dk[i] += dS[i * V + j] * beta * m[j];
            dw[j] += dS[i * V + j] * k[i];
          }
        double* const d_row = &r.d_qkv[t * c.row()];
        for (long j = 0; j < V; j++) {
          r.d_rate[t * H + h] += dw[j] * m[j];
          d_row[2 * c.key_heads * K + h * V + j] += beta * dw[j];
        }
        for (long i = 0; i < K; i++)
          for (long j = 0; j < V; j++) {
            dk[i] -= decayed[at][i * V + j] * beta * dw[j];
            dS[i * V + j] -= k[i] * beta * dw[j];
            r.d_decay[t * H + h] += kept * dS[i * V + j] * before[at][i * V + j];
            dS[i * V + j] *= kept;
          }
        qs[at].back(dq, d_row + keys), ks[at].back(dk, d_row + c.key_heads * K + keys);
      }
    }
  return r;
}

// What a kernel writes to.
struct Run {
  Floats out, last, d_qkv, d_decay, d_rate;
};

Run run(const Case& c, int threads, Values qkv, const Floats& decay, const Floats& rate, const float* state, Values d_out) {
  const long n = c.borders.back(), H = c.value_heads, documents = (long)c.borders.size() - 1;
  Engine engine(threads, RX_FILL(gated_delta_rule));
  Run r = {Floats(n * H * c.value_dim, 99.f), Floats(documents * H * c.key_dim * c.value_dim, 99.f), Floats(n * c.row(), 99.f), Floats(n * H, 99.f), Floats(n * H, 99.f)};
  GatedDeltaRule rule = {};
  rule.qkv = qkv, rule.decay = decay.data(), rule.rate = rate.data(), rule.eps = (float)eps;
  rule.cu_seqlens = c.borders.data(), rule.documents = documents;
  rule.key_heads = c.key_heads, rule.value_heads = H, rule.key_dim = c.key_dim, rule.value_dim = c.value_dim;
  rule.state = state, rule.out = values_of(r.out.data()), rule.last_state = r.last.data();
  engine.table.gated_delta_rule(*engine, &rule);
  rule.d_out = d_out, rule.d_qkv = values_of(r.d_qkv.data()), rule.d_decay = r.d_decay.data(), rule.d_rate = r.d_rate.data();
  engine.table.gated_delta_rule_grad(*engine, &rule);
  return r;
}

}  // namespace

int main() {
  const std::vector<Case> cases = {{{0, 0}, 1, 1, 4, 4},
                                   {{0, 1}, 1, 2, 5, 3},
                                   {{0, 1, 1, 8}, 2, 4, 7, 9},
                                   {{0, 64, 65}, 1, 1, 16, 32},
                                   {{0, 63, 131}, 3, 3, 8, 5},
                                   {{0, 200}, 2, 6, 33, 17},
                                   {{0, 130, 140}, 1, 2, 128, 128},
                                   {{0, 70}, 1, 1, 96, 192},
                                   {{0, 150}, 1, 2, 9, 7, -1e9f},
                                   {{0, 100}, 1, 1, 9, 7, -std::numeric_limits<float>::infinity()}};
  for (const Case& c : cases)
    for (const bool begun : {false, true}) {
      Random random((unsigned)(c.borders.back() + c.key_dim));
      const long n = c.borders.back(), H = c.value_heads;
      const Floats qkv = random.floats(n * c.row()), rate = random.floats(n * H, 0, 1);
      Floats decay = random.floats(n * H, -1.5f, 0);
      for (long t = 10; t < n && c.forgets != 0; t += 23) decay[t * H] = c.forgets;
      const Floats d_out = random.floats(n * H * c.value_dim), some = random.floats(((long)c.borders.size() - 1) * H * c.key_dim * c.value_dim);
      const Floats none(some.size());
      const std::string name = std::to_string(n) + " rows, " + std::to_string(c.key_heads) + "/" + std::to_string(H) + " heads of " + std::to_string(c.key_dim) + "/" + std::to_string(c.value_dim) + (begun ? ", begun" : "");
      const Naive want = naive(c, widen(qkv), widen(decay), widen(rate), widen(begun ? some : none), widen(d_out));
      Run first;
      for (int threads = 1; threads <= 3; threads++) {
        const Run got = run(c, threads, values_of(qkv.data()), decay, rate, begun ? some.data() : nullptr, values_of(d_out.data()));
        if (threads == 1) first = got;
        expect_same_bits(name + " threads", got.out, first.out);
        expect_same_bits(name + " threads, back", got.d_qkv, first.d_qkv);
        expect_same_bits(name + " threads, decay", got.d_decay, first.d_decay);
      }
      expect_close(name, first.out, want.out, 1e-4, 2e-5);
      expect_close(name + " last state", first.last, want.last, 1e-4, 2e-5);
      if (begun) continue;  // the way back is of empty states
      expect_close(name + " d qkv", first.d_qkv, want.d_qkv, 1e-3, 1e-4);
      expect_close(name + " d decay", first.d_decay, want.d_decay, 1e-3, 1e-4);
      expect_close(name + " d rate", first.d_rate, want.d_rate, 1e-3, 1e-4);
      const Halved qkv16 = halved(qkv), d16 = halved(d_out);
      const Floats qkv_kept = widened(qkv16), d_kept = widened(d16);
      const Run kept = run(c, 2, values_of(qkv_kept.data()), decay, rate, nullptr, values_of(d_kept.data()));
      const Run halves = run(c, 2, {(void*)qkv16.data(), 1}, decay, rate, nullptr, {(void*)d16.data(), 1});
      expect_same_bits(name + " halves", halves.out, kept.out);
      expect_same_bits(name + " halves, back", halves.d_qkv, kept.d_qkv);
    }
  return finish();
}
