// The emulated card's tensor-core instructions against layouts that are not our own reading of the PTX ISA: those of CuTe's traits, which have
// run on cards (github.com/NVIDIA/cutlass, commit 7107b05: include/cute/atom/mma_traits_sm80.hpp, copy_traits_sm75.hpp,
// mma_traits_sm90_gmma.hpp; printed by a program of its headers). They are facts of the instructions, and stand here as numbers.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

// The kernels' own functions: how tiles lie, their descriptors, products.
#include "../kernels/hopper.cu"
#include "../kernels/tile.h"

namespace {

// extent : stride, the first fastest.
using Modes = std::vector<std::pair<int, int>>;
int offset(const Modes& modes, int i) {
  int at = 0;
  for (const auto& [extent, stride] : modes) at += i % extent * stride, i /= extent;
  return at;
}
// Of value v of thread t: a place in a matrix that lies column by column.
struct Layout {
  Modes thread, value;
  int operator()(int t, int v) const { return offset(thread, t) + offset(value, v); }
};

// SM80_16x8x16_F32BF16BF16F32_TN: [16, 16], [8, 16] and [16, 8]
const Layout mma_a = {{{4, 32}, {8, 1}}, {{2, 16}, {2, 8}, {2, 128}}};
const Layout mma_b = {{{4, 16}, {8, 1}}, {{2, 8}, {2, 64}}};
const Layout mma_c = {{{4, 32}, {8, 1}}, {{2, 16}, {2, 8}}};
// SM75_U32x4_LDSM_N and SM75_U16x8_LDSM_T, in bits: thread t brings the address of bits 128 t ..
const Layout four = {{{32, 32}}, {{32, 1}, {4, 1024}}};
const Layout four_transposed = {{{4, 256}, {8, 16}}, {{16, 1}, {2, 128}, {4, 1024}}};
// SM90_64xNx16_F32BF16BF16_RS: [64, 16], and [64, N] of it and of _SS
const Layout wgmma_a = {{{4, 128}, {8, 1}, {4, 16}}, {{2, 64}, {2, 8}, {2, 512}}};
Layout wgmma_c(int columns) { return {{{4, 128}, {8, 1}, {4, 16}}, {{2, 64}, {2, 8}, {columns / 8, 512}}}; }

// tile_to_shape of Layout_K_SW128_Atom and, the other way round, of Layout_MN_SW128_Atom: the same bytes. Swizzle<3, 4, 3>.
int byte_of(int rows, int row, int column) {
  const int at = 2 * (row % 8 * 64 + row / 8 * 512 + column % 64 + column / 64 * rows * 64);
  return at ^ ((at >> 7 & 7) << 4);
}
// make_gmma_desc of such a tile at byte 0x400. Major::K: 64 rows from 64 m on, columns 16 k .. + 15 of 128, in the order (m, k).
const std::vector<uint64_t> along_columns_of_128 = {
    0x4000004000010040, 0x4000004000010042, 0x4000004000010044, 0x4000004000010046, 0x4000004000010440, 0x4000004000010442,
    0x4000004000010444, 0x4000004000010446, 0x4000004000010240, 0x4000004000010242, 0x4000004000010244, 0x4000004000010246,
    0x4000004000010640, 0x4000004000010642, 0x4000004000010644, 0x4000004000010646};
// Major::MN: all 128 columns, rows 16 k .. + 15 of 128 and of 64
const std::vector<uint64_t> along_rows_of_128 = {0x4000004004000040, 0x40000040040000c0, 0x4000004004000140, 0x40000040040001c0,
                                                 0x4000004004000240, 0x40000040040002c0, 0x4000004004000340, 0x40000040040003c0};
const std::vector<uint64_t> along_rows_of_64 = {0x4000004002000040, 0x40000040020000c0, 0x4000004002000140, 0x40000040020001c0};

int failures = 0;
void expect(bool holds, const char* what) {
  if (holds) return;
  failures++;
  std::fprintf(stderr, "  %s\n", what);
}

std::mt19937 engine(1);
// Numbers whose products and sums are exact, column by column.
std::vector<float> numbers(int n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = static_cast<float>(static_cast<int>(engine() % 17) - 8);
  return out;
}
// a [m, k] times b [n, k], plus c [m, n]: all column by column.
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, std::vector<float> c, int m, int n, int k) {
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++)
      for (int p = 0; p < k; p++) c[static_cast<size_t>(i + m * j)] += a[static_cast<size_t>(i + m * p)] * b[static_cast<size_t>(j + n * p)];
  return c;
}
uint32_t pair_of(const std::vector<float>& x, const Layout& layout, int thread, int v) {
  return two_bfloat16(x[static_cast<size_t>(layout(thread, v))], x[static_cast<size_t>(layout(thread, v + 1))]);
}

