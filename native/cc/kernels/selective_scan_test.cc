#include "test.h"

extern "C" void RX_FILL(selective_scan)(KernelTable*);

namespace {

struct Case {
  std::vector<int32_t> borders;
  long channels, state_dim;
  bool begins;
  float forgets = 0;  // dt of some tokens, if any
};

struct Given {
  Floats x, dt, b, c, a_log, skip, state, dy;
};

// Token by token, and back.
struct Plain {
  Doubles y, last, d_x, d_dt, d_b, d_c, d_a_log, d_skip;
};

Plain plain(const Case& k, const Given& in, bool begins, double fall = 1) {
  const long rows = k.borders.back(), documents = (long)k.borders.size() - 1, n = k.state_dim;
  Plain p;
  p.y.resize(rows * k.channels), p.last.resize(documents * k.channels * n), p.d_x.resize(rows * k.channels), p.d_dt.resize(rows * k.channels);
  p.d_b.resize(rows * n), p.d_c.resize(rows * n), p.d_a_log.resize(k.channels * n), p.d_skip.resize(k.channels);
  for (long d = 0; d < documents; d++)
    for (long i = 0; i < k.channels; i++) {
      const auto rate = [&](long t) {
        const double at = in.dt[t * k.channels + i];
        return std::fmax(at, 0) + std::log1p(std::exp(-std::fabs(at)));
      };
      const auto a = [&](long s) { return -std::exp((double)in.a_log[i * n + s]); };
      std::vector<Doubles> states(1, Doubles(n));
      for (long s = 0; begins && s < n; s++) states[0][s] = in.state[(d * k.channels + i) * n + s];
      for (long t = k.borders[d]; t < k.borders[d + 1]; t++) {
        Doubles next = states.back();
        double& y = p.y[t * k.channels + i];
        y = (double)in.skip[i] * in.x[t * k.channels + i];
        for (long s = 0; s < n; s++) {
          next[s] = std::exp(rate(t) * a(s)) * next[s] + rate(t) * in.x[t * k.channels + i] * in.b[t * n + s];
          y += next[s] * in.c[t * n + s];
        }
        states.push_back(next);
      }
      for (long s = 0; s < n; s++) p.last[(d * k.channels + i) * n + s] = states.back()[s];
      Doubles g(n);
      for (long t = k.borders[d + 1] - 1; t >= k.borders[d]; t--) {
        const Doubles &before = states[t - k.borders[d]], &after = states[t - k.borders[d] + 1];
        const long at = t * k.channels + i;
        const double up = in.dy[at], x = in.x[at];
        double d_rate = 0;
        p.d_x[at] = up * in.skip[i], p.d_skip[i] += up * x;
        for (long s = 0; s < n; s++) {
          g[s] += up * in.c[t * n + s];
          p.d_c[t * n + s] += up * after[s], p.d_b[t * n + s] += g[s] * rate(t) * x;
          p.d_x[at] += g[s] * rate(t) * in.b[t * n + s];
          const double kept = std::exp(rate(t) * a(s)), decayed = g[s] * kept * before[s];
          d_rate += g[s] * x * in.b[t * n + s] + fall * decayed * a(s);
          p.d_a_log[i * n + s] += fall * decayed * rate(t) * a(s);
          g[s] *= kept;
        }
        p.d_dt[at] = d_rate / (1 + std::exp(-(double)in.dt[at]));
      }
    }
  return p;
}

Floats positive(Floats numbers) {
  for (float& x : numbers) x = std::fabs(x);
  return numbers;
}

// What the absolute values of all addends add up to: where large ones cancel, each is rounded all the same. Rates and what stays of a
// state are positive, a is negative.
Plain sizes(const Case& k, const Given& in, bool begins) {
  return plain(k, {positive(in.x), in.dt, positive(in.b), positive(in.c), in.a_log, positive(in.skip), positive(in.state), positive(in.dy)}, begins, -1);
}

constexpr double rounding = 4e-6;

void expect_sum(const std::string& what, const Floats& got, const Doubles& want, const Doubles& size) {
  for (size_t i = 0; i < got.size(); i++)
    if (!(std::fabs(got[i] - want[i]) <= rounding * size[i] + 1e-6))
      report(what + ", " + std::to_string(i) + ": got " + std::to_string(got[i]) + ", want " + std::to_string(want[i]) + " of addends of " +
             std::to_string(size[i]));
}

}  // namespace

