// The scan of Mamba in chunks of tokens, by the formulas of native/cc/kernels/selective_scan.cc. What a chunk makes of a state of zeros is found
// for all chunks at once; one thread for each number of a document's states then goes through the chunks, which decay by the sum of their
// rates; and all chunks at once go on from the states before them. Gradients of states go the same way from the last chunk to the first. No
// sum depends on the order of blocks.
#include "async.h"
#include "device.h"
#include "selective_layout.h"

namespace {
namespace selective {

constexpr int each = selective_each;
template <int lanes>
constexpr int channels_of = selective_channels(lanes);

// Four numbers of a channel's state that a thread has: s .. s + 3.
template <int lanes>
struct Place {
  long channel;
  int part, s;
  bool inside;
  __device__ Place(const RxSelective& a, long group)
      : channel(group * channels_of<lanes> + threadIdx.x / lanes), part(static_cast<int>(threadIdx.x) % lanes), s(each * part), inside(channel < a.channels) {}
  // Of states [chunks, channels, width].
  __device__ __forceinline__ float* of(const RxSelective& a, float* all, long chunk) const { return all + ((chunk * a.channels + channel) * lanes + part) * each; }
  __device__ __forceinline__ long number(const RxSelective& a, int row) const { return static_cast<long>(row) * a.channels + channel; }
};

// log(1 + e^dt); its slope is 1 - e^-rate.
__device__ __forceinline__ float rate_of(float dt) { return log1pf(expf(-fabsf(dt))) + (dt > 0.f ? dt : dt == dt ? 0.f : dt); }
__device__ __forceinline__ float slope_of(float rate) { return -expm1f(-rate); }

// Powers of two take a's logarithm once and for all: e^(rate a) = 2^(rate a / log 2).
constexpr float log_2 = 0.693147180559945f;
__device__ __forceinline__ float decay_of(float a_log) { return -expf(a_log) * (1.f / log_2); }
// Zeros where the state has no such number: what is there stays zero.
template <int lanes>
__device__ __forceinline__ void take_decays(const RxSelective& a, const Place<lanes>& at, float (&decay)[each]) {
#pragma unroll
  for (int e = 0; e < each; e++) decay[e] = at.inside && at.s + e < a.state_dim ? decay_of(a.a_log[at.channel * a.state_dim + at.s + e]) : 0.f;
}
template <int lanes>
__device__ __forceinline__ void take_state(const Place<lanes>& at, const float* from, float (&h)[each]) {
  const float4 all = at.inside ? load_four(from) : float4{0.f, 0.f, 0.f, 0.f};
  h[0] = all.x, h[1] = all.y, h[2] = all.z, h[3] = all.w;
}
// Over the threads of a channel, all of which get the sum.
template <int lanes>
__device__ __forceinline__ float over_channel(float x) {
#pragma unroll
  for (int mask = lanes / 2; mask > 0; mask >>= 1) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}

// A chunk's rows of b or c [most, width], filled up with zeros. The barrier after it is the caller's.
template <int width>
__device__ __forceinline__ void bring_rows(const RxSelective& a, const Values& from, int first, int length, int most, float* to) {
  for (int i = threadIdx.x; i < most * width; i += blockDim.x) {
    const int row = i / width, s = i % width;
    to[i] = row < length && s < a.state_dim ? load(from, static_cast<long>(first + row) * a.state_dim + s) : 0.f;
  }
}

// What a chunk makes of zeros: the state behind it, or (back) the gradient of the state before it.
template <int lanes, bool back>
__device__ void ends(const RxSelective& a) {
  constexpr int width = each * lanes, batch = 8;
  __shared__ float rows[selective_chunk * width];
  const long chunk = blockIdx.x;
  const int first = a.chunks[2 * chunk], length = a.chunks[2 * chunk + 1];
  const Place<lanes> at(a, blockIdx.y);
  bring_rows<width>(a, back ? a.c : a.b, first, length, length, rows);
  float decay[each], h[each] = {}, sum = 0.f;
  take_decays(a, at, decay);
  __syncthreads();
  for (int t = 0; t < length; t += batch) {
    float rate[batch], added[batch];
#pragma unroll
    for (int i = 0; i < batch; i++) {
      const bool in = at.inside && t + i < length;
      const long number = at.number(a, first + (back ? length - 1 - t - i : t + i));
      rate[i] = in ? rate_of(load(a.dt, number)) : 0.f;
      added[i] = !in ? 0.f : back ? load(a.dy, number) : rate[i] * load(a.x, number);
      sum += rate[i];
    }
#pragma unroll
    for (int i = 0; i < batch; i++) {
      if (t + i >= length) break;
      const float* const row = rows + (back ? length - 1 - t - i : t + i) * width + at.s;
#pragma unroll
      for (int e = 0; e < each; e++) {
        const float kept = power_of_two(rate[i] * decay[e]);
        h[e] = back ? kept * fmaf(added[i], row[e], h[e]) : fmaf(kept, h[e], added[i] * row[e]);
      }
    }
  }
  if (!at.inside) return;
  store_four(at.of(a, back ? a.d_states : a.states, chunk), {h[0], h[1], h[2], h[3]});
  if (!back && at.part == 0) a.rates[chunk * a.channels + at.channel] = sum;
}

// The state before each chunk, or (back) the gradient of that behind it, in place of what the chunks make of zeros.
template <bool back>
__device__ void join(const RxSelective& a) {
  constexpr int batch = 4;
  const int width = a.width;
  const long i = static_cast<long>(blockIdx.y) * blockDim.x + threadIdx.x, channel = i / width, document = blockIdx.x;
  const int s = static_cast<int>(i % width);
  if (channel >= a.channels || s >= a.state_dim) return;
  const long kept = (document * a.channels + channel) * a.state_dim + s, all = a.channels * width;
  const int from = a.first_chunk[document], count = a.first_chunk[document + 1] - from;
  float* const states = back ? a.d_states : a.states;
  float h = !back && a.state != nullptr ? a.state[kept] : 0.f;
  const float decay = count > 0 ? decay_of(a.a_log[channel * a.state_dim + s]) : 0.f;
  for (int first = 0; first < count; first += batch) {
    float own[batch], rate[batch];
#pragma unroll
    for (int b = 0; b < batch; b++) {
      const long chunk = from + (back ? count - 1 - first - b : first + b);
      const bool in = first + b < count;
      own[b] = in ? states[chunk * all + i] : 0.f;
      rate[b] = in ? a.rates[chunk * a.channels + channel] : 0.f;
    }
#pragma unroll
    for (int b = 0; b < batch; b++) {
      if (first + b >= count) break;
      states[(from + (back ? count - 1 - first - b : first + b)) * all + i] = h;
      h = fmaf(power_of_two(rate[b] * decay), h, own[b]);
    }
  }
  if (!back && a.last != nullptr) a.last[kept] = h;
}

template <int lanes>
__device__ void outputs(const RxSelective& a) {
  constexpr int width = each * lanes, batch = 8;
  __shared__ float rows[2 * selective_chunk * width];
  float *const b = rows, *const c = rows + selective_chunk * width;
  const long chunk = blockIdx.x;
  const int first = a.chunks[2 * chunk], length = a.chunks[2 * chunk + 1];
  const Place<lanes> at(a, blockIdx.y);
  bring_rows<width>(a, a.b, first, length, length, b);
  bring_rows<width>(a, a.c, first, length, length, c);
  float decay[each], h[each];
  take_decays(a, at, decay);
  take_state(at, at.of(a, a.states, chunk), h);
  const float skip = at.inside ? a.skip[at.channel] : 0.f;
  __syncthreads();
  for (int t = 0; t < length; t += batch) {
    float rate[batch], x[batch], y[batch];
#pragma unroll
    for (int i = 0; i < batch; i++) {
      const bool in = at.inside && t + i < length;
      const long number = at.number(a, first + t + i);
      rate[i] = in ? rate_of(load(a.dt, number)) : 0.f;
      x[i] = in ? load(a.x, number) : 0.f;
    }
#pragma unroll
    for (int i = 0; i < batch; i++) {
      if (t + i >= length) break;
      const int row = (t + i) * width + at.s;
      const float added = rate[i] * x[i];
      float read = 0.f;
#pragma unroll
      for (int e = 0; e < each; e++) {
        h[e] = fmaf(power_of_two(rate[i] * decay[e]), h[e], added * b[row + e]);
        read = fmaf(h[e], c[row + e], read);
      }
      y[i] = fmaf(skip, x[i], over_channel<lanes>(read));
    }
    // Each thread of a channel writes tokens of its own.
#pragma unroll
    for (int i = 0; i < batch; i++)
      if (at.inside && t + i < length && i % lanes == at.part) store(a.y, at.number(a, first + t + i), y[i]);
  }
}

// sums [2, width] += what the warp's threads have: gradients of b, then of c.
template <int lanes>
__device__ __forceinline__ void add_shared(const float (&own)[2 * each], int part, float* sums) {
  const int lane = threadIdx.x % 32;
  if constexpr (lanes == 32) {
#pragma unroll
    for (int v = 0; v < 2 * each; v++) sums[v / each * each * lanes + each * part + v % each] += own[v];
  } else {
    static_assert(lanes == 4, "eight channels of a warp share eight sums");
    // Half of what two threads have goes to one of them, the rest to the other; after three times each has one sum.
    float four[4], two[2];
    const bool upper = (lane & 16) != 0, second = (lane & 8) != 0, odd = (lane & 4) != 0;
#pragma unroll
    for (int v = 0; v < 4; v++) four[v] = (upper ? own[4 + v] : own[v]) + __shfl_xor_sync(0xffffffffu, upper ? own[v] : own[4 + v], 16);
#pragma unroll
    for (int v = 0; v < 2; v++) two[v] = (second ? four[2 + v] : four[v]) + __shfl_xor_sync(0xffffffffu, second ? four[v] : four[2 + v], 8);
    const float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(0xffffffffu, odd ? two[0] : two[1], 4);
    sums[(upper ? each * lanes : 0) + each * part + (second ? 2 : 0) + (odd ? 1 : 0)] += one;
  }
}

// Gradients of a chunk and of a part of the channels. What it adds to those of a_log and of skip lies where states and rates lay.
template <int lanes>
__device__ void gradients(const RxSelective& a) {
  constexpr int width = each * lanes, most = selective_chunk_back;
  RX_DYNAMIC_SHARED(float, memory);
  float *const b = memory, *const c = b + most * width, *const sums = c + most * width;  // sums: [warps, most, 2, width]
  const long chunk = blockIdx.x;
  const int first = a.chunks[2 * chunk], length = a.chunks[2 * chunk + 1];
  bring_rows<width>(a, a.b, first, length, most, b);
  bring_rows<width>(a, a.c, first, length, most, c);
  for (int i = threadIdx.x; i < selective_threads / 32 * most * 2 * width; i += blockDim.x) sums[i] = 0.f;
  __syncthreads();
  float* const of_warp = sums + threadIdx.x / 32 * most * 2 * width;
  const long groups = (a.channels + channels_of<lanes> - 1) / channels_of<lanes>, parts = a.parts, own = blockIdx.y;
  for (long group = groups * own / parts; group < groups * (own + 1) / parts; group++) {
    const Place<lanes> at(a, group);
    float *const state = at.of(a, a.states, chunk), *const d_state = at.of(a, a.d_states, chunk);
    float decay[each], h[most + 1][each], g[each], rate[most], x[most], for_log[each] = {}, for_skip = 0.f;
    take_decays(a, at, decay);
    take_state(at, state, h[0]);
    take_state(at, d_state, g);
    const float skip = at.inside ? a.skip[at.channel] : 0.f;
#pragma unroll
    for (int t = 0; t < most; t++) {
      const bool in = at.inside && t < length;
      const long number = at.number(a, first + t);
      rate[t] = in ? rate_of(load(a.dt, number)) : 0.f;
      x[t] = in ? load(a.x, number) : 0.f;
    }
#pragma unroll
    for (int t = 0; t < most; t++)
#pragma unroll
      for (int e = 0; e < each; e++)
        h[t + 1][e] = fmaf(power_of_two(rate[t] * decay[e]), h[t][e], rate[t] * x[t] * b[t * width + at.s + e]);
#pragma unroll
    for (int t = most - 1; t >= 0; t--) {
      // all threads of a warp go on or none
      if (t >= length) continue;
      const long number = at.number(a, first + t);
      const float up = at.inside ? load(a.dy, number) : 0.f, added = rate[t] * x[t];
      float read = 0.f, d_rate = 0.f, shared[2 * each];
#pragma unroll
      for (int e = 0; e < each; e++) {
        const int row = t * width + at.s + e;
        g[e] = fmaf(up, c[row], g[e]);
        shared[e] = g[e] * added;
        shared[each + e] = up * h[t + 1][e];
        read = fmaf(g[e], b[row], read);
        g[e] *= power_of_two(rate[t] * decay[e]);
        const float decayed = g[e] * h[t][e];
        d_rate = fmaf(decayed, decay[e], d_rate);
        for_log[e] = fmaf(decayed, rate[t], for_log[e]);
      }
      add_shared<lanes>(shared, at.part, of_warp + t * 2 * width);
      read = over_channel<lanes>(read);
      d_rate = over_channel<lanes>(d_rate) * log_2;
      for_skip = fmaf(up, x[t], for_skip);
      if (!at.inside || at.part != t % lanes) continue;
      store(a.d_x, number, fmaf(read, rate[t], up * skip));
      store(a.d_dt, number, fmaf(read, x[t], d_rate) * slope_of(rate[t]));
    }
    if (!at.inside) continue;
    store_four(state, {for_log[0] * decay[0] * log_2, for_log[1] * decay[1] * log_2, for_log[2] * decay[2] * log_2, for_log[3] * decay[3] * log_2});
    if (at.part == 0) a.rates[chunk * a.channels + at.channel] = for_skip;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < length * 2 * width; i += blockDim.x) {
    float sum = 0.f;
    for (int w = 0; w < selective_threads / 32; w++) sum += sums[w * most * 2 * width + i];
    a.shared[(own * a.rows + first) * 2 * width + i] = sum;
  }
}

}  // namespace selective
}  // namespace

