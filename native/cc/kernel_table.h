// The kernels of one instruction set. kernels/<name>.cc is compiled once an instruction set and puts its entries in with
// RX_FILL(<name>)(KernelTable*); dispatch.cc picks one table at run time. Plain C types only.
//
// Matrices are row-major float32. A pointer documented with `?` may be null.
#pragma once

#include <stdint.h>

#include "context.h"
#include "values.h"

// Where an operand of a matrix product comes from; everything but FLOAT32 is unpacked while packing.
enum { GEMM_FLOAT32 = 0, GEMM_BFLOAT16 = 1, GEMM_INT8_ROWS = 2, GEMM_FOUR_BIT = 3 };

// op(X) of a matrix product. Stored row-major with `ld` elements a row; transposed means op(X) = Xᵀ.
typedef struct GemmOperand {
  const void* data;
  long ld;
  int transposed;
  int kind;
  // INT8_ROWS: value = q * scale[row] of the stored matrix. FOUR_BIT: value = code[q] * scale[flat / block].
  const float* scale;  // ?
  const float* code;   // ? 16 values
  long block;
} GemmOperand;

// C [m, n] = alpha * op(A) op(B) + start, where start is `start` [m, n] with ld_start floats a row (0: one row, added to every
// row of C, as a bias is), or nothing when null. start == c adds to C.
typedef struct Gemm {
  long m, n, k;
  GemmOperand a, b;
  float* c;
  long ldc;
  const float* start;  // ?
  long ld_start;
  float alpha;
  int half;  // c, and start where it is no row, lie as bfloat16
} Gemm;

// Kinds of elementwise operation (elementwise.cc).
enum { BINARY_ADD = 0, BINARY_SUB = 1, BINARY_MUL = 2, BINARY_DIV = 3, BINARY_MAX = 4, BINARY_MIN = 5 };
enum {
  UNARY_NEG = 0,
  UNARY_EXP = 1,
  UNARY_LOG = 2,
  UNARY_SQRT = 3,
  UNARY_RSQRT = 4,
  UNARY_SQUARE = 5,
  UNARY_TANH = 6,
  UNARY_SIGMOID = 7,
  UNARY_RELU = 8,
  UNARY_ABS = 9,
  UNARY_SIGN = 10  // of NaN 0, as tfjs has it
};

// Kinds of activation, in the order of the names gelu (erf), gelu_new (tanh), relu, silu, quick_gelu (x sigmoid(1.702 x)), relu2 (squared), sigmoid.
enum {
  ACTIVATION_GELU = 0,
  ACTIVATION_GELU_NEW = 1,
  ACTIVATION_RELU = 2,
  ACTIVATION_SILU = 3,
  ACTIVATION_QUICK_GELU = 4,
  ACTIVATION_RELU2 = 5,
  ACTIVATION_SIGMOID = 6,
  ACTIVATIONS
};

// Four-bit formats, in the order of the names nf4, fp4.
enum { FOUR_BIT_NF4 = 0, FOUR_BIT_FP4 = 1 };

// The slope of ALiBi (Press et al. 2022) for a head: powers of 2^(-8 / n), n being heads or the power of two below, then every second of
// those of 2n.
static inline float alibi_slope(long head, long heads) {
  long n = 1;
  while (2 * n <= heads) n *= 2;
  return (float)__builtin_exp2(head < n ? -8. * (double)(head + 1) / (double)n : -4. * (double)(2 * (head - n) + 1) / (double)n);
}

// Documents lie one after the other; document d is rows cu_seqlens[d] .. cu_seqlens[d + 1] - 1 and sees only itself, causally.
typedef struct Attention {
  const float* q;  // [n, heads * head_dim], ld_q floats a row
  const float* k;  // [n, kv_heads * head_dim], ld_k
  const float* v;  // [n, kv_heads * values_of_head()], ld_v
  long ld_q, ld_k, ld_v;
  const int32_t* cu_seqlens;  // [documents + 1], never falling; starts at 0
  long documents, heads, kv_heads, head_dim;
  float scale;
  long window;  // 0: all earlier rows; else rows i - window < j <= i
  float softcap;  // 0: scores stay; else a score s becomes softcap tanh(s / softcap) before it is masked
  const float* sinks;  // ? [heads]: exp of it is added to the sum that weights are divided by; attention alone
  float alibi;  // 0: nothing; else key j of query i has alibi alibi_slope(head, heads) (j - i) added to its score, capped or not
  float* out;   // [n, heads * values_of_head()]; read by attention_grad
  float* lse;   // [n, heads]; read by attention_grad
  // attention_grad alone
  const float* d_out;  // as out
  float *dq, *dk, *dv;  // contiguous, shapes of q, k, v; may lie in one matrix of ld_d floats a row
  long ld_dq, ld_dk, ld_dv;
  int half;  // all but lse lies as bfloat16; on the processor for attention_bf16 and its gradient alone
  long value_dim;  // width of a head's values; 0: head_dim
} Attention;

