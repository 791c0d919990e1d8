// xIELU: y = ap x^2 + b x above 0, an (e^min(x, eps) - 1 - x) + b x below, with ap = softplus(alpha_p) and an = b + softplus(alpha_n).
#include "../kernel_table.h"
#include "../scratch.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

constexpr long piece = 16384;
constexpr float beta = 0.5f, eps = -1e-6f;

float softplus(float a) { return (a > 0 ? a : 0) + __builtin_log1pf(__builtin_expf(a > 0 ? -a : a)); }
float rate(float a) { return 1.f / (1.f + __builtin_expf(-a)); }

struct Curve {
  vf value, slope;  // of e^min(x, eps) - 1 - x, for x not above 0
};

RX_INLINE Curve curve(vf x) {
  const vf power = vexp(vmin(vset(0.f), x));
  // Near 0 the difference of numbers near 1 would have no digits left: (e^x - 1 - x) / x^2 as a sum of powers.
  vf p = vset(1.f / 40320.f);
  p = fma(p, x, vset(1.f / 5040.f));
  p = fma(p, x, vset(1.f / 720.f));
  p = fma(p, x, vset(1.f / 120.f));
  p = fma(p, x, vset(1.f / 24.f));
  p = fma(p, x, vset(1.f / 6.f));
  p = fma(p, x, vset(0.5f));
  const vf near = x * x * p;
  const vf far = power - vset(1.f) - x;
  const vf value = x > vset(-0.5f) ? near : far;
  const vf slope = x > vset(-0.5f) ? near + x : power - vset(1.f);
  const auto held = x > vset(eps);
  return {held ? vset(eps) - x : value, held ? vset(-1.f) : slope};
}

void xielu(const Context* context, Values x, const float* alpha_p, const float* alpha_n, Values y, long n) {
  parallel(context, parts_of(n, piece), [=](long part) {
    const vf above = vset(softplus(*alpha_p)), below = vset(beta + softplus(*alpha_n)), straight = vset(beta);
    const long from = part * piece;
    each_vector(smaller(piece, n - from), [&](long at, auto lanes) {
      const long i = from + at;
      const vf v = take(lanes, x, i);
      const vf bent = v > vset(0.f) ? above * v * v : below * curve(v).value;
      put(lanes, y, i, fma(v, straight, bent));
    });
  });
}

void xielu_grad(const Context* context, Values x, const float* alpha_p, const float* alpha_n, Values dy, Values dx, float* d_alpha_p,
                float* d_alpha_n, long n) {
  const long pieces = parts_of(n, piece);
  float* const sums = d_alpha_p ? (float*)scratch_get(context->scratch, SCRATCH_KERNEL, greater(pieces, 1) * 2 * sizeof(float)) : nullptr;
  parallel(context, pieces, [=](long part) {
    const vf above = vset(2.f * softplus(*alpha_p)), below = vset(beta + softplus(*alpha_n)), straight = vset(beta);
    const long from = part * piece;
    vf for_p = {}, for_n = {};
    each_vector(smaller(piece, n - from), [&](long at, auto lanes) {
      const long i = from + at;
      const vf v = take(lanes, x, i);
      const vf d = take(lanes, dy, i);
      const Curve c = curve(v);
      const auto up = v > vset(0.f);
      put(lanes, dx, i, d * (straight + (up ? above * v : below * c.slope)));
      if (sums) {
        for_p = fma(d, lanes.keep(up ? v * v : vset(0.f), 0), for_p);
        for_n = fma(d, lanes.keep(up ? vset(0.f) : c.value, 0), for_n);
      }
    });
    if (sums) {
      sums[2 * part] = hsum(for_p);
      sums[2 * part + 1] = hsum(for_n);
    }
  });
  if (!sums) return;
  double for_p = 0, for_n = 0;
  for (long part = 0; part < pieces; part++) {
    for_p += sums[2 * part];
    for_n += sums[2 * part + 1];
  }
  *d_alpha_p = (float)for_p * rate(*alpha_p);
  *d_alpha_n = (float)for_n * rate(*alpha_n);
}

}  // namespace

extern "C" void RX_FILL(xielu)(KernelTable* table) {
  table->xielu = xielu;
  table->xielu_grad = xielu_grad;
}
