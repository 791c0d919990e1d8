// Vectors of VW floats, VW chosen by the instruction set this file is compiled for, and the elementary functions on them.
//
// Everything here is static and always inlined, and nothing of std is used: the same source is compiled once an
// instruction set and linked into one library, where an inline function with external linkage compiled for AVX-512 could
// win over its portable twin and crash an old processor.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VW 16
#elif defined(__AVX2__) && defined(__FMA__)
#define VW 8
#else
#define VW 4
#endif

#define RX_INLINE static inline __attribute__((always_inline))
#define RX_STATIC static __attribute__((noinline, unused))

// RX_FILL(name) is the entry point of kernels/<name>.cc for the instruction set being compiled: rx_fill_<name>_<isa>.
#define RX_JOIN3_(a, b, c) a##b##_##c
#define RX_JOIN3(a, b, c) RX_JOIN3_(a, b, c)
#define RX_FILL(name) RX_JOIN3(rx_fill_, name, RX_ISA)

typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef uint32_t vu __attribute__((vector_size(VW * 4)));
typedef double vd __attribute__((vector_size(VW * 4)));  // VW / 2 lanes
typedef float vh __attribute__((vector_size(VW * 2)));   // VW / 2 lanes, what one vd converts from

// ---- moving ----

RX_INLINE vf vset(float x) { return x - vf{}; }
RX_INLINE vi vseti(int32_t x) { return x - vi{}; }
RX_INLINE vu vsetu(uint32_t x) { return x - vu{}; }

RX_INLINE vf load(const float* p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
RX_INLINE void store(float* p, vf v) { __builtin_memcpy(p, &v, sizeof v); }

RX_INLINE vi iota() {
  vi v = {};
  for (int i = 0; i < VW; i++) v[i] = i;
  return v;
}

#if defined(__AVX512F__)
RX_INLINE __mmask16 tail_mask(int64_t n) { return (__mmask16)((1u << n) - 1); }
// The first n (0 <= n < VW) floats at p, zeros after them; nothing beyond p + n is touched.
RX_INLINE vf load_n(const float* p, int64_t n) { return (vf)_mm512_maskz_loadu_ps(tail_mask(n), p); }
RX_INLINE void store_n(float* p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, tail_mask(n), (__m512)v); }
#elif VW == 8
RX_INLINE __m256i tail_mask(int64_t n) { return (__m256i)(iota() < vseti((int32_t)n)); }
RX_INLINE vf load_n(const float* p, int64_t n) { return (vf)_mm256_maskload_ps(p, tail_mask(n)); }
RX_INLINE void store_n(float* p, vf v, int64_t n) { _mm256_maskstore_ps(p, tail_mask(n), (__m256)v); }
#else
RX_INLINE vf load_n(const float* p, int64_t n) {
  vf v = {};
  if (n > 0) v[0] = p[0];
  if (n > 1) v[1] = p[1];
  if (n > 2) v[2] = p[2];
  return v;
}
RX_INLINE void store_n(float* p, vf v, int64_t n) {
  if (n > 0) p[0] = v[0];
  if (n > 1) p[1] = v[1];
  if (n > 2) p[2] = v[2];
}
#endif

// v in its first n lanes, fill in the others.
RX_INLINE vf keep_n(vf v, int64_t n, float fill) { return iota() < vseti((int32_t)n) ? v : vset(fill); }

typedef uint8_t vb __attribute__((vector_size(VW)));

// The first n (0 <= n <= VW) bytes at p as integers, zeros after them; and integers 0 … 255 back.
RX_INLINE vi load_bytes(const uint8_t* p, int64_t n) {
  vb v = {};
  __builtin_memcpy(&v, p, (size_t)n);
#if defined(__AVX512F__)
  return (vi)_mm512_cvtepu8_epi32((__m128i)v);
#elif VW == 8
  return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)&v));
