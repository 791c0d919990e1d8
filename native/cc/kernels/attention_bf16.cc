// Attention with scores computed from operands rounded to bfloat16.
#define RX_HALF
#include "attention.cc"
