// Matrix products by cublasLt, opened at run time where it is found.
#pragma once

#include <memory>
#include <string>

#include "driver.h"

namespace cuda {

enum class Format { float32, bfloat16 };

// As stored, row-major: [rows, columns] with ld elements a row.
struct Matrix {
  const void* data;
  long rows, columns, ld;
  bool transposed;
};

class Blas {
 public:
  // Searches the name given, else the usual ones, CUDA_HOME, and Python's packages of the active environment. Null where there is none;
  // `note` then says so.
  static std::unique_ptr<Blas> open(const std::string& library, std::string& note);
  virtual ~Blas() = default;

  // c [m, n] in the format `result`, ld_c a row = alpha op(a) op(b) + bias (a row, may be null) + start ([m, n], ld_start a row, may be null
  // and may be c; not both). Bias and start have the format of c, a bias is aligned to 16 bytes. False: this shape is not supported, nothing was done.
  virtual bool gemm(Format operands, Format result, const Matrix& a, const Matrix& b, void* c, long ld_c, const void* bias, const void* start,
                    long ld_start, float alpha, long m, long n, long k, void* workspace, size_t workspace_bytes, Handle stream) = 0;
  // Which of cublasLt's proposals is taken from now on, where there are so many: 0, its best guess, unless something else is said. For
  // measuring.
  virtual void prefer(int proposal) = 0;
  // Products so far that were not supported.
  virtual long refusals() const = 0;
};

}  // namespace cuda