void run(unsigned threads, size_t bytes, const std::function<void(int)>& body) {
  emulate::launch("layouts", {1, 1, 1}, {threads, 1, 1}, bytes, [&] { body(static_cast<int>(threadIdx.x)); });
}

void products_of_a_warp() {
  const std::vector<float> a = numbers(256), b = numbers(128), c = numbers(128), expected = product(a, b, c, 16, 8, 16);
  run(32, 0, [&](int t) {
    uint32_t of_a[4], of_b[2];
    float sum[4];
    for (int i = 0; i < 4; i++) of_a[i] = pair_of(a, mma_a, t, 2 * i), sum[i] = c[static_cast<size_t>(mma_c(t, i))];
    for (int i = 0; i < 2; i++) of_b[i] = pair_of(b, mma_b, t, 2 * i);
    mma_16816(sum, of_a, of_b);
    for (int i = 0; i < 4; i++) expect(sum[i] == expected[static_cast<size_t>(mma_c(t, i))], "mma.m16n8k16");
  });
}

void matrices() {
  run(32, 4096, [&](int t) {
    RX_DYNAMIC_SHARED(uint16_t, memory);
    for (int i = 0; i < 8; i++) memory[8 * t + i] = static_cast<uint16_t>(8 * t + i);
    __syncthreads();
    uint32_t plain[4], turned[4];
    load_matrices(plain, memory + 8 * t);
    load_matrices_transposed(turned, memory + 8 * t);
    for (int i = 0; i < 4; i++)
      for (int half = 0; half < 2; half++) {
        expect(static_cast<int>(plain[i] >> (16 * half) & 0xffff) == four(t, 32 * i + 16 * half) / 16, "ldmatrix.x4");
        expect(static_cast<int>(turned[i] >> (16 * half) & 0xffff) == four_transposed(t, 32 * i + 16 * half) / 16, "ldmatrix.x4.trans");
      }
  });
}

