// The matrix product at random shapes, transpositions, operand formats, strides and thread counts, on every instruction set of
// this processor, against sums in double precision. Arguments: how many cases (default 400), seed.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cblas.h"
#include "dispatch.h"

namespace {

std::mt19937 engine;
int failures = 0;

long below(long n) { return std::uniform_int_distribution<long>(0, n - 1)(engine); }
float uniform() { return std::uniform_real_distribution<float>(-1, 1)(engine); }

// Mostly small, at times just around the sizes of blocks and panels, at times zero.
long size(long large) {
  switch (below(8)) {
    case 0: return below(3);
    case 1: return 1 + below(20);
    case 2: return 28 + below(8);
    case 3: return 160 + below(20);
    default: return 1 + below(large);
  }
}

float round16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return x;
}

std::vector<uint16_t> halved(const std::vector<float>& x) {
  std::vector<uint16_t> out;
  for (const float value : x) {
    const float rounded = round16(value);
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    out.push_back((uint16_t)(bits >> 16));
  }
  return out;
}
float widened(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// A stored matrix with room beside its rows, and what its elements are worth.
struct Stored {
  std::vector<float> floats, scale, code;
  std::vector<uint16_t> halves;
  std::vector<int8_t> bytes;
  std::vector<uint8_t> nibbles;
  std::vector<double> worth;  // op(X), row-major
  GemmOperand operand = {};

  Stored(long rows, long columns, int transposed, int kind) {
    const long stored_rows = transposed ? columns : rows, stored_columns = transposed ? rows : columns;
    const long ld = kind == GEMM_FOUR_BIT ? stored_columns : stored_columns + below(5);
    const long n = stored_rows * ld;
    std::vector<double> values(n + 1);
    operand.ld = ld;
    operand.transposed = transposed;
    operand.kind = kind;
    if (kind == GEMM_FLOAT32) {
      floats.resize(n + 1);
      for (long i = 0; i < n; i++) values[i] = floats[i] = uniform();
      operand.data = floats.data();
    } else if (kind == GEMM_BFLOAT16) {
      halves.resize(n + 1);
      for (long i = 0; i < n; i++) {
        const float x = round16(uniform());
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        halves[i] = (uint16_t)(bits >> 16);
        values[i] = x;
      }
      operand.data = halves.data();
    } else if (kind == GEMM_INT8_ROWS) {
      bytes.resize(n + 1);
      scale.resize(stored_rows + 1);
      for (auto& s : scale) s = 0.01f * uniform();
      for (long i = 0; i < n; i++) {
        bytes[i] = (int8_t)(below(255) - 127);
        values[i] = (double)((float)bytes[i] * scale[i / ld]);
      }
      operand.data = bytes.data();
      operand.scale = scale.data();
    } else {
      operand.block = 8 << below(5);
      nibbles.resize(n / 2 + 1);
      scale.resize(n / operand.block + 1);
      code.resize(16);
      for (auto& c : code) c = uniform();
      for (auto& s : scale) s = uniform();
      for (auto& b : nibbles) b = (uint8_t)below(256);
      for (long i = 0; i < n; i++) {
        const int q = i & 1 ? nibbles[i / 2] & 15 : nibbles[i / 2] >> 4;
        values[i] = (double)(code[q] * scale[i / operand.block]);
      }
      operand.data = nibbles.data();
      operand.scale = scale.data();
      operand.code = code.data();
    }
    worth.resize(rows * columns + 1);
    for (long i = 0; i < rows; i++)
      for (long j = 0; j < columns; j++) worth[i * columns + j] = values[transposed ? j * ld + i : i * ld + j];
  }
};

// What a BLAS library does, by its definition. Counts its calls.
long calls = 0;
void plainSgemm(int, int transA, int transB, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                float* c, int ldc) {
  calls++;
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j++) {
      double sum = 0;
      for (long q = 0; q < k; q++)
        sum += (double)a[transA == 112 ? q * lda + i : i * lda + q] * (double)b[transB == 112 ? j * ldb + q : q * ldb + j];
      float* const to = c + i * ldc + j;
      *to = (float)(alpha * sum + (beta == 0 ? 0 : beta * (double)*to));
    }
}

