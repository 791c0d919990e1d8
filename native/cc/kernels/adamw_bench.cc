// AdamW with moments of 32 bits and of 8: nanoseconds a number (medians of interleaved runs), and the 8-bit one's share of the other's.
// Arguments: numbers, threads, rounds.
#include <algorithm>

#include "dynamic_map.h"
#include "test.h"

extern "C" void RX_FILL(adamw)(KernelTable*);
extern "C" void RX_FILL(adamw_8bit)(KernelTable*);

namespace {

double median(Doubles of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, long other) { return argc > i ? std::atol(argv[i]) : other; };
  const long n = argument(1, 8 << 20), threads = argument(2, 1), rounds = argument(3, 15);
  Engine engine((int)threads, RX_FILL(adamw));
  RX_FILL(adamw_8bit)(&engine.table);
  Random random(1);
  Floats p = random.floats(n), m(n), v(n), m_absmax(n / 256 + 1), v_absmax(n / 256 + 1);
  const Floats g = random.floats(n);
  std::vector<uint8_t> m_codes(n, 127), v_codes(n);
  const Floats with_sign = dynamic_map(true), no_sign = dynamic_map(false);
  float* const ps[] = {p.data()};
  const float* const gs[] = {g.data()};
  float *const ms[] = {m.data()}, *const vs[] = {v.data()}, *const mas[] = {m_absmax.data()}, *const vas[] = {v_absmax.data()};
  uint8_t *const mcs[] = {m_codes.data()}, *const vcs[] = {v_codes.data()};
  const float decay[] = {0.01f};
  const AdamW wide = {1, ps, gs, ms, vs, &n, decay, 1e-4, 0.9, 0.999, 1e-8, 1, 10};
  const AdamW8bit narrow = {1, ps, gs, mcs, vcs, mas, vas, &n, decay, with_sign.data(), no_sign.data(), 1e-4, 0.9, 0.999, 1e-8, 1, 10};
  const clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  Doubles of32, of8, ratios;
  for (long round = -1; round < rounds; round++) {
    const double start = now(clock);
    engine.table.adamw(*engine, &wide);
    const double middle = now(clock);
    engine.table.adamw_8bit(*engine, &narrow);
    const double end = now(clock);
    if (round < 0) continue;  // pages and maps
    of32.push_back(middle - start), of8.push_back(end - middle), ratios.push_back((end - middle) / (middle - start));
  }
  std::printf("{\"numbers\":%ld,\"threads\":%ld,\"ns32\":%.3f,\"ns8\":%.3f,\"ratio\":%.2f}\n", n, threads, 1e9 * median(of32) / (double)n,
              1e9 * median(of8) / (double)n, median(ratios));
}
