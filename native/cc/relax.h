// What a thread that spins does in between: it leaves the core's other thread and its power alone.
#pragma once

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
