// The routes of a mixture on a CUDA card. Nothing is read back.
#include <algorithm>

#include "../../cc/scratch.h"
#include "cuda_device.h"

namespace cuda {
namespace {

namespace k = kernels;

// As of the other kernels that need room for a moment (table.cc).
enum { slot_counts = SCRATCH_KERNEL + 2 };

constexpr long tokens_a_block = 8, pairs_a_tile = 512, most_pieces = 256;

constexpr long parts_of(long n, long part) { return (n + part - 1) / part; }

}  // namespace

void CudaDevice::routes(const Context* context, const Routes& a) {
  const long pairs = a.tokens * a.each;
  if (a.experts == 0) return;
  const long room = tokens_a_block * (2 * a.experts + a.groups + a.each) * static_cast<long>(sizeof(float));
  launch(k::routes, {parts_of(a.tokens, tokens_a_block)}, 32 * tokens_a_block, room, a);
  // Whole tiles; no pair: one piece all the same, which says so.
  const long piece = parts_of(std::max(pairs, 1L), most_pieces * pairs_a_tile) * pairs_a_tile, pieces = parts_of(std::max(pairs, 1L), piece);
  int32_t* const counts = static_cast<int32_t*>(scratch_get(context->scratch, slot_counts, sizeof(int32_t) * static_cast<size_t>(pieces * a.experts)));
  const unsigned threads = static_cast<unsigned>(std::min(512L, parts_of(a.experts, 32) * 32));
  launch(k::route_counts, {pieces}, threads, 0, a.chosen, counts, pairs, a.experts, piece);
  launch(k::route_places, {pieces}, threads, a.experts * static_cast<long>(sizeof(int32_t)), counts, a, piece);
}

void CudaDevice::routes_grad(const Context*, const RoutesGrad& a) {
  const long room = tokens_a_block * a.experts * static_cast<long>(sizeof(double));
  launch(k::routes_grad, {parts_of(a.tokens, tokens_a_block)}, 32 * tokens_a_block, room, a);
}

void CudaDevice::gather_rows_at(const Context*, Values x, long size, const int32_t* rows, Values out, long count, long columns) {
  over(count * columns, k::take_rows, x, rows, out, count, size, columns);
}

}  // namespace cuda
