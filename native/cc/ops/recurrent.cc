// What reads earlier tokens through a state, not by attention.
#include "../ops.h"

namespace {

// Runs a kernel over documents, whose borders live until it has run.
template <class Over>
void enqueueOver(Call& call, const Over& over, HostArray<int32_t> borders, void (*KernelTable::*kernel)(const Context*, const Over*)) {
  call.enqueue([over, kernel, borders = std::move(borders)](const Context* c) {
    Over run = over;
    run.cu_seqlens = borders.data();
    (c->table->*kernel)(c, &run);
  });
}

// Borders of documents of n rows: from 0 to n, never falling.
HostArray<int32_t> documents(Call& call, long n) {
  HostArray<int32_t> borders = call.ints();
  const long count = borders.size();
  if (count < 1 || borders[0] != 0 || borders[count - 1] != n) throw BadCall("cuSeqlens must run from 0 to the number of tokens");
  for (long i = 1; i < count; i++)
    if (borders[i] < borders[i - 1]) throw BadCall("cuSeqlens must not fall");
  return borders;
}

// n, channels, taps, silu, gated
CausalConv causalConvCall(Call& call) {
  CausalConv conv = {};
  conv.rows = call.size(), conv.channels = call.size(), conv.taps = call.size();
  conv.silu = call.flag(), conv.gated = call.flag();
  if (conv.taps < 1 || conv.taps > CAUSAL_CONV_TAPS) throw BadCall("a convolution of 1 to " + std::to_string(CAUSAL_CONV_TAPS) + " rows");
  return conv;
}

long sizeOfX(const CausalConv& conv) { return area(conv.rows, area(conv.gated ? 3 : 1, conv.channels)); }

// … x, weight, bias?, y; cuSeqlens
void causalConv(Call& call) {
  CausalConv conv = causalConvCall(call);
  const long n = area(conv.rows, conv.channels);
  conv.x = call.values(sizeOfX(conv));
  conv.weight = call.tensor(area(conv.channels, conv.taps));
  conv.bias = call.optional(conv.channels);
  conv.y = call.values(n);
  HostArray<int32_t> borders = documents(call, conv.rows);
  conv.documents = borders.size() - 1;
  enqueueOver(call, conv, std::move(borders), &KernelTable::causal_conv);
}

// … dy, x, weight, bias?, dx, dWeight?, dBias?; cuSeqlens
void causalConvGrad(Call& call) {
  CausalConv conv = causalConvCall(call);
  const long n = area(conv.rows, conv.channels), factors = area(conv.channels, conv.taps);
  conv.dy = call.values(n);
  conv.x = call.values(sizeOfX(conv));
  conv.weight = call.tensor(factors);
  conv.bias = call.optional(conv.channels);
  conv.dx = call.values(sizeOfX(conv));
  conv.d_weight = call.optional(factors);
  conv.d_bias = call.optional(conv.channels);
  HostArray<int32_t> borders = documents(call, conv.rows);
  conv.documents = borders.size() - 1;
  enqueueOver(call, conv, std::move(borders), &KernelTable::causal_conv_grad);
}

// Numbers of a row of x, B and C.
long widthOf(const StateSpaceScan& scan) {
  return area(scan.heads, scan.head_dim) + area(2, area(scan.groups, scan.state_dim));
}

// n, heads, headDim, groups, stateDim, least, most, xbc, dt, aLog, skip, dtBias
StateSpaceScan stateSpaceScanCall(Call& call) {
  StateSpaceScan scan = {};
  scan.rows = call.size(), scan.heads = call.size(), scan.head_dim = call.size(), scan.groups = call.size(), scan.state_dim = call.size();
  scan.least = static_cast<float>(call.number()), scan.most = static_cast<float>(call.number());
  if (scan.heads < 1 || scan.groups < 1 || scan.heads % scan.groups != 0) throw BadCall("heads are not a multiple of groups");
  if (scan.head_dim < 1 || scan.state_dim < 1) throw BadCall("a state of nothing");
  scan.xbc = call.values(area(scan.rows, widthOf(scan)));
  scan.dt = call.values(area(scan.rows, scan.heads));
  scan.a_log = call.tensor(scan.heads);
  scan.skip = call.tensor(scan.heads);
  scan.dt_bias = call.tensor(scan.heads);
  return scan;
}

// … y, state?, last?; cuSeqlens
void stateSpaceScan(Call& call) {
  StateSpaceScan scan = stateSpaceScanCall(call);
  HostArray<int32_t> borders = documents(call, scan.rows);
  scan.documents = borders.size() - 1;
  const long state = area(area(scan.documents, area(scan.heads, scan.state_dim)), scan.head_dim);
  scan.y = call.values(area(scan.rows, area(scan.heads, scan.head_dim)));
  scan.state = call.optional(state);
  scan.last = call.optional(state);
  enqueueOver(call, scan, std::move(borders), &KernelTable::state_space_scan);
}

// … dy, dXbc, dDt, dALog, dSkip, dDtBias; cuSeqlens
void stateSpaceScanGrad(Call& call) {
  StateSpaceScan scan = stateSpaceScanCall(call);
  HostArray<int32_t> borders = documents(call, scan.rows);
  scan.documents = borders.size() - 1;
  scan.dy = call.values(area(scan.rows, area(scan.heads, scan.head_dim)));
  scan.d_xbc = call.values(area(scan.rows, widthOf(scan)));
  scan.d_dt = call.values(area(scan.rows, scan.heads));
  scan.d_a_log = call.tensor(scan.heads);
  scan.d_skip = call.tensor(scan.heads);
  scan.d_dt_bias = call.tensor(scan.heads);
  enqueueOver(call, scan, std::move(borders), &KernelTable::state_space_scan_grad);
}

// n, channels, stateDim, x, dt, b, c, aLog, skip
SelectiveScan selectiveScanCall(Call& call) {
  SelectiveScan scan = {};
  scan.rows = call.size(), scan.channels = call.size(), scan.state_dim = call.size();
  if (scan.channels < 1 || scan.state_dim < 1) throw BadCall("a state of nothing");
  scan.x = call.values(area(scan.rows, scan.channels));
  scan.dt = call.values(area(scan.rows, scan.channels));
  scan.b = call.values(area(scan.rows, scan.state_dim));
  scan.c = call.values(area(scan.rows, scan.state_dim));
  scan.a_log = call.tensor(area(scan.channels, scan.state_dim));
  scan.skip = call.tensor(scan.channels);
  return scan;
}

// … y, state?, last?; cuSeqlens
void selectiveScan(Call& call) {
  SelectiveScan scan = selectiveScanCall(call);
  HostArray<int32_t> borders = documents(call, scan.rows);
  scan.documents = borders.size() - 1;
  const long state = area(area(scan.documents, scan.channels), scan.state_dim);
  scan.y = call.values(area(scan.rows, scan.channels));
  scan.state = call.optional(state);
  scan.last = call.optional(state);
  enqueueOver(call, scan, std::move(borders), &KernelTable::selective_scan);
}

// … dy, dX, dDt, dB, dC, dALog, dSkip; cuSeqlens
void selectiveScanGrad(Call& call) {
  SelectiveScan scan = selectiveScanCall(call);
  HostArray<int32_t> borders = documents(call, scan.rows);
  scan.documents = borders.size() - 1;
  const long of_channels = area(scan.rows, scan.channels), of_states = area(scan.rows, scan.state_dim);
  scan.dy = call.values(of_channels);
  scan.d_x = call.values(of_channels);
  scan.d_dt = call.values(of_channels);
  scan.d_b = call.values(of_states);
  scan.d_c = call.values(of_states);
  scan.d_a_log = call.tensor(area(scan.channels, scan.state_dim));
  scan.d_skip = call.tensor(scan.channels);
  enqueueOver(call, scan, std::move(borders), &KernelTable::selective_scan_grad);
}

// n, keyHeads, valueHeads, keyDim, valueDim, eps, qkv, decay, rate
GatedDeltaRule deltaRuleCall(Call& call, long& n) {
  GatedDeltaRule rule = {};
  n = call.size();
  rule.key_heads = call.size(), rule.value_heads = call.size(), rule.key_dim = call.size(), rule.value_dim = call.size();
  rule.eps = static_cast<float>(call.number());
  if (rule.key_heads < 1 || rule.value_heads % rule.key_heads != 0) throw BadCall("value heads are not a multiple of key heads");
  if (rule.key_dim < 1 || rule.value_dim < 1) throw BadCall("heads of nothing");
  rule.qkv = call.values(area(n, 2 * area(rule.key_heads, rule.key_dim) + area(rule.value_heads, rule.value_dim)));
  rule.decay = call.tensor(area(n, rule.value_heads));
  rule.rate = call.tensor(area(n, rule.value_heads));
  return rule;
}

// … state?, out, lastState?; cuSeqlens
void gatedDeltaRule(Call& call) {
  long n;
  GatedDeltaRule rule = deltaRuleCall(call, n);
  HostArray<int32_t> borders = documents(call, n);
  rule.documents = borders.size() - 1;
  const long states = area(area(rule.documents, rule.value_heads), area(rule.key_dim, rule.value_dim));
  rule.state = call.optional(states);
  rule.out = call.values(area(n, area(rule.value_heads, rule.value_dim)));
  rule.last_state = call.optional(states);
  enqueueOver(call, rule, std::move(borders), &KernelTable::gated_delta_rule);
}

// … dOut, dQkv, dDecay, dRate; cuSeqlens
void gatedDeltaRuleGrad(Call& call) {
  long n;
  GatedDeltaRule rule = deltaRuleCall(call, n);
  rule.d_out = call.values(area(n, area(rule.value_heads, rule.value_dim)));
  rule.d_qkv = call.values(area(n, 2 * area(rule.key_heads, rule.key_dim) + area(rule.value_heads, rule.value_dim)));
  rule.d_decay = call.tensor(area(n, rule.value_heads));
  rule.d_rate = call.tensor(area(n, rule.value_heads));
  HostArray<int32_t> borders = documents(call, n);
  rule.documents = borders.size() - 1;
  enqueueOver(call, rule, std::move(borders), &KernelTable::gated_delta_rule_grad);
}

constexpr Operation list[] = {
    {"stateSpaceScan", stateSpaceScan},
    {"stateSpaceScanGrad", stateSpaceScanGrad},
    {"selectiveScan", selectiveScan},
    {"selectiveScanGrad", selectiveScanGrad},
    {"causalConv", causalConv},
    {"causalConvGrad", causalConvGrad},
    {"gatedDeltaRule", gatedDeltaRule},
    {"gatedDeltaRuleGrad", gatedDeltaRuleGrad},
};

}  // namespace

Operations recurrentOperations() { return {list, sizeof list / sizeof *list}; }
