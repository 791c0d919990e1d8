// One call from JavaScript: reads and checks its arguments, then enqueues the work. Nothing that JavaScript passes can make a
// kernel read or write outside a tensor: what does not fit throws BadCall, which becomes a JavaScript error.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "executor.h"
#include "kernel_table.h"
#include "memory.h"

struct BadCall : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// a * b elements; throws when no tensor could be so large.
inline long area(long a, long b) {
  long product;
  if (__builtin_mul_overflow(a, b, &product) || product > (1L << 50)) throw BadCall("sizes too large");
  return product;
}

// A copy of a typed array that came with the call, owned by the task that uses it.
template <class T>
class HostArray {
 public:
  HostArray() = default;
  HostArray(const void* from, long n) : count(n), values(static_cast<T*>(std::malloc(sizeof(T) * static_cast<size_t>(n + 1)))) {
    if (values == nullptr) throw std::bad_alloc();
    std::memcpy(values, from, sizeof(T) * static_cast<size_t>(n));
  }
  HostArray(HostArray&& other) noexcept : count(other.count), values(other.values) { other.values = nullptr; }
  HostArray(const HostArray&) = delete;
  HostArray& operator=(HostArray&& other) noexcept {
    std::swap(count, other.count);
    std::swap(values, other.values);
    return *this;
  }
  HostArray& operator=(const HostArray&) = delete;
  ~HostArray() { std::free(values); }
  const T* data() const { return values; }
  long size() const { return count; }
  T operator[](long i) const { return values[i]; }

 private:
  long count = 0;
  T* values = nullptr;
};

// Weights as float32, and where there is one a copy of them as bfloat16, which is as they are.
struct Weights {
  const float* at;
  const uint16_t* rounded;  // ?
};

// A typed array of the call, still JavaScript's.
struct Passed {
  enum Type { none, int32, float32 } type = none;
  const void* data = nullptr;
  long count = 0;
};

class Call {
 public:
  static constexpr int maxPassed = 3;
  Call(const double* args, long count, const Passed* passed, const Memory& memory, Executor& executor)
      : args(args), count(count), passed(passed), memory(memory), executor(executor) {}

  double number() {
    if (at >= count) throw BadCall("too few arguments");
    return args[at++];
  }
  // A size: an integer of [0, 2^31].
  long size() {
    const double n = number();
    if (!(n >= 0 && n <= 2147483648.0) || n != static_cast<double>(static_cast<long>(n))) throw BadCall("not a size: " + std::to_string(n));
    return static_cast<long>(n);
  }
  bool flag() { return number() != 0; }
  int kind(int kinds) {
    const long n = size();
    if (n >= kinds) throw BadCall("no such kind: " + std::to_string(n));
    return static_cast<int>(n);
  }

  // The memory of the tensor whose number comes next, which must hold `elements` elements of 4 bytes.
  float* tensor(long elements) { return static_cast<float*>(bytes(elements, 4)); }
  // The same; null when the number is 0.
  float* optional(long elements) {
    if (at < count && args[at] == 0) {
      at++;
      return nullptr;
    }
    return tensor(elements);
  }
  // Whether what comes lies as bfloat16, which activations may where attention reads it.
  bool half() {
    const bool on = flag();
    if (on && !takes_halves(&executor.context())) throw BadCall("activations lie as float32 on this processor");
    return on;
  }
  // Activations: whether they lie as bfloat16, and the tensor.
  Values values(long elements) {
    const bool as_half = half();
    return {bytes(elements, as_half ? 2 : 4), as_half};
  }
  // The same; null when the number is 0.
  Values optionalValues(long elements) {
    if (at + 1 < count && args[at + 1] == 0) {
      at += 2;
      return {nullptr, 0};
    }
    return values(elements);
  }
  // The memory of a tensor that lies as bfloat16; null when the number is 0.
  uint16_t* optionalHalves(long elements) {
    if (at < count && args[at] == 0) {
      at++;
      return nullptr;
    }
    return static_cast<uint16_t*>(bytes(elements, 2));
  }
  // Where the copy of weights as bfloat16 lies: a tensor's number and how many numbers are before them; null when the first is 0.
  uint16_t* roundedCopy(long elements) {
    if (at + 1 < count && args[at] == 0) {
      at += 2;
      return nullptr;
    }
    if (!on_device()) throw BadCall("rounded copies of weights are of a device");
    long all;
    uint16_t* const copy = reinterpret_cast<uint16_t*>(any(all, 2));
    const long first = size();
    if (first + elements > all) throw BadCall("a rounded copy outside its tensor");
    return copy + first;
  }
  // Weights of a float32 tensor, and their copy.
  Weights weights(long elements) {
    const float* const at = tensor(elements);
    return {at, roundedCopy(elements)};
  }
  // The same; none when the tensor's number is 0.
  Weights optionalWeights(long elements) {
    const float* const at = optional(elements);
    return {at, roundedCopy(elements)};
  }
  // A tensor of any size, and how many whole elements of 4 bytes, or of `each`, it holds.
  float* any(long& elements, size_t each = 4) {
    const Memory::Held held = next();
    elements = static_cast<long>(held.bytes / each);
    return reinterpret_cast<float*>(held.data);
  }
  void* bytes(long elements, long each) {
    const Memory::Held held = next();
    if (static_cast<unsigned long>(area(elements, each)) > held.bytes)
      throw BadCall("argument " + std::to_string(at) + ": a tensor of " + std::to_string(held.bytes) + " bytes, expected " +
                    std::to_string(area(elements, each)));
    return held.data;
  }

