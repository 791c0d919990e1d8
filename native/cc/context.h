// What every kernel is given.
#pragma once

#include "pool.h"
#include "scratch.h"

struct KernelTable;

typedef struct Context {
  Pool* pool;
  Scratch* scratch;
  const struct KernelTable* table;
  // Matrix products round their operands to bfloat16 (sums stay float32). Set only where the table has gemm_bf16.
  int bf16;
  // The device whose table it is; null for the processor.
  void* device;
} Context;
