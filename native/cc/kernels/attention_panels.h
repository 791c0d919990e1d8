// Panels of queries, one query a lane, and how wide they are. Part of attention_tiles.h.
#pragma once

#include "../simd.h"
#include "parallel.h"
#include "transpose.h"

namespace {

#if defined(__ARM_NEON)
constexpr int tile_vectors = 4;
#else
constexpr int tile_vectors = 2;
#endif
constexpr int group_lanes = tile_vectors * VW;

// What becomes of a sum: it is set, added, or added to what was there times the lanes of a factor.
enum TileMode { TILE_SET, TILE_ADD, TILE_SCALE_AND_ADD };

template <int count>
struct Vectors {
  static constexpr int NV = count;
};
// Calls f with as many vectors (1 … tile_vectors) as these lanes fill.
template <class F>
RX_INLINE void with_vectors(long lanes, F f) {
  switch (lanes / VW) {
    case 1: f(Vectors<1>()); break;
#if defined(__ARM_NEON)
    case 2: f(Vectors<2>()); break;
    case 3: f(Vectors<3>()); break;
#endif
    default: f(Vectors<tile_vectors>());
  }
}

// Where lane 0 of query r (a multiple of VW) lies in a panel of queries with `columns` numbers each.
RX_INLINE long panel_place(long r, long columns) { return r / group_lanes * group_lanes * columns + r % group_lanes; }

}  // namespace
