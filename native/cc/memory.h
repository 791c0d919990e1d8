// Memory of tensors, by number. Used by one thread (JavaScript's); what lies in it is written and read by the executor, later
// and in order, so memory that is given back can be taken again at once.
//
// Blocks are cut from segments on huge pages, best fit first, and joined again when both neighbours are free: batches of
// different lengths reuse each other's memory. Whole free segments go back to the system when more than a tenth of the peak
// lies idle, and all of them before there is said to be no memory left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "executor.h"
#include "pages.h"

class Memory {
 public:
  struct Block;
  // A tensor's memory.
  struct Held {
    char* data;
    size_t bytes;     // as asked for
    uint64_t* used;   // the last task that touches this memory
  };

  explicit Memory(Executor& executor, PageSource& pages = host_pages()) : executor(executor), pages(pages) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // A new number, never 0. Throws std::bad_alloc.
  uint64_t take(size_t bytes);
  // False when there is no such tensor.
  bool give(uint64_t id);
  // False when there is no such tensor.
  bool find(uint64_t id, Held& held) const;

  size_t liveCount() const { return count; }
  size_t liveBytes() const { return live; }
  size_t peakBytes() const { return peak; }
  size_t reservedBytes() const { return reserved; }
  void resetPeak() { peak = live; }

 private:
  struct BySize {
    bool operator()(const Block* a, const Block* b) const;
  };
  struct Entry {
    Block* block = nullptr;
    size_t bytes = 0;
    uint32_t generation = 0;
  };

  const Entry* entry(uint64_t id) const;
  Block* fit(size_t bytes);
  Block* grow(size_t bytes);
  void shrink(size_t needed);
  bool releaseIdle();
  void release(Block* whole);

  Executor& executor;
  PageSource& pages;
  std::vector<Entry> entries;
  std::vector<uint32_t> freeEntries;
  std::set<Block*, BySize> freeBlocks;
  size_t count = 0, live = 0, peak = 0;  // in blocks
  size_t reserved = 0;
};
