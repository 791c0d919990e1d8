// Every kernel with its parameters: what the kernel files define, what the host launches, and what the emulation runs, all checked
// against this list by the compiler. Matrices are row-major; all floats unless a name or a type says else.
#pragma once

#include <stdint.h>

#include "../../cc/routes.h"
#include "../../cc/values.h"

// One piece of one tensor's update.
struct RxAdamWPiece {
  float* p;
  const float* g;
  float *m, *v;
  uint16_t* rounded;  // ? the parameter as bfloat16
  long n;
  float keep;  // 1 - rate decay
  float unused;
};
struct RxAdamWRates {
  float beta1, rest1, beta2, rest2, rate, root, epsilon, scale;
};
// Of an update with moments in 8 bits: a piece starts on a border of blocks of 256.
struct RxAdamW8bitPiece {
  float* p;
  const float* g;
  uint8_t *m, *v;
  float *m_absmax, *v_absmax;
  long n;
  float keep;
  float unused;
};
// One piece of one tensor whose squares are summed.
struct RxPiece {
  const float* x;
  long n;
};
// An adapter's gradients (adapter.cu). dy as bfloat16 in whole vectors of 8, the first at a border of 16 bytes, as is its row's length.
struct RxAdapterPart {
  const uint16_t* dy;  // [rows, columns]
  Values u;         // [rows, rank]
  const float* b;   // [columns, rank]
  Values du;        // as u
  float* db;        // as b
  long ld_dy, ld_u, ld_du, rows, columns;
  long band, bands;       // rows of a band, and how many there are
  long step_du, step_db;  // from what a slab of columns gives to what the next does, and of bands
  long first;             // the block that begins with it
  int rank;
  float factor_du, factor_db;
  int unused;
};
// Some of them, which lie in `more`, or where that is null in `few`: these come with the launch.
struct RxAdapters {
  const RxAdapterPart* more;  // ?
  long count;
  RxAdapterPart few[4];
  int stages;  // tiles of dy that a block has at a time
  int unused;
};
// The sum of `count` matrices of n numbers, one after the other, times a factor: `width` numbers a row of `to`.
struct RxSumPiece {
  const float* parts;
  Values to;
  long count, n, width, ld;
  float factor;
  int unused;
};
// Some of them, as of RxAdapters.
struct RxSums {
  const RxSumPiece* more;  // ?
  RxSumPiece few[8];
};
// Rows of logits, `ld` floats a row (a multiple of 4, and at least the next whole vector of 8), to losses (cross_entropy.cu).
struct RxCrossEntropy {
  float* logits;
  long ld, vocabulary, rows;
  const int32_t* targets;
  const float* weights;
  float smoothing, softcap;
  // half: the gradient lies as bfloat16 where its row begins. slots: groups of loss_layout.h that shared memory has room for, at least one.
  int dft, gradient, half, slots;
  float *loss, *correct, *entropy;
};
// Products of groups (grouped.cu): c [.., columns] = x [.., depth] w + x2 [.., depth2] w2 + bias + start. All factors as bfloat16, in whole
// vectors of 8, with zeros up to these.
struct RxGroupedPiece {
  const uint16_t *x, *w;    // the first of at most 64 rows of a group, and its matrix
  const uint16_t *x2, *w2;  // ?
  const float* bias;        // ?
  const void* start;        // ? lies as c
  void* c;
  long rows;
};
struct RxGrouped {
  const RxGroupedPiece* pieces;
  long columns, depth, ld_x, ld_w;  // ld_w counts where w lies as rows of depth numbers
  long depth2, ld_x2, ld_w2;        // depth2 0: there is no second product
  int half;                   // c lies as bfloat16
  int unused;
};
// Products over a group's rows: c [height, columns] = dyᵀ x, 64 rows of c a piece.
struct RxGroupedGradPiece {
  const uint16_t *dy, *x;  // [rows, ..], [rows, columns]
  float* c;
  long rows, height;
};
struct RxGroupedGrad {
  const RxGroupedGradPiece* pieces;
  long columns, ld_dy, ld_x;
};
// A stored matrix [rows, columns] on its way to bfloat16, times a factor; to: rows of ld numbers, a whole vector of 8 or more, zeros behind.
struct RxMatrixPiece {
  const void* from;    // as GemmOperand has it: kind 0 float32, 1 bfloat16, 2 8 bits by rows, 3 4 bits
  const float* scale;  // ?
  const float* code;   // ?
  uint16_t* to;
  long rows, columns, ld, block;
  float factor;
  int kind;
};
// Of latent.cu; the shape as of LatentHeads. Forwards q, kv and shared become q_out, k and v; backwards these are gradients: q, k and v
// become q_out, kv and shared.
struct RxLatentHeads {
  Values q, kv, shared, k, v, q_out;
  const float *cos, *sin;  // [rows, rope_dim / 2]
  long rows;
  int heads, nope_dim, rope_dim, value_dim;
  int interleaved;
  int unused;
};
// Heads lie side by side in rows; for the kernels of flash.cu and hopper*.cu q, k, v and d_out as bfloat16 of whole
// tiles' width (flash_layout.h).
struct RxAttention {
  Values q, k, v, d_out;
  long ld_q, ld_k, ld_v, ld_d_out;
  // Of each tile of rows: its document's first row and end, and its own first row.
  const int32_t* tiles;
  int heads, kv_heads, head_dim;
  float scale;
  long window;
  Values out;
  float* lse;
  float* along;  // [n, heads]: sums over columns of out d_out
  Values dq, dk, dv;
  long ld_dq, ld_dk, ld_dv;
  int value_dim;  // columns of a head of v, out and d_out
  // As of Attention; the kernels of flash.cu and hopper*.cu know none of the three.
  float softcap;
  const float* sinks;
  float alibi;
  int unused;
  // Of hopper_gradient.cu, which has them in its own order: [2, heads, rows], the log-sum-exp times log2 e, and what `along` has.
  float* statistics;
  long rows;
};
// Of causal_conv.cu; the rest as of CausalConv.
struct RxCausalConv {
  Values x, y, dy, dx;
  const float *weight, *bias;
  const int32_t* cu_seqlens;
  float* parts;  // ? [strips, channels (taps + 1)]: of each strip of rows, gradients of factors and of the bias
  long rows, channels, documents;
  int taps, silu, gated;
  int strip;  // rows of a block
  int fours;  // a thread has four channels
  int unused;
};
// Of delta_rule.cu; the rest as of GatedDeltaRule. What has no type is bfloat16 or float32, as the kernel's name says; keys and values are
// a head's columns filled up to whole tiles (scan_layout.h).
struct RxDeltaRule {
  Values qkv, out, d_out, d_qkv;
  const float *decay, *rate;
  float *d_decay, *d_rate;
  const float* state;
  float* last_state;
  const int32_t* chunks;       // [chunks, 2]: first row and rows
  const int32_t* first_chunk;  // [documents + 1]
  void *q, *k;                 // [rows, key_heads, keys]: of their lengths
  void *inverse, *attended;    // [chunks, value_heads, chunk, chunk]
  void *states, *d_states;     // [chunks, value_heads, keys, values]: before a chunk, and the gradient behind it
  void *u, *missing, *d_corrections;  // [rows, value_heads, values]
  float *dq, *dk;              // [rows, value_heads, keys]
  long rows, documents;
  int key_heads, value_heads, key_dim, value_dim, keys, values;
  float eps;
  int stages;  // chunks whose tiles a block has at a time
};
// Of state_space.cu; the rest as of StateSpaceScan, and keys and values as of RxDeltaRule: columns of state_dim and of head_dim.
struct RxStateSpace {
  Values xbc, dt, y, dy, d_xbc, d_dt;
  const float *a_log, *skip, *dt_bias;
  const float* state;
  float* last;
  const int32_t* chunks;       // [chunks, 2]: first row and rows
  const int32_t* first_chunk;  // [documents + 1]
  void *b, *c;                 // [rows, groups, keys]
  void *states, *d_states;     // [chunks, heads, keys, values]: before a chunk, and the gradient behind it
  float* sums;                 // [chunks, 3, heads]: gradients of a_log, skip and dt_bias
  long rows, documents;
  int heads, head_dim, groups, state_dim, keys, values;
  float least, most;
  int stages;  // chunks whose tiles a block has at a time
  int unused;
};

