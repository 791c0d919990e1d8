// Rows of a table by id, and the sum of gradients back into the rows they came from.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

void embedding(const Context* context, const float* table, const int32_t* ids, float* out, long n, long vocabulary,
               long columns) {
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long row = part * piece; row < smaller(n, (part + 1) * piece); row++) {
      float* const to = out + row * columns;
      const long id = ids[row];
      if (id >= 0 && id < vocabulary)
        __builtin_memcpy(to, table + id * columns, columns * sizeof(float));
      else
        for (long i = 0; i < columns; i++) to[i] = __builtin_nanf("");
    }
  });
}

// Each piece of work owns a band of columns and walks all rows in order: no two pieces write to the same place, and the sum
// of a row that occurs often has one order whatever the number of threads.
void embedding_grad(const Context* context, const float* dy, const int32_t* ids, float* d_table, long n, long vocabulary,
                    long columns, int accumulate) {
  if (!accumulate) {
    const long total = vocabulary * columns;
    const long piece = 1 << 18;
    parallel(context, parts_of(total, piece), [=](long part) {
      __builtin_memset(d_table + part * piece, 0, smaller(piece, total - part * piece) * sizeof(float));
    });
  }
  const long threads = pool_threads(context->pool);
  const long band = greater(64, parts_of(columns, 2 * threads * 16) * 16);
  const long ahead = 8;
  parallel(context, parts_of(columns, band), [=](long part) {
    const long first = part * band;
    const long width = smaller(band, columns - first);
    for (long row = 0; row < n; row++) {
      if (row + ahead < n) {
        const long soon = ids[row + ahead];
        if (soon >= 0 && soon < vocabulary)
          for (long i = 0; i < width; i += 16) __builtin_prefetch(d_table + soon * columns + first + i, 1);
      }
      const long id = ids[row];
      if (id < 0 || id >= vocabulary) continue;
      float* const to = d_table + id * columns + first;
      const float* const from = dy + row * columns + first;
      each_vector(width, [&](long i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
    }
  });
}

}  // namespace

extern "C" void RX_FILL(embedding)(KernelTable* table) {
  table->embedding = embedding;
  table->embedding_grad = embedding_grad;
}
