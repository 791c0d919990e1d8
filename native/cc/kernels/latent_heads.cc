// Queries, keys and values of multi-head latent attention (DeepSeek-V2, section 2.1): the last entries of each query and key turn, and
// those of keys are the same for all heads.
#include "../kernel_table.h"
#include "parallel.h"
#include "turn.h"

namespace {

RX_INLINE void copy(Values from, Values to, long n) {
  if (from.half == to.half)
    __builtin_memcpy(to.at, from.at, n * (from.half ? sizeof(uint16_t) : sizeof(float)));
  else
    each_vector(n, [&](long i, auto lanes) { put(lanes, to, i, take(lanes, from, i)); });
}

void latent_heads(const Context* context, Values q, Values kv, Values shared, const float* cos, const float* sin, Values q_out, Values k,
                  Values v, long rows, LatentHeads a) {
  const long half = a.rope_dim / 2, width = a.nope_dim + a.rope_dim, both = a.nope_dim + a.value_dim;
  const long piece = rows_a_piece(a.heads * (2 * width + a.value_dim));
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const c = cos + row * half;
      const float* const s = sin + row * half;
      const Values of_all = from_number(shared, row * a.rope_dim);
      const Values first = from_number(k, row * a.heads * width + a.nope_dim);
      for (long head = row * a.heads; head < (row + 1) * a.heads; head++) {
        const Values query = from_number(q, head * width), turned = from_number(q_out, head * width);
        copy(query, turned, a.nope_dim);
        const Values turns = from_number(query, a.nope_dim);
        turn([=](auto lanes, long i) { return take(lanes, turns, i); }, from_number(turned, a.nope_dim), c, s, half, false, a.interleaved);
        copy(from_number(kv, head * both), from_number(k, head * width), a.nope_dim);
        copy(from_number(kv, head * both + a.nope_dim), from_number(v, head * a.value_dim), a.value_dim);
        const Values key = from_number(k, head * width + a.nope_dim);
        if (head == row * a.heads)
          turn([=](auto lanes, long i) { return take(lanes, of_all, i); }, key, c, s, half, false, a.interleaved);
        else
          copy(first, key, a.rope_dim);
      }
    }
  });
}

void latent_heads_grad(const Context* context, Values dq, Values dk, Values dv, const float* cos, const float* sin, Values dq_in, Values d_kv,
                       Values d_shared, long rows, LatentHeads a) {
  const long half = a.rope_dim / 2, width = a.nope_dim + a.rope_dim, both = a.nope_dim + a.value_dim;
  const long piece = rows_a_piece(a.heads * (2 * width + a.value_dim));
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const c = cos + row * half;
      const float* const s = sin + row * half;
      for (long head = row * a.heads; head < (row + 1) * a.heads; head++) {
        const Values from = from_number(dq, head * width), to = from_number(dq_in, head * width);
        copy(from, to, a.nope_dim);
        const Values turns = from_number(from, a.nope_dim);
        turn([=](auto lanes, long i) { return take(lanes, turns, i); }, from_number(to, a.nope_dim), c, s, half, true, a.interleaved);
        copy(from_number(dk, head * width), from_number(d_kv, head * both), a.nope_dim);
        copy(from_number(dv, head * a.value_dim), from_number(d_kv, head * both + a.nope_dim), a.value_dim);
      }
      const Values keys = from_number(dk, row * a.heads * width + a.nope_dim);
      const auto over_heads = [=](auto lanes, long i) {
        vf sum = {};
        for (long head = 0; head < a.heads; head++) sum += take(lanes, keys, head * width + i);
        return sum;
      };
      turn(over_heads, from_number(d_shared, row * a.rope_dim), c, s, half, true, a.interleaved);
    }
  });
}

}  // namespace

extern "C" void RX_FILL(latent_heads)(KernelTable* table) {
  table->latent_heads = latent_heads;
  table->latent_heads_grad = latent_heads_grad;
}
