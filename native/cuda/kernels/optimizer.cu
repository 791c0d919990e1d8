// The update of all weights, and the norm of all gradients: a block a piece of a tensor, the pieces listed by the host.
#include "device.h"

namespace {

__device__ __forceinline__ void update(const RxAdamWRates& r, float keep, float gradient, float& m, float& v, float& p) {
  const float g = gradient * r.scale;
  m = m * r.beta1 + g * r.rest1;
  v = v * r.beta2 + g * g * r.rest2;
  p = p * keep - r.rate * (m / (sqrtf(v) * r.root + r.epsilon));
}

// How many of `count` ascending borders x lies beyond: the nearest of count + 1 magnitudes.
__device__ __forceinline__ int beyond(const float* borders, int count, float x) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x > borders[middle])
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace

// Moments in 8 bits, as native/cc/kernels/adamw_8bit.cc has them: a warp a block of 256 numbers, 8 a lane. maps: the signed one, 256
// ascending numbers with 0 at 127, then the unsigned one.
extern "C" __global__ void __launch_bounds__(256) rx_adamw_8bit(const RxAdamW8bitPiece* pieces, const float* maps, RxAdamWRates r) {
  __shared__ float map[512], borders_m[128], borders_v[255];
  for (int i = threadIdx.x; i < 512; i += blockDim.x) map[i] = maps[i];
  for (int i = threadIdx.x; i < 128; i += blockDim.x) borders_m[i] = (maps[127 + i] + maps[128 + i]) / 2;
  for (int i = threadIdx.x; i < 255; i += blockDim.x) borders_v[i] = (maps[256 + i] + maps[257 + i]) / 2;
  __syncthreads();
  const RxAdamW8bitPiece a = pieces[blockIdx.x];
  const int lane = threadIdx.x % 32;
  for (long block = threadIdx.x / 32; block * 256 < a.n; block += blockDim.x / 32) {
    const float size_m = a.m_absmax[block], size_v = a.v_absmax[block];
    float m[8], v[8], top_m = 0.f, top_v = 0.f;
#pragma unroll
    for (int e = 0; e < 8; e++) {
      const long i = block * 256 + 32 * e + lane;
      m[e] = v[e] = 0.f;
      if (i >= a.n) continue;
      m[e] = map[a.m[i]] * size_m;
      v[e] = map[256 + a.v[i]] * size_v;
      float p = a.p[i];
      update(r, a.keep, a.g[i], m[e], v[e], p);
      a.p[i] = p;
      top_m = Greater()(fabsf(m[e]), top_m);
      top_v = Greater()(v[e], top_v);
    }
    top_m = over_warp(top_m, Greater());
    top_v = over_warp(top_v, Greater());
    const float divisor_m = top_m == 0.f ? 1.f : top_m, divisor_v = top_v == 0.f ? 1.f : top_v;
#pragma unroll
    for (int e = 0; e < 8; e++) {
      const long i = block * 256 + 32 * e + lane;
      if (i >= a.n) continue;
      const int found = beyond(borders_m, 128, fabsf(m[e]) / divisor_m);
      // a negative number never becomes 0, and the signed map ends before -1
      const int down = found == 0 ? 1 : found < 127 ? found : 127;
      a.m[i] = static_cast<uint8_t>(m[e] < 0.f ? 127 - down : 127 + found);
      a.v[i] = static_cast<uint8_t>(beyond(borders_v, 255, v[e] / divisor_v));
    }
    // All lanes have read the old ones.
    __syncwarp();
    if (lane == 0) {
      a.m_absmax[block] = top_m;
      a.v_absmax[block] = top_v;
    }
  }
}

extern "C" __global__ void rx_adamw(const RxAdamWPiece* pieces, RxAdamWRates r, const float* squared_norm, double max_norm) {
  if (squared_norm != nullptr) {
    const double norm = sqrt(static_cast<double>(*squared_norm));
    if (!(norm < 1e30)) return;  // floats' squares end before
    if (max_norm > 0 && max_norm < norm + 1e-6) r.scale *= static_cast<float>(max_norm / (norm + 1e-6));
  }
  const RxAdamWPiece a = pieces[blockIdx.x];
  const long fours = in_vectors(a.p, a.g, a.m, a.v, a.rounded) ? a.n / 4 : 0;
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
    if (a.rounded != nullptr) store_four(a.rounded + 4 * i, p);
  }
  for (long i = 4 * fours + threadIdx.x; i < a.n; i += blockDim.x) {
    update(r, a.keep, a.g[i], a.m[i], a.v[i], a.p[i]);
    if (a.rounded != nullptr) a.rounded[i] = to_bfloat16(a.p[i]);
  }
}

// In double precision: the norm of all gradients decides about clipping.
extern "C" __global__ void rx_squared_norm_parts(const RxPiece* pieces, double* sums) {
  const RxPiece a = pieces[blockIdx.x];
  const long fours = in_vectors(a.x) ? a.n / 4 : 0;
  double sum = 0;
  const auto add = [&](float x) { sum += static_cast<double>(x) * x; };
#pragma unroll 4
  for (long i = threadIdx.x; i < fours; i += blockDim.x) {
    const float4 x = load_four(a.x + 4 * i);
    add(x.x), add(x.y), add(x.z), add(x.w);
  }
  for (long i = 4 * fours + threadIdx.x; i < a.n; i += blockDim.x) add(a.x[i]);
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
