// Which rows a block of the attention kernels works on, and which rows see each other.
#pragma once

#include "device.h"

namespace {

// Whether query i sees key j, both of one document.
__device__ __forceinline__ bool seen(const RxAttention& a, long i, long j) { return j <= i && (a.window == 0 || j > i - a.window); }

// A product of query and key as a score, but for ALiBi's part.
__device__ __forceinline__ float score_of(const RxAttention& a, float product) {
  return a.softcap > 0.f ? a.softcap * tanhf(product * a.scale / a.softcap) : product * a.scale;
}
// How much it rises where the product times scale does: 1 - tanh² where it is capped.
__device__ __forceinline__ float rise_of(const RxAttention& a, float score) {
  return a.softcap > 0.f ? 1.f - score / a.softcap * (score / a.softcap) : 1.f;
}

// That part for each step of key after query.
__device__ __forceinline__ float lean_of(const RxAttention& a, long head) { return a.alibi == 0.f ? 0.f : a.alibi * alibi_slope(head, a.heads); }

struct Tile {
  long begin, end, first;  // of the document, and of the tile
};
// Last tiles first for queries, where they see most: so the longest rows start first in both directions.
__device__ __forceinline__ Tile tile_of(const RxAttention& a, bool last_first) {
  const int32_t* const t = a.tiles + 3 * (last_first ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  return {t[0], t[1], t[2]};
}

// The first key that queries from the tile's first on may see, on a border of tiles of `others` rows.
__device__ __forceinline__ long first_key(const RxAttention& a, const Tile& t, int others) {
  const long first = a.window > 0 && t.first - a.window + 1 > t.begin ? t.first - a.window + 1 : t.begin;
  return t.begin + (first - t.begin) / others * others;
}
// The end of the queries that see one of the tile's `rows` keys: the last key is seen by window - 1 rows after it.
__device__ __forceinline__ long end_of_queries(const RxAttention& a, const Tile& t, int rows) {
  return a.window > 0 && t.first + rows - 1 + a.window < t.end ? t.first + rows - 1 + a.window : t.end;
}
__device__ __forceinline__ long end_of_tile(const Tile& t, int rows) { return t.first + rows < t.end ? t.first + rows : t.end; }

}  // namespace
