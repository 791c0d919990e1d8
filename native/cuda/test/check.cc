// Every kernel of the CUDA device against the processor's, on random shapes and numbers, through the table that the operations use:
//   check [--image=F] [--driver=F] [--blas=F] [--rounds=N] [--only=NAME,…] [--after=NAME]
//   check … --attention=mma|wgmma   as RXTUNE_CUDA_ATTENTION
//   check … --rate=N    checks nothing: times cublasLt's product of N x N matrices of bfloat16, as the device asks for it
//                       and attention of rows of N / 4 tokens, by each way that the card has
//   check … --products=LIST --losses=LIST   times these (TimedProduct, loss_rate), products by the first N proposals of cublasLt (--proposals=N)
// An error of the card ends it, since a card does nothing more for a process after one; --after goes on behind the check that met it.
// In float32 to 1e-4, where bfloat16 takes part to 1e-2, of the norm of what is expected; copies, masks and indices bit for bit.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "../../cc/dispatch.h"
#include "../../cc/pool.h"
#include "../../cc/scratch.h"
#include "../host/cuda_device.h"
#include "../kernels/flash_layout.h"

namespace {

using Floats = std::vector<float>;

std::mt19937 engine(1);
long below(long n) { return std::uniform_int_distribution<long>(0, n - 1)(engine); }
long between(long low, long high) { return low + below(high - low + 1); }
bool coin() { return below(2) == 1; }
Floats floats(long n, float low = -1, float high = 1) {
  std::uniform_real_distribution<float> draw(low, high);
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = draw(engine);
  return out;
}

int failures = 0;

// What runs the same work twice: on the processor, and on the card.
struct Both {
  cuda::CudaDevice& device;
  const cuda::Options& options;  // what it was opened with
  Context processor = {}, card = {};
  double worst = 0;

  Both(cuda::CudaDevice& device, const cuda::Options& options) : device(device), options(options) {
    processor = {pool_create(1), scratch_create(), kernel_table(nullptr), 0, nullptr};
    card = {processor.pool, scratch_create_on(static_cast<PageSource*>(&device)), device.table(), 0, static_cast<Device*>(&device)};
  }
  ~Both() {
    scratch_destroy(card.scratch);
    scratch_destroy(processor.scratch);
    pool_destroy(processor.pool);
  }
};

// An array in both memories. Numbers beyond its end are watched.
struct Array {
  Both& both;
  std::vector<unsigned char> here;
  unsigned char* there;
  size_t bytes;
  static constexpr size_t margin = 256;

  Array(Both& both, const void* from, size_t bytes) : both(both), here(bytes + margin, 0xab), there(nullptr), bytes(bytes) {
    if (bytes > 0) std::memcpy(here.data(), from, bytes);
    there = static_cast<unsigned char*>(both.device.take(both.device.round(bytes + margin)));
    if (there == nullptr) throw std::bad_alloc();
    both.device.upload(there, here.data(), bytes + margin);
  }
  Array(Both& both, const Floats& x) : Array(both, x.data(), x.size() * 4) {}
  Array(const Array&) = delete;
  ~Array() { both.device.give(there, 0); }
  template <class T = float>
  T* on(const Context& context) const {
    return reinterpret_cast<T*>(&context == &both.card ? there : const_cast<unsigned char*>(here.data()));
  }
  std::vector<unsigned char> back() const {
    std::vector<unsigned char> out(bytes + margin);
    bool come = false;
    both.device.download(out.data(), there, out.size(), [](void* user, const char* error) {
      if (error != nullptr) {
        std::printf("\n  %s\n", error);
        std::fflush(stdout);
        std::_Exit(1);
      }
      *static_cast<bool*>(user) = true;
    }, &come);
    both.device.finish();
    while (!__atomic_load_n(&come, __ATOMIC_SEQ_CST)) std::this_thread::yield();
    return out;
  }
  // tolerance 0: the same bits
  void agree(const std::string& what, double tolerance) const {
    const std::vector<unsigned char> got = back();
    const auto fail = [&](const std::string& why) {
      failures++;
      std::fprintf(stderr, "  %s: %s\n", what.c_str(), why.c_str());
    };
    if (std::memcmp(got.data() + bytes, here.data() + bytes, margin) != 0) return fail("wrote beyond the end");
    if (tolerance == 0) {
      if (bytes > 0 && std::memcmp(got.data(), here.data(), bytes) != 0) fail("bits differ");
      return;
    }
    const float* const a = reinterpret_cast<const float*>(got.data());
    const float* const b = reinterpret_cast<const float*>(here.data());
    double error = 0, norm = 0;
    for (size_t i = 0; i < bytes / 4; i++) {
      if (std::isnan(a[i]) != std::isnan(b[i]) || (std::isinf(b[i]) && a[i] != b[i]))
        return fail("[" + std::to_string(i) + "] is " + std::to_string(a[i]) + ", expected " + std::to_string(b[i]));
      if (std::isnan(b[i]) || std::isinf(b[i])) continue;
      error += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
      norm += static_cast<double>(b[i]) * b[i];
    }
    const double relative = std::sqrt(error) / std::max(std::sqrt(norm), 1e-30);
    if (norm == 0 ? error > 1e-12 : relative > tolerance) fail("relative error " + std::to_string(relative));
    if (norm > 0 && relative > both.worst) both.worst = relative;
  }
};

constexpr double single = 1e-4, half = 1e-2, rounded = half;

using Run = std::function<void(const Context&)>;
void twice(Both& both, const Run& run) {
  run(both.processor);
  run(both.card);
}

// Lengths that meet the borders of blocks and lie beyond them, or are of whole vectors.
long some(long most = 1500) {
  const long borders[] = {1, 31, 32, 33, 63, 64, 65, 128, 255, 256, 257};
  return coin() ? std::min(most, borders[below(11)]) : coin() && most >= 8 ? 8 * between(1, most / 8) : between(1, most);
}

std::vector<uint16_t> halves(const Floats& x) {
  std::vector<uint16_t> out;
  for (const float value : x) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    out.push_back(static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
  }
  return out;
}
Floats widened(const std::vector<uint16_t>& x) {
  Floats out;
  for (const uint16_t value : x) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    out.push_back(f);
  }
  return out;
}

// Numbers that lie as float32 on the processor, and as float32 or bfloat16 on the card.
struct Activation {
  const bool half;
  Array wide;
  std::unique_ptr<Array> narrow;

