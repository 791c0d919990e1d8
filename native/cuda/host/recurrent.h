// Kernels of what reads earlier tokens through a state.
#pragma once

#include "../../cc/kernel_table.h"

namespace cuda {

void fill_recurrent(KernelTable& table);

}  // namespace cuda
