// Products with weights, with and without a low-rank adapter.
#include "../device.h"
#include "../ops.h"

namespace {

// w [out, in], or [in, out] when transposed, as the right operand of x [n, in].
GemmOperand weight(Call& call, long in, long out, bool transposed) {
  return transposed ? call.matrix(in, out, false) : call.matrix(out, in, true);
}
GemmOperand turned(GemmOperand m) {
  m.transposed = !m.transposed;
  return m;
}
GemmOperand plain(const float* data, long ld) { return {data, ld, 0, GEMM_FLOAT32, nullptr, nullptr, 0}; }

// The second adds to what the first has written.
void run_both(const Context* context, const Gemm* first, const Gemm* second) {
  Device* const device = static_cast<Device*>(context->device);
  if (device != nullptr && device->joined(context, first, second)) return;
  run_gemm(context, first);
  run_gemm(context, second);
}

// n, in, out, transposed, x, w…, bias?, y
void linear(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const float* const x = call.tensor(area(n, in));
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const bias = call.optional(out);
  float* const y = call.tensor(area(n, out));
  call.enqueue([=](const Context* context) {
    const Gemm g = {n, out, in, plain(x, in), w, y, out, bias, 0, 1};
    run_gemm(context, &g);
  });
}

// n, in, out, transposed, dy, w…, accumulate?, dx
void linearGradInput(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const float* const dy = call.tensor(area(n, out));
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const accumulate = call.optional(area(n, in));
  float* const dx = call.tensor(area(n, in));
  call.enqueue([=](const Context* context) {
    const Gemm g = {n, in, out, plain(dy, out), turned(w), dx, in, accumulate, in, 1};
    run_gemm(context, &g);
  });
}

// n, in, out, transposed, x…, dy, dw, add: dw is added to
void linearGradWeight(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const GemmOperand x = call.matrix(n, in, false);
  const float* const dy = call.tensor(area(n, out));
  float* const dw = call.tensor(area(in, out));
  const bool add = call.flag();
  call.enqueue([=](const Context* context) {
    const GemmOperand left = turned(transposed ? x : plain(dy, out));
    const GemmOperand right = transposed ? plain(dy, out) : x;
    const long rows = transposed ? in : out, columns = transposed ? out : in;
    const Gemm g = {rows, columns, n, left, right, dw, columns, add ? dw : nullptr, columns, 1};
    run_gemm(context, &g);
  });
}

// n, in, out, rank, transposed, scaling, x, w…, bias?, a, b, xDropped?, y, u
void loraLinear(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size(), rank = call.size();
  const bool transposed = call.flag();
  const float scaling = static_cast<float>(call.number());
  const float* const x = call.tensor(area(n, in));
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const bias = call.optional(out);
  const float* const a = call.tensor(area(rank, in));
  const float* const b = call.tensor(area(out, rank));
  const float* const dropped = call.optional(area(n, in));
  float* const y = call.tensor(area(n, out));
  float* const u = call.tensor(area(n, rank));
  call.enqueue([=](const Context* context) {
    const Gemm base = {n, out, in, plain(x, in), w, y, out, bias, 0, 1};
    const Gemm down = {n, rank, in, plain(dropped ? dropped : x, in), turned(plain(a, in)), u, rank, nullptr, 0, 1};
    const Gemm up = {n, out, rank, plain(u, rank), turned(plain(b, rank)), y, out, y, out, scaling};
    run_gemm(context, &down);
    run_both(context, &base, &up);
  });
}

// n, in, out, rank, transposed, scaling, dy, x…, w…, a, b, u, dx?, dA, dB, dxDropped?
// dx: the base path, and the adapter's unless dxDropped takes it.
void loraLinearGrad(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size(), rank = call.size();
  const bool transposed = call.flag();
  const float scaling = static_cast<float>(call.number());
  const float* const dy = call.tensor(area(n, out));
  const GemmOperand x = call.matrix(n, in, false);
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const a = call.tensor(area(rank, in));
  const float* const b = call.tensor(area(out, rank));
  const float* const u = call.tensor(area(n, rank));
  float* const dx = call.optional(area(n, in));
  float* const da = call.tensor(area(rank, in));
  float* const db = call.tensor(area(out, rank));
  float* const dxDropped = call.optional(area(n, in));
  call.enqueue([=](const Context* context) {
    float* const du = static_cast<float*>(scratch_get(context->scratch, SCRATCH_KERNEL, sizeof(float) * static_cast<size_t>(area(n, rank))));
    const Gemm toU = {n, rank, out, plain(dy, out), plain(b, rank), du, rank, nullptr, 0, scaling};
    const Gemm toA = {rank, in, n, turned(plain(du, rank)), x, da, in, nullptr, 0, 1};
    const Gemm toB = {out, rank, n, turned(plain(dy, out)), plain(u, rank), db, rank, nullptr, 0, scaling};
    run_gemm(context, &toU);
    run_gemm(context, &toA);
    run_gemm(context, &toB);
    float* const target = dxDropped != nullptr ? dxDropped : dx;
    const Gemm base = {n, in, out, plain(dy, out), turned(w), dx, in, nullptr, 0, 1};
    const Gemm adapter = {n, in, rank, plain(du, rank), plain(a, in), target, in, target == dx ? dx : nullptr, in, 1};
    if (dx != nullptr && target == dx) return run_both(context, &base, &adapter);
    if (dx != nullptr) run_gemm(context, &base);
    if (target != nullptr) run_gemm(context, &adapter);
  });
}

// batches, m, n, k, transposeA, transposeB, strideA, strideB (0: the same matrix for all), a, b, c
void matMul(Call& call) {
  const long batches = call.size(), m = call.size(), n = call.size(), k = call.size();
  const bool transposeA = call.flag(), transposeB = call.flag();
  const long strideA = call.size(), strideB = call.size();
  if (batches == 0) return;
  const float* const a = call.tensor(area(batches - 1, strideA) + area(m, k));
  const float* const b = call.tensor(area(batches - 1, strideB) + area(k, n));
  float* const c = call.tensor(area(batches, area(m, n)));
  call.enqueue([=](const Context* context) {
    for (long i = 0; i < batches; i++) {
      Gemm g = {m, n, k, plain(a + i * strideA, transposeA ? m : k), plain(b + i * strideB, transposeB ? k : n),
                c + i * m * n, n, nullptr, 0, 1};
      g.a.transposed = transposeA;
      g.b.transposed = transposeB;
      context->table->gemm(context, &g);
    }
  });
}

constexpr Operation list[] = {
    {"linear", linear},         {"linearGradInput", linearGradInput}, {"linearGradWeight", linearGradWeight},
    {"loraLinear", loraLinear}, {"loraLinearGrad", loraLinearGrad},   {"matMul", matMul},
};

}  // namespace

Operations linearOperations() { return {list, sizeof list / sizeof *list}; }
