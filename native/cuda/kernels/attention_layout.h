// How the attention kernels divide their shared memory: read by the kernels and by the host, which must ask for as much.
#pragma once

#ifndef __CUDACC__
#ifndef __host__
#define __host__
#define __device__
#define RX_HOST_ALONE
#endif
#endif

// The head's columns, filled up with zeros to whole steps of a product.
__host__ __device__ constexpr int attention_width(int head_dim) { return (head_dim + 15) / 16 * 16; }
// Floats or bfloat16 numbers a row of a tile: a few more than are used, so that rows begin in different banks.
__host__ __device__ constexpr int attention_ld(int head_dim) { return attention_width(head_dim) + 2; }

// Bytes for `operands` tiles of the head's columns in the kernel's number format, `sums` of floats, `squares` of rows x rows floats, as
// many in the number format for bfloat16, and `rows` floats.
__host__ __device__ constexpr long attention_bytes(int rows, int head_dim, int each, int operands, int sums, int squares) {
  return static_cast<long>(rows) * attention_ld(head_dim) * (operands * each + sums * 4) +
         static_cast<long>(rows) * (rows + 2) * squares * (each == 2 ? 6 : 4) + rows * 16;
}
__host__ __device__ constexpr long attention_forward_bytes(int rows, int head_dim, int each) {
  return attention_bytes(rows, head_dim, each, 2, 1, 1);
}
__host__ __device__ constexpr long attention_grad_q_bytes(int rows, int head_dim, int each) {
  return attention_bytes(rows, head_dim, each, 3, 1, 2);
}
__host__ __device__ constexpr long attention_grad_kv_bytes(int rows, int head_dim, int each) {
  return attention_bytes(rows, head_dim, each, 4, 2, 2);
}

#ifdef RX_HOST_ALONE
#undef __host__
#undef __device__
#undef RX_HOST_ALONE
#endif
