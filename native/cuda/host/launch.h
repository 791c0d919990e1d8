// The kernels by name with their parameters' types, as the host starts them.
#pragma once

#include "../kernels/signatures.h"

namespace cuda {

#define X(name, ...) name##_index,
enum KernelIndex { RX_CUDA_KERNELS(X) kernel_count };
#undef X

// A kernel whose parameters the compiler knows.
template <class... P>
struct Kernel {
  int index;
};

namespace kernels {
#define X(name, ...) inline constexpr Kernel<__VA_ARGS__> name = {name##_index};
RX_CUDA_KERNELS(X)
#undef X
}  // namespace kernels

struct Grid {
  long x = 1;
  long y = 1;
};

}  // namespace cuda
