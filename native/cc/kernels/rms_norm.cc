// Root-mean-square normalisation of rows: y = x rstd (gain + offset), rstd = 1 / sqrt(mean(x²) + eps).
#include "../kernel_table.h"
#include "../simd.h"
#include "norm_input.h"
#include "parallel.h"

namespace {

void rms_norm(const Context* context, NormInput input, const float* gain, Values y, float* rstd, long rows, long columns,
              float eps, float offset) {
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const Values to = from_number(y, row * columns);
      vf squares = {};
      const Values from =
          take_row(input, row * columns, columns, [&](long, auto, vf value) { squares = fma(value, value, squares); });
      const float scale = 1.f / __builtin_sqrtf(hsum(squares) / (float)columns + eps);
      each_vector(columns, [&](long i, auto lanes) {
        put(lanes, to, i, take(lanes, from, i) * vset(scale) * (lanes.load(gain + i) + vset(offset)));
      });
      rstd[row] = scale;
    }
  });
}

// dx = rstd (g - x̂ mean(g x̂)) + d_residual with g = dy (gain + offset), x̂ = x rstd.
void rms_norm_grad(const Context* context, Values dy, Values x, const float* gain, const float* rstd,
                   const float* d_residual, float* dx, float* d_gain, long rows, long columns, float offset) {
  // Sums over rows are taken piece by piece and the pieces added in order, so their number depends on the shape alone.
  const long piece = greater(rows_a_piece(columns), parts_of(rows, 64));
  const long pieces = parts_of(rows, piece);
  const long width = parts_of(columns, 16) * 16;
  float* const sums =
      d_gain ? (float*)scratch_get(context->scratch, SCRATCH_KERNEL, greater(pieces, 1) * width * sizeof(float)) : nullptr;
  parallel(context, pieces, [=](long part) {
    float* const gain_sum = sums + part * width;
    if (sums) __builtin_memset(gain_sum, 0, width * sizeof(float));
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const Values from = from_number(x, row * columns), up = from_number(dy, row * columns);
      const vf scale = vset(rstd[row]);
      vf along = {};
      each_vector(columns, [&](long i, auto lanes) {
        const vf unit = take(lanes, from, i) * scale;
        const vf d = take(lanes, up, i);
        along = fma(d * (lanes.load(gain + i) + vset(offset)), unit, along);
        if (sums) store(gain_sum + i, fma(d, unit, load(gain_sum + i)));
      });
      const vf b = vset(hsum(along) / (float)columns);
      each_vector(columns, [&](long i, auto lanes) {
        const vf unit = take(lanes, from, i) * scale;
        const vf g = take(lanes, up, i) * (lanes.load(gain + i) + vset(offset));
        const vf d = scale * (g - unit * b);
        lanes.store(dx + row * columns + i, d_residual ? d + lanes.load(d_residual + row * columns + i) : d);
      });
    }
  });
  if (!d_gain) return;
  each_vector(columns, [&](long i, auto lanes) {
    vf sum = {};
    for (long part = 0; part < pieces; part++) sum += load(sums + part * width + i);
    lanes.store(d_gain + i, sum);
  });
}

}  // namespace

extern "C" void RX_FILL(rms_norm)(KernelTable* table) {
  table->rms_norm = rms_norm;
  table->rms_norm_grad = rms_norm_grad;
}
