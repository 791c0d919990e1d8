// What a transformer block is made of beside products with weights.
#include "../device.h"
#include "../ops.h"
#include "../routes.h"

namespace {

// vocabulary, columns, add, dy, dTable; ids
void embeddingGrad(Call& call) {
  const long vocabulary = call.size(), columns = call.size();
  const bool add = call.flag();
  HostArray<int32_t> ids = call.ints();
  const float* const dy = call.tensor(area(ids.size(), columns));
  float* const dTable = call.tensor(area(vocabulary, columns));
  call.enqueue([=, ids = std::move(ids)](const Context* c) {
    c->table->embedding_grad(c, dy, ids.data(), dTable, ids.size(), vocabulary, columns, add);
  });
}

// Every number below `rows` once, in any order. Of a task: numbers that lie in a tensor are known no sooner.
void permuted(const Context* context, const int32_t* places, long rows) {
  if (context->device != nullptr || places == nullptr) return;
  std::vector<bool> seen(static_cast<size_t>(rows));
  for (long i = 0; i < rows; i++) {
    if (places[i] < 0 || places[i] >= rows || seen[places[i]]) throw std::runtime_error("no permutation of rows at " + std::to_string(i));
    seen[places[i]] = true;
  }
}

// Integers of a tensor; null when its number is 0.
const int32_t* places(Call& call, long n) { return reinterpret_cast<const int32_t*>(call.optional(n)); }

// n, each, columns, x, weights?, out, places?
void combineRows(Call& call) {
  const long n = call.size(), each = call.size(), columns = call.size();
  if (each < 1) throw BadCall("sums of nothing");
  const long rows = area(n, each);
  const Values x = call.values(area(rows, columns));
  const float* const weights = call.optional(rows);
  const Values out = call.values(area(n, columns));
  const int32_t* const at = places(call, rows);
  call.enqueue([=](const Context* c) {
    permuted(c, at, rows);
    c->table->combine_rows(c, x, weights, at, out, n, each, columns);
  });
}

// n, each, columns, dy, x, weights, dx, dWeights, places?
void combineRowsGrad(Call& call) {
  const long n = call.size(), each = call.size(), columns = call.size();
  const long rows = area(n, each);
  const Values dy = call.values(area(n, columns)), x = call.values(area(rows, columns));
  const float* const weights = call.tensor(rows);
  const Values dx = call.values(area(rows, columns));
  float* const dWeights = call.tensor(rows);
  const int32_t* const at = places(call, rows);
  call.enqueue([=](const Context* c) {
    permuted(c, at, rows);
    c->table->combine_rows_grad(c, dy, x, weights, at, dx, dWeights, n, each, columns);
  });
}

int32_t* integers(Call& call, long n) { return static_cast<int32_t*>(call.bytes(n, 4)); }

// tokens, experts, each, sigmoid, normalized, leastSum, factor, groups, open, best, mixed, tolerance, logits, correction?, probabilities,
// chosen, weights, shares?, counts, order, rows, places
void routes(Call& call) {
  Routes a = {};
  a.tokens = call.size(), a.experts = call.size(), a.each = call.size();
  a.sigmoid = call.flag(), a.normalized = call.flag();
  a.least_sum = call.number(), a.factor = call.number();
  a.groups = call.size(), a.open = call.size(), a.best = call.size();
  a.mixed = call.flag(), a.tolerance = call.number();
  if (a.each > a.experts) throw BadCall("more experts a token than there are");
  if (a.groups > 0 && (a.experts % a.groups != 0 || a.open < 1 || a.open > a.groups || a.best < 1 || a.best > 2 || a.best > a.experts / a.groups))
    throw BadCall("no such groups of experts");
  const long all = area(a.tokens, a.experts), pairs = area(a.tokens, a.each);
  a.logits = call.tensor(all);
  a.correction = call.optional(a.experts);
  a.probabilities = call.tensor(all);
  a.chosen = integers(call, pairs);
  a.weights = call.tensor(pairs);
  a.shares = call.optional(area(pairs, a.experts));
  if (a.mixed != (a.shares != nullptr)) throw BadCall("shares are SparseMixer's");
  a.counts = integers(call, a.experts);
  a.order = integers(call, pairs), a.rows = integers(call, pairs), a.places = integers(call, pairs);
  call.enqueue([=](const Context* c) {
    Device* const device = static_cast<Device*>(c->device);
    if (device == nullptr)
      make_routes(c, &a);
    else
      device->routes(c, a);
  });
}

// tokens, experts, each, sigmoid, normalized, leastSum, factor, probabilities, chosen, weights, shares?, dWeights, slopes?, dLogits
void routesGrad(Call& call) {
  RoutesGrad a = {};
  a.tokens = call.size(), a.experts = call.size(), a.each = call.size();
  a.sigmoid = call.flag(), a.normalized = call.flag();
  a.least_sum = call.number(), a.factor = call.number();
  const long all = area(a.tokens, a.experts), pairs = area(a.tokens, a.each);
  a.probabilities = call.tensor(all);
  a.chosen = integers(call, pairs);
  a.weights = call.tensor(pairs);
  a.shares = call.optional(area(pairs, a.experts));
  a.d_weights = call.tensor(pairs);
  a.slopes = call.optional(a.experts);
  a.d_logits = call.tensor(all);
  call.enqueue([=](const Context* c) {
    Device* const device = static_cast<Device*>(c->device);
    if (device == nullptr)
      make_routes_grad(c, &a);
    else
      device->routes_grad(c, a);
  });
}

// x, added?, sum?, kept?
NormInput normInput(Call& call, long n) {
  NormInput input = {};
  input.x = call.values(n);
  input.added = call.optionalValues(n);
  input.sum = call.optionalValues(n);
  input.kept = call.optionalHalves(n);
  if ((input.added.at == nullptr) != (input.sum.at == nullptr)) throw BadCall("what is added and the sum come together");
  return input;
}

// rows, columns, eps, (x, added?, sum?, kept?), gain, bias?, y, mean, rstd
void layerNorm(Call& call) {
  const long rows = call.size(), columns = call.size();
  const float eps = static_cast<float>(call.number());
  const NormInput x = normInput(call, area(rows, columns));
  const float* const gain = call.tensor(columns);
  const float* const bias = call.optional(columns);
  const Values y = call.values(area(rows, columns));
  float* const mean = call.tensor(rows);
  float* const rstd = call.tensor(rows);
  call.enqueue([=](const Context* c) { c->table->layer_norm(c, x, gain, bias, y, mean, rstd, rows, columns, eps); });
}

// rows, columns, dy, x, gain, mean, rstd, dResidual?, dx, dGain?, dBias?
void layerNormGrad(Call& call) {
  const long rows = call.size(), columns = call.size();
  const Values dy = call.values(area(rows, columns)), x = call.values(area(rows, columns));
  const float* const gain = call.tensor(columns);
  const float* const mean = call.tensor(rows);
  const float* const rstd = call.tensor(rows);
  const float* const residual = call.optional(area(rows, columns));
  float* const dx = call.tensor(area(rows, columns));
  float* const dGain = call.optional(columns);
  float* const dBias = call.optional(columns);
  call.enqueue([=](const Context* c) {
    c->table->layer_norm_grad(c, dy, x, gain, mean, rstd, residual, dx, dGain, dBias, rows, columns);
  });
}

// rows, columns, eps, offset, (x, added?, sum?, kept?), gain, y, rstd
void rmsNorm(Call& call) {
  const long rows = call.size(), columns = call.size();
  const float eps = static_cast<float>(call.number()), offset = static_cast<float>(call.number());
  const NormInput x = normInput(call, area(rows, columns));
  const float* const gain = call.tensor(columns);
  const Values y = call.values(area(rows, columns));
  float* const rstd = call.tensor(rows);
  call.enqueue([=](const Context* c) { c->table->rms_norm(c, x, gain, y, rstd, rows, columns, eps, offset); });
}

// rows, columns, offset, byValue, dy, x, gain, rstd, dResidual?, dx, dGain?. By value, which devices alone have: x is what the norm gave.
void rmsNormGrad(Call& call) {
  const long rows = call.size(), columns = call.size();
  const float offset = static_cast<float>(call.number());
  const bool by_value = call.flag();
  const Values dy = call.values(area(rows, columns)), x = call.values(area(rows, columns));
  const float* const gain = call.tensor(columns);
  const float* const rstd = call.tensor(rows);
  const float* const residual = call.optional(area(rows, columns));
  float* const dx = call.tensor(area(rows, columns));
  float* const dGain = call.optional(columns);
  if (by_value && (dGain != nullptr || !call.on_device())) throw BadCall("a norm's gradient by its value is of a device, and none of the gain's");
  call.enqueue([=](const Context* c) {
    if (by_value)
      return static_cast<Device*>(c->device)->rms_norm_grad_by_value(c, dy, x, gain, rstd, residual, dx, rows, columns, offset);
    c->table->rms_norm_grad(c, dy, x, gain, rstd, residual, dx, dGain, rows, columns, offset);
  });
}

// rows, heads, headDim, rotaryDim, inverse, interleaved, x, cos, sin, y
void rope(Call& call) {
  const long rows = call.size(), heads = call.size(), headDim = call.size(), rotaryDim = call.size();
  const bool inverse = call.flag(), interleaved = call.flag();
  if (rotaryDim % 2 != 0 || rotaryDim > headDim) throw BadCall("an odd number of rotated dimensions, or more than there are");
  const long n = area(rows, area(heads, headDim)), angles = area(rows, rotaryDim / 2);
  const Values x = call.values(n);
  const float* const cos = call.tensor(angles);
  const float* const sin = call.tensor(angles);
  const Values y = call.values(n);
  call.enqueue([=](const Context* c) { c->table->rope(c, x, cos, sin, y, rows, heads, headDim, rotaryDim, inverse, interleaved); });
}

// rows, heads, nopeDim, ropeDim, valueDim, interleaved
LatentHeads latentShape(Call& call, long& rows) {
  rows = call.size();
  LatentHeads a = {};
  a.heads = call.size(), a.nope_dim = call.size(), a.rope_dim = call.size(), a.value_dim = call.size();
  a.interleaved = call.flag();
  if (call.kernels().latent_heads == nullptr) throw BadCall("the device has no heads of latent attention");
  if (a.rope_dim % 2 != 0) throw BadCall("an odd number of rotated dimensions");
  return a;
}

// …, q, kv, shared, cos, sin, then q turned, k, v
void latentHeads(Call& call) {
  long rows;
  const LatentHeads a = latentShape(call, rows);
  const long all = area(rows, a.heads), queries = area(all, a.nope_dim + a.rope_dim), angles = area(rows, a.rope_dim / 2);
  const Values q = call.values(queries), kv = call.values(area(all, a.nope_dim + a.value_dim)), shared = call.values(area(rows, a.rope_dim));
  const float* const cos = call.tensor(angles);
  const float* const sin = call.tensor(angles);
  const Values turned = call.values(queries), k = call.values(queries), v = call.values(area(all, a.value_dim));
  call.enqueue([=](const Context* c) { c->table->latent_heads(c, q, kv, shared, cos, sin, turned, k, v, rows, a); });
}

// …, dq, dk, dv, cos, sin, then the gradients of q, kv and shared
void latentHeadsGrad(Call& call) {
  long rows;
  const LatentHeads a = latentShape(call, rows);
  const long all = area(rows, a.heads), queries = area(all, a.nope_dim + a.rope_dim), angles = area(rows, a.rope_dim / 2);
  const Values dq = call.values(queries), dk = call.values(queries), dv = call.values(area(all, a.value_dim));
  const float* const cos = call.tensor(angles);
  const float* const sin = call.tensor(angles);
  const Values to = call.values(queries), dKv = call.values(area(all, a.nope_dim + a.value_dim)), dShared = call.values(area(rows, a.rope_dim));
  call.enqueue([=](const Context* c) { c->table->latent_heads_grad(c, dq, dk, dv, cos, sin, to, dKv, dShared, rows, a); });
}

// The arguments that attention and its gradient share: n, heads, kvHeads, headDim, valueDim, scale, window, softcap, alibi, half, q, k, v, out, lse; cuSeqlens.
// half: all but lse lie as bfloat16. A matrix may lie in a wider one: each of q, k, v is followed by the row stride and the first column.
struct AttentionCall {
  Attention a = {};
  long n = 0;
  HostArray<int32_t> borders;
};

// As floats, whatever they are: kernels know.
float* strided(Call& call, long n, long width, int half, long& ld) {
  long size;
  float* const data = call.any(size, half ? 2 : 4);
  ld = call.size();
  const long first = call.size();
  if (first + width > ld || area(n, ld) > size) throw BadCall("columns outside the matrix");
  return half ? reinterpret_cast<float*>(reinterpret_cast<uint16_t*>(data) + first) : data + first;
}

void widthsOfHead(long keys, long values) {
  if (keys < 1) throw BadCall("heads without keys");
  if (values < 1) throw BadCall("heads without values");
}

AttentionCall attentionCall(Call& call) {
  AttentionCall r;
  r.n = call.size();
  r.a.heads = call.size();
  r.a.kv_heads = call.size();
  r.a.head_dim = call.size();
  r.a.value_dim = call.size();
  r.a.scale = static_cast<float>(call.number());
  r.a.window = call.size();
  r.a.softcap = static_cast<float>(call.number());
  r.a.alibi = static_cast<float>(call.number());
  if (r.a.heads < 1 || r.a.kv_heads < 1 || r.a.heads % r.a.kv_heads != 0) throw BadCall("heads are not a multiple of kvHeads");
  widthsOfHead(r.a.head_dim, r.a.value_dim);
  r.a.half = call.half();
  r.a.q = strided(call, r.n, area(r.a.heads, r.a.head_dim), r.a.half, r.a.ld_q);
  r.a.k = strided(call, r.n, area(r.a.kv_heads, r.a.head_dim), r.a.half, r.a.ld_k);
  r.a.v = strided(call, r.n, area(r.a.kv_heads, r.a.value_dim), r.a.half, r.a.ld_v);
  r.a.out = static_cast<float*>(call.bytes(area(r.n, area(r.a.heads, r.a.value_dim)), r.a.half ? 2 : 4));
  r.a.lse = call.tensor(area(r.n, r.a.heads));
  r.borders = call.ints();
  const long borders = r.borders.size();
  if (borders < 1 || r.borders[0] != 0 || r.borders[borders - 1] != r.n) throw BadCall("cuSeqlens must run from 0 to the number of tokens");
  for (long i = 1; i < borders; i++)
    if (r.borders[i] < r.borders[i - 1]) throw BadCall("cuSeqlens must not fall");
  r.a.documents = borders - 1;
  return r;
}

// … sinks?
void attention(Call& call) {
  AttentionCall r = attentionCall(call);
  r.a.sinks = call.optional(r.a.heads);
  call.enqueue([a = r.a, borders = std::move(r.borders)](const Context* c) {
    Attention run = a;
    run.cu_seqlens = borders.data();
    ((c->bf16 || a.half) && c->table->attention_bf16 ? c->table->attention_bf16 : c->table->attention)(c, &run);
  });
}

// … dOut, then dq, dk, dv, each with row stride and first column
void attentionGrad(Call& call) {
  AttentionCall r = attentionCall(call);
  r.a.d_out = static_cast<float*>(call.bytes(area(r.n, area(r.a.heads, r.a.value_dim)), r.a.half ? 2 : 4));
  r.a.dq = strided(call, r.n, area(r.a.heads, r.a.head_dim), r.a.half, r.a.ld_dq);
  r.a.dk = strided(call, r.n, area(r.a.kv_heads, r.a.head_dim), r.a.half, r.a.ld_dk);
  r.a.dv = strided(call, r.n, area(r.a.kv_heads, r.a.value_dim), r.a.half, r.a.ld_dv);
  call.enqueue([a = r.a, borders = std::move(r.borders)](const Context* c) {
    Attention run = a;
    run.cu_seqlens = borders.data();
    ((c->bf16 || a.half) && c->table->attention_grad_bf16 ? c->table->attention_grad_bf16 : c->table->attention_grad)(c, &run);
  });
}

// n, rows, heads, kvHeads, headDim, valueDim, window, scale, softcap, alibi, sinks?, q, keys, values, out: keys and values may have room for more rows
void cachedAttention(Call& call) {
  CachedAttention a = {};
  a.n = call.size(), a.rows = call.size(), a.heads = call.size(), a.kv_heads = call.size(), a.head_dim = call.size();
  a.value_dim = call.size(), a.window = call.size();
  a.scale = static_cast<float>(call.number());
  a.softcap = static_cast<float>(call.number());
  a.alibi = static_cast<float>(call.number());
  if (a.heads < 1 || a.kv_heads < 1 || a.heads % a.kv_heads != 0) throw BadCall("heads are not a multiple of kvHeads");
  widthsOfHead(a.head_dim, a.value_dim);
  if (a.n > a.rows) throw BadCall("more queries than rows are kept");
  a.sinks = call.optional(a.heads);
  const Values q = call.values(area(a.n, area(a.heads, a.head_dim)));
  const float* const keys = call.tensor(area(a.rows, area(a.kv_heads, a.head_dim)));
  const float* const values = call.tensor(area(a.rows, area(a.kv_heads, a.value_dim)));
  const Values out = call.values(area(a.n, area(a.heads, a.value_dim)));
  call.enqueue([=](const Context* c) { c->table->cached_attention(c, q, keys, values, out, a); });
}

// at, n, columns, x, table: rows at … at + n - 1 of the table become those of x
void writeRows(Call& call) {
  const long at = call.size(), n = call.size(), columns = call.size();
  const float* const x = call.tensor(area(n, columns));
  float* const table = call.tensor(area(at + n, columns));
  call.enqueue([=](const Context* c) { c->table->copy_columns(c, values_of(x), columns, values_of(table + at * columns), columns, n, columns); });
}

// n, kind, x, y
void activation(Call& call) {
  const long n = call.size();
  const int kind = call.kind(ACTIVATIONS);
  const Values x = call.values(n), y = call.values(n);
  call.enqueue([=](const Context* c) { c->table->activation(c, kind, x, y, n); });
}

// n, kind, x, dy, dx
void activationGrad(Call& call) {
  const long n = call.size();
  const int kind = call.kind(ACTIVATIONS);
  const Values x = call.values(n), dy = call.values(n), dx = call.values(n);
  call.enqueue([=](const Context* c) { c->table->activation_grad(c, kind, x, dy, dx, n); });
}

// n, kind, gate, up, y
void gatedActivation(Call& call) {
  const long n = call.size();
  const int kind = call.kind(ACTIVATIONS);
  const Values gate = call.values(n), up = call.values(n), y = call.values(n);
  call.enqueue([=](const Context* c) { c->table->gated_activation(c, kind, gate, up, y, n); });
}

// n, kind, gate, up, dy, dGate, dUp
void gatedActivationGrad(Call& call) {
  const long n = call.size();
  const int kind = call.kind(ACTIVATIONS);
  const Values gate = call.values(n), up = call.values(n), dy = call.values(n), dGate = call.values(n), dUp = call.values(n);
  call.enqueue([=](const Context* c) { c->table->gated_activation_grad(c, kind, gate, up, dy, dGate, dUp, n); });
}

// n, x, alphaP, alphaN, y
void xielu(Call& call) {
  const long n = call.size();
  const Values x = call.values(n);
  const float* const alphaP = call.tensor(1);
  const float* const alphaN = call.tensor(1);
  const Values y = call.values(n);
  call.enqueue([=](const Context* c) { c->table->xielu(c, x, alphaP, alphaN, y, n); });
}

// n, x, alphaP, alphaN, dy, dx, dAlphaP?, dAlphaN?
void xieluGrad(Call& call) {
  const long n = call.size();
  const Values x = call.values(n);
  const float* const alphaP = call.tensor(1);
  const float* const alphaN = call.tensor(1);
  const Values dy = call.values(n), dx = call.values(n);
  float* const dAlphaP = call.optional(1);
  float* const dAlphaN = call.optional(1);
  if ((dAlphaP == nullptr) != (dAlphaN == nullptr)) throw BadCall("the gradients of both alphas come together");
  call.enqueue([=](const Context* c) { c->table->xielu_grad(c, x, alphaP, alphaN, dy, dx, dAlphaP, dAlphaN, n); });
}

// n, limit, gate, up, y
void clampedGate(Call& call) {
  const long n = call.size();
  const float limit = static_cast<float>(call.number());
  const Values gate = call.values(n), up = call.values(n), y = call.values(n);
  call.enqueue([=](const Context* c) { c->table->clamped_gate(c, limit, gate, up, y, n); });
}

// n, limit, gate, up, dy, dGate, dUp
void clampedGateGrad(Call& call) {
  const long n = call.size();
  const float limit = static_cast<float>(call.number());
  const Values gate = call.values(n), up = call.values(n), dy = call.values(n), dGate = call.values(n), dUp = call.values(n);
  call.enqueue([=](const Context* c) { c->table->clamped_gate_grad(c, limit, gate, up, dy, dGate, dUp, n); });
}

// n, rate, seed, offset, x, y
void dropout(Call& call) {
  const long n = call.size();
  const double rate = call.number();
  const double seed = call.number(), offset = call.number();
  if (!(rate >= 0 && rate < 1)) throw BadCall("a dropout rate outside [0, 1)");
  if (!(seed >= 0 && seed < 4294967296.0) || !(offset >= 0 && offset < 9007199254740992.0)) throw BadCall("a seed or offset out of range");
  const Values x = call.values(n), y = call.values(n);
  call.enqueue([=](const Context* c) {
    c->table->dropout(c, x, y, n, rate, static_cast<uint32_t>(seed), static_cast<uint64_t>(offset));
  });
}

constexpr Operation list[] = {
    {"cachedAttention", cachedAttention},
    {"writeRows", writeRows},
    {"embeddingGrad", embeddingGrad},
    {"combineRows", combineRows},
    {"combineRowsGrad", combineRowsGrad},
    {"routes", routes},
    {"routesGrad", routesGrad},
    {"layerNorm", layerNorm},
    {"layerNormGrad", layerNormGrad},
    {"rmsNorm", rmsNorm},
    {"rmsNormGrad", rmsNormGrad},
    {"rope", rope},
    {"latentHeads", latentHeads},
    {"latentHeadsGrad", latentHeadsGrad},
    {"attention", attention},
    {"attentionGrad", attentionGrad},
    {"activation", activation},
    {"activationGrad", activationGrad},
    {"gatedActivation", gatedActivation},
    {"gatedActivationGrad", gatedActivationGrad},
    {"xielu", xielu},
    {"xieluGrad", xieluGrad},
    {"clampedGate", clampedGate},
    {"clampedGateGrad", clampedGateGrad},
    {"dropout", dropout},
};

}  // namespace

Operations blockOperations() { return {list, sizeof list / sizeof *list}; }
