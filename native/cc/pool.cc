#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "relax.h"

namespace {

// A worker that finds nothing to do spins for about 20 us (the gaps between kernels of a step are shorter), then sleeps.
constexpr int spinsBeforeSleep = 1000;
// A thread that waits for its siblings spins, then gives its core away: the sibling may be what should run on it.
constexpr int spinsBeforeYield = 4000;

}  // namespace

struct Pool {
  const int threads;
  std::vector<std::thread> workers;
  void (*fn)(void*, int, int) = nullptr;
  void* context = nullptr;
  alignas(64) std::atomic<long> generation{0};
  alignas(64) std::atomic<int> running{0};
  std::atomic<int> sleeping{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  alignas(64) PoolBarrier barrier;

  explicit Pool(int n) : threads(n) {
    pool_barrier_init(&barrier, n);
    for (int id = 1; id < n; id++) workers.emplace_back([this, id] { work(id); });
  }

  ~Pool() {
    stopping = true;
    announce();
    for (auto& worker : workers) worker.join();
  }

  void announce() {
    // Sequentially consistent on both sides: either this sees the sleeper, or the sleeper sees the new generation.
    generation.fetch_add(1);
    if (sleeping.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_all();
  }

  void work(int id) {
    long seen = 0;
    for (;;) {
      for (int spins = 0; generation.load(std::memory_order_acquire) == seen;) {
        if (++spins < spinsBeforeSleep) {
          relax();
          continue;
        }
        std::unique_lock<std::mutex> lock(mutex);
        sleeping.fetch_add(1);
        wake.wait(lock, [&] { return generation.load() != seen; });
        sleeping.fetch_sub(1);
      }
      seen++;
      if (stopping) return;
      fn(context, id, threads);
      running.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void run(void (*f)(void*, int, int), void* c) {
    fn = f;
    context = c;
    running.store(threads - 1, std::memory_order_relaxed);
    announce();
    f(c, 0, threads);
    for (int spins = 0; running.load(std::memory_order_acquire) > 0;) {
      if (++spins < spinsBeforeYield)
        relax();
      else
        std::this_thread::yield();
    }
  }
};

Pool* pool_create(int threads) { return new Pool(threads < 1 ? 1 : threads); }
void pool_destroy(Pool* pool) { delete pool; }
int pool_threads(const Pool* pool) { return pool->threads; }

void pool_run(Pool* pool, void (*fn)(void*, int, int), void* context) {
  if (pool->threads == 1)
    fn(context, 0, 1);
  else
    pool->run(fn, context);
}

void pool_barrier(Pool* pool) { pool_barrier_wait(&pool->barrier); }

void pool_barrier_init(PoolBarrier* barrier, int parties) {
  barrier->arrived = 0;
  barrier->generation = 0;
  barrier->parties = parties;
}

void pool_barrier_wait(PoolBarrier* barrier) {
  if (barrier->parties == 1) return;
  const int generation = __atomic_load_n(&barrier->generation, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == barrier->parties) {
    __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&barrier->generation, generation + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int spins = 0; __atomic_load_n(&barrier->generation, __ATOMIC_ACQUIRE) == generation;) {
    if (++spins < spinsBeforeYield)
      relax();
    else
      std::this_thread::yield();
  }
}

long pool_counter_next(PoolCounter* counter, long step) {
  return __atomic_fetch_add(&counter->value, step, __ATOMIC_RELAXED);
}
void pool_counter_set(PoolCounter* counter, long value) { __atomic_store_n(&counter->value, value, __ATOMIC_RELAXED); }
