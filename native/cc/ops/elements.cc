// Elementwise operations, copies and selections of rows and columns, sums.
#include "../device.h"
#include "../ops.h"

namespace {

// n, a, b, out
void add(Call& call) {
  const long n = call.size();
  const Values a = call.values(n), b = call.values(n), out = call.values(n);
  call.enqueue([=](const Context* c) { c->table->add(c, a, b, out, n); });
}

// n, alpha, y, x
void axpy(Call& call) {
  const long n = call.size();
  const float alpha = static_cast<float>(call.number());
  float* const y = call.tensor(n);
  const float* const x = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->axpy(c, y, x, alpha, n); });
}

// n, factor, x, y
void scale(Call& call) {
  const long n = call.size();
  const float factor = static_cast<float>(call.number());
  const float* const x = call.tensor(n);
  float* const y = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->scale(c, x, y, factor, n); });
}

// n, kind, nA, nB, a, b, out
void binary(Call& call) {
  const long n = call.size();
  const int kind = call.kind(BINARY_MIN + 1);
  const long nA = call.size(), nB = call.size();
  if (n == 0) return;
  if (nA == 0 || nB == 0 || n % nA != 0 || n % nB != 0 || (nA != n && nB != n)) throw BadCall("operands that do not repeat to the result");
  const float *const a = call.tensor(nA), *const b = call.tensor(nB);
  float* const out = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->binary(c, kind, a, nA, b, nB, out, n); });
}

// n, kind, x, y
void unary(Call& call) {
  const long n = call.size();
  const int kind = call.kind(UNARY_SIGN + 1);
  const float* const x = call.tensor(n);
  float* const y = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->unary(c, kind, x, y, n); });
}

// n, value, out
void fill(Call& call) {
  const long n = call.size();
  const float value = static_cast<float>(call.number());
  float* const out = call.tensor(n);
  call.enqueue([=](const Context* c) { c->table->fill(c, out, value, n); });
}

// rows, columns, x, out
void rowSum(Call& call) {
  const long rows = call.size(), columns = call.size();
  const float* const x = call.tensor(area(rows, columns));
  float* const out = call.tensor(rows);
  call.enqueue([=](const Context* c) { c->table->row_sum(c, x, out, rows, columns); });
}

// rows, columns, x, out: int32
void rowArgMax(Call& call) {
  const long rows = call.size(), columns = call.size();
  if (columns < 1) throw BadCall("no greatest of nothing");
  const float* const x = call.tensor(area(rows, columns));
  int32_t* const out = static_cast<int32_t*>(call.bytes(rows, 4));
  call.enqueue([=](const Context* c) { c->table->row_arg_max(c, x, out, rows, columns); });
}

// rows, columns, dy, out
void columnSum(Call& call) {
  const long rows = call.size(), columns = call.size();
  const Values dy = call.values(area(rows, columns));
  float* const out = call.tensor(columns);
  call.enqueue([=](const Context* c) { c->table->column_sum(c, dy, out, rows, columns); });
}

// count, then size and tensor of each, out
void squaredNorm(Call& call) {
  const long count = call.size();
  std::vector<const float*> tensors;
  std::vector<long> sizes;
  for (long i = 0; i < count; i++) {
    sizes.push_back(call.size());
    tensors.push_back(call.tensor(sizes.back()));
  }
  float* const out = call.tensor(1);
  call.enqueue([=, tensors = std::move(tensors), sizes = std::move(sizes)](const Context* c) {
    c->table->squared_norm(c, tensors.data(), sizes.data(), count, out);
  });
}

void inside(const HostArray<int32_t>& rows, long size) {
  for (long i = 0; i < rows.size(); i++)
    if (rows[i] < 0 || rows[i] >= size)
      throw BadCall("row " + std::to_string(rows[i]) + " of " + std::to_string(size) + " at " + std::to_string(i));
}

// size, columns, x, out, which lie in one way; rows
void gatherRows(Call& call) {
  const long size = call.size(), columns = call.size();
  const Values x = call.values(area(size, columns));
  HostArray<int32_t> rows = call.ints();
  inside(rows, size);
  const Values out = call.values(area(rows.size(), columns));
  if (x.half != out.half) throw BadCall("rows that lie otherwise than where they go");
  call.enqueue([=, rows = std::move(rows)](const Context* c) { c->table->gather_rows(c, x, rows.data(), out, rows.size(), columns); });
}

// size, columns, count, x, out, which lie in one way, rows: int32
void gatherRowsAt(Call& call) {
  const long size = call.size(), columns = call.size(), count = call.size();
  const Values x = call.values(area(size, columns)), out = call.values(area(count, columns));
  const int32_t* const rows = static_cast<const int32_t*>(call.bytes(count, 4));
  if (x.half != out.half) throw BadCall("rows that lie otherwise than where they go");
  call.enqueue([=](const Context* c) {
    if (Device* const device = static_cast<Device*>(c->device)) return device->gather_rows_at(c, x, size, rows, out, count, columns);
    for (long i = 0; i < count; i++)
      if (rows[i] < 0 || rows[i] >= size) throw std::runtime_error("row " + std::to_string(rows[i]) + " of " + std::to_string(size) + " at " + std::to_string(i));
    c->table->gather_rows(c, x, rows, out, count, columns);
  });
}

// size, columns, dy, out; rows
void scatterRows(Call& call) {
  const long size = call.size(), columns = call.size();
  HostArray<int32_t> rows = call.ints();
  inside(rows, size);
  const float* const dy = call.tensor(area(rows.size(), columns));
  float* const out = call.tensor(area(size, columns));
  call.enqueue([=, rows = std::move(rows)](const Context* c) {
    c->table->scatter_rows(c, dy, rows.data(), out, rows.size(), size, columns);
  });
}

// rows, width, half, from, ldFrom, columnFrom, to, ldTo, columnTo; half: both lie as bfloat16
void copyColumns(Call& call) {
  const long rows = call.size(), width = call.size();
  const int half = call.half(), each = half ? 2 : 4;
  long size;
  char* from = reinterpret_cast<char*>(call.any(size, each));
  const long ldFrom = call.size(), columnFrom = call.size();
  if (columnFrom + width > ldFrom || area(rows, ldFrom) > size) throw BadCall("columns outside the matrix");
  char* to = reinterpret_cast<char*>(call.any(size, each));
  const long ldTo = call.size(), columnTo = call.size();
  if (columnTo + width > ldTo || area(rows, ldTo) > size) throw BadCall("columns outside the matrix");
  from += each * columnFrom;
  to += each * columnTo;
  call.enqueue([=](const Context* c) { c->table->copy_columns(c, {from, half}, ldFrom, {to, half}, ldTo, rows, width); });
}

// on: whether products from here on round their operands to bfloat16
void bfloat16(Call& call) {
  const bool on = call.flag();
  call.enqueue([=](const Context* c) { const_cast<Context*>(c)->bf16 = on; });
}

constexpr Operation list[] = {
    {"add", add},
    {"axpy", axpy},
    {"scale", scale},
    {"binary", binary},
    {"unary", unary},
    {"fill", fill},
    {"rowSum", rowSum},
    {"rowArgMax", rowArgMax},
    {"columnSum", columnSum},
    {"squaredNorm", squaredNorm},
    {"gatherRows", gatherRows},
    {"gatherRowsAt", gatherRowsAt},
    {"scatterRows", scatterRows},
    {"copyColumns", copyColumns},
    {"bfloat16", bfloat16},
};

}  // namespace

Operations elementOperations() { return {list, sizeof list / sizeof *list}; }
