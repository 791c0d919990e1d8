#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cuda.h"
#include "internal.h"
#include "watch.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulate {

Index block_index, block_size, grid_size;
Thread* thread_now;
unsigned char *shared_memory, *shared_page;
size_t shared_bytes_now;

void fail(const char* what) {
  std::fprintf(stderr, "emulated kernel: %s\n", what);
  std::abort();
}

namespace {

constexpr size_t stack_bytes = 128 << 10;

struct Barrier {
  unsigned arrived = 0, generation = 0;
  Exchange kind = sync_warp;
};

#if defined(__x86_64__)
// Saves what a called function must keep, and the stack, at *from; goes on where `to` was saved.
extern "C" void rx_fiber_switch(void** from, void* to);
__asm__(
    ".text\n"
    ".type rx_fiber_switch,@function\n"
    "rx_fiber_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size rx_fiber_switch,.-rx_fiber_switch\n");
#endif

void work();

// A stack that runs threads, one after another, and stays with one that waits.
struct Fiber {
  std::vector<unsigned char> stack = std::vector<unsigned char>(stack_bytes);
#if defined(__x86_64__)
  void* at = nullptr;
#else
  ucontext_t at = {};
#endif
  unsigned thread = 0;
  // Waits until *generation is no longer `seen`; null: can go on.
  const unsigned* generation = nullptr;
  unsigned seen = 0;
  bool finished = false;
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle, running;
Fiber* fiber_now;
#if defined(__x86_64__)
void* scheduler;
#else
ucontext_t scheduler;
#endif

std::vector<Thread> threads;
std::vector<unsigned> order;
size_t started;
Barrier whole;
std::vector<Barrier> warps, warpgroups;
std::vector<unsigned char> slots;
unsigned alive;
std::vector<unsigned> alive_of_warp;
const std::function<void()>* body_now;

void to_scheduler() {
#if defined(__x86_64__)
  rx_fiber_switch(&fiber_now->at, scheduler);
#else
  swapcontext(&fiber_now->at, &scheduler);
#endif
}

void resume(Fiber* fiber) {
  fiber_now = fiber;
  thread_now = &threads[fiber->thread];
#if defined(__x86_64__)
  rx_fiber_switch(&scheduler, fiber->at);
#else
  swapcontext(&scheduler, &fiber->at);
#endif
}

void prepare(Fiber* fiber) {
  fiber->finished = false;
  fiber->generation = nullptr;
#if defined(__x86_64__)
  uintptr_t top = reinterpret_cast<uintptr_t>(fiber->stack.data() + stack_bytes) & ~uintptr_t(15);
  void** sp = reinterpret_cast<void**>(top) - 2;  // as if work() had been called: 8 bytes off a multiple of 16
  sp[0] = reinterpret_cast<void*>(work);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  fiber->at = sp;
#else
  getcontext(&fiber->at);
  fiber->at.uc_stack.ss_sp = fiber->stack.data();
  fiber->at.uc_stack.ss_size = stack_bytes;
  fiber->at.uc_link = nullptr;
  makecontext(&fiber->at, work, 0);
#endif
}

// Threads that have returned no longer take part in barriers.
void leave(Barrier& barrier, unsigned expected) {
  if (barrier.arrived > 0 && barrier.arrived >= expected) {
    if (&barrier == &whole) watch_barrier();
    barrier.arrived = 0;
    barrier.generation++;
  }
}

void work() {
  for (;;) {
    Fiber* const self = fiber_now;
    while (started < order.size()) {
      self->thread = order[started++];
      thread_now = &threads[self->thread];
      (*body_now)();
      products_left();
      const unsigned warp = threads[self->thread].warp;
      leave(whole, --alive);
      leave(warps[warp], --alive_of_warp[warp]);
    }
    self->finished = true;
    to_scheduler();
  }
}

void arrive(Barrier& barrier, unsigned expected) {
  if (++barrier.arrived >= expected) {
    barrier.arrived = 0;
    barrier.generation++;
    return;
  }
  fiber_now->generation = &barrier.generation;
  fiber_now->seen = barrier.generation;
  Fiber* const self = fiber_now;
  to_scheduler();
  self->generation = nullptr;
}

uint32_t state = 12345;
uint32_t random_number() {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

unsigned lanes_of_warp(unsigned warp) {
  const unsigned count = block_size.x * block_size.y * block_size.z;
  return count - warp * 32 < 32 ? count - warp * 32 : 32;
}

void run_block() {
  const unsigned count = block_size.x * block_size.y * block_size.z;
  alive = count;
  whole = {};
  const unsigned warp_count = (count + 31) / 32;
  warps.assign(warp_count, {});
  warpgroups.assign((warp_count + 3) / 4, {});
  slots.assign(warp_count * 32 * 64, 0);
  alive_of_warp.assign(warp_count, 0);
  for (unsigned i = 0; i < count; i++) alive_of_warp[i / 32]++;
  // Warps in any order, their lanes forwards or backwards.
  order.clear();
  const unsigned first = random_number() % warp_count;
  const bool backwards = random_number() % 2;
  for (unsigned w = 0; w < warp_count; w++) {
    const unsigned warp = (first + w) % warp_count;
    const unsigned lanes = alive_of_warp[warp];
    for (unsigned i = 0; i < lanes; i++) order.push_back(warp * 32 + (backwards ? lanes - 1 - i : i));
  }
  started = 0;
  running.clear();
  for (;;) {
    bool progress = false;
    for (size_t i = 0; i < running.size(); i++) {
      Fiber* const fiber = running[i];
      if (fiber->finished || (fiber->generation != nullptr && *fiber->generation == fiber->seen)) continue;
      progress = true;
      resume(fiber);
    }
    // Waiting threads may want those that have not begun.
    if (started < order.size()) {
      progress = true;
      if (idle.empty()) {
        fibers.push_back(std::make_unique<Fiber>());
        idle.push_back(fibers.back().get());
      }
      Fiber* const fiber = idle.back();
      idle.pop_back();
      prepare(fiber);
      running.push_back(fiber);
      resume(fiber);
    }
    if (alive == 0) break;
    if (!progress) fail("the threads of a block wait for each other at different barriers");
  }
  for (Fiber* fiber : running) idle.push_back(fiber);
}

}  // namespace

namespace {
struct Copy {
  void* to;
  const void* from;
  unsigned bytes, since;
};
// Of each thread of the block: groups that wait, the last one not ended.
std::vector<std::vector<std::vector<Copy>>> copies;
std::vector<std::vector<Copy>>& copies_of_thread() { return copies[thread_now->warp * 32 + thread_now->lane]; }
}  // namespace

void must_be_aligned(const void* at, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(at) % bytes == 0) return;
  fail((std::to_string(bytes) + " bytes at an address that is no multiple of that").c_str());
}
void copy_async(void* to, const void* from, unsigned bytes) {
  must_be_aligned(to, bytes);
  must_be_aligned(from, bytes);
  copies_of_thread().back().push_back({to, from, bytes, watch_copy(to, from, bytes)});
}
void copies_end() { copies_of_thread().emplace_back(); }
void copies_wait(unsigned rest) {
  auto& groups = copies_of_thread();
  while (groups.size() > rest + 1) {
    for (const Copy& copy : groups.front()) {
      watch_copied(copy.to, copy.bytes, copy.since);
      if (copy.from == nullptr)
        std::memset(copy.to, 0, copy.bytes);
      else
        std::memcpy(copy.to, copy.from, copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

void block_barrier() {
  // The last one to come opens it.
  if (whole.arrived + 1 >= alive) watch_barrier();
  arrive(whole, alive);
}
void warp_barrier(Exchange kind) {
  const unsigned warp = thread_now->warp;
  Barrier& barrier = warps[warp];
  if (barrier.arrived == 0) barrier.kind = kind;
  if (barrier.kind != kind) fail("the lanes of a warp came to different exchanges");
  if (alive_of_warp[warp] != lanes_of_warp(warp)) fail("lanes exchange with lanes that have returned");
  if (kind == sync_warp && barrier.arrived + 1 >= alive_of_warp[warp]) watch_warp(warp);
  arrive(barrier, alive_of_warp[warp]);
}
namespace {
struct Phases {
  uint16_t count, pending;
  unsigned phase;
};
static_assert(sizeof(Phases) == sizeof(uint64_t), "as large as a card's");
Phases* phases_of(uint64_t* barrier) {
  must_be_aligned(barrier, 8);
  return reinterpret_cast<Phases*>(barrier);
}
}  // namespace
void phases_init(uint64_t* barrier, unsigned count) {
  *phases_of(barrier) = {static_cast<uint16_t>(count), static_cast<uint16_t>(count), 0};
  watch_phases(barrier);
}
void phases_arrive(uint64_t* barrier) {
  Phases& p = *phases_of(barrier);
  if (p.pending == 0 || p.pending > p.count || p.count == 0xffff) fail("a thread arrives at a barrier that was not made");
  watch_arrived(barrier, p.pending == 1);
  if (--p.pending > 0) return;
  p.pending = p.count;
  p.phase++;
}
void phases_wait(uint64_t* barrier, unsigned parity) {
  Phases& p = *phases_of(barrier);
  if (p.count == 0xffff) fail("a thread waits at a barrier that was not made");
  while (p.phase % 2 == parity) {
    fiber_now->generation = &p.phase;
    fiber_now->seen = p.phase;
    Fiber* const self = fiber_now;
    to_scheduler();
    self->generation = nullptr;
  }
  watch_waited(barrier);
}
// All of them must come.
void warpgroup_barrier() { arrive(warpgroups[thread_now->warp / 4], 128); }
unsigned char* lane_slot(unsigned lane) { return &slots[(thread_now->warp * 32 + lane) * 64]; }

void launch(const char* kernel, Index grid, Index block, size_t shared_bytes, const std::function<void()>& body) {
  const unsigned count = block.x * block.y * block.z;
  threads.resize(count);
  for (unsigned i = 0; i < count; i++)
    threads[i] = {{i % block.x, i / block.x % block.y, i / block.x / block.y}, i % 32, i / 32};
  grid_size = grid;
  block_size = block;
  body_now = &body;
  constexpr size_t page = 4096;
  std::vector<unsigned char> shared(shared_bytes + 3 * page);
  shared_page = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(shared.data()) + page - 1) & ~uintptr_t(page - 1));
  // No more is promised.
  shared_memory = shared_page + 16;
  shared_bytes_now = shared_bytes;
  watch_launch(kernel, shared_memory, shared_bytes);
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        block_index = {x, y, z};
        watch_block((static_cast<unsigned long>(z) * grid.y + y) * grid.x + x, (count + 31) / 32);
        if (shared_bytes > 0) std::memset(shared_memory, 0xff, shared_bytes);
        copies.assign(count, {{}});
        products_reset(count);
        run_block();
      }
}

}  // namespace emulate
