// What both directions of attention are made of: tiles of transposed scores, one query a lane.
//
// With queries along the lanes of a vector the softmax over keys needs no sums across lanes, numbers of K and V multiply whole vectors (so
// any head_dim and any number of keys will do), and the queries are padded with zeros up to whole vectors in scratch memory. Panels of
// queries are stored group by group: [groups][head_dim][lanes of a group], so that what a tile reads lies together.
//
// A file that defines RX_HALF before it includes this multiplies operands rounded to bfloat16, two neighbours of what is summed
// over at a time, with float32 sums.
#pragma once

#include "../kernel_table.h"
#include "attention_panels.h"
#include "halves.h"
#if defined(RX_HALF) && defined(RX_AMX)
#include "attention_amx.h"
#elif defined(RX_HALF)
#include "attention_pairs.h"
#else
#include "attention_floats.h"
#endif

namespace {

constexpr float log2_e = 1.44269504f;
constexpr float ln_2 = 0.693147181f;

// Numbers of a call from number i on: those of float32 attention lie as nothing else.
RX_INLINE Values numbers(const Attention* a, const float* at, long i) {
#ifdef RX_HALF
  return from_number({(void*)at, a->half}, i);
#else
  (void)a;
  return from_number({(void*)at, 0}, i);
#endif
}

// Rows of `to` from a panel of sums: row r is query r times factor[r], set or added.
template <bool add>
RX_STATIC void panel_out(const float* panel, long rows, long columns, const float* factor, Values to, long ld_to) {
  const long lanes = parts_of(rows, lanes_together) * lanes_together;
  for (long r = 0; r < lanes; r += VW) {
    const float* const from = panel + panel_place(r, summed_columns(columns));
    const bool all = r / lanes_together * lanes_together + lanes_together <= rows;
    for (long c = 0; c < columns; c += VW) {
      const long wide = smaller(VW, columns - c);
      vf block[VW];
      if (all && wide == VW) {
#pragma GCC unroll 16
        for (long i = 0; i < VW; i++) block[i] = load(from + (c + i) * group_lanes);
        transpose_block(block);
#pragma GCC unroll 16
        for (long i = 0; i < VW; i++) {
          const long query = query_of_lane(r + i);
          const vf value = block[i] * vset(factor[query]);
          const long at = query * ld_to + c;
          put(AllLanes(), to, at, add ? take(AllLanes(), to, at) + value : value);
        }
        continue;
      }
      for (long i = 0; i < VW; i++) block[i] = i < wide ? load(from + (c + i) * group_lanes) : vf{};
      transpose_block(block);
      for (long i = 0; i < VW; i++) {
        const long query = query_of_lane(r + i);
        if (query >= rows) continue;
        const vf value = block[i] * vset(factor[query]);
        const long at = query * ld_to + c;
        if (wide == VW)
          put(AllLanes(), to, at, add ? take(AllLanes(), to, at) + value : value);
        else
          put(SomeLanes{wide}, to, at, add ? take(SomeLanes{wide}, to, at) + value : value);
      }
    }
  }
}

// Scores of keys from .. to - 1 (rows of ld floats) and queries first + lanes that no lane may see become -inf in that lane.
template <int NV>
RX_INLINE void mask_scores(float* scores, long ld, long first, long from, long to, long window) {
  for (long j = from; j < to; j++) {
    const int32_t ahead = (int32_t)(j - first);  // lanes below it lie before key j
    const int32_t behind = window ? (int32_t)smaller(j - first + window, 1 << 20) : 1 << 20;  // lanes from it on are past its window
    if (ahead <= 0 && behind >= NV * VW) continue;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      vf* const at = (vf*)(scores + (j - from) * ld + v * VW);
      const vi lane = iota() + v * VW;
      *at = ((lane >= vseti(ahead)) & (lane < vseti(behind))) ? *at : vset(-__builtin_inff());
    }
  }
}

// What queries are multiplied with for their scores: they are in powers of two, or in softcaps where they are capped.
RX_INLINE float score_factor(const Attention* a) { return a->softcap > 0 ? a->scale / a->softcap : a->scale * log2_e; }

// Scores of `keys` keys (rows of ld floats) in softcaps -> capped, in powers of two.
template <int NV>
RX_INLINE void cap_scores(float* scores, long ld, long keys, float softcap) {
  const vf factor = vset(softcap * log2_e);
  for (long j = 0; j < keys; j++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) store(scores + j * ld + v * VW, vtanh(load(scores + j * ld + v * VW)) * factor);
}

// The same, and their slopes: capped scores rise by 1 - tanh², which dP - along is multiplied with, to be subtracted from again.
template <int NV>
RX_INLINE void cap_slopes(float* scores, float* slopes, long ld, long keys, float softcap, const float* along) {
  const vf factor = vset(softcap * log2_e);
  for (long j = 0; j < keys; j++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      const vf tanh = vtanh(load(scores + j * ld + v * VW)), less = load(along + v * VW);
      store(scores + j * ld + v * VW, tanh * factor);
      store(slopes + j * ld + v * VW, fma(load(slopes + j * ld + v * VW) - less, fma(-tanh, tanh, vset(1.f)), less));
    }
}

// What a key behind a query loses for each step between them, in powers of two; 0 without ALiBi.
RX_INLINE float lean_of(const Attention* a, long head) { return a->alibi == 0 ? 0 : a->alibi * alibi_slope(head, a->heads) * log2_e; }

// The same of keys from .. (rows of ld floats) and queries first + lanes.
template <int NV>
RX_INLINE void lean_scores(float* scores, long ld, long first, long from, long keys, float lean) {
  for (long j = 0; j < keys; j++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      const vf ahead = vset((float)(from + j - first)) - __builtin_convertvector(iota() + v * VW, vf);
      store(scores + j * ld + v * VW, fma(vset(lean), ahead, load(scores + j * ld + v * VW)));
    }
}

// Asks for rows that will be read soon.
RX_INLINE void prefetch_rows(Values rows, long ld, long count, long columns) {
  const long width = rows.half ? 2 : 4;
  for (long r = 0; r < count; r++)
    for (long c = 0; c < columns; c += 64 / width) __builtin_prefetch((const char*)rows.at + (r * ld + c) * width);
}

// Memory of one thread, given out in pieces, each aligned to a vector. Without a base it only counts.
struct Memory {
  float* base;
  long used = 0;
  float* take(long floats) {
    float* const piece = base ? base + used : nullptr;
    used += parts_of(floats, 16) * 16;
    return piece;
  }
};

// Blocks of queries of all documents.
RX_INLINE long count_blocks(const Attention* a) {
  long blocks = 0;
  for (long d = 0; d < a->documents; d++) blocks += parts_of(a->cu_seqlens[d + 1] - a->cu_seqlens[d], query_block);
  return blocks;
}

}  // namespace
