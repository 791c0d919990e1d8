// Operations on single elements: a grid of any size walks over all of them. Outputs may be inputs.
#include "device.h"

// Kinds as in native/cc/kernel_table.h.
namespace {

__device__ float either_nan(float a, float b, float chosen) { return a != a ? a : b != b ? b : chosen; }

__device__ float binary_value(int kind, float a, float b) {
  switch (kind) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return a / b;
    case 4: return either_nan(a, b, a > b ? a : b);
    default: return either_nan(a, b, a < b ? a : b);
  }
}

// 1 / x to the last bit or so, where a division would take many instructions.
__device__ __forceinline__ float reciprocal(float x) {
#ifdef RX_EMULATE
  return 1.f / x;
#else
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

__device__ float sigmoid(float x) { return reciprocal(1.f + expf(-x)); }

__device__ float unary_value(int kind, float x) {
  switch (kind) {
    case 0: return -x;
    case 1: return expf(x);
    case 2: return logf(x);
    case 3: return sqrtf(x);
    case 4: return 1.f / sqrtf(x);
    case 5: return x * x;
    case 6: return tanhf(x);
    case 7: return sigmoid(x);
    case 8: return x < 0.f ? 0.f : x;
    case 9: return fabsf(x);
    default: return x > 0.f ? 1.f : x < 0.f ? -1.f : 0.f;
  }
}

// gelu (erf), gelu_new (tanh), relu, silu, quick_gelu, relu2, sigmoid
__device__ void activate(int kind, float x, float& value, float& slope) {
  if (kind == 0) {
    const float cdf = 0.5f * (1.f + erff(x * 0.70710678f));
    value = x * cdf;
    slope = cdf + x * 0.39894228f * expf(-0.5f * x * x);
  } else if (kind == 2) {
    value = x < 0.f ? 0.f : x;
    slope = x > 0.f ? 1.f : 0.f;
  } else if (kind == 5) {
    const float above = x < 0.f ? 0.f : x;
    value = above * above;
    slope = 2.f * above;
  } else if (kind == 6) {
    value = sigmoid(x);
    slope = value * (1.f - value);
  } else {
    // x sigmoid(inner): for gelu_new (x / 2)(1 + tanh u) = x sigmoid(2 u)
    const float a = kind == 4 ? 1.702f : 1.f;
    const float inner = kind == 1 ? x * (x * x * (1.5957691216f * 0.044715f) + 1.5957691216f) : a * x;
    const float rate = kind == 1 ? x * x * (3.f * 1.5957691216f * 0.044715f) + 1.5957691216f : a;
    const float s = sigmoid(inner);
    const float tail = s * (1.f - s);
    value = x * s;
    slope = tail == 0.f ? s : s + x * tail * rate;
  }
}

__device__ __forceinline__ uint32_t mixed(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}

// Four numbers of an array of which it is known how they lie, or (Values) is not.
template <class T>
__device__ __forceinline__ float4 four_of(const Values& v, long i) {
  if constexpr (sizeof(T) == sizeof(Values))
    return load_four(v, i);
  else
    return load_four(static_cast<const T*>(v.at) + i);
}
template <class T>
__device__ __forceinline__ void put_four(const Values& v, long i, float4 x) {
  if constexpr (sizeof(T) == sizeof(Values))
    store_four(v, i, x);
  else
    store_four(static_cast<T*>(v.at) + i, x);
}

// f(numbers of the inputs, numbers of the outputs) for `count` fours of elements that lie a grid apart. All are read before any is computed:
// one of two bytes a number would leave the memory waiting.
template <int count, class T, int ins, int outs, class F>
__device__ __forceinline__ void map_fours(const Values (&from)[ins], const Values (&to)[outs], long first, F f) {
  float4 x[count][ins];
#pragma unroll
  for (int u = 0; u < count; u++)
#pragma unroll
    for (int a = 0; a < ins; a++) x[u][a] = four_of<T>(from[a], 4 * (first + u * grid_threads()));
#pragma unroll
  for (int u = 0; u < count; u++) {
    float4 y[outs];
    const auto one = [&](auto part) {
      float in[ins], out[outs];
#pragma unroll
      for (int a = 0; a < ins; a++) in[a] = x[u][a].*part;
      f(in, out);
#pragma unroll
      for (int a = 0; a < outs; a++) y[a].*part = out[a];
    };
    one(&float4::x);
    one(&float4::y);
    one(&float4::z);
    one(&float4::w);
#pragma unroll
    for (int a = 0; a < outs; a++) put_four<T>(to[a], 4 * (first + u * grid_threads()), y[a]);
  }
}
template <class T, int ins, int outs, class F>
__device__ __forceinline__ void map_all_fours(const Values (&from)[ins], const Values (&to)[outs], long fours, F f) {
  const long step = grid_threads();
  long i = thread_index();
  for (; i + step < fours; i += 2 * step) map_fours<2, T>(from, to, i, f);
  if (i < fours) map_fours<1, T>(from, to, i, f);
}

// For each element: four at a time where all arrays begin on a border of four.
template <int ins, int outs, class F>
__device__ __forceinline__ void map(const Values (&from)[ins], const Values (&to)[outs], long n, F f) {
  bool vectors = true, alike = true;
  const auto look = [&](const Values& v) {
    vectors = vectors && in_fours(v);
    alike = alike && (v.half != 0) == (to[0].half != 0);
  };
  for (int a = 0; a < ins; a++) look(from[a]);
  for (int a = 0; a < outs; a++) look(to[a]);
  const long fours = vectors ? n / 4 : 0;
  if (!alike)
    for (long i = thread_index(); i < fours; i += grid_threads()) map_fours<1, Values>(from, to, i, f);
  else if (to[0].half)
    map_all_fours<uint16_t>(from, to, fours, f);
  else
    map_all_fours<float>(from, to, fours, f);
  for (long i = 4 * fours + thread_index(); i < n; i += grid_threads()) {
    float in[ins], out[outs];
#pragma unroll
    for (int a = 0; a < ins; a++) in[a] = load(from[a], i);
    f(in, out);
#pragma unroll
    for (int a = 0; a < outs; a++) store(to[a], i, out[a]);
  }
}

}  // namespace

