// Quantised weights as bitsandbytes stores them, and what LLM.int8 (Dettmers et al. 2022) makes of activations.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

const float nf4_codes[16] = {-1.f,
                             -0.6961928009986877f,
                             -0.5250730514526367f,
                             -0.39491748809814453f,
                             -0.28444138169288635f,
                             -0.18477343022823334f,
                             -0.09105003625154495f,
                             0.f,
                             0.07958029955625534f,
                             0.16093020141124725f,
                             0.24611230194568634f,
                             0.33791524171829224f,
                             0.44070982933044434f,
                             0.5626170039176941f,
                             0.7229568362236023f,
                             1.f};
const float fp4_codes[16] = {0.f,       0.0625f / 12,  8.f / 12,  1.f,  4.f / 12,  6.f / 12,  2.f / 12,  3.f / 12,
                             -0.f,      -0.0625f / 12, -8.f / 12, -1.f, -4.f / 12, -6.f / 12, -2.f / 12, -3.f / 12};
// fp4 codes of no sign from the least to the greatest
const int fp4_order[8] = {0, 1, 6, 7, 4, 5, 2, 3};

// Between neighbouring codes; a value on the border takes the lower one.
void borders(int kind, float* out) {
  const int n = kind == FOUR_BIT_NF4 ? 15 : 7;
  for (int i = 0; i < n; i++) {
    const double low = kind == FOUR_BIT_NF4 ? nf4_codes[i] : fp4_codes[fp4_order[i]];
    const double high = kind == FOUR_BIT_NF4 ? nf4_codes[i + 1] : fp4_codes[fp4_order[i + 1]];
    out[i] = (float)((low + high) / 2);
  }
}

float greatest_magnitude(const float* x, long n) {
  vf top = {};
  each_vector(n, [&](long i, auto lanes) { top = vmax(vabs(lanes.load(x + i)), top); });
  return hmax(top);
}

void quantize_int8_rows(const Context* context, const float* w, int8_t* q, float* scale, long rows, long columns) {
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const from = w + row * columns;
      int8_t* const to = q + row * columns;
      const float top = greatest_magnitude(from, columns);
      scale[row] = top;
      const vf divisor = vset(top == 0 ? 1.f : top);
      each_vector(columns, [&](long i, auto lanes) {
        const vi rounded = __builtin_convertvector(vround(lanes.load(from + i) * vset(127.f) / divisor), vi);
        for (long lane = 0; lane < smaller(VW, columns - i); lane++) to[i + lane] = (int8_t)rounded[lane];
      });
    }
  });
}

void dequantize_int8_rows(const Context* context, const int8_t* q, const float* scale, float* w, long rows, long columns) {
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float factor = scale[row] / 127.f;
      for (long i = 0; i < columns; i++) w[row * columns + i] = (float)q[row * columns + i] * factor;
    }
  });
}

// Codes of n <= VW values already divided by their block's greatest magnitude.
RX_INLINE vi encode(int kind, vf x, const float* border) {
  vi code = {};
  if (kind == FOUR_BIT_NF4) {
    for (int i = 0; i < 15; i++) code -= x > vset(border[i]);
    return code;
  }
  for (int i = 0; i < 7; i++) code -= vabs(x) > vset(border[i]);
  vi out = {};
  for (int i = 1; i < 8; i++) out = code == vseti(i) ? vseti(fp4_order[i]) : out;
  return out | ((x < vset(0.f)) & vseti(8));
}

void quantize_four_bit(const Context* context, int kind, const float* w, uint8_t* packed, float* absmax, long n, long block) {
  float border[15] = {};
  borders(kind, border);
  const float* const edges = border;
  // an even number of blocks, so that no two pieces share a byte even where a block is odd
  const long piece = block * (2 * greater(1, 4096 / block));
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long start = part * piece; start < smaller(n, (part + 1) * piece); start += block) {
      const long some = smaller(block, n - start);
      const float top = greatest_magnitude(w + start, some);
      absmax[start / block] = top;
      const vf inverse = vset(1.f / top);  // all zeros: 0 / 0 compares as less than everything
      each_vector(some, [&](long i, auto lanes) {
        const vi code = encode(kind, lanes.load(w + start + i) * inverse, edges);
        for (long lane = 0; lane < smaller(VW, some - i); lane++) {
          const long at = start + i + lane;
          if (at % 2 == 0)
            packed[at / 2] = (uint8_t)(code[lane] << 4);
          else
            packed[at / 2] |= (uint8_t)code[lane];
        }
      });
    }
  });
}

