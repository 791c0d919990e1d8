#include "cblas.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>

#include <stdexcept>

#include "kernels/gemm_pack.h"
#include "kernels/parallel.h"

namespace {

enum { rowMajor = 101, noTranspose = 111, transpose = 112 };

const BlasTable& of(const Context* context) { return *static_cast<const BlasTable*>(context->table); }

// C becomes what the product is added to; the factor that sgemm multiplies it with.
float startOf(const Context* context, const Gemm* g) {
  if (g->start == nullptr) return 0;
  if (g->start == g->c && g->ld_start == g->ldc) return 1;
  const long rows = rows_a_piece(g->n);
  parallel(context, parts_of(g->m, rows), [=](long part) {
    for (long i = part * rows; i < smaller(g->m, (part + 1) * rows); i++)
      memcpy(g->c + i * g->ldc, g->start + i * g->ld_start, sizeof(float) * static_cast<size_t>(g->n));
  });
  return 1;
}

void multiply(const Context* context, const Gemm& g, float beta) {
  of(context).sgemm(rowMajor, g.a.transposed ? transpose : noTranspose, g.b.transposed ? transpose : noTranspose, static_cast<int>(g.m),
             static_cast<int>(g.n), static_cast<int>(g.k), g.alpha, static_cast<const float*>(g.a.data), static_cast<int>(g.a.ld),
             static_cast<const float*>(g.b.data), static_cast<int>(g.b.ld), beta, g.c, static_cast<int>(g.ldc));
}

// Calls each(first, piece) for pieces of rows of a stored operand as float32, piece.ld being its columns.
template <class F>
void inPieces(const Context* context, int slot, const GemmOperand& x, long rows, long columns, F each) {
  const long height = greater(1, of(context).piece / columns);
  float* const floats = static_cast<float*>(scratch_get(context->scratch, slot, sizeof(float) * static_cast<size_t>(smaller(height, rows) * columns)));
  for (long first = 0; first < rows; first += height) {
    const long some = smaller(height, rows - first), at_once = rows_a_piece(columns);
    parallel(context, parts_of(some, at_once), [=, &x](long part) {
      for (long i = part * at_once; i < smaller(some, (part + 1) * at_once); i++)
        unpack_row(&x, first + i, 0, columns, floats + i * columns);
    });
    GemmOperand piece = {};
    piece.data = floats;
    piece.ld = columns;
    piece.transposed = x.transposed;
    piece.kind = GEMM_FLOAT32;
    each(first, some, piece);
  }
}

// At most one operand is stored otherwise. Sums over k begin with what beta leaves of C, and go on with all of it.
void multiplyStored(const Context* context, const Gemm& g, float beta) {
  if (g.b.kind != GEMM_FLOAT32) {
    const bool alongColumns = g.b.transposed;
    inPieces(context, SCRATCH_GEMM, g.b, alongColumns ? g.n : g.k, alongColumns ? g.k : g.n,
             [&](long first, long some, const GemmOperand& piece) {
               Gemm part = g;
               part.b = piece;
               if (alongColumns) {
                 part.n = some;
                 part.c = g.c + first;
                 multiply(context, part, beta);
                 return;
               }
               part.k = some;
               part.a.data = static_cast<const float*>(g.a.data) + (g.a.transposed ? first * g.a.ld : first);
               multiply(context, part, first == 0 ? beta : 1);
             });
    return;
  }
  if (g.a.kind != GEMM_FLOAT32) {
    const bool alongK = g.a.transposed;
    inPieces(context, SCRATCH_GEMM_STATE, g.a, alongK ? g.k : g.m, alongK ? g.m : g.k,
             [&](long first, long some, const GemmOperand& piece) {
               Gemm part = g;
               part.a = piece;
               if (alongK) {
                 part.k = some;
                 part.b.data = static_cast<const float*>(g.b.data) + (g.b.transposed ? first : first * g.b.ld);
                 multiply(context, part, first == 0 ? beta : 1);
               } else {
                 part.m = some;
                 part.c = g.c + first * g.ldc;
                 multiply(context, part, beta);
               }
             });
    return;
  }
  multiply(context, g, beta);
}

// Rows of a matrix begin at least as far apart as BLAS asks, which a matrix of one row need not.
bool fits(const GemmOperand& x, long rows, long columns) {
  const long width = x.transposed ? rows : columns;
  return x.ld >= width && x.ld <= INT_MAX;
}

void gemm(const Context* context, const Gemm* g) {
  const bool twoStored = g->a.kind != GEMM_FLOAT32 && g->b.kind != GEMM_FLOAT32;
  const bool large = static_cast<double>(g->m) * static_cast<double>(g->n) * static_cast<double>(g->k) >= of(context).least && g->m > 4 && g->n > 0 && g->k > 0;
  const bool ints = g->m <= INT_MAX && g->n <= INT_MAX && g->k <= INT_MAX && g->ldc <= INT_MAX && g->ldc >= g->n;
  if (g->half || !large || twoStored || !ints || !fits(g->a, g->m, g->k) || !fits(g->b, g->k, g->n)) {
    of(context).own(context, g);
    return;
  }
  multiplyStored(context, *g, startOf(context, g));
}

}  // namespace

CblasSgemm open_blas(const std::string& library) {
  void* const opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) throw std::runtime_error(library + " does not open");
  const CblasSgemm sgemm = reinterpret_cast<CblasSgemm>(dlsym(opened, "cblas_sgemm"));
  if (sgemm == nullptr) throw std::runtime_error(library + " has no cblas_sgemm");
  return sgemm;
}

BlasTable with_blas(const KernelTable& table, CblasSgemm sgemm, double least, long piece) {
  BlasTable changed = {table, sgemm, least, piece, table.gemm};
  changed.gemm = gemm;
  changed.gemm_joined = nullptr;
  return changed;
}