// The last n of `rows` tokens, each with all keys up to its own, or the last `window` of them.
typedef struct CachedAttention {
  long n, rows, heads, kv_heads, head_dim, window;
  float scale, softcap;
  const float* sinks;  // ? [heads]
  float alibi;         // all three as of Attention
  long value_dim;      // likewise
} CachedAttention;

template <class A>
inline long values_of_head(const A& a) {
  return a.value_dim ? a.value_dim : a.head_dim;
}

// Of a row of each document and the taps - 1 before it, each channel by itself; documents as of Attention.
#define CAUSAL_CONV_TAPS 16
typedef struct CausalConv {
  long rows, channels;
  long taps;  // 1 .. CAUSAL_CONV_TAPS
  const int32_t* cu_seqlens;  // [documents + 1]
  long documents;
  int silu;  // the sum passes it
  // x holds three parts side by side, [rows, 3 channels]: a gate in, a gate out, and what is convolved, once multiplied by the one; the result
  // is multiplied by the other
  int gated;
  Values x;             // [rows, channels], or three times as wide
  const float* weight;  // [channels, taps]: the last factor is that of the row itself
  const float* bias;    // ? [channels]
  Values y;             // [rows, channels]; causal_conv alone
  // causal_conv_grad alone
  Values dy, dx;    // [rows, channels]; dx as wide as x
  float* d_weight;  // ? [channels, taps]
  float* d_bias;    // ? [channels]
} CausalConv;

// Mamba-2's scan: see state_space_scan.cc. Documents as of Attention.
typedef struct StateSpaceScan {
  long rows, heads, head_dim;
  long groups;  // divides heads: B and C of a group are those of heads / groups heads in a row
  long state_dim;
  const int32_t* cu_seqlens;  // [documents + 1]
  long documents;
  float least, most;  // of rates
  Values xbc;           // [rows, heads * head_dim + 2 * groups * state_dim]: x, B and C side by side
  Values dt;            // [rows, heads]
  const float *a_log, *skip, *dt_bias;  // [heads]
  Values y;             // [rows, heads * head_dim]; state_space_scan alone
  const float* state;   // ? [documents * heads * state_dim, head_dim]: what documents begin with; state_space_scan alone
  float* last;          // ? likewise: what they end with
  // state_space_scan_grad alone
  Values dy, d_xbc, d_dt;
  float *d_a_log, *d_skip, *d_dt_bias;
} StateSpaceScan;

// Mamba's scan: see selective_scan.cc. Documents as of Attention.
typedef struct SelectiveScan {
  long rows, channels, state_dim;
  const int32_t* cu_seqlens;  // [documents + 1]
  long documents;
  Values x, dt;        // [rows, channels]
  Values b, c;         // [rows, state_dim]
  const float* a_log;  // [channels, state_dim]
  const float* skip;   // [channels]
  Values y;            // [rows, channels]; selective_scan alone
  const float* state;  // ? [documents * channels, state_dim]: what documents begin with; selective_scan alone
  float* last;         // ? likewise: what they end with
  // selective_scan_grad alone
  Values dy, d_x, d_dt, d_b, d_c;
  float *d_a_log, *d_skip;
} SelectiveScan;
// Heads of multi-head latent attention: nope_dim entries of queries and keys stay, rope_dim turn, a pair's entries beside each other or
// half of rope_dim apart.
typedef struct LatentHeads {
  long heads, nope_dim, rope_dim, value_dim;
  int interleaved;
} LatentHeads;

// Each token of a head lets the state S [key_dim, value_dim] decay, S *= e^decay, corrects what its key finds there, S += rate k (v - k S),
// and reads it, out = q S; k of length 1, q of length 1 / sqrt(key_dim). Documents as of Attention; value head h has the keys of head
// h key_heads / value_heads.
typedef struct GatedDeltaRule {
  Values qkv;                 // [n, 2 key_heads key_dim + value_heads value_dim]: queries, keys, values
  const float *decay, *rate;  // [n, value_heads]
  const int32_t* cu_seqlens;
  long documents, key_heads, value_heads, key_dim, value_dim;
  float eps;  // added to a squared length
  // forward alone
  const float* state;  // ? [documents, value_heads, key_dim, value_dim]: before the first token of each; null: zeros
  Values out;          // [n, value_heads value_dim]
  float* last_state;   // ? as state, after the last token; may not be it
  // gradient alone, where every document begins with zeros
  Values d_out, d_qkv;
  float *d_decay, *d_rate;
} GatedDeltaRule;

