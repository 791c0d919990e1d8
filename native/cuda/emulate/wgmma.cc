// Warpgroup products as the PTX ISA defines them: operands in shared memory are found by the bits of their descriptors alone. Nothing is
// computed before somebody waits for it, and until then accumulators are NaN of one kind: what is read too early shows.
#include <array>
#include <deque>
#include <string>
#include <vector>

#include "cuda.h"
#include "internal.h"
#include "watch.h"

namespace emulate {
namespace {

constexpr unsigned rows_of_group = 64, inner = 16;
// As a card has it: the first bytes of shared memory are not the kernel's.
constexpr uint32_t first_address = 1024;
constexpr uint32_t untouchable = 0x7fbadbad;

// A matrix descriptor, of 16-bit numbers.
struct Operand {
  uint32_t start, leading, stride;
  unsigned mode;  // 0: pieces of 16 bytes are not swapped; 1, 2, 3: within 128, 64, 32 bytes
};
Operand decoded(uint64_t bits) {
  const auto field = [&](int from) { return static_cast<uint32_t>(bits >> from & 0x3fff) << 4; };
  if ((bits & ~0xc0003fff3fff3fffull) != 0) fail("a matrix descriptor with a base offset, or with bits that mean nothing");
  return {field(0), field(16), field(32), static_cast<unsigned>(bits >> 62)};
}

// Where number k of row (or column) mn of an operand lies. The canonical layouts, in bytes, of 16-byte pieces T and `w` of them a row:
// K-major ((8,m),(T,2)) : ((16 w, stride), (2, 16)), MN-major ((T,w,m),(8,k)) : ((2, 16, leading), (16 w, stride)), without swapping
// ((8,m),(T,2)) : ((16, stride), (2, leading)) and ((T,1,m),(8,k)) : ((2, -, stride), (16, leading)).
const uint16_t* place(const Operand& o, bool transposed, unsigned mn, unsigned k) {
  uint32_t at = o.start;
  const unsigned w = o.mode == 0 ? 1 : 16u >> o.mode;
  if (!transposed) {
    at += mn % 8 * 16 * w + mn / 8 * o.stride + k % 8 * 2 + k / 8 * (o.mode == 0 ? o.leading : 16);
  } else if (o.mode == 0) {
    at += mn % 8 * 2 + mn / 8 * o.stride + k % 8 * 16 + k / 8 * o.leading;
  } else {
    at += mn % (8 * w) * 2 + mn / (8 * w) * o.leading + k % 8 * 16 * w + k / 8 * o.stride;
  }
  // Bits 4 .. are swapped by bits 7 .. of the address: three, two or one of them.
  if (o.mode != 0) at ^= (at >> 7 & (w - 1)) << 4;
  if (at < first_address || at + 2 > first_address + (shared_memory - shared_page) + shared_bytes_now) fail("a product reads beyond the shared memory");
  return reinterpret_cast<const uint16_t*>(shared_page + (at - first_address));
}

// What the 128 threads of a warpgroup ask for together.
struct Product {
  unsigned columns;
  bool in_registers, transposed;
  uint64_t a, b;
  unsigned asked = 0, done = 0;
  std::vector<float> left, right;  // [64, 16] and [columns, 16], read when the first thread needs them
};
struct Group {
  std::deque<Product> products;
  unsigned long first = 0;  // the number of the first of them
};
std::vector<Group> groups;

// What one thread of them does.
struct Share {
  unsigned long number, since;
  unsigned group;      // of the products between two products_end
  float* sums;
  std::vector<float> before;  // null sums where it is the first on its accumulators
  bool first, add;
  const uint32_t* a;
  std::array<uint32_t, 16> words;  // of a, of the four lanes that have a row of it
};
struct Asking {
  std::vector<Share> shares;
  unsigned long next = 0;
  unsigned ended = 0;
  bool begun = false;
};
std::vector<Asking> threads_asking;

unsigned thread_number() { return thread_now->warp * 32 + thread_now->lane; }
Asking& mine() { return threads_asking[thread_number()]; }
Group& group_of() { return groups[thread_now->warp / 4]; }
unsigned count_of(const Product& p) { return p.columns / 2; }

bool is_untouched(const float* sums, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, sums + i, 4);
    if (bits != untouchable) return false;
  }
  return true;
}

void read_operands(Product& p) {
  const Operand b = decoded(p.b);
  p.right.resize(p.columns * inner);
  for (unsigned n = 0; n < p.columns; n++)
    for (unsigned k = 0; k < inner; k++) p.right[n * inner + k] = bfloat16(*place(b, p.transposed, n, k));
  if (p.in_registers) return;
  const Operand a = decoded(p.a);
  p.left.resize(rows_of_group * inner);
  for (unsigned m = 0; m < rows_of_group; m++)
    for (unsigned k = 0; k < inner; k++) p.left[m * inner + k] = bfloat16(*place(a, false, m, k));
}

