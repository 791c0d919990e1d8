// What scans make rates with.
#pragma once

#include "../simd.h"

namespace {

// log(1 + e^x), also where e^x is small beside 1.
RX_INLINE vf softplus(vf x) {
  const vf small = vexp(-vabs(x)), more = vset(1.f) + small;
  const vf log = more == vset(1.f) ? small : vlog(more) * (small / (more - vset(1.f)));
  return log + (x > vset(0.f) ? x : x == x ? vf{} : x);
}

}  // namespace
