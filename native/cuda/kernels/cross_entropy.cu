// Rows of logits to losses; the gradient takes their place. A block takes one row after the other: what fits of a row lies in shared memory,
// so that it is read once, and is on its way while the row before is worked on.
#include "async.h"
#include "loss_layout.h"

namespace {

constexpr float lowest = -3.402823466e38f;

// e^x: to 2^-22 or so, and to 1e-6 of what hardly counts.
__device__ __forceinline__ float power_of_e(float x) { return power_of_two(x * 1.44269504f); }

// What has been seen of a row: the greatest logit, the greatest before the target, and sums of e = exp(x - top), e (x - top) and x.
struct Seen {
  float top = lowest, before = lowest, sum = 0.f, weighted = 0.f, plain = 0.f;

  __device__ __forceinline__ void raise(float to) {
    const float off = top - to, less = power_of_e(off);
    weighted = (weighted + sum * off) * less;
    sum *= less;
    top = to;
  }
};

// NaN is no greater one: it comes to light in the sums.
struct Above {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Of all lanes; each gets the result.
__device__ __forceinline__ void see_warp(Seen& seen) {
  seen.raise(over_warp(seen.top, Above()));
  seen.before = over_warp(seen.before, Above());
  seen.sum = over_warp(seen.sum, Sum());
  seen.weighted = over_warp(seen.weighted, Sum());
  seen.plain = over_warp(seen.plain, Sum());
}

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

// Logits at .. at + 3, which lie at `from`: -infinity in place of those beyond the vocabulary.
template <bool capped>
__device__ __forceinline__ void four_logits(const RxCrossEntropy& a, const float* from, int at, int vocabulary, float* x) {
  const float4 four = load_four(from);
  x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  if (capped)
#pragma unroll
    for (int e = 0; e < 4; e++) x[e] = a.softcap * tanhf(x[e] / a.softcap);
  if (at + 4 > vocabulary)
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (at + e >= vocabulary) x[e] = -INFINITY;
}

// Logits of a group, the first of which lies at `from`.
template <bool capped>
__device__ __forceinline__ void see(const RxCrossEntropy& a, const float* from, int group, int vocabulary, int target, Seen& seen) {
  float x[8], top = lowest;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    float* const four = x + 4 * part;
    const int at = place_in(group, part);
    four[0] = four[1] = four[2] = four[3] = -INFINITY;
    if (at >= vocabulary) continue;
    four_logits<capped>(a, from + place_in(0, part), at, vocabulary, four);
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
    const float off = x[i] - seen.top, e = power_of_e(off);
    seen.sum += e;
    // an infinite logit has no part in the entropy
    seen.weighted += e * fmaxf(off, -1e4f);
  }
}

// The gradient of a row: scale exp(x - top) - shift, and `less` less at the target, times what is left by the softcap.
struct Slopes {
  float top, scale, shift, less;
};

template <bool capped>
__device__ __forceinline__ void put(const RxCrossEntropy& a, const float* from, float* row, int group, int vocabulary, int target, const Slopes& s) {
  const int columns = (vocabulary + 7) / 8 * 8;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    const int at = place_in(group, part);
    if (at >= columns) continue;
    float x[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, y[4];
    if (at < vocabulary) four_logits<capped>(a, from + place_in(0, part), at, vocabulary, x);
#pragma unroll
    for (int e = 0; e < 4; e++) y[e] = power_of_e(x[e] - s.top) * s.scale - s.shift;
    if (target >= at && target < at + 4)
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (at + e == target) y[e] -= s.less;
    if (capped)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float tanh = x[e] / a.softcap;
        y[e] *= 1.f - tanh * tanh;
      }
    if (at + 4 > vocabulary)
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (at + e >= vocabulary) y[e] = 0.f;
    const float4 four = {y[0], y[1], y[2], y[3]};
    if (a.half)
      store_four(reinterpret_cast<uint16_t*>(row) + at, four);
    else
      store_four(row + at, four);
  }
}

// What is told of a row beside its logits.
struct Asked {
  int target;
  float weight;
};

