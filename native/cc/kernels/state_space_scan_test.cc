#include "test.h"

extern "C" void RX_FILL(state_space_scan)(KernelTable*);

namespace {

struct Case {
  std::vector<int32_t> borders;
  long heads, head_dim, groups, state_dim;
  float least, most;
  bool begins;
  float forgets = 0;  // dt of some tokens, if any
};

// Token by token, and back.
struct Plain {
  Doubles y, last, d_xbc, d_dt, d_a_log, d_skip, d_dt_bias;
};

Plain plain(const Case& c, const Floats& xbc, const Floats& dt, const Floats& a_log, const Floats& skip, const Floats& dt_bias, const Floats& state,
            const Floats& dy) {
  const long rows = c.borders.back(), documents = (long)c.borders.size() - 1;
  const long inner = c.heads * c.head_dim, width = inner + 2 * c.groups * c.state_dim, size = c.head_dim * c.state_dim;
  Plain p;
  p.y.resize(rows * inner), p.last.resize(documents * c.heads * size), p.d_xbc.resize(rows * width), p.d_dt.resize(rows * c.heads);
  p.d_a_log.resize(c.heads), p.d_skip.resize(c.heads), p.d_dt_bias.resize(c.heads);
  for (long d = 0; d < documents; d++)
    for (long h = 0; h < c.heads; h++) {
      const long from = c.borders[d], to = c.borders[d + 1], group = h / (c.heads / c.groups);
      const double a = -std::exp((double)a_log[h]);
      const auto x = [&](long t, long i) { return t * width + h * c.head_dim + i; };
      const auto b = [&](long t, long s) { return t * width + inner + group * c.state_dim + s; };
      const auto cc = [&](long t, long s) { return b(t, s) + c.groups * c.state_dim; };
      const auto soft = [&](long t) {
        const double at = (double)dt[t * c.heads + h] + dt_bias[h];
        return std::fmax(at, 0) + std::log1p(std::exp(-std::fabs(at)));
      };
      const auto rate = [&](long t) { return std::fmin(std::fmax(soft(t), c.least), c.most); };
      std::vector<Doubles> states(1, Doubles(size));
      if (c.begins)
        for (long s = 0; s < c.state_dim; s++)
          for (long i = 0; i < c.head_dim; i++) states[0][s * c.head_dim + i] = state[((d * c.heads + h) * c.state_dim + s) * c.head_dim + i];
      for (long t = from; t < to; t++) {
        Doubles next = states.back();
        for (long s = 0; s < c.state_dim; s++)
          for (long i = 0; i < c.head_dim; i++) {
            double& at = next[s * c.head_dim + i];
            at = at * std::exp(a * rate(t)) + rate(t) * xbc[b(t, s)] * xbc[x(t, i)];
            p.y[t * inner + h * c.head_dim + i] += at * xbc[cc(t, s)];
          }
        for (long i = 0; i < c.head_dim; i++) p.y[t * inner + h * c.head_dim + i] += (double)skip[h] * xbc[x(t, i)];
        states.push_back(next);
      }
      for (long i = 0; i < size; i++) p.last[(d * c.heads + h) * size + i] = states.back()[i];
      Doubles d_state(size);
      for (long t = to - 1; t >= from; t--) {
        const Doubles &after = states[t - from + 1], &before = states[t - from];
        const double kept = std::exp(a * rate(t));
        double d_rate = 0, d_kept = 0;
        for (long i = 0; i < c.head_dim; i++) {
          const double up = dy[t * inner + h * c.head_dim + i];
          p.d_xbc[x(t, i)] += up * skip[h], p.d_skip[h] += up * xbc[x(t, i)];
          for (long s = 0; s < c.state_dim; s++) {
            const long at = s * c.head_dim + i;
            p.d_xbc[cc(t, s)] += up * after[at];
            d_state[at] += up * xbc[cc(t, s)];
            p.d_xbc[b(t, s)] += d_state[at] * rate(t) * xbc[x(t, i)];
            p.d_xbc[x(t, i)] += d_state[at] * rate(t) * xbc[b(t, s)];
            d_rate += d_state[at] * xbc[b(t, s)] * xbc[x(t, i)];
            d_kept += d_state[at] * before[at];
            d_state[at] *= kept;
          }
        }
        d_rate += d_kept * kept * a;
        p.d_a_log[h] += d_kept * kept * rate(t) * a;
        const bool inside = soft(t) >= c.least && soft(t) <= c.most;
        const double slope = inside ? 1 / (1 + std::exp(-((double)dt[t * c.heads + h] + dt_bias[h]))) : 0;
        p.d_dt[t * c.heads + h] = d_rate * slope, p.d_dt_bias[h] += d_rate * slope;
      }
    }
  return p;
}

}  // namespace

