// Operations on single elements, and sums over everything.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

constexpr long piece = 1 << 15;

template <class F>
void in_pieces(const Context* context, long n, F body) {
  parallel(context, parts_of(n, piece), [=](long part) {
    const long from = part * piece;
    each_vector(smaller(piece, n - from), [&](long i, auto lanes) { body(from + i, lanes); });
  });
}

void add(const Context* context, Values a, Values b, Values out, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { put(lanes, out, i, take(lanes, a, i) + take(lanes, b, i)); });
}

void axpy(const Context* context, float* y, const float* x, float alpha, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { lanes.store(y + i, fma(vset(alpha), lanes.load(x + i), lanes.load(y + i))); });
}

void scale(const Context* context, const float* x, float* y, float factor, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { lanes.store(y + i, vset(factor) * lanes.load(x + i)); });
}

// Squares are summed in double precision: the norm of all gradients decides about clipping, and 10^8 float32 terms would lose
// half of their digits.
void squared_norm(const Context* context, const float* const* tensors, const long* sizes, long count, float* out) {
  const Pieces pieces(context, SCRATCH_KERNEL, sizes, count, piece);
  double* const sums = (double*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, (pieces.count() + 1) * sizeof(double));
  parallel_pieces(context, pieces, [=](long part, long t, long from, long n) {
    const float* const x = tensors[t] + from;
    vd a = {}, b = {};
    each_vector(n, [&](long i, auto lanes) {
      const vf v = lanes.load(x + i);
      const vd l = widen_low(v), h = widen_high(v);
      a += l * l;
      b += h * h;
    });
    sums[part] = hsumd(a) + hsumd(b);
  });
  double total = 0;
  for (long part = 0; part < pieces.count(); part++) total += sums[part];
  *out = (float)total;
}

// One of the operands may be repeated: its index is i % n_a or i % n_b (a bias row, a scalar).
template <class F>
void broadcast(const Context* context, const float* a, long n_a, const float* b, long n_b, float* out, long n, F f) {
  if (n_a == n && n_b == n) {
    in_pieces(context, n, [=](long i, auto lanes) { lanes.store(out + i, f(lanes.load(a + i), lanes.load(b + i))); });
  } else if (n_b == 1) {
    in_pieces(context, n, [=](long i, auto lanes) { lanes.store(out + i, f(lanes.load(a + i), vset(b[0]))); });
  } else if (n_a == 1) {
    in_pieces(context, n, [=](long i, auto lanes) { lanes.store(out + i, f(vset(a[0]), lanes.load(b + i))); });
  } else {
    const long row = n_a == n ? n_b : n_a;
    const int repeat_a = n_a != n, repeat_b = n_b != n;
    const long rows = rows_a_piece(row);
    parallel(context, parts_of(n / row, rows), [=](long part) {
      for (long r = part * rows; r < smaller(n / row, (part + 1) * rows); r++) {
        const float* const left = repeat_a ? a : a + r * row;
        const float* const right = repeat_b ? b : b + r * row;
        float* const to = out + r * row;
        each_vector(row, [&](long i, auto lanes) { lanes.store(to + i, f(lanes.load(left + i), lanes.load(right + i))); });
      }
    });
  }
}

RX_INLINE vf either_nan(vf a, vf b, vf chosen) { return a != a ? a : b != b ? b : chosen; }

void binary(const Context* context, int kind, const float* a, long n_a, const float* b, long n_b, float* out, long n) {
  switch (kind) {
    case BINARY_ADD: return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return x + y; });
    case BINARY_SUB: return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return x - y; });
    case BINARY_MUL: return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return x * y; });
    case BINARY_DIV: return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return x / y; });
    case BINARY_MAX:
      return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return either_nan(x, y, vmax(x, y)); });
    case BINARY_MIN:
      return broadcast(context, a, n_a, b, n_b, out, n, [](vf x, vf y) { return either_nan(x, y, vmin(x, y)); });
  }
}

