// Where tensors lie and kernels run, when that is not the processor: its memory cannot be touched from here, only copied to and from.
#pragma once

#include <stddef.h>

#include "kernel_table.h"
#include "pages.h"
#include "routes.h"

// Both gradients of a low-rank adapter's B: du = scaling dy b, db = scaling dyᵀ u.
struct AdapterGrad {
  long rows, columns, rank;
  float scaling;
  GemmOperand dy;  // [rows, columns]
  Values u;        // [rows, rank], ld numbers a row
  const float* b;  // [columns, rank]
  Values du;       // as u
  float* db;       // as b
  long ld;
};

// Matrices of float32 that lie apart, as one of their rows: of each group so many. They are as wide as the product that takes them says.
struct StackedRows {
  const float* const* parts;  // a group's after those of the one before
  const long* rows;           // of the first, the second, … of every group
  long count;                 // of a group
};

// A float32 matrix whose rows lie one after the other, and its copy as bfloat16.
struct RoundedMatrix {
  const float* from;
  const uint16_t* to;  // ? null: there is none
  long rows, columns;
};
// Numbers that lie one after the other, and where they go.
struct Moved {
  const float* from;
  float* to;
  long count;
};

class Device : public PageSource {
 public:
  // Kernels that take this device's pointers. They only start work: it runs later, in order.
  virtual const KernelTable* table() const = 0;

  // Bytes that could still be taken.
  virtual size_t available() = 0;

  // The rest is the executor's thread's, and in order with the kernels.

  // c = what `first` asks for plus alpha op(a) op(b) of `second`, which adds to the same c: as one product. False: nothing was done.
  virtual bool joined(const Context*, const Gemm* first, const Gemm* second) {
    (void)first, (void)second;
    return false;
  }

  // Products read these copies in place of their matrices until another call of this.
  virtual void use_rounded(const RoundedMatrix* all, long count) { (void)all, (void)count; }

  // Copies them all in one go. False: nothing was done.
  virtual bool moved(const Context*, const Moved* all, long count) {
    (void)all, (void)count;
    return false;
  }

  // Products of as many groups of rows that lie one below the other, each with a matrix of its own; `more`, if given, are as many that add
  // to what these give. `stacked`, if given, are the right matrices of `more`, or of `all` without it. False: nothing was done.
  virtual bool grouped(const Context*, const Gemm* all, const Gemm* more, const StackedRows* stacked, long count) {
    (void)all, (void)more, (void)stacked, (void)count;
    return false;
  }
  // Products over the rows of groups, op(a) = aᵀ: gradients of as many matrices. False: nothing was done.
  virtual bool grouped_grads(const Context*, const Gemm* all, long count) {
    (void)all, (void)count;
    return false;
  }

  // What dropout makes of each group's numbers, the last of which ends at ends[g], with the group's own seed. False: nothing was done.
  virtual bool grouped_dropout(const Context*, Values x, Values y, const long* ends, const uint32_t* seeds, long count, double rate) {
    (void)x, (void)y, (void)ends, (void)seeds, (void)count, (void)rate;
    return false;
  }

  // Those of some adapters, each in one pass over its dy where that is worth it: done[i] becomes true.
  virtual void adapter_grads(const Context*, const AdapterGrad* all, long count, bool* done) { (void)all, (void)count, (void)done; }

  // The table's rms_norm_grad of y, the norm's value, in place of x. No gain of it is 0, offset included, and none gets a gradient.
  virtual void rms_norm_grad_by_value(const Context*, Values dy, Values y, const float* gain, const float* rstd, const float* d_residual, float* dx,
                                      long rows, long columns, float offset) = 0;

  virtual void routes(const Context*, const Routes& routes) = 0;
  virtual void routes_grad(const Context*, const RoutesGrad& routes) = 0;
  // out [count, columns] = rows of x [size, columns], which lie as out does, at numbers that lie on the device; zeros where there is no such
  // row.
  virtual void gather_rows_at(const Context*, Values x, long size, const int32_t* rows, Values out, long count, long columns) = 0;

  // `from` may go when this returns.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  // Calls done(user, error) on some thread when the bytes have come; error is null when all went well. Does not wait.
  virtual void download(void* to, const void* from, size_t bytes, void (*done)(void* user, const char* error), void* user) = 0;
  // Returns when everything started has run; throws what went wrong on the way.
  virtual void finish() = 0;
};
