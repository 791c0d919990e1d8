// Tiles and shared memory of grouped.cu: read by the kernels and by the host, which must ask for as much.
#pragma once

struct GroupedTile {
  static constexpr int rows = 64, columns = 128, depth = 64, stages = 3;
  static constexpr long bytes = 2L * stages * depth * (rows + columns);
};
// Rows a group, on average, up to which all groups are one launch: there a product reads its weights for longer than it computes.
constexpr long most_grouped_rows = 128;