#elif defined(__SSE2__)
  const __m128i zero = _mm_setzero_si128();
  int32_t word;
  __builtin_memcpy(&word, &v, sizeof word);
  return (vi)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(word), zero), zero);
#else
  return __builtin_convertvector(v, vi);
#endif
}
RX_INLINE void store_bytes(uint8_t* p, vi v, int64_t n) {
#if defined(__AVX512F__)
  const vb bytes = (vb)_mm512_cvtepi32_epi8((__m512i)v);
#elif defined(__SSE2__)
#if VW == 8
  const __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
#else
  const __m128i shorts = _mm_packs_epi32((__m128i)v, (__m128i)v);
#endif
  const __m128i bytes = _mm_packus_epi16(shorts, shorts);
#else
  const vb bytes = __builtin_convertvector(v, vb);
#endif
  __builtin_memcpy(p, &bytes, (size_t)n);
}

// table[at] in each lane.
RX_INLINE vi gather(const int32_t* table, vi at) {
#if defined(__AVX512F__)
  return (vi)_mm512_i32gather_epi32((__m512i)at, table, 4);
#elif VW == 8
  return (vi)_mm256_i32gather_epi32(table, (__m256i)at, 4);
#else
  int32_t places[VW], found[VW];
  __builtin_memcpy(places, &at, sizeof at);
  for (int i = 0; i < VW; i++) found[i] = table[places[i]];
  vi v;
  __builtin_memcpy(&v, found, sizeof v);
  return v;
#endif
}

// A table of a power of two of numbers, up to 256: looked up in registers where they are wide enough.
template <int size>
struct Table {
#if defined(__AVX512F__)
  static constexpr int pairs = size / 32;
  __m512 low[pairs], high[pairs];
  inline __attribute__((always_inline)) explicit Table(const float* numbers) {
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) low[i] = _mm512_loadu_ps(numbers + 32 * i), high[i] = _mm512_loadu_ps(numbers + 32 * i + 16);
  }
  // Number at % size in each lane.
  inline __attribute__((always_inline)) vf operator[](vi at) const {
    // one of 32 by a permutation; the bits above choose between those
    __m512 found[pairs];
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) found[i] = _mm512_permutex2var_ps(low[i], (__m512i)at, high[i]);
#pragma GCC unroll 3
    for (int left = pairs / 2, bit = 32; left > 0; left /= 2, bit *= 2) {
      const __mmask16 second = _mm512_test_epi32_mask((__m512i)at, _mm512_set1_epi32(bit));
#pragma GCC unroll 4
      for (int i = 0; i < left; i++) found[i] = _mm512_mask_blend_ps(second, found[2 * i], found[2 * i + 1]);
    }
    return (vf)found[0];
  }
#else
  const float* numbers;
  inline __attribute__((always_inline)) explicit Table(const float* numbers) : numbers(numbers) {}
  inline __attribute__((always_inline)) vf operator[](vi at) const { return (vf)gather((const int32_t*)numbers, at & vseti(size - 1)); }
#endif
};

// A store past the caches, for results too large to be read back from them; p must be VW * 4-aligned.
RX_INLINE void stream(float* p, vf v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif VW == 8
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)v);
#else
  store(p, v);
#endif
}
RX_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Each two neighbours changed over: a1 a0 a3 a2 …
RX_INLINE vf swap_neighbours(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_permute_ps((__m512)a, 0xb1);
#elif VW == 8
  return (vf)_mm256_permute_ps((__m256)a, 0xb1);
#elif defined(__SSE2__)
  return (vf)_mm_shuffle_ps((__m128)a, (__m128)a, 0xb1);
#else
  return vf{a[1], a[0], a[3], a[2]};
#endif
}
// Each lane of the first half twice: a0 a0 a1 a1 …
RX_INLINE vf twice_each(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_permutexvar_ps((__m512i)(iota() >> 1), (__m512)a);
#elif VW == 8
  return (vf)_mm256_permutevar8x32_ps((__m256)a, (__m256i)(iota() >> 1));
#elif defined(__SSE2__)
  return (vf)_mm_unpacklo_ps((__m128)a, (__m128)a);
#else
  return vf{a[0], a[0], a[1], a[1]};
#endif
}

