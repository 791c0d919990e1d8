// The engine as a Node-API module, on the C interface alone: no headers but node-api-headers, no C++ wrapper.
#include <node_api.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../cuda/host/cuda_device.h"
#include "call.h"
#include "cblas.h"
#include "dispatch.h"
#include "executor.h"
#include "memory.h"
#include "ops.h"
#include "pool.h"
#include "scratch.h"

namespace {

// A read that JavaScript waits for. Lives until its promise is settled.
struct Read {
  napi_deferred deferred = nullptr;
  napi_ref buffer = nullptr;
  std::string error;
};

// Bytes on their way, for a caller that waits.
struct Landed;

// One a JavaScript environment.
struct Engine {
  Executor executor;
  // Null: the processor. Goes after the memory that lies on it.
  std::unique_ptr<cuda::CudaDevice> device;
  std::unique_ptr<Memory> memory = std::make_unique<Memory>(executor);
  std::vector<Operation> operations;
  const double* args = nullptr;
  long argCount = 0;
  napi_ref argsRef = nullptr;
  napi_threadsafe_function settle = nullptr;
  // The table in use where products are a library's.
  BlasTable withBlas;
  // What is on its way to somebody who will wait for it, by number.
  std::map<uint64_t, std::shared_ptr<Landed>> soon;
  uint64_t soonAsked = 0;
  // Reads that wait; while there are any, the process stays alive.
  int pending = 0;
  // Operations that were called so far.
  size_t called = 0;

  Engine() {
    for (const Operations& list : {linearOperations(), elementOperations(), bfloat16Operations(), blockOperations(), recurrentOperations(), lossOperations(), quantizedOperations()})
      operations.insert(operations.end(), list.first, list.first + list.count);
    configure(1, kernel_table(nullptr));
  }
  ~Engine() { close(); }
  // Afterwards nothing calls back any more.
  void close() {
    executor.wait();
    free();
    executor.useContext({});
    memory.reset();
    executor.wait();
    device.reset();
  }
  void free() {
    const Context& old = executor.context();
    if (old.pool != nullptr) pool_destroy(old.pool);
    if (old.scratch != nullptr) scratch_destroy(old.scratch);
  }
  void configure(int threads, const KernelTable* table) {
    executor.wait();
    const int bf16 = executor.context().bf16;
    free();
    Device* const on = device.get();
    if (on != nullptr)
      executor.useContext({pool_create(1), scratch_create_on(static_cast<PageSource*>(on)), on->table(), bf16, on});
    else
      executor.useContext({pool_create(threads), scratch_create(), table, bf16, nullptr});
  }
  // From here on everything lies and runs there. There must be no tensors.
  void use(std::unique_ptr<cuda::CudaDevice> opened) {
    executor.wait();
    memory = nullptr;
    executor.wait();
    const int threads = pool_threads(executor.context().pool);
    device = std::move(opened);
    memory = std::make_unique<Memory>(executor, *device);
    configure(threads, nullptr);
  }
};

// What a function is called with.
struct Frame {
  napi_env env;
  Engine* engine;
  size_t count = 6;
  napi_value args[6];
};

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  const napi_extended_error_info* info;
  napi_get_last_error_info(env, &info);
  throw BadCall(info->error_message != nullptr ? info->error_message : "a Node-API call failed");
}

// Calls f(frame) and turns what it throws into a JavaScript error.
template <napi_value (*f)(Frame&)>
napi_value guarded(napi_env env, napi_callback_info info) {
  Frame frame;
  frame.env = env;
  try {
    void* engine = nullptr;
    check(env, napi_get_cb_info(env, info, &frame.count, frame.args, nullptr, &engine));
    frame.engine = static_cast<Engine*>(engine);
    return f(frame);
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "ERR_RXTUNE_MEMORY", "out of memory");
  } catch (const std::exception& thrown) {
    bool already = false;
    napi_is_exception_pending(env, &already);
    if (!already) napi_throw_error(env, "ERR_RXTUNE_NATIVE", thrown.what());
  }
  return nullptr;
}

