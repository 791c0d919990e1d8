// Part of check.cc: attention of bfloat16 by each way that the card has, so that a kernel that is wrong on some card is named by what it
// computes and by the width of heads.
#pragma once

namespace {

// Packed documents of heads of one width.
struct WaysProblem {
  long dim, depth, heads, kv_heads;
  std::vector<int32_t> borders;
  long rows() const { return borders.back(); }
  long q() const { return heads * dim; }
  long k() const { return kv_heads * dim; }
  long o() const { return heads * depth; }
  long ld() const { return q() + k() + kv_heads * depth; }
};

struct WaysResults {
  std::vector<unsigned char> bits;  // of what follows, as the card has it
  Floats out, gradients;            // [rows, o], and of queries, keys and values side by side [rows, ld]
};

// Of numbers that lie as bfloat16 on the card, and as float32 on the processor.
WaysResults attend(const Context& context, const WaysProblem& p, const Activation& joined, const Activation& d_out, bool on_card) {
  Both& both = joined.wide.both;
  const Activation out(both, Floats(p.rows() * p.o()), true), d_joined(both, Floats(p.rows() * p.ld()), true);
  const Array lse(both, Floats(p.rows() * p.heads));
  Attention a = {};
  a.q = joined.at(context), a.k = joined.at(context, p.q()), a.v = joined.at(context, p.q() + p.k()), a.ld_q = a.ld_k = a.ld_v = p.ld();
  a.cu_seqlens = p.borders.data(), a.documents = static_cast<long>(p.borders.size()) - 1;
  a.heads = p.heads, a.kv_heads = p.kv_heads, a.head_dim = p.dim, a.value_dim = p.depth, a.scale = 1 / std::sqrt(static_cast<float>(p.dim));
  a.out = out.at(context), a.lse = lse.on(context), a.d_out = d_out.at(context), a.half = out.on(context).half;
  a.dq = d_joined.at(context), a.dk = d_joined.at(context, p.q()), a.dv = d_joined.at(context, p.q() + p.k()), a.ld_dq = a.ld_dk = a.ld_dv = p.ld();
  context.table->attention(&context, &a);
  context.table->attention_grad(&context, &a);
  if (!on_card) {
    const auto numbers = [](const Array& x) {
      Floats to(x.bytes / 4);
      std::memcpy(to.data(), x.here.data(), x.bytes);
      return to;
    };
    return {{}, numbers(out.wide), numbers(d_joined.wide)};
  }
  const auto numbers = [](const std::vector<unsigned char>& bits, const Activation& x) {
    std::vector<uint16_t> narrow(x.narrow->bytes / 2);
    std::memcpy(narrow.data(), bits.data(), x.narrow->bytes);
    return widened(narrow);
  };
  const std::vector<unsigned char> first = out.bits(), second = d_joined.bits();
  WaysResults results = {first, numbers(first, out), numbers(second, d_joined)};
  results.bits.insert(results.bits.end(), second.begin(), second.end());
  return results;
}

// Of columns from .. to, relative to the norm of what is expected; infinite where something is no number.
double relative_error(const Floats& got, const Floats& expected, long ld, long from, long to) {
  double error = 0, norm = 0;
  for (size_t at = 0; at < got.size(); at++) {
    const long column = static_cast<long>(at) % ld;
    if (column < from || column >= to) continue;
    if (!std::isfinite(got[at])) return INFINITY;
    error += (static_cast<double>(got[at]) - expected[at]) * (static_cast<double>(got[at]) - expected[at]);
    norm += static_cast<double>(expected[at]) * expected[at];
  }
  return std::sqrt(error / norm);
}

// A line a shape and way. Twice by wgmma, which must be the same bits. Long documents are for cards alone.
void ways(Both& both) {
  const bool has_hopper = both.device.has_hopper(), in_earnest = both.options.driver.empty();
  std::vector<std::vector<int32_t>> packed = {{0, 150, 206, 207}};
  if (in_earnest) packed.push_back({0, 700, 1210});
  std::printf("\n");
  for (const long dim : {64, 128, 192, 256})
    for (const auto& borders : packed)
      for (const long kv_heads : in_earnest ? std::vector<long>{1, 4} : std::vector<long>{1}) {
        const WaysProblem p = {dim, dim == 192 ? 128 : dim, in_earnest ? 4 : 2, kv_heads, borders};
        const Activation joined(both, floats(p.rows() * p.ld(), -2, 2), true), d_out(both, floats(p.rows() * p.o()), true);
        both.card.bf16 = 0;
        const WaysResults expected = attend(both.processor, p, joined, d_out, false);
        both.card.bf16 = 1;
        for (const bool hopper : {false, true}) {
          if (hopper && !has_hopper) continue;
          both.device.use_hopper(hopper);
          // Before it runs: what ends the process is named then.
          std::printf("  %ld columns, %ld/%ld heads, %ld rows by %-5s:", dim, p.heads, p.kv_heads, p.rows(), hopper ? "wgmma" : "mma");
          std::fflush(stdout);
          const WaysResults got = attend(both.card, p, joined, d_out, true);
          const bool same = !hopper || attend(both.card, p, joined, d_out, true).bits == got.bits;
          const struct {
            const char* name;
            double error;
          } parts[] = {{"out", relative_error(got.out, expected.out, p.o(), 0, p.o())},
                       {"dq", relative_error(got.gradients, expected.gradients, p.ld(), 0, p.q())},
                       {"dk", relative_error(got.gradients, expected.gradients, p.ld(), p.q(), p.q() + p.k())},
                       {"dv", relative_error(got.gradients, expected.gradients, p.ld(), p.q() + p.k(), p.ld())}};
          for (const auto& part : parts) {
            const bool wrong = !(part.error <= half);
            std::printf(" %s %.1e%s", part.name, part.error, wrong ? " WRONG" : "");
            if (wrong) failures++;
            if (std::isfinite(part.error)) both.worst = std::max(both.worst, part.error);
          }
          if (!same) std::printf(" NOT THE SAME AGAIN"), failures++;
          std::printf("\n");
        }
      }
  both.device.use_hopper(has_hopper);
  both.card.bf16 = 0;
  std::printf("%-13s ", "ways");
}

}  // namespace
