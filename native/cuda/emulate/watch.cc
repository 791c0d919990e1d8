#include "watch.h"

#ifdef RX_WATCH
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <unordered_map>
#include <vector>

#include "cuda.h"

// Where variables without a first value lie, those of this library alone: __shared__ ones (a section of their own would be ignored for
// templates) and the emulation's, to which no kernel writes.
extern "C" __attribute__((visibility("hidden"))) unsigned char __bss_start[], _end[];

namespace emulate {
namespace {

// Time goes on at every launch, block and barrier of a block: what has one time and two threads has no order, unless both are of one warp
// and it has come to a __syncwarp() between them.
unsigned now = 1, launch_began = 1, block_began = 1;
std::vector<uint16_t> syncs;  // of each warp of the block
// Fences between ordinary writes and the reading of products, counted, and the last one of each thread of the block.
unsigned fences = 0;
std::vector<unsigned> fence_of;
// Where threads wait for phases, not all for all: how far into what another thread does each has come. Its own number grows with every order
// that it takes part in; what a thread has done at a number up to the one known of it, it has done before. Empty: no phases in this block.
using Clock = std::vector<unsigned>;
std::vector<Clock> known_of;
struct Phased {
  Clock arriving, ended;
};
std::unordered_map<const void*, Phased> phased;
// Who has read a byte since it was written, where there are phases.
struct Reader {
  uint16_t who, sync;
  unsigned clock, when;
};
std::unordered_map<uintptr_t, std::vector<Reader>> readers;
void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}
unsigned long block_now;
const char* kernel_now = "";
Moved moved_now;

// Who: a thread of the block, several of a warp, several, or another block.
constexpr unsigned several_of_warp = 0x8000, several = 0xfffe, nobody = 0xffff;
unsigned warp_of(unsigned who) { return who < several_of_warp ? who / 32 : who - several_of_warp; }

// Of two bytes, or of one where single bytes are touched. Times of a launch that is over mean nothing.
struct Cell {
  unsigned written, read;  // when last
  uint16_t writer, reader, writer_sync, reader_sync;
  unsigned read_elsewhere;  // when last by a block before the one that read last
  unsigned fences;          // there had been when it was written
  unsigned written_clock;   // the writer's, where there are phases
};
constexpr uintptr_t page = 4096;
// Of the card's memory alone, or of shared memory and what else lies there.
struct Page {
  bool card;
  Cell cells[page];
};

std::map<uintptr_t, size_t> card;  // where memory begins, and how much
uintptr_t shared_began, shared_end;
std::unordered_map<uintptr_t, Page*> pages;

// The last page of each kind of number, since neighbours follow; null: nobody's business (stacks, arguments).
struct Known {
  uintptr_t number = ~uintptr_t(0);
  Page* page = nullptr;
};
constexpr size_t known_pages = 4096;
Known known[known_pages];

bool is_shared(uintptr_t at) {
  return (at >= shared_began && at < shared_end) || (at >= reinterpret_cast<uintptr_t>(__bss_start) && at < reinterpret_cast<uintptr_t>(_end));
}
bool is_card(uintptr_t at) {
  auto after = card.upper_bound(at);
  if (after == card.begin()) return false;
  --after;
  return at < after->first + after->second;
}

Page* page_of(uintptr_t at) {
  const uintptr_t number = at / page;
  Known& k = known[number % known_pages];
  if (k.number == number) return k.page;
  k.number = number;
  k.page = nullptr;
  // Shared variables of kernels may begin inside a page.
  bool ours = is_card(at) || is_shared(at);
  for (uintptr_t part = number * page; !ours && part < (number + 1) * page; part += 64) ours = is_shared(part);
  if (ours) {
    Page*& found = pages[number];
    if (found == nullptr) found = static_cast<Page*>(std::calloc(1, sizeof(Page)));
    found->card = is_card(at);
    k.page = found;
  }
  return k.page;
}

[[noreturn]] void race(const char* what, uintptr_t at, unsigned other, const char* lacking = "__syncthreads()") {
  const Thread& t = *thread_now;
  std::fprintf(stderr, "%s: thread %u of block %lu %s of %s memory, with no %s since ", kernel_now, t.warp * 32 + t.lane, block_now, what,
               is_shared(at) ? "shared" : "the card's", lacking);
  if (other < several_of_warp)
    std::fprintf(stderr, "thread %u was there\n", other);
  else
    std::fprintf(stderr, "%s\n", other != nobody ? "other threads were there" : "another block was there");
  std::abort();
}

void touch(uintptr_t at, unsigned bytes, bool writes, unsigned since) {
  const unsigned me = thread_now->warp * 32 + thread_now->lane;
  const unsigned each = bytes == 1 ? 1 : 2, warp = thread_now->warp, sync = syncs[warp];
  const bool phases = !known_of.empty();
  const auto ordered = [&](unsigned who, unsigned then, unsigned clock = ~0u) {
    return who == me || (warp_of(who) == warp && then < sync) || (phases && who < known_of[me].size() && known_of[me][who] >= clock);
  };
  for (const uintptr_t end = at + bytes; at < end; at += each) {
    Page* const p = page_of(at);
    if (p == nullptr || (!p->card && !is_shared(at))) return;
    Cell& c = p->cells[at % page];
    const bool shared = !p->card;
    const bool written_now = c.written >= launch_began, read_now = c.read >= launch_began;
    if (!shared && written_now && c.written < block_began) race(writes ? "writes to a byte" : "reads a byte", at, nobody);
    if (c.written == now && !ordered(c.writer, c.writer_sync, phases ? c.written_clock : ~0u)) race(writes ? "writes to a byte" : "reads a byte", at, c.writer);
    if (phases && shared) {
      auto& all = readers[at];
      if (writes) {
        for (const Reader& r : all)
          if (r.when == now && !ordered(r.who, r.sync, r.clock)) race("writes to a byte", at, r.who);
        all.clear();
      } else {
        const auto mine = std::find_if(all.begin(), all.end(), [&](const Reader& r) { return r.who == me; });
        const Reader read = {static_cast<uint16_t>(me), static_cast<uint16_t>(sync), known_of[me][me], now};
        if (mine == all.end())
          all.push_back(read);
        else
          *mine = read;
      }
    }
    if (!writes) {
      if (!shared && !written_now && !read_now) moved_now.read += each;
      if (read_now && c.read < block_began) c.read_elsewhere = c.read;
      const bool alone = c.read != now || ordered(c.reader, c.reader_sync);
      c.reader = static_cast<uint16_t>(alone ? me : warp_of(c.reader) == warp ? several_of_warp + warp : several);
      c.reader_sync = static_cast<uint16_t>(sync);
      c.read = now;
      continue;
    }
    if (!shared && ((read_now && c.read < block_began) || c.read_elsewhere >= launch_began)) race("writes to a byte", at, nobody);
    if (c.read == now && !(phases && shared) && !ordered(c.reader, c.reader_sync)) race("writes to a byte", at, c.reader);
    if (since != 0 && c.read > since) race("waits for a copy to a byte", at, c.reader);
    if (!shared && !written_now) moved_now.written += each;
    c.written = now;
    c.writer = static_cast<uint16_t>(me);
    c.writer_sync = static_cast<uint16_t>(sync);
    c.fences = fences;
    c.written_clock = phases ? known_of[me][me] : 0;
  }
}

}  // namespace

