// The kernels of kernel_table.h on a CUDA card: every entry checks nothing that its caller has checked, and starts work without waiting.
#include <algorithm>
#include <climits>
#include <cmath>
#include <map>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "../../cc/scratch.h"
#include "../kernels/adapter_layout.h"
#include "../kernels/attention_layout.h"
#include "../kernels/flash_layout.h"
#include "../kernels/grouped_layout.h"
#include "../kernels/loss_layout.h"
#include "cuda_device.h"
#include "recurrent.h"

namespace cuda {
namespace {

namespace k = kernels;

// Slots of the scratch memory, beside SCRATCH_KERNEL, which the operations take themselves.
enum { slot_left = SCRATCH_GEMM, slot_right = SCRATCH_GEMM_STATE, slot_workspace, slot_third, slot_logits = SCRATCH_KERNEL + 1, slot_parts, slot_vector, slot_heads, slot_beyond };

CudaDevice& of(const Context* context) { return *static_cast<CudaDevice*>(static_cast<Device*>(context->device)); }

template <class T>
T* scratch(const Context* context, int slot, long count) {
  return static_cast<T*>(scratch_get(context->scratch, slot, sizeof(T) * static_cast<size_t>(count < 1 ? 1 : count)));
}

long parts_of(long n, long part) { return (n + part - 1) / part; }

// ---- products ----

constexpr size_t workspace_bytes = size_t(32) << 20;

// Where narrowed operands lie, and how large one is at most that is kept for the next product.
constexpr int narrowed_slots[] = {slot_left, slot_right, slot_third};
constexpr long most_narrowed = 128L << 20;

// A slot that does not hold the other operand: a free one, else the one with the oldest; what it held is forgotten.
int slot_for(CudaDevice& device, int other) {
  auto& all = device.narrowed;
  const auto holds = [](int slot) { return [slot](const CudaDevice::Narrowed& n) { return n.slot == slot; }; };
  for (const int slot : narrowed_slots)
    if (slot != other && std::none_of(all.begin(), all.end(), holds(slot))) return slot;
  const auto oldest = std::find_if(all.begin(), all.end(), [&](const CudaDevice::Narrowed& n) { return n.slot != other; });
  const int slot = oldest->slot;
  all.erase(oldest);
  return slot;
}

// Beside each narrowed row: what joined() puts there.
constexpr long room = 64;
// Rows of whole vectors: cublasLt is fast only there.
constexpr long whole_vectors(long columns) { return (columns + 7) / 8 * 8; }

// Rows as an earlier product had them, or null.
const CudaDevice::Narrowed* lies_narrowed(const CudaDevice& device, const GemmOperand& x, long rows, long columns) {
  const long each = x.kind == GEMM_BFLOAT16 ? 2 : 4;
  for (const CudaDevice::Narrowed& n : device.narrowed)
    if (n.from == x.data && n.each == each && n.ld == x.ld && n.rows == rows && n.columns == columns) return &n;
  return nullptr;
}
// Rows as bfloat16 with room beside them, taken again where the last products had them: q, k and v read the same rows, and so do an adapter
// and its base.
Matrix narrowed(const Context* context, const GemmOperand& x, long rows, long columns, int& slot, int other) {
  CudaDevice& device = of(context);
  for (const RoundedMatrix& r : device.rounded)
    if (x.kind == GEMM_FLOAT32 && r.from == x.data && x.ld == columns && r.rows == rows && r.columns == columns) {
      slot = -1;
      return {r.to, rows, columns, columns, x.transposed != 0};
    }
  const long ld = whole_vectors(columns) + room, each = x.kind == GEMM_BFLOAT16 ? 2 : 4;
  if (const CudaDevice::Narrowed* const n = lies_narrowed(device, x, rows, columns)) {
    slot = n->slot;
    return {n->to, rows, columns, ld, x.transposed != 0};
  }
  slot = slot_for(device, other);
  uint16_t* const to = scratch<uint16_t>(context, slot, rows * ld);
  // It writes to its own slot alone.
  std::vector<CudaDevice::Narrowed> still = device.narrowed;
  const long pieces = rows * (whole_vectors(columns) / 8);
  if (x.kind == GEMM_BFLOAT16)
    device.over(pieces, k::copy_rows_bf16, static_cast<const uint16_t*>(x.data), x.ld, to, ld, rows, columns);
  else
    device.over(pieces, k::narrow_rows, static_cast<const float*>(x.data), x.ld, to, ld, rows, columns);
  if (rows * ld * 2 <= most_narrowed) still.push_back({x.data, each, x.ld, rows, columns, slot, to});
  device.narrowed = std::move(still);
  return {to, rows, columns, ld, x.transposed != 0};
}
// Something has written to rows.
void forget_written(CudaDevice& device, const void* to, long each_to, long ld, long rows, long columns) {
  const auto end = [](const void* from, long each, long width, long count, long last) {
    return static_cast<const char*>(from) + each * (width * (count - 1) + last);
  };
  const auto overlaps = [&](const CudaDevice::Narrowed& n) {
    return static_cast<const char*>(n.from) < end(to, each_to, ld, rows, columns) &&
           static_cast<const char*>(to) < end(n.from, n.each, n.ld, n.rows, n.columns);
  };
  device.narrowed.erase(std::remove_if(device.narrowed.begin(), device.narrowed.end(), overlaps), device.narrowed.end());
}

// A quantised operand as bfloat16, `ld` numbers a row.
void stored_as_bf16(CudaDevice& device, const GemmOperand& x, long rows, long columns, uint16_t* to, long ld) {
  const long n = rows * columns;
  if (x.kind == GEMM_INT8_ROWS) device.over(n, k::int8_rows_bf16, static_cast<const int8_t*>(x.data), x.scale, to, ld, rows, columns);
  if (x.kind == GEMM_FOUR_BIT)
    device.over(parts_of(n, 2), k::four_bit_bf16, static_cast<const uint8_t*>(x.data), x.scale, x.code, to, ld, columns, n, x.block);
}

// An operand in the format of the product: as it lies where it can be, else converted into a slot other than that of the other one.
template <class T>
Matrix converted(const Context* context, const GemmOperand& x, long rows, long columns, int& slot, int other) {
  CudaDevice& device = of(context);
  constexpr bool half = sizeof(T) == 2;
  Matrix out = {x.data, rows, columns, x.ld, x.transposed != 0};
  slot = -1;
  if (x.kind == (half ? GEMM_BFLOAT16 : GEMM_FLOAT32)) return out;
  if (half && x.kind == GEMM_FLOAT32) return narrowed(context, x, rows, columns, slot, other);
  slot = slot_for(device, other);
  T* const to = scratch<T>(context, slot, rows * columns);
  out.data = to;
  out.ld = columns;
  const long n = rows * columns;
  const std::vector<CudaDevice::Narrowed> still = device.narrowed;
  if constexpr (half) {
    stored_as_bf16(device, x, rows, columns, to, columns);
  } else {
    if (x.kind == GEMM_BFLOAT16) device.over(n, k::widen, static_cast<const uint16_t*>(x.data), to, n);
    if (x.kind == GEMM_INT8_ROWS) device.over(n, k::int8_rows_f32, static_cast<const int8_t*>(x.data), x.scale, to, columns, rows, columns);
    if (x.kind == GEMM_FOUR_BIT)
      device.over(parts_of(n, 2), k::four_bit_f32, static_cast<const uint8_t*>(x.data), x.scale, x.code, to, columns, columns, n, x.block);
  }
  device.narrowed = still;
  return out;
}

// The bias of a product in the format of the result, since cublasLt adds none of another, and where whole vectors of it can be read: its
// kernels may, whatever alignment they were asked for.
const void* bias_of(const Context* context, const Gemm* g) {
  const bool row = g->start != nullptr && g->ld_start == 0, aligned = reinterpret_cast<uintptr_t>(g->start) % 16 == 0;
  if (!row || (!g->half && aligned)) return row ? g->start : nullptr;
  CudaDevice& device = of(context);
  void* const to = scratch<float>(context, slot_vector, g->n);
  std::vector<CudaDevice::Narrowed> still = std::move(device.narrowed);
  if (g->half)
    device.over(g->n, k::narrow, g->start, static_cast<uint16_t*>(to), g->n);
  else
    device.over(g->n, k::copy_columns, values_of(g->start), g->n, values_of(static_cast<float*>(to)), g->n, 1L, g->n);
  device.narrowed = std::move(still);
  return to;
}

// By cublasLt, where it is there and has the shape.
bool by_blas(const Context* context, const Gemm* g, Format operands, const Matrix& a, const Matrix& b) {
  CudaDevice& device = of(context);
  const Format result = g->half ? Format::bfloat16 : Format::float32;
  if (device.blas() == nullptr || g->k == 0 || (g->half && operands == Format::float32)) return false;
  const bool row = g->start != nullptr && g->ld_start == 0;
  void* const workspace = scratch<char>(context, slot_workspace, workspace_bytes);
  const void* const bias = bias_of(context, g);
  if (device.timed()) device.timed()->before(device.stream());
  if (!device.blas()->gemm(operands, result, a, b, g->c, g->ldc, bias, row ? nullptr : g->start, g->ld_start, g->alpha, g->m,
                           g->n, g->k, workspace, workspace_bytes, device.stream()))
    return false;
  if (device.timed())
    device.timed()->after(device.stream(), "product " + std::to_string(g->m) + "x" + std::to_string(g->n) + "x" + std::to_string(g->k) +
                                               (a.transposed ? " t" : " n") + (b.transposed ? "t" : "n") + (g->half ? " bf16" : " f32") +
                                               (g->start != nullptr ? " +" : ""));
  forget_written(device, g->c, g->half ? 2 : 4, g->ldc, g->m, g->n);
  device.counted();
  return true;
}

template <class T>
void gemm(const Context* context, const Gemm* g) {
  if (g->m == 0 || g->n == 0) return;
  CudaDevice& device = of(context);
  int left = -1, right = -1;
  const Matrix a = converted<T>(context, g->a, g->a.transposed ? g->k : g->m, g->a.transposed ? g->m : g->k, left, -1);
  const Matrix b = converted<T>(context, g->b, g->b.transposed ? g->n : g->k, g->b.transposed ? g->k : g->n, right, left);
  if (by_blas(context, g, sizeof(T) == 2 ? Format::bfloat16 : Format::float32, a, b)) return;
  const Grid grid = {parts_of(g->n, 64), parts_of(g->m, 64)};
  const auto run = [&](const auto& kernel) {
    device.launch(kernel, grid, 128, 0, static_cast<const T*>(a.data), a.ld, a.transposed, static_cast<const T*>(b.data), b.ld, b.transposed,
                  Values{g->c, g->half}, g->ldc, Values{const_cast<float*>(g->start), g->half && g->ld_start != 0}, g->ld_start, g->alpha, g->m,
                  g->n, g->k);
  };
  if constexpr (sizeof(T) == 2)
    run(k::gemm_bf16);
  else
    run(k::gemm_f32);
}

void dequantize(const Context* context, const GemmOperand* m, long rows, long columns, float* y) {
  CudaDevice& device = of(context);
  const long n = rows * columns;
  if (m->kind == GEMM_INT8_ROWS)
    device.over(n, k::int8_rows_f32, static_cast<const int8_t*>(m->data), m->scale, y, columns, rows, columns);
  else
    device.over(parts_of(n, 2), k::four_bit_f32, static_cast<const uint8_t*>(m->data), m->scale, m->code, y, columns, columns, n, m->block);
}
void int8_activations(const Context* context, const float* x, float* y, long rows, long columns, float threshold) {
  if (rows == 0 || columns == 0) return;
  CudaDevice& device = of(context);
  float* const outlier = scratch<float>(context, slot_vector, columns);
  device.launch(k::int8_outliers, {parts_of(columns, 128)}, 128, 0, x, outlier, rows, columns, threshold);
  device.launch(k::int8_activations, {rows}, 256, 0, x, outlier, y, columns, threshold);
}

// ---- columns and rows ----

void add_parts(CudaDevice& device, const float* parts, long count, long ld, float* out, int add, long columns) {
  device.launch(k::add_parts, {parts_of(columns, 32)}, 256, 0, parts, count, ld, out, add, columns);
}
// Sums of the columns of x [rows, columns] into out, in bands of rows. Gradients of biases come between products of the same rows: where these
// lie narrowed they are read so, in half of the bytes, and stay for the next product.
void column_sums(const Context* context, Values x, long ld, float* out, long rows, long columns, bool add) {
  if (columns == 0) return;
  CudaDevice& device = of(context);
  const long band = std::max(64L, parts_of(rows, 256)), bands = parts_of(rows, band);
  float* const parts = scratch<float>(context, slot_parts, bands * columns);
  const GemmOperand as_operand = {x.at, ld, 0, x.half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
  if (const CudaDevice::Narrowed* const n = lies_narrowed(device, as_operand, rows, columns)) x = {n->to, 1}, ld = whole_vectors(columns) + room;
  std::vector<CudaDevice::Narrowed> still = std::move(device.narrowed);
  device.launch(k::column_sums, {parts_of(columns, 128), bands}, 128, 0, x, ld, parts, rows, columns, band);
  add_parts(device, parts, bands, columns, out, add, columns);
  device.narrowed = std::move(still);
  forget_written(device, out, 4, columns, 1, columns);
}
void column_sum(const Context* context, Values dy, float* out, long rows, long columns) {
  column_sums(context, dy, columns, out, rows, columns, false);
}
void copy_columns(const Context* context, Values from, long ld_from, Values to, long ld_to, long rows, long width) {
  of(context).over(rows * width, k::copy_columns, from, ld_from, to, ld_to, rows, width);
}
void embedding(const Context* context, const float* table, const int32_t* ids, float* out, long n, long vocabulary, long columns) {
  CudaDevice& device = of(context);
  device.over(n * columns, k::gather_rows, table, device.stage(ids, n), out, n, vocabulary, columns);
}
void embedding_bf16(const Context* context, const uint16_t* table, const int32_t* ids, float* out, long n, long vocabulary, long columns) {
  CudaDevice& device = of(context);
  device.over(n * columns, k::gather_rows_bf16, table, device.stage(ids, n), out, n, vocabulary, columns);
}
// Who calls has seen that the rows are there.
void gather_rows(const Context* context, Values x, const int32_t* rows, Values out, long count, long columns) {
  CudaDevice& device = of(context);
  device.over(count * columns, k::take_rows, x, device.stage(rows, count), out, count, LONG_MAX, columns);
}
// Places lie on the card.
void combine_rows(const Context* context, Values x, const float* weights, const int32_t* places, Values out, long n, long each,
                  long columns) {
  CudaDevice& device = of(context);
  device.over(n * columns, k::combine_rows, x, weights, places, out, n, each, columns);
}
void combine_rows_grad(const Context* context, Values dy, Values x, const float* weights, const int32_t* places, Values dx,
                       float* d_weights, long n, long each, long columns) {
  CudaDevice& device = of(context);
  const long rows = n * each;
  device.launch(k::combine_rows_grad, {parts_of(rows, 8)}, 256, 0, dy, x, weights, places, dx, d_weights, rows, each, columns);
}
// The rows of each target lie together and in order: the sum is the same every time, and no two threads meet.
void embedding_grad(const Context* context, const float* dy, const int32_t* ids, float* d_table, long n, long vocabulary, long columns,
                    int accumulate) {
  CudaDevice& device = of(context);
  if (!accumulate) device.zero(d_table, sizeof(float) * static_cast<size_t>(vocabulary * columns));
  std::vector<int32_t> order;
  for (long i = 0; i < n; i++)
    if (ids[i] >= 0 && ids[i] < vocabulary) order.push_back(static_cast<int32_t>(i));
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return ids[a] < ids[b]; });
  std::vector<int32_t> start, target;
  for (size_t i = 0; i < order.size(); i++)
    if (i == 0 || ids[order[i]] != ids[order[i - 1]]) {
      start.push_back(static_cast<int32_t>(i));
      target.push_back(ids[order[i]]);
    }
  const long targets = static_cast<long>(target.size());
  start.push_back(static_cast<int32_t>(order.size()));
  if (targets == 0) return;
  device.over(targets * columns, k::sum_rows_by_target, dy, device.stage(order.data(), static_cast<long>(order.size())),
              device.stage(start.data(), targets + 1), device.stage(target.data(), targets), d_table, targets, columns);
}
void scatter_rows(const Context* context, const float* dy, const int32_t* rows, float* out, long count, long size, long columns) {
  embedding_grad(context, dy, rows, out, count, size, columns, 0);
}

// ---- elementwise ----

void add(const Context* context, Values a, Values b, Values out, long n) { of(context).over(n, k::add, a, b, out, n); }
void axpy(const Context* context, float* y, const float* x, float alpha, long n) { of(context).over(n, k::axpy, y, x, alpha, n); }
void scale(const Context* context, const float* x, float* y, float factor, long n) { of(context).over(n, k::scale, x, y, factor, n); }
void binary(const Context* context, int kind, const float* a, long n_a, const float* b, long n_b, float* out, long n) {
  of(context).over(n, k::binary, kind, a, n_a, b, n_b, out, n);
}
void unary(const Context* context, int kind, const float* x, float* y, long n) { of(context).over(n, k::unary, kind, x, y, n); }
void fill(const Context* context, float* out, float value, long n) { of(context).over(n, k::fill, out, value, n); }
void row_sum(const Context* context, const float* x, float* out, long rows, long columns) {
  of(context).launch(k::row_sum, {std::min(rows, 65535L)}, 128, 0, x, out, rows, columns);
}
void row_arg_max(const Context* context, const float* x, int32_t* out, long rows, long columns) {
  of(context).launch(k::row_arg_max, {std::min(rows, 65535L)}, 256, 0, x, out, rows, columns);
}
void cached_attention(const Context* context, Values q, const float* keys, const float* values, Values out, CachedAttention a) {
  constexpr long warps = 8;
  if (a.n == 0) return;
  of(context).launch(k::cached_attention, {a.n * a.heads}, 32 * warps, (a.head_dim + warps * values_of_head(a)) * sizeof(float), q, keys, values,
                     out, a.n, a.rows, a.heads, a.kv_heads, a.head_dim, values_of_head(a), a.window, a.scale, a.softcap, a.sinks, a.alibi);
}
void narrow(const Context* context, const float* x, uint16_t* y, long n) { of(context).over(n, k::narrow, x, y, n); }
void widen(const Context* context, const uint16_t* x, float* y, long n) { of(context).over(n, k::widen, x, y, n); }
void activation(const Context* context, int kind, Values x, Values y, long n) { of(context).over(n, k::activation, kind, x, y, n); }
void activation_grad(const Context* context, int kind, Values x, Values dy, Values dx, long n) {
  of(context).over(n, k::activation_grad, kind, x, dy, dx, n);
}
// One that is made again comes between a gradient, which lies narrowed, and the product that reads both.
void gated_activation(const Context* context, int kind, Values gate, Values up, Values y, long n) {
  CudaDevice& device = of(context);
  std::vector<CudaDevice::Narrowed> still = std::move(device.narrowed);
  device.over(n, k::gated_activation, kind, gate, up, y, n);
  device.narrowed = std::move(still);
  forget_written(device, y.at, y.half ? 2 : 4, n, 1, n);
}
void gated_activation_grad(const Context* context, int kind, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  of(context).over(n, k::gated_activation_grad, kind, gate, up, dy, d_gate, d_up, n);
}
void clamped_gate(const Context* context, float limit, Values gate, Values up, Values y, long n) {
  of(context).over(n, k::clamped_gate, limit, gate, up, y, n);
}
void clamped_gate_grad(const Context* context, float limit, Values gate, Values up, Values dy, Values d_gate, Values d_up, long n) {
  of(context).over(n, k::clamped_gate_grad, limit, gate, up, dy, d_gate, d_up, n);
}
void dropout(const Context* context, Values x, Values y, long n, double rate, uint32_t seed, uint64_t offset) {
  of(context).over(n, k::dropout, x, y, n, static_cast<float>(1 / (1 - rate)), static_cast<int>(std::ceil(rate * 16777216.0)), seed, offset);
}
void rope(const Context* context, Values x, const float* cos, const float* sin, Values y, long rows, long heads, long head_dim,
          long rotary_dim, int inverse, int interleaved) {
  of(context).over(rows * heads * (head_dim - rotary_dim / 2), k::rope, x, cos, sin, y, rows, heads, head_dim, rotary_dim, inverse,
                   interleaved);
}
RxLatentHeads latent_of(const LatentHeads& shape, const float* cos, const float* sin, long rows) {
  RxLatentHeads a = {};
  a.cos = cos, a.sin = sin, a.rows = rows, a.heads = static_cast<int>(shape.heads), a.nope_dim = static_cast<int>(shape.nope_dim);
  a.rope_dim = static_cast<int>(shape.rope_dim), a.value_dim = static_cast<int>(shape.value_dim), a.interleaved = shape.interleaved;
  return a;
}
// A thread for four numbers, where they can be taken so.
void over_latent(const Context* context, const Kernel<RxLatentHeads>& kernel, const RxLatentHeads& a) {
  const long numbers = a.rows * a.heads * (2 * a.nope_dim + 2 * a.rope_dim + a.value_dim);
  of(context).over(parts_of(numbers, 4), kernel, a);
}
void latent_heads(const Context* context, Values q, Values kv, Values shared, const float* cos, const float* sin, Values q_out, Values key,
                  Values v, long rows, LatentHeads shape) {
  RxLatentHeads a = latent_of(shape, cos, sin, rows);
  a.q = q, a.kv = kv, a.shared = shared, a.q_out = q_out, a.k = key, a.v = v;
  over_latent(context, k::latent_heads, a);
}
void latent_heads_grad(const Context* context, Values dq, Values dk, Values dv, const float* cos, const float* sin, Values dq_in, Values d_kv,
                       Values d_shared, long rows, LatentHeads shape) {
  RxLatentHeads a = latent_of(shape, cos, sin, rows);
  a.q = dq, a.k = dk, a.v = dv, a.q_out = dq_in, a.kv = d_kv, a.shared = d_shared;
  over_latent(context, k::latent_heads_grad, a);
}

// ---- norms ----

constexpr unsigned norm_threads = 256;

void layer_norm(const Context* context, NormInput x, const float* gain, const float* bias, Values y, float* mean, float* rstd, long rows,
                long columns, float eps) {
  of(context).launch(k::layer_norm, {rows}, norm_threads, 0, x, gain, bias, y, mean, rstd, columns, eps);
}
void rms_norm(const Context* context, NormInput x, const float* gain, Values y, float* rstd, long rows, long columns, float eps,
              float offset) {
  of(context).launch(k::rms_norm, {rows}, norm_threads, 0, x, gain, y, rstd, columns, eps, offset);
}
// Runs launch(narrowed, ld), which writes dx and, where it is given that, the same as bfloat16: a gradient that goes on beside a residual
// is read by products next, which take it as they take rows that an earlier product had.
template <class Launch>
void with_narrowed(const Context* context, const float* dx, bool residual, long rows, long columns, Launch launch) {
  CudaDevice& device = of(context);
  const long ld = whole_vectors(columns) + room;
  if (!residual || !context->bf16 || columns % 8 != 0 || rows * ld * 2 > most_narrowed) return launch(nullptr, ld);
  uint16_t* const to = scratch<uint16_t>(context, slot_left, rows * ld);
  launch(to, ld);
  device.narrowed.push_back({dx, 4, columns, rows, columns, slot_left, to});
}
// The sums over rows come first: dx may take the place of dy.
void layer_norm_grad(const Context* context, Values dy, Values x, const float* gain, const float* mean, const float* rstd,
                     const float* d_residual, float* dx, float* d_gain, float* d_bias, long rows, long columns) {
  CudaDevice& device = of(context);
  if (d_gain != nullptr || d_bias != nullptr) {
    const long band = std::max(32L, parts_of(rows, 256)), bands = parts_of(rows, band), blocks = parts_of(columns, 128);
    float* const parts = scratch<float>(context, slot_parts, bands * 2 * columns);
    device.launch(k::layer_norm_parts, {blocks, bands}, 128, 0, dy, x, mean, rstd, parts, rows, columns, band);
    if (d_gain != nullptr) add_parts(device, parts, bands, 2 * columns, d_gain, 0, columns);
    if (d_bias != nullptr) add_parts(device, parts + columns, bands, 2 * columns, d_bias, 0, columns);
  }
  with_narrowed(context, dx, d_residual != nullptr, rows, columns, [&](uint16_t* narrowed, long ld) {
    device.launch(k::layer_norm_grad, {rows}, norm_threads, 0, dy, x, gain, mean, rstd, d_residual, dx, narrowed, ld, columns);
  });
}
void rms_norm_grad(const Context* context, Values dy, Values x, const float* gain, const float* rstd, const float* d_residual,
                   float* dx, float* d_gain, long rows, long columns, float offset) {
  CudaDevice& device = of(context);
  if (d_gain != nullptr) {
    const long band = std::max(32L, parts_of(rows, 256)), bands = parts_of(rows, band), blocks = parts_of(columns, 128);
    float* const parts = scratch<float>(context, slot_parts, bands * columns);
    device.launch(k::rms_norm_parts, {blocks, bands}, 128, 0, dy, x, rstd, parts, rows, columns, band);
    add_parts(device, parts, bands, columns, d_gain, 0, columns);
  }
  with_narrowed(context, dx, d_residual != nullptr, rows, columns, [&](uint16_t* narrowed, long ld) {
    device.launch(k::rms_norm_grad, {rows}, norm_threads, 0, dy, x, gain, rstd, d_residual, dx, narrowed, ld, columns, offset, 0);
  });
}

// ---- attention ----

// Tiles of `rows` rows, none across two documents.
std::vector<int32_t> tiles_of(const Attention* a, long rows) {
  std::vector<int32_t> tiles;
  for (long d = 0; d < a->documents; d++)
    for (long first = a->cu_seqlens[d]; first < a->cu_seqlens[d + 1]; first += rows)
      for (const long x : {static_cast<long>(a->cu_seqlens[d]), static_cast<long>(a->cu_seqlens[d + 1]), first})
        tiles.push_back(static_cast<int32_t>(x));
  return tiles;
}

RxAttention passed(const Attention* a) {
  const auto as_given = [&](const float* x) { return Values{const_cast<float*>(x), a->half}; };
  RxAttention r = {};
  r.q = as_given(a->q), r.k = as_given(a->k), r.v = as_given(a->v), r.d_out = as_given(a->d_out);
  r.ld_q = a->ld_q, r.ld_k = a->ld_k, r.ld_v = a->ld_v, r.ld_d_out = a->heads * values_of_head(*a);
  r.heads = static_cast<int>(a->heads), r.kv_heads = static_cast<int>(a->kv_heads), r.head_dim = static_cast<int>(a->head_dim);
  r.value_dim = static_cast<int>(values_of_head(*a));
  r.scale = a->scale, r.window = a->window, r.softcap = a->softcap, r.sinks = a->sinks, r.alibi = a->alibi, r.out = as_given(a->out), r.lse = a->lse;
  r.dq = as_given(a->dq), r.dk = as_given(a->dk), r.dv = as_given(a->dv);
  r.ld_dq = a->ld_dq, r.ld_dk = a->ld_dk, r.ld_dv = a->ld_dv;
  return r;
}

void launch_tiles(CudaDevice& device, RxAttention r, const Kernel<RxAttention>& kernel, const std::vector<int32_t>& tiles, long heads, long threads,
                  long shared) {
  if (tiles.empty()) return;
  r.tiles = device.stage(tiles.data(), static_cast<long>(tiles.size()));
  device.launch(kernel, {static_cast<long>(tiles.size() / 3), heads}, static_cast<unsigned>(threads), shared, r);
}

template <class F>
void over_tiles(CudaDevice& device, const Attention* a, RxAttention r, const Kernel<RxAttention>& kernel, long heads, int each, F bytes) {
  long rows = 64;
  const int widest = std::max(r.head_dim, r.value_dim);
  while (rows > 16 && bytes(static_cast<int>(rows), widest, each) > device.shared_memory()) rows /= 2;
  const long shared = bytes(static_cast<int>(rows), widest, each);
  if (shared > device.shared_memory()) throw std::runtime_error("attention: heads this wide do not fit this card");
  const std::vector<int32_t> tiles = tiles_of(a, rows);
  launch_tiles(device, r, kernel, tiles, heads, 2 * rows, shared);
}

// Heads as bfloat16 of `width` columns, values of as many as go with that: as they lie where they are that, else packed, each matrix after the other.
template <int width>
void pack_heads(const Context* context, const Attention* a, bool gradient, RxAttention& r) {
  CudaDevice& device = of(context);
  const long n = a->cu_seqlens[a->documents];
  struct Rows {
    Values* values;
    long* ld;
    long heads, head_dim, packed;
  };
  constexpr long values = flash_values<width>;
  const Rows all[] = {{&r.q, &r.ld_q, a->heads, r.head_dim, width}, {&r.k, &r.ld_k, a->kv_heads, r.head_dim, width},
                      {&r.v, &r.ld_v, a->kv_heads, r.value_dim, values}, {&r.d_out, &r.ld_d_out, a->heads, r.value_dim, values}};
  const long count = gradient ? 4 : 3;
  const auto lie_so = [&](const Rows& x) {
    return x.values->half && x.head_dim == x.packed && *x.ld % 8 == 0 && reinterpret_cast<uintptr_t>(x.values->at) % 16 == 0;
  };
  long packed = 0;
  for (long i = 0; i < count; i++) packed += lie_so(all[i]) ? 0 : n * all[i].heads * all[i].packed;
  if (packed == 0) return;
  uint16_t* to = scratch<uint16_t>(context, slot_heads, packed);
  for (long i = 0; i < count; i++) {
    const Rows& x = all[i];
    if (lie_so(x)) continue;
    device.launch(k::pack_heads, {parts_of(x.heads * x.packed / 8, 128), std::min(n, 65535L)}, 128, 0, *x.values, *x.ld, to, n, x.heads,
                  x.head_dim, x.packed);
    *x.values = {to, 1};
    *x.ld = x.heads * x.packed;
    to += n * x.heads * x.packed;
  }
}

template <class Shape>
void over_flash_tiles(CudaDevice& device, const Attention* a, const RxAttention& r, const Kernel<RxAttention>& kernel, long heads, Shape) {
  launch_tiles(device, r, kernel, tiles_of(a, Shape::rows), heads, Shape::threads, Shape::bytes);
}
// Those first whose queries see most keys, so that blocks that end last are short ones.
std::vector<int32_t> longest_first(const std::vector<int32_t>& tiles, long window) {
  const auto seen = [&](size_t t) {
    const long before = tiles[3 * t + 2] - tiles[3 * t];
    return window > 0 ? std::min(before, window) : before;
  };
  std::vector<size_t> order(tiles.size() / 3);
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t left, size_t right) { return seen(left) > seen(right); });
  std::vector<int32_t> sorted;
  sorted.reserve(tiles.size());
  for (const size_t t : order) sorted.insert(sorted.end(), tiles.begin() + static_cast<long>(3 * t), tiles.begin() + static_cast<long>(3 * t + 3));
  return sorted;
}
struct FlashKernels {
  Kernel<RxAttention> forward, grad_q, grad_kv, hopper, hopper_grad_q, hopper_grad_kv;
};
#define RX_FLASH(width)                                                                                             \
  FlashKernels {                                                                                                    \
    k::flash_##width, k::flash_grad_q_##width, k::flash_grad_kv_##width, k::hopper_##width, k::hopper_grad_q_##width, k::hopper_grad_kv_##width \
  }
