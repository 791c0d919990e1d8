// Attention alone: seconds of processor time of one thread (least of several runs), and GFLOP/s counting only what the causal
// mask lets through. Arguments: tokens, heads, key heads, head_dim, documents, threads, value_dim.
#include "test.h"

// attention_bf16_bench.cc includes this file for the kernels that round operands to bfloat16.
#ifdef RX_HALF
extern "C" void RX_FILL(attention_bf16)(KernelTable*);
extern "C" void RX_FILL(attention_grad_bf16)(KernelTable*);
#define FORWARD RX_FILL(attention_bf16)
#define BACKWARD RX_FILL(attention_grad_bf16)
#define RUN(engine, name, call) engine.table.name##_bf16(*engine, call)
#else
extern "C" void RX_FILL(attention)(KernelTable*);
extern "C" void RX_FILL(attention_grad)(KernelTable*);
#define FORWARD RX_FILL(attention)
#define BACKWARD RX_FILL(attention_grad)
#define RUN(engine, name, call) engine.table.name(*engine, call)
#endif

namespace {

template <class F>
double least(clockid_t clock, F f) {
  double best = 1e9;
  for (int i = 0; i < 7; i++) {
    const double start = now(clock);
    f();
    best = std::fmin(best, now(clock) - start);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, long other) { return argc > i ? std::atol(argv[i]) : other; };
  const long n = argument(1, 2048), heads = argument(2, 12), kv_heads = argument(3, heads), D = argument(4, 64), documents = argument(5, 1);
  const int threads = (int)argument(6, 1);
  const long W = argument(7, D);
  Engine engine(threads, FORWARD);
  BACKWARD(&engine.table);
  Random random(1);
  const long Q = heads * D, K = kv_heads * D, O = heads * W, V = kv_heads * W;
  const Floats q = random.floats(n * Q), k = random.floats(n * K), v = random.floats(n * V), d_out = random.floats(n * O);
  Floats out(n * O), lse(n * heads), dq(n * Q), dk(n * K), dv(n * V);
  std::vector<int32_t> borders;
  double pairs = 0;
  for (long d = 0; d <= documents; d++) borders.push_back((int32_t)(n * d / documents));
  for (long d = 0; d < documents; d++) {
    const double length = borders[d + 1] - borders[d];
    pairs += length * (length + 1) / 2 * (double)heads;
  }
  Attention call = {};
  call.q = q.data(), call.k = k.data(), call.v = v.data(), call.ld_q = Q, call.ld_k = K, call.ld_v = V;
  call.cu_seqlens = borders.data(), call.documents = documents, call.heads = heads, call.kv_heads = kv_heads, call.head_dim = D;
  call.value_dim = W;
  call.scale = 1 / std::sqrt((float)D), call.out = out.data(), call.lse = lse.data(), call.d_out = d_out.data();
  call.dq = dq.data(), call.dk = dk.data(), call.dv = dv.data(), call.ld_dq = Q, call.ld_dk = K, call.ld_dv = V;
  const clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const double forward = least(clock, [&] { RUN(engine, attention, &call); });
  const double backward = least(clock, [&] { RUN(engine, attention_grad, &call); });
  std::printf("{\"tokens\":%ld,\"heads\":%ld,\"kvHeads\":%ld,\"headDim\":%ld,\"valueDim\":%ld,\"documents\":%ld,\"threads\":%d,\"forward\":%.5f,\"backward\":%.5f,"
              "\"forwardGflops\":%.1f,\"backwardGflops\":%.1f,\"scratchBytes\":%zu}\n",
              n, heads, kv_heads, D, W, documents, threads, forward, backward, 2e-9 * pairs * (double)(D + W) / forward,
              2e-9 * pairs * (double)(3 * D + 2 * W) / backward,
              scratch_bytes(engine.context.scratch));
}
