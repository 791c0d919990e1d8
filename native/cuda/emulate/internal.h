// What the parts of the emulation know of each other.
#pragma once

#include <cstddef>

namespace emulate {

// Ends the program, with what a card would not have done.
[[noreturn]] void fail(const char* what);

// Dynamic shared memory of the launch that runs; where it begins, it is aligned to 16 bytes alone: the page does not begin there.
extern unsigned char* shared_page;
extern size_t shared_bytes_now;

// Returns when all threads of the warpgroup have come.
void warpgroup_barrier();

// At the start of a block, and where a thread returns.
void products_reset(unsigned threads);
void products_left();

}  // namespace emulate