// The numbers of its operands that this thread looks at for all: who writes there without waiting is found by watch.h.
void watch_operands(const Product& p, unsigned since) {
  const unsigned me = thread_number() % 128;
  const Operand b = decoded(p.b);
  for (unsigned i = me; i < p.columns * inner; i += 128) watch_product(place(b, p.transposed, i / inner, i % inner), 2, since);
  if (p.in_registers) return;
  const Operand a = decoded(p.a);
  for (unsigned i = me; i < rows_of_group * inner; i += 128) watch_product(place(a, false, i / inner, i % inner), 2, since);
}

void compute(Share& share, Product& p) {
  if (p.right.empty()) read_operands(p);
  watch_operands(p, static_cast<unsigned>(share.since));
  const unsigned lane = thread_now->lane;
  if (share.first) {
    if (!is_untouched(share.sums, count_of(p))) fail("accumulators were written to before their products were waited for");
    std::memcpy(share.sums, share.before.data(), count_of(p) * sizeof(float));
  }
  if (p.in_registers && std::memcmp(share.a, &share.words[lane % 4 * 4], 16) != 0) fail("a left operand changed before its product was waited for");
  for (unsigned half = 0; half < 2; half++) {
    float row[inner];
    for (unsigned k = 0; k < inner; k++) {
      if (p.in_registers) {
        const uint32_t word = share.words[k % 8 / 2 * 4 + half + k / 8 * 2];
        row[k] = bfloat16(k % 2 ? word >> 16 : word & 0xffff);
      } else {
        row[k] = p.left[(thread_now->warp % 4 * 16 + lane / 4 + 8 * half) * inner + k];
      }
    }
    for (unsigned n = 0; n < p.columns / 8; n++)
      for (unsigned e = 0; e < 2; e++) {
        float& into = share.sums[4 * n + 2 * half + e];
        const float* const column = &p.right[(8 * n + lane % 4 * 2 + e) * inner];
        float sum = share.add ? into : 0.f;
        for (unsigned k = 0; k < inner; k++) sum += row[k] * column[k];
        into = sum;
      }
  }
}

}  // namespace

uint32_t shared_address(const void* at) { return first_address + static_cast<uint32_t>(static_cast<const unsigned char*>(at) - shared_page); }

void products_reset(unsigned threads) {
  groups.assign((threads + 127) / 128, {});
  threads_asking.assign(threads, {});
}
void products_left() {
  if (!mine().shares.empty()) fail("a thread returned before its products were waited for");
}

void shared_written() { watch_proxy(); }
void products_begin() { mine().begun = true; }
void products_end() {
  warpgroup_barrier();
  mine().ended++;
}

void product_64(float* sums, unsigned columns, const uint32_t* a, uint64_t descriptor_a, uint64_t descriptor_b, bool transposed, bool add) {
  Asking& asking = mine();
  Group& group = group_of();
  if (!asking.begun) fail("a product before products_begin, since the last wait");
  const unsigned long number = asking.next++;
  if (number == group.first + group.products.size()) group.products.push_back({columns, a != nullptr, transposed, descriptor_a, descriptor_b, 0, 0, {}, {}});
  Product& p = group.products[number - group.first];
  if (p.columns != columns || p.in_registers != (a != nullptr) || p.transposed != transposed || p.a != descriptor_a || p.b != descriptor_b)
    fail("the warps of a warpgroup ask for different products");
  p.asked++;
  Share share = {number, watch_now(), asking.ended, sums, {}, true, add, a, {}};
  for (const Share& before : asking.shares) share.first = share.first && before.sums != sums;
  if (share.first) {
    share.before.assign(sums, sums + count_of(p));
    for (unsigned i = 0; i < count_of(p); i++) std::memcpy(sums + i, &untouchable, 4);
  }
  if (a != nullptr) {
    std::memcpy(lane_slot(thread_now->lane), a, 16);
    warp_barrier(left_operand);
    for (unsigned i = 0; i < 4; i++) std::memcpy(&share.words[4 * i], lane_slot(thread_now->lane / 4 * 4 + i), 16);
    warp_barrier(left_operand);
  }
  watch_operands(p, 0);
  asking.shares.push_back(std::move(share));
}

void products_wait(unsigned rest) {
  Asking& asking = mine();
  Group& group = group_of();
  asking.begun = false;
  size_t done = 0;
  for (; done < asking.shares.size() && asking.shares[done].group + rest < asking.ended; done++) {
    Share& share = asking.shares[done];
    Product& p = group.products[share.number - group.first];
    compute(share, p);
    p.done++;
  }
  asking.shares.erase(asking.shares.begin(), asking.shares.begin() + static_cast<long>(done));
  // Those that go on adding to accumulators that are taken now.
  for (Share& share : asking.shares) {
    bool first = true;
    for (const Share& before : asking.shares) {
      if (&before == &share) break;
      first = first && before.sums != share.sums;
    }
    if (!first || share.first) continue;
    // Nobody may look at what they are now.
    share.first = true;
    const unsigned count = count_of(group.products[share.number - group.first]);
    share.before.assign(share.sums, share.sums + count);
    for (unsigned i = 0; i < count; i++) std::memcpy(share.sums + i, &untouchable, 4);
  }
  while (!group.products.empty() && group.products.front().done == 128) {
    group.products.pop_front();
    group.first++;
  }
}

}  // namespace emulate