int main() {
  const std::vector<Case> cases = {
      {{0, 0}, 3, 2, false},           {{0, 1}, 1, 1, false},      {{0, 7, 7, 9}, 20, 5, false},        {{0, 16, 33}, 17, 16, true},
      {{0, 150}, 64, 16, false},       {{0, 70, 131, 200}, 133, 9, true}, {{0, 300}, 40, 16, true}, {{0, 3, 5, 100, 260}, 300, 4, false},
      {{0, 150}, 10, 6, true, 3e5f},
  };
  for (const Case& k : cases) {
    const long rows = k.borders.back(), documents = (long)k.borders.size() - 1;
    Random random((unsigned)(rows + k.channels));
    Given in;
    in.x = random.floats(rows * k.channels), in.dt = random.floats(rows * k.channels, -3, 2);
    for (long t = 10; t < rows && k.forgets != 0; t += 23) in.dt[t * k.channels] = k.forgets;
    in.b = random.floats(rows * k.state_dim), in.c = random.floats(rows * k.state_dim), in.a_log = random.floats(k.channels * k.state_dim, -2, 2);
    in.skip = random.floats(k.channels), in.dy = random.floats(rows * k.channels);
    in.state = random.floats(documents * k.channels * k.state_dim);
    const std::string name = std::to_string(rows) + " tokens, " + std::to_string(k.channels) + " channels of " + std::to_string(k.state_dim);
    const Plain want = plain(k, in, k.begins), back = k.begins ? plain(k, in, false) : want;
    const Plain size = sizes(k, in, k.begins), back_size = k.begins ? sizes(k, in, false) : size;
    Floats first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(selective_scan));
      Floats y(want.y.size(), 99.f), last(want.last.size(), 99.f), d_x(in.x.size(), 99.f), d_dt(in.dt.size(), 99.f), d_b(in.b.size(), 99.f);
      Floats d_c(in.c.size(), 99.f), d_a_log(in.a_log.size(), 99.f), d_skip(in.skip.size(), 99.f);
      SelectiveScan scan = {};
      scan.rows = rows, scan.channels = k.channels, scan.state_dim = k.state_dim, scan.cu_seqlens = k.borders.data(), scan.documents = documents;
      const auto given = [&](const Floats& x, const Floats& dt, const Floats& b, const Floats& c, const Floats& dy) {
        scan.x = values_of(x.data()), scan.dt = values_of(dt.data()), scan.b = values_of(b.data()), scan.c = values_of(c.data());
        scan.dy = values_of(dy.data());
      };
      given(in.x, in.dt, in.b, in.c, in.dy);
      scan.a_log = in.a_log.data(), scan.skip = in.skip.data();
      scan.y = values_of(y.data()), scan.state = k.begins ? in.state.data() : nullptr, scan.last = last.data();
      engine.table.selective_scan(*engine, &scan);
      expect_sum(name, y, want.y, size.y);
      expect_sum(name + " state", last, want.last, size.last);
      scan.d_x = values_of(d_x.data()), scan.d_dt = values_of(d_dt.data()), scan.d_b = values_of(d_b.data()), scan.d_c = values_of(d_c.data());
      scan.d_a_log = d_a_log.data(), scan.d_skip = d_skip.data(), scan.state = nullptr, scan.last = nullptr;
      engine.table.selective_scan_grad(*engine, &scan);
      expect_sum(name + " grad of x", d_x, back.d_x, back_size.d_x);
      expect_sum(name + " grad of dt", d_dt, back.d_dt, back_size.d_dt);
      expect_sum(name + " grad of b", d_b, back.d_b, back_size.d_b);
      expect_sum(name + " grad of c", d_c, back.d_c, back_size.d_c);
      expect_sum(name + " grad of a_log", d_a_log, back.d_a_log, back_size.d_a_log);
      expect_sum(name + " grad of skip", d_skip, back.d_skip, back_size.d_skip);
      if (threads == 1) first = d_b;
      expect_same_bits(name, d_b, first);

      // Numbers that lie as bfloat16 count as what they are worth.
      const Halved x16 = halved(in.x), dt16 = halved(in.dt), b16 = halved(in.b), c16 = halved(in.c), dy16 = halved(in.dy);
      const Floats x = widened(x16), dt = widened(dt16), b = widened(b16), c = widened(c16), dy = widened(dy16);
      given(x, dt, b, c, dy);
      engine.table.selective_scan(*engine, &scan);
      engine.table.selective_scan_grad(*engine, &scan);
      Halved y16(y.size()), d_x16(d_x.size()), d_dt16(d_dt.size()), d_b16(d_b.size()), d_c16(d_c.size());
      scan.x = {(void*)x16.data(), 1}, scan.dt = {(void*)dt16.data(), 1}, scan.b = {(void*)b16.data(), 1}, scan.c = {(void*)c16.data(), 1};
      scan.dy = {(void*)dy16.data(), 1}, scan.y = {y16.data(), 1}, scan.d_x = {d_x16.data(), 1}, scan.d_dt = {d_dt16.data(), 1};
      scan.d_b = {d_b16.data(), 1}, scan.d_c = {d_c16.data(), 1};
      engine.table.selective_scan(*engine, &scan);
      engine.table.selective_scan_grad(*engine, &scan);
      expect(name + " halves", y16 == halved(y) && d_x16 == halved(d_x) && d_dt16 == halved(d_dt) && d_b16 == halved(d_b) && d_c16 == halved(d_c));
    }
  }
  return finish();
}
