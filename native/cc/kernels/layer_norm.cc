// Layer normalisation of rows: y = (x - mean) rstd gain + bias.
#include "../kernel_table.h"
#include "../simd.h"
#include "norm_input.h"
#include "parallel.h"

namespace {

void layer_norm(const Context* context, NormInput input, const float* gain, const float* bias, Values y, float* mean,
                float* rstd, long rows, long columns, float eps) {
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const Values to = from_number(y, row * columns);
      vf sum = {};
      const Values from = take_row(input, row * columns, columns, [&](long, auto, vf value) { sum += value; });
      const float average = hsum(sum) / (float)columns;
      vf squares = {};
      // Around the mean, in a second pass over the (cached) row: E[x²] - E[x]² would cancel.
      each_vector(columns, [&](long i, auto lanes) {
        const vf off = lanes.keep(take(lanes, from, i) - vset(average), 0);
        squares = fma(off, off, squares);
      });
      const float scale = 1.f / __builtin_sqrtf(hsum(squares) / (float)columns + eps);
      each_vector(columns, [&](long i, auto lanes) {
        const vf unit = (take(lanes, from, i) - vset(average)) * vset(scale);
        put(lanes, to, i, bias ? fma(unit, lanes.load(gain + i), lanes.load(bias + i)) : unit * lanes.load(gain + i));
      });
      mean[row] = average;
      rstd[row] = scale;
    }
  });
}

// dx = rstd (g - mean(g) - x̂ mean(g x̂)) + d_residual with g = dy gain, x̂ = (x - mean) rstd.
void layer_norm_grad(const Context* context, Values dy, Values x, const float* gain, const float* mean,
                     const float* rstd, const float* d_residual, float* dx, float* d_gain, float* d_bias, long rows,
                     long columns) {
  // Sums over rows are taken piece by piece and the pieces added in order, so their number depends on the shape alone.
  const long piece = greater(rows_a_piece(columns), parts_of(rows, 64));
  const long pieces = parts_of(rows, piece);
  const long width = parts_of(columns, 16) * 16;
  float* const sums =
      d_gain ? (float*)scratch_get(context->scratch, SCRATCH_KERNEL, greater(pieces, 1) * 2 * width * sizeof(float)) : nullptr;
  parallel(context, pieces, [=](long part) {
    float* const gain_sum = sums + part * 2 * width;
    float* const bias_sum = gain_sum + width;
    if (sums) __builtin_memset(gain_sum, 0, 2 * width * sizeof(float));
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const Values from = from_number(x, row * columns), up = from_number(dy, row * columns);
      const vf average = vset(mean[row]);
      const vf scale = vset(rstd[row]);
      vf plain = {}, along = {};
      each_vector(columns, [&](long i, auto lanes) {
        const vf unit = (take(lanes, from, i) - average) * scale;
        const vf d = take(lanes, up, i);
        const vf g = d * lanes.load(gain + i);  // zero beyond the end, so what unit is there does not matter
        plain += g;
        along = fma(g, lanes.keep(unit, 0), along);
        if (sums) {
          store(gain_sum + i, fma(d, lanes.keep(unit, 0), load(gain_sum + i)));
          store(bias_sum + i, load(bias_sum + i) + d);
        }
      });
      const vf a = vset(hsum(plain) / (float)columns);
      const vf b = vset(hsum(along) / (float)columns);
      each_vector(columns, [&](long i, auto lanes) {
        const vf unit = (take(lanes, from, i) - average) * scale;
        const vf g = take(lanes, up, i) * lanes.load(gain + i);
        const vf d = scale * (g - fma(unit, b, a));
        lanes.store(dx + row * columns + i, d_residual ? d + lanes.load(d_residual + row * columns + i) : d);
      });
    }
  });
  if (!d_gain) return;
  each_vector(columns, [&](long i, auto lanes) {
    vf for_gain = {}, for_bias = {};
    for (long part = 0; part < pieces; part++) {
      for_gain += load(sums + part * 2 * width + i);
      for_bias += load(sums + (part * 2 + 1) * width + i);
    }
    lanes.store(d_gain + i, for_gain);
    if (d_bias) lanes.store(d_bias + i, for_bias);
  });
}

}  // namespace

extern "C" void RX_FILL(layer_norm)(KernelTable* table) {
  table->layer_norm = layer_norm;
  table->layer_norm_grad = layer_norm_grad;
}