void watch_memory(const void* at, size_t bytes, bool there) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(at);
  if (there)
    card[begin] = bytes;
  else
    card.erase(begin);
}

void watch_launch(const char* kernel, const void* shared, size_t shared_bytes) {
  if (pages.size() > 10000) {
    for (auto& [number, p] : pages) std::free(p);
    pages.clear();
  }
  for (Known& k : known) k = {};
  kernel_now = kernel;
  shared_began = reinterpret_cast<uintptr_t>(shared);
  shared_end = shared_began + shared_bytes;
  launch_began = ++now;
  moved_now = {};
}
Moved watched() { return moved_now; }
void watch_block(unsigned long block, unsigned warps) {
  syncs.assign(warps, 0);
  fence_of.assign(warps * 32, 0);
  block_now = block;
  block_began = ++now;
  known_of.clear();
  phased.clear();
  readers.clear();
}
void watch_barrier() { now++; }
void watch_warp(unsigned warp) {
  syncs[warp]++;
  if (known_of.empty()) return;
  Clock all;
  for (size_t i = warp * 32; i < warp * 32 + 32 && i < known_of.size(); i++) join(all, known_of[i]);
  for (size_t i = warp * 32; i < warp * 32 + 32 && i < known_of.size(); i++) {
    known_of[i] = all;
    known_of[i][i]++;
  }
}

