#include <algorithm>

#include "test.h"

// attention_bf16_test.cc includes this file for the kernels whose scores are of rounded operands: `slack` is what that costs.
#ifdef RX_HALF
extern "C" void RX_FILL(attention_bf16)(KernelTable*);
extern "C" void RX_FILL(attention_grad_bf16)(KernelTable*);
#define FORWARD RX_FILL(attention_bf16)
#define BACKWARD RX_FILL(attention_grad_bf16)
#define RUN(engine, name, call) engine.table.name##_bf16(*engine, call)
constexpr double slack = 0.02;
#else
extern "C" void RX_FILL(attention)(KernelTable*);
extern "C" void RX_FILL(attention_grad)(KernelTable*);
#define FORWARD RX_FILL(attention)
#define BACKWARD RX_FILL(attention_grad)
#define RUN(engine, name, call) engine.table.name(*engine, call)
constexpr double slack = 0;
#endif

namespace {

struct Case {
  std::vector<int> lengths;
  long heads, kv_heads, head_dim, window;
  float softcap = 0;
  bool sinks = false;
  float alibi = 0;
  long value_dim = 0;  // 0: head_dim
};

struct Naive {
  Doubles out, lse, dq, dk, dv;
};

// As transformers makes the slopes of ALiBi.
double slope_of(long head, long heads) {
  const double n = std::exp2(std::floor(std::log2((double)heads)));
  const double base = std::exp2(-std::exp2(-(std::log2(n) - 3))), extra = std::exp2(-std::exp2(-(std::log2(2 * n) - 3)));
  return (double)head < n ? std::pow(base, head + 1) : std::pow(extra, 2 * ((double)head - n) + 1);
}

// Attention in double precision, the whole matrix of a document and head at a time.
Naive naive(const Case& c, const Doubles& q, const Doubles& k, const Doubles& v, const Doubles& d_out, const Doubles& sinks,
            double scale, long n) {
  const long D = c.head_dim, Q = c.heads * D, K = c.kv_heads * D, W = values_of_head(c), O = c.heads * W, V = c.kv_heads * W;
  Naive r;
  r.out.resize(n * O), r.lse.resize(n * c.heads), r.dq.resize(n * Q), r.dk.resize(n * K), r.dv.resize(n * V);
  long start = 0;
  for (const int length : c.lengths) {
    for (long h = 0; h < c.heads; h++) {
      const long kv = h * c.kv_heads / c.heads;
      for (long i = 0; i < length; i++) {
        const long low = c.window ? std::max(0L, i - c.window + 1) : 0;
        const double* const qi = &q[(start + i) * Q + h * D];
        const double* const gi = &d_out[(start + i) * O + h * W];
        Doubles p(i + 1), dp(i + 1), rise(i + 1, 1);
        double top = c.sinks ? sinks[h] : -1e300, sum = 0, along = 0;
        for (long j = low; j <= i; j++) {
          for (long d = 0; d < D; d++) p[j] += scale * qi[d] * k[(start + j) * K + kv * D + d];
          if (c.softcap > 0) {
            const double tanh = std::tanh(p[j] / c.softcap);
            p[j] = c.softcap * tanh;
            rise[j] = 1 - tanh * tanh;
          }
          p[j] += c.alibi * slope_of(h, c.heads) * (double)(j - i);
          top = std::max(top, p[j]);
        }
        if (c.sinks) sum += std::exp(sinks[h] - top);
        for (long j = low; j <= i; j++) sum += p[j] = std::exp(p[j] - top);
        r.lse[(start + i) * c.heads + h] = top + std::log(sum);
        for (long j = low; j <= i; j++) {
          p[j] /= sum;
          for (long d = 0; d < W; d++) {
            const double value = v[(start + j) * V + kv * W + d];
            r.out[(start + i) * O + h * W + d] += p[j] * value;
            dp[j] += gi[d] * value;
          }
          along += p[j] * dp[j];
        }
        for (long j = low; j <= i; j++) {
          for (long d = 0; d < D; d++) {
            const double ds = scale * rise[j] * p[j] * (dp[j] - along);
            r.dq[(start + i) * Q + h * D + d] += ds * k[(start + j) * K + kv * D + d];
            r.dk[(start + j) * K + kv * D + d] += ds * qi[d];
          }
          for (long d = 0; d < W; d++) r.dv[(start + j) * V + kv * W + d] += p[j] * gi[d];
        }
      }
    }
    start += length;
  }
  return r;
}

void check(const Case& c, unsigned seed) {
  Random random(seed);
  const long D = c.head_dim, Q = c.heads * D, K = c.kv_heads * D, W = values_of_head(c), O = c.heads * W, V = c.kv_heads * W;
  std::vector<int32_t> borders = {0};
  for (const int length : c.lengths) borders.push_back(borders.back() + length);
  const long n = borders.back();
  std::string name = std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) + " heads of " + std::to_string(D) + " and " + std::to_string(W) + ", window " +
                     std::to_string(c.window) + ", softcap " + std::to_string(c.softcap) + (c.sinks ? ", sinks" : "") + ", alibi " + std::to_string(c.alibi) + ", documents";
  for (const int length : c.lengths) name += " " + std::to_string(length);
  const float scale = 1 / std::sqrt((float)D);
  const float size = slack > 0 ? 1 : 3;
  const Floats q = random.floats(n * Q, -size, size), k = random.floats(n * K, -size, size), v = random.floats(n * V);
  const Floats d_out = random.floats(n * O), sinks = random.floats(c.heads, -3, 3);
  const Naive want = naive(c, widen(q), widen(k), widen(v), widen(d_out), widen(sinks), scale, n);
  // One matrix with q, k, v side by side must give the same bits as three.
  const long ld = Q + K + V + 3;
  Floats joined(n * ld);
  for (long i = 0; i < n; i++) {
    std::copy_n(q.begin() + i * Q, Q, joined.begin() + i * ld);
    std::copy_n(k.begin() + i * K, K, joined.begin() + i * ld + Q);
    std::copy_n(v.begin() + i * V, V, joined.begin() + i * ld + Q + K);
  }
  Floats out0;
  for (int threads = 1; threads <= 3; threads++) {
    Engine engine(threads, FORWARD);
    BACKWARD(&engine.table);
    std::vector<Floats> first;
    for (int again = 0; again < 2; again++) {
      Floats out(n * O), lse(n * c.heads), dq(n * Q, 9.f), dk(n * K, 9.f), dv(n * V, 9.f), d_joined(n * ld, 9.f);
      Attention call = {};
      call.q = again ? joined.data() : q.data();
      call.k = again ? joined.data() + Q : k.data();
      call.v = again ? joined.data() + Q + K : v.data();
      call.ld_q = again ? ld : Q, call.ld_k = again ? ld : K, call.ld_v = again ? ld : V;
      call.cu_seqlens = borders.data(), call.documents = (long)c.lengths.size();
      call.heads = c.heads, call.kv_heads = c.kv_heads, call.head_dim = D, call.value_dim = c.value_dim, call.scale = scale, call.window = c.window;
      call.softcap = c.softcap, call.sinks = c.sinks ? sinks.data() : nullptr;
      call.alibi = c.alibi;
      call.out = out.data(), call.lse = lse.data(), call.d_out = d_out.data();
      call.dq = again ? d_joined.data() : dq.data();
      call.dk = again ? d_joined.data() + Q : dk.data();
      call.dv = again ? d_joined.data() + Q + K : dv.data();
      call.ld_dq = call.ld_q, call.ld_dk = call.ld_k, call.ld_dv = call.ld_v;
      RUN(engine, attention, &call);
      RUN(engine, attention_grad, &call);
      if (again)
        for (long i = 0; i < n; i++) {
          std::copy_n(d_joined.begin() + i * ld, Q, dq.begin() + i * Q);
          std::copy_n(d_joined.begin() + i * ld + Q, K, dk.begin() + i * K);
          std::copy_n(d_joined.begin() + i * ld + Q + K, V, dv.begin() + i * V);
          for (long x = Q + K + V; x < ld; x++) expect(name + " wrote between rows", d_joined[i * ld + x] == 9.f);
        }
      if (!again) {
        const std::string with = name + ", " + std::to_string(threads) + " threads:";
        expect_close(with + " out", out, want.out, 1e-5, 2e-6 + slack);
        expect_close(with + " lse", lse, want.lse, 1e-6, 2e-6 + slack);
        expect_close(with + " dq", dq, want.dq, 1e-4, 1e-5 + slack);
        expect_close(with + " dk", dk, want.dk, 1e-4, 3e-5 + slack);
        expect_close(with + " dv", dv, want.dv, 1e-4, 1e-5 + slack);
        first = {dq, dk, dv};
        if (threads == 1) out0 = out;
        expect_same_bits(with + " out", out, out0);
      } else {
        expect_same_bits(name + " dq in one matrix", dq, first[0]);
        expect_same_bits(name + " dk in one matrix", dk, first[1]);
        expect_same_bits(name + " dv in one matrix", dv, first[2]);
      }
    }
  }
}

