// Output head and cross-entropy together, a chunk of rows at a time: the logits of all rows are never in memory at once, and
// their gradient takes their place.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

// Sums run over pieces of this many floats in single precision, over pieces in double.
constexpr long piece = 4096;
// Logits held at a time: 128 MB of floats.
constexpr long most_logits = 1 << 25;
constexpr long most_rows = 1024;

float greatest(const float* x, long n) {
  vf top = vset(-__builtin_inff());
  each_vector(n, [&](long i, auto lanes) { top = vmax(lanes.keep(lanes.load(x + i), -__builtin_inff()), top); });
  return hmax(top);
}

struct Row {
  float loss, correct, entropy;
};

void cap(float* x, long n, float softcap) {
  each_vector(n, [&](long i, auto lanes) { lanes.store(x + i, vtanh(lanes.load(x + i) * vset(1 / softcap)) * vset(softcap)); });
}

// Logits x [vocabulary] of one row -> its numbers; x becomes the gradient of weight · loss when asked for, or, where `half`, the first half
// of its memory that gradient as bfloat16.
Row one_row(const LinearCrossEntropy* a, float* x, long target, float weight, bool gradient, bool half) {
  const long V = a->vocabulary;
  const float nan = __builtin_nanf("");
  const Values out = {x, half};
  if (target < 0 || target >= V) {
    if (gradient) each_vector(V, [&](long i, auto lanes) { put(lanes, out, i, vset(nan)); });
    return {nan, nan, nan};
  }
  const bool capped = a->softcap > 0;
  if (capped) cap(x, V, a->softcap);
  const float picked = x[target];
  const float before = greatest(x, target), from = greatest(x + target, V - target);
  const float top = before > from ? before : from;
  const double smoothing = a->label_smoothing;

  double sum = 0, weighted = 0, plain = 0;
  for (long start = 0; start < V; start += piece) {
    vf e_sum = {}, ex_sum = {}, x_sum = {};
    float* const at = x + start;
    each_vector(smaller(piece, V - start), [&](long i, auto lanes) {
      const vf off = lanes.keep(lanes.load(at + i) - vset(top), 0);
      const vf e = lanes.keep(vexp(off), 0);
      e_sum += e;
      ex_sum = fma(e, off, ex_sum);
      x_sum += off;
      if (gradient && !capped) lanes.store(at + i, e);
    });
    sum += hsum(e_sum);
    weighted += hsum(ex_sum);
    plain += hsum(x_sum);
  }
  const double log_sum = __builtin_log(sum);
  const double nll = log_sum - ((double)picked - top);
  const double smooth = smoothing == 0 ? nll : (1 - smoothing) * nll + smoothing * (log_sum - plain / (double)V);
  const double confidence = a->dft ? __builtin_exp(-nll) : 1;
  if (gradient) {
    const double factor = weight * confidence;
    const vf scale = vset((float)(factor / sum)), shift = vset((float)(factor * smoothing / (double)V));
    const float more = (float)(factor * (1 - smoothing));
    // What is capped rises by 1 - tanh².
    const vf unit = vset(capped ? 1 / a->softcap : 0.f);
    const auto slope = [&](vf value) {
      if (!capped) return fma(value, scale, -shift);
      const vf tanh = value * unit;
      return fma(vexp(value - vset(top)), scale, -shift) * fma(-tanh, tanh, vset(1.f));
    };
    const float tanh = capped ? picked / a->softcap : 0;
    const float of_target = slope(vset(x[target]))[0] - more * (1 - tanh * tanh);
    each_vector(V, [&](long i, auto lanes) { put(lanes, out, i, slope(lanes.load(x + i))); });
    put(SomeLanes{1}, out, target, vset(of_target));
  }
  // argmax takes the first of equals
  const float correct = before < picked && from == picked ? 1.f : 0.f;
  return {(float)(confidence * smooth), correct, (float)(log_sum - weighted / sum)};
}

void linear_cross_entropy(const Context* context, const LinearCrossEntropy* a) {
  const long V = a->vocabulary, C = a->columns;
  const bool gradient = a->dh != nullptr;
  // Products round the gradient of logits anyway: it lies so, in half of the bytes that they read.
  const bool half = context->bf16 && context->table->gemm_bf16 && a->d_bias == nullptr;
  const long limit = smaller(most_rows, greater(16, most_logits / greater(V, 1)));
  const long chunks = parts_of(a->rows, limit);
  const long rows_a_chunk = chunks ? parts_of(a->rows, chunks) : 0;
  // rows of whole vectors, and no stride at which rows would meet in the same few sets of the cache
  long ld = parts_of(V, 16) * 16;
  if (ld % 256 == 0) ld += 16;
  float* const logits = (float*)scratch_get(context->scratch, SCRATCH_KERNEL, (size_t)greater(1, rows_a_chunk * ld) * sizeof(float));

  const long band = 1024;
  const bool set = !a->accumulate;
  if (set && a->d_bias) __builtin_memset(a->d_bias, 0, V * sizeof(float));
  if (set && a->dw && chunks == 0) __builtin_memset(a->dw, 0, V * C * sizeof(float));
  GemmOperand w_transposed = a->w, w = a->w;
  w_transposed.transposed = 1;
  w.transposed = 0;
  for (long start = 0; start < a->rows; start += rows_a_chunk) {
    const long rows = smaller(rows_a_chunk, a->rows - start);
    GemmOperand h = {}, d = {};
    h.data = a->h + start * C, h.ld = C;
    d.data = logits, d.ld = ld;
    const Gemm forward = {rows, V, C, h, w_transposed, logits, ld, a->bias, 0, 1.f, 0};
    run_gemm(context, &forward);
    parallel(context, rows, [=](long i) {
      const Row row = one_row(a, logits + i * ld, a->targets[start + i], a->weights[start + i], gradient, half);
      a->loss[start + i] = row.loss;
      a->correct[start + i] = row.correct;
      a->entropy[start + i] = row.entropy;
    });
    if (!gradient) continue;
    if (half) d.kind = GEMM_BFLOAT16, d.ld = 2 * ld;
    const Gemm to_h = {rows, C, V, d, w, a->dh + start * C, C, nullptr, 0, 1.f, 0};
    run_gemm(context, &to_h);
    if (a->dw) {
      d.transposed = 1;
      const Gemm to_w = {V, C, rows, d, h, a->dw, C, set && start == 0 ? nullptr : a->dw, C, 1.f, 0};
      run_gemm(context, &to_w);
    }
    if (a->d_bias)
      parallel(context, parts_of(V, band), [=](long part) {
        float* const to = a->d_bias + part * band;
        for (long i = 0; i < rows; i++) {
          const float* const from = logits + i * ld + part * band;
          each_vector(smaller(band, V - part * band), [&](long c, auto lanes) { lanes.store(to + c, lanes.load(to + c) + lanes.load(from + c)); });
        }
      });
  }
  double total = 0;
  for (long i = 0; i < a->rows; i++) total += (double)a->weights[i] * a->loss[i];
  *a->total = (float)total;
}

}  // namespace

extern "C" void RX_FILL(linear_cross_entropy)(KernelTable* table) { table->linear_cross_entropy = linear_cross_entropy; }
