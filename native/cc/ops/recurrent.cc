// What reads earlier tokens through a state, not by attention.
#include "../ops.h"

namespace {

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
  if (call.kernels().causal_conv == nullptr) throw BadCall("the device has no convolution");
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
  call.enqueue([conv, borders = std::move(borders)](const Context* c) {
    CausalConv run = conv;
    run.cu_seqlens = borders.data();
    c->table->causal_conv(c, &run);
  });
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
  call.enqueue([conv, borders = std::move(borders)](const Context* c) {
    CausalConv run = conv;
    run.cu_seqlens = borders.data();
    c->table->causal_conv_grad(c, &run);
  });
}

constexpr Operation list[] = {
    {"causalConv", causalConv},
    {"causalConvGrad", causalConvGrad},
};

}  // namespace

Operations recurrentOperations() { return {list, sizeof list / sizeof *list}; }
