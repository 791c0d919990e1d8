// Memory from the operating system: 64-byte aligned, large pieces aligned to and advised for huge pages.
#pragma once

#include <stddef.h>

// Rounds a size up to what pages_take really uses.
size_t pages_round(size_t bytes);
// Null when there is none left.
void* pages_take(size_t bytes);
void pages_give(void* memory, size_t bytes);

#ifdef __cplusplus
// Large pieces of memory, from the system or from a device.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual size_t round(size_t bytes) const = 0;
  // What the place of each tensor is a multiple of.
  virtual size_t unit() const { return 64; }
  virtual void* take(size_t bytes) = 0;
  // Nothing that was started may still use it.
  virtual void give(void* memory, size_t bytes) = 0;
};
PageSource& host_pages();
#endif
