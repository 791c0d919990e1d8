// Rows that several parts of a model made of the same row, added up by what each counts.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

void combine_rows(const Context* context, const float* x, const float* weights, const int32_t* places, float* out, long n, long each,
                  long columns) {
  const long piece = rows_a_piece(each * columns);
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long row = part * piece; row < smaller(n, (part + 1) * piece); row++) {
      float* const to = out + row * columns;
      for (long j = row * each; j < (row + 1) * each; j++) {
        const float* const from = x + places[j] * columns;
        const vf weight = vset(weights ? weights[j] : 1.f);
        const bool first = j == row * each;
        each_vector(columns, [&](long i, auto lanes) {
          const vf value = lanes.load(from + i);
          lanes.store(to + i, first ? value * weight : fma(value, weight, lanes.load(to + i)));
        });
      }
    }
  });
}

// places is a permutation, so no two rows write to the same place.
void combine_rows_grad(const Context* context, const float* dy, const float* x, const float* weights, const int32_t* places, float* dx,
                       float* d_weights, long n, long each, long columns) {
  const long piece = rows_a_piece(each * columns);
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long row = part * piece; row < smaller(n, (part + 1) * piece); row++) {
      const float* const up = dy + row * columns;
      for (long j = row * each; j < (row + 1) * each; j++) {
        const float* const from = x + places[j] * columns;
        float* const to = dx + places[j] * columns;
        const vf weight = vset(weights[j]);
        vf along = {};
        each_vector(columns, [&](long i, auto lanes) {
          const vf d = lanes.load(up + i);
          along = fma(d, lanes.load(from + i), along);
          lanes.store(to + i, d * weight);
        });
        d_weights[j] = hsum(along);
      }
    }
  });
}

}  // namespace

extern "C" void RX_FILL(combine_rows)(KernelTable* table) {
  table->combine_rows = combine_rows;
  table->combine_rows_grad = combine_rows_grad;
}
