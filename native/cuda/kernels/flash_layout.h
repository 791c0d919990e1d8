// Tiles and shared memory of flash.cu and hopper*.cu: read by the kernels and by the host, which must ask for as much.
// All constant: registers hold what a warp works on.
#pragma once

// Columns of queries and keys as they are packed, zeros fill them up; 0: wider heads than these kernels have.
constexpr int flash_width(int head_dim, int value_dim) {
  const int most = head_dim > value_dim ? head_dim : value_dim;
  return most <= 64 ? 64 : most <= 128 ? 128 : head_dim <= 192 && value_dim <= 128 ? 192 : most <= 256 ? 256 : 0;
}
// Those of values beside them: latent attention has keys of 192 and values of 128.
template <int width>
constexpr int flash_values = width == 192 ? 128 : width;
// Both gradients of such keys and values, 16 rows of them or 64, are more than a warp's registers, or a warpgroup's, can hold. So two have
// the same rows: one has the probabilities and the gradient of values, the other the gradient of keys, and is told the probabilities.
template <int width>
constexpr bool flash_shares = width == 256;
// By warpgroups that is so beyond 128 columns. Up to there gradients are hopper_gradient.cu's, where a warpgroup holds both.
template <int width>
constexpr bool hopper_narrow = width <= 128;

// Rows of a block, 16 a warp, and rows of the other side at a time.
template <int width>
struct FlashForward {
  static constexpr int rows = width == 64 ? 128 : 64, others = width <= 128 ? 64 : 32, threads = 2 * rows;
  static constexpr long bytes = 2L * (width * rows + 2 * (width + flash_values<width>) * others);
};
template <int width>
struct FlashGradQ {
  static constexpr int rows = 64, others = width == 64 ? 64 : width == 256 ? 16 : 32, threads = 2 * rows;
  static constexpr long bytes = 2L * (width + flash_values<width>) * (rows + 2 * others);
};
template <int width>
struct FlashGradKv {
  static constexpr int rows = flash_shares<width> ? 32 : 64, others = width == 192 ? 16 : FlashGradQ<width>::others, threads = (flash_shares<width> ? 4 : 2) * rows;
  static constexpr long bytes = 2L * (width + flash_values<width>) * (rows + 2 * others) + 16L * others + (flash_shares<width> ? 4L * rows * others : 0);
};

// Of hopper_forward.cu and hopper.cu: warpgroups with 64 rows each, or two with the same. Tiles begin at multiples of 1024 bytes, and so may
// the memory.
constexpr long hopper_slack = 1024;
// Forwards a warpgroup more brings tiles, to `slots` places; `ahead` groups of copies are on their way before one is waited for. Registers
// are divided between those that bring and those that multiply, by 8 a thread.
template <int width>
struct HopperForward {
  static constexpr int rows = width <= 128 ? 192 : 128, others = width == 64 || width == 192 ? 128 : 64;
  static constexpr int bringers = 128, threads = 2 * rows + bringers;
  static constexpr int slots = width <= 128 ? 4 : 2, ahead = width <= 128 ? 2 : 1;
  static constexpr int registers_to_bring = rows == 192 ? 32 : 24, registers_to_multiply = rows == 192 ? 160 : 240;
  static_assert(bringers * registers_to_bring + 2 * rows * registers_to_multiply <= 65536, "as many registers as there are");
  // Two barriers of 8 bytes a slot.
  static constexpr long bytes = 2L * (width * rows + slots * (width + flash_values<width>) * others) + 16L * slots + hopper_slack;
};
template <int width>
struct HopperGradQ {
  static constexpr int rows = 128, others = width == 256 ? 32 : 64, threads = 256;
  static constexpr long bytes = 2L * (width + flash_values<width>) * (rows + 3 * others) + hopper_slack;
};
template <int width>
struct HopperGradKv {
  static constexpr int rows = 64, others = HopperGradQ<width>::others, threads = 256;
  static constexpr long bytes = 2L * (width + flash_values<width>) * (rows + 3 * others) + 24L * others + 4L * rows * others + hopper_slack;
};

// Of hopper_gradient.cu: blocks of one warpgroup, each with tiles of the other side at two places; so many blocks share a multiprocessor's
// registers.
template <int width>
struct HopperNarrow {
  static constexpr int rows = 64, others = 64, threads = 128, slots = 2;
  static constexpr long bytes = 4L * width * (rows + slots * others) + hopper_slack;
};
template <>
struct HopperGradQ<64> : HopperNarrow<64> {
  static constexpr int blocks = 4;
};
template <>
struct HopperGradQ<128> : HopperNarrow<128> {
  static constexpr int blocks = 2;
};
// Two numbers of each query besides.
template <>
struct HopperGradKv<64> : HopperNarrow<64> {
  static constexpr int blocks = 3;
  static constexpr long bytes = HopperNarrow<64>::bytes + 8L * slots * others;
};
template <>
struct HopperGradKv<128> : HopperNarrow<128> {
  static constexpr int blocks = 2;
  static constexpr long bytes = HopperNarrow<128>::bytes + 8L * slots * others;
};

constexpr long larger_of(long a, long b, long c) { return a > b ? (a > c ? a : c) : b > c ? b : c; }
template <int width>
constexpr long flash_bytes = larger_of(FlashForward<width>::bytes, FlashGradQ<width>::bytes, FlashGradKv<width>::bytes);
template <int width>
constexpr long hopper_bytes = larger_of(HopperForward<width>::bytes, HopperGradQ<width>::bytes, HopperGradKv<width>::bytes);
