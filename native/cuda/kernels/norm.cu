// Layer and root-mean-square normalisation of rows, a block a row; gains and biases get their gradients in two steps: sums over bands
// of rows, then over the bands (rx_add_parts).
#include "device.h"

namespace {

// `each` neighbouring numbers: one, or four at once.
template <int each>
struct Part {
  float x[each];
};
template <int each>
__device__ __forceinline__ Part<each> part(const Values& from, long at) {
  if constexpr (each == 4) {
    const float4 four = load_four(from, at);
    return {four.x, four.y, four.z, four.w};
  } else {
    return {load(from, at)};
  }
}
template <int each>
__device__ __forceinline__ void put(const Values& to, long at, const Part<each>& from) {
  if constexpr (each == 4)
    store_four(to, at, {from.x[0], from.x[1], from.x[2], from.x[3]});
  else
    store(to, at, from.x[0]);
}
#define FOR_NUMBERS(e) _Pragma("unroll") for (int e = 0; e < each; e++)
#define FOR_PARTS(c) for (long c = each * threadIdx.x; c < columns; c += each * blockDim.x)

// What is read lies in the caches the second time. A sum is what is written of it: the way back reads that.
template <int each>
__device__ __forceinline__ Part<each> part(const NormInput& from, long at) {
  Part<each> x = part<each>(from.x, at);
  if (from.added.at == nullptr) return x;
  const Part<each> more = part<each>(from.added, at);
  FOR_NUMBERS(e) x.x[e] += more.x[e];
  if (from.sum.half) FOR_NUMBERS(e) x.x[e] = from_bfloat16(to_bfloat16(x.x[e]));
  return x;
}
// The first time: the sum and what is kept are written.
template <int each>
__device__ __forceinline__ Part<each> taken(const NormInput& from, long at) {
  const Part<each> x = part<each>(from, at);
  if (from.added.at != nullptr) put(from.sum, at, x);
  if (from.kept != nullptr) put(Values{from.kept, 1}, at, x);
  return x;
}

// Rows begin at `first`; gain and bias are one row.
template <int each>
__device__ __forceinline__ void layer_norm(const NormInput& from, const Values& gain, const Values& bias, const Values& to, long first,
                                           float* mean, float* rstd, long columns, float eps) {
  float sum = 0;
  FOR_PARTS(c) {
    const Part<each> x = taken<each>(from, first + c);
    FOR_NUMBERS(e) sum += x.x[e];
  }
  const float average = over_block(sum, Sum(), 0.f) / static_cast<float>(columns);
  float squares = 0;
  FOR_PARTS(c) {
    const Part<each> x = part<each>(from, first + c);
    FOR_NUMBERS(e) squares += (x.x[e] - average) * (x.x[e] - average);
  }
  const float scale = 1.f / sqrtf(over_block(squares, Sum(), 0.f) / static_cast<float>(columns) + eps);
  FOR_PARTS(c) {
    const Part<each> x = part<each>(from, first + c), g = part<each>(gain, c);
    Part<each> b = {}, y;
    if (bias.at != nullptr) b = part<each>(bias, c);
    FOR_NUMBERS(e) y.x[e] = (x.x[e] - average) * scale * g.x[e] + b.x[e];
    put(to, first + c, y);
  }
  if (threadIdx.x == 0) {
    *mean = average;
    *rstd = scale;
  }
}

template <int each>
__device__ __forceinline__ void layer_norm_grad(const Values& dy, const Values& x, const Values& gain, float average, float scale,
                                                const Values& residual, const Values& dx, const Values& narrowed, long first, long columns) {
  float plain = 0, along = 0;
  FOR_PARTS(c) {
    const Part<each> d = part<each>(dy, first + c), v = part<each>(x, first + c), w = part<each>(gain, c);
    FOR_NUMBERS(e) {
      const float g = d.x[e] * w.x[e];
      plain += g;
      along += g * (v.x[e] - average) * scale;
    }
  }
  const float a = over_block(plain, Sum(), 0.f) / static_cast<float>(columns);
  const float b = over_block(along, Sum(), 0.f) / static_cast<float>(columns);
  FOR_PARTS(c) {
    const Part<each> d = part<each>(dy, first + c), v = part<each>(x, first + c), w = part<each>(gain, c);
    Part<each> more = {}, out;
    if (residual.at != nullptr) more = part<each>(residual, first + c);
    FOR_NUMBERS(e) out.x[e] = scale * (d.x[e] * w.x[e] - a - (v.x[e] - average) * scale * b) + more.x[e];
    put(dx, first + c, out);
    if (narrowed.at != nullptr) put(narrowed, c, out);
  }
}

template <int each>
__device__ __forceinline__ void rms_norm(const NormInput& from, const Values& gain, const Values& to, long first, float* rstd, long columns,
                                         float eps, float offset) {
  float squares = 0;
  FOR_PARTS(c) {
    const Part<each> x = taken<each>(from, first + c);
    FOR_NUMBERS(e) squares += x.x[e] * x.x[e];
  }
  const float scale = 1.f / sqrtf(over_block(squares, Sum(), 0.f) / static_cast<float>(columns) + eps);
  FOR_PARTS(c) {
    const Part<each> x = part<each>(from, first + c), g = part<each>(gain, c);
    Part<each> y;
    FOR_NUMBERS(e) y.x[e] = x.x[e] * scale * (g.x[e] + offset);
    put(to, first + c, y);
  }
  if (threadIdx.x == 0) *rstd = scale;
}

// x is what the norm was given or, `value`, what it gave: that is u (gain + offset).
template <int each>
__device__ __forceinline__ void rms_norm_grad(const Values& dy, const Values& x, const Values& gain, float scale, const Values& residual,
                                              const Values& dx, const Values& narrowed, long first, long columns, float offset, bool value) {
  float along = 0;
  FOR_PARTS(c) {
    const Part<each> d = part<each>(dy, first + c), v = part<each>(x, first + c), w = part<each>(gain, c);
    FOR_NUMBERS(e) along += value ? d.x[e] * v.x[e] : d.x[e] * (w.x[e] + offset) * v.x[e] * scale;
  }
  const float b = over_block(along, Sum(), 0.f) / static_cast<float>(columns);
  FOR_PARTS(c) {
    const Part<each> d = part<each>(dy, first + c), v = part<each>(x, first + c), w = part<each>(gain, c);
    Part<each> more = {}, out;
    if (residual.at != nullptr) more = part<each>(residual, first + c);
    FOR_NUMBERS(e) {
      const float g = w.x[e] + offset, u = value ? v.x[e] / g : v.x[e] * scale;
      out.x[e] = scale * (d.x[e] * g - u * b) + more.x[e];
    }
    put(dx, first + c, out);
    if (narrowed.at != nullptr) put(narrowed, c, out);
  }
}

__device__ __forceinline__ bool in_fours(const NormInput& x) {
  return in_fours(x.x) && in_fours(x.added) && in_fours(x.sum) && in_fours(Values{x.kept, 1});
}
// Whether rows of all of these can be read four numbers at a time.
template <class... V>
__device__ __forceinline__ bool rows_in_fours(long columns, const V&... values) {
  return columns % 4 == 0 && (in_fours(values) && ...);
}

}  // namespace

