// Intel's matrix tiles are 8 KB of state more for every thread; Linux gives them to a process that asks (5.16), and refuses where it cannot.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

static inline bool allows_tiles() {
  constexpr unsigned long request = 0x1023, tileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tileData) == 0;
}
