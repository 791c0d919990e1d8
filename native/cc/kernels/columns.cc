// Sums, copies and selections of rows and columns: work bounded by memory.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

// Each piece of work owns a band of columns, which it reads once, and sums its rows in order, 64 at a time, so that rounding errors
// grow with the number of blocks, not of rows. A band is as wide as registers allow: what is read of a row lies together.
void column_sum(const Context* context, Values dy, float* out, long rows, long columns) {
  constexpr int vectors = 8;
  constexpr long band = vectors * VW;
  parallel(context, parts_of(columns, band), [=](long part) {
    const long c = part * band;
    const long width = smaller(band, columns - c);
    vf total[vectors] = {};
    for (long r0 = 0; r0 < rows; r0 += 64) {
      vf sum[vectors] = {};
      const long last = smaller(rows, r0 + 64);
      if (width == band) {
        for (long r = r0; r < last; r++)
#pragma GCC unroll 8
          for (int j = 0; j < vectors; j++) sum[j] += take(AllLanes(), dy, r * columns + c + j * VW);
      } else {
        for (long r = r0; r < last; r++)
          for (int j = 0; j * VW < width; j++) {
            const long left = width - j * VW;
            const long from = r * columns + c + j * VW;
            sum[j] += left >= VW ? take(AllLanes(), dy, from) : take(SomeLanes{left}, dy, from);
          }
      }
#pragma GCC unroll 8
      for (int j = 0; j < vectors; j++) total[j] += sum[j];
    }
    for (int j = 0; j * VW < width; j++) {
      const long left = width - j * VW;
      if (left >= VW)
        store(out + c + j * VW, total[j]);
      else
        store_n(out + c + j * VW, total[j], left);
    }
  });
}

void copy_columns(const Context* context, Values from, long ld_from, Values to, long ld_to, long rows, long width) {
  const long piece = rows_a_piece(width), each = from.half ? 2 : 4;
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long r = part * piece; r < smaller(rows, (part + 1) * piece); r++)
      __builtin_memcpy((char*)to.at + r * ld_to * each, (const char*)from.at + r * ld_from * each, width * each);
  });
}

void gather_rows(const Context* context, Values x, const int32_t* rows, Values out, long count, long columns) {
  const long piece = rows_a_piece(columns), bytes = columns * (x.half ? 2 : 4);
  parallel(context, parts_of(count, piece), [=](long part) {
    for (long r = part * piece; r < smaller(count, (part + 1) * piece); r++)
      __builtin_memcpy((char*)out.at + r * bytes, (const char*)x.at + rows[r] * bytes, bytes);
  });
}

// Each piece of work owns a band of rows of the result and looks for those that go there, in order.
void scatter_rows(const Context* context, const float* dy, const int32_t* rows, float* out, long count, long size, long columns) {
  const long piece = greater(rows_a_piece(columns), parts_of(size, 64));
  parallel(context, parts_of(size, piece), [=](long part) {
    const long first = part * piece;
    const long last = smaller(size, first + piece);
    __builtin_memset(out + first * columns, 0, (last - first) * columns * sizeof(float));
    for (long r = 0; r < count; r++) {
      if (rows[r] < first || rows[r] >= last) continue;
      float* const to = out + rows[r] * columns;
      const float* const from = dy + r * columns;
      each_vector(columns, [&](long i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
    }
  });
}

}  // namespace

extern "C" void RX_FILL(columns)(KernelTable* table) {
  table->column_sum = column_sum;
  table->copy_columns = copy_columns;
  table->gather_rows = gather_rows;
  table->scatter_rows = scatter_rows;
}