template <class F>
void each(const Context* context, const float* x, float* y, long n, F f) {
  in_pieces(context, n, [=](long i, auto lanes) { lanes.store(y + i, f(lanes.load(x + i))); });
}

void unary(const Context* context, int kind, const float* x, float* y, long n) {
  switch (kind) {
    case UNARY_NEG: return each(context, x, y, n, [](vf v) { return -v; });
    case UNARY_EXP: return each(context, x, y, n, [](vf v) { return vexp(v); });
    case UNARY_LOG: return each(context, x, y, n, [](vf v) { return vlog(v); });
    case UNARY_SQRT: return each(context, x, y, n, [](vf v) { return vsqrt(v); });
    case UNARY_RSQRT: return each(context, x, y, n, [](vf v) { return vset(1.f) / vsqrt(v); });
    case UNARY_SQUARE: return each(context, x, y, n, [](vf v) { return v * v; });
    case UNARY_TANH: return each(context, x, y, n, [](vf v) { return vtanh(v); });
    case UNARY_SIGMOID: return each(context, x, y, n, [](vf v) { return vsigmoid(v); });
    case UNARY_RELU: return each(context, x, y, n, [](vf v) { return v < vset(0.f) ? vset(0.f) : v; });
    case UNARY_ABS: return each(context, x, y, n, [](vf v) { return vabs(v); });
    case UNARY_SIGN:
      return each(context, x, y, n, [](vf v) { return v > vset(0.f) ? vset(1.f) : v < vset(0.f) ? vset(-1.f) : vset(0.f); });
  }
}

void fill(const Context* context, float* out, float value, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { lanes.store(out + i, vset(value)); });
}

// out[r] = sum of row r
void row_sum(const Context* context, const float* x, float* out, long rows, long columns) {
  const long rows_each = rows_a_piece(columns);
  parallel(context, parts_of(rows, rows_each), [=](long part) {
    for (long r = part * rows_each; r < smaller(rows, (part + 1) * rows_each); r++) {
      vd a = {}, b = {};
      each_vector(columns, [&](long i, auto lanes) {
        const vf v = lanes.load(x + r * columns + i);
        a += widen_low(v);
        b += widen_high(v);
      });
      out[r] = (float)(hsumd(a) + hsumd(b));
    }
  });
}

// Where the greatest number of each row first stands. NaN is passed over, unless it comes first: then it is 0.
void row_arg_max(const Context* context, const float* x, int32_t* out, long rows, long columns) {
  const long rows_each = rows_a_piece(columns);
  constexpr long some = 512;
  parallel(context, parts_of(rows, rows_each), [=](long part) {
    for (long r = part * rows_each; r < smaller(rows, (part + 1) * rows_each); r++) {
      const float* const row = x + r * columns;
      float top = row[0];
      long at = 0;  // where to look for it
      for (long start = 0; start < columns; start += some) {
        vf greatest = vset(-__builtin_inff());
        each_vector(smaller(some, columns - start), [&](long i, auto lanes) {
          greatest = vmax(lanes.keep(lanes.load(row + start + i), -__builtin_inff()), greatest);
        });
        const float here = hmax(greatest);
        if (here > top) top = here, at = start;
      }
      if (top == top)
        while (row[at] != top) at++;
      out[r] = (int32_t)at;
    }
  });
}

void narrow(const Context* context, const float* x, uint16_t* y, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { store_halves(lanes, y + i, lanes.load(x + i)); });
}

void widen(const Context* context, const uint16_t* x, float* y, long n) {
  in_pieces(context, n, [=](long i, auto lanes) { lanes.store(y + i, load_halves(lanes, x + i)); });
}

}  // namespace

extern "C" void RX_FILL(elementwise)(KernelTable* table) {
  table->add = add;
  table->axpy = axpy;
  table->scale = scale;
  table->squared_norm = squared_norm;
  table->binary = binary;
  table->unary = unary;
  table->fill = fill;
  table->row_sum = row_sum;
  table->row_arg_max = row_arg_max;
  table->narrow = narrow;
  table->widen = widen;
}