#define FOR_EACH(i, n) for (long i = thread_index(); i < (n); i += grid_threads())

extern "C" __global__ void rx_add(Values a, Values b, Values out, long n) {
  map({a, b}, {out}, n, [](const float* x, float* z) { z[0] = x[0] + x[1]; });
}
extern "C" __global__ void rx_axpy(float* y, const float* x, float alpha, long n) {
  map({plain(y), plain(x)}, {plain(y)}, n, [=](const float* v, float* z) { z[0] = v[0] + alpha * v[1]; });
}
extern "C" __global__ void rx_scale(const float* x, float* y, float factor, long n) {
  map({plain(x)}, {plain(y)}, n, [=](const float* v, float* z) { z[0] = factor * v[0]; });
}
// An operand shorter than the result is repeated.
extern "C" __global__ void rx_binary(int kind, const float* a, long n_a, const float* b, long n_b, float* out, long n) {
  FOR_EACH(i, n) out[i] = binary_value(kind, a[n_a == n ? i : split(i, n_a).rest], b[n_b == n ? i : split(i, n_b).rest]);
}
extern "C" __global__ void rx_unary(int kind, const float* x, float* y, long n) {
  map({plain(x)}, {plain(y)}, n, [=](const float* v, float* z) { z[0] = unary_value(kind, v[0]); });
}
extern "C" __global__ void rx_fill(float* out, float value, long n) {
  FOR_EACH(i, n) out[i] = value;
}
extern "C" __global__ void rx_activation(int kind, Values x, Values y, long n) {
  map({x}, {y}, n, [=](const float* v, float* z) {
    float slope;
    activate(kind, v[0], z[0], slope);
  });
}
extern "C" __global__ void rx_activation_grad(int kind, Values x, Values dy, Values dx, long n) {
  map({x, dy}, {dx}, n, [=](const float* v, float* z) {
    float value, slope;
    activate(kind, v[0], value, slope);
    z[0] = v[1] * slope;
  });
}
extern "C" __global__ void rx_gated_activation(int kind, Values gate, Values up, Values y, long n) {
  map({gate, up}, {y}, n, [=](const float* v, float* z) {
    float value, slope;
    activate(kind, v[0], value, slope);
    z[0] = value * v[1];
  });
}
extern "C" __global__ void rx_gated_activation_grad(int kind, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  map({gate, up, dy}, {d_gate, d_up}, n, [=](const float* v, float* z) {
    float value, slope;
    activate(kind, v[0], value, slope);
    z[0] = v[2] * v[1] * slope;
    z[1] = v[2] * value;
  });
}
namespace {

// NaN stays.
__device__ __forceinline__ float held_below(float x, float limit) { return x > limit ? limit : x; }
__device__ __forceinline__ float held_within(float x, float limit) { return x < -limit ? -limit : held_below(x, limit); }

}  // namespace

