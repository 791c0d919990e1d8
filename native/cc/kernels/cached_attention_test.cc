#include "test.h"

extern "C" void RX_FILL(cached_attention)(KernelTable*);

int main() {
  struct Case {
    long n, rows, heads, kv_heads, head_dim, window;
    float softcap = 0;
    bool sinks = false;
    float alibi = 0;
    long value_dim = 0;  // 0: head_dim
  };
  const std::vector<Case> cases = {{0, 3, 2, 1, 4, 0},   {1, 1, 1, 1, 1, 0},    {1, 300, 6, 2, 64, 0}, {3, 40, 4, 4, 37, 0},
                                   {2, 2, 2, 1, 80, 0},  {5, 70, 3, 1, 16, 9},  {1, 50, 2, 2, 128, 1}, {4, 17, 2, 1, 256, 100},
                                   {2, 90, 4, 2, 64, 0, 1.5f}, {3, 33, 2, 1, 20, 7, 0, true}, {1, 60, 4, 2, 48, 0, 0.8f, true},
                                   {3, 70, 4, 1, 16, 0, 0, false, 0.5f},
                                   {2, 90, 4, 2, 192, 0, 0, false, 0, 128}, {3, 33, 3, 3, 20, 7, 0, true, 0, 5}};
  for (const Case& c : cases) {
    Random random((unsigned)(c.rows + c.head_dim));
    const long width = c.heads * c.head_dim, ld = c.kv_heads * c.head_dim;
    const long W = values_of_head(c), value_width = c.heads * W, ld_v = c.kv_heads * W;
    // what lies beyond `rows` is never looked at
    const Floats q = random.floats(c.n * width, -2, 2), keys = random.floats(c.rows * ld), values = random.floats(c.rows * ld_v), sinks = random.floats(c.heads, -2, 3);
    const float scale = 0.7f;
    Doubles want(c.n * value_width);
    for (long i = 0; i < c.n; i++)
      for (long h = 0; h < c.heads; h++) {
        const long last = c.rows - c.n + i, first = c.window ? std::max(0L, last - c.window + 1) : 0, group = h / (c.heads / c.kv_heads), kv = group * c.head_dim;
        Doubles weights;
        double total = 0, highest = c.sinks ? sinks[h] : -1e300;
        for (long j = first; j <= last; j++) {
          double score = 0;
          for (long d = 0; d < c.head_dim; d++) score += (double)q[i * width + h * c.head_dim + d] * keys[j * ld + kv + d];
          score *= scale;
          // four heads have slopes 1/4, 1/16, …
          const double lean = c.alibi * std::pow(0.25, h + 1) * (double)(j - last);
          weights.push_back((c.softcap > 0 ? c.softcap * std::tanh(score / c.softcap) : score) + lean);
          highest = std::fmax(highest, weights.back());
        }
        if (c.sinks) total += std::exp(sinks[h] - highest);
        for (double& w : weights) total += w = std::exp(w - highest);
        for (long d = 0; d < W; d++) {
          double sum = 0;
          for (long j = first; j <= last; j++) sum += weights[j - first] / total * values[j * ld_v + group * W + d];
          want[i * value_width + h * W + d] = sum;
        }
      }
    const std::string name = std::to_string(c.n) + " of " + std::to_string(c.rows) + ", window " + std::to_string(c.window) +
                             ", softcap " + std::to_string(c.softcap) + (c.sinks ? ", sinks" : "");
    Floats first;
    for (int threads = 1; threads <= 3; threads++) {
      Engine engine(threads, RX_FILL(cached_attention));
      Floats out(want.size(), 99.f);
      const CachedAttention shape = {c.n, c.rows, c.heads, c.kv_heads, c.head_dim, c.window, scale, c.softcap, c.sinks ? sinks.data() : nullptr, c.alibi, c.value_dim};
      engine.table.cached_attention(*engine, values_of((float*)q.data()), keys.data(), values.data(), values_of(out.data()), shape);
      expect_close(name, out, want, 1e-5, 3e-6);
      if (threads == 1) first = out;
      expect_same_bits(name + ", threads", out, first);
      // one key that is no number makes all that sees it none
      if (c.n == 0) continue;
      Floats broken = keys;
      broken[(c.rows - 1) * ld] = NAN;
      engine.table.cached_attention(*engine, values_of((float*)q.data()), broken.data(), values.data(), values_of(out.data()), shape);
      for (long d = 0; d < W; d++) expect(name + ", NaN", std::isnan(out[(c.n - 1) * value_width + d]));
    }
  }
  return finish();
}