  // A stored matrix [rows, columns]: kind, data, scale, code, block (the last three 0 where the kind has none).
  GemmOperand matrix(long rows, long columns, bool transposed) {
    GemmOperand m = {};
    m.ld = columns;
    m.transposed = transposed;
    m.kind = kind(4);
    const long n = area(rows, columns);
    m.data = m.kind == GEMM_FLOAT32    ? bytes(n, 4)
             : m.kind == GEMM_BFLOAT16 ? bytes(n, 2)
             : m.kind == GEMM_FOUR_BIT ? bytes((n + 1) / 2, 1)
                                       : bytes(n, 1);
    const long scaleAt = at, codeAt = at + 1;
    at += 2;
    m.block = size();
    const long end = at;
    if (m.kind == GEMM_INT8_ROWS) {
      at = scaleAt;
      m.scale = tensor(rows);
    } else if (m.kind == GEMM_FOUR_BIT) {
      if (m.block < 2 || m.block % 2 != 0) throw BadCall("a block of 4-bit values is an even number of them");
      at = scaleAt;
      m.scale = tensor((n + m.block - 1) / m.block);
      at = codeAt;
      m.code = tensor(16);
    }
    at = end;
    return m;
  }

  // The typed array that comes next.
  HostArray<int32_t> ints() { return host<int32_t>(Passed::int32); }
  HostArray<int32_t> ints(long n) { return exactly(ints(), n); }
  HostArray<float> floats(long n) { return exactly(host<float>(Passed::float32), n); }

  // Kernels of where the task will run. They change only while nothing is enqueued.
  const KernelTable& kernels() const { return *executor.context().table; }

  bool on_device() const { return executor.context().device != nullptr; }

  template <class F>
  void enqueue(F&& task) {
    // Only now is it certain that the task will run: mark the memory that it touches.
    const uint64_t number = executor.next();
    for (uint64_t* used : touched) *used = number;
    executor.enqueue(std::forward<F>(task));
  }

 private:
  Memory::Held next() {
    const double id = number();
    Memory::Held held;
    if (!(id >= 1 && id < 9007199254740992.0) || !memory.find(static_cast<uint64_t>(id), held))
      throw BadCall("argument " + std::to_string(at) + ": no such tensor");
    touched.push_back(held.used);
    return held;
  }
  template <class T>
  HostArray<T> host(Passed::Type type) {
    if (passedAt >= maxPassed || passed[passedAt].type != type)
      throw BadCall(std::string("expected a ") + (type == Passed::int32 ? "Int32Array" : "Float32Array"));
    const Passed& p = passed[passedAt++];
    return HostArray<T>(p.data, p.count);
  }
  template <class T>
  HostArray<T> exactly(HostArray<T> array, long n) {
    if (array.size() != n) throw BadCall("an array of " + std::to_string(array.size()) + " values, expected " + std::to_string(n));
    return array;
  }

  // Small and on the stack, since nearly all calls touch few tensors.
  class Touched {
   public:
    void push_back(uint64_t* used) {
      if (n < 16)
        few[n++] = used;
      else
        many.push_back(used);
    }
    struct Iterator {
      const Touched* of;
      size_t i;
      uint64_t* operator*() const { return i < of->n ? of->few[i] : of->many[i - of->n]; }
      void operator++() { i++; }
      bool operator!=(const Iterator& other) const { return i != other.i; }
    };
    Iterator begin() const { return {this, 0}; }
    Iterator end() const { return {this, n + many.size()}; }

   private:
    size_t n = 0;
    uint64_t* few[16];
    std::vector<uint64_t*> many;
  };

  const double* const args;
  const long count;
  const Passed* const passed;
  const Memory& memory;
  Executor& executor;
  long at = 0;
  int passedAt = 0;
  Touched touched;
};

// Every file of ops/ adds its operations to this list.
struct Operation {
  const char* name;
  void (*call)(Call&);
};
struct Operations {
  const Operation* first;
  long count;
};
