#include "attention_check.h"

#include <cmath>
#include <cstring>
#include <future>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../../cc/scratch.h"
#include "../kernels/flash_layout.h"

namespace cuda {
namespace {

// Packed: a document over two tiles of queries and keys, one of some rows of a tile, one of a single row; two heads share keys.
constexpr int32_t borders[] = {0, 150, 206, 207};
constexpr long documents = 3, rows = borders[documents], heads = 2, kv_heads = 1;

float from_bfloat16(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Memory of the card, as long as this is there.
class Lent {
 public:
  Lent(CudaDevice& device, size_t bytes) : device(device), bytes(bytes), at(device.take(device.round(bytes))) {
    if (at == nullptr) throw std::bad_alloc();
  }
  ~Lent() { device.give(at, bytes); }
  Lent(const Lent&) = delete;

  void fill(const std::vector<uint16_t>& values) { device.upload(at, values.data(), 2 * values.size()); }
  template <class T>
  std::vector<T> back() {
    std::vector<T> out(bytes / sizeof(T));
    // Of the thread that waits for the bytes: it may still be at work on it when they are here.
    std::promise<std::string>* const come = new std::promise<std::string>;
    std::future<std::string> said = come->get_future();
    device.download(
        out.data(), at, bytes,
        [](void* user, const char* error) {
          const std::unique_ptr<std::promise<std::string>> mine(static_cast<std::promise<std::string>*>(user));
          mine->set_value(error == nullptr ? "" : error);
        },
        come);
    const std::string error = said.get();
    if (!error.empty()) throw std::runtime_error(error);
    return out;
  }
  template <class T = float>
  T* numbers(long from = 0) {
    return reinterpret_cast<T*>(static_cast<uint16_t*>(at) + from);
  }

 private:
  CudaDevice& device;
  size_t bytes;
  void* at;
};

// bfloat16 numbers between -2 and 2, by a generator of Knuth's constants.
std::vector<uint16_t> random(long n, uint64_t seed) {
  std::vector<uint16_t> out;
  for (long i = 0; i < n; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const float x = static_cast<float>(seed >> 40) / (1 << 22) - 2;
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    out.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return out;
}

// Far beyond what the rounding of probabilities explains, and far below what one tile in the wrong place does.
constexpr double most_of_norm = 1e-2, most_of_number = 0.1;

bool agree(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); i++) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return false;
    error += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  const double typical = std::sqrt(norm / static_cast<double>(a.size()));
  for (size_t i = 0; i < a.size(); i++)
    if (std::fabs(static_cast<double>(a[i]) - b[i]) > most_of_number * (typical + std::fabs(b[i]))) return false;
  return norm > 0 && error <= most_of_norm * most_of_norm * norm;
}

struct Results {
  std::vector<float> out, lse, gradients;
};
Results run(CudaDevice& device, const Context& context, long width, long depth, bool hopper) {
  const long q = heads * width, keys = kv_heads * width, o = heads * depth, ld = q + keys + kv_heads * depth;
  Lent joined(device, static_cast<size_t>(2 * rows * ld)), d_out(device, static_cast<size_t>(2 * rows * o)), out(device, static_cast<size_t>(2 * rows * o)),
      d_joined(device, static_cast<size_t>(2 * rows * ld)), lse(device, static_cast<size_t>(4 * rows * heads));
  joined.fill(random(rows * ld, 1));
  d_out.fill(random(rows * o, 2));
  // What a kernel leaves out is not what another has left there.
  constexpr uint16_t not_a_number = 0x7fc0;
  out.fill(std::vector<uint16_t>(static_cast<size_t>(rows * o), not_a_number));
  lse.fill(std::vector<uint16_t>(static_cast<size_t>(2 * rows * heads), not_a_number));
  d_joined.fill(std::vector<uint16_t>(static_cast<size_t>(rows * ld), not_a_number));
  Attention a = {};
  a.q = joined.numbers(), a.k = joined.numbers(q), a.v = joined.numbers(q + keys), a.ld_q = a.ld_k = a.ld_v = ld;
  a.cu_seqlens = borders, a.documents = documents, a.heads = heads, a.kv_heads = kv_heads, a.head_dim = width, a.value_dim = depth;
  a.scale = 1 / std::sqrt(static_cast<float>(width)), a.out = out.numbers(), a.lse = lse.numbers();
  a.d_out = d_out.numbers(), a.dq = d_joined.numbers(), a.dk = d_joined.numbers(q), a.dv = d_joined.numbers(q + keys);
  a.ld_dq = a.ld_dk = a.ld_dv = ld, a.half = 1;
  device.use_hopper(hopper);
  context.table->attention(&context, &a);
  const auto widened = [](const std::vector<uint16_t>& x) {
    std::vector<float> to;
    for (const uint16_t each : x) to.push_back(from_bfloat16(each));
    return to;
  };
  Results results = {widened(out.back<uint16_t>()), lse.back<float>(), {}};
  // Gradients are made of what is right in any case.
  device.use_hopper(false);
  if (hopper) context.table->attention(&context, &a);
  device.use_hopper(hopper);
  context.table->attention_grad(&context, &a);
  device.use_hopper(false);
  results.gradients = widened(d_joined.back<uint16_t>());
  return results;
}

}  // namespace

Agreement attention_agreement(CudaDevice& device) {
  struct Scratches {
    Scratch* all;
    ~Scratches() { scratch_destroy(all); }
  } scratches = {scratch_create_on(static_cast<PageSource*>(&device))};
  const Context context = {nullptr, scratches.all, device.table(), 1, static_cast<Device*>(&device)};
  constexpr struct {
    long width, depth;
  } shapes[] = {{64, flash_values<64>}, {128, flash_values<128>}, {192, flash_values<192>}, {256, flash_values<256>}};
  Agreement found = {HopperParts::all(), ""};
  std::string outputs, gradients;  // widths at which they differ
  const auto differ = [&](HopperParts::Part part, long width, std::string& widths) {
    found.parts.remove(part, width);
    widths += (widths.empty() ? "" : ", ") + std::to_string(width);
  };
  for (const auto [width, depth] : shapes) {
    const Results plain = run(device, context, width, depth, false), hopper = run(device, context, width, depth, true);
    if (!agree(hopper.out, plain.out) || !agree(hopper.lse, plain.lse)) differ(HopperParts::output, width, outputs);
    if (!agree(hopper.gradients, plain.gradients)) differ(HopperParts::gradients, width, gradients);
  }
  if (!outputs.empty()) found.differs = "output of heads of " + outputs + " columns";
  if (!gradients.empty()) found.differs += (outputs.empty() ? "" : ", the ") + ("gradients of heads of " + gradients + " columns");
  return found;
}

}  // namespace cuda