// ---- arithmetic ----

// a * b + c, rounded once where the processor can.
RX_INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VW == 8
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

#if defined(__ARM_NEON)
// a * b[lane] + c, the lane known when this is compiled.
RX_INLINE vf fma_lane(vf a, vf b, int lane, vf c) {
  switch (lane) {
    case 0: return (vf)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b, 0);
    case 1: return (vf)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b, 1);
    case 2: return (vf)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b, 2);
    default: return (vf)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b, 3);
  }
}
#endif

// The greater or the lesser of two; b where either is NaN.
RX_INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif VW == 8
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}
RX_INLINE vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif VW == 8
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

RX_INLINE vf vabs(vf a) { return (vf)((vi)a & vseti(0x7fffffff)); }
RX_INLINE vf vcopysign(vf magnitude, vf sign) {
  const vi top = vseti((int32_t)0x80000000u);
  return (vf)(((vi)magnitude & ~top) | ((vi)sign & top));
}
RX_INLINE vf vsqrt(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)a);
#elif VW == 8
  return (vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)a);
#elif defined(__ARM_NEON)
  return (vf)vsqrtq_f32((float32x4_t)a);
#else
  for (int i = 0; i < VW; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

RX_INLINE float hsum(vf a) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)a);
#elif VW == 8
  __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)a), _mm256_extractf128_ps((__m256)a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
#else
  return (a[0] + a[2]) + (a[1] + a[3]);
#endif
}
RX_INLINE double hsumd(vd a) {
  double s = 0;
  for (int i = 0; i < VW / 2; i++) s += a[i];
  return s;
}
// The greatest lane; a NaN lane may or may not be passed over.
RX_INLINE float hmax(vf a) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)a);
#else
  float m = a[0];
  for (int i = 1; i < VW; i++) m = a[i] > m ? a[i] : m;
  return m;
#endif
}

RX_INLINE vd widen_low(vf a) {
  vh h;
  __builtin_memcpy(&h, &a, sizeof h);
  return __builtin_convertvector(h, vd);
}
RX_INLINE vd widen_high(vf a) {
  vh h;
  __builtin_memcpy(&h, (const char*)&a + sizeof h, sizeof h);
  return __builtin_convertvector(h, vd);
}

// ---- elementary functions; largest errors over all of simd_test's samples are beside them ----

// Nearest integer (ties to even) of |x| < 2^22.
RX_INLINE vf vround(vf x) {
  const vf magic = vset(12582912.f);  // 1.5 * 2^23: the sum has no fraction bits left
  return (x + magic) - magic;
}

#if defined(__AVX512F__)
// p 2^n where x is not below `least`, 0 elsewhere. Results that are no normal numbers cost Intel's processors 200 cycles, zeros among them
// unless they are masked.
RX_INLINE vf scale_above(vf x, float least, vf p, vf n) {
  return (vf)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(least), _CMP_NLT_UQ), (__m512)p, (__m512)n);
}
#endif

