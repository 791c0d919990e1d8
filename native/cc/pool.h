// The threads of the engine, behind a plain C interface so that kernels compiled for any instruction set can use it without
// instantiating inline code of std.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Pool Pool;

// threads >= 1 counts the caller of pool_run, which takes part as id 0.
Pool* pool_create(int threads);
void pool_destroy(Pool* pool);
int pool_threads(const Pool* pool);

// Calls fn(context, id, threads) once on every thread and returns when all have finished. Never nested; one caller at a time.
void pool_run(Pool* pool, void (*fn)(void* context, int id, int threads), void* context);

// Inside pool_run: returns when every thread has come here. Everything written before is visible after.
void pool_barrier(Pool* pool);

// A barrier for a part of the threads. Lies in memory the caller owns; spins, so keep the waits short.
typedef struct PoolBarrier {
  int arrived;
  int generation;
  int parties;
  char apart[52];  // one cache line each: two of them side by side would slow each other down
} PoolBarrier;
void pool_barrier_init(PoolBarrier* barrier, int parties);
void pool_barrier_wait(PoolBarrier* barrier);

// A counter that hands out work: returns the number before adding step. The order of handing out is not deterministic, so
// what is computed must not depend on who gets which number.
typedef struct PoolCounter {
  long value;
  char apart[56];
} PoolCounter;
long pool_counter_next(PoolCounter* counter, long step);
void pool_counter_set(PoolCounter* counter, long value);

#ifdef __cplusplus
}
#endif

// The half-open part [*from, *to) of `total` that thread id of n works on, borders being multiples of `grain`. Depends on
// nothing but the arguments: sums over such parts have the same bits in every run.
static inline void pool_part(long total, long grain, int id, int n, long* from, long* to) {
  const long units = (total + grain - 1) / grain;
  const long first = units * id / n * grain;
  const long last = units * (id + 1) / n * grain;
  *from = first < total ? first : total;
  *to = last < total ? last : total;
}
