// Rows of logits to losses; the gradient takes their place. A block takes one row after the other: what fits of a row lies in shared memory,
// so that it is read once, and is on its way while the row before is written.
#include "async.h"
#include "loss_layout.h"

namespace {

constexpr float lowest = -3.402823466e38f;

// What a thread has seen of a row: the greatest logit, the greatest before the target, and sums of e = exp(x - top), e (x - top) and x.
struct Seen {
  float top = lowest, before = lowest, sum = 0.f, weighted = 0.f, plain = 0.f;

  __device__ __forceinline__ void raise(float to) {
    const float off = top - to, less = expf(off);
    weighted = (weighted + sum * off) * less;
    sum *= less;
    top = to;
  }
};

// Several numbers over a block of 32 warps at once; every thread gets the results. Starts and ends with a barrier.
template <int n, class T, class F>
__device__ __forceinline__ void all_over_block(T (&x)[n], F f) {
  __shared__ T of_warp[n][32];
#pragma unroll
  for (int i = 0; i < n; i++) x[i] = over_warp(x[i], f);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < n; i++)
    if (threadIdx.x % 32 == 0) of_warp[i][threadIdx.x / 32] = x[i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < n; i++) x[i] = over_warp(of_warp[i][threadIdx.x % 32], f);
}

// NaN is no greater one: it comes to light in the sums.
struct Above {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

__device__ __forceinline__ int place_in(int group, int part) { return group * loss_group + 4 * (part * loss_threads + static_cast<int>(threadIdx.x)); }

// Waits for the copies of this thread but for the `rest` last groups of them.
__device__ __forceinline__ void wait_for(int rest) {
  switch (rest) {
    case 0: return copies_wait<0>();
    case 1: return copies_wait<1>();
    case 2: return copies_wait<2>();
    case 3: return copies_wait<3>();
    case 4: return copies_wait<4>();
    case 5: return copies_wait<5>();
    default: return copies_wait<6>();
  }
}

// Four logits, -infinity in place of those beyond the vocabulary.
__device__ __forceinline__ void logits_at(const RxCrossEntropy& a, const float* from, int at, int vocabulary, float* x) {
  const float4 four = load_four(from + at);
  x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  if (a.softcap > 0.f)
#pragma unroll
    for (int e = 0; e < 4; e++) x[e] = a.softcap * tanhf(x[e] / a.softcap);
  if (at + 4 > vocabulary)
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (at + e >= vocabulary) x[e] = -INFINITY;
}

__device__ __forceinline__ void see(const RxCrossEntropy& a, const float* from, int group, int vocabulary, int target, Seen& seen) {
  float x[8], top = lowest;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    float* const four = x + 4 * part;
    const int at = place_in(group, part);
    four[0] = four[1] = four[2] = four[3] = -INFINITY;
    if (at >= vocabulary) continue;
    logits_at(a, from, at, vocabulary, four);
    const float most = fmaxf(fmaxf(four[0], four[1]), fmaxf(four[2], four[3]));
    top = fmaxf(top, most);
    if (at + 4 <= target)
      seen.before = fmaxf(seen.before, most);
    else if (at < target)
#pragma unroll
      for (int e = 0; e < 3; e++)
        if (at + e < target) seen.before = fmaxf(seen.before, four[e]);
    if (a.smoothing != 0.f)
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (at + e < vocabulary) seen.plain += four[e];
  }
  if (top > seen.top) seen.raise(top);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const float off = x[i] - seen.top, e = expf(off);
    seen.sum += e;
    // an infinite logit has no part in the entropy
    seen.weighted += e * fmaxf(off, -1e4f);
  }
}

// The gradient of a row: scale exp(x - top) - shift, and `less` less at the target, times what is left by the softcap.
struct Slopes {
  float top, scale, shift, less;
};

__device__ __forceinline__ void put(const RxCrossEntropy& a, const float* from, float* to, int group, int vocabulary, int target, const Slopes& s) {
  const int columns = (vocabulary + 7) / 8 * 8;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    const int at = place_in(group, part);
    if (at >= columns) continue;
    float x[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, y[4];
    if (at < vocabulary) logits_at(a, from, at, vocabulary, x);
#pragma unroll
    for (int e = 0; e < 4; e++) {
      y[e] = expf(x[e] - s.top) * s.scale - s.shift;
      if (at + e == target) y[e] -= s.less;
      if (a.softcap > 0.f) {
        const float tanh = x[e] / a.softcap;
        y[e] *= 1.f - tanh * tanh;
      }
    }
    if (at + 4 > vocabulary)
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (at + e >= vocabulary) y[e] = 0.f;
    const float4 four = {y[0], y[1], y[2], y[3]};
    if (a.half)
      store_four(reinterpret_cast<uint16_t*>(to) + at, four);
    else
      store_four(to + at, four);
  }
}

}  // namespace