// e^x: 1 ulp; 0 and inf beyond the range, denormal results included, NaN stays.
RX_INLINE vf vexp(vf x) {
  x = vmin(vset(90.f), x);  // second operand: a NaN x comes through
#if defined(__AVX512F__)
  const vf n = (vf)_mm512_roundscale_ps((__m512)(x * vset(1.44269504f)), 8);
#else
  x = vmax(vset(-105.f), x);
  const vf n = vround(x * vset(1.44269504f));
#endif
  vf r = fma(n, vset(-0.693359375f), x);
  r = fma(n, vset(2.12194440e-4f), r);
  // Cephes expf, degree 6 on [-ln2/2, ln2/2]
  vf p = vset(1.9875691500e-4f);
  p = fma(p, r, vset(1.3981999507e-3f));
  p = fma(p, r, vset(8.3334519073e-3f));
  p = fma(p, r, vset(4.1665795894e-2f));
  p = fma(p, r, vset(1.6666665459e-1f));
  p = fma(p, r, vset(5.0000001201e-1f));
  p = fma(p, r * r, r) + vset(1.f);
#if defined(__AVX512F__)
  return scale_above(x, -105.f, p, n);
#else
  // Two factors, since 2^n alone may be no normal number. A NaN n converts to some integer; NaN times it stays NaN.
  const vi k = __builtin_convertvector(n, vi);
  const vi k1 = k >> 1;
  const vi k2 = k - k1;
  return p * (vf)((vu)(k1 + 127) << 23) * (vf)((vu)(k2 + 127) << 23);
#endif
}

// 2^x: 1 ulp; 0 and inf beyond the range, denormal results included, NaN stays. Cheaper than vexp by a third.
RX_INLINE vf vexp2(vf x) {
  x = vmin(vset(130.f), x);  // second operand: a NaN x comes through
#if defined(__AVX512F__)
  const vf n = (vf)_mm512_roundscale_ps((__m512)x, 8);
#else
  x = vmax(vset(-150.f), x);
  const vf n = vround(x);
#endif
  const vf r = x - n;
  // Cephes exp2f, degree 6 on [-1/2, 1/2]
  vf p = vset(1.535336188e-4f);
  p = fma(p, r, vset(1.339887440e-3f));
  p = fma(p, r, vset(9.618437357e-3f));
  p = fma(p, r, vset(5.550332471e-2f));
  p = fma(p, r, vset(2.402264791e-1f));
  p = fma(p, r, vset(6.931472028e-1f));
  p = fma(p, r, vset(1.f));
#if defined(__AVX512F__)
  return scale_above(x, -150.f, p, n);
#else
  const vi k = __builtin_convertvector(n, vi);
  const vi k1 = k >> 1;
  const vi k2 = k - k1;
  return p * (vf)((vu)(k1 + 127) << 23) * (vf)((vu)(k2 + 127) << 23);
#endif
}

// Natural logarithm: 1 ulp; -inf of 0, NaN of negatives, denormals included.
RX_INLINE vf vlog(vf x) {
  const vi tiny = x < vset(1.17549435e-38f);
  const vf scaled = tiny ? x * vset(8388608.f) : x;
  // exponent e and mantissa m in [sqrt(1/2), sqrt(2))
  const vi bits = (vi)scaled - vseti(0x3f3504f3);
  const vi e = (bits >> 23) - (tiny & vseti(23));
  const vf m = (vf)((bits & vseti(0x007fffff)) + vseti(0x3f3504f3));
  const vf f = m - vset(1.f);
  const vf z = f * f;
  // Cephes logf
  vf p = vset(7.0376836292e-2f);
  p = fma(p, f, vset(-1.1514610310e-1f));
  p = fma(p, f, vset(1.1676998740e-1f));
  p = fma(p, f, vset(-1.2420140846e-1f));
  p = fma(p, f, vset(1.4249322787e-1f));
  p = fma(p, f, vset(-1.6668057665e-1f));
  p = fma(p, f, vset(2.0000714765e-1f));
  p = fma(p, f, vset(-2.4999993993e-1f));
  p = fma(p, f, vset(3.3333331174e-1f));
  p = p * f * z;
  const vf n = __builtin_convertvector(e, vf);
  p = fma(n, vset(-2.12194440e-4f), p);
  p = fma(z, vset(-0.5f), p);
  vf y = f + p;
  y = fma(n, vset(0.693359375f), y);
  const vf inf = vset(__builtin_inff());
  y = x == vset(0.f) ? -inf : y;
  y = x == inf ? inf : y;
  // the negation catches NaN as well
  return x >= vset(0.f) ? y : vset(__builtin_nanf(""));
}

