#include "dispatch.h"

#include <string.h>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

// Written by build.mjs: RX_KERNELS(X) calls X(name) for every kernels/<name>.cc; RX_TILES where the compiler knows Intel's tiles, on Linux.
#include "kernel_list.h"
#if defined(RX_TILES)
#include <cpuid.h>

#include "allow_tiles.h"
#endif

#define DECLARE(name, isa) extern "C" void rx_fill_##name##_##isa(KernelTable*);
#define FILL(name, isa) rx_fill_##name##_##isa(table);

// What every processor of this kind has.
#if defined(__aarch64__)
#define RX_LEAST neon
#else
#define RX_LEAST portable
#endif

RX_KERNELS(DECLARE, RX_LEAST)
#if defined(__aarch64__)
RX_BFLOAT16_KERNELS(DECLARE, neonbf16)
#endif
#if defined(__x86_64__)
RX_KERNELS(DECLARE, avx2)
RX_KERNELS(DECLARE, avx512)
RX_BFLOAT16_KERNELS(DECLARE, avx512bf16)
#endif
#if defined(RX_TILES)
RX_BFLOAT16_KERNELS(DECLARE, amxbf16)
#endif

namespace {

#define RX_TEXT_(name) #name
#define RX_TEXT(name) RX_TEXT_(name)
constexpr const char* leastIsa = RX_TEXT(RX_LEAST);

#if defined(__aarch64__)
// macOS has Accelerate, which is faster at float32 than this is.
bool hasBfloat16() {
#if defined(__linux__)
  constexpr unsigned long hwcap2Bf16 = 1UL << 14;
  return (getauxval(AT_HWCAP2) & hwcap2Bf16) != 0;
#else
  return false;
#endif
}
#endif

KernelTable least() {
  KernelTable filled = {};
  KernelTable* const table = &filled;
  RX_KERNELS(FILL, RX_LEAST)
  table->isa = leastIsa;
#if defined(__aarch64__)
  if (hasBfloat16()) {
    RX_BFLOAT16_KERNELS(FILL, neonbf16)
  }
#endif
  return filled;
}

#if defined(__x86_64__)
KernelTable avx2() {
  KernelTable filled = {};
  KernelTable* const table = &filled;
  RX_KERNELS(FILL, avx2)
  table->isa = "avx2";
  return filled;
}

KernelTable avx512() {
  KernelTable filled = {};
  KernelTable* const table = &filled;
  RX_KERNELS(FILL, avx512)
  table->isa = "avx512";
  // Intel's vectors multiply bfloat16 at two thirds of what they do with float32 (measured on a Xeon with tiles).
  if (__builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel")) {
    RX_BFLOAT16_KERNELS(FILL, avx512bf16)
  }
  return filled;
}

#if defined(RX_TILES)
KernelTable amx() {
  KernelTable filled = avx512();
  KernelTable* const table = &filled;
  table->isa = "amx";
  RX_BFLOAT16_KERNELS(FILL, amxbf16)
  return filled;
}

bool hasAmx() {
  constexpr unsigned amxBf16 = 1u << 22, amxTile = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & amxBf16) == 0 || (d & amxTile) == 0) return false;
  static const bool allowed = allows_tiles();
  return allowed;
}
#endif

bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

}  // namespace

const KernelTable* kernel_table(const char* isa) {
  const bool any = isa == nullptr || isa[0] == 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(RX_TILES)
  if ((any || strcmp(isa, "amx") == 0) && hasAvx512() && __builtin_cpu_supports("avx512bf16") && hasAmx()) {
    static const KernelTable table = amx();
    return &table;
  }
#endif
  if ((any || strcmp(isa, "avx512") == 0) && hasAvx512()) {
    static const KernelTable table = avx512();
    return &table;
  }
  if ((any || strcmp(isa, "avx2") == 0) && hasAvx2()) {
    static const KernelTable table = avx2();
    return &table;
  }
#endif
  if (any || strcmp(isa, leastIsa) == 0) {
    static const KernelTable table = least();
    return &table;
  }
  return nullptr;
}
