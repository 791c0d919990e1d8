// RX_FILL(attention_bf16) and RX_FILL(attention_grad_bf16): the bench of the float32 kernels.
#define RX_HALF
#include "attention_bench.cc"