// A tile as the kernels copy it, and what is multiplied with it: `columns` rows along their columns, or all columns along its rows.
template <int rows, int width>
void tiles() {
  const std::vector<float> x = numbers(rows * width);
  alignas(16) static uint16_t lies[rows * width];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < width; c++) lies[r * width + c] = to_bfloat16(x[static_cast<size_t>(r + rows * c)]);
  const std::vector<float> left = numbers(64 * 16);
  run(128, 2 * rows * width + hopper_slack, [&](int t) {
    RX_DYNAMIC_SHARED(unsigned char, memory);
    uint16_t* const tile = first_tile(memory);
    panels_copy<width, rows>(lies, width, 0, rows, tile);
    copies_end();
    copies_come();
    __syncthreads();
    if (t == 0)
      for (int r = 0; r < rows; r++)
        for (int c = 0; c < width; c++) expect(tile[byte_of(rows, r, c) / 2] == lies[r * width + c], "where a number of a tile lies");
    // Both operands in shared memory: rows 0 .. 63 of the tile times all of its rows.
    for (int k = 0; k < width / 16; k++) {
      const auto part = [&](int from, int count) {
        std::vector<float> out;
        for (int c = 16 * k; c < 16 * k + 16; c++)
          for (int r = from; r < from + count; r++) out.push_back(x[static_cast<size_t>(r + rows * c)]);
        return out;
      };
      const std::vector<float> expected = product(part(rows - 64, 64), part(0, rows), std::vector<float>(64 * rows), 64, rows, 16);
      float sum[rows / 8][4];
      products_begin();
      warpgroup_product<rows>(sum, along_columns<rows>(tile, rows - 64, k), along_columns<rows>(tile, 0, k), false);
      products_end();
      products_wait<0>();
      for (int i = 0; i < rows / 2; i++) expect(sum[i / 4][i % 4] == expected[static_cast<size_t>(wgmma_c(rows)(t, i))], "wgmma of two tiles");
    }
    // The left one in registers: times 16 rows of the tile.
    for (int k = 0; k < rows / 16; k++) {
      std::vector<float> right;
      for (int r = 16 * k; r < 16 * k + 16; r++)
        for (int c = 0; c < width; c++) right.push_back(x[static_cast<size_t>(r + rows * c)]);
      const std::vector<float> expected = product(left, right, std::vector<float>(64 * width, 1.f), 64, width, 16);
      uint32_t a[4];
      float sum[width / 8][4];
      for (int i = 0; i < 4; i++) a[i] = pair_of(left, wgmma_a, t, 2 * i);
      for (int i = 0; i < width / 2; i++) sum[i / 4][i % 4] = 1.f;
      products_begin();
      add_warpgroup_product<width>(sum, a, along_rows<rows>(tile, k));
      products_end();
      products_wait<0>();
      for (int i = 0; i < width / 2; i++) expect(sum[i / 4][i % 4] == expected[static_cast<size_t>(wgmma_c(width)(t, i))], "wgmma of registers and a tile");
    }
  });
}

void descriptors() {
  run(1, 1 << 15, [&](int) {
    RX_DYNAMIC_SHARED(unsigned char, memory);
    uint16_t* const tile = first_tile(memory);
    const uint64_t moved = (shared_address(tile) - 0x400) >> 4;
    for (int m = 0; m < 2; m++)
      for (int k = 0; k < 8; k++)
        expect(along_columns<128>(tile, 64 * m, k) == along_columns_of_128[static_cast<size_t>(8 * m + k)] + moved, "a descriptor along columns");
    for (int k = 0; k < 8; k++) expect(along_rows<128>(tile, k) == along_rows_of_128[static_cast<size_t>(k)] + moved, "a descriptor along rows");
    for (int k = 0; k < 4; k++) expect(along_rows<64>(tile, k) == along_rows_of_64[static_cast<size_t>(k)] + moved, "a descriptor along 64 rows");
  });
}

// Phases end when as many have arrived as were said, one after the other; what was written before is there then.
void phases() {
  run(64, 1024, [&](int t) {
    RX_DYNAMIC_SHARED(uint64_t, barriers);
    uint64_t* const there = barriers;
    uint64_t* const done = barriers + 1;
    int* const number = reinterpret_cast<int*>(barriers + 2);
    if (t == 0) {
      phases_init(there, 1);
      phases_init(done, 32);
    }
    __syncthreads();
    for (int n = 0; n < 5; n++) {
      if (t < 32) {
        phases_wait(there, n % 2);
        expect(*number == n, "what was written before a phase ended");
        phases_arrive(done);
      } else if (t == 32) {
        if (n > 0) phases_wait(done, (n - 1) % 2);
        *number = n;
        phases_arrive(there);
      }
    }
  });
}

}  // namespace

int main() {
  phases();
  products_of_a_warp();
  matrices();
  descriptors();
  tiles<64, 64>();
  tiles<128, 64>();
  tiles<64, 128>();
  tiles<128, 128>();
  std::printf("layouts of mma, ldmatrix and wgmma %s those of CuTe\n", failures == 0 ? "are" : "are not");
  return failures == 0 ? 0 : 1;
}