// Products that were computed with another one in one pass.
long joined = 0;

// The same product with other threads must have the same bits, and a repeated one too. `half`: C and what is added to it lie as
// bfloat16, rounded once. `wide`: several blocks of k, and columns enough for threads to take blocks of them.
void check(const char* isa, const KernelTable* table, bool bf16, bool half, std::vector<Pool*>& pools, Scratch* scratch, bool wide = false) {
  const long m = wide ? 57 + below(30) : size(300), n = wide ? 520 + below(300) : size(300);
  const long k = wide ? 2050 + below(50) : size(below(4) == 0 ? 2500 : 300);
  const int kindA = below(3) == 0 ? GEMM_BFLOAT16 : GEMM_FLOAT32;
  const int kindB = (int)below(4);
  Stored a(m, k, (int)below(2), kindA), b(k, n, (int)below(2), kindB);
  const long ldc = n + below(4);
  const int start = (int)below(4);  // nothing, C itself, a row, another matrix
  const float alpha = below(2) ? 1.f : uniform();
  std::vector<float> c(m * ldc + 1), row(n + 1), other(m * (n + 3) + 1);
  for (auto& x : c) x = uniform();
  for (auto& x : row) x = uniform();
  for (auto& x : other) x = uniform();
  if (half)
    for (auto* values : {&c, &other})
      for (auto& x : *values) x = round16(x);
  const std::vector<float> before = c;
  std::vector<uint16_t> c16(c.size()), other16 = halved(other);
  Gemm g = {m, n, k, a.operand, b.operand, nullptr, ldc, nullptr, 0, alpha, half};
  // At times another product is added in the same pass.
  const long depth = below(3) == 0 ? 1 + below(below(2) ? 20 : 300) : 0;
  const Stored a_more(m, depth, (int)below(2), GEMM_FLOAT32), b_more(depth, n, (int)below(2), below(4) == 0 ? GEMM_BFLOAT16 : GEMM_FLOAT32);
  const Gemm more = {m, n, depth, a_more.operand, b_more.operand, nullptr, 0, nullptr, 0, alpha, 0};
  bool joins = false;
  std::vector<float> first;
  for (Pool* pool : pools) {
    for (int repeat = 0; repeat < 2; repeat++) {
      c = before;
      if (half) c16 = halved(before);
      g.c = half ? reinterpret_cast<float*>(c16.data()) : c.data();
      if (start == 1) g.start = g.c, g.ld_start = ldc;
      if (start == 2) g.start = row.data(), g.ld_start = 0;
      if (start == 3) g.start = half ? reinterpret_cast<float*>(other16.data()) : other.data(), g.ld_start = n + 3;
      const Context context = {pool, scratch, table, bf16, nullptr};
      const auto join = bf16 ? table->gemm_bf16_joined : table->gemm_joined;
      joins = depth > 0 && join != nullptr && join(&context, &g, &more);
      joined += joins;
      if (!joins) run_gemm(&context, &g);
      if (half)
        for (size_t i = 0; i < c.size(); i++) c[i] = widened(c16[i]);
      if (first.empty()) {
        first = c;
      } else if (std::memcmp(first.data(), c.data(), c.size() * sizeof(float)) != 0) {
        std::printf("%s: not the same bits again at %ld %ld %ld, %d threads\n", isa, m, n, k, pool_threads(pool));
        failures++;
      }
    }
  }
  std::vector<double> want(m * ldc + 1), scale(m * ldc + 1, 1);
  for (long i = 0; i < m; i++)
    for (long j = 0; j < ldc; j++) {
      const double c_was = before[i * ldc + j];
      want[i * ldc + j] = j >= n || start == 1 ? c_was : start == 2 ? row[j] : start == 3 ? other[i * (n + 3) + j] : 0;
    }
  const auto add = [&](const Stored& x, const Stored& y, long terms) {
    const auto operand = [&](double value) { return bf16 ? round16((float)value) : value; };
    std::vector<double> line(n + 1);
    for (long q = 0; q < terms; q++) {
      for (long j = 0; j < n; j++) line[j] = operand(y.worth[q * n + j]);
      for (long i = 0; i < m; i++) {
        const double factor = alpha * operand(x.worth[i * terms + q]);
        for (long j = 0; j < n; j++) {
          want[i * ldc + j] += factor * line[j];
          scale[i * ldc + j] += std::fabs(factor * line[j]);
        }
      }
    }
  };
  add(a, b, k);
  if (joins) add(a_more, b_more, depth);
  double worst = 0;
  long at = -1;
  for (long i = 0; i < m; i++)
    for (long j = 0; j < ldc; j++) {
      const long q = i * ldc + j;
      double error = std::fabs(want[q] - first[q]);
      if (half && j < n) error = std::fmax(0, error - std::fabs(want[q]) / 256);
      error /= scale[q];
      if (!(error <= worst)) worst = error, at = q;
    }
  // denormal products count as zero in bfloat16 arithmetic
  if (!(worst <= 2e-6)) {
    failures++;
    std::printf("%s%s: %ld x %ld x %ld + %ld, A %s kind %d, B %s kind %d, start %d, alpha %g: error %g at row %ld, column %ld\n", isa,
                half ? " bf16 that lies so" : bf16 ? " bf16" : "", m, n, k, joins ? depth : 0, a.operand.transposed ? "T" : "N", kindA,
                b.operand.transposed ? "T" : "N", kindB, start, alpha, worst, at / ldc, at % ldc);
  }
}