#ifdef RX_HALF
// All but lse as bfloat16: what float32 gives of the same numbers, rounded.
void check_halves(const Case& c, unsigned seed) {
  Random random(seed);
  const long D = c.head_dim, Q = c.heads * D, K = c.kv_heads * D, W = values_of_head(c), O = c.heads * W, V = c.kv_heads * W;
  std::vector<int32_t> borders = {0};
  for (const int length : c.lengths) borders.push_back(borders.back() + length);
  const long n = borders.back();
  const Halved q = halved(random.floats(n * Q)), k = halved(random.floats(n * K)), v = halved(random.floats(n * V));
  const Halved d_out = halved(random.floats(n * O));
  const Floats sinks = random.floats(c.heads, -3, 3);
  const Floats wide[] = {widened(q), widened(k), widened(v), widened(d_out)};
  for (int threads = 1; threads <= 3; threads++) {
    Engine engine(threads, FORWARD);
    BACKWARD(&engine.table);
    Floats out(n * O), lse(n * c.heads), lse_of_halves(n * c.heads), dq(n * Q), dk(n * K), dv(n * V);
    Halved half_out(n * O), half_dq(n * Q), half_dk(n * K), half_dv(n * V);
    Attention call = {};
    call.ld_q = call.ld_dq = Q, call.ld_k = call.ld_dk = K, call.ld_v = call.ld_dv = V;
    call.cu_seqlens = borders.data(), call.documents = (long)c.lengths.size();
    call.heads = c.heads, call.kv_heads = c.kv_heads, call.head_dim = D, call.value_dim = c.value_dim, call.scale = 1 / std::sqrt((float)D), call.window = c.window;
    call.softcap = c.softcap, call.sinks = c.sinks ? sinks.data() : nullptr, call.alibi = c.alibi;
    call.q = wide[0].data(), call.k = wide[1].data(), call.v = wide[2].data(), call.d_out = wide[3].data();
    call.out = out.data(), call.lse = lse.data(), call.dq = dq.data(), call.dk = dk.data(), call.dv = dv.data();
    RUN(engine, attention, &call);
    for (float& x : out) x = widened(halved({x})[0]);  // as the way back is given it
    RUN(engine, attention_grad, &call);
    const auto floats = [](const Halved& x) { return (float*)x.data(); };
    call.q = floats(q), call.k = floats(k), call.v = floats(v), call.d_out = floats(d_out);
    call.out = floats(half_out), call.lse = lse_of_halves.data(), call.dq = floats(half_dq), call.dk = floats(half_dk), call.dv = floats(half_dv);
    call.half = 1;
    RUN(engine, attention, &call);
    RUN(engine, attention_grad, &call);
    const std::string name = "as bfloat16, " + std::to_string(n) + " tokens, heads of " + std::to_string(D) + ", " + std::to_string(threads) + " threads: ";
    expect(name + "out", half_out == halved(out));
    expect_same_bits(name + "lse", lse_of_halves, lse);
    expect(name + "dq", half_dq == halved(dq));
    expect(name + "dk", half_dk == halved(dk));
    expect(name + "dv", half_dv == halved(dv));
  }
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const std::vector<Case> cases = {
      {{}, 2, 1, 8, 0},         {{0, 0}, 2, 1, 8, 0},          {{1}, 1, 1, 1, 0},          {{1, 0, 1, 2}, 2, 2, 3, 0},
      {{5}, 1, 1, 16, 0},       {{33, 1, 64}, 3, 1, 16, 0},    {{65, 63, 7}, 4, 2, 20, 0}, {{129}, 2, 1, 64, 0},
      {{200, 113}, 9, 3, 37, 0}, {{300}, 1, 1, 256, 0},        {{257}, 2, 1, 96, 1},       {{257, 31}, 2, 2, 32, 5},
      {{300}, 4, 1, 24, 64},    {{411, 17}, 2, 1, 48, 100},    {{700}, 1, 1, 64, 0},       {{400, 390}, 1, 1, 8, 0},
             {{700}, 2, 1, 64, 90},
      {{1021}, 1, 1, 128, 0},   {{901}, 1, 1, 16, 500},        {{10, 10, 10, 10, 10, 10}, 3, 3, 64, 0},
      {{129, 33}, 4, 2, 64, 0, 1.5f},  {{300, 1}, 2, 1, 40, 30, 3.f},   {{257, 64}, 4, 2, 64, 0, 0, true}, {{90, 0, 200}, 3, 1, 20, 16, 2.f, true},
      {{129, 70}, 4, 4, 32, 0, 0, false, 1.f},  {{200, 64}, 6, 2, 20, 50, 2.f, true, 0.3f},
      {{300, 33}, 2, 2, 96, 0, 0, false, 0, 64}, {{257}, 4, 2, 48, 60, 0, true, 0, 17}, {{140, 5}, 1, 1, 192, 0, 0, false, 0, 128},
  };
  unsigned seed = 1;
  for (const Case& c : cases) check(c, seed++);
#ifdef RX_HALF
  for (const Case& c : cases) check_halves(c, seed++);
#endif
  Random random(99);
  const int more = argc > 1 ? std::atoi(argv[1]) : 12;
  for (int i = 0; i < more; i++) {
    Case c = {{}, 0, random.one_of({1L, 2L, 3L}), 1 + random.below(80), random.below(2) ? 0 : 1 + random.below(150),
              random.one_of({0.f, 0.f, 0.7f, 4.f}), random.below(3) == 0, random.one_of({0.f, 0.f, 0.5f})};
    if (random.below(2)) c.value_dim = 1 + random.below(c.head_dim);
    c.heads = c.kv_heads * random.one_of({1L, 1L, 2L, 3L});
    for (long d = random.below(4); d >= 0; d--) c.lengths.push_back((int)random.below(random.one_of({4L, 70L, 260L})));
    check(c, seed++);
#ifdef RX_HALF
    check_halves(c, seed++);
#endif
  }
  return finish();
}
