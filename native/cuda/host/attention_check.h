// Whether Hopper's own attention kernels compute on this card what those of every card do.
#pragma once

#include <string>

#include "cuda_device.h"

namespace cuda {

struct Agreement {
  HopperParts parts;    // that compute the same both ways
  std::string differs;  // the others, in words; empty: none
};
// Runs both on a small random problem, forwards and backwards, as far as bfloat16 goes. Throws when a kernel fails: then the card is of no
// more use to this process.
Agreement attention_agreement(CudaDevice& device);

}  // namespace cuda
