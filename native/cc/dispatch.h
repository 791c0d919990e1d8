// Which kernels run: those for the best instruction set this processor has, or a lesser one by name.
#pragma once

#include "kernel_table.h"

// The table for `isa` ("portable", "avx2", "avx512", "amx", "neon"), or for the best one when null or empty. Null when the processor or this
// build has no such thing.
const KernelTable* kernel_table(const char* isa);
