// The thread that runs kernels, in the order in which they were enqueued. It is thread 0 of the pool.
//
// One thread (JavaScript's) enqueues; it may be far ahead of what has run, at most `capacity` tasks. Since everything runs in
// order, memory that is given back may be taken again at once: who writes to it next runs later.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "context.h"

class Executor {
 public:
  Executor();
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs task(const Context*) later, on the executor's thread. Blocks while the queue is full.
  template <class F>
  void enqueue(F&& task) {
    using Stored = std::decay_t<F>;
    static_assert(sizeof(Stored) <= sizeof(Slot::storage), "a task this large belongs behind a pointer");
    Slot& slot = nextSlot();
    new (slot.storage) Stored(std::forward<F>(task));
    slot.run = [](void* storage, const Context* context) {
      struct Destroyed {
        Stored* stored;
        ~Destroyed() { stored->~Stored(); }
      } const task{static_cast<Stored*>(storage)};
      if (context != nullptr) (*task.stored)(context);
    };
    publish();
  }

  // Number of the task that will be enqueued next; numbers start at 1.
  uint64_t next() const { return enqueued.load(std::memory_order_relaxed) + 1; }
  // Whether that task, and so all before it, has run.
  bool finished(uint64_t task) const { return completed.load(std::memory_order_acquire) >= task; }
  // Returns when everything enqueued so far has run.
  void wait();

  // Time spent in tasks so far; the rest of a step's time the executor had nothing to do.
  double busySeconds() const { return busy.load(std::memory_order_relaxed); }

  // What went wrong first since the last call; empty if nothing. For the executor's thread, or any while it is idle.
  std::string takeError();

  // The caller must have waited. Both are the executor's to read from then on.
  void useContext(const Context& context) { current = context; }
  const Context& context() const { return current; }

 private:
  static constexpr uint64_t capacity = 4096;
  struct Slot {
    void (*run)(void*, const Context*);
    alignas(16) unsigned char storage[368];
  };

  Slot& nextSlot();
  void publish();
  void work();
  void fail(const char* what);

  Slot* const slots;
  Context current = {};
  alignas(64) std::atomic<uint64_t> enqueued{0};
  alignas(64) std::atomic<uint64_t> completed{0};
  std::atomic<double> busy{0};  // written by the executor's thread alone
  std::atomic<bool> stopping{false};
  std::atomic<bool> sleeping{false};
  std::atomic<bool> waiting{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable progress;
  std::mutex errorMutex;
  std::string error;
  std::thread thread;
};
