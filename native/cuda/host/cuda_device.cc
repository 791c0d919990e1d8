#include "cuda_device.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

#include "../kernels/flash_layout.h"
#include "attention_check.h"

namespace cuda {
namespace {

const char* const names[] = {
#define X(name, ...) "rx_" #name,
    RX_CUDA_KERNELS(X)
#undef X
};

// The oldest driver that takes what nvcc 13 makes, and the oldest card that the kernels are compiled for.
constexpr int oldest_driver = 13000, oldest_card = 80;
// The one kind of card that has the instructions of wgmma.h.
constexpr int hopper_card = 90;

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::vector<char> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("the kernels are not compiled: " + path + " is not there (npm run build:cuda makes it, with nvcc)");
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  bytes.push_back(0);
  return bytes;
}

}  // namespace

CudaDevice::CudaDevice(const Options& options) : driver(open_driver(options.driver)) {
  const int initialised = driver.cuInit(0);
  if (initialised == no_device) throw std::runtime_error("there is a driver and no NVIDIA card that it can use");
  must(initialised, "the NVIDIA driver does not start");
  int supported = 0, count = 0, major = 0, minor = 0, shared = 0, parts = 0;
  must(driver.cuDriverGetVersion(&supported), "the driver's version");
  if (supported < oldest_driver)
    throw std::runtime_error("the NVIDIA driver supports CUDA " + version(supported) + ", the kernels need " + version(oldest_driver) +
                             ": a driver of release 580 or later");
  must(driver.cuDeviceGetCount(&count), "counting the cards");
  if (options.card >= count) throw std::runtime_error("no card " + std::to_string(options.card) + ": the driver sees " + std::to_string(count));
  char name[128] = {};
  size_t bytes = 0;
  must(driver.cuDeviceGet(&device, options.card), "the card");
  must(driver.cuDeviceGetName(name, sizeof name - 1, device), "the card's name");
  must(driver.cuDeviceGetAttribute(&major, attribute_major, device), "the card's version");
  must(driver.cuDeviceGetAttribute(&minor, attribute_minor, device), "the card's version");
  must(driver.cuDeviceGetAttribute(&shared, attribute_shared_memory, device), "the card's memory");
  must(driver.cuDeviceGetAttribute(&parts, attribute_multiprocessors, device), "the card's multiprocessors");
  must(driver.cuDeviceTotalMem_v2(&bytes, device), "the card's memory");
  if (major * 10 + minor < oldest_card)
    throw std::runtime_error(std::string(name) + " is too old: compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                             ", the kernels need 8.0 (Ampere, 2020) or later");
  shared_limit = shared;
  processors = parts;
  if (options.attention != "" && options.attention != "mma" && options.attention != "wgmma")
    throw std::runtime_error("RXTUNE_CUDA_ATTENTION is mma or wgmma, not " + options.attention);
  if (options.attention == "wgmma" && major * 10 + minor != hopper_card)
    throw std::runtime_error(std::string("RXTUNE_CUDA_ATTENTION=wgmma: ") + name + " has compute capability " + std::to_string(major) + "." +
                             std::to_string(minor) + ", these instructions are 9.0's alone");
  const std::vector<char> image = contents(options.image);
  must(driver.cuDevicePrimaryCtxRetain(&context, device), "opening the card");
  try {
    must(driver.cuCtxSetCurrent(context), "opening the card");
    must(driver.cuModuleLoadData(&module, image.data()), "loading the kernels");
    for (int i = 0; i < kernel_count; i++) must(driver.cuModuleGetFunction(&functions[i], module, names[i]), names[i]);
    must(driver.cuStreamCreate(&queue, stream_non_blocking), "a stream");
    void* pinned = nullptr;
    must(driver.cuMemHostAlloc(&pinned, 4 * quarter, 0), "pinned memory");
    ring = static_cast<char*>(pinned);
    must(driver.cuMemAlloc_v2(&ring_on_card, 4 * quarter), "memory of the card");
    for (Handle& event : passed) {
      must(driver.cuEventCreate(&event, event_disable_timing), "an event");
      must(driver.cuEventRecord(event, queue), "an event");
    }
  } catch (...) {
    driver.cuDevicePrimaryCtxRelease_v2(device);
    throw;
  }
  std::string note;
  trace = Trace::open(driver);
  products = Blas::open(options.blas, note);
  told = std::string(name) + ", " + std::to_string(bytes >> 30) + " GiB, compute capability " + std::to_string(major) + "." +
         std::to_string(minor) + (products ? ", cublasLt" : ", " + note);
  lander = std::thread([this] { land(); });
  try {
    told += choose_attention(options.attention, major * 10 + minor);
  } catch (...) {
    close();
    throw;
  }
}

std::string CudaDevice::choose_attention(const std::string& asked, int capability) {
  if (capability != hopper_card) return "";
  const auto by = [&](const char* way) { return std::string(", attention by ") + way; };
  if (asked != "") {
    use_hopper(asked == "wgmma");
    return by(asked.c_str()) + " (RXTUNE_CUDA_ATTENTION)";
  }
  if (std::max({hopper_bytes<64>, hopper_bytes<128>, hopper_bytes<192>, hopper_bytes<256>}) > shared_limit) return by("mma");
  try {
    const Agreement found = attention_agreement(*this);
    use_hopper(found.parts);
    if (found.differs.empty()) return by("wgmma");
    return (found.parts.any() ? by("wgmma, but by mma where it differs here: the ") : by("mma: by wgmma differs here in the ")) + found.differs;
  } catch (const std::bad_alloc&) {
    use_hopper(false);
    return by("mma: no memory is left to check wgmma");
  } catch (const std::exception& thrown) {
    throw std::runtime_error(std::string("attention by wgmma fails on this card (RXTUNE_CUDA_ATTENTION=mma does without it): ") + thrown.what());
  }
}

CudaDevice::~CudaDevice() { close(); }

void CudaDevice::close() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  wake.notify_one();
  lander.join();
  driver.cuCtxSetCurrent(context);
  driver.cuStreamSynchronize(queue);
  if (trace) try {
      trace->write(queue);
    } catch (const std::exception&) {
    }
  trace.reset();
  products.reset();
  forget_large(0);
  for (const Pinned& pinned : spare) driver.cuMemFreeHost(pinned.at);
  for (Handle event : passed) driver.cuEventDestroy_v2(event);
  driver.cuMemFreeHost(ring);
  driver.cuMemFree_v2(ring_on_card);
  driver.cuStreamDestroy_v2(queue);
  driver.cuModuleUnload(module);
  driver.cuDevicePrimaryCtxRelease_v2(device);
}

