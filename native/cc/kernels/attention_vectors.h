// What attention's products of vectors have in common, of float32 or of bfloat16. The file that includes this has defined tile_rows and
// grad_key_block.
#pragma once

#include "attention_panels.h"

namespace {

constexpr int query_block = 64;  // a multiple of group_lanes
// Scores and slopes held at a time on the way back, and keys whose sums over queries are made at a time.
constexpr long slope_keys = grad_key_block;
constexpr long slope_lanes = query_block;
constexpr long spread_keys = tile_rows;
// Lanes that are computed together, whether they hold a query or not.
constexpr long lanes_together = VW;
RX_INLINE long query_of_lane(long lane) { return lane; }
RX_INLINE long whole_keys(long n) { return n; }
RX_INLINE void products_begin() {}
RX_INLINE void products_end() {}

}  // namespace
