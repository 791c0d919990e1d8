// How the scan of Mamba (selective.cu) is cut: read by the kernels and by the host.
#pragma once

constexpr int selective_threads = 128;
// A thread has so many numbers of a channel's state.
constexpr int selective_each = 4;
// Threads of a channel: states of 16 numbers, Mamba's, have four, those of up to 128 a warp.
constexpr int selective_narrow = 4, selective_wide = 32;
constexpr int selective_lanes(long state_dim) { return state_dim <= selective_each * selective_narrow ? selective_narrow : selective_wide; }
constexpr long selective_most = selective_each * selective_wide;
// Channels of a block.
constexpr int selective_channels(int lanes) { return selective_threads / lanes; }

// Tokens of a chunk; on the way back a thread has the states of all of them in registers.
constexpr int selective_chunk = 32, selective_chunk_back = 16;
// Parts of the channels that have sums of their own of what all channels share.
constexpr long selective_parts = 16;

// On the way back: b, c, and of each warp the gradients of both.
constexpr long selective_grad_bytes(int lanes) {
  return 4L * selective_chunk_back * 2 * (1 + selective_threads / 32) * selective_each * lanes;
}