double number(Frame& frame, size_t i) {
  double value;
  if (i >= frame.count) throw BadCall("too few arguments");
  if (napi_get_value_double(frame.env, frame.args[i], &value) != napi_ok) throw BadCall("expected a number");
  return value;
}

std::string text(Frame& frame, size_t i) {
  if (i >= frame.count) return "";
  napi_valuetype type;
  check(frame.env, napi_typeof(frame.env, frame.args[i], &type));
  if (type == napi_undefined) return "";
  char buffer[4096];
  size_t length;
  if (napi_get_value_string_utf8(frame.env, frame.args[i], buffer, sizeof buffer, &length) != napi_ok) throw BadCall("expected a string");
  return std::string(buffer, length);
}

napi_value numberValue(napi_env env, double x) {
  napi_value value;
  check(env, napi_create_double(env, x, &value));
  return value;
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  check(env, napi_set_named_property(env, object, name, value));
}

// The bytes of a typed array.
struct Bytes {
  const void* data = nullptr;
  size_t bytes = 0;
  size_t count = 0;
  napi_typedarray_type type = napi_uint8_array;
};
Bytes typedArray(Frame& frame, size_t i) {
  Bytes b;
  void* data = nullptr;
  bool is = false;
  if (i >= frame.count) throw BadCall("too few arguments");
  check(frame.env, napi_is_typedarray(frame.env, frame.args[i], &is));
  if (!is) throw BadCall("expected a typed array");
  check(frame.env, napi_get_typedarray_info(frame.env, frame.args[i], &b.type, &b.count, &data, nullptr, nullptr));
  static const size_t widths[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  if (static_cast<size_t>(b.type) >= sizeof widths / sizeof *widths) throw BadCall("a typed array of an unknown kind");
  b.data = data;
  b.bytes = b.count * widths[b.type];
  return b;
}

uint64_t identifier(Frame& frame, size_t i) {
  const double id = number(frame, i);
  if (!(id >= 1 && id < 9007199254740992.0)) throw BadCall("no such tensor");
  return static_cast<uint64_t>(id);
}

Memory::Held held(Frame& frame, size_t i) {
  Memory::Held h;
  if (!frame.engine->memory->find(identifier(frame, i), h)) throw BadCall("no such tensor");
  return h;
}

size_t byteCount(Frame& frame, size_t i) {
  const double n = number(frame, i);
  if (!(n >= 0 && n <= 1125899906842624.0)) throw BadCall("not a number of bytes");
  return static_cast<size_t>(n);
}

// ---- the functions ----

// info(): {isa, threads, bfloat16, halves}
napi_value info(Frame& frame) {
  const Context& context = frame.engine->executor.context();
  napi_value object, isa, bfloat16, halves;
  check(frame.env, napi_create_object(frame.env, &object));
  check(frame.env, napi_create_string_utf8(frame.env, context.table->isa, NAPI_AUTO_LENGTH, &isa));
  check(frame.env, napi_get_boolean(frame.env, context.table->gemm_bf16 != nullptr, &bfloat16));
  set(frame.env, object, "isa", isa);
  set(frame.env, object, "threads", numberValue(frame.env, pool_threads(context.pool)));
  set(frame.env, object, "bfloat16", bfloat16);
  check(frame.env, napi_get_boolean(frame.env, takes_halves(&context), &halves));
  set(frame.env, object, "halves", halves);
  return object;
}

// configure(threads, isa?, blas?): info. blas: a library that computes large products.
napi_value configure(Frame& frame) {
  const double threads = number(frame, 0);
  if (!(threads >= 1 && threads <= 1024)) throw BadCall("threads must be 1 to 1024");
  const std::string isa = text(frame, 1);
  const KernelTable* const table = kernel_table(isa.c_str());
  if (table == nullptr) throw BadCall("no kernels for instruction set \"" + isa + "\" on this processor");
  const std::string blas = text(frame, 2);
  const CblasSgemm sgemm = blas.empty() ? nullptr : open_blas(blas);
  frame.engine->executor.wait();  // kernels that run read the table
  if (sgemm != nullptr) frame.engine->withBlas = with_blas(*table, sgemm);
  frame.engine->configure(static_cast<int>(threads), sgemm == nullptr ? table : &frame.engine->withBlas);
  return info(frame);
}

// cuda(image, driver, blas, card, use, attention): one line on the card that was opened; `use`: everything lies and runs there from now on. Throws
// what is missing.
napi_value cudaCard(Frame& frame) {
  Engine& engine = *frame.engine;
  cuda::Options options;
  options.image = text(frame, 0);
  options.driver = text(frame, 1);
  options.blas = text(frame, 2);
  options.card = static_cast<int>(number(frame, 3));
  const bool use = number(frame, 4) != 0;
  options.attention = text(frame, 5);
  if (use && engine.memory->liveCount() > 0) throw BadCall("the engine holds tensors already: the device is chosen before the first");
  std::string told;
  if (engine.device != nullptr) {
    told = engine.device->description();
  } else {
    auto opened = std::make_unique<cuda::CudaDevice>(options);
    told = opened->description();
    if (use) engine.use(std::move(opened));
  }
  napi_value line;
  check(frame.env, napi_create_string_utf8(frame.env, told.c_str(), told.size(), &line));
  return line;
}

// attach(Float64Array): where op() finds its arguments
napi_value attach(Frame& frame) {
  const Bytes b = typedArray(frame, 0);
  if (b.type != napi_float64_array) throw BadCall("expected a Float64Array");
  Engine& engine = *frame.engine;
  if (engine.argsRef != nullptr) napi_delete_reference(frame.env, engine.argsRef);
  check(frame.env, napi_create_reference(frame.env, frame.args[0], 1, &engine.argsRef));
  engine.args = static_cast<const double*>(b.data);
  engine.argCount = static_cast<long>(b.count);
  return nullptr;
}

// code(name): number of an operation
napi_value code(Frame& frame) {
  const std::string name = text(frame, 0);
  const auto& operations = frame.engine->operations;
  for (size_t i = 0; i < operations.size(); i++)
    if (name == operations[i].name) return numberValue(frame.env, static_cast<double>(i));
  throw BadCall("no operation \"" + name + "\"");
}

// op(code, typed arrays…): runs an operation on the arguments in the attached array
napi_value op(Frame& frame) {
  Engine& engine = *frame.engine;
  const double n = number(frame, 0);
  if (!(n >= 0 && n < static_cast<double>(engine.operations.size()))) throw BadCall("no such operation");
  const Operation& operation = engine.operations[static_cast<size_t>(n)];
  Passed passed[Call::maxPassed];
  for (size_t i = 1; i < frame.count && i <= Call::maxPassed; i++) {
    const Bytes b = typedArray(frame, i);
    passed[i - 1].type = b.type == napi_int32_array     ? Passed::int32
                         : b.type == napi_float32_array ? Passed::float32
                                                        : Passed::none;
    passed[i - 1].data = b.data;
    passed[i - 1].count = static_cast<long>(b.count);
  }
  try {
    Call call(engine.args, engine.argCount, passed, *engine.memory, engine.executor);
    operation.call(call);
    engine.called++;
  } catch (const BadCall& thrown) {
    throw BadCall(std::string(operation.name) + ": " + thrown.what());
  }
  return nullptr;
}

// take(bytes): number of a new tensor
napi_value take(Frame& frame) {
  return numberValue(frame.env, static_cast<double>(frame.engine->memory->take(byteCount(frame, 0))));
}

// give(id)
napi_value give(Frame& frame) {
  if (!frame.engine->memory->give(identifier(frame, 0))) throw BadCall("no such tensor");
  return nullptr;
}

// write(id, typed array)
napi_value write(Frame& frame) {
  const Memory::Held to = held(frame, 0);
  const Bytes from = typedArray(frame, 1);
  if (from.bytes > to.bytes) throw BadCall("more values than the tensor holds");
  if (from.bytes == 0) return nullptr;
  Executor& executor = frame.engine->executor;
  Device* const device = frame.engine->device.get();
  if (device == nullptr && executor.finished(*to.used)) {
    std::memcpy(to.data, from.data, from.bytes);
    return nullptr;
  }
  // The memory may be in use still, by what had it before.
  *to.used = executor.next();
  executor.enqueue([device, to = to.data, staged = HostArray<char>(from.data, static_cast<long>(from.bytes))](const Context*) {
    if (device != nullptr)
      device->upload(to, staged.data(), static_cast<size_t>(staged.size()));
    else
      std::memcpy(to, staged.data(), static_cast<size_t>(staged.size()));
  });
  return nullptr;
}

Memory::Held readable(Frame& frame, size_t bytes) {
  const Memory::Held from = held(frame, 0);
  if (bytes > from.bytes) throw BadCall("the tensor holds fewer bytes");
  return from;
}

// Bytes on their way from a device, for a caller that waits.
struct Landed {
  bool coming = false;
  std::string error;
  std::mutex mutex;
  std::condition_variable wake;

  static void come(void* user, const char* error) {
    Landed& landed = *static_cast<Landed*>(user);
    const std::lock_guard<std::mutex> lock(landed.mutex);
    if (error != nullptr) landed.error = error;
    landed.coming = false;
    // Under the lock: who waits may be gone right after.
    landed.wake.notify_one();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    wake.wait(lock, [&] { return !coming; });
  }
};

// readSync(id, bytes): ArrayBuffer
napi_value readSync(Frame& frame) {
  const size_t bytes = byteCount(frame, 1);
  const Memory::Held from = readable(frame, bytes);
  void* data;
  napi_value buffer;
  check(frame.env, napi_create_arraybuffer(frame.env, bytes, &data, &buffer));
  Landed landed;
  if (Device* const device = frame.engine->device.get())
    frame.engine->executor.enqueue([device, data, bytes, from = from.data, &landed](const Context*) {
      landed.coming = true;
      try {
        device->download(data, from, bytes, Landed::come, &landed);
      } catch (...) {
        landed.coming = false;
        throw;
      }
    });
  frame.engine->executor.wait();
  landed.wait();
  if (!landed.error.empty()) throw BadCall(landed.error);
  const std::string error = frame.engine->executor.takeError();
  if (!error.empty()) throw BadCall(error);
  if (bytes > 0 && frame.engine->device == nullptr) std::memcpy(data, from.data, bytes);
  return buffer;
}

// Bytes that somebody will wait for.
struct Soon : Landed {
  std::vector<char> bytes;
};

// readSoon(id, bytes): a number for `arrived`. The bytes are on their way from now on: what is called for from here on runs after the copy.
napi_value readSoon(Frame& frame) {
  Engine& engine = *frame.engine;
  const size_t bytes = byteCount(frame, 1);
  const Memory::Held from = readable(frame, bytes);
  const auto soon = std::make_shared<Soon>();
  soon->bytes.resize(bytes);
  soon->coming = true;
  *from.used = engine.executor.next();
  engine.executor.enqueue([soon, executor = &engine.executor, device = engine.device.get(), from = from.data](const Context*) {
    const std::string error = executor->takeError();
    if (!error.empty()) return Soon::come(soon.get(), error.c_str());
    try {
      if (device == nullptr) {
        std::memcpy(soon->bytes.data(), from, soon->bytes.size());
        return Soon::come(soon.get(), nullptr);
      }
      // It lives until the bytes have come, whoever waits.
      auto held = std::make_unique<std::shared_ptr<Soon>>(soon);
      device->download(
          soon->bytes.data(), from, soon->bytes.size(),
          [](void* user, const char* failed) {
            const std::unique_ptr<std::shared_ptr<Soon>> come(static_cast<std::shared_ptr<Soon>*>(user));
            Soon::come(come->get(), failed);
          },
          held.get());
      held.release();
    } catch (const std::exception& thrown) {
      Soon::come(soon.get(), thrown.what());
    }
  });
  engine.soon.emplace(++engine.soonAsked, soon);
  return numberValue(frame.env, static_cast<double>(engine.soonAsked));
}

// arrived(number): ArrayBuffer of what readSoon was asked for, once; waits until it has come.
napi_value arrived(Frame& frame) {
  Engine& engine = *frame.engine;
  const auto at = engine.soon.find(identifier(frame, 0));
  if (at == engine.soon.end()) throw BadCall("nothing is on its way under this number");
  const std::shared_ptr<Landed> landed = at->second;
  engine.soon.erase(at);
  landed->wait();
  if (!landed->error.empty()) throw BadCall(landed->error);
  const std::vector<char>& bytes = static_cast<const Soon*>(landed.get())->bytes;
  void* data;
  napi_value buffer;
  check(frame.env, napi_create_arraybuffer(frame.env, bytes.size(), &data, &buffer));
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  return buffer;
}

// release(buffer): its bytes are given back now, not when JavaScript's collector comes by
napi_value release(Frame& frame) {
  bool is = false;
  check(frame.env, napi_is_arraybuffer(frame.env, frame.args[0], &is));
  if (!is) throw BadCall("expected an ArrayBuffer");
  check(frame.env, napi_detach_arraybuffer(frame.env, frame.args[0]));
  return nullptr;
}

// Bytes have come from a device, for a promise: on some thread.
struct Coming {
  Read* request;
  napi_threadsafe_function settle;
};
void settleComing(void* user, const char* error) {
  const std::unique_ptr<Coming> coming(static_cast<Coming*>(user));
  if (error != nullptr) coming->request->error = error;
  napi_call_threadsafe_function(coming->settle, coming->request, napi_tsfn_nonblocking);
}

// read(id, bytes): Promise<ArrayBuffer>
napi_value read(Frame& frame) {
  Engine& engine = *frame.engine;
  const size_t bytes = byteCount(frame, 1);
  const Memory::Held from = readable(frame, bytes);
  auto request = std::make_unique<Read>();
  void* data;
  napi_value buffer, promise;
  check(frame.env, napi_create_arraybuffer(frame.env, bytes, &data, &buffer));
  check(frame.env, napi_create_reference(frame.env, buffer, 1, &request->buffer));
  check(frame.env, napi_create_promise(frame.env, &request->deferred, &promise));
  if (engine.pending++ == 0) napi_ref_threadsafe_function(frame.env, engine.settle);
  *from.used = engine.executor.next();
  engine.executor.enqueue([request = request.release(), settle = engine.settle, executor = &engine.executor, data, bytes,
                           from = from.data, device = engine.device.get()](const Context*) {
    request->error = executor->takeError();
    if (device != nullptr && request->error.empty()) {
      auto coming = std::make_unique<Coming>(Coming{request, settle});
      try {
        device->download(data, from, bytes, settleComing, coming.get());
        coming.release();
        return;
      } catch (const std::exception& thrown) {
        request->error = thrown.what();
      }
      napi_call_threadsafe_function(settle, request, napi_tsfn_nonblocking);
      return;
    }
    if (bytes > 0 && request->error.empty()) std::memcpy(data, from, bytes);
    napi_call_threadsafe_function(settle, request, napi_tsfn_nonblocking);
  });
  return promise;
}

// On JavaScript's thread, after the executor has read.
void settleRead(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<Read> request(static_cast<Read*>(data));
  if (env == nullptr) return;
  Engine& engine = *static_cast<Engine*>(context);
  if (--engine.pending == 0) napi_unref_threadsafe_function(env, engine.settle);
  napi_value value;
  if (request->error.empty()) {
    napi_get_reference_value(env, request->buffer, &value);
    napi_resolve_deferred(env, request->deferred, value);
  } else {
    napi_value message, failureCode;
    napi_create_string_utf8(env, request->error.c_str(), NAPI_AUTO_LENGTH, &message);
    napi_create_string_utf8(env, "ERR_RXTUNE_NATIVE", NAPI_AUTO_LENGTH, &failureCode);
    napi_create_error(env, failureCode, message, &value);
    napi_reject_deferred(env, request->deferred, value);
  }
  napi_delete_reference(env, request->buffer);
}

// wait(): returns when everything has run; throws what went wrong on the way
napi_value wait(Frame& frame) {
  if (Device* const device = frame.engine->device.get()) frame.engine->executor.enqueue([device](const Context*) { device->finish(); });
  frame.engine->executor.wait();
  const std::string error = frame.engine->executor.takeError();
  if (!error.empty()) throw BadCall(error);
  return nullptr;
}

// statistics(): bytes and numbers of tensors, operations, seconds spent in kernels
napi_value statistics(Frame& frame) {
  const Memory& memory = *frame.engine->memory;
  napi_value object;
  check(frame.env, napi_create_object(frame.env, &object));
  const auto put = [&](const char* name, size_t value) { set(frame.env, object, name, numberValue(frame.env, static_cast<double>(value))); };
  put("tensors", memory.liveCount());
  put("bytes", memory.liveBytes());
  put("peakBytes", memory.peakBytes());
  put("reservedBytes", memory.reservedBytes());
  frame.engine->executor.wait();
  put("scratchBytes", scratch_bytes(frame.engine->executor.context().scratch));
  put("availableBytes", frame.engine->device ? frame.engine->device->available() + memory.reservedBytes() - memory.liveBytes() : 0);
  put("operations", frame.engine->called);
  put("launches", frame.engine->device ? static_cast<size_t>(frame.engine->device->started()) : 0);
  put("refusedProducts", frame.engine->device ? static_cast<size_t>(frame.engine->device->refusedProducts()) : 0);
  set(frame.env, object, "busySeconds", numberValue(frame.env, frame.engine->executor.busySeconds()));
  return object;
}

// resetPeak()
napi_value resetPeak(Frame& frame) {
  frame.engine->memory->resetPeak();
  return nullptr;
}

void define(napi_env env, napi_value exports, const char* name, napi_callback callback, Engine* engine) {
  napi_value function;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, engine, &function));
  set(env, exports, name, function);
}

