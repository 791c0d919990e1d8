// What a thread that spins does in between: it leaves the core's other thread and its power alone.
#pragma once

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  // `yield` takes no time on most of these; this waits some 10 ns, about as long as x86's pause
  __asm__ volatile("isb");
#endif
}
