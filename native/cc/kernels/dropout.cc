// Dropout with a counter-based mask: element i of a call is kept iff draw(seed, offset + i) >= rate, so a later call with the
// same seed and offset has the same mask and nothing has to be saved for the way back.
//
//   mix(h): h ^= h >> 16; h *= 0x85ebca6b; h ^= h >> 13; h *= 0xc2b2ae35; h ^= h >> 16   (finaliser of MurmurHash3, 32 bits)
//   index = offset + i;  low = index mod 2^32;  high = floor(index / 2^32)
//   key  = mix(mix(seed) + high)                                                         (all sums modulo 2^32)
//   draw = (mix(mix(low ^ key) + key) >> 8) / 2^24
//   y = draw >= rate ? x * float(1 / (1 - rate)) : 0
#include "../kernel_table.h"
#include "../simd.h"
#include "halves.h"
#include "parallel.h"

namespace {

constexpr long piece = 1 << 14;

template <class U>
inline __attribute__((always_inline)) U mix(U h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}

void dropout(const Context* context, Values x, Values y, long n, double rate, uint32_t seed, uint64_t offset) {
  const float scale = (float)(1 / (1 - rate));
  const int32_t threshold = (int32_t)__builtin_ceil(rate * 16777216.0);
  parallel(context, parts_of(n, piece), [=](long part) {
    const long end = smaller(n, (part + 1) * piece);
    for (long from = part * piece; from < end;) {
      // up to where the low word of the index wraps round
      const uint64_t index = offset + (uint64_t)from;
      const uint64_t before_wrap = (uint64_t)0x100000000ull - (index & 0xffffffffull);
      const long until = (uint64_t)(end - from) < before_wrap ? end : from + (long)before_wrap;
      const uint32_t key = mix(mix(seed) + (uint32_t)(index >> 32));
      const vu keys = vsetu(key);
      const vu low = (vu)iota() + (uint32_t)index;
      each_vector(until - from, [&](long i, auto lanes) {
        const vu hash = mix(mix((low + (uint32_t)i) ^ keys) + keys);
        const vf value = take(lanes, x, from + i) * vset(scale);
        put(lanes, y, from + i, (vi)(hash >> 8) >= vseti(threshold) ? value : vset(0.f));
      });
      from = until;
    }
  });
}

}  // namespace

extern "C" void RX_FILL(dropout)(KernelTable* table) { table->dropout = dropout; }