// A large product of few terms, whose errors do not even out: as precise as float32 is, also where numbers are taken apart.
void precise(const char* isa, const KernelTable* table, Pool* pool, Scratch* scratch) {
  engine.seed(29);  // however many cases came before
  const long m = 400, n = 420, k = 29;
  const Stored a(m, k, 0, GEMM_FLOAT32), b(k, n, 1, GEMM_FLOAT32);
  std::vector<float> c(m * n);
  const Context context = {pool, scratch, table, 0, nullptr};
  const Gemm g = {m, n, k, a.operand, b.operand, c.data(), n, nullptr, 0, 1, 0};
  run_gemm(&context, &g);
  double worst = 0;
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j++) {
      double want = 0, scale = 0;
      for (long q = 0; q < k; q++) {
        const double term = (double)a.worth[i * k + q] * (double)b.worth[q * n + j];
        want += term;
        scale += std::fabs(term);
      }
      worst = std::fmax(worst, std::fabs(want - c[i * n + j]) / scale);
    }
  if (!(worst <= 3e-7)) {
    failures++;
    std::printf("%s: error %g of a product of %ld terms\n", isa, worst, k);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 400;
  engine.seed(argc > 2 ? (unsigned)std::atoi(argv[2]) : 1);
  std::vector<Pool*> pools = {pool_create(1), pool_create(2), pool_create(3), pool_create(4)};
  Scratch* const scratch = scratch_create();
  for (const char* isa : {"portable", "avx2", "avx512", "amx", "neon"}) {
    const KernelTable* const table = kernel_table(isa);
    if (table == nullptr) {
      std::printf("%s: not on this processor\n", isa);
      continue;
    }
    for (int i = 0; i < cases; i++) check(isa, table, false, false, pools, scratch);
    for (int i = 0; i < cases / 4; i++) check(isa, table, false, true, pools, scratch);
    if (cases > 10 && joined == 0) {
      std::printf("%s: no products were joined\n", isa);
      failures++;
    }
    joined = 0;
    precise(isa, table, pools[1], scratch);
    if (table->gemm_bf16 != nullptr)
      for (int i = 0; i < cases + 8; i++) check(isa, table, true, i % 2, pools, scratch, i >= cases);
  }
  const BlasTable blas = with_blas(*kernel_table(nullptr), plainSgemm, 0, 3000);
  for (int i = 0; i < cases; i++) check("blas", &blas, false, i % 4 == 0, pools, scratch);
  if (cases > 0 && calls == 0) {
    std::printf("blas: was not called\n");
    failures++;
  }
  for (Pool* pool : pools) pool_destroy(pool);
  scratch_destroy(scratch);
  std::printf(failures == 0 ? "gemm: all right\n" : "gemm: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