void dequantize_four_bit(const Context* context, int kind, const uint8_t* packed, const float* absmax, float* w, long n, long block) {
  const float* const codes = kind == FOUR_BIT_NF4 ? nf4_codes : fp4_codes;
  const long piece = 16384;
  parallel(context, parts_of(n, piece), [=](long part) {
    for (long i = part * piece; i < smaller(n, (part + 1) * piece); i++) {
      const int byte = packed[i / 2];
      w[i] = codes[i % 2 == 0 ? byte >> 4 : byte & 15] * absmax[i / block];
    }
  });
}

// The nearest half-precision number, ties to even.
RX_INLINE vf through_half(vf x) {
  const vf a = vabs(x);
  const vu bits = (vu)a;
  const vf normal = (vf)((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
  const vf tiny = (a + vset(0.75f)) - vset(0.75f);  // multiples of 2^-24
  vf y = a < vset(6.103515625e-5f) ? tiny : normal;
  y = a >= vset(65520.f) ? vset(__builtin_inff()) : y;
  return vcopysign(x == x ? y : x, x);
}

void int8_activations(const Context* context, const float* x, float* y, long rows, long columns, float threshold) {
  // outlier[c]: 1 where column c has an element that large; in memory between the two passes
  float* const outlier = (float*)scratch_get(context->scratch, SCRATCH_KERNEL, (columns + 16) * sizeof(float));
  const long band = 64;
  parallel(context, parts_of(columns, band), [=](long part) {
    const long first = part * band, width = smaller(band, columns - first);
    for (long i = 0; i < width; i++) outlier[first + i] = 0;
    for (long row = 0; row < rows; row++)
      each_vector(width, [&](long i, auto lanes) {
        const vf large = vabs(through_half(lanes.load(x + row * columns + first + i))) >= vset(threshold) ? vset(1.f) : vset(0.f);
        lanes.store(outlier + first + i, vmax(lanes.load(outlier + first + i), large));
      });
  });
  const long piece = rows_a_piece(columns);
  parallel(context, parts_of(rows, piece), [=](long part) {
    for (long row = part * piece; row < smaller(rows, (part + 1) * piece); row++) {
      const float* const from = x + row * columns;
      float* const to = y + row * columns;
      vf top = {};
      each_vector(columns, [&](long i, auto lanes) {
        const vf size = vabs(through_half(lanes.load(from + i)));
        top = vmax(size >= vset(threshold) ? vset(0.f) : size, top);
      });
      const float s = hmax(top);
      const vf divisor = vset(s == 0 ? 1.f : s), unit = vset(s / 127.f);
      each_vector(columns, [&](long i, auto lanes) {
        const vf half = through_half(lanes.load(from + i));
        const vf rounded = vround(half * vset(127.f) / divisor) * unit;
        lanes.store(to + i, lanes.load(outlier + i) != vset(0.f) ? half : rounded);
      });
    }
  });
}

}  // namespace

extern "C" void RX_FILL(quantize)(KernelTable* table) {
  table->quantize_int8_rows = quantize_int8_rows;
  table->dequantize_int8_rows = dequantize_int8_rows;
  table->quantize_four_bit = quantize_four_bit;
  table->dequantize_four_bit = dequantize_four_bit;
  table->four_bit_codes[FOUR_BIT_NF4] = nf4_codes;
  table->four_bit_codes[FOUR_BIT_FP4] = fp4_codes;
  table->int8_activations = int8_activations;
}
