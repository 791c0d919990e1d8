#include "test.h"

extern "C" void RX_FILL(gemm)(KernelTable*);
extern "C" void RX_FILL(linear_cross_entropy)(KernelTable*);

namespace {

struct Case {
  long rows, columns, vocabulary;
  bool bias, dft;
  float smoothing, softcap = 0;
};

struct Truth {
  double total = 0;
  Doubles loss, correct, entropy, dh, dw, d_bias;
};

Truth truth(const Case& c, const Doubles& h, const Doubles& w, const Doubles& bias, const std::vector<int32_t>& targets, const Floats& weights) {
  Truth t;
  t.dh.resize(h.size()), t.dw.resize(w.size()), t.d_bias.resize(c.vocabulary);
  for (long i = 0; i < c.rows; i++) {
    Doubles x(c.vocabulary), rise(c.vocabulary, 1);
    double top = -1e300, sum = 0, mean = 0;
    long best = 0;
    for (long v = 0; v < c.vocabulary; v++) {
      if (c.bias) x[v] = bias[v];
      for (long d = 0; d < c.columns; d++) x[v] += h[i * c.columns + d] * w[v * c.columns + d];
      if (c.softcap > 0) {
        const double tanh = std::tanh(x[v] / c.softcap);
        x[v] = c.softcap * tanh;
        rise[v] = 1 - tanh * tanh;
      }
      if (x[v] > top) top = x[v], best = v;
      mean += x[v] / c.vocabulary;
    }
    for (double one : x) sum += std::exp(one - top);
    const double lse = top + std::log(sum), nll = lse - x[targets[i]], confidence = c.dft ? std::exp(-nll) : 1;
    t.loss.push_back(confidence * ((1 - c.smoothing) * nll + c.smoothing * (lse - mean)));
    t.correct.push_back(best == targets[i]);
    double entropy = 0;
    for (long v = 0; v < c.vocabulary; v++) {
      const double p = std::exp(x[v] - lse);
      entropy -= p * (x[v] - lse);
      const double g = rise[v] * weights[i] * confidence * (p - (v == targets[i] ? 1 - c.smoothing : 0) - c.smoothing / c.vocabulary);
      for (long d = 0; d < c.columns; d++) {
        t.dh[i * c.columns + d] += g * w[v * c.columns + d];
        t.dw[v * c.columns + d] += g * h[i * c.columns + d];
      }
      t.d_bias[v] += g;
    }
    t.entropy.push_back(entropy);
    t.total += weights[i] * t.loss.back();
  }
  return t;
}

}  // namespace