// Of selective.cu; the rest as of SelectiveScan. width: state_dim filled up to whole threads (selective_layout.h).
struct RxSelective {
  Values x, dt, b, c, y, dy, d_x, d_dt, d_b, d_c;
  const float *a_log, *skip;
  const float* state;
  float *last, *d_a_log, *d_skip;
  const int32_t* chunks;       // [chunks, 2]: first row and rows
  const int32_t* first_chunk;  // [documents + 1]
  float *states, *d_states;    // [chunks, channels, width]: before a chunk, and the gradient behind it
  float* rates;                // [chunks, channels]: their sums
  float* shared;               // [parts, rows, 2, width]: gradients of b and of c
  long rows, documents, channels, parts;
  int state_dim, width;
};

#define RX_CUDA_KERNELS(X)                                                                                                  \
  X(add, Values, Values, Values, long)                                                                                      \
  X(axpy, float*, const float*, float, long)                                                                                \
  X(scale, const float*, float*, float, long)                                                                               \
  X(binary, int, const float*, long, const float*, long, float*, long)                                                      \
  X(unary, int, const float*, float*, long)                                                                                 \
  X(fill, float*, float, long)                                                                                              \
  X(activation, int, Values, Values, long)                                                                                  \
  X(activation_grad, int, Values, Values, Values, long)                                                                     \
  X(gated_activation, int, Values, Values, Values, long)                                                                    \
  X(gated_activation_grad, int, Values, Values, Values, Values, Values, long)                                               \
  X(clamped_gate, float, Values, Values, Values, long)                                                                      \
  X(clamped_gate_grad, float, Values, Values, Values, Values, Values, long)                                                 \
  X(dropout, Values, Values, long, float, int, uint32_t, uint64_t)                                                          \
  X(narrow, const float*, uint16_t*, long)                                                                                  \
  X(widen, const uint16_t*, float*, long)                                                                                   \
  X(int8_rows_f32, const int8_t*, const float*, float*, long, long, long)                                                    \
  X(int8_rows_bf16, const int8_t*, const float*, uint16_t*, long, long, long)                                                \
  X(four_bit_f32, const uint8_t*, const float*, const float*, float*, long, long, long, long)                               \
  X(four_bit_bf16, const uint8_t*, const float*, const float*, uint16_t*, long, long, long, long)                           \
  X(int8_outliers, const float*, float*, long, long, float)                                                                 \
  X(int8_activations, const float*, const float*, float*, long, float)                                                      \
  X(copy_columns, Values, long, Values, long, long, long)                                                                   \
  X(narrow_rows, const float*, long, uint16_t*, long, long, long)                                                           \
  X(copy_rows_bf16, const uint16_t*, long, uint16_t*, long, long, long)                                                     \
  X(place_scaled, const float*, long, long, long, long, uint16_t*, long, long, long, float, const uint16_t*, long, uint16_t*, long, long)                                 \
  X(row_sum, const float*, float*, long, long)                                                                              \
  X(row_arg_max, const float*, int32_t*, long, long)                                                                        \
  X(column_sums, Values, long, float*, long, long, long)                                                                    \
  X(add_parts, const float*, long, long, float*, int, long)                                                                 \
  X(gather_rows, const float*, const int32_t*, float*, long, long, long)                                                    \
  X(gather_rows_bf16, const uint16_t*, const int32_t*, float*, long, long, long)                                            \
  X(take_rows, Values, const int32_t*, Values, long, long, long)                                                            \
  X(combine_rows, Values, const float*, const int32_t*, Values, long, long, long)                                           \
  X(combine_rows_grad, Values, Values, const float*, const int32_t*, Values, float*, long, long, long)                      \
  X(routes, Routes)                                                                                                         \
  X(route_counts, const int32_t*, int32_t*, long, long, long)                                                               \
  X(route_places, const int32_t*, Routes, long)                                                                             \
  X(routes_grad, RoutesGrad)                                                                                                \
  X(sum_rows_by_target, const float*, const int32_t*, const int32_t*, const int32_t*, float*, long, long)                   \
  X(layer_norm, NormInput, const float*, const float*, Values, float*, float*, long, float)                                 \
  X(layer_norm_grad, Values, Values, const float*, const float*, const float*, const float*, float*, uint16_t*, long, long) \
  X(layer_norm_parts, Values, Values, const float*, const float*, float*, long, long, long)                                 \
  X(rms_norm, NormInput, const float*, Values, float*, long, float, float)                                                  \
  X(rms_norm_grad, Values, Values, const float*, const float*, const float*, float*, uint16_t*, long, long, float, int)     \
  X(rms_norm_parts, Values, Values, const float*, float*, long, long, long)                                                 \
  X(rope, Values, const float*, const float*, Values, long, long, long, long, int, int)                                     \
  X(latent_heads, RxLatentHeads)                                                                                            \
  X(latent_heads_grad, RxLatentHeads)                                                                                       \
  X(cached_attention, Values, const float*, const float*, Values, long, long, long, long, long, long, long, float, float, const float*, float) \
  X(cross_entropy, RxCrossEntropy)                                                                                          \
  X(weighted_sum, const float*, const float*, float*, long)                                                                 \
  X(squared_norm_parts, const RxPiece*, double*)                                                                            \
  X(sum_doubles, const double*, long, float*)                                                                               \
  X(adamw, const RxAdamWPiece*, RxAdamWRates, const float*, double)                                                         \
  X(adamw_8bit, const RxAdamW8bitPiece*, const float*, RxAdamWRates)                                                        \
  X(gemm_f32, const float*, long, int, const float*, long, int, Values, long, Values, long, float, long, long, long)        \
  X(gemm_bf16, const uint16_t*, long, int, const uint16_t*, long, int, Values, long, Values, long, float, long, long, long) \
  X(adapter_grad_16, RxAdapters)                                                                                            \
  X(adapter_grad_32, RxAdapters)                                                                                            \
  X(adapter_grad_64, RxAdapters)                                                                                            \
  X(adapter_sums, RxSums)                                                                                                   \
  X(grouped, RxGrouped)                                                                                                     \
  X(grouped_turned, RxGrouped)                                                                                              \
  X(grouped_grad, RxGroupedGrad)                                                                                            \
  X(grouped_matrices, const RxMatrixPiece*)                                                                                 \
  X(grouped_dropout, Values, Values, const long*, const uint32_t*, long, float, int)                                        \
  X(attention_f32, RxAttention)                                                                                             \
  X(attention_bf16, RxAttention)                                                                                            \
  X(attention_along, RxAttention, long)                                                                                     \
  X(attention_grad_q_f32, RxAttention)                                                                                      \
  X(attention_grad_q_bf16, RxAttention)                                                                                     \
  X(attention_grad_kv_f32, RxAttention)                                                                                     \
  X(attention_grad_kv_bf16, RxAttention)                                                                                    \
  X(pack_heads, Values, long, uint16_t*, long, int, int, int)                                                               \
  X(flash_64, RxAttention)                                                                                                  \
  X(flash_128, RxAttention)                                                                                                 \
  X(flash_192, RxAttention)                                                                                                 \
  X(flash_256, RxAttention)                                                                                                 \
  X(flash_grad_q_64, RxAttention)                                                                                           \
  X(flash_grad_q_128, RxAttention)                                                                                          \
  X(flash_grad_q_192, RxAttention)                                                                                          \
  X(flash_grad_q_256, RxAttention)                                                                                          \
  X(flash_grad_kv_64, RxAttention)                                                                                          \
  X(flash_grad_kv_128, RxAttention)                                                                                         \
  X(flash_grad_kv_192, RxAttention)                                                                                         \
  X(flash_grad_kv_256, RxAttention)                                                                                         \
  X(hopper_64, RxAttention)                                                                                                 \
  X(hopper_128, RxAttention)                                                                                                \
  X(hopper_192, RxAttention)                                                                                                \
  X(hopper_256, RxAttention)                                                                                                \
  X(hopper_grad_q_64, RxAttention)                                                                                          \
  X(hopper_grad_q_128, RxAttention)                                                                                         \
  X(hopper_grad_q_192, RxAttention)                                                                                         \
  X(hopper_grad_q_256, RxAttention)                                                                                         \
  X(hopper_grad_kv_64, RxAttention)                                                                                         \
  X(hopper_grad_kv_128, RxAttention)                                                                                        \
  X(hopper_grad_kv_192, RxAttention)                                                                                        \
  X(hopper_grad_sums, RxAttention, const float*, int)                                                                       \
  X(hopper_grad_kv_256, RxAttention)                                                                                        \
  X(causal_conv_4, RxCausalConv)                                                                                            \
  X(causal_conv_16, RxCausalConv)                                                                                           \
  X(causal_conv_grad_4, RxCausalConv)                                                                                       \
  X(causal_conv_grad_16, RxCausalConv)                                                                                      \
  X(xielu, Values, const float*, const float*, Values, long)                                                                \
  X(xielu_grad, Values, const float*, const float*, Values, Values, float*, long)                                           \
  X(xielu_sums, const float*, long, const float*, const float*, float*, float*)                                             \
  X(delta_units_bf16, RxDeltaRule)                                                                                          \
  X(delta_units_f32, RxDeltaRule)                                                                                           \
  X(delta_squares_bf16, RxDeltaRule)                                                                                        \
  X(delta_squares_f32, RxDeltaRule)                                                                                         \
  X(delta_scan_bf16, RxDeltaRule)                                                                                           \
  X(delta_scan_f32, RxDeltaRule)                                                                                            \
  X(delta_scan_back_bf16, RxDeltaRule)                                                                                      \
  X(delta_scan_back_f32, RxDeltaRule)                                                                                       \
  X(delta_out_bf16, RxDeltaRule)                                                                                            \
  X(delta_out_f32, RxDeltaRule)                                                                                             \
  X(delta_grad_bf16, RxDeltaRule)                                                                                           \
  X(delta_grad_f32, RxDeltaRule)                                                                                            \
  X(delta_units_grad, RxDeltaRule)                                                                                          \
  X(space_pack_bf16, RxStateSpace)                                                                                          \
  X(space_pack_f32, RxStateSpace)                                                                                           \
  X(space_scan_bf16, RxStateSpace)                                                                                          \
  X(space_scan_f32, RxStateSpace)                                                                                           \
  X(space_scan_back_bf16, RxStateSpace)                                                                                     \
  X(space_scan_back_f32, RxStateSpace)                                                                                      \
  X(space_out_bf16, RxStateSpace)                                                                                           \
  X(space_out_f32, RxStateSpace)                                                                                            \
  X(space_grad_bf16, RxStateSpace)                                                                                          \
  X(space_grad_f32, RxStateSpace)                                                                                           \
  X(space_shared_grad_bf16, RxStateSpace)                                                                                   \
  X(space_shared_grad_f32, RxStateSpace)                                                                                    \
  X(selective_ends_16, RxSelective)                                                                                         \
  X(selective_ends_128, RxSelective)                                                                                        \
  X(selective_ends_back_16, RxSelective)                                                                                    \
  X(selective_ends_back_128, RxSelective)                                                                                   \
  X(selective_join, RxSelective)                                                                                            \
  X(selective_join_back, RxSelective)                                                                                       \
  X(selective_out_16, RxSelective)                                                                                          \
  X(selective_out_128, RxSelective)                                                                                         \
  X(selective_grad_16, RxSelective)                                                                                         \
  X(selective_grad_128, RxSelective)                                                                                        \
  X(selective_shared, RxSelective)                                                                                          \
  X(selective_sums, RxSelective)
