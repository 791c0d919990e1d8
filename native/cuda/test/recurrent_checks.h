// Part of check.cc: what reads earlier tokens through a state, and xIELU.
#pragma once

namespace {

// Documents one after the other, some of them empty.
std::vector<int32_t> borders_of(long documents, long longest) {
  std::vector<int32_t> borders = {0};
  for (long d = 0; d < documents; d++) borders.push_back(borders.back() + static_cast<int32_t>(below(5) == 0 ? 0 : between(1, longest)));
  return borders;
}

void convolutions(Both& both) {
  const std::vector<int32_t> borders = borders_of(between(1, 6), coin() ? 12 : 150);
  const long rows = borders.back(), channels = coin() ? 4 * between(1, 40) : some(150), taps = coin() ? between(1, 4) : between(1, CAUSAL_CONV_TAPS);
  const bool gated = coin(), silu = coin(), with_bias = coin(), with_weights = coin();
  const long n = rows * channels, width = gated ? 3 : 1;
  const Activation x(both, floats(width * n)), y(both, Floats(n)), dy(both, floats(n)), dx(both, Floats(width * n));
  const Array weight(both, floats(channels * taps)), bias(both, floats(channels)), d_weight(both, floats(channels * taps)), d_bias(both, floats(channels));
  const auto filled = [&](const Context& c) {
    CausalConv a = {};
    a.rows = rows, a.channels = channels, a.taps = taps, a.cu_seqlens = borders.data(), a.documents = static_cast<long>(borders.size()) - 1;
    a.silu = silu, a.gated = gated, a.x = x.on(c), a.weight = weight.on(c), a.bias = with_bias ? bias.on(c) : nullptr, a.y = y.on(c);
    a.dy = dy.on(c), a.dx = dx.on(c), a.d_weight = with_weights ? d_weight.on(c) : nullptr;
    a.d_bias = with_weights && with_bias ? d_bias.on(c) : nullptr;
    return a;
  };
  const std::string name = "causal_conv of " + std::to_string(taps) + " taps, " + std::to_string(rows) + " x " + std::to_string(channels) +
                           (gated ? ", gated" : "") + (silu ? ", silu" : "");
  twice(both, [&](const Context& c) {
    const CausalConv a = filled(c);
    c.table->causal_conv(&c, &a);
  });
  y.agree(name, single);
  twice(both, [&](const Context& c) {
    const CausalConv a = filled(c);
    c.table->causal_conv_grad(&c, &a);
  });
  dx.agree(name + ", dx", single);
  d_weight.agree(name + ", weight", single);
  d_bias.agree(name + ", bias", single);
}

void xielus(Both& both) {
  const long n = below(6) == 0 ? between(20000, 90000) : some(5000);
  Floats numbers = floats(n, -3, 3);
  for (float& x : numbers)
    if (below(8) == 0) x *= 1e-5f;
  const Activation x(both, numbers), y(both, Floats(n)), dy(both, floats(n)), dx(both, Floats(n));
  const Array p(both, floats(1)), q(both, floats(1)), d_p(both, Floats(1)), d_q(both, Floats(1));
  const bool with_weights = coin();
  twice(both, [&](const Context& c) {
    c.table->xielu(&c, x.on(c), p.on(c), q.on(c), y.on(c), n);
    c.table->xielu_grad(&c, x.on(c), p.on(c), q.on(c), dy.on(c), dx.on(c), with_weights ? d_p.on(c) : nullptr, with_weights ? d_q.on(c) : nullptr, n);
  });
  y.agree("xielu", single);
  dx.agree("xielu, dx", single);
  // of a few numbers the sum may be small beside them
  d_p.agree("xielu, above", n > 100 ? 1e-3 : half);
  d_q.agree("xielu, below", n > 100 ? 1e-3 : half);
}

// Of bfloat16 what several rounded products come to is held to more than one of them.
constexpr double several = 2e-2;

void delta_rules(Both& both) {
  const long key_heads = between(1, 2), value_heads = key_heads * between(1, 2);
  const long dims[] = {4, 6, 16, 20, 64, 80, 128}, key_dim = dims[below(7)], value_dim = dims[below(7)];
  const std::vector<int32_t> borders = borders_of(between(1, 4), coin() ? 20 : 150);
  const long rows = borders.back(), documents = static_cast<long>(borders.size()) - 1;
  const long width = 2 * key_heads * key_dim + value_heads * value_dim, out_width = value_heads * value_dim, states = documents * value_heads * key_dim * value_dim;
  const bool begins = coin(), keeps = coin();
  const Floats numbers = floats(rows * width), slopes = floats(rows * out_width), decays = floats(rows * value_heads, below(4) == 0 ? -30.f : -1.f, 0);
  const Array decay(both, decays), rate(both, floats(rows * value_heads, 0, 1)), state(both, floats(states));
  for (const int bf16 : {0, 1}) {
    both.card.bf16 = bf16;
    const bool as_half = bf16 && coin();
    const Activation qkv(both, numbers, as_half), out(both, Floats(rows * out_width), as_half), d_out(both, slopes, as_half), d_qkv(both, Floats(rows * width), as_half);
    const Array last(both, floats(states)), d_decay(both, Floats(rows * value_heads)), d_rate(both, Floats(rows * value_heads));
    const auto filled = [&](const Context& c) {
      GatedDeltaRule a = {};
      a.qkv = qkv.on(c), a.decay = decay.on(c), a.rate = rate.on(c), a.cu_seqlens = borders.data(), a.documents = documents;
      a.key_heads = key_heads, a.value_heads = value_heads, a.key_dim = key_dim, a.value_dim = value_dim, a.eps = 1e-6f;
      a.state = begins ? state.on(c) : nullptr, a.out = out.on(c), a.last_state = keeps ? last.on(c) : nullptr;
      a.d_out = d_out.on(c), a.d_qkv = d_qkv.on(c), a.d_decay = d_decay.on(c), a.d_rate = d_rate.on(c);
      return a;
    };
    const std::string name = "delta rule " + std::to_string(key_heads) + "/" + std::to_string(value_heads) + " x " + std::to_string(key_dim) + " x " +
                             std::to_string(value_dim) + ", " + std::to_string(rows) + " rows" + (bf16 ? ", bfloat16" : "");
    twice(both, [&](const Context& c) {
      const GatedDeltaRule a = filled(c);
      c.table->gated_delta_rule(&c, &a);
    });
    const double tolerance = bf16 ? several : single;
    out.agree(name, tolerance);
    last.agree(name + ", last state", tolerance);
    twice(both, [&](const Context& c) {
      const GatedDeltaRule a = filled(c);
      c.table->gated_delta_rule_grad(&c, &a);
    });
    d_qkv.agree(name + ", d_qkv", tolerance);
    // sums of rows and columns, less each other
    d_decay.agree(name + ", d_decay", 2 * tolerance);
    d_rate.agree(name + ", d_rate", tolerance);
  }
  both.card.bf16 = 0;
}

void state_spaces(Both& both) {
  const long groups = between(1, 2), heads = groups * between(1, 3);
  const long dims[] = {4, 6, 16, 20, 64, 80, 128}, head_dim = dims[below(6)], state_dim = dims[below(7)];
  const std::vector<int32_t> borders = borders_of(between(1, 4), coin() ? 20 : 150);
  const long rows = borders.back(), documents = static_cast<long>(borders.size()) - 1;
  const long width = heads * head_dim + 2 * groups * state_dim, out_width = heads * head_dim, states = documents * heads * state_dim * head_dim;
  const bool begins = coin(), keeps = coin(), bounded = coin();
  const Floats numbers = floats(rows * width), slopes = floats(rows * out_width), times = floats(rows * heads, -2, 2);
  const Array a_log(both, floats(heads, -1, 2)), skip(both, floats(heads)), dt_bias(both, floats(heads)), state(both, floats(states));
  for (const int bf16 : {0, 1}) {
    both.card.bf16 = bf16;
    const bool as_half = bf16 && coin();
    const Activation xbc(both, numbers, as_half), dt(both, times, as_half), y(both, Floats(rows * out_width), as_half), dy(both, slopes, as_half),
        d_xbc(both, Floats(rows * width), as_half), d_dt(both, Floats(rows * heads), as_half);
    const Array last(both, floats(states)), d_a_log(both, Floats(heads)), d_skip(both, Floats(heads)), d_dt_bias(both, Floats(heads));
    const auto filled = [&](const Context& c) {
      StateSpaceScan a = {};
      a.rows = rows, a.heads = heads, a.head_dim = head_dim, a.groups = groups, a.state_dim = state_dim;
      a.cu_seqlens = borders.data(), a.documents = documents, a.least = bounded ? 0.3f : 0.f, a.most = bounded ? 1.5f : INFINITY;
      a.xbc = xbc.on(c), a.dt = dt.on(c), a.a_log = a_log.on(c), a.skip = skip.on(c), a.dt_bias = dt_bias.on(c);
      a.y = y.on(c), a.state = begins ? state.on(c) : nullptr, a.last = keeps ? last.on(c) : nullptr;
      a.dy = dy.on(c), a.d_xbc = d_xbc.on(c), a.d_dt = d_dt.on(c), a.d_a_log = d_a_log.on(c), a.d_skip = d_skip.on(c), a.d_dt_bias = d_dt_bias.on(c);
      return a;
    };
    const std::string name = "state space " + std::to_string(groups) + "/" + std::to_string(heads) + " x " + std::to_string(head_dim) + " x " +
                             std::to_string(state_dim) + ", " + std::to_string(rows) + " rows" + (bf16 ? ", bfloat16" : "");
    twice(both, [&](const Context& c) {
      const StateSpaceScan a = filled(c);
      c.table->state_space_scan(&c, &a);
    });
    const double tolerance = bf16 ? several : single;
    y.agree(name, tolerance);
    last.agree(name + ", last state", tolerance);
    twice(both, [&](const Context& c) {
      const StateSpaceScan a = filled(c);
      c.table->state_space_scan_grad(&c, &a);
    });
    d_xbc.agree(name + ", d_xbc", tolerance);
    d_dt.agree(name + ", d_dt", tolerance);
    // of few tokens what cancels may be most of it
    const double of_heads = bf16 ? 2 * several : single;
    d_a_log.agree(name + ", d_a_log", of_heads);
    d_skip.agree(name + ", d_skip", of_heads);
    d_dt_bias.agree(name + ", d_dt_bias", of_heads);
  }
  both.card.bf16 = 0;
}

void selective_scans(Both& both) {
  const long channels = below(3) == 0 ? between(1, 700) : between(1, 70), dims[] = {1, 3, 16, 16, 16, 17, 40, 128}, state_dim = dims[below(8)];
  const std::vector<int32_t> borders = borders_of(between(1, 4), coin() ? 20 : 100);
  const long rows = borders.back(), documents = static_cast<long>(borders.size()) - 1, states = documents * channels * state_dim;
  const bool begins = coin(), keeps = coin();
  const Floats numbers = floats(rows * channels), times = floats(rows * channels, -3, 2), written = floats(rows * state_dim), read = floats(rows * state_dim), slopes = floats(rows * channels);
  const Array a_log(both, floats(channels * state_dim, -1, 2)), skip(both, floats(channels)), state(both, floats(states));
  for (const bool as_half : {false, true}) {
    const Activation x(both, numbers, as_half), dt(both, times, as_half), b(both, written, as_half), c(both, read, as_half), y(both, Floats(rows * channels), as_half);
    const Activation dy(both, slopes, as_half), d_x(both, Floats(rows * channels), as_half), d_dt(both, Floats(rows * channels), as_half);
    const Activation d_b(both, Floats(rows * state_dim), as_half), d_c(both, Floats(rows * state_dim), as_half);
    const Array last(both, floats(states)), d_a_log(both, floats(channels * state_dim)), d_skip(both, floats(channels));
    const auto filled = [&](const Context& on) {
      SelectiveScan a = {};
      a.rows = rows, a.channels = channels, a.state_dim = state_dim, a.cu_seqlens = borders.data(), a.documents = documents;
      a.x = x.on(on), a.dt = dt.on(on), a.b = b.on(on), a.c = c.on(on), a.a_log = a_log.on(on), a.skip = skip.on(on);
      a.y = y.on(on), a.state = begins ? state.on(on) : nullptr, a.last = keeps ? last.on(on) : nullptr;
      a.dy = dy.on(on), a.d_x = d_x.on(on), a.d_dt = d_dt.on(on), a.d_b = d_b.on(on), a.d_c = d_c.on(on), a.d_a_log = d_a_log.on(on), a.d_skip = d_skip.on(on);
      return a;
    };
    const std::string name = "selective scan " + std::to_string(channels) + " x " + std::to_string(state_dim) + ", " + std::to_string(rows) + " rows" + (as_half ? ", bfloat16" : "");
    twice(both, [&](const Context& on) {
      const SelectiveScan a = filled(on);
      on.table->selective_scan(&on, &a);
    });
    y.agree(name, single);
    last.agree(name + ", last state", single);
    twice(both, [&](const Context& on) {
      const SelectiveScan a = filled(on);
      on.table->selective_scan_grad(&on, &a);
    });
    d_x.agree(name + ", d_x", single);
    d_dt.agree(name + ", d_dt", single);
    d_b.agree(name + ", d_b", single);
    d_c.agree(name + ", d_c", single);
    d_a_log.agree(name + ", d_a_log", single);
    d_skip.agree(name + ", d_skip", single);
  }
}

}  // namespace
