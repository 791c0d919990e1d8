// bitsandbytes' dynamic maps, in doubles, for tests.
#pragma once

#include <algorithm>

#include "test.h"

inline Floats dynamic_map(bool with_sign) {
  Floats map = {0, 1};
  for (int e = 0; e < 7; e++) {
    const int parts = with_sign ? 1 << e : 2 << e;
    for (int i = 0; i < parts; i++) {
      const double middle = std::pow(10., e - 6) * (0.1 + 0.9 * (i + 0.5) / parts);
      map.push_back((float)middle);
      if (with_sign) map.push_back((float)-middle);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}
