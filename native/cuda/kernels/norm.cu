// Layer and root-mean-square normalisation of rows, a block a row; gains and biases get their gradients in two steps: sums over bands
// of rows, then over the bands (rx_add_parts).
#include "device.h"

// y = (x - mean) rstd gain + bias
extern "C" __global__ void rx_layer_norm(const float* x, const float* gain, const float* bias, float* y, float* mean, float* rstd,
                                         long columns, float eps) {
  const long row = blockIdx.x;
  const float* const from = x + row * columns;
  float sum = 0;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) sum += from[c];
  const float average = over_block(sum, Sum(), 0.f) / static_cast<float>(columns);
  float squares = 0;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) squares += (from[c] - average) * (from[c] - average);
  const float scale = 1.f / sqrtf(over_block(squares, Sum(), 0.f) / static_cast<float>(columns) + eps);
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float value = (from[c] - average) * scale * gain[c];
    y[row * columns + c] = bias != nullptr ? value + bias[c] : value;
  }
  if (threadIdx.x == 0) {
    mean[row] = average;
    rstd[row] = scale;
  }
}

// dx = rstd (g - mean(g) - u mean(g u)) + residual with g = dy gain, u = (x - mean) rstd; dx may be dy or residual.
extern "C" __global__ void rx_layer_norm_grad(const float* dy, const float* x, const float* gain, const float* mean, const float* rstd,
                                              const float* residual, float* dx, long columns) {
  const long row = blockIdx.x;
  const long first = row * columns;
  const float average = mean[row], scale = rstd[row];
  float plain = 0, along = 0;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float g = dy[first + c] * gain[c];
    plain += g;
    along += g * (x[first + c] - average) * scale;
  }
  const float a = over_block(plain, Sum(), 0.f) / static_cast<float>(columns);
  const float b = over_block(along, Sum(), 0.f) / static_cast<float>(columns);
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float g = dy[first + c] * gain[c];
    const float d = scale * (g - a - (x[first + c] - average) * scale * b);
    dx[first + c] = residual != nullptr ? d + residual[first + c] : d;
  }
}

// parts [bands, 2 columns]: sums of dy u, then of dy, over `band` rows.
extern "C" __global__ void rx_layer_norm_parts(const float* dy, const float* x, const float* mean, const float* rstd, float* parts,
                                               long rows, long columns, long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float for_gain = 0, for_bias = 0;
  for (long r = first; r < end; r++) {
    const float d = dy[r * columns + c];
    for_gain += d * (x[r * columns + c] - mean[r]) * rstd[r];
    for_bias += d;
  }
  parts[blockIdx.y * 2 * columns + c] = for_gain;
  parts[(blockIdx.y * 2 + 1) * columns + c] = for_bias;
}

// y = x rstd (gain + offset)
extern "C" __global__ void rx_rms_norm(const float* x, const float* gain, float* y, float* rstd, long columns, float eps, float offset) {
  const long row = blockIdx.x;
  const float* const from = x + row * columns;
  float squares = 0;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) squares += from[c] * from[c];
  const float scale = 1.f / sqrtf(over_block(squares, Sum(), 0.f) / static_cast<float>(columns) + eps);
  for (long c = threadIdx.x; c < columns; c += blockDim.x) y[row * columns + c] = from[c] * scale * (gain[c] + offset);
  if (threadIdx.x == 0) rstd[row] = scale;
}

// dx = rstd (g - u mean(g u)) + residual with g = dy (gain + offset), u = x rstd
extern "C" __global__ void rx_rms_norm_grad(const float* dy, const float* x, const float* gain, const float* rstd,
                                            const float* residual, float* dx, long columns, float offset) {
  const long row = blockIdx.x;
  const long first = row * columns;
  const float scale = rstd[row];
  float along = 0;
  for (long c = threadIdx.x; c < columns; c += blockDim.x) along += dy[first + c] * (gain[c] + offset) * x[first + c] * scale;
  const float b = over_block(along, Sum(), 0.f) / static_cast<float>(columns);
  for (long c = threadIdx.x; c < columns; c += blockDim.x) {
    const float d = scale * (dy[first + c] * (gain[c] + offset) - x[first + c] * scale * b);
    dx[first + c] = residual != nullptr ? d + residual[first + c] : d;
  }
}

// parts [bands, columns]: sums of dy u over `band` rows.
extern "C" __global__ void rx_rms_norm_parts(const float* dy, const float* x, const float* rstd, float* parts, long rows, long columns,
                                             long band) {
  const long c = thread_index();
  if (c >= columns) return;
  const long first = blockIdx.y * band, end = first + band < rows ? first + band : rows;
  float sum = 0;
  for (long r = first; r < end; r++) sum += dy[r * columns + c] * x[r * columns + c] * rstd[r];
  parts[blockIdx.y * columns + c] = sum;
}
