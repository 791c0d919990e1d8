// Tiles and shared memory of flash.cu and hopper.cu: read by the kernels and by the host, which must ask for as much. All constant: registers hold what
// a warp works on.
#pragma once

// Columns of a head as it is packed: zeros fill it up.
constexpr int flash_width(int head_dim) { return head_dim <= 64 ? 64 : 128; }
constexpr int flash_widest = 128;

// Rows of a block, 16 a warp, and rows of the other side at a time.
template <int width>
struct FlashForward {
  static constexpr int rows = width == 64 ? 128 : 64, others = 64;
  static constexpr long bytes = 2L * width * (rows + 4 * others);
};
template <int width>
struct FlashGradQ {
  static constexpr int rows = 64, others = width == 64 ? 64 : 32;
  static constexpr long bytes = 2L * width * (2 * rows + 4 * others);
};
template <int width>
struct FlashGradKv {
  static constexpr int rows = 64, others = width == 64 ? 64 : 32;
  static constexpr long bytes = 2L * width * (2 * rows + 4 * others) + 16L * others;
};

// Of hopper.cu: two warpgroups with 64 rows each. Tiles begin at multiples of 1024 bytes, and so may the memory.
constexpr long hopper_slack = 1024;
template <int width>
struct HopperForward {
  static constexpr int rows = 128, others = 128;
  static constexpr long bytes = 2L * width * (rows + 4 * others) + hopper_slack;
};
template <int width>
struct HopperGradQ {
  static constexpr int rows = 128, others = 64;
  static constexpr long bytes = 2L * width * (2 * rows + 6 * others) + hopper_slack;
};
template <int width>
struct HopperGradKv {
  static constexpr int rows = 128, others = 64;
  static constexpr long bytes = 2L * width * (2 * rows + 6 * others) + 24L * others + hopper_slack;
};