// loss of row i = (1 - s) (lse - logit[target]) + s (lse - mean of the logits), times p[target] held constant for dft.
typedef struct LinearCrossEntropy {
  long rows, columns, vocabulary;
  const float* h;        // [rows, columns]
  GemmOperand w;         // [vocabulary, columns]; data, ld, kind, scale, code, block (transposed is ignored)
  const float* bias;     // ? [vocabulary]
  const int32_t* targets;
  const float* weights;  // [rows]
  float label_smoothing;
  float softcap;  // 0: logits stay; else a logit x becomes softcap tanh(x / softcap) before it counts
  int dft;
  float *total, *loss, *correct, *entropy;  // [1], [rows] x 3
  float* dh;      // ? [rows, columns]: null asks for no gradient
  float* dw;      // ? [vocabulary, columns]
  float* d_bias;  // ? [vocabulary]
  int accumulate;  // dw and d_bias are added to instead of set
} LinearCrossEntropy;

// p *= 1 - rate decay; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g²;
// p -= rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + epsilon), with g = grad_scale * gradient.
typedef struct AdamW {
  long count;
  float* const* params;
  const float* const* grads;
  float* const* m;
  float* const* v;
  const long* sizes;
  const float* weight_decay;  // [count]
  double learning_rate, beta1, beta2, epsilon, grad_scale;
  long step;  // 1 at the first update
  // Of a device alone: ? the sum of all gradients' squares. Where it is no finite number nothing is written; else gradients are scaled down
  // once more to the norm max_norm, unless that is 0.
  const float* squared_norm;
  double max_norm;
  uint16_t* const* rounded;  // ? of a device alone: the parameters as bfloat16, ? each
} AdamW;

// The same with moments in 8 bits: value i = map[code i] absmax[i / 256], the maps bitsandbytes' dynamic ones. The parameter moves by
// the moments as they are before they are narrowed to the nearest code; a negative first moment never becomes 0.
#define ADAMW_8BIT_BLOCK 256
typedef struct AdamW8bit {
  long count;
  float* const* params;
  const float* const* grads;
  uint8_t* const* m;
  uint8_t* const* v;
  float* const* m_absmax;
  float* const* v_absmax;
  const long* sizes;
  const float* weight_decay;   // [count]
  const float* signed_map;     // [256], ascending; 0 at 127, and -x at 127 - i where x is at 127 + i
  const float* unsigned_map;   // [256], ascending from 0
  double learning_rate, beta1, beta2, epsilon, grad_scale;
  long step;  // 1 at the first update
} AdamW8bit;