int main() {
  const std::vector<Case> cases = {
      {0, 3, 5, true, false, 0},    {1, 1, 1, false, false, 0},     {1, 1, 2, true, true, 0.1f},       {7, 5, 13, true, false, 0},
      {33, 16, 100, false, true, 0}, {65, 24, 257, true, false, 0.1f}, {129, 8, 4099, false, true, 0.2f}, {1100, 6, 31, true, false, 0.05f},
      {2500, 3, 17, false, false, 0}, {20, 4, 9000, true, false, 0.1f},
      {33, 16, 100, true, false, 0, 2.f}, {40, 5, 4099, true, true, 0.1f, 1.f}, {7, 3, 1, false, false, 0, 3.f},
  };
  for (const Case& c : cases) {
    Random random((unsigned)(c.rows + c.vocabulary));
    const Floats h = random.floats(c.rows * c.columns, -2, 2), w = random.floats(c.vocabulary * c.columns, -1, 1);
    const Floats bias = random.floats(c.vocabulary), weights = random.floats(c.rows, 0, 1), dw_start = random.floats(w.size());
    std::vector<int32_t> targets(c.rows);
    for (auto& target : targets) target = (int32_t)random.below(c.vocabulary);
    const Truth want = truth(c, widen(h), widen(w), widen(bias), targets, weights);
    const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.columns) + "x" + std::to_string(c.vocabulary);
    Floats dw0;
    for (int threads = 1; threads <= 3; threads++)
      for (int way = 0; way < 3; way++) {  // no gradient, dh alone, all of it twice (the second time added)
        Engine engine(threads, RX_FILL(gemm));
        RX_FILL(linear_cross_entropy)(&engine.table);
        float total = 9;
        Floats loss(c.rows), correct(c.rows), entropy(c.rows), dh(h.size()), dw(w.size(), 9.f), d_bias(c.vocabulary, 9.f);
        LinearCrossEntropy call = {};
        call.rows = c.rows, call.columns = c.columns, call.vocabulary = c.vocabulary;
        call.h = h.data(), call.w.data = w.data(), call.w.ld = c.columns, call.bias = c.bias ? bias.data() : nullptr;
        call.targets = targets.data(), call.weights = weights.data(), call.label_smoothing = c.smoothing, call.softcap = c.softcap, call.dft = c.dft;
        call.total = &total, call.loss = loss.data(), call.correct = correct.data(), call.entropy = entropy.data();
        if (way > 0) call.dh = dh.data();
        if (way == 2) call.dw = dw.data(), call.d_bias = d_bias.data();
        engine.table.linear_cross_entropy(*engine, &call);
        expect_close(name + " total", &total, &want.total, 1, 1e-5, 1e-5);
        expect_close(name + " loss", loss, want.loss, 1e-5, 2e-6);
        expect_close(name + " entropy", entropy, want.entropy, 1e-5, 1e-5);
        if (c.columns > 1) expect_close(name + " correct", correct, want.correct, 0, 0);
        if (way > 0) expect_close(name + " dh", dh, want.dh, 1e-4, 3e-6);
        if (way == 2) {
          expect_close(name + " dW", dw, want.dw, 1e-4, 1e-5);
          expect_close(name + " dBias", d_bias, want.d_bias, 1e-4, 1e-5);
          if (threads == 1) dw0 = dw;
          expect_same_bits(name + " dW", dw, dw0);
          call.accumulate = 1;
          engine.table.linear_cross_entropy(*engine, &call);
          Doubles twice = want.dw, bias_twice = want.d_bias;
          for (auto& x : twice) x *= 2;
          for (auto& x : bias_twice) x *= 2;
          expect_close(name + " dW added", dw, twice, 1e-4, 2e-5);
          expect_close(name + " dBias added", d_bias, bias_twice, 1e-4, 2e-5);
        }
      }
  }
  // At bfloat16 the gradient of logits lies so between its products, of which these here are float32 ones.
  for (const Case& c : cases) {
    if (c.rows == 0 || c.bias) continue;
    Random random((unsigned)(c.rows + c.vocabulary));
    const Floats h = random.floats(c.rows * c.columns, -2, 2), w = random.floats(c.vocabulary * c.columns, -1, 1), weights = random.floats(c.rows, 0, 1);
    std::vector<int32_t> targets(c.rows);
    for (auto& target : targets) target = (int32_t)random.below(c.vocabulary);
    const Truth want = truth(c, widen(h), widen(w), {}, targets, weights);
    Engine engine(2, RX_FILL(gemm));
    RX_FILL(linear_cross_entropy)(&engine.table);
    engine.table.gemm_bf16 = engine.table.gemm;
    engine.context.bf16 = 1;
    float total = 9;
    Floats loss(c.rows), correct(c.rows), entropy(c.rows), dh(h.size()), dw(w.size(), 9.f);
    LinearCrossEntropy call = {};
    call.rows = c.rows, call.columns = c.columns, call.vocabulary = c.vocabulary;
    call.h = h.data(), call.w.data = w.data(), call.w.ld = c.columns;
    call.targets = targets.data(), call.weights = weights.data(), call.label_smoothing = c.smoothing, call.softcap = c.softcap, call.dft = c.dft;
    call.total = &total, call.loss = loss.data(), call.correct = correct.data(), call.entropy = entropy.data();
    call.dh = dh.data(), call.dw = dw.data();
    engine.table.linear_cross_entropy(*engine, &call);
    const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.columns) + "x" + std::to_string(c.vocabulary) + " as bfloat16";
    expect_close(name + " loss", loss, want.loss, 1e-5, 2e-6);
    expect_close(name + " dh", dh, want.dh, 0.01, 0.004);
    expect_close(name + " dW", dw, want.dw, 0.01, 0.004);
    bool rounded = false;
    for (size_t i = 0; i < dh.size(); i++) rounded |= std::fabs(dh[i] - want.dh[i]) > 1e-6 + 5e-4 * std::fabs(want.dh[i]);
    expect(name + " is rounded", rounded == (c.vocabulary > 1));
  }
  // Equal logits: the first counts as the likeliest. Large logits: nothing overflows. A target outside: NaN, nothing written outside.
  Engine engine(2, RX_FILL(gemm));
  RX_FILL(linear_cross_entropy)(&engine.table);
  const Floats h = {0, 0, 300, 1}, w = {1, 1, 1}, weights = {1, 1, 1, 1};
  const std::vector<int32_t> targets = {0, 1, 2, 3};
  Floats loss(4), correct(4), entropy(4), dh(4);
  float total;
  LinearCrossEntropy call = {};
  call.rows = 4, call.columns = 1, call.vocabulary = 3, call.h = h.data(), call.w.data = w.data(), call.w.ld = 1;
  call.targets = targets.data(), call.weights = weights.data(), call.total = &total;
  call.loss = loss.data(), call.correct = correct.data(), call.entropy = entropy.data(), call.dh = dh.data();
  engine.table.linear_cross_entropy(*engine, &call);
  expect_close("equal logits", correct, {1, 0, 0, NAN}, 0, 0);
  expect_close("loss of equal logits", loss, {std::log(3), std::log(3), std::log(3), NAN}, 1e-6, 0);
  return finish();
}
