// AdamW over many tensors in one pass over memory.
#include "../kernel_table.h"
#include "adamw_rule.h"
#include "parallel.h"

namespace {

void adamw(const Context* context, const AdamW* a) {
  const Pieces pieces(context, SCRATCH_KERNEL, a->sizes, a->count, 1 << 15);
  const AdamWRule rules(a);
  parallel_pieces(context, pieces, [=](long, long t, long from, long n) {
    float* const p = a->params[t] + from;
    const float* const g = a->grads[t] + from;
    float* const m = a->m[t] + from;
    float* const v = a->v[t] + from;
    const AdamWRule rule = rules.with_decay(a->weight_decay[t]);
    each_vector(n, [&](long i, auto lanes) {
      vf first = lanes.load(m + i), second = lanes.load(v + i);
      const vf moved = rule(lanes.load(p + i), lanes.load(g + i), first, second);
      lanes.store(m + i, first);
      lanes.store(v + i, second);
      lanes.store(p + i, moved);
    });
  });
}

}  // namespace

extern "C" void RX_FILL(adamw)(KernelTable* table) { table->adamw = adamw; }
