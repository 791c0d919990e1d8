// Tensors that lie as bfloat16: into it, out of it, and lookups in it.
#include "../ops.h"

#include <cmath>

namespace {

void widenRow(const uint16_t* from, float* to, long n) {
  for (long i = 0; i < n; i++) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(to + i, &bits, 4);
  }
}

// n, x, y: y as bfloat16
void narrow(Call& call) {
  const long n = call.size();
  const float* const x = call.tensor(n);
  uint16_t* const y = static_cast<uint16_t*>(call.bytes(n, 2));
  call.enqueue([=](const Context* c) { c->table->narrow(c, x, y, n); });
}

// n, x, the rounded copy of x, which is made
void narrowCopy(Call& call) {
  const long n = call.size();
  const float* const x = call.tensor(n);
  uint16_t* const y = call.roundedCopy(n);
  if (y == nullptr) throw BadCall("no copy to be made");
  call.enqueue([=](const Context* c) { c->table->narrow(c, x, y, n); });
}

// n, x, y: x as bfloat16
void widen(Call& call) {
  const long n = call.size();
  const uint16_t* const x = static_cast<const uint16_t*>(call.bytes(n, 2));
  float* const y = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->widen(c, x, y, n); });
}

// vocabulary, columns, table…, out; ids. An id outside the table gives a row of NaN.
void embedding(Call& call) {
  const long vocabulary = call.size(), columns = call.size();
  const GemmOperand table = call.matrix(vocabulary, columns, false);
  if (table.kind != GEMM_FLOAT32 && table.kind != GEMM_BFLOAT16) throw BadCall("a table is float32 or bfloat16");
  HostArray<int32_t> ids = call.ints();
  float* const out = call.tensor(area(ids.size(), columns));
  call.enqueue([=, ids = std::move(ids)](const Context* c) {
    const long n = ids.size();
    if (table.kind == GEMM_FLOAT32) {
      c->table->embedding(c, static_cast<const float*>(table.data), ids.data(), out, n, vocabulary, columns);
      return;
    }
    const uint16_t* const rows = static_cast<const uint16_t*>(table.data);
    const int32_t* const id = ids.data();
    if (c->table->embedding_bf16 != nullptr) return c->table->embedding_bf16(c, rows, id, out, n, vocabulary, columns);
    for (long i = 0; i < n; i++) {
      if (id[i] >= 0 && id[i] < vocabulary)
        widenRow(rows + id[i] * columns, out + i * columns, columns);
      else
        for (long j = 0; j < columns; j++) out[i * columns + j] = std::nanf("");
    }
  });
}

constexpr Operation list[] = {{"narrow", narrow}, {"narrowCopy", narrowCopy}, {"widen", widen}, {"embedding", embedding}};

}  // namespace

Operations bfloat16Operations() { return {list, sizeof list / sizeof *list}; }