// Gradients of b and c: the sums of all parts of the channels.
extern "C" __global__ void __launch_bounds__(256) rx_selective_shared(RxSelective a) {
  const int width = a.width;
  const long i = thread_index();
  if (i >= a.rows * 2 * a.state_dim) return;
  const Split at = split(i, a.state_dim);
  float sum = 0.f;
  for (long part = 0; part < a.parts; part++) sum += a.shared[(part * a.rows * 2 + at.whole) * width + at.rest];
  store(at.whole % 2 == 0 ? a.d_b : a.d_c, at.whole / 2 * a.state_dim + at.rest, sum);
}
// Gradients of a_log and skip: the sums of all chunks.
extern "C" __global__ void __launch_bounds__(256) rx_selective_sums(RxSelective a) {
  const int width = a.width;
  const long i = thread_index(), of_log = a.channels * a.state_dim, chunks = a.first_chunk[a.documents];
  if (i >= of_log + a.channels) return;
  const bool for_log = i < of_log;
  const Split at = split(i, a.state_dim);
  const float* const from = for_log ? a.states + at.whole * width + at.rest : a.rates + (i - of_log);
  const long ld = for_log ? a.channels * width : a.channels;
  float sum = 0.f;
  for (long chunk = 0; chunk < chunks; chunk++) sum += from[chunk * ld];
  *(for_log ? a.d_a_log + i : a.d_skip + (i - of_log)) = sum;
}

extern "C" __global__ void __launch_bounds__(256) rx_selective_join(RxSelective a) { selective::join<false>(a); }
extern "C" __global__ void __launch_bounds__(256) rx_selective_join_back(RxSelective a) { selective::join<true>(a); }

extern "C" __global__ void __launch_bounds__(128) rx_selective_ends_16(RxSelective a) { selective::ends<selective_narrow, false>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_selective_ends_128(RxSelective a) { selective::ends<selective_wide, false>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_selective_ends_back_16(RxSelective a) { selective::ends<selective_narrow, true>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_selective_ends_back_128(RxSelective a) { selective::ends<selective_wide, true>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_selective_out_16(RxSelective a) { selective::outputs<selective_narrow>(a); }
extern "C" __global__ void __launch_bounds__(128) rx_selective_out_128(RxSelective a) { selective::outputs<selective_wide>(a); }
extern "C" __global__ void __launch_bounds__(128, 2) rx_selective_grad_16(RxSelective a) { selective::gradients<selective_narrow>(a); }
extern "C" __global__ void __launch_bounds__(128, 2) rx_selective_grad_128(RxSelective a) { selective::gradients<selective_wide>(a); }
