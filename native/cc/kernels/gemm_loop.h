// The blocking around a micro-kernel (after BLIS), shared by the float32 and the bfloat16 product. The file that includes this
// has defined
//   MR, NR            lines of a panel of A and of B: the micro-kernel computes MR x NR
//   KC, MC, NC        sizes of the blocks of k, m and n
//   Packed            one element of a packed panel; packed_k(kc) of them a line
//   pack_across<W>, pack_along<W>   float32 (PACKS_BFLOAT16: also bfloat16) into panels of W lines of Packed; pack_across is told how long a
//                                   line of a panel is
//   micro             table of micro-kernels, micro[m - 1] for m rows; WRITES_HALVES: micro[half][m - 1], C as bfloat16 where half
// or, where panels of A and of B lie otherwise (PACKS_TILES, see gemm_amx.h), pack_across<W, left>, pack_along<W, left>, run_micro_kernel and
// what multiply_block needs: STEP, KI, JC, Output and put_rows, Beside and sum_panels, tiles_begin and tiles_end.
//
// Where A is small all of it is packed together first, and threads take blocks of columns, packing B for themselves: nothing that one of
// them wrote is read by another but A, since processors whose threads share no cache take long over that. Else
// threads form `groups` column groups. A group packs its part of B together into a shared double buffer (one barrier a block),
// and its threads take blocks of rows from a counter; each packs its own rows of A. What a tile of C is computed from, and in
// which order, depends on the shape and the thread count only, never on who computes it.
#pragma once

#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"

// Blocks of k are multiples of it: the numbers that one packed element holds, or 2.
#ifndef K_UNIT
#define K_UNIT 2
#endif
// Sums that a thread keeps apart.
#ifdef PACKS_TILES
#define SUMS ((MC + MR) * JC * NR)
#else
#define SUMS 0L
#endif
// Packed elements of A that are held at once, and packed elements of B that a thread keeps in the second-level cache beside what it streams.
#ifndef WHOLE_A
#define WHOLE_A 0L
#endif
#define OWN_B 65536L
// Panels of B that stay in the second-level cache from one panel of A to the next: a row of C is written so many panels wide at a time.
#ifndef BESIDE
#define BESIDE 1
#endif
// What packing an element, reading one of B that another thread packed, and a barrier cost, in multiply-adds at the micro-kernel's full
// speed, and the products that are done before other threads have woken up.
#ifndef PACK_COST
#define PACK_COST 8.0
#define SHARED_COST 0.0
#define BARRIER_COST 20000.0
#define ALONE_BELOW 200000.0
#endif

typedef struct Group {
  PoolBarrier barrier;
  PoolCounter next[2];
} Group;

