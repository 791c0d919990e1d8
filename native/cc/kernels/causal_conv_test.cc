#include "test.h"

extern "C" void RX_FILL(causal_conv)(KernelTable*);

int main() {
  struct Case {
    std::vector<int32_t> borders;
    long channels, taps;
  };
  const std::vector<Case> cases = {{{0, 0}, 3, 4},          {{0, 1}, 1, 1},         {{0, 7}, 17, 3},           {{0, 2, 2, 9, 10}, 130, 4},
                                   {{0, 127, 260, 300}, 37, 4}, {{0, 300}, 256, 2}, {{0, 125, 131, 700}, 9, 16}};
  for (const Case& c : cases)
    for (const int silu : {0, 1})
     for (const int gated : {0, 1})
      for (const bool biased : {false, true}) {
        Random random((unsigned)(c.channels + c.taps));
        const long rows = c.borders.back(), n = rows * c.channels, wide = gated ? 3 * n : n;
        const Floats x = random.floats(wide), dy = random.floats(n), weight = random.floats(c.channels * c.taps), bias = random.floats(c.channels);
        const std::string name = std::to_string(rows) + "x" + std::to_string(c.channels) + " of " + std::to_string(c.taps) + (silu ? " silu" : "") + (gated ? " gated" : "");
        Doubles y_want(n), dx_want(wide), d_weight_want(weight.size()), d_bias_want(bias.size());
        for (size_t d = 0; d + 1 < c.borders.size(); d++)
          for (long t = c.borders[d]; t < c.borders[d + 1]; t++)
            for (long i = 0; i < c.channels; i++) {
              const auto part = [&](long row, int which) { return (row * 3 + which) * c.channels + i; };
              const auto at = [&](long row) { return gated ? (double)x[part(row, 0)] * x[part(row, 2)] : (double)x[row * c.channels + i]; };
              double sum = biased ? bias[i] : 0;
              for (long k = 0; k < c.taps && t - k >= c.borders[d]; k++) sum += (double)weight[i * c.taps + c.taps - 1 - k] * at(t - k);
              const double s = 1 / (1 + std::exp(-sum));
              const double y = silu ? sum * s : sum, out = gated ? x[part(t, 1)] : 1;
              y_want[t * c.channels + i] = y * out;
              if (gated) dx_want[part(t, 1)] = y * dy[t * c.channels + i];
              const double up = out * dy[t * c.channels + i] * (silu ? s + sum * s * (1 - s) : 1);
              d_bias_want[i] += up;
              for (long k = 0; k < c.taps && t - k >= c.borders[d]; k++) {
                const double dx = up * weight[i * c.taps + c.taps - 1 - k];
                if (gated) {
                  dx_want[part(t - k, 0)] += dx * x[part(t - k, 2)];
                  dx_want[part(t - k, 2)] += dx * x[part(t - k, 0)];
                } else {
                  dx_want[(t - k) * c.channels + i] += dx;
                }
                d_weight_want[i * c.taps + c.taps - 1 - k] += up * at(t - k);
              }
            }
        Floats first;
        for (int threads = 1; threads <= 3; threads++) {
          Engine engine(threads, RX_FILL(causal_conv));
          Floats y(n, 99.f), dx(wide, 99.f), alone(wide, 99.f), d_weight(weight.size(), 99.f), d_bias(bias.size(), 99.f);
          CausalConv conv = {};
          conv.rows = rows, conv.channels = c.channels, conv.taps = c.taps, conv.silu = silu, conv.gated = gated;
          conv.cu_seqlens = c.borders.data(), conv.documents = (long)c.borders.size() - 1;
          conv.x = values_of(x.data()), conv.weight = weight.data(), conv.bias = biased ? bias.data() : nullptr;
          conv.y = values_of(y.data());
          engine.table.causal_conv(*engine, &conv);
          conv.dy = values_of(dy.data()), conv.dx = values_of(alone.data());
          engine.table.causal_conv_grad(*engine, &conv);
          conv.dx = values_of(dx.data()), conv.d_weight = d_weight.data(), conv.d_bias = d_bias.data();
          engine.table.causal_conv_grad(*engine, &conv);
          expect_close(name, y, y_want, 1e-5, 1e-5);
          expect_close(name + " grad", dx, dx_want, 1e-5, 1e-5);
          expect_close(name + " grad of factors", d_weight, d_weight_want, 1e-4, 1e-4);
          expect_close(name + " grad of bias", d_bias, d_bias_want, 1e-4, 1e-4);
          expect_same_bits(name + " grad alone", alone, dx);
          if (threads == 1) first = d_weight;
          expect_same_bits(name + " threads", d_weight, first);

          const Halved x16 = halved(x), dy16 = halved(dy);
          const Floats x_kept = widened(x16), dy_kept = widened(dy16);
          Halved y16(n), dx16(wide);
          Floats y_kept(n), dx_kept(wide);
          conv.x = values_of(x_kept.data()), conv.dy = values_of(dy_kept.data()), conv.y = values_of(y_kept.data()), conv.dx = values_of(dx_kept.data());
          engine.table.causal_conv(*engine, &conv);
          engine.table.causal_conv_grad(*engine, &conv);
          conv.x = {(void*)x16.data(), 1}, conv.dy = {(void*)dy16.data(), 1}, conv.y = {y16.data(), 1}, conv.dx = {dx16.data(), 1};
          engine.table.causal_conv(*engine, &conv);
          engine.table.causal_conv_grad(*engine, &conv);
          expect(name + " halves", y16 == halved(y_kept) && dx16 == halved(dx_kept));
        }
      }
  return finish();
}