// loss = (1 - s)(lse - logit[target]) + s (lse - mean), times p[target] held constant for dft; `gradient`: x becomes the gradient of
// weight · loss, with zeros up to a whole vector of 8. With a softcap x is softcap tanh(x / softcap) in all of it. A target outside the
// vocabulary gives NaN.
extern "C" __global__ void __launch_bounds__(1024) rx_cross_entropy(RxCrossEntropy a) {
  RX_DYNAMIC_SHARED(float, kept);
  const int vocabulary = static_cast<int>(a.vocabulary);
  const int groups = (vocabulary + loss_group - 1) / loss_group, held = a.held < groups ? a.held : groups;
  const auto fetch = [&](long row, int group) {
#pragma unroll
    for (int part = 0; part < 2; part++) {
      const int at = place_in(group, part);
      if (row < a.rows && at < vocabulary)
        copy_async_16(reinterpret_cast<uint16_t*>(kept + at), reinterpret_cast<const uint16_t*>(a.logits + row * a.ld + at), true);
    }
    copies_end();
  };
  for (int group = 0; group < held; group++) fetch(blockIdx.x, group);
  for (long row = blockIdx.x; row < a.rows; row += gridDim.x) {
    float* const x = a.logits + row * a.ld;
    const int asked = a.targets[row];
    const bool known = asked >= 0 && asked < vocabulary;
    const int target = known ? asked : 0;
    float picked = x[target];

    Seen seen;
    for (int group = 0; group < groups; group++) {
      if (group < held) wait_for(held - 1 - group);
      see(a, group < held ? kept : x, group, vocabulary, target, seen);
    }
    float most[2] = {seen.top, seen.before};
    all_over_block(most, Above());
    const float top = most[0], before = most[1];
    seen.raise(top);
    double sums[3] = {seen.sum, seen.weighted, seen.plain};
    // All have read the target's logit, and what is not held of the row, once, before any of it changes.
    all_over_block(sums, Sum());

    const double sum = sums[0], log_sum = log(sum), n = static_cast<double>(vocabulary);
    if (a.softcap > 0.f) picked = a.softcap * tanhf(picked / a.softcap);
    const double nll = log_sum - (static_cast<double>(picked) - top);
    const double smooth = a.smoothing == 0.f ? nll : (1 - a.smoothing) * nll + a.smoothing * (log_sum - (sums[2] / n - top));
    const double confidence = a.dft ? exp(-nll) : 1;
    if (threadIdx.x == 0) {
      a.loss[row] = known ? static_cast<float>(confidence * smooth) : not_a_number();
      // argmax takes the first of equals
      a.correct[row] = !known ? not_a_number() : before < picked && picked == top && sum == sum ? 1.f : 0.f;
      a.entropy[row] = known ? static_cast<float>(log_sum - sums[1] / sum) : not_a_number();
    }
    const double factor = a.gradient ? (known ? a.weights[row] * confidence : not_a_number()) : 0.;
    const Slopes slopes = {top, static_cast<float>(factor / sum), static_cast<float>(factor * a.smoothing / n), static_cast<float>(factor * (1 - a.smoothing))};
    // Numbers of half the size go where the first half of the row was: beyond what is held, before others of the row are overwritten they
    // must have been read again.
    if (a.gradient)
      for (int first = held, end; first < groups; first = end) {
        end = 2 * first < groups ? 2 * first : groups;
        if (first > held) __syncthreads();
        for (int group = first; group < end; group++) put(a, x, x, group, vocabulary, target, slopes);
      }
    for (int group = 0; group < held; group++) {
      if (a.gradient) put(a, kept, x, group, vocabulary, target, slopes);
      fetch(row + gridDim.x, group);
    }
  }
}

// total = Σ weights[i] losses[i], by one block.
extern "C" __global__ void rx_weighted_sum(const float* losses, const float* weights, float* total, long rows) {
  double sum = 0;
  for (long i = threadIdx.x; i < rows; i += blockDim.x) sum += static_cast<double>(weights[i]) * losses[i];
  sum = over_block(sum, Sum(), 0.0);
  if (threadIdx.x == 0) *total = static_cast<float>(sum);
}
