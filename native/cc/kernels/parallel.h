// Work shared among the threads of the pool.
#pragma once

#include "../context.h"

namespace {

template <class F>
struct ParallelWork {
  F* each;
  long count;
  PoolCounter next;
};

template <class F>
void parallel_entry(void* opaque, int, int) {
  ParallelWork<F>* const work = static_cast<ParallelWork<F>*>(opaque);
  for (long i; (i = pool_counter_next(&work->next, 1)) < work->count;) (*work->each)(i);
}

// Calls each(0) .. each(count - 1), every one once, on whichever thread is free: the calls must write to disjoint places and
// the split into calls must not depend on the number of threads. Then the result has the same bits at any number of threads.
template <class F>
void parallel(const Context* context, long count, F each) {
  if (count <= 1 || pool_threads(context->pool) == 1) {
    for (long i = 0; i < count; i++) each(i);
    return;
  }
  ParallelWork<F> work = {&each, count, {0, {}}};
  pool_run(context->pool, parallel_entry<F>, &work);
}

// The same with the number of the thread that makes the call (for scratch memory): each(i, id).
template <class F>
void parallel_entry_with_id(void* opaque, int id, int) {
  ParallelWork<F>* const work = static_cast<ParallelWork<F>*>(opaque);
  for (long i; (i = pool_counter_next(&work->next, 1)) < work->count;) (*work->each)(i, id);
}
template <class F>
void parallel_with_id(const Context* context, long count, F each) {
  if (count <= 1 || pool_threads(context->pool) == 1) {
    for (long i = 0; i < count; i++) each(i, 0);
    return;
  }
  ParallelWork<F> work = {&each, count, {0, {}}};
  pool_run(context->pool, parallel_entry_with_id<F>, &work);
}

inline __attribute__((always_inline)) long smaller(long a, long b) { return a < b ? a : b; }
inline __attribute__((always_inline)) long greater(long a, long b) { return a > b ? a : b; }
inline __attribute__((always_inline)) long parts_of(long total, long size) { return (total + size - 1) / size; }

// Tensors cut into pieces of `size` numbers, for one pass over all of them. starts[t]: the first piece of tensor t, in the scratch
// memory of `slot`.
struct Pieces {
  const long* sizes;
  long tensors, size;
  long* starts;
  Pieces(const Context* context, int slot, const long* sizes, long tensors, long size)
      : sizes(sizes), tensors(tensors), size(size), starts((long*)scratch_get(context->scratch, slot, (tensors + 1) * sizeof(long))) {
    starts[0] = 0;
    for (long t = 0; t < tensors; t++) starts[t + 1] = starts[t] + parts_of(sizes[t], size);
  }
  long count() const { return starts[tensors]; }
};

// Calls each(part, t, from, n) for every piece: it is numbers from .. from + n - 1 of tensor t.
template <class F>
void parallel_pieces(const Context* context, Pieces pieces, F each) {
  parallel(context, pieces.count(), [=](long part) {
    long t = 0, high = pieces.tensors;  // starts[t] <= part < starts[high]
    while (high - t > 1) {
      const long middle = (t + high) / 2;
      if (pieces.starts[middle] <= part)
        t = middle;
      else
        high = middle;
    }
    const long from = (part - pieces.starts[t]) * pieces.size;
    each(part, t, from, smaller(pieces.size, pieces.sizes[t] - from));
  });
}

// Rows of `columns` floats that make a piece of work long enough to be worth handing out.
inline __attribute__((always_inline)) long rows_a_piece(long columns) { return greater(1, 16384 / greater(columns, 1)); }

}  // namespace
