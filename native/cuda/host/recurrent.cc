// What reads earlier tokens through a state, not by attention, and xIELU, on a CUDA card.
#include "recurrent.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "../../cc/scratch.h"
#include "../kernels/scan_layout.h"
#include "../kernels/selective_layout.h"
#include "cuda_device.h"

namespace cuda {
namespace {

namespace k = kernels;

// Where the logits of a step's loss lie (table.cc): these kernels run before and after it.
enum { slot_scan = SCRATCH_KERNEL + 1 };

CudaDevice& of(const Context* context) { return *static_cast<CudaDevice*>(static_cast<Device*>(context->device)); }

template <class T>
T* scratch(const Context* context, int slot, long count) {
  return static_cast<T*>(scratch_get(context->scratch, slot, sizeof(T) * static_cast<size_t>(count < 1 ? 1 : count)));
}

constexpr long parts_of(long n, long part) { return (n + part - 1) / part; }

bool in_fours(const Values& v) { return reinterpret_cast<uintptr_t>(v.at) % (v.half ? 8 : 16) == 0; }

// ---- convolutions ----

// Rows of a block: few rows above it are read again, and the sums of a strip are few beside its rows.
constexpr int strip_forwards = 32, strip_backwards = 64;
constexpr unsigned conv_threads = 128;

RxCausalConv passed(CudaDevice& device, const CausalConv* conv) {
  RxCausalConv a = {};
  a.x = conv->x, a.y = conv->y, a.dy = conv->dy, a.dx = conv->dx;
  a.weight = conv->weight, a.bias = conv->bias;
  a.rows = conv->rows, a.channels = conv->channels, a.documents = conv->documents;
  a.taps = static_cast<int>(conv->taps), a.silu = conv->silu, a.gated = conv->gated;
  a.fours = conv->taps <= 4 && conv->channels % 4 == 0 && in_fours(a.x) && in_fours(a.y) && in_fours(a.dy) && in_fours(a.dx);
  a.cu_seqlens = device.stage(conv->cu_seqlens, conv->documents + 1);
  return a;
}
Grid grid_of(const RxCausalConv& a) { return {parts_of(a.rows, a.strip), parts_of(a.channels, conv_threads * (a.fours ? 4 : 1))}; }

void causal_conv(const Context* context, const CausalConv* conv) {
  if (conv->rows == 0) return;
  CudaDevice& device = of(context);
  RxCausalConv a = passed(device, conv);
  a.strip = strip_forwards;
  device.launch(a.taps <= 4 ? k::causal_conv_4 : k::causal_conv_16, grid_of(a), conv_threads, 0, a);
}

void causal_conv_grad(const Context* context, const CausalConv* conv) {
  CudaDevice& device = of(context);
  const long factors = conv->channels * conv->taps;
  if (conv->rows > 0) {
    RxCausalConv a = passed(device, conv);
    a.strip = strip_backwards;
    const Grid grid = grid_of(a);
    if (conv->d_weight != nullptr || conv->d_bias != nullptr) a.parts = scratch<float>(context, slot_scan, grid.x * (factors + conv->channels));
    device.launch(a.taps <= 4 ? k::causal_conv_grad_4 : k::causal_conv_grad_16, grid, conv_threads, 0, a);
    const auto add = [&](const float* parts, float* to, long columns) {
      if (to != nullptr) device.launch(k::add_parts, {parts_of(columns, 32)}, 256, 0, parts, grid.x, factors + conv->channels, to, 0, columns);
    };
    add(a.parts, conv->d_weight, factors);
    add(a.parts + factors, conv->d_bias, conv->channels);
    return;
  }
  if (conv->d_weight != nullptr) device.zero(conv->d_weight, sizeof(float) * static_cast<size_t>(factors));
  if (conv->d_bias != nullptr) device.zero(conv->d_bias, sizeof(float) * static_cast<size_t>(conv->channels));
}

// ---- xIELU ----

void xielu(const Context* context, Values x, const float* alpha_p, const float* alpha_n, Values y, long n) {
  of(context).over(n, k::xielu, x, alpha_p, alpha_n, y, n);
}

void xielu_grad(const Context* context, Values x, const float* alpha_p, const float* alpha_n, Values dy, Values dx, float* d_alpha_p, float* d_alpha_n,
                long n) {
  constexpr long most_blocks = 1024;
  CudaDevice& device = of(context);
  const long blocks = std::min(parts_of(n, 1024), most_blocks);
  float* const parts = d_alpha_p != nullptr ? scratch<float>(context, slot_scan, 2 * blocks) : nullptr;
  device.launch(k::xielu_grad, {blocks}, 256, 0, x, alpha_p, alpha_n, dy, dx, parts, n);
  if (parts != nullptr) device.launch(k::xielu_sums, {1}, 256, 0, parts, blocks, alpha_p, alpha_n, d_alpha_p, d_alpha_n);
}

// ---- scans in chunks ----

// Chunks of documents of `length` tokens at most: the first row and the rows of each; of each document its first.
struct Chunks {
  std::vector<int32_t> list, first;
  long count() const { return static_cast<long>(list.size()) / 2; }
  Chunks(const int32_t* cu_seqlens, long documents, long length) {
    for (long d = 0; d < documents; d++) {
      first.push_back(static_cast<int32_t>(count()));
      for (long row = cu_seqlens[d]; row < cu_seqlens[d + 1]; row += length) {
        list.push_back(static_cast<int32_t>(row));
        list.push_back(static_cast<int32_t>(std::min<long>(length, cu_seqlens[d + 1] - row)));
      }
    }
    first.push_back(static_cast<int32_t>(count()));
  }
};

// Memory taken piece by piece, first counted, then given; every piece begins on a border of 256 bytes.
class Room {
 public:
  explicit Room(char* base) : base(base) {}
  template <class T>
  void take(T*& at, long bytes) {
    at = base != nullptr ? reinterpret_cast<T*>(base + used) : nullptr;
    used += parts_of(bytes, 256) * 256;
  }
  long used = 0;