extern "C" __global__ void rx_clamped_gate(float limit, Values gate, Values up, Values y, long n) {
  map({gate, up}, {y}, n, [=](const float* v, float* z) {
    float value, slope;
    activate(4, held_below(v[0], limit), value, slope);
    z[0] = value * (held_within(v[1], limit) + 1.f);
  });
}
// What is clamped does not rise.
extern "C" __global__ void rx_clamped_gate_grad(float limit, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  map({gate, up, dy}, {d_gate, d_up}, n, [=](const float* v, float* z) {
    float value, slope;
    activate(4, held_below(v[0], limit), value, slope);
    z[0] = v[0] > limit ? 0.f : v[2] * (held_within(v[1], limit) + 1.f) * slope;
    z[1] = v[1] > limit || v[1] < -limit ? 0.f : v[2] * value;
  });
}
namespace {

__device__ __forceinline__ float softplus_of(float x) { return (x > 0.f ? x : 0.f) + log1pf(expf(x > 0.f ? -x : x)); }

// e^min(x, eps) - 1 - x of x not above 0, and its slope, as native/cc/kernels/xielu.cc has them.
struct Bend {
  float value, slope;
};
__device__ __forceinline__ Bend bend_below(float x) {
  constexpr float eps = -1e-6f;
  if (x > eps) return {eps - x, -1.f};
  if (x > -0.5f) {
    float p = 1.f / 40320.f;
    p = fmaf(p, x, 1.f / 5040.f);
    p = fmaf(p, x, 1.f / 720.f);
    p = fmaf(p, x, 1.f / 120.f);
    p = fmaf(p, x, 1.f / 24.f);
    p = fmaf(p, x, 1.f / 6.f);
    p = fmaf(p, x, 0.5f);
    const float near = x * x * p;
    return {near, near + x};
  }
  const float power = expf(x);
  return {power - 1.f - x, power - 1.f};
}

}  // namespace

