// The executor, the memory and the checks of calls together, as JavaScript uses them: tensors are taken, written, computed
// with, given back and read in random order, and every value is foreseen. Arguments: how many hundred actions (default 200), seed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "dispatch.h"
#include "ops.h"

namespace {

std::mt19937 engine;
long below(long n) { return std::uniform_int_distribution<long>(0, n - 1)(engine); }

int failures = 0;
void expect(bool truth, const char* what) {
  if (truth) return;
  failures++;
  std::printf("engine: %s\n", what);
}

struct Tensor {
  uint64_t id;
  std::vector<float> values;
};

const Operation* find(const char* name) {
  for (const Operations& list : {linearOperations(), elementOperations(), bfloat16Operations(), blockOperations(), recurrentOperations(), lossOperations(), quantizedOperations()})
    for (long i = 0; i < list.count; i++)
      if (std::strcmp(list.first[i].name, name) == 0) return &list.first[i];
  std::abort();
}

struct Session {
  Executor executor;
  Memory memory{executor};
  std::vector<Tensor> tensors;

  explicit Session(int threads) { executor.useContext({pool_create(threads), scratch_create(), kernel_table(nullptr), 0, nullptr}); }
  ~Session() {
    executor.wait();
    pool_destroy(executor.context().pool);
    scratch_destroy(executor.context().scratch);
  }

  void call(const char* name, const std::vector<double>& args, const Passed* passed = nullptr) {
    static const Passed none[Call::maxPassed] = {};
    Call c(args.data(), static_cast<long>(args.size()), passed ? passed : none, memory, executor);
    find(name)->call(c);
  }
  bool refused(const char* name, const std::vector<double>& args) {
    try {
      call(name, args);
      return false;
    } catch (const BadCall&) {
      return true;
    }
  }