typedef struct KernelTable {
  const char* isa;

  // ---- matrix product (gemm.cc, gemm_bf16.cc, gemm_split_bf16.cc) ----
  void (*gemm)(const Context*, const Gemm*);
  void (*gemm_bf16)(const Context*, const Gemm*);  // ? null where bfloat16 would gain nothing
  // ? C = what `g` asks for plus alpha op(a) op(b) of `more`, in one pass over C. False: nothing was done.
  int (*gemm_joined)(const Context*, const Gemm* g, const Gemm* more);
  int (*gemm_bf16_joined)(const Context*, const Gemm* g, const Gemm* more);

  // ---- columns.cc ----
  void (*column_sum)(const Context*, Values dy, float* out, long rows, long columns);
  // One part of a column split or concatenation: `rows` rows of `width` numbers between two row strides. Both lie in one way
  void (*copy_columns)(const Context*, Values from, long ld_from, Values to, long ld_to, long rows, long width);
  // Rows must lie inside: who calls has checked them. x and out lie in one way
  void (*gather_rows)(const Context*, Values x, const int32_t* rows, Values out, long count, long columns);
  // out [size, columns] = 0, then out[rows[i]] += dy[i]
  void (*scatter_rows)(const Context*, const float* dy, const int32_t* rows, float* out, long count, long size, long columns);

  // ---- elementwise.cc; outputs may be inputs ----
  void (*add)(const Context*, Values a, Values b, Values out, long n);
  void (*axpy)(const Context*, float* y, const float* x, float alpha, long n);  // y += alpha x
  void (*scale)(const Context*, const float* x, float* y, float factor, long n);
  void (*squared_norm)(const Context*, const float* const* tensors, const long* sizes, long count, float* out);
  // n_a and n_b are n, or a divisor of it: that operand is repeated
  void (*binary)(const Context*, int kind, const float* a, long n_a, const float* b, long n_b, float* out, long n);
  void (*unary)(const Context*, int kind, const float* x, float* y, long n);
  void (*fill)(const Context*, float* out, float value, long n);
  void (*row_sum)(const Context*, const float* x, float* out, long rows, long columns);
  // The first place of the greatest; NaN is passed over unless it comes first: then 0. columns >= 1
  void (*row_arg_max)(const Context*, const float* x, int32_t* out, long rows, long columns);
  void (*narrow)(const Context*, const float* x, uint16_t* y, long n);  // to bfloat16, to nearest even
  void (*widen)(const Context*, const uint16_t* x, float* y, long n);

  // ---- fused kernels (one file each) ----

  // embedding.cc; an id outside the table gives a row of NaN and no gradient
  void (*embedding)(const Context*, const float* table, const int32_t* ids, float* out, long n, long vocabulary, long columns);
  // d_table [vocabulary, columns] is set, or added to when accumulate
  void (*embedding_grad)(const Context*, const float* dy, const int32_t* ids, float* d_table, long n, long vocabulary,
                         long columns, int accumulate);

  // Those of the processor are in ops/quantized.cc and ops/bfloat16.cc; a device brings its own
  void (*dequantize)(const Context*, const GemmOperand* matrix, long rows, long columns, float* y);  // ?
  void (*embedding_bf16)(const Context*, const uint16_t* table, const int32_t* ids, float* out, long n, long vocabulary,  // ?
                         long columns);

  // combine_rows.cc; places [n * each] is a permutation of the rows of x.
  // out[r] [columns] = sum of weights[j] x[places[j]] for j of row r: r * each .. (r + 1) * each - 1; 1 in place of null weights
  void (*combine_rows)(const Context*, Values x, const float* weights /* ? */, const int32_t* places, Values out, long n, long each,
                       long columns);
  void (*combine_rows_grad)(const Context*, Values dy, Values x, const float* weights, const int32_t* places, Values dx, float* d_weights,
                            long n, long each, long columns);

  // layer_norm.cc; dx may be d_residual or dy
  void (*layer_norm)(const Context*, NormInput x, const float* gain, const float* bias /* ? */, Values y, float* mean,
                     float* rstd, long rows, long columns, float eps);
  void (*layer_norm_grad)(const Context*, Values dy, Values x, const float* gain, const float* mean,
                          const float* rstd, const float* d_residual /* ? */, float* dx, float* d_gain /* ? */,
                          float* d_bias /* ? */, long rows, long columns);
  // rms_norm.cc; y = x rstd (gain + offset)
  void (*rms_norm)(const Context*, NormInput x, const float* gain, Values y, float* rstd, long rows, long columns, float eps,
                   float offset);
  void (*rms_norm_grad)(const Context*, Values dy, Values x, const float* gain, const float* rstd,
                        const float* d_residual /* ? */, float* dx, float* d_gain /* ? */, long rows, long columns,
                        float offset);

  // rope.cc; y may be x. cos, sin [rows, rotary_dim / 2]. interleaved: a pair's entries lie beside each other
  void (*rope)(const Context*, Values x, const float* cos, const float* sin, Values y, long rows, long heads,
               long head_dim, long rotary_dim, int inverse, int interleaved);

  // latent_heads.cc. q, q_out, k [rows, heads * (nope_dim + rope_dim)], kv [rows, heads *
  // (nope_dim + value_dim)], shared [rows, rope_dim], v [rows, heads * value_dim]; cos, sin [rows, rope_dim / 2]
  void (*latent_heads)(const Context*, Values q, Values kv, Values shared, const float* cos, const float* sin,  // ?
                       Values q_out, Values k, Values v, long rows, LatentHeads shape);
  void (*latent_heads_grad)(const Context*, Values dq, Values dk, Values dv, const float* cos, const float* sin,  // ?
                            Values dq_in, Values d_kv, Values d_shared, long rows, LatentHeads shape);

  // activation.cc; outputs may be inputs
  void (*activation)(const Context*, int kind, Values x, Values y, long n);
  void (*activation_grad)(const Context*, int kind, Values x, Values dy, Values dx, long n);
  void (*gated_activation)(const Context*, int kind, Values gate, Values up, Values y, long n);
  void (*gated_activation_grad)(const Context*, int kind, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n);
  // quick_gelu(g) (u + 1) of g = min(gate, limit) and u = up held within ± limit
  void (*clamped_gate)(const Context*, float limit, Values gate, Values up, Values y, long n);
  void (*clamped_gate_grad)(const Context*, float limit, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n);

  // attention.cc, attention_grad.cc
  void (*attention)(const Context*, const Attention*);
  void (*attention_grad)(const Context*, const Attention*);
  // ? The same with scores of operands rounded to bfloat16; null where the processor has no bfloat16 dot product. What the one
  // keeps in lse is for the other alone.
  void (*attention_bf16)(const Context*, const Attention*);
  void (*attention_grad_bf16)(const Context*, const Attention*);

  // gated_delta_rule.cc
  void (*gated_delta_rule)(const Context*, const GatedDeltaRule*);
  void (*gated_delta_rule_grad)(const Context*, const GatedDeltaRule*);

  // cached_attention.cc: q [n, heads * head_dim] over keys [rows, kv_heads * head_dim] and values [rows, kv_heads * values_of_head()], out as
  // wide as values
  void (*cached_attention)(const Context*, Values q, const float* keys, const float* values, Values out, CachedAttention shape);

  // xielu.cc; the gradients of both numbers together or neither
  void (*xielu)(const Context*, Values x, const float* alpha_p, const float* alpha_n, Values y, long n);
  void (*xielu_grad)(const Context*, Values x, const float* alpha_p, const float* alpha_n, Values dy, Values dx, float* d_alpha_p /* ? */,
                     float* d_alpha_n /* ? */, long n);

  // causal_conv.cc
  void (*causal_conv)(const Context*, const CausalConv*);
  void (*causal_conv_grad)(const Context*, const CausalConv*);

  // state_space_scan.cc
  void (*state_space_scan)(const Context*, const StateSpaceScan*);
  void (*state_space_scan_grad)(const Context*, const StateSpaceScan*);

  // selective_scan.cc
  void (*selective_scan)(const Context*, const SelectiveScan*);
  void (*selective_scan_grad)(const Context*, const SelectiveScan*);

  // linear_cross_entropy.cc; a target outside the vocabulary gives NaN
  void (*linear_cross_entropy)(const Context*, const LinearCrossEntropy*);

  // adamw.cc
  void (*adamw)(const Context*, const AdamW*);
  // adamw_8bit.cc
  void (*adamw_8bit)(const Context*, const AdamW8bit*);

  // dropout.cc; y may be x. The mask depends on seed, offset and place alone
  void (*dropout)(const Context*, Values x, Values y, long n, double rate, uint32_t seed, uint64_t offset);

  // quantize.cc: the weight formats of bitsandbytes. int8 rows: value = q scale[row] / 127 with scale = max |w| of the row. Four bits:
  // value = code[q] absmax[i / block], two codes a byte, the first in the high half; (n + 1) / 2 bytes
  void (*quantize_int8_rows)(const Context*, const float* w, int8_t* q, float* scale, long rows, long columns);
  void (*dequantize_int8_rows)(const Context*, const int8_t* q, const float* scale, float* w, long rows, long columns);
  void (*quantize_four_bit)(const Context*, int kind, const float* w, uint8_t* packed, float* absmax, long n, long block);
  void (*dequantize_four_bit)(const Context*, int kind, const uint8_t* packed, const float* absmax, float* w, long n, long block);
  const float* four_bit_codes[2];  // of each kind, 16 values
  // What LLM.int8 makes of activations, given back as floats: through half precision; a column with an element |x| >= threshold
  // stays so; elsewhere q s / 127 with q = round(127 x / s), s = greatest |x| < threshold of the row
  void (*int8_activations)(const Context*, const float* x, float* y, long rows, long columns, float threshold);
} KernelTable;

// Whether activations may lie as bfloat16: on a device, and where the processor multiplies such numbers in attention too.
static inline int takes_halves(const Context* context) {
  return context->device || (context->table->gemm_bf16 && context->table->attention_bf16);
}

// The product at the precision in force.
static inline void run_gemm(const Context* context, const Gemm* gemm) {
  (context->bf16 && context->table->gemm_bf16 ? context->table->gemm_bf16 : context->table->gemm)(context, gemm);
}