 private:
  char* base;
};
// lay_out(Room&) says what is taken.
template <class F>
void laid_out(const Context* context, F lay_out) {
  Room counted(nullptr);
  lay_out(counted);
  Room given(scratch<char>(context, slot_scan, counted.used));
  lay_out(given);
}

// Tiles of how many chunks a block of so many has at a time: two, where that leaves the card as many blocks as it has place for, else one.
template <class F>
int stages_of(const CudaDevice& device, long blocks, F bytes, const char* what) {
  if (bytes(2) <= device.shared_memory() && (blocks <= device.multiprocessors() || 2 * bytes(2) <= device.shared_memory())) return 2;
  if (bytes(1) > device.shared_memory()) throw std::runtime_error(std::string(what) + ": heads this wide do not fit this card");
  return 1;
}
long fitting(const CudaDevice& device, long bytes, const char* what) {
  if (bytes > device.shared_memory()) throw std::runtime_error(std::string(what) + ": heads this wide do not fit this card");
  return bytes;
}

// ---- gated delta rule ----

constexpr const char* delta_rule = "the gated delta rule";

// Starts the kernels that both ways begin with; `back`: what the way back needs of them lies too.
RxDeltaRule begun(const Context* context, const GatedDeltaRule* rule, bool back) {
  CudaDevice& device = of(context);
  const int each = context->bf16 ? 2 : 4, chunk = scan_chunk(each);
  const Chunks chunks(rule->cu_seqlens, rule->documents, chunk);
  RxDeltaRule a = {};
  a.qkv = rule->qkv, a.out = rule->out, a.d_out = rule->d_out, a.d_qkv = rule->d_qkv;
  a.decay = rule->decay, a.rate = rule->rate, a.d_decay = rule->d_decay, a.d_rate = rule->d_rate;
  // On the way back every document begins with zeros.
  a.state = back ? nullptr : rule->state, a.last_state = back ? nullptr : rule->last_state;
  a.rows = rule->cu_seqlens[rule->documents], a.documents = rule->documents;
  a.key_heads = static_cast<int>(rule->key_heads), a.value_heads = static_cast<int>(rule->value_heads);
  a.key_dim = static_cast<int>(rule->key_dim), a.value_dim = static_cast<int>(rule->value_dim);
  a.keys = static_cast<int>(scan_whole(a.key_dim)), a.values = static_cast<int>(scan_whole(a.value_dim)), a.eps = rule->eps;
  const long keys = a.rows * a.key_heads * a.keys, values = a.rows * a.value_heads * a.values, pieces = chunks.count() * a.value_heads;
  laid_out(context, [&](Room& room) {
    room.take(a.q, each * keys);
    room.take(a.k, each * keys);
    room.take(a.inverse, each * pieces * chunk * chunk);
    room.take(a.attended, each * pieces * chunk * chunk);
    room.take(a.states, each * pieces * a.keys * a.values);
    room.take(a.u, each * values);
    if (!back) return;
    room.take(a.d_states, each * pieces * a.keys * a.values);
    room.take(a.missing, each * values);
    room.take(a.d_corrections, each * values);
    room.take(a.dq, 4 * a.rows * a.value_heads * a.keys);
    room.take(a.dk, 4 * a.rows * a.value_heads * a.keys);
  });
  if (a.rows > 0) a.chunks = device.stage(chunks.list.data(), 2 * chunks.count());
  a.first_chunk = device.stage(chunks.first.data(), a.documents + 1);
  const long blocks = a.documents * a.value_heads, across = a.values / scan_columns;
  const auto scan_bytes = [&](int stages) { return delta_scan_bytes(each, a.keys, stages); };
  const unsigned threads = static_cast<unsigned>(2 * chunk);
  device.launch(each == 2 ? k::delta_units_bf16 : k::delta_units_f32, {parts_of(a.rows, 4), 2 * a.key_heads}, 128, 0, a);
  device.launch(each == 2 ? k::delta_squares_bf16 : k::delta_squares_f32, {chunks.count(), a.value_heads}, threads,
                fitting(device, delta_chunk_bytes(each, a.keys), delta_rule), a);
  a.stages = stages_of(device, blocks * across, scan_bytes, delta_rule);
  device.launch(each == 2 ? k::delta_scan_bf16 : k::delta_scan_f32, {blocks, across}, threads, scan_bytes(a.stages), a);
  return a;
}
long chunks_of(const Context* context, const GatedDeltaRule* rule) {
  return Chunks(rule->cu_seqlens, rule->documents, scan_chunk(context->bf16 ? 2 : 4)).count();
}

void gated_delta_rule(const Context* context, const GatedDeltaRule* rule) {
  const bool half = context->bf16 != 0;
  const RxDeltaRule a = begun(context, rule, false);
  of(context).launch(half ? k::delta_out_bf16 : k::delta_out_f32, {chunks_of(context, rule), a.value_heads}, half ? 128 : 64,
                     delta_out_bytes(half ? 2 : 4), a);
}

void gated_delta_rule_grad(const Context* context, const GatedDeltaRule* rule) {
  CudaDevice& device = of(context);
  const bool half = context->bf16 != 0;
  const int each = half ? 2 : 4;
  const unsigned threads = half ? 128 : 64;
  RxDeltaRule a = begun(context, rule, true);
  const long blocks = a.documents * a.value_heads, across = a.values / scan_columns;
  const auto back_bytes = [&](int stages) { return delta_back_bytes(each, a.keys, stages); };
  a.stages = stages_of(device, blocks * across, back_bytes, delta_rule);
  device.launch(half ? k::delta_scan_back_bf16 : k::delta_scan_back_f32, {blocks, across}, threads, back_bytes(a.stages), a);
  device.launch(half ? k::delta_grad_bf16 : k::delta_grad_f32, {chunks_of(context, rule), a.value_heads}, threads, delta_grad_bytes(each), a);
  device.launch(k::delta_units_grad, {parts_of(a.rows, 4), 2 * a.key_heads}, 128, 0, a);
}

// ---- Mamba-2's scan ----

constexpr const char* state_space = "the scan of Mamba-2";

// Starts the kernels that both ways begin with; `back`: what the way back needs of them lies too.
RxStateSpace begun(const Context* context, const StateSpaceScan* scan, bool back) {
  CudaDevice& device = of(context);
  const int each = context->bf16 ? 2 : 4, chunk = scan_chunk(each);
  const Chunks chunks(scan->cu_seqlens, scan->documents, chunk);
  RxStateSpace a = {};
  a.xbc = scan->xbc, a.dt = scan->dt, a.y = scan->y, a.dy = scan->dy, a.d_xbc = scan->d_xbc, a.d_dt = scan->d_dt;
  a.a_log = scan->a_log, a.skip = scan->skip, a.dt_bias = scan->dt_bias;
  a.state = back ? nullptr : scan->state, a.last = back ? nullptr : scan->last;
  a.rows = scan->cu_seqlens[scan->documents], a.documents = scan->documents;
  a.heads = static_cast<int>(scan->heads), a.head_dim = static_cast<int>(scan->head_dim), a.groups = static_cast<int>(scan->groups);
  a.state_dim = static_cast<int>(scan->state_dim), a.least = scan->least, a.most = scan->most;
  a.keys = static_cast<int>(scan_whole(a.state_dim)), a.values = static_cast<int>(scan_whole(a.head_dim));
  const long shared = a.rows * a.groups * a.keys, states = chunks.count() * a.heads * a.keys * a.values;
  laid_out(context, [&](Room& room) {
    room.take(a.b, each * shared);
    room.take(a.c, each * shared);
    room.take(a.states, each * states);
    if (!back) return;
    room.take(a.d_states, each * states);
    room.take(a.sums, 4 * chunks.count() * 3 * a.heads);
  });
  if (a.rows > 0) a.chunks = device.stage(chunks.list.data(), 2 * chunks.count());
  a.first_chunk = device.stage(chunks.first.data(), a.documents + 1);
  const long blocks = a.documents * a.heads, across = a.values / scan_columns;
  const auto bytes = [&](int stages) { return space_scan_bytes(each, a.keys, stages); };
  const unsigned threads = static_cast<unsigned>(2 * chunk);
  a.stages = stages_of(device, blocks * across, bytes, state_space);
  device.launch(each == 2 ? k::space_pack_bf16 : k::space_pack_f32, {parts_of(a.rows, 4), 2 * a.groups}, 128, 0, a);
  device.launch(each == 2 ? k::space_scan_bf16 : k::space_scan_f32, {blocks, across}, threads, bytes(a.stages), a);
  if (back) device.launch(each == 2 ? k::space_scan_back_bf16 : k::space_scan_back_f32, {blocks, across}, threads, bytes(a.stages), a);
  return a;
}
long chunks_of(const Context* context, const StateSpaceScan* scan) {
  return Chunks(scan->cu_seqlens, scan->documents, scan_chunk(context->bf16 ? 2 : 4)).count();
}

void state_space_scan(const Context* context, const StateSpaceScan* scan) {
  const bool half = context->bf16 != 0;
  const RxStateSpace a = begun(context, scan, false);
  of(context).launch(half ? k::space_out_bf16 : k::space_out_f32, {chunks_of(context, scan), a.heads}, half ? 128 : 64, space_out_bytes(half ? 2 : 4), a);
}

void state_space_scan_grad(const Context* context, const StateSpaceScan* scan) {
  CudaDevice& device = of(context);
  const bool half = context->bf16 != 0;
  const int each = half ? 2 : 4;
  const unsigned threads = half ? 128 : 64;
  const RxStateSpace a = begun(context, scan, true);
  const long chunks = chunks_of(context, scan);
  device.launch(half ? k::space_grad_bf16 : k::space_grad_f32, {chunks, a.heads}, threads, space_grad_bytes(each), a);
  device.launch(half ? k::space_shared_grad_bf16 : k::space_shared_grad_f32, {chunks, a.groups * (a.keys / scan_tile)}, threads,
                space_shared_grad_bytes(each), a);
  float* const of_heads[] = {scan->d_a_log, scan->d_skip, scan->d_dt_bias};
  for (long i = 0; i < 3; i++)
    device.launch(k::add_parts, {parts_of(a.heads, 32)}, 256, 0, a.sums + i * a.heads, chunks, 3L * a.heads, of_heads[i], 0, a.heads);
}

// ---- Mamba's scan ----

// Starts the kernels that both ways begin with; `back`: what the way back needs of them lies too.
RxSelective begun(const Context* context, const SelectiveScan* scan, const Chunks& chunks, bool back) {
  CudaDevice& device = of(context);
  if (scan->state_dim > selective_most) throw std::runtime_error("the scan of Mamba: states this wide do not fit this card");
  RxSelective a = {};
  a.x = scan->x, a.dt = scan->dt, a.b = scan->b, a.c = scan->c, a.y = scan->y;
  a.dy = scan->dy, a.d_x = scan->d_x, a.d_dt = scan->d_dt, a.d_b = scan->d_b, a.d_c = scan->d_c;
  a.a_log = scan->a_log, a.skip = scan->skip, a.d_a_log = scan->d_a_log, a.d_skip = scan->d_skip;
  // On the way back every document begins with zeros.
  a.state = back ? nullptr : scan->state, a.last = back ? nullptr : scan->last;
  a.rows = scan->rows, a.documents = scan->documents, a.channels = scan->channels, a.state_dim = static_cast<int>(scan->state_dim);
  const int lanes = selective_lanes(a.state_dim);
  const long width = selective_each * lanes, groups = parts_of(a.channels, selective_channels(lanes)), states = chunks.count() * a.channels * width;
  a.width = static_cast<int>(width), a.parts = std::min(groups, selective_parts);
  laid_out(context, [&](Room& room) {
    room.take(a.states, 4 * states);
    room.take(a.rates, 4 * chunks.count() * a.channels);
    if (!back) return;
    room.take(a.d_states, 4 * states);
    room.take(a.shared, 4 * a.parts * a.rows * 2 * width);
  });
  if (a.rows > 0) a.chunks = device.stage(chunks.list.data(), 2 * chunks.count());
  a.first_chunk = device.stage(chunks.first.data(), a.documents + 1);
  const bool wide = lanes == selective_wide;
  const Grid all = {chunks.count(), groups}, through = {a.documents, parts_of(a.channels * width, 256)};
  device.launch(wide ? k::selective_ends_128 : k::selective_ends_16, all, selective_threads, 0, a);
  device.launch(k::selective_join, through, 256, 0, a);
  if (!back) return a;
  device.launch(wide ? k::selective_ends_back_128 : k::selective_ends_back_16, all, selective_threads, 0, a);
  device.launch(k::selective_join_back, through, 256, 0, a);
  return a;
}

void selective_scan(const Context* context, const SelectiveScan* scan) {
  const Chunks chunks(scan->cu_seqlens, scan->documents, selective_chunk);
  const RxSelective a = begun(context, scan, chunks, false);
  const int lanes = selective_lanes(a.state_dim);
  of(context).launch(lanes == selective_wide ? k::selective_out_128 : k::selective_out_16,
                     {chunks.count(), parts_of(a.channels, selective_channels(lanes))}, selective_threads, 0, a);
}

void selective_scan_grad(const Context* context, const SelectiveScan* scan) {
  CudaDevice& device = of(context);
  const Chunks chunks(scan->cu_seqlens, scan->documents, selective_chunk_back);
  const RxSelective a = begun(context, scan, chunks, true);
  const int lanes = selective_lanes(a.state_dim);
  device.launch(lanes == selective_wide ? k::selective_grad_128 : k::selective_grad_16, {chunks.count(), a.parts}, selective_threads,
                selective_grad_bytes(lanes), a);
  device.launch(k::selective_shared, {parts_of(a.rows * 2 * a.state_dim, 256)}, 256, 0, a);
  device.launch(k::selective_sums, {parts_of(a.channels * (a.state_dim + 1), 256)}, 256, 0, a);
}

}  // namespace

void fill_recurrent(KernelTable& table) {
  table.causal_conv = causal_conv;
  table.causal_conv_grad = causal_conv_grad;
  table.gated_delta_rule = gated_delta_rule;
  table.gated_delta_rule_grad = gated_delta_rule_grad;
  table.state_space_scan = state_space_scan;
  table.state_space_scan_grad = state_space_scan_grad;
  table.selective_scan = selective_scan;
  table.selective_scan_grad = selective_scan_grad;
  table.xielu = xielu;
  table.xielu_grad = xielu_grad;
}

}  // namespace cuda