void watch_phases(const void* barrier) {
  phased[barrier] = {};
  if (!known_of.empty()) return;
  const size_t threads = fence_of.size();
  known_of.assign(threads, Clock(threads, 0));
  for (size_t i = 0; i < threads; i++) known_of[i][i] = 1;
}
void watch_arrived(const void* barrier, bool ends) {
  const unsigned me = thread_now->warp * 32 + thread_now->lane;
  Phased& p = phased[barrier];
  join(p.arriving, known_of[me]);
  known_of[me][me]++;
  if (!ends) return;
  p.ended = p.arriving;
  p.arriving.clear();
}
void watch_waited(const void* barrier) { join(known_of[thread_now->warp * 32 + thread_now->lane], phased[barrier].ended); }

unsigned watch_copy(const void* to, const void* from, unsigned bytes) {
  if (from != nullptr) touch(reinterpret_cast<uintptr_t>(from), bytes, false, 0);
  touch(reinterpret_cast<uintptr_t>(to), bytes, true, 0);
  return now;
}
void watch_copied(const void* to, unsigned bytes, unsigned since) { touch(reinterpret_cast<uintptr_t>(to), bytes, true, since); }

void watch_product(const void* place, unsigned bytes, unsigned since) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(place);
  touch(at, bytes, false, 0);
  const Page* const p = page_of(at);
  if (p == nullptr) return;
  const Cell& c = p->cells[at % page];
  if (c.written < block_began) return;
  if (since != 0 && c.written > since) race("waits for a product that reads a byte", at, c.writer);
  if (fence_of[c.writer] <= c.fences) race("multiplies a byte", at, c.writer, "shared_written()");
}
void watch_proxy() { fence_of[thread_now->warp * 32 + thread_now->lane] = ++fences; }
unsigned watch_now() { return now; }

}  // namespace emulate

#define READS(name, bytes) \
  extern "C" void name(void* at) { emulate::touch(reinterpret_cast<uintptr_t>(at), bytes, false, 0); }
#define WRITES(name, bytes) \
  extern "C" void name(void* at) { emulate::touch(reinterpret_cast<uintptr_t>(at), bytes, true, 0); }
READS(__tsan_read1, 1)
READS(__tsan_read2, 2)
READS(__tsan_read4, 4)
READS(__tsan_read8, 8)
READS(__tsan_read16, 16)
READS(__tsan_unaligned_read2, 2)
READS(__tsan_unaligned_read4, 4)
READS(__tsan_unaligned_read8, 8)
READS(__tsan_unaligned_read16, 16)
WRITES(__tsan_write1, 1)
WRITES(__tsan_write2, 2)
WRITES(__tsan_write4, 4)
WRITES(__tsan_write8, 8)
WRITES(__tsan_write16, 16)
WRITES(__tsan_unaligned_write2, 2)
WRITES(__tsan_unaligned_write4, 4)
WRITES(__tsan_unaligned_write8, 8)
WRITES(__tsan_unaligned_write16, 16)
extern "C" void __tsan_read_range(void* at, unsigned long bytes) { emulate::touch(reinterpret_cast<uintptr_t>(at), static_cast<unsigned>(bytes), false, 0); }
extern "C" void __tsan_write_range(void* at, unsigned long bytes) { emulate::touch(reinterpret_cast<uintptr_t>(at), static_cast<unsigned>(bytes), true, 0); }
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
#endif
