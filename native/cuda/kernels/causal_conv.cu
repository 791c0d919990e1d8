// Depthwise convolution over the tokens of each document, as native/cc/kernels/causal_conv.cc has it. A thread walks down a strip of rows with
// four channels, or one, and keeps what later rows read in registers: each number is read once, but for a few rows above each strip.
#include <type_traits>

#include "device.h"

namespace {
namespace convolution {

template <int each>
struct Channels {
  float x[each];
};

template <int each, class T>
__device__ __forceinline__ Channels<each> taken(const T* from) {
  if constexpr (each == 4) {
    const float4 x = load_four(from);
    return {x.x, x.y, x.z, x.w};
  } else {
    return {load(from)};
  }
}
template <int each>
__device__ __forceinline__ Channels<each> taken(const Values& from, long i) {
  return as_they_lie(from, i, [](const auto* at) { return taken<each>(at); });
}
template <int each>
__device__ __forceinline__ void put(const Values& to, long i, const Channels<each>& c) {
  if constexpr (each == 4)
    store_four(to, i, {c.x[0], c.x[1], c.x[2], c.x[3]});
  else
    store(to, i, c.x[0]);
}

// The document that row t is of.
__device__ __forceinline__ long document_of(const RxCausalConv& a, long t) {
  long low = 0, high = a.documents;
  while (high - low > 1) {
    const long middle = (low + high) / 2;
    (a.cu_seqlens[middle] <= t ? low : high) = middle;
  }
  return low;
}

// What of a thread's channels stays the same: factors, that of the row itself first, and bias.
template <int most, int each>
struct Factors {
  float of[most][each], bias[each];
  __device__ Factors(const RxCausalConv& a, long channel) {
#pragma unroll
    for (int e = 0; e < each; e++) {
      bias[e] = a.bias != nullptr ? a.bias[channel + e] : 0.f;
#pragma unroll
      for (int k = 0; k < most; k++) of[k][e] = k < a.taps ? a.weight[(channel + e) * a.taps + a.taps - 1 - k] : 0.f;
    }
  }
};

// Rows of x, as T.
template <int each, class T>
struct Rows {
  const T* x;
  long ld, channels;
  bool gated;
  __device__ Rows(const RxCausalConv& a, long channel)
      : x(static_cast<const T*>(a.x.at) + channel), ld(a.gated ? 3 * a.channels : a.channels), channels(a.channels), gated(a.gated != 0) {}
  __device__ __forceinline__ Channels<each> part(int which, long t) const { return taken<each>(x + t * ld + which * channels); }
  // what is convolved
  __device__ __forceinline__ Channels<each> at(long t) const {
    Channels<each> v = part(0, t);
    if (!gated) return v;
    const Channels<each> other = part(2, t);
#pragma unroll
    for (int e = 0; e < each; e++) v.x[e] *= other.x[e];
    return v;
  }
};

// The rows before t that it reads, the nearest at [1].
template <int most, int each, class T>
__device__ __forceinline__ void look_back(const Rows<each, T>& rows, int taps, long begin, long t, Channels<each> (&window)[most]) {
#pragma unroll
  for (int k = 1; k < most; k++) window[k] = k < taps && t - k >= begin ? rows.at(t - k) : Channels<each>{};
}
template <int most, int each>
__device__ __forceinline__ void step(Channels<each> (&window)[most]) {
#pragma unroll
  for (int k = most - 1; k > 0; k--) window[k] = window[k - 1];
}
template <int most, int each>
__device__ __forceinline__ float sum_of(const Factors<most, each>& factors, const Channels<each> (&window)[most], int taps, int e) {
  float sum = factors.bias[e];
#pragma unroll
  for (int k = 0; k < most; k++)
    if (k < taps) sum = fmaf(factors.of[k][e], window[k].x[e], sum);
  return sum;
}
__device__ __forceinline__ float rising(float x) { return 1.f / (1.f + expf(-x)); }

template <int most, int each, class T>
__device__ void forwards(const RxCausalConv& a, long channel) {
  const Factors<most, each> factors(a, channel);
  const Rows<each, T> rows(a, channel);
  const long from = blockIdx.x * static_cast<long>(a.strip), to = from + a.strip < a.rows ? from + a.strip : a.rows;
  long d = document_of(a, from);
  for (long t = from; t < to;) {
    while (a.cu_seqlens[d + 1] <= t) d++;
    const long begin = a.cu_seqlens[d], end = a.cu_seqlens[d + 1] < to ? a.cu_seqlens[d + 1] : to;
    Channels<each> window[most];
    look_back<most>(rows, a.taps, begin, t, window);
#pragma unroll 2
    for (; t < end; t++) {
      window[0] = rows.at(t);
      Channels<each> y;
#pragma unroll
      for (int e = 0; e < each; e++) {
        const float sum = sum_of(factors, window, a.taps, e);
        y.x[e] = a.silu ? sum * rising(sum) : sum;
      }
      if (a.gated) {
        const Channels<each> gate = rows.part(1, t);
#pragma unroll
        for (int e = 0; e < each; e++) y.x[e] *= gate.x[e];
      }
      put(a.y, t * a.channels + channel, y);
      step(window);
    }
  }
}

// d[t] = dy[t] silu'(sum at t), times the gate out, goes to dx of the rows that row t read, which leave when the last row that reads them has
// come. Sums over the strip for factors and bias lie [channels, taps], then [channels], a strip.
template <int most, int each, class T>
__device__ void backwards(const RxCausalConv& a, long channel) {
  const Factors<most, each> factors(a, channel);
  const Rows<each, T> rows(a, channel);
  const long from = blockIdx.x * static_cast<long>(a.strip), to = from + a.strip < a.rows ? from + a.strip : a.rows;
  const bool reads = a.silu || a.gated || a.parts != nullptr;
  float for_factor[most][each] = {}, for_bias[each] = {};
  long d = document_of(a, from);
  for (long t = from; t < to;) {
    while (a.cu_seqlens[d + 1] <= t) d++;
    const long begin = a.cu_seqlens[d], last = a.cu_seqlens[d + 1], first = t;
    const long end = last < to ? last : to, seen = end + a.taps - 1 < last ? end + a.taps - 1 : last;
    Channels<each> window[most], waiting[most] = {};
    if (reads) look_back<most>(rows, a.taps, begin, t, window);
    for (; t < end + most - 1; t++) {
      Channels<each> up = {};
      if (t < seen) {
        const long at = t * a.channels + channel;
        up = taken<each>(a.dy, at);
        if (reads) window[0] = rows.at(t);
        if (a.silu || a.gated) {
          Channels<each> gate, for_gate;
          if (a.gated) gate = rows.part(1, t);
#pragma unroll
          for (int e = 0; e < each; e++) {
            const float sum = sum_of(factors, window, a.taps, e), s = a.silu ? rising(sum) : 1.f;
            for_gate.x[e] = up.x[e] * sum * s;
            if (a.gated) up.x[e] *= gate.x[e];
            if (a.silu) up.x[e] *= s + sum * s * (1.f - s);
          }
          if (a.gated && t < end) put(a.dx, (3 * t + 1) * a.channels + channel, for_gate);
        }
        if (a.parts != nullptr && t < end)
#pragma unroll
          for (int e = 0; e < each; e++) {
            for_bias[e] += up.x[e];
#pragma unroll
            for (int k = 0; k < most; k++)
              if (k < a.taps) for_factor[k][e] = fmaf(up.x[e], window[k].x[e], for_factor[k][e]);
          }
        if (reads) step(window);
      }
#pragma unroll
      for (int k = 0; k < most; k++)
#pragma unroll
        for (int e = 0; e < each; e++)
          if (k < a.taps) waiting[k].x[e] = fmaf(factors.of[k][e], up.x[e], waiting[k].x[e]);
      const long leaves = t - (most - 1);
      if (leaves >= first) {
        const Channels<each> dx = waiting[most - 1];
        if (a.gated) {
          const Channels<each> in = rows.part(0, leaves), x = rows.part(2, leaves);
          Channels<each> d_in, d_x;
#pragma unroll
          for (int e = 0; e < each; e++) d_in.x[e] = dx.x[e] * x.x[e], d_x.x[e] = dx.x[e] * in.x[e];
          put(a.dx, 3 * leaves * a.channels + channel, d_in);
          put(a.dx, (3 * leaves + 2) * a.channels + channel, d_x);
        } else {
          put(a.dx, leaves * a.channels + channel, dx);
        }
      }
      step(waiting);
#pragma unroll
      for (int e = 0; e < each; e++) waiting[0].x[e] = 0.f;
    }
    t = end;
  }
  if (a.parts == nullptr) return;
  float* const parts = a.parts + blockIdx.x * a.channels * (a.taps + 1);
#pragma unroll
  for (int e = 0; e < each; e++) {
#pragma unroll
    for (int k = 0; k < most; k++)
      if (k < a.taps) parts[(channel + e) * a.taps + a.taps - 1 - k] = for_factor[k][e];
    parts[a.channels * a.taps + channel + e] = for_bias[e];
  }
}

// f(most, each, T) of the thread's first channel: four at a time where all arrays can be read so and few rows are kept.
template <int most, class F>
__device__ __forceinline__ void over_channels(const RxCausalConv& a, bool fours, F f) {
  const long channel = (static_cast<long>(blockIdx.y) * blockDim.x + threadIdx.x) * (fours ? 4 : 1);
  if (channel >= a.channels) return;
  const auto as = [&](auto kind) {
    if constexpr (most == 4)
      if (fours) return f(std::integral_constant<int, 4>(), kind, channel);
    f(std::integral_constant<int, 1>(), kind, channel);
  };
  if (a.x.half)
    as(uint16_t());
  else
    as(float());
}

}  // namespace convolution
}  // namespace

// Whether a thread has four channels is the host's choice: the grid depends on it.
extern "C" __global__ void __launch_bounds__(128) rx_causal_conv_4(RxCausalConv a) {
  convolution::over_channels<4>(a, a.fours != 0, [&](auto each, auto kind, long channel) { convolution::forwards<4, each.value, decltype(kind)>(a, channel); });
}
extern "C" __global__ void __launch_bounds__(128) rx_causal_conv_16(RxCausalConv a) {
  convolution::over_channels<16>(a, false, [&](auto each, auto kind, long channel) { convolution::forwards<16, each.value, decltype(kind)>(a, channel); });
}
extern "C" __global__ void __launch_bounds__(128) rx_causal_conv_grad_4(RxCausalConv a) {
  convolution::over_channels<4>(a, a.fours != 0, [&](auto each, auto kind, long channel) { convolution::backwards<4, each.value, decltype(kind)>(a, channel); });
}
extern "C" __global__ void __launch_bounds__(128) rx_causal_conv_grad_16(RxCausalConv a) {
  convolution::over_channels<16>(a, false, [&](auto each, auto kind, long channel) { convolution::backwards<16, each.value, decltype(kind)>(a, channel); });
}
