// Depthwise convolution over the tokens of each document, of a row and the taps - 1 before it: y[t] = Σ_k w[taps - 1 - k] x[t - k] + bias, then
// SiLU where asked for; x and y may have gates. A vector of channels walks down the rows; what is cut among threads is a chunk of rows and one of channels.
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

constexpr long chunk_rows = 128, chunk_channels = 128;

struct Chunk {
  long from, to;  // rows
  long first, width;  // channels
};
RX_INLINE Chunk chunk_at(const CausalConv* conv, long part) {
  const long across = parts_of(conv->channels, chunk_channels);
  const long row = part / across * chunk_rows, channel = part % across * chunk_channels;
  return {row, smaller(conv->rows, row + chunk_rows), channel, smaller(chunk_channels, conv->channels - channel)};
}
RX_INLINE long chunks_of(const CausalConv* conv) {
  return parts_of(conv->rows, chunk_rows) * parts_of(conv->channels, chunk_channels);
}

// Calls body(begin, end, from, to) for every document that has rows of the chunk: from .. to - 1 are those, begin .. end - 1 all it has.
template <class F>
RX_INLINE void each_document(const CausalConv* conv, const Chunk& chunk, F body) {
  for (long d = 0; d < conv->documents; d++) {
    const long begin = conv->cu_seqlens[d], end = conv->cu_seqlens[d + 1];
    const long from = greater(begin, chunk.from), to = smaller(end, chunk.to);
    if (from < to) body(begin, end, from, to);
  }
}

// Factors of a vector of channels, that of the row itself first.
template <class Lanes>
RX_INLINE void take_factors(const Lanes& lanes, const CausalConv* conv, long channel, vf* factors) {
  for (long k = 0; k < conv->taps; k++) {
    vf factor = {};
    for (long j = 0; j < lanes.count(); j++) factor[j] = conv->weight[(channel + j) * conv->taps + conv->taps - 1 - k];
    factors[k] = factor;
  }
}

// Number `channel` of row t, of part `part` of x.
template <class Lanes>
RX_INLINE vf take_part(const Lanes& lanes, const CausalConv* conv, int part, long t, long channel) {
  return take(lanes, conv->x, t * 3 * conv->channels + part * conv->channels + channel);
}
// What is convolved.
template <class Lanes>
RX_INLINE vf take_x(const Lanes& lanes, const CausalConv* conv, long t, long channel) {
  if (!conv->gated) return take(lanes, conv->x, t * conv->channels + channel);
  return take_part(lanes, conv, 0, t, channel) * take_part(lanes, conv, 2, t, channel);
}

// The sum at row t of a document that begins at `begin`.
template <class Lanes>
RX_INLINE vf sum_at(const Lanes& lanes, const CausalConv* conv, const vf* factors, vf bias, long channel, long begin, long t) {
  const long taps = smaller(conv->taps, t - begin + 1);
  vf sum = bias;
  for (long k = 0; k < taps; k++) sum = fma(factors[k], take_x(lanes, conv, t - k, channel), sum);
  return sum;
}

void causal_conv(const Context* context, const CausalConv* conv) {
  parallel(context, chunks_of(conv), [=](long part) {
    const Chunk chunk = chunk_at(conv, part);
    each_vector(chunk.width, [&](long i, auto lanes) {
      const long channel = chunk.first + i;
      vf factors[CAUSAL_CONV_TAPS];
      take_factors(lanes, conv, channel, factors);
      const vf bias = conv->bias ? lanes.load(conv->bias + channel) : vf{};
      each_document(conv, chunk, [&](long begin, long, long from, long to) {
        for (long t = from; t < to; t++) {
          const vf sum = sum_at(lanes, conv, factors, bias, channel, begin, t);
          const vf y = conv->silu ? sum * vsigmoid(sum) : sum;
          put(lanes, conv->y, t * conv->channels + channel, conv->gated ? y * take_part(lanes, conv, 1, t, channel) : y);
        }
      });
    });
  });
}

