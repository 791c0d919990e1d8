// What the tests of the kernels share: contexts of 1 to 3 threads, seeded numbers, comparisons that say what differs.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../kernel_table.h"
#include "../simd.h"
#if defined(RX_AMX)
#include "../allow_tiles.h"
#endif

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline int failures = 0;

struct Random {
  std::mt19937 engine;
  explicit Random(unsigned seed) : engine(seed) {}
  long below(long n) { return std::uniform_int_distribution<long>(0, n - 1)(engine); }
  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(engine); }
  Floats floats(long n, float low = -1, float high = 1) {
    Floats out(n);
    for (auto& x : out) x = uniform(low, high);
    return out;
  }
  template <class T>
  T one_of(std::initializer_list<T> from) {
    return *(from.begin() + below((long)from.size()));
  }
};

// A context whose memory outlives it, one a number of threads.
struct Engine {
  KernelTable table = {};
  Context context = {};
  Engine(int threads, void (*fill)(KernelTable*)) {
#if defined(RX_AMX)
    if (!allows_tiles()) std::fprintf(stderr, "Linux does not give matrix tiles here\n"), std::exit(1);
#endif
    fill(&table);
    context.pool = pool_create(threads);
    context.scratch = scratch_create();
    context.table = &table;
  }
  ~Engine() {
    pool_destroy(context.pool);
    scratch_destroy(context.scratch);
  }
  Engine(const Engine&) = delete;
  const Context* operator*() const { return &context; }
};

// Seconds on a clock.
inline double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

inline void report(const std::string& what) {
  if (++failures <= 20) std::fprintf(stderr, "  %s\n", what.c_str());
}

// |got - want| <= relative * |want| + absolute, element by element; NaN wants NaN, an infinity wants itself.
inline void expect_close(const std::string& what, const float* got, const double* want, long n, double relative,
                         double absolute) {
  long wrong = 0, first = -1;
  double worst = 0;
  for (long i = 0; i < n; i++) {
    const double g = got[i], w = want[i];
    const bool same = std::isnan(w) ? std::isnan(g) : std::isinf(w) ? g == w : std::fabs(g - w) <= relative * std::fabs(w) + absolute;
    if (same) continue;
    if (first < 0) first = i;
    wrong++;
    worst = std::fmax(worst, std::fabs(g - w));
  }
  if (wrong)
    report(what + ": " + std::to_string(wrong) + " of " + std::to_string(n) + " wrong, first at " + std::to_string(first) + ": got " +
           std::to_string(got[first]) + ", want " + std::to_string(want[first]) + ", largest error " + std::to_string(worst));
}
inline void expect_close(const std::string& what, const Floats& got, const Doubles& want, double relative, double absolute) {
  if (got.size() != want.size()) return report(what + ": sizes differ");
  expect_close(what, got.data(), want.data(), (long)got.size(), relative, absolute);
}
inline void expect_same_bits(const std::string& what, const Floats& a, const Floats& b) {
  if (a.size() != b.size() || (!a.empty() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) != 0)) report(what + ": bits differ");
}
inline void expect(const std::string& what, bool truth) {
  if (!truth) report(what);
}

// Numbers as bfloat16, to nearest even, and what such are worth.
using Halved = std::vector<uint16_t>;
inline Halved halved(const Floats& x) {
  Halved out;
  for (const float value : x) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    out.push_back((uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
  }
  return out;
}
inline float widened(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline Floats widened(const Halved& x) {
  Floats out;
  for (const uint16_t half : x) out.push_back(widened(half));
  return out;
}

// Derivative of f with respect to one number, by central differences in double precision.
template <class F>
double slope(double& at, double step, F f) {
  const double kept = at;
  at = kept + step;
  const double up = f();
  at = kept - step;
  const double down = f();
  at = kept;
  return (up - down) / (2 * step);
}

inline Doubles widen(const Floats& x) { return Doubles(x.begin(), x.end()); }

inline int finish() {
  if (failures > 20) std::fprintf(stderr, "  and %d more\n", failures - 20);
  return failures == 0 ? 0 : 1;
}