  Activation(Both& both, const Floats& x, bool half) : half(half), wide(both, half ? widened(halves(x)) : x) {
    const std::vector<uint16_t> bits = halves(x);
    if (half) narrow = std::make_unique<Array>(both, bits.data(), bits.size() * 2);
  }
  Activation(Both& both, const Floats& x) : Activation(both, x, coin()) {}
  Values on(const Context& c) const {
    if (half && &c == &wide.both.card) return {narrow->on<uint16_t>(c), 1};
    return values_of(wide.on(c));
  }
  // Where kernels are given pointers and told apart how they lie.
  float* at(const Context& c, long first = 0) const {
    const Values v = on(c);
    return v.half ? reinterpret_cast<float*>(static_cast<uint16_t*>(v.at) + first) : static_cast<float*>(v.at) + first;
  }
  GemmOperand operand(const Context& c, long ld, int transposed) const {
    return {on(c).at, ld, transposed, on(c).half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
  }
  std::vector<unsigned char> bits() const { return (half ? *narrow : wide).back(); }
  void agree(const std::string& what, double tolerance) const {
    if (!half) return wide.agree(what, tolerance);
    const std::vector<unsigned char> got = narrow->back();
    if (std::memcmp(got.data() + narrow->bytes, narrow->here.data() + narrow->bytes, Array::margin) != 0) {
      failures++;
      std::fprintf(stderr, "  %s: wrote beyond the end\n", what.c_str());
    }
    std::vector<uint16_t> bits(narrow->bytes / 2);
    if (!bits.empty()) std::memcpy(bits.data(), got.data(), narrow->bytes);
    const Floats floats = widened(bits);
    wide.both.device.upload(wide.there, floats.data(), floats.size() * 4);
    wide.agree(what + ", as bfloat16", std::max(tolerance, rounded));
  }
};

// ---- the checks ----

void elementwise(Both& both) {
  const long n = some(5000);
  const Array a(both, floats(n, -3, 3)), b(both, floats(n, 0.1f, 3)), out(both, Floats(n)), y(both, floats(n));
  twice(both, [&](const Context& c) { c.table->add(&c, values_of(a.on(c)), values_of(b.on(c)), values_of(out.on(c)), n); });
  out.agree("add", 0);
  const Activation left(both, floats(n, -3, 3)), right(both, floats(n, -3, 3)), sum(both, Floats(n));
  twice(both, [&](const Context& c) { c.table->add(&c, left.on(c), right.on(c), sum.on(c), n); });
  sum.agree("add of activations", single);
  twice(both, [&](const Context& c) { c.table->axpy(&c, y.on(c), a.on(c), 0.37f, n); });
  y.agree("axpy", single);
  twice(both, [&](const Context& c) { c.table->scale(&c, a.on(c), out.on(c), 0.37f, n); });
  out.agree("scale", 0);
  twice(both, [&](const Context& c) { c.table->fill(&c, out.on(c), 0.5f, n); });
  out.agree("fill", 0);
  for (int kind = 0; kind <= BINARY_MIN; kind++) {
    const long row = coin() ? 1 : some(40), rows = between(1, 30);
    const bool first = coin();
    const Array whole(both, floats(row * rows, -2, 2)), part(both, floats(row, 0.5f, 2)), result(both, Floats(row * rows));
    twice(both, [&](const Context& c) {
      if (first)
        c.table->binary(&c, kind, whole.on(c), row * rows, part.on(c), row, result.on(c), row * rows);
      else
        c.table->binary(&c, kind, part.on(c), row, whole.on(c), row * rows, result.on(c), row * rows);
    });
    result.agree("binary " + std::to_string(kind), single);
  }
  for (int kind = 0; kind <= UNARY_SIGN; kind++) {
    const Array& x = kind == UNARY_LOG || kind == UNARY_SQRT || kind == UNARY_RSQRT ? b : a;
    twice(both, [&](const Context& c) { c.table->unary(&c, kind, x.on(c), out.on(c), n); });
    out.agree("unary " + std::to_string(kind), single);
  }
  {
    const Activation dy(both, floats(n)), to(both, Floats(n)), other(both, Floats(n));
    const float limit = coin() ? 0.7f : 2.f;
    twice(both, [&](const Context& c) { c.table->clamped_gate(&c, limit, left.on(c), right.on(c), to.on(c), n); });
    to.agree("clamped_gate", single);
    twice(both, [&](const Context& c) { c.table->clamped_gate_grad(&c, limit, left.on(c), right.on(c), dy.on(c), to.on(c), other.on(c), n); });
    to.agree("clamped_gate_grad, gate", single);
    other.agree("clamped_gate_grad, up", single);
  }
  for (int kind = 0; kind < ACTIVATIONS; kind++) {
    const Activation dy(both, floats(n)), to(both, Floats(n)), other(both, Floats(n));
    const std::string name = " " + std::to_string(kind);
    twice(both, [&](const Context& c) { c.table->activation(&c, kind, left.on(c), to.on(c), n); });
    to.agree("activation" + name, single);
    twice(both, [&](const Context& c) { c.table->activation_grad(&c, kind, left.on(c), dy.on(c), to.on(c), n); });
    to.agree("activation_grad" + name, single);
    twice(both, [&](const Context& c) { c.table->gated_activation(&c, kind, left.on(c), right.on(c), to.on(c), n); });
    to.agree("gated_activation" + name, single);
    twice(both, [&](const Context& c) {
      c.table->gated_activation_grad(&c, kind, left.on(c), right.on(c), dy.on(c), to.on(c), other.on(c), n);
    });
    to.agree("gated_activation_grad, gate" + name, single);
    other.agree("gated_activation_grad, up" + name, single);
  }
}

void dropout(Both& both) {
  const long n = some(4000);
  const uint64_t offset = coin() ? static_cast<uint64_t>(below(1L << 40)) : 0xfffffff0ull;
  const uint32_t seed = static_cast<uint32_t>(below(1L << 32));
  const double rate = below(100) / 100.0;
  const bool as_half = coin();
  const Activation x(both, floats(n), as_half), y(both, Floats(n), as_half);
  twice(both, [&](const Context& c) { c.table->dropout(&c, x.on(c), y.on(c), n, rate, seed, offset); });
  y.agree("dropout", 0);
  const long count = between(1, 5), columns = between(1, 30);
  std::vector<long> ends;
  std::vector<uint32_t> seeds;
  for (long g = 0; g < count; g++) {
    ends.push_back((g == 0 ? 0 : ends.back()) + below(20) * columns);
    seeds.push_back(static_cast<uint32_t>(below(1L << 32)));
  }
  const Activation from(both, floats(ends.back()), as_half), to(both, Floats(static_cast<size_t>(ends.back())), as_half);
  twice(both, [&](const Context& c) {
    if (Device* const device = static_cast<Device*>(c.device)) return static_cast<void>(device->grouped_dropout(&c, from.on(c), to.on(c), ends.data(), seeds.data(), count, rate));
    for (size_t g = 0; g < seeds.size(); g++) {
      const long first = g == 0 ? 0 : ends[g - 1];
      c.table->dropout(&c, values_of(from.at(c, first)), values_of(to.at(c, first)), ends[g] - first, rate, seeds[g], 0);
    }
  });
  to.agree("dropout of groups", 0);
}

void bfloat16(Both& both) {
  const long n = some(3000);
  const Floats x = floats(n, -100, 100);
  const std::vector<uint16_t> bits = halves(x);
  const Floats wide = widened(bits);
  const Array from(both, x), expected(both, bits.data(), bits.size() * 2), back(both, wide);
  const std::vector<uint16_t> zeros(bits.size());
  const Array to(both, zeros.data(), zeros.size() * 2), again(both, Floats(n));
  both.card.table->narrow(&both.card, from.on(both.card), to.on<uint16_t>(both.card), n);
  std::memcpy(const_cast<unsigned char*>(to.here.data()), bits.data(), bits.size() * 2);
  to.agree("narrow", 0);
  both.card.table->widen(&both.card, expected.on<uint16_t>(both.card), again.on(both.card), n);
  std::memcpy(const_cast<unsigned char*>(again.here.data()), wide.data(), wide.size() * 4);
  again.agree("widen", 0);
}

std::vector<int32_t> indices(long n, long below_this, bool wrong) {
  std::vector<int32_t> out;
  for (long i = 0; i < n; i++) out.push_back(static_cast<int32_t>(wrong && below(8) == 0 ? (coin() ? -1 : below_this) : below(below_this)));
  return out;
}

void rows(Both& both) {
  const long n = some(200), vocabulary = between(1, 60), columns = some(300);
  const std::vector<int32_t> ids = indices(n, vocabulary, true), right = indices(n, vocabulary, false);
  const Floats numbers = floats(vocabulary * columns);
  const std::vector<uint16_t> bits = halves(numbers);
  const Floats wide = widened(bits);
  const Array table(both, numbers), narrow(both, bits.data(), bits.size() * 2), same(both, wide), out(both, Floats(n * columns));
  twice(both, [&](const Context& c) { c.table->embedding(&c, table.on(c), ids.data(), out.on(c), n, vocabulary, columns); });
  out.agree("embedding", single);
  both.processor.table->embedding(&both.processor, same.on(both.processor), ids.data(), out.on(both.processor), n, vocabulary, columns);
  both.card.table->embedding_bf16(&both.card, narrow.on<uint16_t>(both.card), ids.data(), out.on(both.card), n, vocabulary, columns);
  out.agree("embedding of bfloat16", single);
  twice(both, [&](const Context& c) { c.table->gather_rows(&c, values_of(table.on(c)), right.data(), values_of(out.on(c)), n, columns); });
  out.agree("gather_rows", 0);
  const Activation from(both, numbers, true), to(both, Floats(n * columns), true);
  twice(both, [&](const Context& c) { c.table->gather_rows(&c, from.on(c), right.data(), to.on(c), n, columns); });
  to.agree("gather_rows of bfloat16", single);
  const Array dy(both, floats(n * columns)), d_table(both, floats(vocabulary * columns));
  for (const int accumulate : {0, 1}) {
    twice(both, [&](const Context& c) {
      c.table->embedding_grad(&c, dy.on(c), ids.data(), d_table.on(c), n, vocabulary, columns, accumulate);
    });
    d_table.agree("embedding_grad", single);
  }
  twice(both, [&](const Context& c) { c.table->scatter_rows(&c, dy.on(c), right.data(), d_table.on(c), n, vocabulary, columns); });
  d_table.agree("scatter_rows", single);
}

// Rows that experts made of the same row.
void combined(Both& both) {
  const long n = some(150), each = between(1, 5), columns = some(300), rows = n * each;
  std::vector<int32_t> places;
  for (long i = 0; i < rows; i++) places.push_back(static_cast<int32_t>(i));
  std::shuffle(places.begin(), places.end(), engine);
  const Activation x(both, floats(rows * columns)), dy(both, floats(n * columns)), out(both, Floats(n * columns)), dx(both, Floats(rows * columns));
  const Array weights(both, floats(rows)), d_weights(both, Floats(rows)), at(both, places.data(), places.size() * 4);
  const bool weighs = coin();
  twice(both, [&](const Context& c) { c.table->combine_rows(&c, x.on(c), weighs ? weights.on(c) : nullptr, at.on<int32_t>(c), out.on(c), n, each, columns); });
  out.agree("combine_rows", single);
  twice(both, [&](const Context& c) {
    c.table->combine_rows_grad(&c, dy.on(c), x.on(c), weights.on(c), at.on<int32_t>(c), dx.on(c), d_weights.on(c), n, each, columns);
  });
  dx.agree("combine_rows_grad, dx", single);
  d_weights.agree("combine_rows_grad, weights", single);
}

// Which experts tokens go to, and the rows that these read.
void routed(Both& both) {
  const bool mixed = below(4) == 0;
  const long inside = between(2, 9), groups = mixed || coin() ? 0 : between(2, 40), experts = groups > 0 ? groups * inside : between(1, coin() ? 9 : 600);
  const long open = groups > 0 ? between(1, groups) : 0, each = between(1, std::min(experts, groups > 0 ? open * inside : 40L));
  const long tokens = coin() ? below(20) : below(700), all = tokens * experts, pairs = tokens * each;
  Floats numbers = floats(all, -3, 3);
  // Some are alike.
  if (coin())
    for (float& x : numbers) x = std::round(4 * x) / 4;
  const Array logits(both, numbers), correction(both, floats(experts)), probabilities(both, Floats(all)), weights(both, Floats(pairs));
  const Array shares(both, Floats(mixed ? pairs * experts : 0)), d_logits(both, Floats(all)), d_weights(both, floats(pairs)), slopes(both, floats(experts));
  const std::vector<int32_t> none(static_cast<size_t>(pairs)), of_none(static_cast<size_t>(experts));
  const auto integers = [&](const std::vector<int32_t>& from) { return std::make_unique<Array>(both, from.data(), from.size() * 4); };
  const auto chosen = integers(none), order = integers(none), taken = integers(none), places = integers(none), counts = integers(of_none);
  Routes a = {};
  a.tokens = tokens, a.experts = experts, a.each = each, a.sigmoid = coin(), a.normalized = coin();
  a.least_sum = coin() ? 0.4 : 0, a.factor = coin() ? 1 : 2.5, a.groups = groups, a.open = open, a.best = coin() ? 1 : 2;
  a.mixed = mixed, a.tolerance = 0.3;
  const bool corrects = !mixed && coin(), slopes_too = coin();
  const auto made = [&](const Context& c) {
    Routes own = a;
    own.logits = logits.on(c), own.correction = corrects ? correction.on(c) : nullptr, own.probabilities = probabilities.on(c);
    own.chosen = chosen->on<int32_t>(c), own.weights = weights.on(c), own.shares = mixed ? shares.on(c) : nullptr, own.counts = counts->on<int32_t>(c);
    own.order = order->on<int32_t>(c), own.rows = taken->on<int32_t>(c), own.places = places->on<int32_t>(c);
    return own;
  };
  const Routes on_processor = made(both.processor);
  make_routes(&both.processor, &on_processor);
  both.device.routes(&both.card, made(both.card));
  probabilities.agree("routes, probabilities", single);
  chosen->agree("routes, experts", 0);
  weights.agree("routes, weights", single);
  shares.agree("routes, shares", single);
  counts->agree("routes, counts", 0);
  order->agree("routes, order", 0);
  taken->agree("routes, rows", 0);
  places->agree("routes, places", 0);
  const auto back = [&](const Context& c) {
    return RoutesGrad{tokens, experts, each, a.sigmoid, a.normalized, a.least_sum, a.factor, probabilities.on(c), chosen->on<int32_t>(c), weights.on(c),
                      mixed ? shares.on(c) : nullptr, d_weights.on(c), slopes_too ? slopes.on(c) : nullptr, d_logits.on(c)};
  };
  const RoutesGrad back_there = back(both.processor);
  make_routes_grad(&both.processor, &back_there);
  both.device.routes_grad(&both.card, back(both.card));
  d_logits.agree("routes_grad", single);
  // The rows of their tokens.
  const long columns = some(40);
  const bool half = coin();
  const Activation x(both, floats(tokens * columns), half), rows(both, Floats(pairs * columns), half);
  both.processor.table->gather_rows(&both.processor, x.on(both.processor), taken->on<int32_t>(both.processor), rows.on(both.processor), pairs, columns);
  both.device.gather_rows_at(&both.card, x.on(both.card), tokens, taken->on<int32_t>(both.card), rows.on(both.card), pairs, columns);
  rows.agree("gather_rows_at", single);
}

void columns(Both& both) {
  const long rows = some(700), width = some(300), ld = width + below(9);
  const Array x(both, floats(rows * ld)), sum(both, Floats(width)), of_row(both, Floats(rows)), to(both, floats(rows * (width + 3)));
  const Array whole(both, floats(rows * width));
  const Activation dy(both, floats(rows * width));
  twice(both, [&](const Context& c) { c.table->column_sum(&c, dy.on(c), sum.on(c), rows, width); });
  sum.agree("column_sum", single);
  twice(both, [&](const Context& c) { c.table->row_sum(&c, whole.on(c), of_row.on(c), rows, width); });
  of_row.agree("row_sum", single);
  twice(both, [&](const Context& c) { c.table->copy_columns(&c, values_of(x.on(c)), ld, values_of(to.on(c) + 2), width + 3, rows, width); });
  to.agree("copy_columns", 0);
  // As bfloat16, at borders of vectors and elsewhere.
  const long first = coin() ? 8 : below(9), more = coin() ? 8 : below(9);
  const std::vector<uint16_t> bits = halves(floats(rows * ld)), room(static_cast<size_t>(rows * (width + more)) + 8, 7);
  const Array narrow(both, bits.data(), bits.size() * 2), beside(both, room.data(), room.size() * 2);
  twice(both, [&](const Context& c) {
    c.table->copy_columns(&c, {narrow.on<uint16_t>(c), 1}, ld, {beside.on<uint16_t>(c) + first, 1}, width + more, rows, width);
  });
  beside.agree("copy_columns of bfloat16", 0);
}

// Few different numbers, so that many are equal; of some rows NaN comes first.
void greatest(Both& both) {
  const long rows = some(40), columns = some(1500);
  const float values[] = {-2, -0.f, 0, 1, 1.5f, 3, NAN, -NAN, INFINITY, -INFINITY, 1e-40f, -1e-40f};
  const long kinds = below(3) == 0 ? between(1, 12) : between(1, 6);
  Floats numbers = floats(rows * columns, -3, 3);
  if (below(4) > 0)
    for (float& x : numbers) x = values[below(kinds)];
  const std::vector<int32_t> nowhere(static_cast<size_t>(rows), -1);
  const Array x(both, numbers), out(both, nowhere.data(), nowhere.size() * 4);
  twice(both, [&](const Context& c) { c.table->row_arg_max(&c, x.on(c), out.on<int32_t>(c), rows, columns); });
  out.agree("row_arg_max", 0);
}

void norms(Both& both) {
  const long rows = some(300), width = some(900), n = rows * width;
  const Array gain(both, floats(width)), bias(both, floats(width)), mean(both, Floats(rows)), rstd(both, Floats(rows)), residual(both, floats(n));
  const Activation x(both, floats(n, -2, 3)), y(both, Floats(n)), dy(both, floats(n));
  const bool with_bias = coin(), with_residual = coin(), with_weights = coin();
  // of x, or of a sum that is written; kept or not
  const Activation added(both, floats(n)), sum(both, Floats(n));
  const std::vector<uint16_t> zeros(static_cast<size_t>(n));
  const Array kept(both, zeros.data(), zeros.size() * 2);
  const bool adds = coin(), keeps = coin();
  const auto input = [&](const Context& c) {
    return NormInput{x.on(c), adds ? added.on(c) : Values{}, adds ? sum.on(c) : Values{}, keeps ? kept.on<uint16_t>(c) : nullptr};
  };
  const auto taken = [&](const std::string& name) {
    sum.agree(name + ", sum", single);
    kept.agree(name + ", kept", 0);
  };
  twice(both, [&](const Context& c) {
    c.table->layer_norm(&c, input(c), gain.on(c), with_bias ? bias.on(c) : nullptr, y.on(c), mean.on(c), rstd.on(c), rows, width, 1e-5f);
  });
  // The processor's sum is not rounded.
  const double statistics = adds && sum.half ? half : single;
  y.agree("layer_norm", statistics);
  mean.agree("layer_norm, mean", statistics);
  rstd.agree("layer_norm, rstd", statistics);
  taken("layer_norm");
  // the way back, of the x that stayed: of its own mean and rstd
  twice(both, [&](const Context& c) {
    c.table->layer_norm(&c, {x.on(c), {}, {}, nullptr}, gain.on(c), with_bias ? bias.on(c) : nullptr, y.on(c), mean.on(c), rstd.on(c), rows,
                        width, 1e-5f);
  });
  const Array apart(both, Floats(n)), d_gain(both, floats(width)), d_bias(both, floats(width));
  // dx takes the place of dy, where that lies so
  const Array& dx = dy.half ? apart : dy.wide;
  twice(both, [&](const Context& c) {
    c.table->layer_norm_grad(&c, dy.on(c), x.on(c), gain.on(c), mean.on(c), rstd.on(c), with_residual ? residual.on(c) : nullptr, dx.on(c),
                             with_weights ? d_gain.on(c) : nullptr, with_weights && with_bias ? d_bias.on(c) : nullptr, rows, width);
  });
  // a row of one number has no gradient but rounding errors
  if (width > 4) dx.agree("layer_norm_grad, dx", single);
  if (width > 4) d_gain.agree("layer_norm_grad, gain", single);
  d_bias.agree("layer_norm_grad, bias", single);
  const Activation d_rms(both, floats(n));
  const Array rms_apart(both, Floats(n)), d_rms_gain(both, floats(width));
  const Array& rms_dx = d_rms.half ? rms_apart : d_rms.wide;
  const float offset = coin() ? 1.f : 0.f;
  twice(both, [&](const Context& c) { c.table->rms_norm(&c, input(c), gain.on(c), y.on(c), rstd.on(c), rows, width, 1e-6f, offset); });
  y.agree("rms_norm", statistics);
  rstd.agree("rms_norm, rstd", statistics);
  taken("rms_norm");
  // What is written of a sum has this norm, to the bit.
  if (adds && sum.half) {
    const std::vector<unsigned char> normed = y.bits(), scale = rstd.back();
    both.card.table->rms_norm(&both.card, {sum.on(both.card), {}, {}, nullptr}, gain.on(both.card), y.on(both.card), rstd.on(both.card), rows,
                              width, 1e-6f, offset);
    if (y.bits() != normed || rstd.back() != scale) {
      failures++;
      std::fprintf(stderr, "  rms_norm of a sum is not that of what is written\n");
    }
  }
  twice(both, [&](const Context& c) {
    c.table->rms_norm(&c, {x.on(c), {}, {}, nullptr}, gain.on(c), y.on(c), rstd.on(c), rows, width, 1e-6f, offset);
    c.table->rms_norm_grad(&c, d_rms.on(c), x.on(c), gain.on(c), rstd.on(c), with_residual ? residual.on(c) : nullptr, rms_dx.on(c),
                           with_weights ? d_rms_gain.on(c) : nullptr, rows, width, offset);
  });
  if (width > 4) rms_dx.agree("rms_norm_grad, dx", single);
  // of the norm's value, which says the same where no gain is 0
  Floats far_gain(static_cast<size_t>(width));
  for (float& g : far_gain) g = (0.1f + static_cast<float>(below(100)) / 50) * (coin() ? 1.f : -1.f) - offset;
  const Array far(both, far_gain), by_value(both, Floats(rows * width)), value(both, Floats(rows * width));
  twice(both, [&](const Context& c) {
    const float* const more = with_residual ? residual.on(c) : nullptr;
    c.table->rms_norm(&c, {x.on(c), {}, {}, nullptr}, far.on(c), values_of(value.on(c)), rstd.on(c), rows, width, 1e-6f, offset);
    if (c.device == nullptr)
      c.table->rms_norm_grad(&c, d_rms.on(c), x.on(c), far.on(c), rstd.on(c), more, by_value.on(c), nullptr, rows, width, offset);
    else
      both.device.rms_norm_grad_by_value(&c, d_rms.on(c), values_of(value.on(c)), far.on(c), rstd.on(c), more, by_value.on(c), rows, width, offset);
  });
  if (width > 4) by_value.agree("rms_norm_grad by value, dx", single);
  d_rms_gain.agree("rms_norm_grad, gain", single);
}

void rope(Both& both) {
  const long n = some(60), heads = between(1, 9), rotary = coin() ? 16 * between(1, 4) : 2 * between(0, 16), more = below(3) * 8;
  const long dim = rotary + (coin() ? more : between(rotary == 0 ? 1 : 0, 9)) + (rotary + more == 0 ? 1 : 0);
  const Activation x(both, floats(n * heads * dim)), y(both, Floats(n * heads * dim));
  const Array cos(both, floats(n * rotary / 2)), sin(both, floats(n * rotary / 2));
  const int inverse = coin(), interleaved = coin();
  const bool in_place = coin();
  twice(both, [&](const Context& c) {
    c.table->rope(&c, x.on(c), cos.on(c), sin.on(c), in_place ? x.on(c) : y.on(c), n, heads, dim, rotary, inverse, interleaved);
  });
  (in_place ? x : y).agree("rope", single);
}

// Heads of whole vectors, and others.
void latent(Both& both) {
  const long rows = some(60), heads = between(1, 5), each = coin() ? 4 : 1;
  const LatentHeads shape = {heads, each * below(9), 2 * each * between(1, 8), each * between(1, 9), coin()};
  const long all = rows * heads, q = all * (shape.nope_dim + shape.rope_dim), kv = all * (shape.nope_dim + shape.value_dim), v = all * shape.value_dim;
  const Array cos(both, floats(rows * shape.rope_dim / 2)), sin(both, floats(rows * shape.rope_dim / 2));
  const Activation from_q(both, floats(q)), from_kv(both, floats(kv)), shared(both, floats(rows * shape.rope_dim));
  const Activation to_q(both, Floats(q)), to_k(both, Floats(q)), to_v(both, Floats(v));
  twice(both, [&](const Context& c) {
    c.table->latent_heads(&c, from_q.on(c), from_kv.on(c), shared.on(c), cos.on(c), sin.on(c), to_q.on(c), to_k.on(c), to_v.on(c), rows, shape);
  });
  to_q.agree("latent_heads, queries", single);
  to_k.agree("latent_heads, keys", single);
  to_v.agree("latent_heads, values", single);
  const Activation dq(both, floats(q)), dk(both, floats(q)), dv(both, floats(v));
  const Activation to_dq(both, Floats(q)), to_dkv(both, Floats(kv)), to_shared(both, Floats(rows * shape.rope_dim));
  twice(both, [&](const Context& c) {
    c.table->latent_heads_grad(&c, dq.on(c), dk.on(c), dv.on(c), cos.on(c), sin.on(c), to_dq.on(c), to_dkv.on(c), to_shared.on(c), rows, shape);
  });
  to_dq.agree("latent_heads_grad, queries", single);
  to_dkv.agree("latent_heads_grad, keys and values", single);
  to_shared.agree("latent_heads_grad, what is shared", single);
}

void kept(Both& both) {
  const long n = between(1, 4), rows = n + some(120), kv_heads = between(1, 3), heads = kv_heads * between(1, 3), dim = between(1, 100);
  const long depth = coin() ? dim : between(1, 100);
  const Activation q(both, floats(n * heads * dim)), out(both, Floats(n * heads * depth));
  const Array keys(both, floats((rows + 3) * kv_heads * dim)), values(both, floats((rows + 3) * kv_heads * depth));
  const Array sinks(both, floats(heads));
  const bool sunk = coin();
  CachedAttention shape = {n, rows, heads, kv_heads, dim, coin() ? 0 : between(1, static_cast<int>(rows)), 0.3f, coin() ? 0.f : 0.7f, nullptr, coin() ? 0.f : 0.5f, depth};
  twice(both, [&](const Context& c) {
    shape.sinks = sunk ? sinks.on(c) : nullptr;
    c.table->cached_attention(&c, q.on(c), keys.on(c), values.on(c), out.on(c), shape);
  });
  out.agree("cached_attention", single);
}

// Every way in which a matrix may lie, at both precisions; a bias, something to add to, or nothing.
void products(Both& both) {
  const long m = some(150), n = some(150), depth = some(200);
  const bool ta = coin(), tb = coin();
  const Activation a(both, floats(m * depth));
  // a row of a larger matrix of them, as an expert's is
  const long beyond = below(4);
  const Array bias(both, floats(n + beyond));
  const Floats before = floats(m * n), more = floats(m * n);
  const int kind = static_cast<int>(below(4));
  const long rows_b = tb ? n : depth, columns_b = tb ? depth : n, size = n * depth;
  const long block = 2 * between(4, 40);
  std::vector<unsigned char> stored(static_cast<size_t>(size * 4));
  if (kind == GEMM_FLOAT32) {
    const Floats x = floats(size);
    std::memcpy(stored.data(), x.data(), static_cast<size_t>(size * 4));
  } else if (kind == GEMM_BFLOAT16) {
    const std::vector<uint16_t> x = halves(floats(size));
    std::memcpy(stored.data(), x.data(), static_cast<size_t>(size * 2));
  } else {
    for (auto& byte : stored) byte = static_cast<unsigned char>(below(256));
  }
  const Array b(both, stored.data(), stored.size());
  const Array scales(both, floats(kind == GEMM_FOUR_BIT ? (size + block - 1) / block : rows_b, 0.01f, 0.02f));
  const Array codes(both, floats(16));
  const int start = static_cast<int>(below(4));
  const float alpha = coin() ? 1.f : 0.4f;
  for (const bool bf16 : {false, true}) {
    const bool as_half = bf16 && coin();
    const Activation c_here(both, before, as_half), other(both, more, as_half);
    twice(both, [&](const Context& c) {
      const GemmOperand left = a.operand(c, ta ? m : depth, ta);
      GemmOperand right = {b.on(c), columns_b, tb, kind, kind >= GEMM_INT8_ROWS ? scales.on(c) : nullptr,
                           kind == GEMM_FOUR_BIT ? codes.on(c) : nullptr, kind == GEMM_FOUR_BIT ? block : 0};
      float* const out = c_here.at(c);
      const float* const added = start == 0 ? nullptr : start == 1 ? bias.on(c) + beyond : start == 2 ? out : other.at(c);
      const Gemm g = {m, n, depth, left, right, out, n, added, start == 1 ? 0 : n, alpha, c_here.on(c).half};
      (bf16 && &c == &both.card ? c.table->gemm_bf16 : c.table->gemm)(&c, &g);
    });
    c_here.agree("product, kind " + std::to_string(kind) + (bf16 ? ", bfloat16" : ""), bf16 ? half : single);
  }
}

// What cublasLt has not, or only believes to have (an emulated one that is told so), is computed without it.
void refused(Both& both) {
  if (both.options.driver.empty() || both.device.blas() == nullptr) return;
  for (const char* asked : {"cublasLtMatmulAlgoGetHeuristic=15", "cublasLtMatmul=15", "cublasLtMatmul=7"}) {
    const long n = 200 + below(100000), before = both.device.blas()->refusals();
    const Array a(both, floats(n)), b(both, floats(3)), c_here(both, Floats(3 * n));
    setenv("RXTUNE_MOCK_FAIL", asked, 1);
    twice(both, [&](const Context& c) {
      const Gemm g = {n, 3, 1, {a.on(c), 1, 0, GEMM_FLOAT32, nullptr, nullptr, 0}, {b.on(c), 3, 0, GEMM_FLOAT32, nullptr, nullptr, 0},
                      c_here.on(c), 3, nullptr, 0, 1.f, 0};
      c.table->gemm(&c, &g);
      c.table->gemm(&c, &g);
    });
    unsetenv("RXTUNE_MOCK_FAIL");
    c_here.agree(std::string("product after ") + asked, single);
    if (both.device.blas()->refusals() != before + 2) failures++, std::fprintf(stderr, "  %s: not counted\n", asked);
  }
}

// A base and its adapter, forwards and backwards, in one product or in two.
void adapters(Both& both) {
  const long m = coin() ? 8 * between(1, 20) : some(120), in = 8 * between(1, 15), out = 8 * between(1, 15), rank = coin() ? 8 * between(1, 8) : between(1, 64);
  // what the base begins with: nothing, a bias, or a matrix
  const int start = static_cast<int>(below(3));
  const bool beside = coin(), turned = coin();
  const int kind = coin() ? GEMM_BFLOAT16 : coin() ? GEMM_INT8_ROWS : GEMM_FOUR_BIT;
  const long rows = beside ? out : in, columns = beside ? in : out, block = 8 * between(1, 8);
  std::vector<unsigned char> stored(static_cast<size_t>(2 * in * out));
  if (kind == GEMM_BFLOAT16) {
    const std::vector<uint16_t> w = halves(floats(in * out));
    std::memcpy(stored.data(), w.data(), stored.size());
  } else {
    for (auto& byte : stored) byte = static_cast<unsigned char>(below(256));
  }
  const Array w(both, stored.data(), stored.size()), scales(both, floats(std::max(rows, in * out / block + 1), 0.01f, 0.02f)), codes(both, floats(16));
  const Array b(both, floats(out * rank)), bias(both, floats(out));
  const Activation u(both, floats(m * rank), rank % 8 == 0 && coin());
  const Activation x(both, floats(m * in)), y(both, Floats(m * out)), again(both, Floats(m * out));
  const Floats more = floats(m * out);
  const Activation for_y(both, more, y.half), for_again(both, more, again.half);
  both.card.bf16 = 1;
  bool was = false, narrowed = false;
  twice(both, [&](const Context& c) {
    const GemmOperand base = {w.on(c), columns, beside, kind, kind == GEMM_BFLOAT16 ? nullptr : scales.on(c),
                              kind == GEMM_FOUR_BIT ? codes.on(c) : nullptr, kind == GEMM_FOUR_BIT ? block : 0};
    const GemmOperand left = x.operand(c, in, 0), of_u = u.operand(c, rank, 0);
    const GemmOperand of_b = {b.on(c), turned ? rank : out, turned, GEMM_FLOAT32, nullptr, nullptr, 0};
    for (const Activation* to : {&y, &again}) {
      const int as_half = to->on(c).half;
      const float* const begin = start == 0 ? nullptr : start == 1 ? bias.on(c) : (to == &y ? for_y : for_again).at(c);
      const Gemm first = {m, out, in, left, base, to->at(c), out, begin, start == 2 ? out : 0, 1, as_half};
      const Gemm second = {m, out, rank, of_u, of_b, to->at(c), out, to->at(c), out, 2.f, as_half};
      if (Device* const device = static_cast<Device*>(c.device)) {
        const bool joined = device->joined(&c, &first, &second);
        // what is copied, and what is read and written again
        const long copied = (x.half && !narrowed ? 4 * m * in : 0) + (kind == GEMM_BFLOAT16 ? 4 * in * out : 0);
        if (joined != (both.device.blas() != nullptr && copied < (as_half ? 4 : 8) * m * out)) {
          failures++;
          std::fprintf(stderr, "  adapter, kind %d: %s\n", kind, joined ? "one product where it does not pay" : "two products where one pays");
        }
        narrowed = narrowed || joined;
        was = was || joined;
        if (joined) continue;
      }
      run_gemm(&c, &first);
      run_gemm(&c, &second);
    }
  });
  both.card.bf16 = 0;
  const std::string name = std::string("adapter, ") + (was ? "one product" : "two products") + ", kind " + std::to_string(kind);
  y.agree(name, half);
  again.agree(name + ", again", half);
}

// Gradients of B of adapters that read the same rows: in one pass over dy each where it is worth it, else nothing is done.
void adapter_grads(Both& both) {
  const long m = coin() ? some(300) : some(1500), count = between(1, 3);
  struct Adapter {
    long columns, rank;
    std::unique_ptr<Activation> dy;
    std::unique_ptr<Array> b, db;
  };
  std::vector<Adapter> adapters;
  long ranks = 0;
  for (long i = 0; i < count; i++) {
    const long columns = coin() ? 8 * between(1, 20) : coin() ? 8 * between(60, 140) : some(1100), rank = below(6) == 0 ? between(1, 70) : coin() ? 8 * between(1, 4) : between(1, 16);
    ranks += rank;
    adapters.push_back({columns, rank, std::make_unique<Activation>(both, floats(m * columns)), std::make_unique<Array>(both, floats(columns * rank)),
                        std::make_unique<Array>(both, floats(columns * rank))});
  }
  const Floats before = floats(m * ranks);
  // Both lie as float32, or as bfloat16.
  const bool as_half = coin();
  const Activation u(both, floats(m * ranks), as_half), du(both, before, as_half);
  const float scaling = coin() ? 1.f : 0.7f;
  const auto grads = [&](const Context& c) {
    std::vector<AdapterGrad> all;
    long first = 0;
    for (const Adapter& a : adapters) {
      const auto from_first = [&](Values v) {
        return Values{static_cast<char*>(v.at) + (v.half ? 2 : 4) * first, v.half};
      };
      all.push_back({m, a.columns, a.rank, scaling, a.dy->operand(c, a.columns, 0), from_first(u.on(c)), a.b->on(c), from_first(du.on(c)), a.db->on(c), ranks});
      first += a.rank;
    }
    return all;
  };
  both.card.bf16 = 1;
  const std::vector<AdapterGrad> on_card = grads(both.card), here = grads(both.processor);
  const std::unique_ptr<bool[]> done(new bool[adapters.size()]());
  both.device.adapter_grads(&both.card, on_card.data(), count, done.get());
  // what else would be done: once more, with rows that lie rounded already
  const std::vector<unsigned char> first_du = du.bits();
  const std::unique_ptr<bool[]> again(new bool[adapters.size()]());
  both.device.adapter_grads(&both.card, on_card.data(), count, again.get());
  both.card.bf16 = 0;
  if (du.bits() != first_du) failures++, std::fprintf(stderr, "  adapter_grads: another du the second time\n");
  for (long i = 0; i < count; i++) {
    const AdapterGrad& a = here[static_cast<size_t>(i)];
    const bool vectors = a.columns % 8 == 0 || !adapters[static_cast<size_t>(i)].dy->half;
    if (done[i] && (a.rank > 64 || !vectors)) failures++, std::fprintf(stderr, "  adapter_grads: rank %ld, %ld columns done\n", a.rank, a.columns);
    // One block does it all: nothing is added up afterwards.
    if (!done[i] && a.rank <= 16 && vectors && a.columns >= 256 && a.columns <= 512 && m <= 64) failures++, std::fprintf(stderr, "  adapter_grads: rank %ld, %ld columns not done\n", a.rank, a.columns);
    if (!done[i]) continue;  // left as it was
    GemmOperand turned = a.dy;
    turned.transposed = 1;
    const Gemm to_u = {m, a.rank, a.columns, a.dy, {a.b, a.rank, 0, GEMM_FLOAT32, nullptr, nullptr, 0}, static_cast<float*>(a.du.at), ranks, nullptr, 0, scaling, 0};
    const Gemm to_b = {a.columns, a.rank, m, turned, {a.u.at, ranks, 0, GEMM_FLOAT32, nullptr, nullptr, 0}, a.db, a.rank, nullptr, 0, scaling, 0};
    run_gemm(&both.processor, &to_u);
    run_gemm(&both.processor, &to_b);
  }
  du.agree("adapter_grads, du", half);
  for (const Adapter& a : adapters) a.db->agree("adapter_grads, dB of rank " + std::to_string(a.rank) + ", " + std::to_string(a.columns) + " columns", half);
}

// A matrix [rows, columns] in any of the ways that weights lie.
struct Stored {
  const int kind;
  static constexpr long block = 64;
  std::unique_ptr<Array> data, scale, code;

