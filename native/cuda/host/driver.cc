#include "driver.h"

#include <dlfcn.h>

#include <new>
#include <stdexcept>

namespace cuda {

Driver open_driver(const std::string& library) {
  const char* const name = library.empty() ? "libcuda.so.1" : library.c_str();
  void* const opened = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) throw std::runtime_error(std::string("no NVIDIA driver: ") + name + " is not there");
  Driver driver = {};
#define X(function, parameters)                                                          \
  driver.function = reinterpret_cast<int(*) parameters>(dlsym(opened, #function));       \
  if (driver.function == nullptr) throw std::runtime_error("the NVIDIA driver is too old: it lacks " #function);
  RX_DRIVER_FUNCTIONS(X)
#undef X
  return driver;
}

void check(const Driver& driver, int code, const char* what) {
  if (code == successful) return;
  if (code == out_of_memory) throw std::bad_alloc();
  const char* said = nullptr;
  if (driver.cuGetErrorString(code, &said) != successful || said == nullptr) said = "an error the driver has no words for";
  // A kernel's error comes with whatever is asked for next.
  const bool late = code >= launch_errors && code < launch_errors + 20;
  throw std::runtime_error(std::string(what) + ": " + said + " (CUDA error " + std::to_string(code) + ")" +
                           (late ? "; a kernel started before may be what failed: CUDA_LAUNCH_BLOCKING=1 in the environment tells which" : ""));
}

}  // namespace cuda
