// What is far away and what is no number, on every instruction set of this processor: elements beyond 2^31 bytes and 2^31 elements
// of the first, and NaN and infinities in products.
#include <sys/mman.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "dispatch.h"

namespace {

int failures = 0;
void expect(const std::string& what, bool truth) {
  if (truth) return;
  failures++;
  std::printf("%s\n", what.c_str());
}

// Addresses without memory behind them until they are touched.
class Vast {
 public:
  explicit Vast(size_t bytes)
      : bytes(bytes), memory(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Vast() {
    if (there()) munmap(memory, bytes);
  }
  Vast(const Vast&) = delete;
  Vast& operator=(const Vast&) = delete;
  bool there() const { return memory != MAP_FAILED; }
  float* floats() const { return static_cast<float*>(memory); }

 private:
  size_t bytes;
  void* memory;
};

GemmOperand plain(const float* data, long ld, int transposed = 0) { return {data, ld, transposed, GEMM_FLOAT32, nullptr, nullptr, 0}; }

// Small whole numbers: their products are exact at every precision.
float value(long i, long j) { return static_cast<float>((3 * i + 5 * j) % 7 - 3); }

// Rows so far apart that the last begins beyond 2^32 elements.
void farProduct(const char* isa, const Context& context, float* far, long rows, long columns, long inner, int transposed) {
  const long ld = (1L << 32) / 4 + 61;
  const auto put = [&](float* to, long stored_rows, long stored_columns, long stride) {
    for (long i = 0; i < stored_rows; i++)
      for (long j = 0; j < stored_columns; j++) to[i * stride + j] = value(i, j);
  };
  for (int which = 0; which < 3; which++) {
    std::vector<float> a(rows * inner), b(inner * columns), c(rows * columns, 99.f);
    // The operand that lies far apart has 5 stored rows.
    const long m = rows, n = columns, k = inner;
    const long a_rows = transposed ? k : m, a_columns = transposed ? m : k;
    const long b_rows = transposed ? n : k, b_columns = transposed ? k : n;
    put(which == 0 ? far : a.data(), a_rows, a_columns, which == 0 ? ld : a_columns);
    put(which == 1 ? far : b.data(), b_rows, b_columns, which == 1 ? ld : b_columns);
    const Gemm g = {m, n, k,
                    plain(which == 0 ? far : a.data(), which == 0 ? ld : a_columns, transposed),
                    plain(which == 1 ? far : b.data(), which == 1 ? ld : b_columns, transposed),
                    which == 2 ? far : c.data(), which == 2 ? ld : n, nullptr, 0, 1, 0};
    run_gemm(&context, &g);
    bool right = true;
    for (long i = 0; i < m; i++)
      for (long j = 0; j < n; j++) {
        float want = 0;
        for (long q = 0; q < k; q++) want += (transposed ? value(q, i) : value(i, q)) * (transposed ? value(j, q) : value(q, j));
        right = right && (which == 2 ? far[i * ld + j] : c[i * n + j]) == want;
      }
    expect(std::string(isa) + ": a product with matrix " + std::to_string(which) + " far apart", right);
  }
}

void farRows(const char* isa, const Context& context, float* far) {
  const long columns = 1031, vocabulary = (1L << 32) / columns + 3;
  const std::vector<int32_t> ids = {static_cast<int32_t>(vocabulary - 1), 0, static_cast<int32_t>((1L << 31) / columns + 1),
                                    static_cast<int32_t>(vocabulary - 1)};
  const long n = static_cast<long>(ids.size());
  for (const int32_t id : ids)
    for (long j = 0; j < columns; j++) far[id * columns + j] = value(id, j);
  std::vector<float> out(n * columns), dy(n * columns);
  context.table->embedding(&context, far, ids.data(), out.data(), n, vocabulary, columns);
  bool right = true;
  for (long i = 0; i < n; i++)
    for (long j = 0; j < columns; j++) {
      right = right && out[i * columns + j] == value(ids[i], j);
      dy[i * columns + j] = value(i, j + 1);
    }
  expect(std::string(isa) + ": rows of a table far apart", right);
  context.table->embedding_grad(&context, dy.data(), ids.data(), far, n, vocabulary, columns, 1);
  right = true;
  for (long j = 0; j < columns; j++) {
    right = right && far[ids[0] * columns + j] == value(ids[0], j) + value(0, j + 1) + value(3, j + 1);
    right = right && far[ids[1] * columns + j] == value(ids[1], j) + value(1, j + 1);
    right = right && far[ids[2] * columns + j] == value(ids[2], j) + value(2, j + 1);
  }
  expect(std::string(isa) + ": gradients of rows far apart", right);
}

// NaN wherever the sum has a term that is none, infinity where it has one of one sign alone (or NaN, when infinities may become it); the
// others untouched by it.
void noNumbers(const char* isa, const Context& context, long m, long n, long k, int transposedA, int transposedB, bool infinities = true) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const float odd[] = {nan, inf, -inf, 0};
  const long lda = (transposedA ? m : k) + 3, ldb = (transposedB ? k : n) + 3;
  // What lies beside the matrices must not be seen.
  std::vector<float> a((transposedA ? k : m) * lda, nan), b((transposedB ? n : k) * ldb, nan), c(m * n);
  const auto atA = [&](long i, long q) -> float& { return a[transposedA ? q * lda + i : i * lda + q]; };
  const auto atB = [&](long q, long j) -> float& { return b[transposedB ? j * ldb + q : q * ldb + j]; };
  for (long i = 0; i < m; i++)
    for (long q = 0; q < k; q++) atA(i, q) = value(i, q);
  for (long q = 0; q < k; q++)
    for (long j = 0; j < n; j++) atB(q, j) = value(q, j);
  for (int which = 0; which < 4; which++) {
    atA((which * 5 + 1) % m, (which * 11 + 2) % k) = odd[which];
    atB((which * 7 + 3) % k, (which * 3 + 1) % n) = odd[(which + 1) % 4];
  }
  const Gemm g = {m, n, k, plain(a.data(), lda, transposedA), plain(b.data(), ldb, transposedB), c.data(), n, nullptr, 0, 1, 0};
  run_gemm(&context, &g);
  long wrong = 0;
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j++) {
      float want = 0;
      for (long q = 0; q < k; q++) want += atA(i, q) * atB(q, j);
      const float got = c[i * n + j];
      wrong += std::isnan(want) || (!infinities && std::isinf(want) && std::isnan(got)) ? !std::isnan(got) : got != want;
    }
  expect(std::string(isa) + (context.bf16 ? " bf16: " : ": ") + std::to_string(wrong) + " of a product with NaN and infinities, " +
             std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k),
         wrong == 0);
}

}  // namespace