int main() {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<Case> cases = {
      {{0, 0}, 2, 3, 1, 2, 0, inf, false},           {{0, 1}, 1, 1, 1, 1, 0, inf, false},      {{0, 7, 7, 9}, 4, 5, 2, 3, 0, inf, false},
      {{0, 64, 65}, 3, 16, 1, 16, 0, inf, true},     {{0, 150}, 6, 9, 3, 20, 0, inf, false},   {{0, 70, 131, 200}, 4, 33, 1, 17, 0.1f, 0.9f, true},
      {{0, 300}, 10, 32, 1, 8, 0, inf, true},        {{0, 3, 5, 100, 260}, 24, 4, 2, 5, 0, inf, false},
      {{0, 150}, 2, 5, 1, 6, 0, inf, true, 3e5f},
  };
  for (const Case& c : cases) {
    const long rows = c.borders.back(), documents = (long)c.borders.size() - 1;
    const long inner = c.heads * c.head_dim, width = inner + 2 * c.groups * c.state_dim;
    Random random((unsigned)(rows + c.state_dim));
    Floats dt = random.floats(rows * c.heads, -3, 2);
    for (long t = 10; t < rows && c.forgets != 0; t += 23) dt[t * c.heads] = c.forgets;
    const Floats xbc = random.floats(rows * width), a_log = random.floats(c.heads, -2, 1);
    const Floats skip = random.floats(c.heads), dt_bias = random.floats(c.heads), dy = random.floats(rows * inner);
    const Floats state = random.floats(c.begins ? documents * c.heads * c.state_dim * c.head_dim : 0);
    const std::string name = std::to_string(rows) + " tokens, " + std::to_string(c.heads) + " heads of " + std::to_string(c.head_dim) + ", " +
                             std::to_string(c.groups) + " groups of " + std::to_string(c.state_dim);
    const Plain want = plain(c, xbc, dt, a_log, skip, dt_bias, state, dy);
    const Plain back = c.begins ? plain({c.borders, c.heads, c.head_dim, c.groups, c.state_dim, c.least, c.most, false}, xbc, dt, a_log, skip,
                                        dt_bias, state, dy)
                                : want;
    Floats first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(state_space_scan));
      Floats y(rows * inner, 99.f), last(want.last.size(), 99.f), d_xbc(xbc.size(), 99.f), d_dt(dt.size(), 99.f);
      Floats d_a_log(c.heads, 99.f), d_skip(c.heads, 99.f), d_dt_bias(c.heads, 99.f);
      StateSpaceScan scan = {};
      scan.rows = rows, scan.heads = c.heads, scan.head_dim = c.head_dim, scan.groups = c.groups, scan.state_dim = c.state_dim;
      scan.cu_seqlens = c.borders.data(), scan.documents = documents, scan.least = c.least, scan.most = c.most;
      scan.xbc = values_of(xbc.data()), scan.dt = values_of(dt.data());
      scan.a_log = a_log.data(), scan.skip = skip.data(), scan.dt_bias = dt_bias.data();
      scan.y = values_of(y.data()), scan.state = c.begins ? state.data() : nullptr, scan.last = last.data();
      engine.table.state_space_scan(*engine, &scan);
      expect_close(name, y, want.y, 1e-4, 1e-4);
      expect_close(name + " state", last, want.last, 1e-4, 1e-4);
      scan.dy = values_of(dy.data()), scan.d_xbc = values_of(d_xbc.data()), scan.d_dt = values_of(d_dt.data());
      scan.d_a_log = d_a_log.data(), scan.d_skip = d_skip.data(), scan.d_dt_bias = d_dt_bias.data();
      scan.state = nullptr;
      engine.table.state_space_scan_grad(*engine, &scan);
      expect_close(name + " grad", d_xbc, back.d_xbc, 1e-3, 1e-3);
      expect_close(name + " grad of dt", d_dt, back.d_dt, 1e-3, 1e-3);
      expect_close(name + " grad of a_log", d_a_log, back.d_a_log, 1e-3, 1e-3);
      expect_close(name + " grad of skip", d_skip, back.d_skip, 1e-3, 1e-3);
      expect_close(name + " grad of dt_bias", d_dt_bias, back.d_dt_bias, 1e-3, 1e-3);
      if (threads == 1) first = d_xbc;
      expect_same_bits(name, d_xbc, first);

      // Numbers that lie as bfloat16 count as what they are worth.
      const Halved xbc16 = halved(xbc), dt16 = halved(dt), dy16 = halved(dy);
      const Floats xbc_kept = widened(xbc16), dt_kept = widened(dt16), dy_kept = widened(dy16);
      Halved y16(y.size()), d_xbc16(xbc.size()), d_dt16(dt.size());
      scan.xbc = values_of(xbc_kept.data()), scan.dt = values_of(dt_kept.data()), scan.dy = values_of(dy_kept.data());
      engine.table.state_space_scan(*engine, &scan);
      engine.table.state_space_scan_grad(*engine, &scan);
      scan.xbc = {(void*)xbc16.data(), 1}, scan.dt = {(void*)dt16.data(), 1}, scan.dy = {(void*)dy16.data(), 1};
      scan.y = {y16.data(), 1}, scan.d_xbc = {d_xbc16.data(), 1}, scan.d_dt = {d_dt16.data(), 1};
      engine.table.state_space_scan(*engine, &scan);
      engine.table.state_space_scan_grad(*engine, &scan);
      expect(name + " halves", y16 == halved(y) && d_xbc16 == halved(d_xbc) && d_dt16 == halved(d_dt));
    }
  }
  return finish();
}