  Stored(Both& both, int kind, long rows, long columns) : kind(kind) {
    const long n = rows * columns;
    if (kind == GEMM_FLOAT32) data = std::make_unique<Array>(both, floats(n));
    if (kind == GEMM_BFLOAT16) {
      const std::vector<uint16_t> bits = halves(floats(n));
      data = std::make_unique<Array>(both, bits.data(), bits.size() * 2);
    }
    if (kind < GEMM_INT8_ROWS) return;
    std::vector<unsigned char> bytes(static_cast<size_t>(kind == GEMM_FOUR_BIT ? (n + 1) / 2 : n));
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(below(256));
    data = std::make_unique<Array>(both, bytes.data(), bytes.size());
    scale = std::make_unique<Array>(both, floats(kind == GEMM_FOUR_BIT ? (n + block - 1) / block : rows, 0.01f, 0.02f));
    if (kind == GEMM_FOUR_BIT) code = std::make_unique<Array>(both, floats(16));
  }
  GemmOperand operand(const Context& c, long ld, int transposed) const {
    return {data->on(c), ld, transposed, kind, scale ? scale->on(c) : nullptr, code ? code->on(c) : nullptr, code ? block : 0};
  }
};

std::vector<long> group_sizes(long count, bool many, long& rows) {
  std::vector<long> sizes;
  for (long g = 0; g < count; g++) {
    sizes.push_back(many ? between(129, 200) : below(4) == 0 ? 0 : between(1, 100));
    rows += sizes.back();
  }
  return sizes;
}

// Products of groups of rows with a matrix each, and of adapters that add to them: in one launch where few rows go to each.
void groups(Both& both) {
  const long count = between(2, 6), depth = coin() ? 8 * between(1, 40) : some(150), columns = coin() ? 8 * between(1, 40) : some(300);
  const bool turned = coin(), many = below(4) == 0;
  // Nothing beside, adapters, those whose matrices lie apart, or these alone.
  const long beside = below(4), rank = coin() ? 8 * between(1, 3) : between(1, 20), apart = rank / 3;
  const bool alone = beside == 3, stacked = beside > 1;
  long rows = 0;
  const std::vector<long> sizes = group_sizes(count, many, rows);
  const long lines = turned ? depth : columns, width = turned ? columns : depth;
  const Activation x(both, floats(rows * depth)), y(both, floats(rows * columns));
  const Floats more = floats(rows * columns);
  const Activation start(both, more, y.half);
  const long ld_u = rank + (coin() ? 4 : 0);
  const Array u(both, floats(rows * ld_u));
  const int kind = alone ? static_cast<int>(GEMM_FLOAT32) : coin() ? static_cast<int>(GEMM_BFLOAT16) : static_cast<int>(below(4));
  std::vector<Stored> ws, bs;
  std::vector<std::unique_ptr<Array>> biases;
  for (long g = 0; g < count; g++) {
    ws.emplace_back(both, kind, lines, width);
    bs.emplace_back(both, GEMM_FLOAT32, turned ? rank : columns, turned ? columns : rank);
    biases.push_back(std::make_unique<Array>(both, floats(columns)));
  }
  const float scaling = stacked || coin() ? 1.f : 0.7f;
  // nothing, a bias each, a matrix, or what is there
  const long begins = below(4);
  both.card.bf16 = 1;
  bool done = false;
  twice(both, [&](const Context& c) {
    std::vector<Gemm> all, adapters;
    std::vector<const float*> parts;
    const long of_alone[] = {lines / 3, lines - lines / 3}, of_beside[] = {apart, rank - apart};
    const bool cuts = turned || alone;  // rows of what lies apart
    long first = 0;
    const auto from = [&](const Activation& a, long at) { return a.at(c, at); };
    for (long g = 0; g < count; g++) {
      const size_t i = static_cast<size_t>(g);
      const GemmOperand of_x = {from(x, first * depth), depth, 0, x.on(c).half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
      const float* const begin = begins == 0 ? nullptr : begins == 1 ? biases[i]->on(c) : from(begins == 2 ? start : y, first * columns);
      float* const to = from(y, first * columns);
      all.push_back({sizes[i], columns, depth, of_x, ws[i].operand(c, width, !turned), to, columns, begin, begins == 1 ? 0 : columns, 1, y.on(c).half});
      const GemmOperand of_u = {u.on(c) + first * ld_u, ld_u, 0, GEMM_FLOAT32, nullptr, nullptr, 0};
      adapters.push_back({sizes[i], columns, rank, of_u, bs[i].operand(c, turned ? columns : rank, !turned), to, columns, to, columns, scaling, y.on(c).half});
      const Stored& split = alone ? ws[i] : bs[i];
      parts.push_back(split.data->on(c));
      parts.push_back(split.data->on(c) + (alone ? of_alone[0] : of_beside[0]) * (alone ? width : columns));
      first += sizes[i];
    }
    const bool adds = beside == 1 || (beside == 2 && cuts);
    if (Device* const device = static_cast<Device*>(c.device)) {
      std::vector<Gemm> bare = alone ? all : adapters;
      for (Gemm& each : bare) each.b.data = nullptr;
      const StackedRows rest = {parts.data(), alone ? of_alone : of_beside, 2};
      const bool lie_apart = alone || (beside == 2 && cuts);
      done = device->grouped(&c, alone ? bare.data() : all.data(), !adds ? nullptr : beside == 2 ? bare.data() : adapters.data(), lie_apart ? &rest : nullptr, count);
      if (done) return;
    }
    for (size_t g = 0; g < all.size(); g++) {
      run_gemm(&c, &all[g]);
      if (adds) run_gemm(&c, &adapters[g]);
    }
  });
  both.card.bf16 = 0;
  const bool adds = beside == 1 || (beside == 2 && turned);
  const bool vectors = (depth % 8 == 0 || !x.half) && (!turned || columns % 8 == 0), few = both.device.blas() == nullptr || rows <= 128 * count;
  if (done != (vectors && rows > 0 && (few || adds || alone))) {
    failures++;
    std::fprintf(stderr, "  groups: %ld rows of %ld, %ld columns, beside %ld, kind %d, %s\n", rows, depth, columns, beside, kind, done ? "done" : "not done");
  }
  y.agree(std::string("groups") + (done ? ", together" : "") + (turned ? ", turned" : "") + (adds ? ", with adapters" : "") + ", kind " + std::to_string(kind), half);
}

// Products over the rows of groups: gradients of weights, and of several adapters' A.
void group_grads(Both& both) {
  const long count = between(2, 5), columns = coin() ? 8 * between(1, 40) : some(200);
  const bool adapters = coin(), many = below(4) == 0;
  long rows = 0;
  const std::vector<long> sizes = group_sizes(count, many, rows);
  std::vector<long> heights;
  for (long m = adapters ? between(1, 3) : 1; m > 0; m--) heights.push_back(adapters ? (coin() ? 8 * between(1, 3) : between(1, 20)) : some(200));
  long ld = 0;
  bool on_border = true;
  for (const long height : heights) on_border = on_border && ld % 8 == 0, ld += height;
  const Activation dy(both, floats(rows * ld), !adapters && coin()), x(both, floats(rows * columns));
  std::vector<std::unique_ptr<Array>> cs;
  for (long g = 0; g < count; g++)
    for (const long height : heights) cs.push_back(std::make_unique<Array>(both, floats(height * columns)));
  both.card.bf16 = 1;
  bool done = false;
  twice(both, [&](const Context& c) {
    std::vector<Gemm> all;
    long first = 0;
    size_t i = 0;
    for (const long size : sizes) {
      long from = 0;
      for (const long height : heights) {
        const GemmOperand left = {dy.at(c, first * ld + from), ld, 1, dy.on(c).half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
        const GemmOperand right = {x.at(c, first * columns), columns, 0, x.on(c).half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0};
        all.push_back({height, columns, size, left, right, cs[i++]->on(c), columns, nullptr, 0, 1, 0});
        from += height;
      }
      first += size;
    }
    if (Device* const device = static_cast<Device*>(c.device)) {
      done = device->grouped_grads(&c, all.data(), static_cast<long>(all.size()));
      if (done) return;
    }
    for (const Gemm& each : all) run_gemm(&c, &each);
  });
  both.card.bf16 = 0;
  bool thin = true;
  for (const long height : heights) thin = thin && height <= 64;
  const bool vectors = columns % 8 == 0 && on_border && (ld % 8 == 0 || !dy.half), few = rows * static_cast<long>(heights.size()) <= 128 * static_cast<long>(cs.size());
  if (done != (vectors && rows > 0 && (both.device.blas() == nullptr || thin || few))) {
    failures++;
    std::fprintf(stderr, "  group_grads: %ld rows, %ld by %ld, %s\n", rows, ld, columns, done ? "done" : "not done");
  }
  for (const auto& c : cs) c->agree(std::string("group_grads") + (done ? ", one launch" : ""), half);
}

// Products after one another that read the same rows, or rows that a product, a kernel or a copy has written to since.
void sharing(Both& both) {
  const long m = some(100), n = some(100), depth = some(100);
  const Array x(both, floats(m * depth)), w(both, floats(n * depth)), v(both, floats(m * n)), y(both, Floats(m * n)), z(both, Floats(n * depth));
  both.card.bf16 = 1;
  const auto plain = [](const float* data, long ld, int transposed) { return GemmOperand{data, ld, transposed, GEMM_FLOAT32, nullptr, nullptr, 0}; };
  twice(both, [&](const Context& c) {
    const Gemm forwards = {m, n, depth, plain(x.on(c), depth, 0), plain(w.on(c), depth, 1), y.on(c), n, nullptr, 0, 1, 0};
    const Gemm backwards = {m, depth, n, plain(y.on(c), n, 0), plain(w.on(c), depth, 0), x.on(c), depth, nullptr, 0, 0.1f, 0};
    const Gemm to_w = {n, depth, m, plain(y.on(c), n, 1), plain(x.on(c), depth, 0), z.on(c), depth, z.on(c), depth, 1, 0};
    run_gemm(&c, &forwards);
    run_gemm(&c, &forwards);
    run_gemm(&c, &backwards);
    run_gemm(&c, &to_w);
    c.table->add(&c, values_of(y.on(c)), values_of(v.on(c)), values_of(y.on(c)), m * n);
    run_gemm(&c, &to_w);
    run_gemm(&c, &forwards);
    if (c.device != nullptr)
      both.device.upload(x.on(c), v.here.data(), static_cast<size_t>(4 * std::min(m * n, m * depth)));
    else
      std::memcpy(x.on(c), v.here.data(), static_cast<size_t>(4 * std::min(m * n, m * depth)));
    run_gemm(&c, &forwards);
    run_gemm(&c, &to_w);
  });
  both.card.bf16 = 0;
  y.agree("products that share, y", half);
  z.agree("products that share, z", half);
}

// The way back through a linear layer: the gradient of its bias comes between two products that read the same rows, which are rounded once.
void biases(Both& both) {
  const long rows = some(300), in = 8 * between(1, 12), out = some(200);
  const Array dy(both, floats(rows * out)), dw(both, Floats(out * in)), d_bias(both, Floats(out)), dx(both, Floats(rows * in));
  const Activation x(both, floats(rows * in), true);
  const std::vector<uint16_t> numbers = halves(floats(out * in));
  const Array w(both, numbers.data(), numbers.size() * 2);
  both.card.bf16 = 1;
  long launches = 0;
  twice(both, [&](const Context& c) {
    GemmOperand left = {dy.on(c), out, 1, GEMM_FLOAT32, nullptr, nullptr, 0};
    const Gemm to_w = {out, in, rows, left, x.operand(c, in, 0), dw.on(c), in, nullptr, 0, 1, 0};
    run_gemm(&c, &to_w);
    c.table->column_sum(&c, values_of(dy.on(c)), d_bias.on(c), rows, out);
    left.transposed = 0;
    const long before = both.device.started();
    const Gemm to_x = {rows, in, out, left, {w.on(c), in, 0, GEMM_BFLOAT16, nullptr, nullptr, 0}, dx.on(c), in, nullptr, 0, 1, 0};
    run_gemm(&c, &to_x);
    launches = both.device.started() - before;
  });
  both.card.bf16 = 0;
  dw.agree("a layer's dw", half);
  d_bias.agree("a layer's d_bias", half);
  dx.agree("a layer's dx", half);
  // A plain kernel forgets what lies narrowed, as whatever is started does.
  if (launches != (both.device.blas() != nullptr ? 1 : 2)) failures++, std::fprintf(stderr, "  a layer's dx: %ld launches\n", launches);
}

// More shapes than are kept planned.
void plans(Both& both) {
  const long most = 48;
  const Array a(both, floats(most * most)), b(both, floats(most)), c_here(both, Floats(most));
  for (long m = 1; m <= most; m++)
    for (long depth = 1; depth <= most; depth++) {
      const auto run = [&](const Context& c) {
        const Gemm g = {m, 1, depth, {a.on(c), depth, 0, GEMM_FLOAT32, nullptr, nullptr, 0}, {b.on(c), 1, 0, GEMM_FLOAT32, nullptr, nullptr, 0},
                        c_here.on(c), 1, nullptr, 0, 1, 0};
        c.table->gemm(&c, &g);
      };
      if (m * depth == most * most)
        twice(both, run);
      else
        run(both.card);
    }
  c_here.agree("products of many shapes", single);
}

// A product that reads what a norm's gradient has just written: as bfloat16 it is written beside, and not converted once more.
void after_norms(Both& both) {
  const long rows = some(100), width = coin() ? 8 * between(1, 60) : some(300), out = 8 * between(1, 10), n = rows * width;
  const Array gain(both, floats(width)), mean(both, floats(rows)), rstd(both, floats(rows, 0.5f, 2)), residual(both, floats(n)), dx(both, Floats(n));
  const Activation x(both, floats(n)), dy(both, floats(n));
  const std::vector<uint16_t> numbers = halves(floats(width * out));
  const Array w(both, numbers.data(), numbers.size() * 2), y(both, Floats(rows * out));
  const bool rms = coin(), with_residual = coin();
  both.card.bf16 = 1;
  long launches = 0;
  twice(both, [&](const Context& c) {
    const float* const more = with_residual ? residual.on(c) : nullptr;
    if (rms)
      c.table->rms_norm_grad(&c, dy.on(c), x.on(c), gain.on(c), rstd.on(c), more, dx.on(c), nullptr, rows, width, 0);
    else
      c.table->layer_norm_grad(&c, dy.on(c), x.on(c), gain.on(c), mean.on(c), rstd.on(c), more, dx.on(c), nullptr, nullptr, rows, width);
    const long before = both.device.started();
    const GemmOperand left = {dx.on(c), width, 0, GEMM_FLOAT32, nullptr, nullptr, 0}, right = {w.on(c), out, 0, GEMM_BFLOAT16, nullptr, nullptr, 0};
    const Gemm g = {rows, out, width, left, right, y.on(c), out, nullptr, 0, 1, 0};
    run_gemm(&c, &g);
    launches = both.device.started() - before;
  });
  both.card.bf16 = 0;
  dx.agree("a norm's gradient before a product", single);
  y.agree("product after a norm's gradient", half);
  const bool beside = with_residual && width % 8 == 0;
  if (launches != (beside ? 1 : 2)) {
    failures++;
    std::fprintf(stderr, "  a product after a norm's gradient, %ld columns: %ld launches\n", width, launches);
  }
}

// Elements beyond the threshold, and below what half precision holds.
void quantized(Both& both) {
  const long rows = some(60), columns = some(300), n = rows * columns;
  Floats numbers = floats(n, -3, 3);
  for (long i = between(0, 5); i > 0; i--) numbers[static_cast<size_t>(below(n))] *= 1e3f;
  for (long i = between(0, 5); i > 0; i--) numbers[static_cast<size_t>(below(n))] *= 1e-6f;
  const Array x(both, numbers), y(both, Floats(n));
  twice(both, [&](const Context& c) { c.table->int8_activations(&c, x.on(c), y.on(c), rows, columns, 6.f); });
  y.agree("int8_activations", single);

  // Dequantised alone: by the formula.
  const long block = coin() ? 8 * between(1, 16) : 2 * between(1, 40), blocks = (n + block - 1) / block;
  std::vector<unsigned char> bytes(static_cast<size_t>(n));
  for (auto& byte : bytes) byte = static_cast<unsigned char>(below(256));
  const Array stored(both, bytes.data(), bytes.size()), of_row(both, floats(rows)), of_block(both, floats(blocks)), codes(both, floats(16));
  for (const int kind : {GEMM_INT8_ROWS, GEMM_FOUR_BIT}) {
    const Array out(both, Floats(n));
    float* const expected = out.on(both.processor);
    for (long i = 0; i < n; i++) {
      const int byte = bytes[static_cast<size_t>(kind == GEMM_INT8_ROWS ? i : i / 2)];
      expected[i] = kind == GEMM_INT8_ROWS ? static_cast<float>(static_cast<int8_t>(byte)) * of_row.on(both.processor)[i / columns]
                                           : codes.on(both.processor)[i % 2 == 0 ? byte >> 4 : byte & 15] * of_block.on(both.processor)[i / block];
    }
    const Context& c = both.card;
    const GemmOperand m = {stored.on(c), columns, 0, kind, kind == GEMM_INT8_ROWS ? of_row.on(c) : of_block.on(c),
                           kind == GEMM_FOUR_BIT ? codes.on(c) : nullptr, kind == GEMM_FOUR_BIT ? block : 0};
    c.table->dequantize(&c, &m, rows, columns, out.on(c));
    out.agree("dequantize " + std::to_string(kind), single);
  }
}

void attention(Both& both) {
  const long kv_heads = between(1, 2), heads = kv_heads * between(1, 3);
  constexpr long shapes[][2] = {{192, 128}, {256, 256}, {64, 64}, {128, 128}, {4, 4}, {20, 20}, {96, 96}, {160, 100}, {272, 272}, {80, 48}, {16, 40}, {224, 192}, {40, 40}};
  // Shape after shape, so that few rounds see each, and the first ones those of most registers.
  static long round = 0;
  const long dim = shapes[round % 13][0], depth = shapes[round % 13][1];
  const bool first = round++ < 2;
  const long window = coin() ? 0 : between(1, 90);
  std::vector<int32_t> borders = {0};
  const long documents = between(1, 3);
  // Long ones have several tiles of 128 rows.
  for (long d = 0; d < documents; d++)
    borders.push_back(borders.back() + static_cast<int32_t>(below(4) == 0 ? 0 : below(6) == 0 ? between(129, 300) : between(1, 150)));
  const long n = borders.back(), q = heads * dim, keys = kv_heads * dim, o = heads * depth, ld = q + keys + kv_heads * depth + (coin() ? 8 : 3);
  if (n == 0) return;
  // What the fast kernels do not know.
  const bool special = !first && below(3) == 0;
  // Scores that leave those of tiles before far behind; of numbers that are bfloat16 from the start, since rounding would change all.
  const bool steep = !special && below(3) == 0;
  const float size = steep ? 14 : 2, softcap = special && coin() ? 1.5f : 0.f, alibi = special && coin() ? 0.4f : 0.f;
  const Array sinks(both, floats(heads));
  const bool sunk = special && coin();
  const Floats numbers = floats(n * ld, -size, size), slopes = floats(n * o);
  struct Way {
    int bf16;
    bool hopper;
  };
  std::vector<Way> ways = {{0, false}, {1, false}};
  const bool has_hopper = both.device.has_hopper();
  // Wider heads have one way, and so have caps and sinks.
  if (has_hopper && flash_width(static_cast<int>(dim), static_cast<int>(depth)) > 0 && !special) ways.push_back({1, true});
  for (const auto [bf16, hopper] : ways) {
    both.device.use_hopper(hopper);
    const bool as_half = bf16 && (steep || coin());
    const Activation joined(both, numbers, as_half), d_out(both, slopes, as_half), out(both, Floats(n * o), as_half),
        d_joined(both, Floats(n * ld), as_half);
    const Array lse(both, Floats(n * heads));
    both.card.bf16 = bf16;
    const auto filled = [&](const Context& c) {
      Attention a = {};
      a.q = joined.at(c), a.k = joined.at(c, q), a.v = joined.at(c, q + keys);
      a.ld_q = a.ld_k = a.ld_v = ld;
      a.cu_seqlens = borders.data(), a.documents = documents, a.heads = heads, a.kv_heads = kv_heads, a.head_dim = dim, a.value_dim = depth;
      a.scale = 1 / std::sqrt(static_cast<float>(dim)), a.window = window, a.softcap = softcap, a.sinks = sunk ? sinks.on(c) : nullptr, a.alibi = alibi;
      a.out = out.at(c), a.lse = lse.on(c);
      a.d_out = d_out.at(c), a.dq = d_joined.at(c), a.dk = d_joined.at(c, q), a.dv = d_joined.at(c, q + keys);
      a.half = out.on(c).half;
      a.ld_dq = a.ld_dk = a.ld_dv = ld;
      return a;
    };
    const std::string name = "attention " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " x " + std::to_string(dim) + (depth == dim ? "" : "/" + std::to_string(depth)) + ", window " +
                             std::to_string(window) + (softcap > 0 ? ", capped" : "") + (sunk ? ", sinks" : "") + (alibi != 0 ? ", alibi, " : ", ") +
                             std::to_string(n) + " rows" + (hopper ? ", bfloat16, wgmma" : bf16 ? ", bfloat16" : "");
    twice(both, [&](const Context& c) {
      const Attention a = filled(c);
      c.table->attention(&c, &a);
    });
    out.agree(name, bf16 ? half : single);
    lse.agree(name + ", lse", bf16 ? half : single);
    if (steep) continue;
    twice(both, [&](const Context& c) {
      const Attention a = filled(c);
      c.table->attention_grad(&c, &a);
    });
    d_joined.agree(name + ", gradients", bf16 ? half : single);
  }
  both.device.use_hopper(has_hopper);
  both.card.bf16 = 0;
}

void loss(Both& both) {
  // Now and then a row of which a block holds only a part, or two groups of it.
  const bool is_long = below(8) == 0;
  const long rows = is_long ? between(1, 3) : some(150), width = some(is_long ? 8 : 80), vocabulary = is_long ? coin() ? 57300 + below(100000) : 9000 + below(9000) : some(700);
  const std::vector<int32_t> targets = indices(rows, vocabulary, below(4) == 0);
  const Floats weights = floats(rows, 0, 1);
  const bool gradient = coin(), weight = coin(), with_bias = coin(), dft = coin(), add = coin();
  const float smoothing = coin() ? 0.f : 0.1f, softcap = coin() ? 0.f : 1.5f;
  const Array h(both, floats(rows * width)), w(both, floats(vocabulary * width)), bias(both, floats(vocabulary));
  for (const int bf16 : {0, 1}) {
    both.card.bf16 = bf16;
    const Array total(both, Floats(1)), losses(both, Floats(rows)), correct(both, Floats(rows)), entropy(both, Floats(rows)),
        dh(both, Floats(rows * width)), dw(both, floats(vocabulary * width)), d_bias(both, floats(vocabulary));
    twice(both, [&](const Context& c) {
      LinearCrossEntropy a = {};
      a.rows = rows, a.columns = width, a.vocabulary = vocabulary, a.h = h.on(c), a.bias = with_bias ? bias.on(c) : nullptr;
      a.w = {w.on(c), width, 1, GEMM_FLOAT32, nullptr, nullptr, 0};
      a.targets = targets.data(), a.weights = weights.data(), a.label_smoothing = smoothing, a.softcap = softcap, a.dft = dft;
      a.total = total.on(c), a.loss = losses.on(c), a.correct = correct.on(c), a.entropy = entropy.on(c);
      a.dh = gradient ? dh.on(c) : nullptr, a.dw = gradient && weight ? dw.on(c) : nullptr;
      a.d_bias = gradient && weight && with_bias ? d_bias.on(c) : nullptr, a.accumulate = add;
      c.table->linear_cross_entropy(&c, &a);
    });
    const double tolerance = bf16 ? half : single;
    // one class: the loss is nothing but rounding errors
    if (vocabulary < 8) continue;
    total.agree("loss", tolerance);
    losses.agree("loss of rows", tolerance);
    if (!bf16) correct.agree("correct", 0);
    entropy.agree("entropy", tolerance);
    dh.agree("loss, dh", tolerance);
    dw.agree("loss, dw", tolerance);
    d_bias.agree("loss, bias", tolerance);
  }
  both.card.bf16 = 0;
}

void updates(Both& both) {
  std::vector<long> sizes;
  std::vector<std::unique_ptr<Array>> p, g, m, v;
  Floats decay;
  for (long t = between(1, 5); t > 0; t--) {
    const long n = below(6) == 0 ? 70000 : some(3000);
    sizes.push_back(n);
    p.push_back(std::make_unique<Array>(both, floats(n)));
    g.push_back(std::make_unique<Array>(both, floats(n)));
    m.push_back(std::make_unique<Array>(both, floats(n)));
    v.push_back(std::make_unique<Array>(both, floats(n, 0, 1)));
    decay.push_back(coin() ? 0.f : 0.1f);
  }
  const long count = static_cast<long>(sizes.size());
  const Array out(both, Floats(1));
  const long step = between(1, 30);
  // A device clips by the norm as it finds it, and writes nothing where there is none.
  const bool clips = coin(), none = below(4) == 0;
  const double max_norm = coin() ? 0 : 0.5 + below(100);
  // Some have a copy as bfloat16.
  const auto as_halves = [](const std::vector<unsigned char>& bytes, long n) {
    const float* const numbers = reinterpret_cast<const float*>(bytes.data());
    return halves(Floats(numbers, numbers + n));
  };
  std::vector<std::unique_ptr<Array>> copies;
  for (long t = 0; t < count; t++) {
    const size_t i = static_cast<size_t>(t);
    const std::vector<uint16_t> bits = as_halves(p[i]->here, sizes[i]);
    copies.push_back(coin() ? std::make_unique<Array>(both, bits.data(), 2 * bits.size()) : nullptr);
  }
  const Array norm(both, Floats(1, none ? std::nanf("") : 1.f + static_cast<float>(below(5000))));
  twice(both, [&](const Context& c) {
    std::vector<float*> ps, ms, vs;
    std::vector<const float*> gs;
    std::vector<uint16_t*> rs;
    for (long t = 0; t < count; t++) {
      rs.push_back(copies[t] != nullptr ? copies[t]->on<uint16_t>(c) : nullptr);
      ps.push_back(p[t]->on(c)), gs.push_back(g[t]->on(c)), ms.push_back(m[t]->on(c)), vs.push_back(v[t]->on(c));
    }
    c.table->squared_norm(&c, gs.data(), sizes.data(), count, out.on(c));
    AdamW a = {count, ps.data(), gs.data(), ms.data(), vs.data(), sizes.data(), decay.data(), 1e-3, 0.9, 0.99, 1e-8, 0.7, step, nullptr, 0, c.device != nullptr ? rs.data() : nullptr};
    if (clips && c.device != nullptr) a.squared_norm = norm.on(c), a.max_norm = max_norm;
    if (clips && c.device == nullptr) {
      if (none) return;
      const double length = std::sqrt(static_cast<double>(*norm.on(c)));
      if (max_norm > 0) a.grad_scale = static_cast<double>(0.7f * static_cast<float>(std::min(1.0, max_norm / (length + 1e-6))));
    }
    c.table->adamw(&c, &a);
  });
  out.agree("squared_norm", single);
  for (long t = 0; t < count; t++) {
    p[t]->agree("adamw, p", single);
    m[t]->agree("adamw, m", single);
    v[t]->agree("adamw, v", single);
    if (copies[t] == nullptr) continue;
    const std::vector<uint16_t> bits = as_halves(p[t]->back(), sizes[t]);
    std::memcpy(copies[t]->here.data(), bits.data(), 2 * bits.size());
    copies[t]->agree("adamw, p as bfloat16", 0);
  }
}

// The first moment's map of bitsandbytes, or the second's: 256 ascending numbers.
Floats moment_map(bool with_sign) {
  Floats map = {0, 1};
  for (int e = 0; e < 7; e++) {
    const int parts = with_sign ? 1 << e : 2 << e;
    for (int i = 0; i < parts; i++) {
      const double middle = std::pow(10., e - 6) * (0.1 + 0.9 * (i + 0.5) / parts);
      map.push_back(static_cast<float>(middle));
      if (with_sign) map.push_back(static_cast<float>(-middle));
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

// Codes are compared by what they mean: a rounding may take a number to the other side of a border.
void updates_8bit(Both& both) {
  const Floats with_sign = moment_map(true), no_sign = moment_map(false);
  const long n = below(4) == 0 ? between(65530, 66000) : some(3000), blocks = (n + 255) / 256;
  std::vector<unsigned char> codes[2];
  for (auto& each : codes)
    for (long i = 0; i < n; i++) each.push_back(static_cast<unsigned char>(below(256)));
  const Array p(both, floats(n)), g(both, floats(n)), m(both, codes[0].data(), codes[0].size()), v(both, codes[1].data(), codes[1].size()),
      m_absmax(both, floats(blocks, 0, coin() ? 1.f : 0.f)), v_absmax(both, floats(blocks, 0, 1));
  const float decay = coin() ? 0.f : 0.1f;
  const long step = between(1, 30);
  twice(both, [&](const Context& c) {
    float* const ps[] = {p.on(c)};
    const float* const gs[] = {g.on(c)};
    uint8_t* const ms[] = {m.on<uint8_t>(c)};
    uint8_t* const vs[] = {v.on<uint8_t>(c)};
    float* const mas[] = {m_absmax.on(c)};
    float* const vas[] = {v_absmax.on(c)};
    const AdamW8bit a = {1, ps, gs, ms, vs, mas, vas, &n, &decay, with_sign.data(), no_sign.data(), 1e-3, 0.9, 0.99, 1e-8, 0.7, step};
    c.table->adamw_8bit(&c, &a);
  });
  p.agree("adamw_8bit, p", single);
  m_absmax.agree("adamw_8bit, greatest m", single);
  v_absmax.agree("adamw_8bit, greatest v", single);
  for (const bool second : {false, true}) {
    const Array& moment = second ? v : m;
    const Floats& map = second ? no_sign : with_sign;
    const std::vector<unsigned char> got = moment.back();
    Floats there(static_cast<size_t>(n));
    const Array meant(both, Floats(n));
    for (long i = 0; i < n; i++) {
      const size_t at = static_cast<size_t>(i);
      meant.on(both.processor)[i] = map[moment.here[at]];
      there[at] = map[got[at]];
    }
    both.device.upload(meant.on(both.card), there.data(), there.size() * 4);
    meant.agree(second ? "adamw_8bit, v" : "adamw_8bit, m", half);
  }
}

// More bytes than the ring of pinned memory holds, while earlier ones wait.
void copies(Both& both) {
  std::vector<Floats> all;
  std::vector<std::unique_ptr<Array>> arrays;
  for (int i = 0; i < 6; i++) arrays.push_back(std::make_unique<Array>(both, floats(between(1, 1500000))));
  for (const auto& array : arrays) array->agree("copies", 0);
  const long n = 1200000;  // 4.8 MB of ids: beside the ring
  const std::vector<int32_t> ids = indices(n, 5, false);
  const Array x(both, floats(5)), out(both, Floats(n));
  twice(both, [&](const Context& c) { c.table->gather_rows(&c, values_of(x.on(c)), ids.data(), values_of(out.on(c)), n, 1); });
  out.agree("copies of many ids", 0);
  // Three such arrays an operation, more often than they are kept.
  std::vector<int32_t> places;
  for (long i = 0; i < n; i++) places.push_back(static_cast<int32_t>(n - 1 - i));
  const Array dy(both, floats(n)), d_table(both, floats(n));
  for (int i = 0; i < 4; i++)
    twice(both, [&](const Context& c) { c.table->embedding_grad(&c, dy.on(c), places.data(), d_table.on(c), n, n, 1, 1); });
  d_table.agree("copies of many ids, thrice", single);
}

// Destructors give memory back, also after an error of the card (an emulated one, here).
void broken(Both& both) {
  void* const memory = both.device.take(both.device.round(1));
  setenv("RXTUNE_MOCK_FAIL", "cuStreamSynchronize=700", 1);
  try {
    both.device.give(memory, 1);
  } catch (const std::exception& thrown) {
    failures++;
    std::fprintf(stderr, "  giving memory back threw: %s\n", thrown.what());
  }
  unsetenv("RXTUNE_MOCK_FAIL");
  both.device.give(memory, 1);
}

// A card whose memory runs out while it is opened (an emulated one, at one allocation after the other): what is said of attention by wgmma,
// which could not be checked then, is what is done.
void opened(Both& both) {
  std::string said;
  long asked = 0;
  for (long step = 1; said.empty(); step++) {
    asked += step;
    setenv("RXTUNE_MOCK_FAIL", ("cuMemAlloc_v2=2@" + std::to_string(asked)).c_str(), 1);
    cuda::Options options = both.options;
    options.attention = "";
    try {
      const cuda::CudaDevice device(options);
      const std::string told = device.description();
      if (told.find("no memory is left") == std::string::npos) said = told;
      else if (device.has_hopper()) failures++, std::fprintf(stderr, "  wgmma is used unchecked: %s\n", told.c_str());
    } catch (const std::exception&) {
      // before attention's turn came
    }
  }
  unsetenv("RXTUNE_MOCK_FAIL");
}

// Seconds: the median of five batches, after one run that finds what it needs.
double seconds_of(Both& both, int times, const std::function<void()>& run) {
  std::vector<double> seconds;
  for (int batch = 0; batch < 6; batch++) {
    both.device.finish();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < (batch == 0 ? 1 : times); i++) run();
    both.device.finish();
    if (batch > 0) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[2];
}

// Attention of Llama's shapes and of wider heads, latent attention's among them, 4 documents, forwards and backwards, by each way that the card has. Operations are those that the model
// asks for: 2 products of the pairs that see each other forwards and 5 backwards, whatever is computed again. Short rows are for trying it
// out under emulation: they have fewer heads, and run less often.
void attention_rate(Both& both, long length) {
  const bool has_hopper = both.device.has_hopper(), in_earnest = length >= 512;
  const int times = in_earnest ? 10 : 1;
  both.card.bf16 = 1;
  for (const long dim : {64, 128, 192, 256}) {
    // Of 192 columns as latent attention has them: each has keys of its own, and values are narrower.
    const bool is_latent = dim == 192;
    const long depth = is_latent ? 128 : dim, heads = std::max(is_latent ? 1L : 2L, (in_earnest ? 2048 : 256) / dim), kv_heads = is_latent ? heads : heads / (in_earnest ? 4 : 2);
    const long n = 4 * length, q = heads * dim, keys = kv_heads * dim, o = heads * depth, ld = q + keys + kv_heads * depth;
    const std::vector<int32_t> borders = {0, static_cast<int32_t>(length), static_cast<int32_t>(2 * length), static_cast<int32_t>(3 * length), static_cast<int32_t>(n)};
    const std::vector<uint16_t> numbers = halves(floats(n * ld)), slopes = halves(floats(n * o));
    const Array joined(both, numbers.data(), numbers.size() * 2), d_out(both, slopes.data(), slopes.size() * 2), out(both, slopes.data(), slopes.size() * 2),
        d_joined(both, numbers.data(), numbers.size() * 2), lse(both, Floats(n * heads));
    const auto part = [&](const Array& of, long from) { return reinterpret_cast<float*>(of.on<uint16_t>(both.card) + from); };
    Attention a = {};
    a.q = part(joined, 0), a.k = part(joined, q), a.v = part(joined, q + keys), a.ld_q = a.ld_k = a.ld_v = ld;
    a.cu_seqlens = borders.data(), a.documents = 4, a.heads = heads, a.kv_heads = kv_heads, a.head_dim = dim, a.value_dim = depth;
    a.scale = 1 / std::sqrt(static_cast<float>(dim)), a.out = part(out, 0), a.lse = lse.on(both.card), a.d_out = part(d_out, 0);
    a.dq = part(d_joined, 0), a.dk = part(d_joined, q), a.dv = part(d_joined, q + keys), a.ld_dq = a.ld_dk = a.ld_dv = ld, a.half = 1;
    const double pairs = 2. * 4 * static_cast<double>(length) * static_cast<double>(length + 1) / 2;
    for (const bool hopper : {false, true}) {
      if (hopper && !has_hopper) continue;
      both.device.use_hopper(hopper);
      const double forwards = seconds_of(both, times, [&] { both.card.table->attention(&both.card, &a); });
      const double backwards = seconds_of(both, times, [&] { both.card.table->attention_grad(&both.card, &a); });
      std::printf("attention of %ld columns by %s: %.4e forwards, %.4e backwards\n", dim, hopper ? "wgmma" : "mma", pairs * static_cast<double>(q + o) / forwards,
                  pairs * static_cast<double>(3 * q + 2 * o) / backwards);
    }
  }
  both.device.use_hopper(has_hopper);
  both.card.bf16 = 0;
}

// A product as RXTUNE_CUDA_TRACE names it: rows x columns x depth, which operand is transposed, what the result is, and whether it adds to
// what is there: "8192x2048x5632 nt bf16 +". Each row of the result may be longer than `columns`: "2340x50257x768/50304 nt f32".
struct TimedProduct {
  std::string name;
  long m = 0, n = 0, k = 0, ld = 0;
  bool ta = false, tb = false, is_half = false, adds = false;

  explicit TimedProduct(const std::string& asked) : name(asked) {
    char a = 'n', b = 'n', result[8] = "f32", plus[2] = "";
    if (std::sscanf(asked.c_str(), "%ldx%ldx%ld/%ld %c%c %7s %1s", &m, &n, &k, &ld, &a, &b, result, plus) < 7 &&
        std::sscanf(asked.c_str(), "%ldx%ldx%ld %c%c %7s %1s", &m, &n, &k, &a, &b, result, plus) < 6)
      throw std::runtime_error("not a product: " + asked);
    ta = a == 't', tb = b == 't', is_half = std::strcmp(result, "bf16") == 0, adds = plus[0] == '+';
    ld = std::max(ld, n);
  }
  // Rows of whole vectors, as those of narrowed operands are.
  static long vectors(long columns) { return (columns + 7) / 8 * 8; }
  long ld_a() const { return vectors(ta ? m : k); }
  long ld_b() const { return vectors(tb ? k : n); }
  // Numbers of 2 bytes.
  long halves_a() const { return (ta ? k : m) * ld_a(); }
  long halves_b() const { return (tb ? n : k) * ld_b(); }
  long halves_c() const { return m * ld * (is_half ? 1 : 2); }
};
std::vector<TimedProduct> products_of(const std::string& list) {
  std::vector<TimedProduct> out;
  std::istringstream all(list);
  for (std::string one; std::getline(all, one, ',');) out.emplace_back(one);
  return out;
}

// By the first of cublasLt's proposals, and by so many others; operations a second of the last product by the first.
double product_rates(Both& both, const std::vector<TimedProduct>& all, int proposals) {
  const std::vector<uint16_t> some_numbers = halves(floats(1 << 20));
  const auto operand = [&](long (TimedProduct::*numbers)() const) {
    long most = 0;
    for (const TimedProduct& p : all) most = std::max(most, (p.*numbers)());
    std::vector<uint16_t> x(static_cast<size_t>(most));
    for (size_t i = 0; i < x.size(); i++) x[i] = some_numbers[i % some_numbers.size()];
    return std::make_unique<Array>(both, x.data(), x.size() * 2);
  };
  const auto a = operand(&TimedProduct::halves_a), b = operand(&TimedProduct::halves_b), c = operand(&TimedProduct::halves_c);
  const Context& card = both.card;
  double rate = 0;
  for (const TimedProduct& p : all) {
    const Gemm g = {p.m, p.n, p.k, {a->on(card), p.ld_a(), p.ta, GEMM_BFLOAT16, nullptr, nullptr, 0}, {b->on(card), p.ld_b(), p.tb, GEMM_BFLOAT16, nullptr, nullptr, 0},
                    c->on(card), p.ld, p.adds ? c->on(card) : nullptr, p.ld, p.adds ? 1e-3f : 1.f, p.is_half};
    const double operations = 2. * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    std::printf("product %s:", p.name.c_str());
    for (int proposal = 0; proposal < (both.device.blas() != nullptr ? proposals : 1); proposal++) {
      if (both.device.blas() != nullptr) both.device.blas()->prefer(proposal);
      const double seconds = seconds_of(both, operations > 1e9 ? 5 : 1, [&] { card.table->gemm_bf16(&card, &g); });
      if (proposal == 0) rate = operations / seconds;
      std::printf(" %.1f us, %.4e operations a second;", seconds * 1e6, operations / seconds);
    }
    std::printf(" %s\n", both.device.blas() != nullptr ? "cublasLt" : "plain kernels");
  }
  if (both.device.blas() != nullptr) both.device.blas()->prefer(0);
  return rate;
}

// The head and its loss, forwards and backwards, with the gradient of the weights or without: "rows x vocabulary x width", or with " w".
void loss_rate(Both& both, const std::string& asked) {
  long rows = 0, vocabulary = 0, width = 0;
  char weight = ' ';
  if (std::sscanf(asked.c_str(), "%ldx%ldx%ld %c", &rows, &vocabulary, &width, &weight) < 3) throw std::runtime_error("not a loss: " + asked);
  const std::vector<int32_t> targets = indices(rows, vocabulary, false);
  const Floats weights = floats(rows, 0, 1);
  const Array h(both, floats(rows * width)), w(both, Floats(vocabulary * width, 0.01f)), out(both, Floats(3 * rows + 1)), dh(both, Floats(rows * width)),
      dw(both, Floats(vocabulary * width));
  const Context& card = both.card;
  LinearCrossEntropy a = {};
  a.rows = rows, a.columns = width, a.vocabulary = vocabulary, a.h = h.on(card), a.targets = targets.data(), a.weights = weights.data();
  a.w = {w.on(card), width, 1, weight == 'w' ? GEMM_FLOAT32 : GEMM_BFLOAT16, nullptr, nullptr, 0};
  a.loss = out.on(card), a.correct = a.loss + rows, a.entropy = a.correct + rows, a.total = a.entropy + rows, a.dh = dh.on(card);
  a.dw = weight == 'w' ? dw.on(card) : nullptr;
  both.card.bf16 = 1;
  const double seconds = seconds_of(both, 2, [&] { card.table->linear_cross_entropy(&card, &a); });
  both.card.bf16 = 0;
  std::printf("loss %s: %.1f us\n", asked.c_str(), seconds * 1e6);
}

}  // namespace

#include "recurrent_checks.h"
#include "ways_check.h"

namespace {

struct Check {
  const char* name;
  void (*run)(Both&);
  int divisor;  // of the rounds, for what is slow under emulation
};
const Check checks[] = {
    {"elementwise", elementwise, 1}, {"dropout", dropout, 1}, {"bfloat16", bfloat16, 1}, {"rows", rows, 1},     {"columns", columns, 1}, {"combined", combined, 1}, {"routed", routed, 1}, {"greatest", greatest, 1},
    {"norms", norms, 1},             {"rope", rope, 1},       {"latent", latent, 1}, {"kept", kept, 1},       {"products", products, 1}, {"refused", refused, 20}, {"plans", plans, 20}, {"sharing", sharing, 1}, {"biases", biases, 1}, {"adapters", adapters, 1}, {"adapter_grads", adapter_grads, 1}, {"groups", groups, 1}, {"group_grads", group_grads, 1},
    {"after_norms", after_norms, 1},
    {"quantized", quantized, 1}, {"attention", attention, 1}, {"ways", ways, 1000}, {"loss", loss, 1},
    {"convolutions", convolutions, 1}, {"xielus", xielus, 1}, {"delta_rules", delta_rules, 2}, {"state_spaces", state_spaces, 2}, {"selective_scans", selective_scans, 2},
    {"updates", updates, 1},         {"updates_8bit", updates_8bit, 1}, {"copies", copies, 20}, {"broken", broken, 20}, {"opened", opened, 20},
};

}  // namespace

int main(int count, char** words) {
  // What was said before the end is kept, whatever ends it.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  cuda::Options options;
  long rounds = 20;
  int proposals = 1;
  std::string only, after, rate, timed_products, timed_losses;
  for (int i = 1; i < count; i++) {
    const std::string word = words[i];
    const auto value = [&](const char* name, std::string& into) {
      const std::string start = std::string("--") + name + "=";
      if (word.compare(0, start.size(), start) == 0) into = word.substr(start.size());
    };
    std::string number;
    value("image", options.image);
    value("driver", options.driver);
    value("blas", options.blas);
    value("attention", options.attention);
    value("rounds", number);
    value("rate", rate);
    value("products", timed_products);
    value("losses", timed_losses);
    value("only", only);
    value("after", after);
    if (!number.empty()) rounds = std::stol(number);
    number.clear();
    value("proposals", number);
    if (!number.empty()) proposals = std::stoi(number);
  }
  std::unique_ptr<cuda::CudaDevice> found;
  try {
    found = std::make_unique<cuda::CudaDevice>(options);
  } catch (const std::exception& thrown) {
    std::printf("no card: %s\n", thrown.what());
    return 3;
  }
  cuda::CudaDevice& device = *found;
  std::printf("%s\n", device.description().c_str());
  const char* running = "";
  try {
    Both both(device, options);
    if (!timed_products.empty() || !timed_losses.empty()) {
      running = "timing";
      if (!timed_products.empty()) product_rates(both, products_of(timed_products), proposals);
      std::istringstream losses(timed_losses);
      for (std::string one; std::getline(losses, one, ',');) loss_rate(both, one);
      return 0;
    }
    if (!rate.empty()) {
      running = "rate";
      const std::string square = rate + "x" + rate + "x" + rate;
      // As torch's is measured: with a result of bfloat16.
      const double operations = product_rates(both, products_of(square + " nt f32," + square + " nt bf16"), 1);
      std::printf("bfloat16 product: %.4e operations a second, %s\n", operations, both.device.blas() != nullptr ? "cublasLt" : "plain kernels");
      attention_rate(both, std::stol(rate) / 4);
      return 0;
    }
    for (const Check& check : checks) {
      if (!after.empty()) {
        if (after == check.name) after.clear();
        continue;
      }
      if (!only.empty() && ("," + only + ",").find(std::string(",") + check.name + ",") == std::string::npos) continue;
      running = check.name;
      std::printf("%-13s ", running);
      std::fflush(stdout);
      engine.seed(7);
      both.worst = 0;
      const int before = failures;
      const long times = std::max(1L, rounds / check.divisor);
      for (long i = 0; i < times; i++) check.run(both);
      std::printf("%s  %ld rounds, largest relative error %.1e\n", failures == before ? "ok    " : "FAILED", times, both.worst);
      std::fflush(stdout);
    }
  } catch (const std::exception& thrown) {
    // Nothing is given back to a card that may be in this state.
    std::printf("\n%s ended it: %s\n", running, thrown.what());
    std::fflush(stdout);
    std::_Exit(1);
  }
  return failures == 0 ? 0 : 1;
}