// y = (x - mean) rstd gain + bias
extern "C" __global__ void rx_layer_norm(NormInput x, const float* gain, const float* bias, Values y, float* mean, float* rstd, long columns,
                                         float eps) {
  const long row = blockIdx.x, first = row * columns;
  const Values g = plain(gain), b = plain(bias);
  if (rows_in_fours(columns, x, g, b, y))
    layer_norm<4>(x, g, b, y, first, mean + row, rstd + row, columns, eps);
  else
    layer_norm<1>(x, g, b, y, first, mean + row, rstd + row, columns, eps);
}

// dx = rstd (g - mean(g) - u mean(g u)) + residual with g = dy gain, u = (x - mean) rstd; dx may be dy or residual. The same goes to
// `narrowed`, ld numbers a row, where that is given.
extern "C" __global__ void rx_layer_norm_grad(Values dy, Values x, const float* gain, const float* mean, const float* rstd,
                                              const float* residual, float* dx, uint16_t* narrowed, long ld, long columns) {
  const long row = blockIdx.x, first = row * columns;
  const Values g = plain(gain), more = plain(residual), out = plain(dx), beside = {narrowed != nullptr ? narrowed + row * ld : nullptr, 1};
  if (rows_in_fours(columns, dy, x, g, more, out, beside))
    layer_norm_grad<4>(dy, x, g, mean[row], rstd[row], more, out, beside, first, columns);
  else
    layer_norm_grad<1>(dy, x, g, mean[row], rstd[row], more, out, beside, first, columns);
}

// parts [bands, 2 columns]: sums of dy u, then of dy, over `band` rows.
extern "C" __global__ void rx_layer_norm_parts(Values dy, Values x, const float* mean, const float* rstd, float* parts, long rows,
                                               long columns, long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float for_gain = 0, for_bias = 0;
  for (long r = first; r < end; r++) {
    const float d = load(dy, r * columns + c);
    for_gain += d * (load(x, r * columns + c) - mean[r]) * rstd[r];
    for_bias += d;
  }
  parts[blockIdx.y * 2 * columns + c] = for_gain;
  parts[(blockIdx.y * 2 + 1) * columns + c] = for_bias;
}

// y = x rstd (gain + offset)
extern "C" __global__ void rx_rms_norm(NormInput x, const float* gain, Values y, float* rstd, long columns, float eps, float offset) {
  const long row = blockIdx.x, first = row * columns;
  const Values g = plain(gain);
  if (rows_in_fours(columns, x, g, y))
    rms_norm<4>(x, g, y, first, rstd + row, columns, eps, offset);
  else
    rms_norm<1>(x, g, y, first, rstd + row, columns, eps, offset);
}

// dx = rstd (g - u mean(g u)) + residual with g = dy (gain + offset), u = x rstd, or x / (gain + offset) where x is the norm's `value`;
// `narrowed` as above
extern "C" __global__ void rx_rms_norm_grad(Values dy, Values x, const float* gain, const float* rstd, const float* residual, float* dx,
                                            uint16_t* narrowed, long ld, long columns, float offset, int value) {
  const long row = blockIdx.x, first = row * columns;
  const Values g = plain(gain), more = plain(residual), out = plain(dx), beside = {narrowed != nullptr ? narrowed + row * ld : nullptr, 1};
  if (rows_in_fours(columns, dy, x, g, more, out, beside))
    rms_norm_grad<4>(dy, x, g, rstd[row], more, out, beside, first, columns, offset, value != 0);
  else
    rms_norm_grad<1>(dy, x, g, rstd[row], more, out, beside, first, columns, offset, value != 0);
}

// parts [bands, columns]: sums of dy u over `band` rows.
extern "C" __global__ void rx_rms_norm_parts(Values dy, Values x, const float* rstd, float* parts, long rows, long columns, long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float sum = 0;
  for (long r = first; r < end; r++) sum += load(dy, r * columns + c) * load(x, r * columns + c) * rstd[r];
  parts[blockIdx.y * columns + c] = sum;
}
