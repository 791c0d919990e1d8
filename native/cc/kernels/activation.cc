// Activation functions, alone and as the gate of a gated MLP, with their derivatives.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

constexpr long piece = 16384;

struct ValueAndSlope {
  vf value, slope;
};

// x Φ(x) with the error function.
struct Gelu {
  RX_INLINE vf value(vf x) { return vset(0.5f) * x * (vset(1.f) + verf(x * vset(0.70710678f))); }
  RX_INLINE ValueAndSlope both(vf x) {
    const vf cdf = vset(0.5f) * (vset(1.f) + verf(x * vset(0.70710678f)));
    const vf density = vset(0.39894228f) * vexp(vset(-0.5f) * x * x);
    return {x * cdf, fma(x, density, cdf)};
  }
};

// x / 2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/π) (x + 0.044715 x³): the sigmoid keeps its digits where 1 + tanh loses them.
struct GeluNew {
  RX_INLINE vf gate(vf x) {
    const vf twice_u = x * fma(x * x, vset(1.5957691216f * 0.044715f), vset(1.5957691216f));
    return vsigmoid(twice_u);
  }
  RX_INLINE vf value(vf x) { return x * gate(x); }
  RX_INLINE ValueAndSlope both(vf x) {
    const vf s = gate(x);
    const vf inner = fma(x * x, vset(3.f * 1.5957691216f * 0.044715f), vset(1.5957691216f));
    const vf tail = s * (vset(1.f) - s);
    return {x * s, s + (tail == vset(0.f) ? vset(0.f) : x * tail * inner)};  // inner overflows long before tail's factor matters
  }
};

struct Relu {
  RX_INLINE vf value(vf x) { return x < vset(0.f) ? vset(0.f) : x; }  // NaN stays
  RX_INLINE ValueAndSlope both(vf x) { return {value(x), x > vset(0.f) ? vset(1.f) : vset(0.f)}; }
};

struct Relu2 {
  RX_INLINE vf value(vf x) { return Relu().value(x) * Relu().value(x); }
  RX_INLINE ValueAndSlope both(vf x) { return {value(x), vset(2.f) * Relu().value(x)}; }
};

// x sigmoid(a x)
template <int thousandths>
struct Swish {
  static constexpr float a = thousandths / 1000.f;
  RX_INLINE vf value(vf x) { return x * vsigmoid(vset(a) * x); }
  RX_INLINE ValueAndSlope both(vf x) {
    const vf s = vsigmoid(vset(a) * x);
    return {x * s, fma(vset(a) * x, s * (vset(1.f) - s), s)};
  }
};

struct Sigmoid {
  RX_INLINE vf value(vf x) { return vsigmoid(x); }
  RX_INLINE ValueAndSlope both(vf x) {
    const vf s = vsigmoid(x);
    return {s, s * (vset(1.f) - s)};
  }
};

template <class F>
void in_pieces(const Context* context, long n, F body) {
  parallel(context, parts_of(n, piece), [=](long part) {
    const long from = part * piece;
    each_vector(smaller(piece, n - from), [&](long i, auto lanes) { body(from + i, lanes); });
  });
}

template <class F>
void with_kind(int kind, F body) {
  switch (kind) {
    case ACTIVATION_GELU: return body(Gelu());
    case ACTIVATION_GELU_NEW: return body(GeluNew());
    case ACTIVATION_RELU: return body(Relu());
    case ACTIVATION_SILU: return body(Swish<1000>());
    case ACTIVATION_QUICK_GELU: return body(Swish<1702>());
    case ACTIVATION_RELU2: return body(Relu2());
    case ACTIVATION_SIGMOID: return body(Sigmoid());
  }
}

void activation(const Context* context, int kind, Values x, Values y, long n) {
  with_kind(kind, [=](auto f) {
    in_pieces(context, n, [=](long i, auto lanes) { put(lanes, y, i, f.value(take(lanes, x, i))); });
  });
}

void activation_grad(const Context* context, int kind, Values x, Values dy, Values dx, long n) {
  with_kind(kind, [=](auto f) {
    in_pieces(context, n, [=](long i, auto lanes) { put(lanes, dx, i, take(lanes, dy, i) * f.both(take(lanes, x, i)).slope); });
  });
}

void gated_activation(const Context* context, int kind, Values gate, Values up, Values y, long n) {
  with_kind(kind, [=](auto f) {
    in_pieces(context, n, [=](long i, auto lanes) { put(lanes, y, i, f.value(take(lanes, gate, i)) * take(lanes, up, i)); });
  });
}

void gated_activation_grad(const Context* context, int kind, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  with_kind(kind, [=](auto f) {
    in_pieces(context, n, [=](long i, auto lanes) {
      const ValueAndSlope at = f.both(take(lanes, gate, i));
      const vf d = take(lanes, dy, i);
      const vf other = take(lanes, up, i);
      put(lanes, d_gate, i, d * other * at.slope);
      put(lanes, d_up, i, d * at.value);
    });
  });
}

void clamped_gate(const Context* context, float limit, Values gate, Values up, Values y, long n) {
  const vf most = vset(limit), one = vset(1.f);
  in_pieces(context, n, [=](long i, auto lanes) {
    const vf g = take(lanes, gate, i), u = take(lanes, up, i);
    const vf below = g > most ? most : g, within = u > most ? most : u < -most ? -most : u;
    put(lanes, y, i, Swish<1702>().value(below) * (within + one));
  });
}

// What is clamped does not rise.
void clamped_gate_grad(const Context* context, float limit, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  const vf most = vset(limit), one = vset(1.f), zero = vset(0.f);
  in_pieces(context, n, [=](long i, auto lanes) {
    const vf g = take(lanes, gate, i), u = take(lanes, up, i), d = take(lanes, dy, i);
    const ValueAndSlope at = Swish<1702>().both(g > most ? most : g);
    const vf within = u > most ? most : u < -most ? -most : u;
    put(lanes, d_gate, i, g > most ? zero : d * (within + one) * at.slope);
    put(lanes, d_up, i, u > most ? zero : u < -most ? zero : d * at.value);
  });
}

}  // namespace

extern "C" void RX_FILL(activation)(KernelTable* table) {
  table->activation = activation;
  table->activation_grad = activation_grad;
  table->gated_activation = gated_activation;
  table->gated_activation_grad = gated_activation_grad;
  table->clamped_gate = clamped_gate;
  table->clamped_gate_grad = clamped_gate_grad;
}
