#include "executor.h"

#include <chrono>
#include <exception>

#include "relax.h"

namespace {

// Gaps between the ops of a step are microseconds; a sleeping thread takes tens of them to wake up.
constexpr int spinsBeforeSleep = 2000;

}  // namespace

Executor::Executor() : slots(new Slot[capacity]), thread([this] { work(); }) {}

Executor::~Executor() {
  stopping = true;
  {
    std::lock_guard<std::mutex> lock(mutex);
  }
  wake.notify_one();
  thread.join();
  // What never ran still owns things.
  for (uint64_t i = completed; i < enqueued; i++) slots[i % capacity].run(slots[i % capacity].storage, nullptr);
  delete[] slots;
}

Executor::Slot& Executor::nextSlot() {
  const uint64_t n = enqueued.load(std::memory_order_relaxed);
  if (n - completed.load(std::memory_order_acquire) >= capacity) {
    std::unique_lock<std::mutex> lock(mutex);
    waiting = true;
    // half empty, so that the two threads do not wake each other for every task
    progress.wait(lock, [&] { return n - completed.load() <= capacity / 2; });
    waiting = false;
  }
  return slots[n % capacity];
}

void Executor::publish() {
  // Sequentially consistent on both sides: either this sees the sleeper, or the sleeper sees the new task.
  enqueued.fetch_add(1);
  if (!sleeping.load()) return;
  {
    std::lock_guard<std::mutex> lock(mutex);
  }
  wake.notify_one();
}

void Executor::wait() {
  const uint64_t all = enqueued.load(std::memory_order_relaxed);
  for (int spins = 0; spins < spinsBeforeSleep; spins++) {
    if (completed.load(std::memory_order_acquire) >= all) return;
    relax();
  }
  std::unique_lock<std::mutex> lock(mutex);
  waiting = true;
  progress.wait(lock, [&] { return completed.load() >= all; });
  waiting = false;
}

void Executor::work() {
  for (uint64_t n = 0;; n++) {
    for (int spins = 0; enqueued.load(std::memory_order_acquire) == n;) {
      if (stopping) return;
      if (++spins < spinsBeforeSleep) {
        relax();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex);
      sleeping = true;
      wake.wait(lock, [&] { return enqueued.load() != n || stopping.load(); });
      sleeping = false;
    }
    if (stopping) return;
    Slot& slot = slots[n % capacity];
    const auto started = std::chrono::steady_clock::now();
    try {
      slot.run(slot.storage, &current);
    } catch (const std::bad_alloc&) {
      fail("out of memory");
    } catch (const std::exception& thrown) {
      fail(thrown.what());
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    busy.store(busy.load(std::memory_order_relaxed) + took.count(), std::memory_order_relaxed);
    completed.fetch_add(1);
    if (!waiting.load()) continue;
    {
      std::lock_guard<std::mutex> lock(mutex);
    }
    progress.notify_one();
  }
}

void Executor::fail(const char* what) {
  std::lock_guard<std::mutex> lock(errorMutex);
  if (error.empty()) error = what;
}

std::string Executor::takeError() {
  std::lock_guard<std::mutex> lock(errorMutex);
  std::string taken;
  taken.swap(error);
  return taken;
}