int main() {
  Scratch* const scratch = scratch_create();
  for (const char* isa : {"portable", "avx2", "avx512", "amx", "neon"}) {
    const KernelTable* const table = kernel_table(isa);
    if (table == nullptr) continue;
    for (const int threads : {1, 3}) {
      Pool* const pool = pool_create(threads);
      for (const int bf16 : {0, 1}) {
        if (bf16 && table->gemm_bf16 == nullptr) continue;
        const Context context = {pool, scratch, table, bf16, nullptr};
        for (const int transposed : {0, 1, 2, 3})
          for (const long m : {1L, 3L, 17L, 131L}) noNumbers(isa, context, m, 37, 29, transposed & 1, transposed >> 1);
        // Large ones are taken apart on tiles (gemm_split_bf16.cc).
        const bool apart = !bf16 && std::string(isa) == "amx";
        for (const int transposed : {0, 1, 2, 3}) noNumbers(isa, context, 131, 149, 300, transposed & 1, transposed >> 1, !apart);
        const Vast vast((5L << 32) + (1L << 20));
        if (!vast.there()) {
          std::printf("%s: no addresses for matrices far apart\n", isa);
          continue;
        }
        for (const int transposed : {0, 1}) farProduct(isa, context, vast.floats(), 5, 5, 5, transposed);
      }
      const Vast vast((1L << 34) + (1L << 20));
      const Context context = {pool, scratch, table, 0, nullptr};
      if (vast.there()) farRows(isa, context, vast.floats());
      pool_destroy(pool);
    }
  }
  scratch_destroy(scratch);
  std::printf(failures == 0 ? "extremes: all right\n" : "extremes: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
