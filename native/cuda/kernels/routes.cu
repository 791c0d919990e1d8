// The routes of a mixture (native/cc/routes.h), as the processor makes them: a warp chooses the experts of a token, probabilities in double
// precision; then the pairs are laid in order of experts by counting, each expert's by a thread that looks for its own. No order depends on
// which thread is first. Lane l of a warp has experts l, l + 32, …: what it keeps of them in shared memory nobody else reads.
#include "device.h"

namespace {

constexpr int pairs_a_tile = 512;

// In order of x and, among equal ones, of the lower number first; of all different, and more than 0. NaN comes last.
__device__ __forceinline__ uint64_t route_key(float x, long number) {
  const uint32_t bits = bits_of(x + 0.f);  // -0 is 0
  const uint32_t ordered = x != x ? 0u : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(number));
}
__device__ __forceinline__ long number_of(uint64_t key) { return 0xffffffffu - static_cast<uint32_t>(key); }

struct LargerKey {
  __device__ __forceinline__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};
// The largest key below `last` of n values, of which this lane looks at its own.
__device__ __forceinline__ uint64_t next_key(const float* values, long n, uint64_t last, int lane) {
  uint64_t best = 0;
  for (long e = lane; e < n; e += 32) {
    const uint64_t key = route_key(values[e], e);
    if (key < last && key > best) best = key;
  }
  return over_warp(best, LargerKey());
}
// values[e], of the lane that has it.
__device__ __forceinline__ float value_at(const float* values, long e, int lane) {
  return __shfl_sync(0xffffffffu, e % 32 == lane ? values[e] : 0.f, static_cast<int>(e % 32));
}

// What experts of groups that are not among the best become -infinity in. All warps of the block come here; `worth` has a number a group.
__device__ void close_groups(const Routes& a, float* ranks, float* worth, int lane, bool here) {
  const long size = a.experts / a.groups;
  __syncthreads();
  if (here)
    for (long g = lane; g < a.groups; g += 32) {
      const float* const own = ranks + g * size;
      uint64_t best = 0, second = 0;
      for (long e = 0; e < size; e++) {
        const uint64_t key = route_key(own[e], e);
        if (key > best) {
          second = best;
          best = key;
        } else if (key > second) {
          second = key;
        }
      }
      worth[g] = a.best > 1 ? own[number_of(best)] + own[number_of(second)] : own[number_of(best)];
    }
  __syncthreads();
  if (!here) return;
  uint64_t last = ~0ull;
  for (long i = 0; i < a.open; i++) {
    uint64_t best = 0;
    for (long g = lane; g < a.groups; g += 32) {
      const uint64_t key = route_key(worth[g], g);
      if (key < last && key > best) best = key;
    }
    last = over_warp(best, LargerKey());
  }
  for (long e = lane; e < a.experts; e += 32)
    if (route_key(worth[e / size], e / size) < last) ranks[e] = -INFINITY;
}

__device__ __forceinline__ double route_divisor(double sum, double least) { return sum < least ? least : sum; }

