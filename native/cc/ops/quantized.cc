// Matrices that lie in 8 or 4 bits, and what LLM.int8 makes of activations.
#include "../ops.h"

namespace {

// rows, columns, matrix…, y: the values as float32
void dequantize(Call& call) {
  const long rows = call.size(), columns = call.size();
  const GemmOperand m = call.matrix(rows, columns, false);
  if (m.kind != GEMM_INT8_ROWS && m.kind != GEMM_FOUR_BIT) throw BadCall("a matrix that is not quantised");
  float* const y = call.tensor(area(rows, columns));
  call.enqueue([=](const Context* c) {
    if (c->table->dequantize != nullptr) return c->table->dequantize(c, &m, rows, columns, y);
    struct Task {
      GemmOperand m;
      long rows, columns;
      float* y;
    };
    Task task = {m, rows, columns, y};
    pool_run(
        c->pool,
        [](void* opaque, int id, int threads) {
          const Task& t = *static_cast<const Task*>(opaque);
          long from, to;
          pool_part(t.rows, 1, id, threads, &from, &to);
          for (long row = from; row < to; row++) {
            float* const out = t.y + row * t.columns;
            const long flat = row * t.columns;
            if (t.m.kind == GEMM_INT8_ROWS) {
              const int8_t* const codes = static_cast<const int8_t*>(t.m.data) + flat;
              for (long i = 0; i < t.columns; i++) out[i] = static_cast<float>(codes[i]) * t.m.scale[row];
            } else {
              const uint8_t* const codes = static_cast<const uint8_t*>(t.m.data);
              for (long i = 0; i < t.columns; i++) {
                const long at = flat + i;
                const int code = at % 2 == 0 ? codes[at / 2] >> 4 : codes[at / 2] & 15;
                out[i] = t.m.code[code] * t.m.scale[at / t.m.block];
              }
            }
          }
        },
        &task);
  });
}

// rows, columns, threshold, x, y
void int8Activations(Call& call) {
  const long rows = call.size(), columns = call.size();
  const float threshold = static_cast<float>(call.number());
  const float* const x = call.tensor(area(rows, columns));
  float* const y = call.tensor(area(rows, columns));
  call.enqueue([=](const Context* c) { c->table->int8_activations(c, x, y, rows, columns, threshold); });
}

constexpr Operation list[] = {{"dequantize", dequantize}, {"int8Activations", int8Activations}};

}  // namespace

Operations quantizedOperations() { return {list, sizeof list / sizeof *list}; }