// Hyperbolic tangent: 2 ulp.
RX_INLINE vf vtanh(vf x) {
  const vf a = vabs(x);
  const vf s = x * x;
  // minimax on [0, 0.55]
  vf p = vset(1.57394409e-2f);
  p = fma(p, s, vset(-5.23025580e-2f));
  p = fma(p, s, vset(1.33152530e-1f));
  p = fma(p, s, vset(-3.33327681e-1f));
  p = fma(p * s, x, x);
  const vf q = vset(1.f) - vset(2.f) / (vexp(a + a) + vset(1.f));
  return a > vset(0.55f) ? vcopysign(q, x) : p;  // a NaN takes p, which is NaN
}

// Error function: 2 ulp (minimax pieces after N. Juffa).
RX_INLINE vf verf(vf x) {
  const vf a = vabs(x);
  const vf s = x * x;
  vf q = vset(-1.72853470e-5f);
  q = fma(q, a, vset(3.83197126e-4f));
  vf u = vset(-3.88396438e-3f);
  u = fma(u, a, vset(2.42546219e-2f));
  q = fma(q, s, u);
  q = fma(q, a, vset(-1.06777877e-1f));
  q = fma(q, a, vset(-6.34846687e-1f));
  q = fma(q, a, vset(-1.28717512e-1f));
  q = fma(q, a, -a);
  q = vset(1.f) - vexp(q);
  q = a > vset(4.f) ? vset(1.f) : q;  // the polynomial turns round far outside
  vf p = vset(-5.96761703e-4f);
  p = fma(p, s, vset(4.99119423e-3f));
  p = fma(p, s, vset(-2.67681349e-2f));
  p = fma(p, s, vset(1.12819925e-1f));
  p = fma(p, s, vset(-3.76125336e-1f));
  p = fma(p, s, vset(1.28379166e-1f));
  p = fma(p, x, x);
  return a > vset(0.927734375f) ? vcopysign(q, x) : p;
}

// 1 / (1 + e^-x): 2 ulp.
RX_INLINE vf vsigmoid(vf x) { return vset(1.f) / (vset(1.f) + vexp(-x)); }

// ---- loops ----

namespace {

// How many lanes of a vector lie inside the array: all of them, or the first n.
struct AllLanes {
  RX_INLINE vf load(const float* p) { return ::load(p); }
  RX_INLINE void store(float* p, vf v) { ::store(p, v); }
  RX_INLINE vi bytes(const uint8_t* p) { return load_bytes(p, VW); }
  RX_INLINE void store_bytes(uint8_t* p, vi v) { ::store_bytes(p, v, VW); }
  RX_INLINE vf keep(vf v, float) { return v; }
  RX_INLINE long count() { return VW; }
};
struct SomeLanes {
  long n;
  inline __attribute__((always_inline)) vf load(const float* p) const { return load_n(p, n); }
  inline __attribute__((always_inline)) void store(float* p, vf v) const { store_n(p, v, n); }
  inline __attribute__((always_inline)) vi bytes(const uint8_t* p) const { return load_bytes(p, n); }
  inline __attribute__((always_inline)) void store_bytes(uint8_t* p, vi v) const { ::store_bytes(p, v, n); }
  inline __attribute__((always_inline)) vf keep(vf v, float fill) const { return keep_n(v, n, fill); }
  inline __attribute__((always_inline)) long count() const { return n; }
};

// Calls body(i, lanes) for every vector of an array of n floats; lanes.load and lanes.bytes read zeros beyond the end, lanes.keep sets what
// lies beyond it.
template <class F>
inline __attribute__((always_inline)) void each_vector(long n, F body) {
  long i = 0;
  for (; i + VW <= n; i += VW) body(i, AllLanes());
  if (i < n) body(i, SomeLanes{n - i});
}

}  // namespace