RX_INLINE Numbers numbers_at(Numbers x, long i, long j) {
  const long place = i * x.row + (j - x.first) * x.column;
  if (x.at) x.at = x.half ? (void*)((uint16_t*)x.at + place) : (void*)((float*)x.at + place);
  x.first = 0;
  return x;
}
RX_INLINE float number_at(const Numbers& x, long place) {
  if (!x.half) return ((const float*)x.at)[place];
  const uint32_t bits = (uint32_t)((const uint16_t*)x.at)[place] << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
RX_INLINE Values row_of(const Numbers& x, long i) {
  if (!x.at) return {};
  return {x.half ? (void*)((uint16_t*)x.at + i * x.row) : (void*)((float*)x.at + i * x.row), x.half};
}

// Where the sums of a block of k go, and what they are added to.
typedef struct Way {
  Numbers in, out;
} Way;

typedef struct Plan {
  Gemm g;               // possibly the transposed problem
  Gemm joined;          // what is added to the same C, transposed likewise: a, b and k; k is 0 where nothing is
  Numbers c, start;
  int a_along, b_along; // whether stored rows run along k
  long kc, mc, nc;
  long row_blocks, column_blocks;
  int threads, groups;
  int whole;            // A is packed whole, columns are handed out
  Group* state;         // of each group; whole: of each thread
  Packed* packed_a;     // whole: all of A; else one block a thread
  Packed* packed_b;     // whole: one block a thread; else two a group
  float* unpacked;      // one piece a thread
  long a_size, b_size, unpacked_size;
  float* sums;          // SUMS a thread, whole tiles
  float* partial;       // sums of all but the last block of k where C lies as bfloat16: nc columns a group, or (whole) a thread
  long partial_size;
} Plan;

// Slack behind each buffer: packing may write a vector beyond a panel, the micro-kernel prefetches beyond it.
#define PACK_SLACK 1024

#ifdef PACKS_TILES
#define RX_PANELS W, left
#define RX_AFTER , lines - i - W
#else
#define RX_PANELS W
#define RX_AFTER
#endif
template <int W, bool left, class T>
RX_INLINE void pack_values(const T* data, long ld, int along, long line, long lines, long k0, long kc, Packed* d, long kp) {
  if (along)
    for (long i = 0; i < lines; i += W)
      pack_along<RX_PANELS>(data + (line + i) * ld + k0, ld, (int)least(W, lines - i), kc, d + i * kp RX_AFTER);
  else
    pack_across<RX_PANELS>(data + k0 * ld + line, ld, lines, kc, d, kp);
}
#undef RX_PANELS
#undef RX_AFTER

// Packs lines [line, line + lines) of op(x) seen as (line, k), from k0, kc long. For A lines are rows (k runs along a row), for
// B they are columns: `along` says whether a stored row runs along k. A line of a panel has `kp` elements.
template <int W, bool left>
RX_INLINE void pack_operand(const GemmOperand* x, int along, long line, long lines, long k0, long kc, float* unpacked, Packed* d, long kp) {
  if (x->kind == GEMM_FLOAT32) {
    pack_values<W, left>((const float*)x->data, x->ld, along, line, lines, k0, kc, d, kp);
    return;
  }
#ifdef PACKS_BFLOAT16
  if (x->kind == GEMM_BFLOAT16) {
    pack_values<W, left>((const uint16_t*)x->data, x->ld, along, line, lines, k0, kc, d, kp);
    return;
  }
#endif
  for (long i = 0; i < lines; i += W) {
    const long w = least(W, lines - i);
    if (along)
      for (long j = 0; j < w; j++) unpack_row(x, line + i + j, k0, kc, unpacked + j * kc);
    else
      for (long k = 0; k < kc; k++) unpack_row(x, k0 + k, line + i, w, unpacked + k * w);
    pack_values<W, left>((const float*)unpacked, along ? kc : w, along, 0, w, 0, kc, d + i * kp, kp);
  }
}

// A block along k: of the product, and behind its last one all of the product that is joined to it.
typedef struct Block {
  long k0, kc, more;
  long kp;  // packed elements of a line
} Block;

RX_INLINE Block block_of(const Plan* p, long k0) {
  const long kc = least(p->kc, p->g.k - k0), more = k0 + kc == p->g.k ? p->joined.k : 0;
  return {k0, kc, more, packed_k(kc) + packed_k(more)};
}

// Packs lines of A (left) or of B.
template <int W, bool left>
RX_INLINE void pack(const Plan* p, const Block& block, long line, long lines, float* unpacked, Packed* d) {
  const Gemm* const g = &p->g;
  const Gemm* const more = &p->joined;
  pack_operand<W, left>(left ? &g->a : &g->b, left ? p->a_along : p->b_along, line, lines, block.k0, block.kc, unpacked, d, block.kp);
  if (block.more)
    pack_operand<W, left>(left ? &more->a : &more->b, left ? !more->a.transposed : more->b.transposed, line, lines, 0, block.more, unpacked,
                          d + W * packed_k(block.kc), block.kp);
}

// Time of a split of the threads, in multiply-adds at the micro-kernel's full speed.
RX_STATIC double split_cost(long m, long n, long k, int by_rows, int groups) {
  const double columns = (double)round_up(divide_up(n, groups), NR);
#ifdef PACKS_TILES
  const double rows = (double)(divide_up(divide_up(m, MR), by_rows) * MR);
#else
  const double rows = (double)divide_up(m, by_rows);
#endif
  double work = rows * columns * (double)k;
  // fewer than five rows do not hide the latency of a multiply-add
  if (rows < 5) work *= 5 / rows;
  const double pack = PACK_COST * (double)k * (rows * (double)divide_up((long)columns, NC) + columns / by_rows);
  const double barriers = by_rows > 1 ? BARRIER_COST * (double)(divide_up(k, KC) * divide_up((long)columns, NC)) : 0;
  const double shared = SHARED_COST * (double)k * columns * (by_rows - 1) / by_rows;
  return work + pack + shared + barriers;
}

RX_INLINE long partial_numbers(const Plan* p) { return p->g.half && p->g.k > p->kc ? round_up(p->g.m * p->nc, 16) : 0; }

// The same product of transposed operands.
RX_INLINE void turn_operands(Gemm* g) {
  const GemmOperand a = g->a;
  g->a = g->b;
  g->b = a;
  g->a.transposed = !g->a.transposed;
  g->b.transposed = !g->b.transposed;
}

RX_STATIC void plan_gemm(Plan* p, const Gemm* given, const Gemm* joined, int threads) {
  p->g = *given;
  p->joined = joined ? *joined : Gemm{};
  Gemm* const g = &p->g;
  p->c = {g->c, g->ldc, 1, 0, g->half};
  p->start = {(void*)g->start, g->ld_start, 1, 0, g->half && g->ld_start != 0};
  // A column of C narrower than a panel would waste most of the micro-kernel: compute Cᵀ = op(B)ᵀ op(A)ᵀ then.
  const double straight = (double)g->m * (double)round_up(g->n, NR);
  const double turned = (double)g->n * (double)round_up(g->m, NR) * 1.25;
  if (g->n < 4 * NR && turned < straight) {
    turn_operands(g);
    turn_operands(&p->joined);
    g->m = given->n;
    g->n = given->m;
    p->c.row = 1, p->c.column = g->ldc;
    p->start.row = 1, p->start.column = g->ld_start;
  }
  p->a_along = !g->a.transposed;
  p->b_along = g->b.transposed;
  const long m = g->m, n = g->n, k = g->k;
  p->threads = threads;
  p->kc = round_up(divide_up(k, divide_up(k, KC)), K_UNIT);
  const long more = packed_k(p->joined.k), kp = packed_k(p->kc) + more;
  const long a_whole = round_up(m, MR) * (packed_k(round_up(k, K_UNIT) + K_UNIT * divide_up(k, p->kc)) + more);
  // few rows, or several blocks that threads would have to wait for each other at, and columns enough for all of them
  const int many = divide_up(n, NC) * divide_up(k, KC) > 2;
  p->whole = m <= 4 * MR || (many && a_whole <= WHOLE_A && n >= 8 * NR * threads);
  const Gemm* const j = &p->joined;
  const int plain = g->a.kind == GEMM_FLOAT32 && g->b.kind == GEMM_FLOAT32 && j->a.kind == GEMM_FLOAT32 && j->b.kind == GEMM_FLOAT32;
  p->unpacked_size = plain ? 0 : round_up((NR > MR ? NR : MR) * ((p->kc > j->k ? p->kc : j->k) + VW), 16) + PACK_SLACK;
  if (p->whole) {
    p->groups = 1;
    p->mc = m;
    p->row_blocks = 1;
    const long panels = divide_up(n, NR), most = OWN_B / (kp * NR) > 1 ? OWN_B / (kp * NR) : 1;
    p->column_blocks = least(panels, threads * divide_up(panels, threads * most));
    p->nc = divide_up(panels, p->column_blocks) * NR;
    p->a_size = a_whole + PACK_SLACK;
    p->b_size = p->nc * kp + PACK_SLACK;
    p->partial_size = partial_numbers(p);
    return;
  }
  int groups = 1;
  double cheapest = split_cost(m, n, k, threads, 1);
  for (int candidate = 2; candidate <= threads; candidate++) {
    if (threads % candidate != 0) continue;
    const double cost = split_cost(m, n, k, threads / candidate, candidate);
    if (cost < cheapest) {
      cheapest = cost;
      groups = candidate;
    }
  }
  p->groups = groups;
  const int by_rows = threads / groups;
  const long columns = round_up(divide_up(n, groups), NR);
  p->nc = round_up(divide_up(columns, divide_up(columns, NC)), NR);
  // A multiple of the group's threads, of panels as equal as can be, so that all finish together.
  const long panels = divide_up(m, MR);
  p->row_blocks = least(panels, by_rows * divide_up(m, (long)by_rows * MC));
  p->mc = divide_up(panels, p->row_blocks) * MR;
  p->a_size = p->mc * kp + PACK_SLACK;
  p->b_size = p->nc * kp + PACK_SLACK;
  p->partial_size = partial_numbers(p);
}

// One thread needs no second buffer: it is never ahead of itself.
RX_INLINE int buffers_of_b(const Plan* p) {
  return p->whole ? p->threads : p->threads == p->groups ? p->groups : 2 * p->groups;
}

// Places the buffers one after the other from `memory` and returns how many bytes they take.
RX_STATIC size_t place_buffers(Plan* p, char* memory) {
  size_t at = 0;
  p->packed_a = (Packed*)(memory + at);
  at += (size_t)round_up((p->whole ? 1 : p->threads) * p->a_size * (long)sizeof(Packed), 64);
  p->packed_b = (Packed*)(memory + at);
  at += (size_t)round_up(buffers_of_b(p) * p->b_size * (long)sizeof(Packed), 64);
  p->unpacked = (float*)(memory + at);
  at += (size_t)round_up(p->threads * p->unpacked_size * (long)sizeof(float), 64);
  p->sums = (float*)(memory + at);
  at += (size_t)(p->whole ? 0 : p->threads * SUMS) * sizeof(float);
  p->partial = (float*)(memory + at);
  at += (size_t)((p->whole ? p->threads : p->groups) * p->partial_size) * sizeof(float);
  return at;
}

#ifndef PACKS_TILES
RX_INLINE void run_micro_kernel(const Gemm* g, long m, long k, const Packed* a, const Packed* b, const float*, float* c, long ldc,
                                const float* in, long ld_in) {
#ifdef WRITES_HALVES
  micro[0][m - 1](k, a, b, c, ldc, in, ld_in, 0, g->alpha);
#else
  micro[m - 1](k, a, b, c, ldc, in, ld_in, g->alpha);
#endif
}
#endif

// Of columns j0 .. j0 + nc - 1 and the block of k from k0 on; `partial` is this group's, or this thread's.
RX_INLINE Way way_of(const Plan* p, long j0, long k0, float* partial) {
  const Numbers between = {partial, p->nc, 1, j0, 0};
  const Numbers& kept = p->partial_size ? between : p->c;
  return {k0 == 0 ? p->start : kept, k0 + p->kc >= p->g.k ? p->c : kept};
}

// Rows [row, row + m) (m <= MR) and columns [column, column + w) of C from one panel of each operand.
RX_INLINE void run_micro(const Plan* p, long kp, const Packed* a, const Packed* b, const float* before, long row, int m, long column,
                         int w, const Way& way, float* tile) {
  const Gemm* const g = &p->g;
  const Numbers out = numbers_at(way.out, row, column), in = numbers_at(way.in, row, column);
#ifdef WRITES_HALVES
  if (w == NR && out.column == 1 && (!in.at || in.column == 1)) {
    micro[out.half][m - 1](kp, a, b, out.at, out.row, in.at, in.row, in.half, g->alpha);
    return;
  }
#endif
  if (w == NR && out.column == 1 && !out.half && (!in.at || (in.column == 1 && !in.half))) {
    run_micro_kernel(g, m, kp, a, b, before, (float*)out.at, out.row, (const float*)in.at, in.row);
    return;
  }
  run_micro_kernel(g, m, kp, a, b, before, tile, NR, 0, 0);
  if (out.column == 1 && (!in.at || in.column == 1)) {
    for (int i = 0; i < m; i++) {
      const Values to = row_of(out, i), from = row_of(in, i);
      each_vector(w, [&](long j, auto lanes) {
        const vf value = lanes.load(tile + i * NR + j);
        put(lanes, to, j, in.at ? take(lanes, from, j) + value : value);
      });
    }
    return;
  }
  for (int j = 0; j < w; j++)
    for (int i = 0; i < m; i++) {
      const float value = tile[i * NR + j];
      const float sum = in.at ? number_at(in, i * in.row + j * in.column) + value : value;
      const long place = i * out.row + j * out.column;
      if (out.half)
        ((uint16_t*)out.at)[place] = half_of(sum);
      else
        ((float*)out.at)[place] = sum;
    }
}

#ifndef PACKS_TILES
// Whether whole tiles of C are written, and what they are added to read, where they lie.
RX_INLINE int is_straight(const Way& way) {
#ifndef WRITES_HALVES
  if (way.out.half || (way.in.at && way.in.half)) return 0;
#endif
  return way.out.column == 1 && (!way.in.at || way.in.column == 1);
}

// The tiles of m rows from `row` on and columns [column, end), `first` the panel of B of the first. A tile takes a few thousand cycles:
// what does not change from one to the next is found once.
RX_INLINE void run_row(const Plan* p, long kp, const Packed* a, const Packed* first, long row, int m, long column, long end, const Way& way,
                       int straight, float* tile) {
  const Packed* b = first;
  long j = column;
  if (straight) {
    const Numbers out = numbers_at(way.out, row, column), in = numbers_at(way.in, row, column);
    char *to = (char*)out.at, *from = (char*)in.at;
    const long step_out = NR * (out.half ? 2 : 4), step_in = from ? NR * (in.half ? 2 : 4) : 0;
    const float alpha = p->g.alpha;
#ifdef WRITES_HALVES
    const auto run = micro[out.half][m - 1];
#else
    const auto run = micro[m - 1];
#endif
    for (; j + NR <= end; j += NR, b += NR * kp, to += step_out, from += step_in)
#ifdef WRITES_HALVES
      run(kp, a, b, to, out.row, from, in.row, in.half, alpha);
#else
      run(kp, a, b, (float*)to, out.row, (const float*)from, in.row, alpha);
#endif
  }
  for (; j < end; j += NR, b += NR * kp) run_micro(p, kp, a, b, 0, row, m, j, (int)least(NR, end - j), way, tile);
}

// The same down the rows of a column of tiles, which all meet one panel of B.
RX_STATIC void run_column(const Plan* p, long kp, const Packed* a, const Packed* b, long row, long rows, long column, int w, const Way& way,
                          int straight, float* tile) {
  long i = 0;
#ifndef WRITES_HALVES
  if (straight && w == NR) {
    const Numbers out = numbers_at(way.out, row, column), in = numbers_at(way.in, row, column);
    float* to = (float*)out.at;
    const float* from = (const float*)in.at;
    const long down = MR * out.row, down_in = from ? MR * in.row : 0;
    const float alpha = p->g.alpha;
    for (; i + MR <= rows; i += MR, to += down, from += down_in) micro[MR - 1](kp, a + i * kp, b, to, out.row, from, in.row, alpha);
  }
#endif
  for (; i < rows; i += MR) run_row(p, kp, a + i * kp, b, row + i, (int)least(MR, rows - i), column, column + w, way, straight, tile);
}
#endif

// Rows a panel of A really holds: panels of equal height, since two of 8 rows run faster than one of 14 and one of 2; but tiles are whole.
#ifdef PACKS_TILES
RX_INLINE long panel_rows(long m) { return least(m, MR); }
#else
RX_INLINE long panel_rows(long m) { return divide_up(m, divide_up(m, MR)); }
#endif

// Blocks of columns are a thread's own, one beside the other, as far as it comes with them: what the processor reads ahead of a row of B is
// of use then. Who has finished helps the others.
RX_STATIC void work_whole(const Plan* p, int id) {
  float tile[MR * NR] __attribute__((aligned(64)));
  const Gemm* const g = &p->g;
  float* const unpacked = p->unpacked + id * p->unpacked_size;
  const long height = panel_rows(g->m), panels = divide_up(g->m, height);
  const long k_blocks = divide_up(g->k, p->kc);
  const long size = packed_k(p->kc) * panels * MR;
  const long pieces = k_blocks * panels, end = pieces * (id + 1) / p->threads;
  for (long at = pieces * id / p->threads, run; at < end; at += run) {
    const Block block = block_of(p, at / panels * p->kc);
    const long i = at % panels;
    // panels of fewer rows than they have room for are packed one by one
    run = height == MR ? least(panels - i, end - at) : 1;
    pack<MR, true>(p, block, i * height, least(run * height, g->m - i * height), unpacked,
                   p->packed_a + at / panels * size + i * MR * block.kp);
  }
  pool_barrier_wait(&p->state->barrier);
  Packed* const bp = p->packed_b + id * p->b_size;
  // a panel of B that few rows meet is done with when it has been packed
  const long all = divide_up(g->n, NR), beside = g->m <= 4 * MR ? NR : p->nc;
  for (int t = 0; t < p->threads; t++) {
    const int owner = (id + t) % p->threads;
    const long first = p->column_blocks * owner / p->threads, last = p->column_blocks * (owner + 1) / p->threads;
    for (long c; (c = first + pool_counter_next(&p->state[owner].next[0], 1)) < last;) {
      const long j0 = all * c / p->column_blocks * NR, nc = least(g->n, all * (c + 1) / p->column_blocks * NR) - j0;
      for (long q = 0; q < k_blocks; q++) {
        const Block block = block_of(p, q * p->kc);
        const long kp = block.kp;
        const Way way = way_of(p, j0, block.k0, p->partial + id * p->partial_size);
#ifndef PACKS_TILES
        const int straight = is_straight(way);
#endif
        for (long j1 = 0; j1 < nc; j1 += beside) {
          const long after = least(nc, j1 + beside);
          pack<NR, false>(p, block, j0 + j1, after - j1, unpacked, bp + j1 * kp);
#ifdef PACKS_TILES
          for (long i = 0; i < panels; i++)
            for (long j = j1; j < after; j += NR)
              run_micro(p, kp, p->packed_a + q * size + i * MR * kp, bp + j * kp, 0, i * height, (int)least(height, g->m - i * height),
                        j0 + j, (int)least(NR, nc - j), way, tile);
#else
          for (long i = 0; i < panels; i++)
            run_row(p, kp, p->packed_a + q * size + i * MR * kp, bp + j1 * kp, i * height, (int)least(height, g->m - i * height), j0 + j1,
                    j0 + after, way, straight, tile);
#endif
        }
      }
    }
  }
}

// Rows of the blocks before this one.
RX_INLINE long rows_before(const Plan* p, long block) {
  return least(p->g.m, divide_up(p->g.m, MR) * block / p->row_blocks * MR);
}

#ifdef PACKS_TILES
// A block of C, JC panels of B at a time, along k in pieces of which a panel of B stays in the first-level cache; the sums of all but the
// last piece stay in the second-level cache, since C itself is far.
RX_INLINE void multiply_block(const Plan* p, const Packed* ap, const Packed* bp, long i0, long mc, long j0, long nc, const Block& block,
                              const Way& way, float* sums, float* tile) {
  const Gemm* const g = &p->g;
  const long panels = divide_up(nc, NR), rows = divide_up(mc, MR), kp = block.kp;
  // a little that is joined makes no piece of its own
  const long pieces = divide_up(kp - least(packed_k(block.more), 2 * STEP), packed_k(KI));
  const long piece = round_up(divide_up(kp, pieces), STEP);
  Output output = {};
  for (long j1 = 0; j1 < panels; j1 += JC)
    for (long k = 0; k < kp; k += piece) {
      const long deep = least(piece, kp - k);
      for (long j = j1; j < least(panels, j1 + JC); j++)
        for (long i = 0; i < rows; i++) {
          const Packed* const a = ap + i * MR * kp + k * MR;
          const Packed* const b = bp + j * NR * kp + k * NR;
          float* const own = sums + ((j - j1) * rows + i) * MR * NR;
          const float* const before = k == 0 ? 0 : own;
          const long m = least(MR, mc - i * MR), w = least(NR, nc - j * NR), row = i0 + i * MR, column = j0 + j * NR;
          const int last = k + deep == kp;
          if (last && (w < NR || way.out.column != 1 || (way.in.at && way.in.column != 1))) {
            run_micro(p, deep, a, b, before, row, (int)m, column, (int)w, way, tile);
            continue;
          }
          const Numbers out = numbers_at(way.out, row, column);
          // the next panel comes from far: each row of tiles asks for a part of it
          const Packed* const ahead = i * STEP < deep ? b + NR * kp + i * MR * STEP : 0;
          const Beside beside = {&output, last ? (const char*)out.at : 0, out.row * (out.half ? 2 : 4), before ? own + MR * NR : 0, ahead};
          sum_panels(g, m, deep, a, b, before, own, &beside);
          if (last) output = {own, out, numbers_at(way.in, row, column), g->alpha, (int)m};
        }
      // the next ones take their place
      put_rows(&output);
    }
}
#endif

RX_STATIC void work_wide(const Plan* p, int id) {
  float tile[MR * NR] __attribute__((aligned(64)));
  const Gemm* const g = &p->g;
  const int group = id % p->groups, rank = id / p->groups, ranks = p->threads / p->groups;
  Group* const state = p->state + group;
  long from, to;
  pool_part(g->n, NR, group, p->groups, &from, &to);
  Packed* const ap = p->packed_a + id * p->a_size;
  float* const unpacked = p->unpacked + id * p->unpacked_size;
  int phase = 0;
  for (long j0 = from; j0 < to; j0 += p->nc) {
    const long nc = least(p->nc, to - j0), panels = divide_up(nc, NR);
    for (long k0 = 0; k0 < g->k; k0 += p->kc, phase ^= 1) {
      const Block block = block_of(p, k0);
      const long kp = block.kp;
      Packed* const bp = p->packed_b + (ranks == 1 ? group : group * 2 + phase) * p->b_size;
      const long first = panels * rank / ranks * NR, last = least(nc, panels * (rank + 1) / ranks * NR);
      pack<NR, false>(p, block, j0 + first, last - first, unpacked, bp + first * kp);
      const Way way = way_of(p, j0, k0, p->partial + group * p->partial_size);
#ifndef PACKS_TILES
      const int straight = is_straight(way);
#endif
      pool_barrier_wait(&state->barrier);
      // All have left the loop that used the other counter, and none reaches it before the next barrier.
      if (rank == 0) pool_counter_set(&state->next[phase ^ 1], 0);
      for (;;) {
        const long rows = pool_counter_next(&state->next[phase], 1);
        if (rows >= p->row_blocks) break;
        const long i0 = rows_before(p, rows), mc = rows_before(p, rows + 1) - i0;
        pack<MR, true>(p, block, i0, mc, unpacked, ap);
#ifdef PACKS_TILES
        multiply_block(p, ap, bp, i0, mc, j0, nc, block, way, p->sums + id * SUMS, tile);
#else
        for (long j1 = 0; j1 < nc; j1 += BESIDE * NR)
          if (BESIDE == 1)
            run_column(p, kp, ap, bp + j1 * kp, i0, mc, j0 + j1, (int)least(NR, nc - j1), way, straight, tile);
          else
            for (long i = 0; i < mc; i += MR)
              run_row(p, kp, ap + i * kp, bp + j1 * kp, i0 + i, (int)least(MR, mc - i), j0 + j1, j0 + least(nc, j1 + BESIDE * NR), way, straight,
                      tile);
#endif
      }
    }
  }
}

RX_STATIC void work_gemm(void* plan, int id, int threads) {
  (void)threads;
  const Plan* const p = (const Plan*)plan;
#ifdef PACKS_TILES
  tiles_begin();
#endif
  if (p->whole)
    work_whole(p, id);
  else
    work_wide(p, id);
#ifdef PACKS_TILES
  tiles_end();
#endif
}

// What is left when there is nothing to sum.
RX_STATIC void fill_start(const Gemm* g) {
  const Numbers c = {g->c, g->ldc, 1, 0, g->half}, start = {(void*)g->start, g->ld_start, 1, 0, g->half && g->ld_start != 0};
  for (long i = 0; i < g->m; i++) {
    const Values to = row_of(c, i), from = row_of(start, i);
    each_vector(g->n, [&](long j, auto lanes) { put(lanes, to, j, start.at ? take(lanes, from, j) : vf{}); });
  }
}

RX_INLINE int states_of(const Plan* p) { return p->whole ? p->threads : p->groups; }
RX_INLINE void init_state(const Plan* p) {
  for (int group = 0; group < states_of(p); group++) {
    pool_barrier_init(&p->state[group].barrier, p->threads / p->groups);
    pool_counter_set(&p->state[group].next[0], 0);
    pool_counter_set(&p->state[group].next[1], 0);
  }
}

RX_STATIC void run_planned(const Context* context, const Gemm* g, const Gemm* joined = 0) {
  if (g->m <= 0 || g->n <= 0) return;
  if (g->k <= 0) {
    fill_start(g);
    return;
  }
  Plan p;
  const int alone = (double)g->m * (double)g->n * (double)g->k < ALONE_BELOW;
  plan_gemm(&p, g, joined, alone ? 1 : pool_threads(context->pool));
  p.state = (Group*)scratch_get(context->scratch, SCRATCH_GEMM_STATE, sizeof(Group) * (size_t)states_of(&p));
  init_state(&p);
  place_buffers(&p, (char*)scratch_get(context->scratch, SCRATCH_GEMM, place_buffers(&p, 0)));
  if (alone)
    work_gemm(&p, 0, 1);
  else
    pool_run(context->pool, work_gemm, &p);
}

// Very few rows are left to products that read B as it lies, and so is what is scaled otherwise.
RX_STATIC int gemm_joined(const Context* context, const Gemm* g, const Gemm* more) {
  if (g->m <= 4 || g->k <= 0 || more->k <= 0 || g->alpha != more->alpha) return 0;
#if defined(PACKS_TILES) && PARTS > 1
  // numbers of one matrix are taken apart alike
  if (g->a.kind == GEMM_BFLOAT16 || g->b.kind == GEMM_BFLOAT16 || more->a.kind == GEMM_BFLOAT16 || more->b.kind == GEMM_BFLOAT16) return 0;
#endif
  run_planned(context, g, more);
  return 1;
}
