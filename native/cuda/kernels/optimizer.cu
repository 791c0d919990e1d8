// The update of all weights, and the norm of all gradients: a block a piece of a tensor, the pieces listed by the host.
#include "device.h"

namespace {

__device__ __forceinline__ void update(const RxAdamWRates& r, float keep, float gradient, float& m, float& v, float& p) {
  const float g = gradient * r.scale;
  m = m * r.beta1 + g * r.rest1;
  v = v * r.beta2 + g * g * r.rest2;
  p = p * keep - r.rate * (m / (sqrtf(v) * r.root + r.epsilon));
}

}  // namespace

extern "C" __global__ void rx_adamw(const RxAdamWPiece* pieces, RxAdamWRates r) {
  const RxAdamWPiece a = pieces[blockIdx.x];
  const long fours = in_vectors(a.p, a.g, a.m, a.v) ? a.n / 4 : 0;
  for (long i = threadIdx.x; i < fours; i += blockDim.x) {
    const float4 g = reinterpret_cast<const float4*>(a.g)[i];
    float4 m = reinterpret_cast<const float4*>(a.m)[i], v = reinterpret_cast<const float4*>(a.v)[i], p = reinterpret_cast<const float4*>(a.p)[i];
    update(r, a.keep, g.x, m.x, v.x, p.x);
    update(r, a.keep, g.y, m.y, v.y, p.y);
    update(r, a.keep, g.z, m.z, v.z, p.z);
    update(r, a.keep, g.w, m.w, v.w, p.w);
    reinterpret_cast<float4*>(a.m)[i] = m;
    reinterpret_cast<float4*>(a.v)[i] = v;
    reinterpret_cast<float4*>(a.p)[i] = p;
  }
  for (long i = 4 * fours + threadIdx.x; i < a.n; i += blockDim.x) update(r, a.keep, a.g[i], a.m[i], a.v[i], a.p[i]);
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
