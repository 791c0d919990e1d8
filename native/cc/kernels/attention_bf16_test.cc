// RX_FILL(attention_bf16) and RX_FILL(attention_grad_bf16): the test of the float32 kernels, with the tolerance of their operands.
#define RX_HALF
#include "attention_test.cc"
