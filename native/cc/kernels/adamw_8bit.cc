// AdamW whose moments lie in 8 bits (Dettmers et al. 2022), in one pass over memory: a block is widened, moved and narrowed while
// it is in the first cache.
#include "../kernel_table.h"
#include "adamw_rule.h"
#include "parallel.h"

namespace {

constexpr long block = ADAMW_8BIT_BLOCK;
constexpr long blocks_a_piece = 64;

// The nearest to x of a dynamic map's magnitudes, 129 or 256 of them: 0; of each power p of 10^-6 … 1 the midpoints of equal parts of
// [p / 10, p], twice as many as of the power before; and 1. What lies beyond the border between two of them is nearer to the greater.
// Found in two strides, Guess and Settle, each in a loop of its own: a chain as long as both would outlast what a processor looks
// ahead.
#if defined(__AVX512F__)

// Where x lies on the line through the parts of its power tells which it is to within one; the border behind that tells the rest.
template <int magnitudes>
struct Nearest {
  static constexpr int powers = 7, parts_of_first = (magnitudes - 2) / 127;
  static constexpr int borders = magnitudes == 256 ? 256 : 128;
  float border[borders];
  int32_t power_of[32];  // of the least number of each exponent, by the lowest bits of the exponent
  float end[16], slope[16], offset[16];

  void prepare(const float* map) {
    for (int i = 0; i < borders; i++) border[i] = i < magnitudes - 1 ? (map[i] + map[i + 1]) / 2 : __builtin_inff();
    for (int power = 0; power < powers; power++) {
      const int parts = parts_of_first << power, first = 1 + parts - parts_of_first;
      const double p = __builtin_pow(10, power - (powers - 1));
      end[power] = power == powers - 1 ? __builtin_inff() : (float)p;
      slope[power] = (float)(parts / (0.9 * p));
      offset[power] = (float)(first - parts / 9. - 0.5);
    }
    for (int i = 0, power = 0; i < 32; i++) {
      while (__builtin_ldexp(1, i - 31) >= end[power]) power++;
      power_of[i] = power;
    }
  }

  // The nearest to x of 0 … 1, or one less.
  struct Guess {
    Table<32> power_of;
    __m512 end, slope, offset;
    inline __attribute__((always_inline)) explicit Guess(const Nearest& of)
        : power_of((const float*)of.power_of), end(_mm512_loadu_ps(of.end)), slope(_mm512_loadu_ps(of.slope)), offset(_mm512_loadu_ps(of.offset)) {}
    inline __attribute__((always_inline)) vi operator()(vf x) const {
      const vf no_less = vmax(x, vset(0x1p-31f));
      const __m512i least = (__m512i)power_of[(vi)no_less >> 23];
      const __mmask16 beyond = _mm512_cmp_ps_mask((__m512)no_less, _mm512_permutexvar_ps(least, end), _CMP_GE_OQ);
      const __m512i power = _mm512_mask_add_epi32(least, beyond, least, _mm512_set1_epi32(1));
      return (vi)_mm512_cvttps_epi32(_mm512_fmadd_ps((__m512)x, _mm512_permutexvar_ps(power, slope), _mm512_permutexvar_ps(power, offset)));
    }
  };
  struct Settle {
    Table<borders> border;
    inline __attribute__((always_inline)) explicit Settle(const Nearest& of) : border(of.border) {}
    inline __attribute__((always_inline)) vi operator()(vf x, vi guess) const {
      const __mmask16 beyond = _mm512_cmp_ps_mask((__m512)x, (__m512)border[guess], _CMP_GT_OQ);
      return (vi)_mm512_mask_add_epi32((__m512i)guess, beyond, (__m512i)guess, _mm512_set1_epi32(1));
    }
  };
};

#else

// [2^-23, 1] is cut where the leading 16 bits of a float change, which is so finely that no cell holds two borders, and none lies
// below.
template <int magnitudes>
struct Nearest {
  static constexpr int32_t first_cell = (127 - 23) << 7;
  static constexpr int32_t cells = 23 * 128 + 1;
  // Of each cell: in the upper half how many borders lie below it; in the lower half the other 16 bits of the border inside it, or
  // the greatest there are, which nothing is beyond.
  int32_t cell[cells];

  void prepare(const float* map) {
    for (int32_t c = 0, below = 0; c < cells; c++) {
      int32_t inside = 0xffff;
      for (; below < magnitudes - 1; below++) {
        const float border = (map[below] + map[below + 1]) / 2;
        int32_t bits;
        __builtin_memcpy(&bits, &border, sizeof bits);
        if (bits >> 16 == first_cell + c) inside = bits & 0xffff;
        if (bits >> 16 >= first_cell + c) break;
      }
      cell[c] = below << 16 | inside;
    }
  }

