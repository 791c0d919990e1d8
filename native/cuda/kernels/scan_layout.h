// Chunks and tiles of delta_rule.cu and state_space.cu: read by the kernels and by the host, which must ask for as much shared memory.
#pragma once

// Tokens of a chunk where numbers of so many bytes are multiplied: of float32 half as many, whose tiles take no more memory.
constexpr int scan_chunk(int bytes) { return bytes == 2 ? 64 : 32; }
// Columns of a tile; heads are filled up to whole ones with zeros.
constexpr int scan_tile = 64;
constexpr long scan_whole(long columns) { return (columns + scan_tile - 1) / scan_tile * scan_tile; }
// Columns of a state that one block has, whose chunks come one after the other.
constexpr int scan_columns = 32;

// Bytes of what is known of a chunk's decays (Decays in chunk_tiles.h), on a border of 16.
constexpr long decays_bytes(int chunk) { return 16 * (chunk + 1); }

// Matrices [chunk, chunk] of float32 that threads go through by columns.
constexpr int scan_square_ld(int chunk) { return chunk + 16; }

constexpr long delta_chunk_bytes(int bytes, long keys) {
  const long chunk = scan_chunk(bytes), tiles = 2 * chunk * keys * bytes, squares = 8 * chunk * scan_square_ld(scan_chunk(bytes));
  return (tiles > squares ? tiles : squares) + decays_bytes(scan_chunk(bytes));
}
// With so many chunks' tiles at a time.
constexpr long delta_scan_bytes(int bytes, long keys, int stages) {
  const long chunk = scan_chunk(bytes);
  return stages * (chunk * keys + chunk * chunk) * bytes + keys * scan_columns * (4 + (bytes == 2 ? 2 : 0)) + 2 * chunk * scan_columns * bytes +
         decays_bytes(scan_chunk(bytes));
}
constexpr long delta_out_bytes(int bytes) {
  const long chunk = scan_chunk(bytes);
  return (2 * chunk * scan_tile + scan_tile * scan_tile + chunk * chunk) * bytes + decays_bytes(scan_chunk(bytes));
}
constexpr long delta_back_bytes(int bytes, long keys, int stages) {
  const long chunk = scan_chunk(bytes);
  return stages * 2 * (chunk * keys + chunk * chunk) * bytes + keys * scan_columns * (4 + (bytes == 2 ? 2 : 0)) + 3 * chunk * scan_columns * bytes +
         decays_bytes(scan_chunk(bytes));
}
constexpr long delta_grad_bytes(int bytes) {
  const long chunk = scan_chunk(bytes);
  return (5 * chunk * scan_tile + 2 * scan_tile * scan_tile + 2 * chunk * chunk) * bytes + decays_bytes(scan_chunk(bytes)) + 4 * chunk * (3 + chunk / 16);
}

constexpr long space_scan_bytes(int bytes, long keys, int stages) {
  const long chunk = scan_chunk(bytes);
  return stages * chunk * keys * bytes + keys * scan_columns * (4 + (bytes == 2 ? 2 : 0)) + chunk * scan_columns * bytes + decays_bytes(scan_chunk(bytes));
}
constexpr long space_out_bytes(int bytes) {
  const long chunk = scan_chunk(bytes);
  return (3 * chunk * scan_tile + scan_tile * scan_tile + chunk * chunk) * bytes + decays_bytes(scan_chunk(bytes));
}
constexpr long space_grad_bytes(int bytes) {
  const long chunk = scan_chunk(bytes);
  return (4 * chunk * scan_tile + 2 * scan_tile * scan_tile + chunk * chunk) * bytes + decays_bytes(scan_chunk(bytes)) + 4 * chunk * (chunk + 1 + 3);
}
constexpr long space_shared_grad_bytes(int bytes) {
  const long chunk = scan_chunk(bytes);
  return (4 * chunk * scan_tile + 2 * scan_tile * scan_tile + chunk * chunk) * bytes + decays_bytes(scan_chunk(bytes));
}