// The context is a matter of threads: JavaScript's takes memory, the executor's starts kernels, one waits for what lands.
void CudaDevice::enter() {
  thread_local const CudaDevice* entered = nullptr;
  if (entered == this) return;
  must(driver.cuCtxSetCurrent(context), "opening the card");
  entered = this;
}

void* CudaDevice::take(size_t bytes) {
  enter();
  Pointer memory = 0;
  const int code = driver.cuMemAlloc_v2(&memory, bytes);
  if (code == out_of_memory) return nullptr;
  must(code, "memory of the card");
  return reinterpret_cast<void*>(memory);
}

// Destructors give back too, and nothing may be thrown there: an error of the card stays, and who reads next is told.
void CudaDevice::give(void* memory, size_t) {
  try {
    enter();
    must(driver.cuStreamSynchronize(queue), "a kernel");
    must(driver.cuMemFree_v2(reinterpret_cast<Pointer>(memory)), "giving memory back");
  } catch (const std::exception&) {
  }
}

size_t CudaDevice::available() {
  enter();
  size_t left = 0, whole = 0;
  must(driver.cuMemGetInfo_v2(&left, &whole), "the card's memory");
  return left;
}

void CudaDevice::zero(void* memory, size_t bytes) {
  enter();
  narrowed.clear();
  if (bytes > 0) must(driver.cuMemsetD8Async(reinterpret_cast<Pointer>(memory), 0, bytes, queue), "clearing memory");
}

void CudaDevice::start(int kernel, Grid grid, unsigned threads, long shared_bytes, void** arguments) {
  enter();
  narrowed.clear();
  // Of 48 KB that a block has unasked, what a kernel has of itself is taken first: so any more than before is asked for.
  if (asked_shared[kernel] < shared_bytes) {
    must(driver.cuFuncSetAttribute(functions[kernel], function_shared_memory, static_cast<int>(shared_bytes)), names[kernel]);
    asked_shared[kernel] = shared_bytes;
  }
  if (trace) trace->before(queue);
  must(driver.cuLaunchKernel(functions[kernel], static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), 1, threads, 1, 1,
                             static_cast<unsigned>(shared_bytes), queue, arguments, nullptr),
       names[kernel]);
  if (trace) trace->after(queue, std::string(names[kernel]) + " " + std::to_string(grid.x) + "x" + std::to_string(grid.y) + "x" + std::to_string(threads));
  counted();
}

// The quarter that was being filled is done with when what has been started so far has run; the next one must be free.
void CudaDevice::advance() {
  must(driver.cuEventRecord(passed[at / quarter], queue), "an event");
  at = (at / quarter + 1) % 4 * quarter;
  must(driver.cuEventSynchronize(passed[at / quarter]), "a kernel");
}

void CudaDevice::used(size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  if (rounded >= quarter - at % quarter)
    advance();
  else
    at += rounded;
}

