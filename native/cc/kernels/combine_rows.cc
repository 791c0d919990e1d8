// Rows that several parts of a model made of the same row, added up by what each counts.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

// Of null places: row j itself.
inline __attribute__((always_inline)) long place_of(const int32_t* places, long j) { return places != nullptr ? places[j] : j; }

void combine_rows(const Context* context, Values x, const float* weights, const int32_t* places, Values out, long n, long each,
                  long columns) {
  const long piece = rows_a_piece(each * columns);
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long row = part * piece; row < smaller(n, (part + 1) * piece); row++)
      each_vector(columns, [&](long i, auto lanes) {
        vf sum = {};
        for (long j = row * each; j < (row + 1) * each; j++) {
          const vf value = take(lanes, x, place_of(places, j) * columns + i), weight = vset(weights ? weights[j] : 1.f);
          sum = j == row * each ? value * weight : fma(value, weight, sum);
        }
        put(lanes, out, row * columns + i, sum);
      });
  });
}

// places is a permutation, so no two rows write to the same place.
void combine_rows_grad(const Context* context, Values dy, Values x, const float* weights, const int32_t* places, Values dx,
                       float* d_weights, long n, long each, long columns) {
  const long piece = rows_a_piece(each * columns);
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long row = part * piece; row < smaller(n, (part + 1) * piece); row++)
      for (long j = row * each; j < (row + 1) * each; j++) {
        const vf weight = vset(weights[j]);
        const long place = place_of(places, j) * columns;
        vf along = {};
        each_vector(columns, [&](long i, auto lanes) {
          const vf d = take(lanes, dy, row * columns + i);
          along = fma(d, take(lanes, x, place + i), along);
          put(lanes, dx, place + i, d * weight);
        });
        d_weights[j] = hsum(along);
      }
  });
}

}  // namespace

extern "C" void RX_FILL(combine_rows)(KernelTable* table) {
  table->combine_rows = combine_rows;
  table->combine_rows_grad = combine_rows_grad;
}
