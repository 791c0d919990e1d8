// The way back through attention with scores computed from operands rounded to bfloat16.
#if defined(__ARM_NEON)
// Arm's float32 attention serves both precisions.
#include "../kernel_table.h"
#include "../simd.h"
extern "C" void RX_FILL(attention_grad_bf16)(KernelTable*) {}
#else
#define RX_HALF
#include "attention_grad.cc"
#endif