const void* CudaDevice::staged(const void* values, size_t bytes) {
  enter();
  if (bytes > quarter) {
    // Rare: a batch of millions of tokens. The last ones may be of this operation, whose kernel has not started.
    if (large.size() >= most_large) {
      must(driver.cuStreamSynchronize(queue), "a kernel");
      forget_large(most_at_once);
    }
    void* pinned = nullptr;
    Pointer there = 0;
    must(driver.cuMemHostAlloc(&pinned, bytes, 0), "pinned memory");
    if (driver.cuMemAlloc_v2(&there, bytes) != successful) {
      driver.cuMemFreeHost(pinned);
      throw std::bad_alloc();
    }
    large.emplace_back(pinned, there);
    std::memcpy(pinned, values, bytes);
    must(driver.cuMemcpyHtoDAsync_v2(there, pinned, bytes, queue), "copying to the card");
    return reinterpret_cast<const void*>(there);
  }
  if (bytes > quarter - at % quarter) advance();
  const size_t place = at;
  std::memcpy(ring + place, values, bytes);
  if (bytes > 0) must(driver.cuMemcpyHtoDAsync_v2(ring_on_card + place, ring + place, bytes, queue), "copying to the card");
  used(bytes);
  return reinterpret_cast<const void*>(ring_on_card + place);
}

// All but the `rest` last ones; what used them has run.
void CudaDevice::forget_large(size_t rest) {
  for (; large.size() > rest; large.pop_front()) {
    driver.cuMemFreeHost(large.front().first);
    driver.cuMemFree_v2(large.front().second);
  }
}

CudaDevice::Pinned CudaDevice::take_pinned(size_t bytes) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    auto best = spare.end();
    for (auto each = spare.begin(); each != spare.end(); ++each)
      if (each->bytes >= bytes && (best == spare.end() || each->bytes < best->bytes)) best = each;
    if (best != spare.end()) {
      const Pinned taken = *best;
      spare.erase(best);
      spare_bytes -= taken.bytes;
      return taken;
    }
  }
  Pinned taken = {nullptr, size_t(4) << 10};
  while (taken.bytes < bytes) taken.bytes *= 2;
  if (taken.bytes > most_spare) taken.bytes = bytes;
  must(driver.cuMemHostAlloc(&taken.at, taken.bytes, 0), "pinned memory");
  return taken;
}
void CudaDevice::give_pinned(Pinned pinned) {
  if (pinned.at == nullptr) return;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (spare_bytes + pinned.bytes <= most_spare) {
      spare.push_back(pinned);
      spare_bytes += pinned.bytes;
      return;
    }
  }
  driver.cuMemFreeHost(pinned.at);
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  enter();
  narrowed.clear();
  const char* const source = static_cast<const char*>(from);
  for (size_t done = 0; done < bytes;) {
    const size_t room = quarter - at % quarter;
    const size_t some = bytes - done < room ? bytes - done : room;
    std::memcpy(ring + at, source + done, some);
    must(driver.cuMemcpyHtoDAsync_v2(reinterpret_cast<Pointer>(to) + done, ring + at, some, queue), "copying to the card");
    done += some;
    used(some);
  }
}

void CudaDevice::download(void* to, const void* from, size_t bytes, void (*done)(void*, const char*), void* user) {
  enter();
  Landing landing = {to, {}, bytes, nullptr, done, user};
  must(driver.cuEventCreate(&landing.event, event_disable_timing), "an event");
  try {
    if (bytes > 0) {
      landing.pinned = take_pinned(bytes);
      must(driver.cuMemcpyDtoHAsync_v2(landing.pinned.at, reinterpret_cast<Pointer>(from), bytes, queue), "copying from the card");
    }
    must(driver.cuEventRecord(landing.event, queue), "an event");
  } catch (...) {
    give_pinned(landing.pinned);
    driver.cuEventDestroy_v2(landing.event);
    throw;
  }
  {
    std::lock_guard<std::mutex> lock(mutex);
    landings.push_back(landing);
  }
  wake.notify_one();
}

void CudaDevice::land() {
  for (;;) {
    Landing landing;
    {
      std::unique_lock<std::mutex> lock(mutex);
      wake.wait(lock, [&] { return stopping || !landings.empty(); });
      if (landings.empty()) return;
      landing = landings.front();
      landings.pop_front();
    }
    std::string error;
    try {
      enter();
      must(driver.cuEventSynchronize(landing.event), "a kernel");
      if (landing.bytes > 0) std::memcpy(landing.to, landing.pinned.at, landing.bytes);
    } catch (const std::exception& thrown) {
      error = thrown.what();
    }
    give_pinned(landing.pinned);
    driver.cuEventDestroy_v2(landing.event);
    landing.done(landing.user, error.empty() ? nullptr : error.c_str());
  }
}

void CudaDevice::finish() {
  enter();
  must(driver.cuStreamSynchronize(queue), "a kernel");
  forget_large(0);
}

}  // namespace cuda