  struct Guess {
    const int32_t* cell;
    inline __attribute__((always_inline)) explicit Guess(const Nearest& of) : cell(of.cell) {}
    inline __attribute__((always_inline)) vi operator()(vf x) const {
      return gather(cell, ((vi)vmax(x, vset(0x1p-23f)) >> 16) - vseti(first_cell));
    }
  };
  struct Settle {
    inline __attribute__((always_inline)) explicit Settle(const Nearest&) {}
    inline __attribute__((always_inline)) vi operator()(vf x, vi guess) const {
      const vi bits = (vi)vmax(x, vset(0x1p-23f));
      return (guess >> 16) - ((bits & vseti(0xffff)) > (guess & vseti(0xffff)));
    }
  };
};

#endif

typedef Nearest<129> First;
typedef Nearest<256> Second;
struct Both {
  First first;
  Second second;
};

// |x| / absmax of [0, 1]: 0 of an infinity, 1 of NaN.
RX_INLINE vf share(vf x, float absmax) {
  const vf finite = vmin(vset(3.40282347e38f), vabs(x));  // second operand: a NaN comes through
  return vmin(finite / vset(absmax == 0 ? 1.f : absmax), vset(1));
}

void adamw_8bit(const Context* context, const AdamW8bit* a) {
  const Pieces pieces(context, SCRATCH_KERNEL, a->sizes, a->count, blocks_a_piece * block);
  Both* const nearest = (Both*)scratch_get(context->scratch, SCRATCH_KERNEL + 1, sizeof(Both));
  nearest->first.prepare(a->signed_map + 127);
  nearest->second.prepare(a->unsigned_map);
  const AdamWRule rules(a);
  parallel_pieces(context, pieces, [=](long, long t, long start, long count) {
    const AdamWRule rule = rules.with_decay(a->weight_decay[t]);
    for (long from = start; from < start + count; from += block) {
      const long n = smaller(block, start + count - from);
      float* const p = a->params[t] + from;
      const float* const g = a->grads[t] + from;
      uint8_t* const cm = a->m[t] + from;
      uint8_t* const cv = a->v[t] + from;
      float* const am = a->m_absmax[t] + from / block;
      float* const av = a->v_absmax[t] + from / block;
      float m[block], v[block], share_m[block], share_v[block], guess_m[block], guess_v[block];
      // Every table has a loop of its own, so that it stays in registers.
      const Table<256> signed_map(a->signed_map);
      each_vector(n, [&](long i, auto lanes) { lanes.store(m + i, signed_map[lanes.bytes(cm + i)] * vset(*am)); });
      const Table<256> unsigned_map(a->unsigned_map);
      each_vector(n, [&](long i, auto lanes) { lanes.store(v + i, unsigned_map[lanes.bytes(cv + i)] * vset(*av)); });
      vf top1 = {}, top2 = {};
      each_vector(n, [&](long i, auto lanes) {
        vf first = lanes.load(m + i), second = lanes.load(v + i);
        lanes.store(p + i, rule(lanes.load(p + i), lanes.load(g + i), first, second));
        lanes.store(m + i, first);
        lanes.store(v + i, second);
        top1 = vmax(vabs(first), top1);
        top2 = vmax(second, top2);
      });
      *am = hmax(top1);
      *av = hmax(top2);
      each_vector(n, [&](long i, auto lanes) {
        lanes.store(share_m + i, share(lanes.load(m + i), *am));
        lanes.store(share_v + i, share(lanes.load(v + i), *av));
      });
      const First::Guess first_guess(nearest->first);
      const Second::Guess second_guess(nearest->second);
      each_vector(n, [&](long i, auto lanes) {
        lanes.store(guess_m + i, (vf)first_guess(lanes.load(share_m + i)));
        lanes.store(guess_v + i, (vf)second_guess(lanes.load(share_v + i)));
      });
      const First::Settle first_code(nearest->first);
      each_vector(n, [&](long i, auto lanes) {
        const vi up = first_code(lanes.load(share_m + i), (vi)lanes.load(guess_m + i));
        // a negative number never becomes 0, and the signed map ends before -1
        const vi down = (up > vseti(127) ? vseti(127) : up) - (up == vseti(0));
        lanes.store_bytes(cm + i, vseti(127) + (lanes.load(m + i) < vset(0) ? -down : up));
      });
      const Second::Settle second_code(nearest->second);
      each_vector(n, [&](long i, auto lanes) { lanes.store_bytes(cv + i, second_code(lanes.load(share_v + i), (vi)lanes.load(guess_v + i))); });
    }
  });
}

}  // namespace

extern "C" void RX_FILL(adamw_8bit)(KernelTable* table) { table->adamw_8bit = adamw_8bit; }
