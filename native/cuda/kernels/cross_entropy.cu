// Rows of logits to losses; the gradient takes their place. A block a row.
#include "device.h"

// loss = (1 - s)(lse - logit[target]) + s (lse - mean), times p[target] held constant for dft; `gradient`: x becomes the gradient of
// weight · loss. With a softcap x is softcap tanh(x / softcap) in all of it. A target outside the vocabulary gives NaN.
extern "C" __global__ void rx_cross_entropy(float* logits, long ld, long vocabulary, const int32_t* targets, const float* weights,
                                            float smoothing, float softcap, int dft, int gradient, float* loss, float* correct, float* entropy) {
  const long row = blockIdx.x;
  float* const x = logits + row * ld;
  const long target = targets[row];
  if (target < 0 || target >= vocabulary) {
    if (gradient)
      for (long i = threadIdx.x; i < vocabulary; i += blockDim.x) x[i] = not_a_number();
    if (threadIdx.x == 0) loss[row] = correct[row] = entropy[row] = not_a_number();
    return;
  }
  // Each thread reads what it wrote, and the target's logit after the sums below have met.
  if (softcap > 0.f)
    for (long i = threadIdx.x; i < vocabulary; i += blockDim.x) x[i] = softcap * tanhf(x[i] / softcap);
  float top = -INFINITY, before = -INFINITY;
  for (long i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    top = Greater()(x[i], top);
    if (i < target) before = Greater()(x[i], before);
  }
  top = over_block(top, Greater(), -INFINITY);
  before = over_block(before, Greater(), -INFINITY);
  double sum = 0, weighted = 0, plain = 0;
  for (long i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    const float off = x[i] - top;
    const float e = expf(off);
    sum += e;
    // an infinite logit has no part in the entropy
    if (e > 0.f || e != e) weighted += static_cast<double>(e) * off;
    plain += off;
  }
  sum = over_block(sum, Sum(), 0.0);
  weighted = over_block(weighted, Sum(), 0.0);
  plain = over_block(plain, Sum(), 0.0);
  const float picked = x[target];
  const double log_sum = log(sum);
  const double nll = log_sum - (static_cast<double>(picked) - top);
  const double smooth = smoothing == 0.f ? nll : (1 - smoothing) * nll + smoothing * (log_sum - plain / static_cast<double>(vocabulary));
  const double confidence = dft ? exp(-nll) : 1;
  // All have read the target's logit before it changes.
  __syncthreads();
  if (gradient) {
    const double factor = weights[row] * confidence;
    const float scale = static_cast<float>(factor / sum), shift = static_cast<float>(factor * smoothing / static_cast<double>(vocabulary));
    const float less = static_cast<float>(factor * (1 - smoothing));
    for (long i = threadIdx.x; i < vocabulary; i += blockDim.x) {
      const float slope = expf(x[i] - top) * scale - shift - (i == target ? less : 0.f);
      const float tanh = softcap > 0.f ? x[i] / softcap : 0.f;
      x[i] = slope * (1.f - tanh * tanh);
    }
  }
  if (threadIdx.x == 0) {
    loss[row] = static_cast<float>(confidence * smooth);
    // argmax takes the first of equals
    correct[row] = before < picked && picked == top ? 1.f : 0.f;
    entropy[row] = static_cast<float>(log_sum - weighted / sum);
  }
}

// total = Σ weights[i] losses[i], by one block.
extern "C" __global__ void rx_weighted_sum(const float* losses, const float* weights, float* total, long rows) {
  double sum = 0;
  for (long i = threadIdx.x; i < rows; i += blockDim.x) sum += static_cast<double>(weights[i]) * losses[i];
  sum = over_block(sum, Sum(), 0.0);
  if (threadIdx.x == 0) *total = static_cast<float>(sum);
}
