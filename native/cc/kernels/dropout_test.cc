#include "test.h"

extern "C" void RX_FILL(dropout)(KernelTable*);

namespace {

uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}
double draw(uint32_t seed, uint64_t index) {
  const uint32_t key = mix(mix(seed) + (uint32_t)(index >> 32));
  return (mix(mix((uint32_t)index ^ key) + key) >> 8) / 16777216.0;
}

}  // namespace

int main() {
  for (uint64_t offset : {(uint64_t)0, (uint64_t)12345, ((uint64_t)1 << 32) - 70, ((uint64_t)7 << 32) - 40000, ((uint64_t)1 << 52) - 3})
    for (long n : {0L, 1L, 31L, 100L, 50021L})
      for (double rate : {0.0, 0.1, 0.5}) {
        Random random((unsigned)n);
        const Floats x = random.floats(n);
        Doubles want(n);
        for (long i = 0; i < n; i++) want[i] = draw(77, offset + i) >= rate ? (double)(x[i] * (float)(1 / (1 - rate))) : 0;
        for (int threads = 1; threads <= 3; threads++) {
          Engine engine(threads, RX_FILL(dropout));
          Floats y(n, 9.f), in_place = x;
          engine.table.dropout(*engine, values_of(x.data()), values_of(y.data()), n, rate, 77, offset);
          engine.table.dropout(*engine, values_of(in_place.data()), values_of(in_place.data()), n, rate, 77, offset);
          expect_close("dropout", y, want, 0, 0);
          expect_same_bits("in place", y, in_place);
        }
      }
  // a draw equal to the rate is kept
  {
    Engine engine(1, RX_FILL(dropout));
    const Floats x(9, 1.f);
    Floats y(9);
    engine.table.dropout(*engine, values_of(x.data()), values_of(y.data()), 9, draw(77, 5), 77, 0);
    expect("draw equal to the rate", y[5] != 0);
  }
  // Kept shares, and agreement of masks of neighbouring seeds and offsets, within five standard deviations.
  const long n = 1000000;
  const double rate = 0.3;
  Engine engine(1, RX_FILL(dropout));
  const Floats x(n, 1.f);
  std::vector<Floats> masks;
  for (auto [seed, offset] : {std::pair<uint32_t, uint64_t>{1, 0}, {2, 0}, {3, 0}, {1, (uint64_t)n}, {1, (uint64_t)1 << 32}}) {
    masks.emplace_back(n);
    engine.table.dropout(*engine, values_of(x.data()), values_of(masks.back().data()), n, rate, seed, offset);
  }
  for (size_t a = 0; a < masks.size(); a++) {
    long kept = 0;
    for (float y : masks[a]) kept += y != 0;
    expect("share kept", std::fabs(kept - n * (1 - rate)) < 5 * std::sqrt(n * rate * (1 - rate)));
    for (size_t b = 0; b <= a; b++)
      for (long shift : {0L, 1L, 64L}) {
        if (a == b && shift == 0) continue;
        long both = 0;
        for (long i = 0; i + shift < n; i++) both += masks[a][i + shift] != 0 && masks[b][i] != 0;
        const double p = (1 - rate) * (1 - rate);
        expect("masks depend on each other", std::fabs(both - (n - shift) * p) < 5 * std::sqrt(n * p * (1 - p)));
      }
  }
  return finish();
}