void destroy(void* engine) {
  Engine* const e = static_cast<Engine*>(engine);
  // Neither the executor nor a device may call back into an environment that goes away.
  e->close();
  napi_release_threadsafe_function(e->settle, napi_tsfn_abort);
  delete e;
}

napi_value initialise(napi_env env, napi_value exports) {
  auto engine = std::make_unique<Engine>();
  napi_value name;
  check(env, napi_create_string_utf8(env, "rxtune read", NAPI_AUTO_LENGTH, &name));
  check(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, engine.get(), settleRead, &engine->settle));
  check(env, napi_unref_threadsafe_function(env, engine->settle));
  define(env, exports, "info", guarded<info>, engine.get());
  define(env, exports, "configure", guarded<configure>, engine.get());
  define(env, exports, "cuda", guarded<cudaCard>, engine.get());
  define(env, exports, "attach", guarded<attach>, engine.get());
  define(env, exports, "code", guarded<code>, engine.get());
  define(env, exports, "op", guarded<op>, engine.get());
  define(env, exports, "take", guarded<take>, engine.get());
  define(env, exports, "give", guarded<give>, engine.get());
  define(env, exports, "write", guarded<write>, engine.get());
  define(env, exports, "read", guarded<read>, engine.get());
  define(env, exports, "readSync", guarded<readSync>, engine.get());
  define(env, exports, "readSoon", guarded<readSoon>, engine.get());
  define(env, exports, "arrived", guarded<arrived>, engine.get());
  define(env, exports, "release", guarded<release>, engine.get());
  define(env, exports, "wait", guarded<wait>, engine.get());
  define(env, exports, "statistics", guarded<statistics>, engine.get());
  define(env, exports, "resetPeak", guarded<resetPeak>, engine.get());
  check(env, napi_add_env_cleanup_hook(env, destroy, engine.get()));
  engine.release();
  return exports;
}

}  // namespace

NAPI_MODULE_INIT() {
  try {
    return initialise(env, exports);
  } catch (const std::exception& thrown) {
    napi_throw_error(env, "ERR_RXTUNE_NATIVE", thrown.what());
    return nullptr;
  }
}