template <int width>
constexpr FlashKernels flash_kernels = width == 64 ? RX_FLASH(64) : width == 128 ? RX_FLASH(128) : width == 192 ? RX_FLASH(192) : RX_FLASH(256);
#undef RX_FLASH

template <int width>
bool flash(const Context* context, const Attention* a, RxAttention r) {
  CudaDevice& device = of(context);
  if (flash_bytes<width> > device.shared_memory()) return false;
  constexpr FlashKernels kernels = flash_kernels<width>;
  pack_heads<width>(context, a, false, r);
  if (device.has_hopper(HopperParts::output, width))
    launch_tiles(device, r, kernels.hopper, longest_first(tiles_of(a, HopperForward<width>::rows), a->window), a->heads, HopperForward<width>::threads,
                 HopperForward<width>::bytes);
  else
    over_flash_tiles(device, a, r, kernels.forward, a->heads, FlashForward<width>());
  return true;
}
// Of matrices as they are given, before heads are packed.
void outputs_along(const Context* context, const Attention* a, RxAttention& r) {
  const long n = a->cu_seqlens[a->documents];
  r.along = scratch<float>(context, slot_vector, n * a->heads);
  of(context).launch(k::attention_along, {parts_of(n * a->heads, 8)}, 256, 0, r, n);
}