// d_logits of a lane's own experts, from d of their probabilities.
__device__ void through_softmax(const float* probabilities, const double* d, long experts, float* d_logits, int lane) {
  double mean = 0;
  for (long e = lane; e < experts; e += 32) mean += probabilities[e] * d[e];
  mean = over_warp(mean, Sum());
  for (long e = lane; e < experts; e += 32) d_logits[e] = static_cast<float>(probabilities[e] * (d[e] - mean));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) rx_routes(Routes a) {
  RX_DYNAMIC_SHARED(float, room);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long token = static_cast<long>(blockIdx.x) * 8 + warp;
  const bool here = token < a.tokens;
  float* const own = room + warp * (2 * a.experts + a.groups + a.each);
  float *const probabilities = own, *const ranks = own + a.experts, *const worth = ranks + a.experts, *const taken = worth + a.groups;
  const float* const logits = a.logits + token * a.experts;
  if (here) {
    double largest = 0, sum = 1;
    if (!a.sigmoid) {
      float most = -INFINITY;
      for (long e = lane; e < a.experts; e += 32) most = Greater()(logits[e], most);
      largest = over_warp(most, Greater());
      sum = 0;
    }
    for (long e = lane; e < a.experts; e += 32) {
      const double logit = logits[e], power = exp(a.sigmoid ? -logit : logit - largest);
      probabilities[e] = static_cast<float>(a.sigmoid ? 1 / (1 + power) : power);
      sum += power;
    }
    if (!a.sigmoid) sum = over_warp(sum, Sum());
    for (long e = lane; e < a.experts; e += 32) {
      // Logits tell apart what probabilities round to the same.
      if (!a.sigmoid) probabilities[e] = static_cast<float>(probabilities[e] / sum);
      a.probabilities[token * a.experts + e] = probabilities[e];
      ranks[e] = a.correction != nullptr ? probabilities[e] + a.correction[e] : a.groups > 0 ? probabilities[e] : logits[e];
    }
  }
  if (a.groups > 0) close_groups(a, ranks, worth, lane, here);
  if (!here) return;
  uint64_t last = ~0ull;
  double mass = 0;
  for (long j = 0; j < a.each; j++) {
    last = next_key(ranks, a.experts, last, lane);
    const long expert = number_of(last), pair = token * a.each + j;
    if (lane == 0) a.chosen[pair] = static_cast<int32_t>(expert);
    if (!a.mixed) {
      const float probability = value_at(probabilities, expert, lane);
      mass += probability;
      if (j % 32 == lane) taken[j] = probability;
      continue;
    }
    // A softmax of its own, over what comes close to it and was not chosen before it.
    const double best = logits[expert];
    double sum = 0;
    for (long e = lane; e < a.experts; e += 32) {
      const double logit = logits[e], size = fabs(logit);
      const bool out = (best - logit) / (size > best ? size : best) > a.tolerance || route_key(ranks[e], e) > last;
      const double part = out ? 0 : exp(logit - best);
      probabilities[e] = static_cast<float>(part);
      sum += part;
    }
    sum = over_warp(sum, Sum());
    for (long e = lane; e < a.experts; e += 32) {
      probabilities[e] = static_cast<float>(probabilities[e] / sum);
      a.shares[pair * a.experts + e] = probabilities[e];
      if (e == expert) a.weights[pair] = probabilities[e];
    }
  }
  if (a.mixed) return;
  const double divisor = a.normalized ? route_divisor(mass, a.least_sum) : 1;
  for (long j = lane; j < a.each; j += 32) a.weights[token * a.each + j] = static_cast<float>(taken[j] / divisor * a.factor);
}

// counts [pieces, experts]: how often each expert is among the `piece` pairs of each block.
extern "C" __global__ void __launch_bounds__(512) rx_route_counts(const int32_t* chosen, int32_t* counts, long pairs, long experts, long piece) {
  __shared__ int32_t tile[pairs_a_tile];
  const long from = blockIdx.x * piece, end = from + piece < pairs ? from + piece : pairs;
  for (long first = 0; first < experts; first += blockDim.x) {
    const long expert = first + threadIdx.x;
    int32_t count = 0;
    for (long at = from; at < end; at += pairs_a_tile) {
      const int n = static_cast<int>(end - at < pairs_a_tile ? end - at : pairs_a_tile);
      __syncthreads();
      for (int i = threadIdx.x; i < n; i += blockDim.x) tile[i] = chosen[at + i];
      __syncthreads();
      for (int i = 0; i < n; i++) count += tile[i] == expert;
    }
    if (expert < experts) counts[blockIdx.x * experts + expert] = count;
  }
}

