// Who reads and writes which byte of a launch. The kernels are compiled with the calls that ThreadSanitizer's instrumentation makes, and
// these are answered here: two threads that meet at a byte, one of them writing, must have a __syncthreads() between them (in one warp, a
// __syncwarp()), or one must have waited for a phase that the other ended (phases_arrive), and threads of two blocks must not meet at all.
// Shuffles and products order nothing, as on a card. What was touched is counted: the bytes that a launch moves at least.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulate {

// Bytes that a launch reads before it writes them, and bytes that it writes, each counted once.
struct Moved {
  long read = 0, written = 0;
};

#ifdef RX_WATCH
// The card's memory, as the driver gives it out.
void watch_memory(const void* at, size_t bytes, bool there);
void watch_launch(const char* kernel, const void* shared, size_t shared_bytes);
Moved watched();
void watch_block(unsigned long block, unsigned warps);
void watch_barrier();
void watch_warp(unsigned warp);
// A barrier of phases is made; thread_now has arrived there, and ended a phase or not; it has waited for one.
void watch_phases(const void* barrier);
void watch_arrived(const void* barrier, bool ends);
void watch_waited(const void* barrier);
// What cp.async does for thread_now: from the time it is asked for, which is returned, until it has been waited for.
unsigned watch_copy(const void* to, const void* from, unsigned bytes);
void watch_copied(const void* to, unsigned bytes, unsigned since);
// What a product reads for thread_now, when it is asked for (since: 0) and again when it has been computed. What was written there must
// have been followed by the fence of who wrote it.
void watch_product(const void* at, unsigned bytes, unsigned since);
void watch_proxy();
unsigned watch_now();
#else
inline void watch_product(const void*, unsigned, unsigned) {}
inline void watch_proxy() {}
inline unsigned watch_now() { return 0; }
inline void watch_memory(const void*, size_t, bool) {}
inline void watch_launch(const char*, const void*, size_t) {}
inline void watch_block(unsigned long, unsigned) {}
inline void watch_barrier() {}
inline void watch_warp(unsigned) {}
inline void watch_phases(const void*) {}
inline void watch_arrived(const void*, bool) {}
inline void watch_waited(const void*) {}
inline unsigned watch_copy(const void*, const void*, unsigned) { return 0; }
inline void watch_copied(const void*, unsigned, unsigned) {}
#endif

}  // namespace emulate