// Tiles of `rows` rows, those first whose blocks have most to do; and how much that is, in tiles of the other side.
struct OrderedTiles {
  std::vector<int32_t> tiles;
  long most = 0, all = 0;
};
OrderedTiles ordered_tiles(const Attention* a, long rows, long others, bool queries) {
  const std::vector<int32_t> tiles = tiles_of(a, rows);
  std::vector<std::pair<long, size_t>> order;
  OrderedTiles out;
  for (size_t i = 0; i < tiles.size(); i += 3) {
    const long begin = tiles[i], end = tiles[i + 1], first = tiles[i + 2];
    long from = first, last = end;
    if (queries) {
      last = std::min(end, first + rows);
      from = a->window > 0 ? std::max(begin, first - a->window + 1) : begin;
    } else if (a->window > 0) {
      last = std::min(end, first + rows - 1 + a->window);
    }
    const long work = parts_of(last - from, others);
    order.emplace_back(-work, i);
    out.most = std::max(out.most, work);
    out.all += work;
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  for (const auto& [work, i] : order) out.tiles.insert(out.tiles.end(), tiles.begin() + static_cast<long>(i), tiles.begin() + static_cast<long>(i) + 3);
  return out;
}

// How many blocks divide the query heads of a head of keys: more where else the longest block would take longer than all of a card's blocks
// have to do on average.
long blocks_of_key_head(const Attention* a, const OrderedTiles& tiles, long at_once) {
  const long shared_by = a->heads / a->kv_heads;
  long count = 1;
  while (count < shared_by && 5 * tiles.most * (shared_by / count) * at_once > 4 * tiles.all * a->heads) {
    count++;
    while (shared_by % count != 0) count++;
  }
  return count;
}

template <int width>
void hopper_gradient(const Context* context, const Attention* a, RxAttention r) {
  CudaDevice& device = of(context);
  constexpr FlashKernels kernels = flash_kernels<width>;
  using ForQ = HopperGradQ<width>;
  using ForKv = HopperGradKv<width>;
  r.rows = a->cu_seqlens[a->documents];
  if (r.rows == 0) return;
  const OrderedTiles of_queries = ordered_tiles(a, ForQ::rows, ForQ::others, true), of_keys = ordered_tiles(a, ForKv::rows, ForKv::others, false);
  const long count = blocks_of_key_head(a, of_keys, device.multiprocessors() * ForKv::blocks), columns = a->kv_heads * count;
  // Parts begin where vectors may.
  const long of_statistics = parts_of(2 * r.rows * a->heads, 4) * 4, of_parts = count > 1 ? r.rows * columns * (r.head_dim + r.value_dim) : 0;
  r.statistics = scratch<float>(context, slot_vector, of_statistics + of_parts);
  const auto launch = [&](const Kernel<RxAttention>& kernel, RxAttention given, const std::vector<int32_t>& tiles, long across, long threads, long bytes) {
    given.tiles = device.stage(tiles.data(), static_cast<long>(tiles.size()));
    device.launch(kernel, {across, static_cast<long>(tiles.size() / 3)}, static_cast<unsigned>(threads), bytes, given);
  };
  launch(kernels.hopper_grad_q, r, of_queries.tiles, a->heads, ForQ::threads, ForQ::bytes);
  RxAttention to = r;
  float* const parts = r.statistics + of_statistics;
  if (count > 1) {
    to.dk = {parts, 0}, to.dv = {parts + r.rows * columns * r.head_dim, 0};
    to.ld_dk = columns * r.head_dim, to.ld_dv = columns * r.value_dim;
  }
  launch(kernels.hopper_grad_kv, to, of_keys.tiles, columns, ForKv::threads, ForKv::bytes);
  if (count > 1)
    device.launch(k::hopper_grad_sums, {std::min(4 * device.multiprocessors(), parts_of(r.rows * a->kv_heads * r.head_dim, 256))}, 256, 0, r, parts, count);
}

template <int width>
bool flash_grad(const Context* context, const Attention* a, RxAttention r) {
  CudaDevice& device = of(context);
  if (flash_bytes<width> > device.shared_memory()) return false;
  constexpr FlashKernels kernels = flash_kernels<width>;
  const bool narrow = hopper_narrow<width> && device.has_hopper(HopperParts::gradients, width);
  if (!narrow) outputs_along(context, a, r);
  pack_heads<width>(context, a, true, r);
  if constexpr (hopper_narrow<width>)
    if (narrow) {
      hopper_gradient<width>(context, a, r);
      return true;
    }
  if (device.has_hopper(HopperParts::gradients, width)) {
    over_flash_tiles(device, a, r, kernels.hopper_grad_q, a->heads, HopperGradQ<width>());
    over_flash_tiles(device, a, r, kernels.hopper_grad_kv, a->kv_heads, HopperGradKv<width>());
  } else {
    over_flash_tiles(device, a, r, kernels.grad_q, a->heads, FlashGradQ<width>());
    over_flash_tiles(device, a, r, kernels.grad_kv, a->kv_heads, FlashGradKv<width>());
  }
  return true;
}
// In registers, where heads are narrow enough and the card's shared memory is large enough, and scores are what they are: whether it was done.
bool by_flash(const Context* context, const Attention* a, const RxAttention& r, bool gradient) {
  if (!context->bf16 || a->softcap > 0 || a->sinks != nullptr || a->alibi != 0) return false;
  const auto run = [&](auto width) { return gradient ? flash_grad<width()>(context, a, r) : flash<width()>(context, a, r); };
  switch (flash_width(r.head_dim, r.value_dim)) {
    case 64: return run(std::integral_constant<int, 64>());
    case 128: return run(std::integral_constant<int, 128>());
    case 192: return run(std::integral_constant<int, 192>());
    case 256: return run(std::integral_constant<int, 256>());
    default: return false;
  }
}

void attention(const Context* context, const Attention* a) {
  const bool half = context->bf16 != 0;
  const RxAttention r = passed(a);
  if (by_flash(context, a, r, false)) return;
  over_tiles(of(context), a, r, half ? k::attention_bf16 : k::attention_f32, a->heads, half ? 2 : 4, attention_forward_bytes);
}

void attention_grad(const Context* context, const Attention* a) {
  CudaDevice& device = of(context);
  const bool half = context->bf16 != 0;
  RxAttention r = passed(a);
  if (by_flash(context, a, r, true)) return;
  outputs_along(context, a, r);
  over_tiles(device, a, r, half ? k::attention_grad_q_bf16 : k::attention_grad_q_f32, a->heads, half ? 2 : 4, attention_grad_q_bytes);
  over_tiles(device, a, r, half ? k::attention_grad_kv_bf16 : k::attention_grad_kv_f32, a->kv_heads, half ? 2 : 4, attention_grad_kv_bytes);
}

// ---- the two ends of a step ----

// Logits held at a time, in floats, and rows of them, which products take in tiles.
constexpr long most_logits = 1L << 27, most_logit_rows = 4096, logit_tile = 256;

// Rows at a time, so that no chunk but the last ends within a tile.
long logit_rows(long rows, long vocabulary) {
  const long limit = std::max(64L, std::min(most_logit_rows, most_logits / std::max(vocabulary, 1L)));
  const long chunks = parts_of(rows, limit), each = chunks > 0 ? parts_of(rows, chunks) : 0, tiles = parts_of(each, logit_tile) * logit_tile;
  return chunks > 1 && tiles <= limit ? tiles : each;
}

// The head as all chunks take it: bfloat16, its rows filled up to a whole vector of 8 by zeros. cublasLt's fast kernels want 16 bytes of
// everything: not only of where a matrix and each of its rows begin, but of how many numbers a row has, in operands and in the result.
GemmOperand head_of(const Context* context, const GemmOperand& w, long vocabulary, long columns) {
  CudaDevice& device = of(context);
  const long rows = whole_vectors(vocabulary), ld = whole_vectors(columns);
  if (w.kind == GEMM_BFLOAT16 && rows == vocabulary && ld == columns) return w;
  uint16_t* const to = scratch<uint16_t>(context, slot_heads, rows * ld);
  if (w.kind == GEMM_FLOAT32)
    device.over(vocabulary * (ld / 8), k::narrow_rows, static_cast<const float*>(w.data), w.ld, to, ld, vocabulary, columns);
  else if (w.kind == GEMM_BFLOAT16)
    device.over(vocabulary * columns, k::copy_columns, Values{const_cast<void*>(w.data), 1}, w.ld, Values{to, 1}, ld, vocabulary, columns);
  else
    stored_as_bf16(device, w, vocabulary, columns, to, ld);
  device.zero(to + vocabulary * ld, sizeof(uint16_t) * static_cast<size_t>((rows - vocabulary) * ld));
  return {to, ld, 0, GEMM_BFLOAT16, nullptr, nullptr, 0};
}
// Its bias, of as many numbers.
const float* bias_of_head(const Context* context, const float* bias, long vocabulary) {
  const long columns = whole_vectors(vocabulary);
  if (bias == nullptr || columns == vocabulary) return bias;
  CudaDevice& device = of(context);
  float* const to = scratch<float>(context, slot_vector, columns);
  device.zero(to, sizeof(float) * static_cast<size_t>(columns));
  copy_columns(context, values_of(bias), vocabulary, values_of(to), columns, 1, vocabulary);
  return to;
}

void cross_entropy(const Context* context, RxCrossEntropy a) {
  CudaDevice& device = of(context);
  const long most = std::min<long>(most_loss_groups, (device.shared_memory() - loss_shared) / (loss_group * 4L));
  // Two rows, where there is room.
  a.slots = static_cast<int>(std::min(most, 2 * parts_of(a.vocabulary, loss_group)));
  // It writes to no rows that lie narrowed.
  std::vector<CudaDevice::Narrowed> still = std::move(device.narrowed);
  device.launch(k::cross_entropy, {std::min(a.rows, device.multiprocessors())}, loss_threads, a.slots * 4L * loss_group, a);
  device.narrowed = std::move(still);
}

// Products of bfloat16 take the head rounded once, and the gradient of the logits as the loss writes it: rounded, and where the logits were.
void linear_cross_entropy(const Context* context, const LinearCrossEntropy* a) {
  CudaDevice& device = of(context);
  const long V = a->vocabulary, C = a->columns;
  const bool gradient = a->dh != nullptr, half = context->bf16 != 0;
  const long each = logit_rows(a->rows, V), ld = parts_of(V, 64) * 64, columns = half ? whole_vectors(V) : V;
  float* const logits = scratch<float>(context, slot_logits, each * ld);
  const int32_t* const targets = device.stage(a->targets, a->rows);
  const float* const weights = device.stage(a->weights, a->rows);
  const bool set = a->accumulate == 0;
  if (set && a->d_bias != nullptr) device.zero(a->d_bias, sizeof(float) * static_cast<size_t>(V));
  if (set && a->dw != nullptr && a->rows == 0) device.zero(a->dw, sizeof(float) * static_cast<size_t>(V * C));
  GemmOperand w = half && a->rows > 0 ? head_of(context, a->w, V, C) : a->w;
  const float* const bias = half ? bias_of_head(context, a->bias, V) : a->bias;
  GemmOperand turned = w;
  turned.transposed = 1;
  w.transposed = 0;
  const GemmOperand slopes = {logits, half ? 2 * ld : ld, 0, half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
  // The last rows of the gradient of the weights, fewer than 8, are made as 8, elsewhere, so that the others are of whole vectors.
  const long rest = half && a->dw != nullptr && a->rows > 0 && V > 8 ? V % 8 : 0;
  float* const beyond = rest > 0 ? scratch<float>(context, slot_beyond, 8 * C) : nullptr;
  for (long start = 0; start < a->rows; start += each) {
    const long rows = std::min(each, a->rows - start);
    GemmOperand h = {}, d = slopes;
    h.data = a->h + start * C, h.ld = C;
    const Gemm forward = {rows, columns, C, h, turned, logits, ld, bias, 0, 1.f, 0};
    run_gemm(context, &forward);
    cross_entropy(context, {logits, ld, V, rows, targets + start, weights + start, a->label_smoothing, a->softcap, a->dft, gradient, half, 0,
                            a->loss + start, a->correct + start, a->entropy + start});
    if (!gradient) continue;
    const Gemm to_h = {rows, C, columns, d, w, a->dh + start * C, C, nullptr, 0, 1.f, 0};
    run_gemm(context, &to_h);
    if (a->dw != nullptr) {
      d.transposed = 1;
      const Gemm to_w = {V - rest, C, rows, d, h, a->dw, C, set && start == 0 ? nullptr : a->dw, C, 1.f, 0};
      run_gemm(context, &to_w);
      if (rest > 0) {
        d.data = reinterpret_cast<const uint16_t*>(logits) + (V - rest);
        const Gemm to_rest = {8, C, rows, d, h, beyond, C, start == 0 ? nullptr : beyond, C, 1.f, 0};
        run_gemm(context, &to_rest);
      }
    }
    if (a->d_bias != nullptr) column_sums(context, {logits, half}, slopes.ld, a->d_bias, rows, V, true);
  }
  if (rest > 0 && set)
    copy_columns(context, values_of(beyond), C, values_of(a->dw + (V - rest) * C), C, rest, C);
  else if (rest > 0)
    axpy(context, a->dw + (V - rest) * C, beyond, 1.f, rest * C);
  device.launch(k::weighted_sum, {1}, 1024, 0, a->loss, weights, a->total, a->rows);
}

constexpr long piece = 1L << 16;

template <class Update>
RxAdamWRates rates_of(const Update& a) {
  const double correction = std::sqrt(1 - std::pow(a.beta2, static_cast<double>(a.step)));
  return {static_cast<float>(a.beta1),
          static_cast<float>(1 - a.beta1),
          static_cast<float>(a.beta2),
          static_cast<float>(1 - a.beta2),
          static_cast<float>(a.learning_rate / (1 - std::pow(a.beta1, static_cast<double>(a.step)))),
          static_cast<float>(1 / correction),
          static_cast<float>(a.epsilon),
          static_cast<float>(a.grad_scale)};
}

void adamw(const Context* context, const AdamW* a) {
  CudaDevice& device = of(context);
  std::vector<RxAdamWPiece> pieces;
  for (long t = 0; t < a->count; t++) {
    uint16_t* const rounded = a->rounded != nullptr ? a->rounded[t] : nullptr;
    for (long from = 0; from < a->sizes[t]; from += piece)
      pieces.push_back({a->params[t] + from, a->grads[t] + from, a->m[t] + from, a->v[t] + from, rounded != nullptr ? rounded + from : nullptr,
                        std::min(piece, a->sizes[t] - from), static_cast<float>(1 - a->learning_rate * a->weight_decay[t]), 0.f});
  }
  const RxAdamWRates rates = rates_of(*a);
  const long count = static_cast<long>(pieces.size());
  if (count > 0) device.launch(k::adamw, {count}, 512, 0, device.stage(pieces.data(), count), rates, a->squared_norm, a->max_norm);
}

void adamw_8bit(const Context* context, const AdamW8bit* a) {
  static_assert(ADAMW_8BIT_BLOCK == 256 && piece % 256 == 0, "a piece is of whole blocks, which a warp takes");
  CudaDevice& device = of(context);
  std::vector<RxAdamW8bitPiece> pieces;
  for (long t = 0; t < a->count; t++)
    for (long from = 0; from < a->sizes[t]; from += piece)
      pieces.push_back({a->params[t] + from, a->grads[t] + from, a->m[t] + from, a->v[t] + from, a->m_absmax[t] + from / 256,
                        a->v_absmax[t] + from / 256, std::min(piece, a->sizes[t] - from),
                        static_cast<float>(1 - a->learning_rate * a->weight_decay[t]), 0.f});
  const long count = static_cast<long>(pieces.size());
  if (count == 0) return;
  std::vector<float> maps(a->signed_map, a->signed_map + 256);
  maps.insert(maps.end(), a->unsigned_map, a->unsigned_map + 256);
  const float* const on_card = device.stage(maps.data(), 512);
  device.launch(k::adamw_8bit, {count}, 256, 0, device.stage(pieces.data(), count), on_card, rates_of(*a));
}

void squared_norm(const Context* context, const float* const* tensors, const long* sizes, long count, float* out) {
  CudaDevice& device = of(context);
  std::vector<RxPiece> pieces;
  for (long t = 0; t < count; t++)
    for (long from = 0; from < sizes[t]; from += piece) pieces.push_back({tensors[t] + from, std::min(piece, sizes[t] - from)});
  const long n = static_cast<long>(pieces.size());
  double* const sums = scratch<double>(context, slot_parts, n);
  if (n > 0) device.launch(k::squared_norm_parts, {n}, 512, 0, device.stage(pieces.data(), n), sums);
  device.launch(k::sum_doubles, {1}, 1024, 0, sums, n, out);
}

KernelTable filled() {
  KernelTable t = {};
  t.isa = "cuda";
  t.gemm = gemm<float>;
  t.gemm_bf16 = gemm<uint16_t>;
#define X(name) t.name = name;
  X(column_sum) X(copy_columns) X(gather_rows) X(scatter_rows) X(combine_rows) X(combine_rows_grad)
  X(add) X(axpy) X(scale) X(squared_norm) X(binary) X(unary) X(fill) X(row_sum) X(row_arg_max) X(cached_attention)
  X(embedding) X(embedding_grad) X(narrow) X(widen) X(embedding_bf16)
  X(layer_norm) X(layer_norm_grad) X(rms_norm) X(rms_norm_grad) X(rope) X(latent_heads) X(latent_heads_grad)
  X(activation) X(activation_grad) X(gated_activation) X(gated_activation_grad) X(clamped_gate) X(clamped_gate_grad)
  X(dequantize) X(int8_activations)
  X(attention) X(attention_grad) X(linear_cross_entropy) X(adamw) X(adamw_8bit) X(dropout)
#undef X
  fill_recurrent(t);
  return t;
}

}  // namespace

void CudaDevice::rms_norm_grad_by_value(const Context* context, Values dy, Values y, const float* gain, const float* rstd, const float* d_residual,
                                        float* dx, long rows, long columns, float offset) {
  with_narrowed(context, dx, d_residual != nullptr, rows, columns, [&](uint16_t* narrowed, long ld) {
    launch(k::rms_norm_grad, {rows}, norm_threads, 0, dy, y, gain, rstd, d_residual, dx, narrowed, ld, columns, offset, 1);
  });
}

// [x | u] [W; alpha B]: an adapter's rows lie beside its base's, and what the base writes is not read and written again. For that what lies
// as bfloat16 is copied, once for all products that read it; what does not is converted anyway. It pays where fewer bytes are copied.
bool CudaDevice::joined(const Context* context, const Gemm* first, const Gemm* second) {
  const GemmOperand &x = first->a, &w = first->b, &u = second->a, &b = second->b;
  // u's rows and B's are filled up with zeros.
  const long m = first->m, n = first->n, k1 = first->k, k2 = second->k, whole_k2 = whole_vectors(k2), depth = k1 + whole_k2;
  const bool rows_kind = x.kind == GEMM_FLOAT32 || (x.kind == GEMM_BFLOAT16 && x.ld % 8 == 0);
  // u's rows as they are copied: whole vectors of bfloat16, or float32 that is rounded.
  const bool halves = u.kind == GEMM_BFLOAT16 && k2 % 8 == 0 && u.ld % 8 == 0 && reinterpret_cast<uintptr_t>(u.data) % 16 == 0;
  const bool plain = rows_kind && (u.kind == GEMM_FLOAT32 || halves) && b.kind == GEMM_FLOAT32 && !x.transposed && !u.transposed;
  const bool same = second->m == m && second->n == n && second->c == first->c && second->start == first->c && second->ldc == first->ldc &&
                    second->ld_start == first->ldc && second->half == first->half;
  const bool whole = k1 % 8 == 0 && n % 8 == 0 && k1 > 0 && k2 > 0 && k2 <= room && w.ld % 8 == 0;
  const bool stored = w.kind == GEMM_INT8_ROWS || w.kind == GEMM_FOUR_BIT || w.kind == GEMM_BFLOAT16;
  const bool copies_x = x.kind == GEMM_BFLOAT16 && !lies_narrowed(*this, x, m, k1), copies_w = w.kind == GEMM_BFLOAT16;
  const bool pays = stored && (copies_x ? 4 * m * k1 : 0) + (copies_w ? 4 * k1 * n : 0) < (first->half ? 4 : 8) * m * n;
  if (!context->bf16 || blas() == nullptr || !plain || !same || !whole || !pays || first->alpha != 1 || m == 0 || n == 0) return false;
  if (reinterpret_cast<uintptr_t>(w.data) % 16 != 0 || reinterpret_cast<uintptr_t>(x.data) % 16 != 0) return false;

  int left = -1;
  const Matrix rows = cuda::narrowed(context, x, m, k1, left, -1);
  std::vector<Narrowed> still = this->narrowed;
  uint16_t* const beside_rows = static_cast<uint16_t*>(const_cast<void*>(rows.data)) + k1;
  if (halves)
    over(m * (whole_k2 / 8), k::copy_rows_bf16, static_cast<const uint16_t*>(u.data), u.ld, beside_rows, rows.ld, m, k2);
  else
    over(m * (whole_k2 / 8), k::narrow_rows, static_cast<const float*>(u.data), u.ld, beside_rows, rows.ld, m, k2);
  this->narrowed = still;
  const int right = slot_for(*this, left);
  still = this->narrowed;
  // As the base is stored: B's columns beside its rows, or B's rows below them.
  const bool beside = w.transposed != 0;
  const long lines = beside ? n : k1, columns = beside ? k1 : n, ld = beside ? depth : n;
  uint16_t* const to = scratch<uint16_t>(context, right, depth * n);
  if (w.kind == GEMM_INT8_ROWS)
    over(lines * columns, k::int8_rows_bf16, static_cast<const int8_t*>(w.data), w.scale, to, ld, lines, columns);
  else if (w.kind == GEMM_FOUR_BIT)
    over(lines * columns / 2, k::four_bit_bf16, static_cast<const uint8_t*>(w.data), w.scale, w.code, to, ld, columns, lines * columns, w.block);
  // op(b) [k2, n]: how far its next row and its next column are
  const long next_row = b.transposed ? 1 : b.ld, next_column = b.transposed ? b.ld : 1;
  const uint16_t* const copied = w.kind == GEMM_BFLOAT16 ? static_cast<const uint16_t*>(w.data) : nullptr;
  const long pieces = (copied != nullptr ? lines * columns / 8 : 0) + n * whole_k2;
  if (beside)
    over(pieces, k::place_scaled, static_cast<const float*>(b.data), next_column, next_row, n, k2, to + k1, ld, n, whole_k2, second->alpha, copied, w.ld, to,
         lines, columns);
  else
    over(pieces, k::place_scaled, static_cast<const float*>(b.data), next_row, next_column, k2, n, to + k1 * n, ld, whole_k2, n, second->alpha, copied, w.ld,
         to, lines, columns);
  this->narrowed = std::move(still);
  const Matrix both = {rows.data, m, depth, rows.ld, false}, weights = {to, beside ? n : depth, beside ? depth : n, ld, beside};
  Gemm product = *first;
  product.k = depth;
  return by_blas(context, &product, Format::bfloat16, both, weights);
}

void CudaDevice::use_rounded(const RoundedMatrix* all, long count) {
  rounded.clear();
  for (long i = 0; i < count; i++)
    if (all[i].to != nullptr) rounded.push_back(all[i]);
}

namespace {

// Products of groups whose rows lie one below the other and whose matrices lie in one way.
struct GroupsOf {
  const Gemm* all;
  long count, rows;
  bool fits;
};
GroupsOf groups_of(const Gemm* all, long count) {
  const Gemm& one = all[0];
  const long each = one.a.kind == GEMM_BFLOAT16 ? 2 : 4, each_c = one.half ? 2 : 4;
  GroupsOf groups = {all, count, 0, one.n > 0 && one.k > 0 && (one.a.kind == GEMM_BFLOAT16 || one.a.kind == GEMM_FLOAT32)};
  for (long g = 0; g < count && groups.fits; g++) {
    const Gemm& p = all[g];
    groups.fits = p.n == one.n && p.k == one.k && p.half == one.half && p.ldc == p.n && p.a.kind == one.a.kind && p.a.ld == one.a.ld && !p.a.transposed &&
                  p.b.transposed == one.b.transposed && p.b.kind == one.b.kind && p.alpha == one.alpha &&
                  (p.start == nullptr || p.ld_start == 0 || p.ld_start == p.n) &&
                  p.a.data == static_cast<const char*>(one.a.data) + each * groups.rows * one.a.ld &&
                  reinterpret_cast<char*>(p.c) == reinterpret_cast<char*>(one.c) + each_c * groups.rows * one.n;
    groups.rows += p.m;
  }
  return groups;
}

// The left operand as one matrix of bfloat16, in whole vectors.
Matrix rows_of_groups(const Context* context, const GroupsOf& groups, int& slot, int other) {
  const Gemm& one = groups.all[0];
  GemmOperand x = one.a;
  const bool vectors = one.k % 8 == 0 && x.ld % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  slot = -1;
  if (x.kind == GEMM_BFLOAT16 && vectors) return {x.data, groups.rows, one.k, x.ld, false};
  return narrowed(context, x, groups.rows, one.k, slot, other);
}

// Right operands as bfloat16: [lines, width] each, in rows of `ld`; those that do not lie so are brought to scratch memory, all by one kernel.
struct Matrices {
  std::vector<const uint16_t*> at;
  long ld;
};
struct Lines {
  long lines, width, ld;
};
Lines lines_of(const Gemm& p) {
  const bool turned = p.b.transposed == 0;
  const long lines = turned ? p.k : p.n, width = turned ? p.n : p.k;
  return {lines, width, whole_vectors(width)};
}
bool lies_ready(const Gemm& p) {
  return p.b.kind == GEMM_BFLOAT16 && p.alpha == 1 && lines_of(p).width % 8 == 0 && p.b.ld == lines_of(p).width && reinterpret_cast<uintptr_t>(p.b.data) % 16 == 0;
}
Matrices matrices_of(const Context* context, const Gemm* all, const StackedRows* stacked, long count, int slot) {
  CudaDevice& device = of(context);
  const Lines lines = lines_of(all[0]);
  Matrices out = {{}, lines.ld};
  if (stacked == nullptr && std::all_of(all, all + count, lies_ready)) {
    for (long g = 0; g < count; g++) out.at.push_back(static_cast<const uint16_t*>(all[g].b.data));
    return out;
  }
  uint16_t* const memory = scratch<uint16_t>(context, slot, count * lines.lines * lines.ld);
  std::vector<RxMatrixPiece> pieces;
  for (long g = 0; g < count; g++) {
    const Gemm& p = all[g];
    uint16_t* to = memory + g * lines.lines * lines.ld;
    out.at.push_back(to);
    if (stacked == nullptr) {
      pieces.push_back({p.b.data, p.b.scale, p.b.code, to, lines.lines, lines.width, lines.ld, p.b.block, p.alpha, p.b.kind});
      continue;
    }
    for (long i = 0; i < stacked->count; i++) {
      pieces.push_back({stacked->parts[g * stacked->count + i], nullptr, nullptr, to, stacked->rows[i], lines.width, lines.ld, 0, p.alpha, GEMM_FLOAT32});
      to += stacked->rows[i] * lines.ld;
    }
  }
  const std::vector<CudaDevice::Narrowed> still = device.narrowed;
  const long blocks = static_cast<long>(pieces.size());
  device.launch(k::grouped_matrices, {blocks, std::min(32L, parts_of(lines.lines * lines.ld, 8 * 256))}, 256, 0, device.stage(pieces.data(), blocks));
  device.narrowed = still;
  return out;
}

// One launch of both products, the second of which there may not be.
void launch_groups(const Context* context, const GroupsOf& first, const Matrices& w, const Matrix& x, const GroupsOf* second, const Matrices& w2,
                   const Matrix& x2) {
  CudaDevice& device = of(context);
  const Gemm& one = first.all[0];
  const long each_c = one.half ? 2 : 4;
  std::vector<RxGroupedPiece> pieces;
  const uint16_t *at = static_cast<const uint16_t*>(x.data), *at2 = static_cast<const uint16_t*>(x2.data);
  for (long g = 0; g < first.count; g++) {
    const Gemm& p = first.all[g];
    const bool bias = p.start != nullptr && p.ld_start == 0;
    for (long row = 0; row < p.m; row += GroupedTile::rows) {
      const auto below = [&](const float* matrix) { return const_cast<char*>(reinterpret_cast<const char*>(matrix)) + each_c * row * p.n; };
      pieces.push_back({at + row * x.ld, w.at[static_cast<size_t>(g)], second ? at2 + row * x2.ld : nullptr, second ? w2.at[static_cast<size_t>(g)] : nullptr,
                        bias ? p.start : nullptr, p.start != nullptr && !bias ? below(p.start) : nullptr, below(p.c),
                        std::min<long>(GroupedTile::rows, p.m - row)});
    }
    at += p.m * x.ld;
    if (second) at2 += p.m * x2.ld;
  }
  const std::vector<CudaDevice::Narrowed> still = device.narrowed;
  const long blocks = static_cast<long>(pieces.size());
  device.launch(one.b.transposed == 0 ? k::grouped_turned : k::grouped, {blocks, parts_of(one.n, GroupedTile::columns)}, 128, GroupedTile::bytes,
                RxGrouped{device.stage(pieces.data(), blocks), one.n, one.k, x.ld, w.ld, second ? second->all[0].k : 0, x2.ld, w2.ld, one.half, 0});
  device.narrowed = still;
  forget_written(device, one.c, each_c, one.n, first.rows, one.n);
}

// Whether the kernel takes such rows and matrices, brought to bfloat16 where they do not lie so.
bool takes_groups(const GroupsOf& groups) {
  const Gemm& one = groups.all[0];
  return groups.fits && groups.rows > 0 && (one.b.transposed != 0 || one.n % 8 == 0) && (one.k % 8 == 0 || one.a.kind == GEMM_FLOAT32);
}

// Numbers of converted matrices at a time.
constexpr long most_converted = 64L << 20;

// One launch for all: x w, and u b beside it where there is a second product.
void one_launch(const Context* context, const Gemm* all, const Gemm* more, const StackedRows* stacked, long count) {
  const GroupsOf first = groups_of(all, count);
  int slot = -1, other = -1;
  const Matrix x = rows_of_groups(context, first, slot, -1);
  const Matrices w = matrices_of(context, all, more == nullptr ? stacked : nullptr, count, slot_logits);
  if (more == nullptr) return launch_groups(context, first, w, x, nullptr, {{}, 0}, {nullptr, 0, 0, 0, false});
  const GroupsOf second = groups_of(more, count);
  const Matrix u = rows_of_groups(context, second, other, slot);
  launch_groups(context, first, w, x, &second, matrices_of(context, more, stacked, count, slot_heads), u);
}

}  // namespace

// Few rows of each: both products in one launch. Many: cublasLt's, one a group, which add to what the second gave them, in one launch.
bool CudaDevice::grouped(const Context* context, const Gemm* all, const Gemm* more, const StackedRows* stacked, long count) {
  if (!context->bf16 || count < 2 || GroupedTile::bytes > shared_memory()) return false;
  const GroupsOf first = groups_of(all, count);
  const bool few = blas() == nullptr || first.rows <= most_grouped_rows * count;
  if (more == nullptr && stacked == nullptr && !few) return false;
  if (!takes_groups(first) || (more != nullptr && !takes_groups(groups_of(more, count)))) return false;
  if (more != nullptr && !few) {
    std::vector<Gemm> adapters(more, more + count);
    for (long g = 0; g < count; g++) {
      adapters[static_cast<size_t>(g)].start = all[g].start;
      adapters[static_cast<size_t>(g)].ld_start = all[g].ld_start;
    }
    one_launch(context, adapters.data(), nullptr, stacked, count);
    for (long g = 0; g < count; g++) {
      Gemm base = all[g];
      base.start = base.c;
      base.ld_start = base.ldc;
      run_gemm(context, &base);
    }
    return true;
  }
  const bool ready = std::all_of(all, all + count, lies_ready);
  const Lines lines = lines_of(all[0]);
  const long each = ready || stacked != nullptr ? count : std::max(1L, most_converted / std::max(1L, lines.lines * lines.ld));
  for (long g = 0; g < count; g += each) {
    const long some = std::min(each, count - g);
    const StackedRows rest = stacked != nullptr ? StackedRows{stacked->parts + g * stacked->count, stacked->rows, stacked->count} : StackedRows{};
    one_launch(context, all + g, more != nullptr ? more + g : nullptr, stacked != nullptr ? &rest : nullptr, some);
  }
  return true;
}

namespace {

// All rows that products over groups' rows take, as one matrix of bfloat16: how many there are, and where a product's begin.
Matrix rows_of_grads(const Context* context, const GemmOperand& x, long rows, long columns, int& slot, int other) {
  const GemmOperand whole = {x.data, x.ld, 0, x.kind, nullptr, nullptr, 0};
  slot = -1;
  if (x.kind == GEMM_BFLOAT16 && x.ld % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0) return {x.data, rows, columns, x.ld, false};
  return narrowed(context, whole, rows, columns, slot, other);
}
long numbers_between(const GemmOperand& from, const GemmOperand& to) {
  return (static_cast<const char*>(to.data) - static_cast<const char*>(from.data)) / (from.kind == GEMM_BFLOAT16 ? 2 : 4);
}

}  // namespace

// Where few rows are summed over, or the result has few rows, as an adapter's A.
bool CudaDevice::grouped_grads(const Context* context, const Gemm* all, long count) {
  if (!context->bf16 || count < 2 || all[0].a.ld == 0 || GroupedTile::bytes > shared_memory()) return false;
  const Gemm& one = all[0];
  const auto kind = [](const GemmOperand& x) { return x.kind == GEMM_FLOAT32 || x.kind == GEMM_BFLOAT16; };
  long rows = 0, summed = 0;
  bool thin = true;
  for (long i = 0; i < count; i++) {
    const Gemm& p = all[i];
    const long at = numbers_between(one.a, p.a), first = at / one.a.ld, column = at % one.a.ld;
    const bool same = p.n == one.n && p.alpha == 1 && p.start == nullptr && !p.half && p.ldc == p.n && p.a.transposed && !p.b.transposed && p.a.kind == one.a.kind &&
                      p.b.kind == one.b.kind && p.a.ld == one.a.ld && p.b.ld == p.n && at >= 0 && column % 8 == 0 && column + p.m <= one.a.ld &&
                      numbers_between(one.b, p.b) == first * p.n;
    if (!same) return false;
    rows = std::max(rows, first + p.k);
    summed += p.k;
    thin = thin && p.m <= GroupedTile::rows;
  }
  const bool vectors = kind(one.a) && kind(one.b) && one.n % 8 == 0 && (one.a.ld % 8 == 0 || one.a.kind == GEMM_FLOAT32);
  if (!vectors || rows == 0 || (blas() != nullptr && !thin && summed > most_grouped_rows * count)) return false;
  int left = -1, right = -1;
  const Matrix dy = rows_of_grads(context, one.a, rows, one.a.ld, left, -1), x = rows_of_grads(context, one.b, rows, one.n, right, left);
  std::vector<RxGroupedGradPiece> pieces;
  for (long i = 0; i < count; i++) {
    const Gemm& p = all[i];
    const long at = numbers_between(one.a, p.a), first = at / one.a.ld, column = at % one.a.ld;
    for (long row = 0; row < p.m; row += GroupedTile::rows)
      pieces.push_back({static_cast<const uint16_t*>(dy.data) + first * dy.ld + column + row, static_cast<const uint16_t*>(x.data) + first * x.ld,
                        p.c + row * p.n, p.k, std::min<long>(GroupedTile::rows, p.m - row)});
  }
  const std::vector<Narrowed> still = narrowed;
  const long blocks = static_cast<long>(pieces.size());
  launch(k::grouped_grad, {blocks, parts_of(one.n, GroupedTile::columns)}, 128, GroupedTile::bytes,
         RxGroupedGrad{stage(pieces.data(), blocks), one.n, dy.ld, x.ld});
  narrowed = still;
  for (long i = 0; i < count; i++) forget_written(*this, all[i].c, 4, all[i].n, all[i].m, all[i].n);
  return true;
}

bool CudaDevice::grouped_dropout(const Context*, Values x, Values y, const long* ends, const uint32_t* seeds, long count, double rate) {
  if (count == 0 || ends[count - 1] == 0) return true;
  over(ends[count - 1], k::grouped_dropout, x, y, stage(ends, count), stage(seeds, count), count, static_cast<float>(1 / (1 - rate)),
       static_cast<int>(std::ceil(rate * 16777216.0)));
  return true;
}

namespace {

// How an adapter's dy is cut: slabs of columns, bands of rows.
struct Cut {
  long slabs, bands, band;
  // Floats of sums that wait to be added up.
  long parts_du(const AdapterGrad& a) const { return slabs > 1 ? slabs * a.rows * a.rank : 0; }
  long parts_db(const AdapterGrad& a) const { return bands > 1 ? bands * a.columns * a.rank : 0; }
};
long slabs_of(const AdapterGrad& a) { return parts_of(a.columns, adapter_columns); }
// As many blocks of all slabs as the card runs at a time.
Cut cut_of(const AdapterGrad& a, long slabs, long processors) {
  const long tile = adapter_rows(adapter_rank(a.rank)), tiles = parts_of(a.rows, tile);
  const long band = parts_of(tiles, std::min(tiles, std::max(1L, processors / slabs))) * tile;
  return {slabs_of(a), parts_of(a.rows, band), band};
}
// What is added up afterwards is written and read; in return dy is read once instead of twice.
bool pays(const AdapterGrad& a, const Cut& cut) { return 8 * (cut.parts_du(a) + cut.parts_db(a)) < 2 * a.rows * a.columns; }

bool fits_tiles(const CudaDevice& device, const AdapterGrad& a) {
  const bool vectors = a.dy.kind == GEMM_FLOAT32 || (a.dy.kind == GEMM_BFLOAT16 && a.columns % 8 == 0 && a.dy.ld % 8 == 0 &&
                                                     reinterpret_cast<uintptr_t>(a.dy.data) % 16 == 0);
  return vectors && !a.dy.transposed && a.rows > 0 && a.columns > 0 && a.rank > 0 && a.rank <= widest_adapter &&
         adapter_bytes(adapter_rank(a.rank), least_stages) <= device.shared_memory();
}

// Few come with the launch, many are brought to the card first.
template <class List, class One, size_t most>
void listed(CudaDevice& device, List& list, One (&few)[most], const std::vector<One>& all) {
  if (all.size() > most)
    list.more = device.stage(all.data(), static_cast<long>(all.size()));
  else
    std::copy(all.begin(), all.end(), few);
}

// The longest of which takes `most` blocks.
void sum_pieces(CudaDevice& device, const std::vector<RxSumPiece>& sums, long most) {
  if (sums.empty()) return;
  RxSums list = {};
  listed(device, list, list.few, sums);
  device.launch(k::adapter_sums, {std::min(most, 4096L), static_cast<long>(sums.size())}, 256, 0, list);
}

// Adapters whose tiles have one shape, and either one alone or dy of all as bfloat16.
void run_adapters(const Context* context, const std::vector<AdapterGrad>& all, const std::vector<Cut>& cuts) {
  CudaDevice& device = of(context);
  const int rank = adapter_rank(all[0].rank);
  const auto whole = [](long n) { return parts_of(n, 4) * 4; };
  long floats = 0, blocks = 0, most = 0;
  for (size_t i = 0; i < all.size(); i++) floats += whole(cuts[i].parts_du(all[i])) + whole(cuts[i].parts_db(all[i]));
  float* parts = scratch<float>(context, slot_parts, floats);
  std::vector<RxAdapterPart> pieces;
  std::vector<RxSumPiece> sums;
  const auto add_up = [&](const float* from, long count, long rows, long width, Values to, long ld, float factor) {
    sums.push_back({from, to, count, rows * width, width, ld, factor, 0});
    most = std::max(most, parts_of(rows * width, adapter_sum_numbers));
  };
  for (size_t i = 0; i < all.size(); i++) {
    const AdapterGrad& a = all[i];
    const Cut& cut = cuts[i];
    int slot = -1;
    const Matrix dy = converted<uint16_t>(context, a.dy, a.rows, a.columns, slot, -1);
    RxAdapterPart piece = {static_cast<const uint16_t*>(dy.data), a.u, a.b, a.du, a.db, dy.ld, a.ld, a.ld, a.rows, a.columns, cut.band, cut.bands, 0, 0,
                           blocks, static_cast<int>(a.rank), a.scaling, a.scaling, 0};
    if (cut.slabs > 1) {
      add_up(parts, cut.slabs, a.rows, a.rank, a.du, a.ld, a.scaling);
      piece.du = values_of(parts), piece.ld_du = a.rank, piece.step_du = a.rows * a.rank, piece.factor_du = 1;
      parts += whole(cut.parts_du(a));
    }
    if (cut.bands > 1) {
      add_up(parts, cut.bands, a.columns, a.rank, values_of(a.db), a.rank, a.scaling);
      piece.db = parts, piece.step_db = a.columns * a.rank, piece.factor_db = 1;
      parts += whole(cut.parts_db(a));
    }
    blocks += cut.slabs * cut.bands;
    pieces.push_back(piece);
  }
  std::vector<CudaDevice::Narrowed> still = device.narrowed;
  int stages = most_stages;
  while (stages > least_stages && adapter_bytes(rank, stages) > device.shared_memory()) stages--;
  RxAdapters adapters = {nullptr, static_cast<long>(pieces.size()), {}, stages, 0};
  listed(device, adapters, adapters.few, pieces);
  device.launch(rank == 16 ? k::adapter_grad_16 : rank == 32 ? k::adapter_grad_32 : k::adapter_grad_64, {blocks}, 256, adapter_bytes(rank, stages), adapters);
  sum_pieces(device, sums, most);
  device.narrowed = std::move(still);
  for (const AdapterGrad& a : all) {
    forget_written(device, a.du.at, a.du.half ? 2 : 4, a.ld, a.rows, a.rank);
    forget_written(device, a.db, 4, a.rank, a.columns, a.rank);
  }
}

}  // namespace

bool CudaDevice::moved(const Context* context, const Moved* all, long count) {
  std::vector<RxSumPiece> pieces;
  long most = 0;
  for (long i = 0; i < count; i++) {
    if (all[i].count == 0) continue;
    pieces.push_back({all[i].from, values_of(all[i].to), 1, all[i].count, all[i].count, all[i].count, 1.f, 0});
    most = std::max(most, parts_of(all[i].count, adapter_sum_numbers));
  }
  std::vector<Narrowed> still = std::move(narrowed);
  sum_pieces(of(context), pieces, most);
  narrowed = std::move(still);
  for (long i = 0; i < count; i++) forget_written(*this, all[i].to, 4, all[i].count, 1, all[i].count);
  return true;
}

void CudaDevice::adapter_grads(const Context* context, const AdapterGrad* all, long count, bool* done) {
  if (!context->bf16) return;
  // Where dy is rounded first, it is alone: its rows take the place of other ones.
  std::map<long, std::vector<long>> groups;
  for (long i = 0; i < count; i++)
    if (fits_tiles(*this, all[i])) groups[all[i].dy.kind == GEMM_FLOAT32 ? -1 - i : adapter_rank(all[i].rank)].push_back(i);
  for (const auto& [key, group] : groups) {
    long slabs = 0;
    for (const long i : group) slabs += slabs_of(all[i]);
    std::vector<AdapterGrad> chosen;
    std::vector<Cut> cuts;
    for (const long i : group) {
      const Cut cut = cut_of(all[i], slabs, processors);
      done[i] = pays(all[i], cut);
      if (done[i]) chosen.push_back(all[i]), cuts.push_back(cut);
    }
    if (!chosen.empty()) run_adapters(context, chosen, cuts);
  }
}

const KernelTable* CudaDevice::table() const {
  static const KernelTable filled_once = filled();
  return &filled_once;
}

}  // namespace cuda
