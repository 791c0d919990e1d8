// The update of all weights, and the norm of all gradients: a block a piece of a tensor, the pieces listed by the host.
#include "device.h"

extern "C" __global__ void rx_adamw(const RxAdamWPiece* pieces, RxAdamWRates r) {
  const RxAdamWPiece a = pieces[blockIdx.x];
  for (long i = threadIdx.x; i < a.n; i += blockDim.x) {
    const float g = a.g[i] * r.scale;
    const float first = a.m[i] * r.beta1 + g * r.rest1;
    const float second = a.v[i] * r.beta2 + g * g * r.rest2;
    a.m[i] = first;
    a.v[i] = second;
    a.p[i] = a.p[i] * a.keep - r.rate * (first / (sqrtf(second) * r.root + r.epsilon));
  }
}

// In double precision: the norm of all gradients decides about clipping.
extern "C" __global__ void rx_squared_norm_parts(const RxPiece* pieces, double* sums) {
  const RxPiece a = pieces[blockIdx.x];
  double sum = 0;
  for (long i = threadIdx.x; i < a.n; i += blockDim.x) sum += static_cast<double>(a.x[i]) * a.x[i];
  sum = over_block(sum, Sum(), 0.0);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// By one block.
extern "C" __global__ void rx_sum_doubles(const double* sums, long n, float* out) {
  double sum = 0;
  for (long i = threadIdx.x; i < n; i += blockDim.x) sum += sums[i];
  sum = over_block(sum, Sum(), 0.0);
  if (threadIdx.x == 0) *out = static_cast<float>(sum);
}
