// NVIDIA's driver interface, opened at run time: nothing of CUDA is needed to build. Types and numbers as in cuda.h, which
// native/cuda/test/prototypes.cc compares them with.
#pragma once

#include <cstddef>
#include <string>

namespace cuda {

using Pointer = unsigned long long;  // CUdeviceptr
using Handle = void*;                // CUcontext, CUmodule, CUfunction, CUstream, CUevent

#define RX_DRIVER_FUNCTIONS(X)                                                                                                \
  X(cuInit, (unsigned))                                                                                                       \
  X(cuDriverGetVersion, (int*))                                                                                               \
  X(cuDeviceGetCount, (int*))                                                                                                 \
  X(cuDeviceGet, (int*, int))                                                                                                 \
  X(cuDeviceGetName, (char*, int, int))                                                                                       \
  X(cuDeviceGetAttribute, (int*, int, int))                                                                                   \
  X(cuDeviceTotalMem_v2, (size_t*, int))                                                                                      \
  X(cuDevicePrimaryCtxRetain, (Handle*, int))                                                                                 \
  X(cuDevicePrimaryCtxRelease_v2, (int))                                                                                      \
  X(cuCtxSetCurrent, (Handle))                                                                                                \
  X(cuModuleLoadData, (Handle*, const void*))                                                                                 \
  X(cuModuleUnload, (Handle))                                                                                                 \
  X(cuModuleGetFunction, (Handle*, Handle, const char*))                                                                      \
  X(cuFuncSetAttribute, (Handle, int, int))                                                                                   \
  X(cuLaunchKernel, (Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**))   \
  X(cuMemGetInfo_v2, (size_t*, size_t*))                                                                                      \
  X(cuMemAlloc_v2, (Pointer*, size_t))                                                                                        \
  X(cuMemFree_v2, (Pointer))                                                                                                  \
  X(cuMemHostAlloc, (void**, size_t, unsigned))                                                                               \
  X(cuMemFreeHost, (void*))                                                                                                   \
  X(cuMemcpyHtoDAsync_v2, (Pointer, const void*, size_t, Handle))                                                             \
  X(cuMemcpyDtoHAsync_v2, (void*, Pointer, size_t, Handle))                                                                   \
  X(cuMemsetD8Async, (Pointer, unsigned char, size_t, Handle))                                                                \
  X(cuStreamCreate, (Handle*, unsigned))                                                                                      \
  X(cuStreamSynchronize, (Handle))                                                                                            \
  X(cuStreamDestroy_v2, (Handle))                                                                                             \
  X(cuEventCreate, (Handle*, unsigned))                                                                                       \
  X(cuEventRecord, (Handle, Handle))                                                                                          \
  X(cuEventSynchronize, (Handle))                                                                                             \
  X(cuEventElapsedTime_v2, (float*, Handle, Handle))                                                                          \
  X(cuEventDestroy_v2, (Handle))                                                                                              \
  X(cuGetErrorString, (int, const char**))

enum {
  successful = 0,
  out_of_memory = 2,
  no_device = 100,
  launch_errors = 700,                  // the first code of what goes wrong while a kernel runs
  attribute_multiprocessors = 16,
  attribute_major = 75,
  attribute_minor = 76,
  attribute_shared_memory = 97,         // of a block, when asked for
  function_shared_memory = 8,           // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
  stream_non_blocking = 1,
  event_default = 0,
  event_disable_timing = 2,
};

struct Driver {
#define X(name, parameters) int(*name) parameters;
  RX_DRIVER_FUNCTIONS(X)
#undef X
};

// The library of that name, or the system's when empty. Throws std::runtime_error in plain words.
Driver open_driver(const std::string& library);

// Throws std::bad_alloc when memory ran out, and otherwise what the driver says about the code, unless it is success.
void check(const Driver& driver, int code, const char* what);

}  // namespace cuda
