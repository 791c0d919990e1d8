// Whether Hopper's own attention kernels compute on this card what those of every card do.
#pragma once

#include <string>

#include "cuda_device.h"

namespace cuda {

// Runs both on a small random problem, forwards and backwards. Empty: they agree as far as bfloat16 goes; else what does not. Throws
// when a kernel fails: then the card is of no more use to this process.
std::string attention_differs(CudaDevice& device);

}  // namespace cuda
