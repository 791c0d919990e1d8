// Tiles and shared memory of adapter.cu: read by the kernels and by the host, which must ask for as much.
#pragma once

// Columns of u and B as they lie in shared memory: zeros fill them up.
constexpr int adapter_rank(long rank) { return rank <= 16 ? 16 : rank <= 32 ? 32 : 64; }
constexpr long widest_adapter = 64;

// A block has a slab of columns of dy and walks over a band of its rows, a tile at a time.
constexpr long adapter_columns = 512;
template <int rank>
struct AdapterTile {
  static constexpr int rows = rank == 16 ? 64 : 32, columns = adapter_columns;
  static constexpr long bytes(int stages) { return 2L * (stages * rows * columns + columns * rank + 2 * rows * rank); }
};
constexpr int adapter_rows(int rank) { return rank == 16 ? AdapterTile<16>::rows : AdapterTile<32>::rows; }
constexpr long adapter_bytes(int rank, int stages) {
  return rank == 16 ? AdapterTile<16>::bytes(stages) : rank == 32 ? AdapterTile<32>::bytes(stages) : AdapterTile<64>::bytes(stages);
}
// Tiles that a block has at a time, the one it computes with and those on their way: as many as there is shared memory for.
constexpr int least_stages = 2, most_stages = 4;

// Numbers that a block of rx_adapter_sums adds up.
constexpr long adapter_sum_numbers = 1024;
