// Memory that kernels need while they run. A slot keeps its memory (and grows) from call to call; what it holds is garbage.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Scratch Scratch;

enum {
  // The matrix product owns these; everything else may hold its slots across calls of gemm.
  SCRATCH_GEMM = 0,
  SCRATCH_GEMM_STATE = 1,
  // Free for the kernel that runs; a kernel that calls another kernel must know which slots that one takes.
  SCRATCH_KERNEL = 4,  // 4 .. 15
  SCRATCH_SLOTS = 16
};

// On the system's memory, or on that of a PageSource of pages.h.
Scratch* scratch_create(void);
Scratch* scratch_create_on(void* page_source);
void scratch_destroy(Scratch* scratch);

// At least `bytes` bytes, 64-byte aligned (large ones on huge pages). Call it outside pool_run, on the executor's thread.
// Throws std::bad_alloc, which the executor turns into an error of the next read.
void* scratch_get(Scratch* scratch, int slot, size_t bytes);

size_t scratch_bytes(const Scratch* scratch);

#ifdef __cplusplus
}
#endif
