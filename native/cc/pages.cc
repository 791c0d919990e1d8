#include "pages.h"

#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {
constexpr size_t hugePage = size_t(2) << 20;
// Smaller pieces would waste too much of a huge page.
constexpr size_t large = size_t(8) << 20;
size_t roundTo(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
}  // namespace

size_t pages_round(size_t bytes) { return bytes >= large ? roundTo(bytes, hugePage) : roundTo(bytes < 64 ? 64 : bytes, 64); }

void* pages_take(size_t bytes) {
  bytes = pages_round(bytes);
#if defined(__linux__)
  if (bytes >= large) {
    // mmap, not malloc: what is given back must leave the process at once, and a failure must be reported, not deferred.
    void* whole = mmap(nullptr, bytes + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) return nullptr;
    char* const start = static_cast<char*>(whole);
    char* const aligned = reinterpret_cast<char*>(roundTo(reinterpret_cast<size_t>(start), hugePage));
    if (aligned != start) munmap(start, static_cast<size_t>(aligned - start));
    const size_t behind = static_cast<size_t>(start + bytes + hugePage - (aligned + bytes));
    if (behind != 0) munmap(aligned + bytes, behind);
    madvise(aligned, bytes, MADV_HUGEPAGE);
    return aligned;
  }
#endif
  return aligned_alloc(64, bytes);
}

void pages_give(void* memory, size_t bytes) {
#if defined(__linux__)
  if (pages_round(bytes) >= large) {
    munmap(memory, pages_round(bytes));
    return;
  }
#endif
  (void)bytes;
  free(memory);
}

namespace {

class HostPages : public PageSource {
 public:
  size_t round(size_t bytes) const override { return pages_round(bytes); }
  void* take(size_t bytes) override { return pages_take(bytes); }
  void give(void* memory, size_t bytes) override { pages_give(memory, bytes); }
};

}  // namespace

PageSource& host_pages() {
  static HostPages pages;
  return pages;
}
