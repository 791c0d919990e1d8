// AdamW (Loshchilov & Hutter 2019, the form of torch.optim.AdamW) over many tensors in one pass over memory.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

constexpr long piece = 1 << 15;

void adamw(const Context* context, const AdamW* a) {
  // start[t]: the first piece of tensor t
  long* const start = (long*)scratch_get(context->scratch, SCRATCH_KERNEL, (a->count + 1) * sizeof(long));
  start[0] = 0;
  for (long t = 0; t < a->count; t++) start[t + 1] = start[t] + parts_of(a->sizes[t], piece);

  const double step_size = a->learning_rate / (1 - __builtin_pow(a->beta1, (double)a->step));
  const double correction2 = __builtin_sqrt(1 - __builtin_pow(a->beta2, (double)a->step));
  parallel(context, start[a->count], [=](long part) {
    long low = 0, high = a->count;  // start[low] <= part < start[high]
    while (high - low > 1) {
      const long middle = (low + high) / 2;
      if (start[middle] <= part)
        low = middle;
      else
        high = middle;
    }
    const long from = (part - start[low]) * piece;
    float* const p = a->params[low] + from;
    const float* const g = a->grads[low] + from;
    float* const m = a->m[low] + from;
    float* const v = a->v[low] + from;
    const vf beta1 = vset((float)a->beta1), rest1 = vset((float)(1 - a->beta1));
    const vf beta2 = vset((float)a->beta2), rest2 = vset((float)(1 - a->beta2));
    const vf keep = vset((float)(1 - a->learning_rate * a->weight_decay[low]));
    const vf rate = vset((float)step_size), root = vset((float)(1 / correction2));
    const vf epsilon = vset((float)a->epsilon), scale = vset((float)a->grad_scale);
    each_vector(smaller(piece, a->sizes[low] - from), [&](long i, auto lanes) {
      const vf grad = lanes.load(g + i) * scale;
      const vf first = fma(lanes.load(m + i), beta1, grad * rest1);
      const vf second = fma(lanes.load(v + i), beta2, grad * grad * rest2);
      const vf divisor = fma(vsqrt(second), root, epsilon);
      lanes.store(m + i, first);
      lanes.store(v + i, second);
      lanes.store(p + i, fma(lanes.load(p + i), keep, -(rate * (first / divisor))));
    });
  });
}

}  // namespace

extern "C" void RX_FILL(adamw)(KernelTable* table) { table->adamw = adamw; }