// Where each pair lies: an expert's behind those of the experts before it, in order. The first block tells how many each expert has.
extern "C" __global__ void __launch_bounds__(512, 1) rx_route_places(const int32_t* counts, Routes a, long piece) {
  RX_DYNAMIC_SHARED(int32_t, total);
  __shared__ int32_t tile[pairs_a_tile];
  for (long e = threadIdx.x; e < a.experts; e += blockDim.x) {
    int32_t sum = 0;
    for (long p = 0; p < gridDim.x; p++) sum += counts[p * a.experts + e];
    total[e] = sum;
    if (blockIdx.x == 0) a.counts[e] = sum;
  }
  __syncthreads();
  const long pairs = a.tokens * a.each, from = blockIdx.x * piece, end = from + piece < pairs ? from + piece : pairs;
  for (long first = 0; first < a.experts; first += blockDim.x) {
    const long expert = first + threadIdx.x;
    int32_t next = 0;
    if (expert < a.experts) {
      for (long e = 0; e < expert; e++) next += total[e];
      for (long p = 0; p < blockIdx.x; p++) next += counts[p * a.experts + expert];
    }
    for (long at = from; at < end; at += pairs_a_tile) {
      const int n = static_cast<int>(end - at < pairs_a_tile ? end - at : pairs_a_tile);
      __syncthreads();
      for (int i = threadIdx.x; i < n; i += blockDim.x) tile[i] = a.chosen[at + i];
      __syncthreads();
      for (int i = 0; i < n; i++) {
        if (tile[i] != expert) continue;
        const int32_t pair = static_cast<int32_t>(at + i);
        a.places[pair] = next;
        a.order[next] = pair;
        a.rows[next] = pair / static_cast<int32_t>(a.each);
        next++;
      }
    }
  }
}

// A warp a token. Which experts are chosen is constant.
extern "C" __global__ void __launch_bounds__(256) rx_routes_grad(RoutesGrad a) {
  RX_DYNAMIC_SHARED(double, room);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long token = static_cast<long>(blockIdx.x) * 8 + warp;
  if (token >= a.tokens) return;
  double* const d = room + warp * a.experts;
  const float* const probabilities = a.probabilities + token * a.experts;
  const int32_t* const chosen = a.chosen + token * a.each;
  const float *const weights = a.weights + token * a.each, *const d_weights = a.d_weights + token * a.each;
  float* const d_logits = a.d_logits + token * a.experts;
  for (long e = lane; e < a.experts; e += 32) d[e] = a.slopes != nullptr ? a.slopes[e] : 0;
  if (a.shares != nullptr) {
    const float* const shares = a.shares + token * a.each * a.experts;
    double mean = 0;
    for (long e = lane; e < a.experts; e += 32) mean += probabilities[e] * d[e];
    mean = over_warp(mean, Sum());
    for (long e = lane; e < a.experts; e += 32) {
      float sum = static_cast<float>(probabilities[e] * (d[e] - mean));
      for (long j = 0; j < a.each; j++)
        sum = static_cast<float>(sum + static_cast<double>(d_weights[j]) * weights[j] * ((e == chosen[j] ? 1. : 0.) - shares[j * a.experts + e]));
      d_logits[e] = sum;
    }
    return;
  }
  double mass = 0, shift = 0;
  if (a.normalized) {
    for (long j = 0; j < a.each; j++) mass += probabilities[chosen[j]];
    // A sum that is held up is constant.
    if (!(mass < a.least_sum))
      for (long j = 0; j < a.each; j++) shift += static_cast<double>(weights[j]) * d_weights[j];
  }
  const double divisor = a.normalized ? route_divisor(mass, a.least_sum) : 1;
  for (long j = 0; j < a.each; j++)
    if (chosen[j] % 32 == lane) d[chosen[j]] += (a.factor * d_weights[j] - shift) / divisor;
  if (a.sigmoid) {
    for (long e = lane; e < a.experts; e += 32) {
      const double probability = probabilities[e];
      d_logits[e] = static_cast<float>(probability * (1 - probability) * d[e]);
    }
    return;
  }
  through_softmax(probabilities, d, a.experts, d_logits, lane);
}
