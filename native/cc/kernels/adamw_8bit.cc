// AdamW whose moments lie in 8 bits (Dettmers et al. 2022), in one pass over memory: a block is widened, moved and narrowed while
// it is in the first cache.
#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"

namespace {

constexpr long block = ADAMW_8BIT_BLOCK;
constexpr long blocks_a_piece = 64;

// The nearest of up to 256 ascending magnitudes 0 … 1, found without a search: [0, 1] is cut where the leading 16 bits of a float
// change, which is so finely that no cell holds two borders between neighbours.
constexpr int32_t first_cell = (127 - 23) << 7;
constexpr int32_t cells = 23 * 128 + 1;
struct Nearest {
  float border[256];     // border[i]: between magnitude i and the next
  uint8_t below[cells];  // borders below the cell
};

void prepare(Nearest* out, const float* magnitudes, int32_t count) {
  for (int32_t i = 0; i < count - 1; i++) out->border[i] = (magnitudes[i] + magnitudes[i + 1]) / 2;
  out->border[count - 1] = __builtin_inff();
  int32_t below = 0;
  for (int32_t cell = 0; cell < cells; cell++) {
    const int32_t bits = cell == 0 ? 0 : (first_cell + cell) << 16;
    float from;
    __builtin_memcpy(&from, &bits, sizeof from);
    while (out->border[below] < from) below++;
    out->below[cell] = (uint8_t)below;
  }
}

// found[i]: the nearest to |x[i]| / divisor, for i below n; all of x may be read.
RX_INLINE void nearest(const Nearest* in, const float* x, float divisor, long n, int32_t* found) {
  int32_t cell[block];
  float magnitude[block];
  for (long i = 0; i < block; i += VW) {
    const vf scaled = vabs(load(x + i)) / vset(divisor);
    vi at = ((vi)scaled >> 16) - vseti(first_cell);
    at = at < vseti(0) ? vseti(0) : at;
    at = at > vseti(cells - 1) ? vseti(cells - 1) : at;  // a NaN stays inside the table
    store(magnitude + i, scaled);
    __builtin_memcpy(cell + i, &at, sizeof at);
  }
  for (long i = 0; i < n; i++) {
    const int32_t below = in->below[cell[i]];
    found[i] = below + (magnitude[i] > in->border[below]);
  }
}

void adamw_8bit(const Context* context, const AdamW8bit* a) {
  // start[t]: the first piece of tensor t
  long* const start = (long*)scratch_get(context->scratch, SCRATCH_KERNEL, (a->count + 1) * sizeof(long));
  start[0] = 0;
  for (long t = 0; t < a->count; t++) start[t + 1] = start[t] + parts_of(a->sizes[t], blocks_a_piece * block);
  Nearest* const find = (Nearest*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, 2 * sizeof(Nearest));
  prepare(find, a->signed_map + 127, 129);
  prepare(find + 1, a->unsigned_map, 256);

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
    const vf beta1 = vset((float)a->beta1), rest1 = vset((float)(1 - a->beta1));
    const vf beta2 = vset((float)a->beta2), rest2 = vset((float)(1 - a->beta2));
    const vf keep = vset((float)(1 - a->learning_rate * a->weight_decay[low]));
    const vf rate = vset((float)step_size), root = vset((float)(1 / correction2));
    const vf epsilon = vset((float)a->epsilon), scale = vset((float)a->grad_scale);
    const long end = smaller(a->sizes[low], (part - start[low] + 1) * blocks_a_piece * block);
    for (long from = (part - start[low]) * blocks_a_piece * block; from < end; from += block) {
      const long n = smaller(block, end - from);
      float* const p = a->params[low] + from;
      const float* const g = a->grads[low] + from;
      uint8_t* const cm = a->m[low] + from;
      uint8_t* const cv = a->v[low] + from;
      float* const am = a->m_absmax[low] + from / block;
      float* const av = a->v_absmax[low] + from / block;
      float m[block] = {}, v[block] = {};
      for (long i = 0; i < n; i++) m[i] = a->signed_map[cm[i]] * *am;
      for (long i = 0; i < n; i++) v[i] = a->unsigned_map[cv[i]] * *av;
      vf top1 = {}, top2 = {};
      each_vector(n, [&](long i, auto lanes) {
        const vf grad = lanes.load(g + i) * scale;
        const vf first = fma(lanes.load(m + i), beta1, grad * rest1);
        const vf second = fma(lanes.load(v + i), beta2, grad * grad * rest2);
        const vf divisor = fma(vsqrt(second), root, epsilon);
        lanes.store(m + i, first);
        lanes.store(v + i, second);
        lanes.store(p + i, fma(lanes.load(p + i), keep, -(rate * (first / divisor))));
        top1 = vmax(vabs(first), top1);
        top2 = vmax(second, top2);
      });
      *am = hmax(top1);
      *av = hmax(top2);
      int32_t found[block];
      nearest(find, m, *am == 0 ? 1.f : *am, n, found);
      for (long i = 0; i < n; i++) {
        // a negative number never becomes 0, and the signed map ends before -1
        const int32_t down = found[i] == 0 ? 1 : found[i] < 127 ? found[i] : 127;
        cm[i] = (uint8_t)(m[i] < 0 ? 127 - down : 127 + found[i]);
      }
      nearest(find + 1, v, *av == 0 ? 1.f : *av, n, found);
      for (long i = 0; i < n; i++) cv[i] = (uint8_t)found[i];
    }
  });
}

}  // namespace

extern "C" void RX_FILL(adamw_8bit)(KernelTable* table) { table->adamw_8bit = adamw_8bit; }