// d[t] = dy[t] silu'(sum at t), times the gate out; dx[t] = Σ_k w[taps - 1 - k] d[t + k]; dw[taps - 1 - k] = Σ_t d[t] x[t - k]. Sums over rows are taken chunk by
// chunk and the chunks added in order.
void causal_conv_grad(const Context* context, const CausalConv* conv) {
  const long sums_a_channel = conv->taps + 1, across = parts_of(conv->channels, chunk_channels);
  const long row_chunks = parts_of(conv->rows, chunk_rows);
  // Of each chunk of rows: the gradients of the factors, that of the row itself first, and then of the bias, a row of channels each.
  const long width = across * chunk_channels;
  float* const sums =
      conv->d_weight || conv->d_bias
          ? (float*)scratch_get(context->scratch, SCRATCH_KERNEL, greater(row_chunks, 1) * sums_a_channel * width * sizeof(float))
          : nullptr;
  parallel(context, chunks_of(conv), [=](long part) {
    const Chunk chunk = chunk_at(conv, part);
    each_vector(chunk.width, [&](long i, auto lanes) {
      const long channel = chunk.first + i;
      vf factors[CAUSAL_CONV_TAPS], d_factors[CAUSAL_CONV_TAPS], d[chunk_rows + CAUSAL_CONV_TAPS];
      take_factors(lanes, conv, channel, factors);
      for (long k = 0; k < conv->taps; k++) d_factors[k] = vf{};
      const vf bias = conv->bias ? lanes.load(conv->bias + channel) : vf{};
      vf d_bias = {};
      each_document(conv, chunk, [&](long begin, long end, long from, long to) {
        // Rows after the chunk read rows of it.
        const long last = smaller(end, to + conv->taps - 1);
        for (long t = from; t < last; t++) {
          vf up = take(lanes, conv->dy, t * conv->channels + channel);
          if (conv->silu || conv->gated) {
            const vf sum = sum_at(lanes, conv, factors, bias, channel, begin, t);
            const vf s = conv->silu ? vsigmoid(sum) : vset(1.f);
            if (conv->gated) {
              if (t < to) put(lanes, conv->dx, t * 3 * conv->channels + conv->channels + channel, up * sum * s);
              up *= take_part(lanes, conv, 1, t, channel);
            }
            if (conv->silu) up *= fma(sum, s * (vset(1.f) - s), s);
          }
          d[t - from] = up;
        }
        for (long t = from; t < to; t++) {
          const long after = smaller(conv->taps, last - t), before = smaller(conv->taps, t - begin + 1);
          vf dx = {};
          for (long k = 0; k < after; k++) dx = fma(factors[k], d[t - from + k], dx);
          if (conv->gated) {
            const long at = t * 3 * conv->channels + channel;
            put(lanes, conv->dx, at, dx * take_part(lanes, conv, 2, t, channel));
            put(lanes, conv->dx, at + 2 * conv->channels, dx * take_part(lanes, conv, 0, t, channel));
          } else {
            put(lanes, conv->dx, t * conv->channels + channel, dx);
          }
          if (!sums) continue;
          for (long k = 0; k < before; k++)
            d_factors[k] = fma(d[t - from], take_x(lanes, conv, t - k, channel), d_factors[k]);
          d_bias += d[t - from];
        }
      });
      if (!sums) return;
      float* const to = sums + part / across * sums_a_channel * width + channel;
      for (long k = 0; k < conv->taps; k++) lanes.store(to + k * width, d_factors[k]);
      lanes.store(to + conv->taps * width, d_bias);
    });
  });
  if (!sums) return;
  parallel(context, across, [=](long part) {
    const long first = part * chunk_channels;
    each_vector(smaller(chunk_channels, conv->channels - first), [&](long i, auto lanes) {
      const long channel = first + i;
      for (long k = 0; k <= conv->taps; k++) {
        vf sum = {};
        for (long chunk = 0; chunk < row_chunks; chunk++) sum += lanes.load(sums + (chunk * sums_a_channel + k) * width + channel);
        if (k < conv->taps && conv->d_weight)
          for (long j = 0; j < lanes.count(); j++) conv->d_weight[(channel + j) * conv->taps + conv->taps - 1 - k] = sum[j];
        if (k == conv->taps && conv->d_bias) lanes.store(conv->d_bias + channel, sum);
      }
    });
  });
}

}  // namespace

extern "C" void RX_FILL(causal_conv)(KernelTable* table) {
  table->causal_conv = causal_conv;
  table->causal_conv_grad = causal_conv_grad;
}