  Tensor& take(size_t n) {
    tensors.push_back({memory.take(n * 4), std::vector<float>(n)});
    return tensors.back();
  }
  // as binding.cc writes
  void write(Tensor& t) {
    for (auto& x : t.values) x = static_cast<float>(below(100));
    Memory::Held held;
    memory.find(t.id, held);
    if (executor.finished(*held.used)) {
      std::memcpy(held.data, t.values.data(), t.values.size() * 4);
      return;
    }
    *held.used = executor.next();
    executor.enqueue([to = held.data, staged = HostArray<char>(t.values.data(), static_cast<long>(t.values.size() * 4))](const Context*) {
      std::memcpy(to, staged.data(), static_cast<size_t>(staged.size()));
    });
  }
  void check(const Tensor& t) {
    executor.wait();
    Memory::Held held;
    expect(memory.find(t.id, held), "a live tensor is not found");
    expect(held.bytes == t.values.size() * 4, "a tensor has another size");
    expect(std::memcmp(held.data, t.values.data(), t.values.size() * 4) == 0, "a tensor holds other values");
  }
  void give(size_t i) {
    expect(memory.give(tensors[i].id), "a live tensor cannot be given back");
    expect(!memory.give(tensors[i].id), "a tensor was given back twice");
    tensors[i] = std::move(tensors.back());
    tensors.pop_back();
  }
};

void random(int actions, int threads) {
  Session s(threads);
  for (int i = 0; i < actions; i++) {
    const long action = below(10);
    if (s.tensors.size() < 4 || action == 0) {
      // mostly small; at times larger than a segment
      const long n = below(50) == 0 ? 1 + below(6000000) : 1 + below(below(4) == 0 ? 100000 : 200);
      s.write(s.take(static_cast<size_t>(n)));
    } else if (action <= 2 || s.tensors.size() > 60) {
      s.give(static_cast<size_t>(below(static_cast<long>(s.tensors.size()))));
    } else if (action <= 7) {
      const size_t a = static_cast<size_t>(below(static_cast<long>(s.tensors.size())));
      const size_t n = s.tensors[a].values.size();
      const uint64_t from = s.tensors[a].id;
      const std::vector<float> values = s.tensors[a].values;
      Tensor& out = s.take(n);
      s.call("add", {double(n), 0, double(from), 0, double(from), 0, double(out.id)});
      for (size_t j = 0; j < n; j++) out.values[j] = values[j] + values[j];
    } else {
      s.check(s.tensors[static_cast<size_t>(below(static_cast<long>(s.tensors.size())))]);
    }
  }
  for (const Tensor& t : s.tensors) s.check(t);
  while (!s.tensors.empty()) s.give(0);
  expect(s.memory.liveCount() == 0 && s.memory.liveBytes() == 0, "something is alive at the end");
  expect(s.executor.takeError().empty(), "the executor reports an error");
}

void refusals() {
  Session s(1);
  const double a = double(s.take(6).id), b = double(s.take(6).id), small = double(s.take(3).id);
  expect(!s.refused("add", {6, 0, a, 0, a, 0, b}), "a good call is refused");
  expect(s.refused("add", {7, 0, a, 0, a, 0, b}), "more elements than the tensors hold");
  expect(s.refused("add", {6, 0, a, 0, a, 0, small}), "an output that is too small");
  expect(s.refused("add", {6, 0, a, 0, 0, 0, b}), "no tensor");
  expect(s.refused("add", {6, 0, a, 0, 12345, 0, b}), "a number that is no tensor's");
  expect(s.refused("add", {6, 0, a, 0, -1, 0, b}), "a negative number");
  expect(s.refused("add", {6.5, 0, a, 0, a, 0, b}), "half an element");
  expect(s.refused("add", {-1, 0, a, 0, a, 0, b}), "a negative size");
  expect(s.refused("add", {1e300, 0, a, 0, a, 0, b}), "a huge size");
  expect(s.refused("add", {6, 0, a, 0, a}), "too few arguments");
  expect(s.refused("add", {3, 1, a, 1, a, 1, b}) != static_cast<bool>(takes_halves(&s.executor.context())),
         "activations as bfloat16 where kernels take them, and there alone");
  expect(s.refused("add", {13, 1, a, 1, a, 1, b}), "more numbers of bfloat16 than the tensors hold");
  expect(s.refused("linear", {2147483648.0, 2147483648.0, 1, 0, 0, a, 0, a, 0, 0, 0, 0, 0, b}), "sizes whose product is too large");
  expect(s.refused("copyColumns", {1, 5, 0, a, 6, 2, b, 6, 0}), "columns outside the matrix");
  expect(s.refused("binary", {6, 0, 4, 6, a, a, b}), "operands that do not repeat");
  expect(s.refused("gatherRows", {2, 3, a, b}), "no rows");
  expect(!s.refused("xieluGrad", {3, 0, a, a, a, 0, a, 0, b, small, small}), "gradients of both alphas are refused");
  expect(s.refused("xieluGrad", {3, 0, a, a, a, 0, a, 0, b, small, 0}), "the gradient of one alpha alone");
  expect(!s.refused("cachedAttention", {1, 1, 1, 1, 3, 3, 0, 1, 0, 0, 0, 0, a, a, a, 0, b}), "attention of one token is refused");
  expect(s.refused("cachedAttention", {1, 1, 1, 1, 0, 3, 0, 1, 0, 0, 0, 0, a, a, a, 0, b}), "attention of heads without keys");
  const int32_t rows[] = {0, 2};
  const Passed passed[Call::maxPassed] = {{Passed::int32, rows, 2}, {}, {}};
  try {
    s.call("gatherRows", {2, 3, a, b}, passed);
    expect(false, "a row outside the matrix");
  } catch (const BadCall&) {
  }
  expect(s.memory.give(uint64_t(small)), "cannot give");
  const double again = double(s.take(3).id);
  expect(again != small, "the number of a tensor that is gone was given to another");
  expect(s.refused("add", {3, 0, small, 0, again, 0, again}), "a tensor that is gone");
}

// What throws in the executor is reported, and what comes after still runs.
void errors() {
  Session s(2);
  bool ran = false;
  s.executor.enqueue([](const Context* c) { scratch_get(c->scratch, SCRATCH_KERNEL, size_t(1) << 60); });
  s.executor.enqueue([&ran](const Context*) { ran = true; });
  s.executor.wait();
  expect(s.executor.takeError() == "out of memory", "an error was not reported");
  expect(s.executor.takeError().empty(), "an error was reported twice");
  expect(ran, "nothing ran after an error");
}

}  // namespace

int main(int argc, char** argv) {
  const int actions = 100 * (argc > 1 ? std::atoi(argv[1]) : 200);
  engine.seed(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
  refusals();
  errors();
  for (int threads = 1; threads <= 3; threads++) random(actions, threads);
  std::printf(failures == 0 ? "engine: all right\n" : "engine: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