// Groups of rows come to the `slots` places of `kept` one after the other, in the order in which they are wanted: so the next row's are on
// their way while there is room. A thread copies and reads the same numbers, and waits for nobody but once a row.
template <bool capped>
__device__ __forceinline__ void all_rows(const RxCrossEntropy& a, float* kept, float (*of_warp)[5][32]) {
  const int vocabulary = static_cast<int>(a.vocabulary), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int groups = (vocabulary + loss_group - 1) / loss_group, slots = a.slots, held = slots < groups ? slots : groups;
  long coming_row = blockIdx.x;
  int coming_group = 0, coming_slot = 0;
  const auto fetch = [&] {
#pragma unroll
    for (int part = 0; part < 2; part++) {
      const int at = place_in(coming_group, part);
      if (coming_row < a.rows && at < vocabulary)
        copy_async_16(reinterpret_cast<uint16_t*>(kept + coming_slot * loss_group + place_in(0, part)),
                      reinterpret_cast<const uint16_t*>(a.logits + coming_row * a.ld + at), true);
    }
    copies_end();
    if (++coming_slot == slots) coming_slot = 0;
    if (++coming_group == held) coming_group = 0, coming_row += gridDim.x;
  };
  const auto ask = [&](long row) -> Asked {
    if (row >= a.rows) return {0, 0.f};
    return {a.targets[row], a.gradient ? a.weights[row] : 0.f};
  };
  for (int i = 0; i < slots; i++) fetch();
  Asked asked = ask(blockIdx.x);
  int slot = 0, parity = 0;
  const auto after = [&](int s) { return s + 1 == slots ? 0 : s + 1; };
  for (long row = blockIdx.x; row < a.rows; row += gridDim.x) {
    float* const x = a.logits + row * a.ld;
    const Asked next = ask(row + gridDim.x);
    const bool known = asked.target >= 0 && asked.target < vocabulary;
    const int target = known ? asked.target : 0;
    float picked = x[target];

    Seen seen;
    int from = slot;
    for (int group = 0; group < held; group++, from = after(from)) {
      wait_for(slots - 1 - group);
      see<capped>(a, kept + from * loss_group, group, vocabulary, target, seen);
    }
    for (int group = held; group < groups; group++) see<capped>(a, x + group * loss_group, group, vocabulary, target, seen);

    // What the warps have seen goes to one of two places in turn: who is ahead writes to the other one.
    see_warp(seen);
    float(*const of)[32] = of_warp[parity];
    parity ^= 1;
    if (lane == 0) of[0][warp] = seen.top, of[1][warp] = seen.before, of[2][warp] = seen.sum, of[3][warp] = seen.weighted, of[4][warp] = seen.plain;
    // All have read the target's logit, and what is not held of the row, once, before any of it changes.
    __syncthreads();
    seen.top = of[0][lane], seen.before = of[1][lane], seen.sum = of[2][lane], seen.weighted = of[3][lane], seen.plain = of[4][lane];
    see_warp(seen);

    if (capped) picked = a.softcap * tanhf(picked / a.softcap);
    const float sum = seen.sum, top = seen.top, n = static_cast<float>(vocabulary), nll = logf(sum) - (picked - top), confidence = a.dft ? expf(-nll) : 1.f;
    if (threadIdx.x == 0) {
      const float even = logf(sum) - (seen.plain / n - top), smooth = a.smoothing == 0.f ? nll : (1.f - a.smoothing) * nll + a.smoothing * even;
      a.loss[row] = known ? confidence * smooth : not_a_number();
      // argmax takes the first of equals
      a.correct[row] = !known ? not_a_number() : seen.before < picked && picked == top && sum == sum ? 1.f : 0.f;
      a.entropy[row] = known ? logf(sum) - seen.weighted / sum : not_a_number();
    }
    const float factor = known ? asked.weight * confidence : not_a_number();
    const Slopes slopes = {top, factor / sum, factor * a.smoothing / n, factor * (1.f - a.smoothing)};
    // Numbers of half the size go where the first half of the row was: beyond what is held, before others of the row are overwritten they
    // must have been read again.
    if (a.gradient)
      for (int first = held, end; first < groups; first = end) {
        end = 2 * first < groups ? 2 * first : groups;
        if (first > held) __syncthreads();
        for (int group = first; group < end; group++) put<capped>(a, x + group * loss_group, x, group, vocabulary, target, slopes);
      }
    for (int group = 0; group < held; group++, slot = after(slot)) {
      if (a.gradient) put<capped>(a, kept + slot * loss_group, x, group, vocabulary, target, slopes);
      fetch();
    }
    asked = next;
  }
}

}  // namespace

// loss = (1 - s)(lse - logit[target]) + s (lse - mean), times p[target] held constant for dft; `gradient`: x becomes the gradient of
// weight · loss, with zeros up to a whole vector of 8. With a softcap x is softcap tanh(x / softcap) in all of it. A target outside the
// vocabulary gives NaN.
extern "C" __global__ void __launch_bounds__(1024) rx_cross_entropy(RxCrossEntropy a) {
  RX_DYNAMIC_SHARED(float, kept);
  __shared__ float of_warp[2][5][32];
  if (a.softcap > 0.f)
    all_rows<true>(a, kept, of_warp);
  else
    all_rows<false>(a, kept, of_warp);
}

// total = Σ weights[i] losses[i], by one block.
extern "C" __global__ void rx_weighted_sum(const float* losses, const float* weights, float* total, long rows) {
  double sum = 0;
  for (long i = threadIdx.x; i < rows; i += blockDim.x) sum += static_cast<double>(weights[i]) * losses[i];
  sum = over_block(sum, Sum(), 0.0);
  if (threadIdx.x == 0) *total = static_cast<float>(sum);
}
