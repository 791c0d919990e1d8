// A CUDA card: opens the driver, loads the kernels, owns the stream, and brings small arrays of the host to the card.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "../../cc/device.h"
#include "blas.h"
#include "driver.h"
#include "hopper_parts.h"
#include "launch.h"
#include "trace.h"

namespace cuda {

struct Options {
  // Kernels as nvcc compiled them (`npm run build:cuda`).
  std::string image;
  // Empty: the system's.
  std::string driver, blas;
  int card = 0;
  // Of bfloat16: "mma", what every card has, "wgmma", Hopper's own instructions; empty: these, where they are and agree with the others.
  std::string attention;
};

class CudaDevice final : public Device {
 public:
  // Throws std::runtime_error that says in plain words what is missing.
  explicit CudaDevice(const Options& options);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;

  // One line for people.
  const std::string& description() const { return told; }

  size_t round(size_t bytes) const override { return (bytes + (size_t(2) << 20) - 1) >> 21 << 21; }
  // As NVIDIA's own allocator has it: for cublasLt every tensor of a shape lies alike, and is planned once.
  size_t unit() const override { return 256; }
  void* take(size_t bytes) override;
  void give(void* memory, size_t bytes) override;
  size_t available() override;
  const KernelTable* table() const override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes, void (*done)(void*, const char*), void* user) override;
  void finish() override;
  bool joined(const Context* context, const Gemm* first, const Gemm* second) override;
  void use_rounded(const RoundedMatrix* all, long count) override;
  bool moved(const Context* context, const Moved* all, long count) override;
  bool grouped(const Context* context, const Gemm* all, const Gemm* more, const StackedRows* stacked, long count) override;
  bool grouped_grads(const Context* context, const Gemm* all, long count) override;
  bool grouped_dropout(const Context* context, Values x, Values y, const long* ends, const uint32_t* seeds, long count, double rate) override;
  void adapter_grads(const Context* context, const AdapterGrad* all, long count, bool* done) override;
  void rms_norm_grad_by_value(const Context* context, Values dy, Values y, const float* gain, const float* rstd, const float* d_residual, float* dx,
                              long rows, long columns, float offset) override;
  void routes(const Context* context, const Routes& routes) override;
  void routes_grad(const Context* context, const RoutesGrad& routes) override;
  void gather_rows_at(const Context* context, Values x, long size, const int32_t* rows, Values out, long count, long columns) override;

  // ---- for the kernels of table.cc ----

  template <class... P, class... A>
  void launch(const Kernel<P...>& kernel, Grid grid, unsigned threads, long shared_bytes, A... arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
    if (grid.x == 0 || grid.y == 0) return;
    std::tuple<P...> values(static_cast<P>(arguments)...);
    std::apply(
        [&](P&... each) {
          void* pointers[] = {&each...};
          start(kernel.index, grid, threads, shared_bytes, pointers);
        },
        values);
  }
  // A grid-stride kernel over n elements.
  template <class... P, class... A>
  void over(long n, const Kernel<P...>& kernel, A... arguments) {
    const long blocks = (n + 255) / 256;
    launch(kernel, {blocks < most_blocks ? blocks : most_blocks}, 256, 0, arguments...);
  }
  void zero(void* memory, size_t bytes);
  // Where on the card the values lie until the kernels started so far, and those started next, have run.
  template <class T>
  const T* stage(const T* values, long count) {
    return static_cast<const T*>(staged(values, sizeof(T) * static_cast<size_t>(count)));
  }
  // Operands of products that lie narrowed in the scratch memory, the oldest first. Whatever is started forgets them: it might write
  // to them.
  struct Narrowed {
    const void* from;
    long each, ld, rows, columns;  // bytes of a number, and numbers
    int slot;
    void* to;
  };
  std::vector<Narrowed> narrowed;
  // Float32 matrices that an operation has copies of, for as long as it runs.
  std::vector<RoundedMatrix> rounded;

  Blas* blas() { return products.get(); }
  // Which parts of attention of bfloat16 run on Hopper's own instructions.
  bool has_hopper() const { return hopper.any(); }
  bool has_hopper(HopperParts::Part part, long width) const { return hopper.has(part, width); }
  void use_hopper(HopperParts parts) { hopper = parts; }
  void use_hopper(bool use) { hopper = use ? HopperParts::all() : HopperParts::none(); }
  // Kernels and products started so far; of the thread that starts them, or any while it is idle.
  long started() const { return count; }
  void counted() { count++; }
  // Null, but where times are asked for.
  Trace* timed() { return trace.get(); }
  // Products that cublasLt is there for and does not do: they run by plain kernels, slowly.
  long refusedProducts() const { return products ? products->refusals() : 0; }
  // For products, on the thread that asks: cublasLt takes the context that is current.
  Handle stream() {
    enter();
    return queue;
  }
  // Of one block, when asked for.
  long shared_memory() const { return shared_limit; }
  // Parts of the card that run blocks beside each other.
  long multiprocessors() const { return processors; }

 private:
  static constexpr long most_blocks = 4096;
  // Small arrays go through a ring of pinned memory, a quarter of which waits for the card before it is used again.
  static constexpr size_t quarter = size_t(4) << 20;
  // Pinned memory that copies to the host go through. It is kept, this much of it: a driver may wait for the whole card where it takes
  // some or gives it back.
  struct Pinned {
    void* at = nullptr;
    size_t bytes = 0;
  };
  static constexpr size_t most_spare = size_t(256) << 20;
  struct Landing {
    void* to;
    Pinned pinned;
    size_t bytes;
    Handle event;
    void (*done)(void*, const char*);
    void* user;
  };

  void close();
  void enter();
  // Of a card of that compute capability, times 10; what there is to say about it.
  std::string choose_attention(const std::string& asked, int capability);
  void start(int kernel, Grid grid, unsigned threads, long shared_bytes, void** arguments);
  const void* staged(const void* values, size_t bytes);
  void used(size_t bytes);
  void advance();
  void forget_large(size_t rest);
  Pinned take_pinned(size_t bytes);
  void give_pinned(Pinned pinned);
  void land();
  void must(int code, const char* what) const { check(driver, code, what); }

  Driver driver;
  int device = 0;
  Handle context = nullptr, module = nullptr, queue = nullptr;
  Handle functions[kernel_count] = {};
  long asked_shared[kernel_count] = {};
  long count = 0;
  long shared_limit = 0, processors = 0;
  HopperParts hopper;
  std::string told;
  std::unique_ptr<Blas> products;
  std::unique_ptr<Trace> trace;

  char* ring = nullptr;
  Pointer ring_on_card = 0;
  size_t at = 0;
  Handle passed[4] = {};
  // Too large for the ring: freed when everything has run, but for what an operation stages before its kernel starts.
  static constexpr size_t most_large = 8, most_at_once = 4;
  std::deque<std::pair<void*, Pointer>> large;

  // Bytes on their way to the host, and the thread that waits for them.
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Landing> landings;
  std::vector<Pinned> spare;
  size_t spare_bytes = 0;
  bool stopping = false;
  std::thread lander;
};

}  // namespace cuda
