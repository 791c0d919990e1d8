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

__device__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

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
    default: return fabsf(x);
  }
}

// gelu (erf), gelu_new (tanh), relu, silu, quick_gelu
__device__ void activate(int kind, float x, float& value, float& slope) {
  if (kind == 0) {
    const float cdf = 0.5f * (1.f + erff(x * 0.70710678f));
    value = x * cdf;
    slope = cdf + x * 0.39894228f * expf(-0.5f * x * x);
  } else if (kind == 2) {
    value = x < 0.f ? 0.f : x;
    slope = x > 0.f ? 1.f : 0.f;
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

}  // namespace

#define FOR_EACH(i, n) for (long i = thread_index(); i < (n); i += grid_threads())

extern "C" __global__ void rx_add(const float* a, const float* b, float* out, long n) {
  FOR_EACH(i, n) out[i] = a[i] + b[i];
}
extern "C" __global__ void rx_axpy(float* y, const float* x, float alpha, long n) {
  FOR_EACH(i, n) y[i] += alpha * x[i];
}
extern "C" __global__ void rx_scale(const float* x, float* y, float factor, long n) {
  FOR_EACH(i, n) y[i] = factor * x[i];
}
// An operand shorter than the result is repeated.
extern "C" __global__ void rx_binary(int kind, const float* a, long n_a, const float* b, long n_b, float* out, long n) {
  FOR_EACH(i, n) out[i] = binary_value(kind, a[n_a == n ? i : i % n_a], b[n_b == n ? i : i % n_b]);
}
extern "C" __global__ void rx_unary(int kind, const float* x, float* y, long n) {
  FOR_EACH(i, n) y[i] = unary_value(kind, x[i]);
}
extern "C" __global__ void rx_fill(float* out, float value, long n) {
  FOR_EACH(i, n) out[i] = value;
}
extern "C" __global__ void rx_activation(int kind, const float* x, float* y, long n) {
  FOR_EACH(i, n) {
    float value, slope;
    activate(kind, x[i], value, slope);
    y[i] = value;
  }
}
extern "C" __global__ void rx_activation_grad(int kind, const float* x, const float* dy, float* dx, long n) {
  FOR_EACH(i, n) {
    float value, slope;
    activate(kind, x[i], value, slope);
    dx[i] = dy[i] * slope;
  }
}
extern "C" __global__ void rx_gated_activation(int kind, const float* gate, const float* up, float* y, long n) {
  FOR_EACH(i, n) {
    float value, slope;
    activate(kind, gate[i], value, slope);
    y[i] = value * up[i];
  }
}
extern "C" __global__ void rx_gated_activation_grad(int kind, const float* gate, const float* up, const float* dy, float* d_gate,
                                                    float* d_up, long n) {
  FOR_EACH(i, n) {
    float value, slope;
    activate(kind, gate[i], value, slope);
    const float d = dy[i], other = up[i];
    d_gate[i] = d * other * slope;
    d_up[i] = d * value;
  }
}
// The mask of native/cc/kernels/dropout.cc, bit for bit; threshold = ceil(rate 2^24), scale = 1 / (1 - rate).
extern "C" __global__ void rx_dropout(const float* x, float* y, long n, float scale, int threshold, uint32_t seed, uint64_t offset) {
  FOR_EACH(i, n) {
    const uint64_t index = offset + static_cast<uint64_t>(i);
    const uint32_t key = mixed(mixed(seed) + static_cast<uint32_t>(index >> 32));
    const uint32_t hash = mixed(mixed(static_cast<uint32_t>(index) ^ key) + key);
    y[i] = static_cast<int>(hash >> 8) >= threshold ? x[i] * scale : 0.f;
  }
}
extern "C" __global__ void rx_narrow(const float* x, uint16_t* y, long n) {
  FOR_EACH(i, n) y[i] = to_bfloat16(x[i]);
}
extern "C" __global__ void rx_widen(const uint16_t* x, float* y, long n) {
  FOR_EACH(i, n) y[i] = from_bfloat16(x[i]);
}
