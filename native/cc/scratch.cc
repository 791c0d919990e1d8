#include "scratch.h"

#include <new>

#include "pages.h"

struct Scratch {
  PageSource& pages;
  void* memory[SCRATCH_SLOTS] = {};
  size_t bytes[SCRATCH_SLOTS] = {};
};

Scratch* scratch_create(void) { return new Scratch{host_pages()}; }
Scratch* scratch_create_on(void* page_source) { return new Scratch{*static_cast<PageSource*>(page_source)}; }

void scratch_destroy(Scratch* scratch) {
  for (int slot = 0; slot < SCRATCH_SLOTS; slot++)
    if (scratch->memory[slot] != nullptr) scratch->pages.give(scratch->memory[slot], scratch->bytes[slot]);
  delete scratch;
}

void* scratch_get(Scratch* scratch, int slot, size_t bytes) {
  if (scratch->bytes[slot] >= bytes && scratch->memory[slot] != nullptr) return scratch->memory[slot];
  if (scratch->memory[slot] != nullptr) scratch->pages.give(scratch->memory[slot], scratch->bytes[slot]);
  scratch->memory[slot] = nullptr;
  scratch->bytes[slot] = 0;
  const size_t rounded = scratch->pages.round(bytes);
  void* const memory = scratch->pages.take(rounded);
  if (memory == nullptr) throw std::bad_alloc();
  scratch->memory[slot] = memory;
  scratch->bytes[slot] = rounded;
  return memory;
}

size_t scratch_bytes(const Scratch* scratch) {
  size_t sum = 0;
  for (int slot = 0; slot < SCRATCH_SLOTS; slot++) sum += scratch->bytes[slot];
  return sum;
}