// x² ap + x / 2 above 0, an (e^min(x, eps) - 1 - x) + x / 2 below, ap = softplus(alpha_p), an = 1 / 2 + softplus(alpha_n)
extern "C" __global__ void rx_xielu(Values x, const float* alpha_p, const float* alpha_n, Values y, long n) {
  const float above = softplus_of(*alpha_p), below = 0.5f + softplus_of(*alpha_n);
  map({x}, {y}, n, [=](const float* v, float* z) {
    const float bent = v[0] > 0.f ? above * v[0] * v[0] : below * bend_below(v[0]).value;
    z[0] = fmaf(v[0], 0.5f, bent);
  });
}
// parts [blocks, 2]: of each block, what the gradients of ap and an have in its numbers; the grid's size depends on n alone.
extern "C" __global__ void __launch_bounds__(256) rx_xielu_grad(Values x, const float* alpha_p, const float* alpha_n, Values dy, Values dx, float* parts,
                                                                long n) {
  const float above = 2.f * softplus_of(*alpha_p), below = 0.5f + softplus_of(*alpha_n);
  float for_p = 0.f, for_n = 0.f;
  map({x, dy}, {dx}, n, [&](const float* v, float* z) {
    if (v[0] > 0.f) {
      z[0] = v[1] * (0.5f + above * v[0]);
      for_p = fmaf(v[1], v[0] * v[0], for_p);
    } else {
      const Bend bend = bend_below(v[0]);
      z[0] = v[1] * (0.5f + below * bend.slope);
      for_n = fmaf(v[1], bend.value, for_n);
    }
  });
  if (parts == nullptr) return;
  for_p = over_block(for_p, Sum(), 0.f);
  for_n = over_block(for_n, Sum(), 0.f);
  if (threadIdx.x == 0) parts[2 * blockIdx.x] = for_p, parts[2 * blockIdx.x + 1] = for_n;
}
// What the blocks found, as gradients of alpha_p and alpha_n.
extern "C" __global__ void __launch_bounds__(256) rx_xielu_sums(const float* parts, long count, const float* alpha_p, const float* alpha_n,
                                                                float* d_alpha_p, float* d_alpha_n) {
  double for_p = 0, for_n = 0;
  for (long i = threadIdx.x; i < count; i += blockDim.x) for_p += parts[2 * i], for_n += parts[2 * i + 1];
  for_p = over_block(for_p, Sum(), 0.);
  for_n = over_block(for_n, Sum(), 0.);
  if (threadIdx.x == 0) *d_alpha_p = static_cast<float>(for_p) * sigmoid(*alpha_p), *d_alpha_n = static_cast<float>(for_n) * sigmoid(*alpha_n);
}
// The mask of native/cc/kernels/dropout.cc, bit for bit; threshold = ceil(rate 2^24), scale = 1 / (1 - rate).
extern "C" __global__ void rx_dropout(Values x, Values y, long n, float scale, int threshold, uint32_t seed, uint64_t offset) {
  FOR_EACH(i, n) {
    const uint64_t index = offset + static_cast<uint64_t>(i);
    const uint32_t key = mixed(mixed(seed) + static_cast<uint32_t>(index >> 32));
    const uint32_t hash = mixed(mixed(static_cast<uint32_t>(index) ^ key) + key);
    store(y, i, static_cast<int>(hash >> 8) >= threshold ? load(x, i) * scale : 0.f);
  }
}
// The same of groups of numbers, each with its own seed and from its own first number on: group g ends at ends[g].
extern "C" __global__ void rx_grouped_dropout(Values x, Values y, const long* ends, const uint32_t* seeds, long count, float scale, int threshold) {
  FOR_EACH(i, ends[count - 1]) {
    long low = 0, high = count - 1;
    while (low < high) {
      const long middle = (low + high) / 2;
      if (i < ends[middle])
        high = middle;
      else
        low = middle + 1;
    }
    const uint64_t index = static_cast<uint64_t>(low == 0 ? i : i - ends[low - 1]);
    const uint32_t key = mixed(mixed(seeds[low]) + static_cast<uint32_t>(index >> 32));
    const uint32_t hash = mixed(mixed(static_cast<uint32_t>(index) ^ key) + key);
    store(y, i, static_cast<int>(hash >> 8) >= threshold ? load(x, i) * scale : 0.f);
  }
}
extern "C" __global__ void rx_narrow(const float* x, uint16_t* y, long n) {
  const long eights = in_vectors(x, y) ? n / 8 : 0;
  FOR_EACH(i, eights) {
    float eight[8];
    load_eight(x + 8 * i, eight);
    store_eight(y + 8 * i, eight);
  }
  for (long i = 8 * eights + thread_index(); i < n; i += grid_threads()) y[i] = to_bfloat16(x[i]);
}
extern "C" __global__ void rx_widen(const uint16_t* x, float* y, long n) {
  const long fours = in_vectors(y) && (reinterpret_cast<uintptr_t>(x) & 7) == 0 ? n / 4 : 0;
  FOR_EACH(i, fours) {
    store_four(y + 4 * i, load_four(x + 4 * i));
  }
  for (long i = 4 * fours + thread_index(); i < n; i += grid_threads()) y[i] = from_bfloat16(x[i]);
}
