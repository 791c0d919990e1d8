#include "memory.h"

struct Memory::Block {
  char* data;
  size_t bytes;
  // neighbours in the same segment
  Block* before;
  Block* after;
  uint64_t used;
  bool free;
};

namespace {

// What is left of a block after taking from it is worth keeping apart.
constexpr size_t worthSplitting = 256;
constexpr size_t smallestSegment = size_t(16) << 20;
// Large ones lie fuller; a page that nothing touches takes no memory.
constexpr size_t largestSegment = size_t(256) << 20;
// Idle memory that is kept whatever the peak.
constexpr size_t idleAllowance = size_t(64) << 20;

// A number is slot + generation * slots: a number that was given back is not taken for another tensor's.
constexpr uint64_t slots = uint64_t(1) << 24;
// Numbers stay below 2^53, what a double holds exactly.
constexpr uint32_t generations = uint32_t(1) << 28;

}  // namespace

bool Memory::BySize::operator()(const Block* a, const Block* b) const {
  return a->bytes != b->bytes ? a->bytes < b->bytes : a->data < b->data;
}

Memory::~Memory() {
  // The executor has stopped. Live blocks lie in segments too: find each segment by its first block.
  std::set<Block*> firsts;
  auto note = [&](Block* block) {
    while (block->before != nullptr) block = block->before;
    firsts.insert(block);
  };
  for (const Entry& e : entries)
    if (e.block != nullptr) note(e.block);
  for (Block* block : freeBlocks) note(block);
  for (Block* first : firsts) {
    size_t bytes = 0;
    char* const data = first->data;
    for (Block* block = first; block != nullptr;) {
      Block* const after = block->after;
      bytes += block->bytes;
      delete block;
      block = after;
    }
    pages.give(data, bytes);
  }
}

Memory::Block* Memory::fit(size_t bytes) {
  Block wanted = {nullptr, bytes, nullptr, nullptr, 0, true};
  const auto found = freeBlocks.lower_bound(&wanted);
  if (found == freeBlocks.end()) return nullptr;
  Block* const block = *found;
  freeBlocks.erase(found);
  return block;
}

Memory::Block* Memory::grow(size_t bytes) {
  size_t segment = reserved / 16 < smallestSegment ? smallestSegment : reserved / 16 > largestSegment ? largestSegment : reserved / 16;
  segment = pages.round(segment < bytes ? bytes : segment);
  shrink(segment);
  char* data = static_cast<char*>(pages.take(segment));
  if (data == nullptr) {
    segment = pages.round(bytes);
    data = static_cast<char*>(pages.take(segment));
  }
  if (data == nullptr && releaseIdle()) data = static_cast<char*>(pages.take(segment));
  if (data == nullptr) throw std::bad_alloc();
  reserved += segment;
  return new Block{data, segment, nullptr, nullptr, 0, true};
}

// Gives idle segments back before `needed` more bytes are reserved.
void Memory::shrink(size_t needed) {
  const size_t limit = peak + peak / 10 + idleAllowance;
  while (reserved + needed > limit) {
    Block* whole = nullptr;
    for (Block* block : freeBlocks)
      if (block->before == nullptr && block->after == nullptr) whole = block;
    if (whole == nullptr) return;
    freeBlocks.erase(whole);
    release(whole);
  }
}

// All idle segments, and returns when they have gone back; false when there are none.
bool Memory::releaseIdle() {
  std::vector<Block*> idle;
  for (Block* block : freeBlocks)
    if (block->before == nullptr && block->after == nullptr) idle.push_back(block);
  for (Block* whole : idle) {
    freeBlocks.erase(whole);
    release(whole);
  }
  executor.wait();
  return !idle.empty();
}

void Memory::release(Block* whole) {
  reserved -= whole->bytes;
  // in order behind whatever still uses it
  executor.enqueue([&pages = pages, data = whole->data, bytes = whole->bytes](const Context*) { pages.give(data, bytes); });
  delete whole;
}

uint64_t Memory::take(size_t asked) {
  const size_t unit = pages.unit();
  const size_t bytes = asked < unit ? unit : (asked + unit - 1) / unit * unit;
  if (bytes < asked) throw std::bad_alloc();
  Block* block = fit(bytes);
  if (block == nullptr) block = grow(bytes);
  if (block->bytes - bytes >= worthSplitting) {
    Block* const rest =
        new Block{block->data + bytes, block->bytes - bytes, block, block->after, block->used, true};
    if (block->after != nullptr) block->after->before = rest;
    block->after = rest;
    block->bytes = bytes;
    freeBlocks.insert(rest);
  }
  block->free = false;
  uint32_t slot;
  if (freeEntries.empty()) {
    slot = static_cast<uint32_t>(entries.size());
    if (slot >= slots) throw std::bad_alloc();
    entries.push_back({});
  } else {
    slot = freeEntries.back();
    freeEntries.pop_back();
  }
  Entry& e = entries[slot];
  e.block = block;
  e.bytes = asked;
  e.generation = e.generation + 1 == generations ? 1 : e.generation + 1;
  count++;
  live += block->bytes;
  if (live > peak) peak = live;
  return slot + e.generation * slots;
}

const Memory::Entry* Memory::entry(uint64_t id) const {
  const uint64_t slot = id % slots;
  if (slot >= entries.size()) return nullptr;
  const Entry& e = entries[slot];
  return e.block != nullptr && e.generation == id / slots ? &e : nullptr;
}

bool Memory::find(uint64_t id, Held& held) const {
  const Entry* const e = entry(id);
  if (e == nullptr) return false;
  held = {e->block->data, e->bytes, &e->block->used};
  return true;
}

bool Memory::give(uint64_t id) {
  if (entry(id) == nullptr) return false;
  const uint32_t slot = static_cast<uint32_t>(id % slots);
  Block* block = entries[slot].block;
  entries[slot].block = nullptr;
  freeEntries.push_back(slot);
  count--;
  live -= block->bytes;
  block->free = true;
  const auto join = [&](Block* left, Block* right) {
    left->bytes += right->bytes;
    left->after = right->after;
    if (right->after != nullptr) right->after->before = left;
    if (right->used > left->used) left->used = right->used;
    delete right;
  };
  if (block->after != nullptr && block->after->free) {
    freeBlocks.erase(block->after);
    join(block, block->after);
  }
  if (block->before != nullptr && block->before->free) {
    Block* const left = block->before;
    freeBlocks.erase(left);
    join(left, block);
    block = left;
  }
  freeBlocks.insert(block);
  return true;
}
