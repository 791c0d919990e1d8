// Products with weights, with and without a low-rank adapter.
#include "../device.h"
#include "../ops.h"

#include <memory>
#include <vector>

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
GemmOperand plain(Values v, long ld) { return {v.at, ld, 0, v.half ? GEMM_BFLOAT16 : GEMM_FLOAT32, nullptr, nullptr, 0}; }

// Some columns of a matrix [n, ld].
struct Columns {
  Values at;
  long ld;
};
Values further(Values v, long count) {
  return {v.half ? static_cast<void*>(static_cast<uint16_t*>(v.at) + count) : static_cast<void*>(static_cast<float*>(v.at) + count), v.half};
}
// the matrix, as it lies, ld, first
Columns columns(Call& call, long n, long width) {
  const bool half = call.half();
  long size;
  void* const matrix = call.any(size, half ? 2 : 4);
  const long ld = call.size(), first = call.size();
  if (first + width > ld || area(n, ld) > size) throw BadCall("columns outside the matrix");
  return {further({matrix, half}, first), ld};
}

// What `base` starts with, and both products, as one where they can be. Else the adapter's runs first: it only writes where the base has
// nothing to start with, and what it wrote is read by the product that computes for longer than it reads. Rows of the adapter are float32,
// but on a device.
void run_both(const Context* context, const Gemm& base, const Gemm& adapter) {
  Device* const device = static_cast<Device*>(context->device);
  if (device != nullptr && device->joined(context, &base, &adapter)) return;
  const KernelTable* const table = context->table;
  const auto joined = context->bf16 && table->gemm_bf16 ? table->gemm_bf16_joined : table->gemm_joined;
  if (joined != nullptr) {
    // One factor for both: what is scaled are the rows of the adapter.
    Gemm scaled = adapter;
    scaled.alpha = base.alpha;
    if (adapter.alpha != base.alpha) {
      float* const rows = static_cast<float*>(scratch_get(context->scratch, SCRATCH_KERNEL + 1, sizeof(float) * static_cast<size_t>(area(adapter.m, adapter.k))));
      table->copy_columns(context, values_of(static_cast<const float*>(adapter.a.data)), adapter.a.ld, values_of(rows), adapter.k, adapter.m, adapter.k);
      table->scale(context, rows, rows, adapter.alpha / base.alpha, adapter.m * adapter.k);
      scaled.a.data = rows;
      scaled.a.ld = adapter.k;
    }
    if (joined(context, &base, &scaled)) return;
  }
  Gemm first = adapter, second = base;
  first.start = base.start;
  first.ld_start = base.ld_start;
  second.start = base.c;
  second.ld_start = base.ldc;
  run_gemm(context, &first);
  run_gemm(context, &second);
}

// Gradients of B's of adapters that read the same rows.
void run_adapter_grads(const Context* context, const std::vector<AdapterGrad>& all) {
  const std::unique_ptr<bool[]> done(new bool[all.size()]());
  if (Device* const device = static_cast<Device*>(context->device))
    device->adapter_grads(context, all.data(), static_cast<long>(all.size()), done.get());
  for (size_t i = 0; i < all.size(); i++) {
    if (done[i]) continue;
    const AdapterGrad& a = all[i];
    GemmOperand turned_dy = a.dy;
    turned_dy.transposed = !a.dy.transposed;
    const Gemm to_u = {a.rows, a.rank, a.columns, a.dy, plain(a.b, a.rank), floats(a.du), a.ld, nullptr, 0, a.scaling, a.du.half};
    const Gemm to_b = {a.columns, a.rank, a.rows, turned_dy, plain(a.u, a.ld), a.db, a.rank, nullptr, 0, a.scaling, 0};
    run_gemm(context, &to_u);
    run_gemm(context, &to_b);
  }
}

// n, in, out, transposed, x, w…, bias?, y
void linear(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const Values x = call.values(area(n, in));
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const bias = call.optional(out);
  const Values y = call.values(area(n, out));
  call.enqueue([=](const Context* context) {
    const Gemm g = {n, out, in, plain(x, in), w, floats(y), out, bias, 0, 1, y.half};
    run_gemm(context, &g);
  });
}

// n, in, out, transposed, dy, w…, accumulate?, dx: the last two lie in one way
void linearGradInput(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const Values dy = call.values(area(n, out));
  const GemmOperand w = weight(call, in, out, transposed);
  const Values accumulate = call.optionalValues(area(n, in));
  const Values dx = call.values(area(n, in));
  if (accumulate.at != nullptr && accumulate.half != dx.half) throw BadCall("a gradient that lies otherwise than what it is added to");
  call.enqueue([=](const Context* context) {
    const Gemm g = {n, in, out, plain(dy, out), turned(w), floats(dx), in, floats(accumulate), in, 1, dx.half};
    run_gemm(context, &g);
  });
}

// n, in, out, transposed, x…, dy, dw, add: dw is added to
void linearGradWeight(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size();
  const bool transposed = call.flag();
  const GemmOperand x = call.matrix(n, in, false);
  const Values dy = call.values(area(n, out));
  float* const dw = call.tensor(area(in, out));
  const bool add = call.flag();
  call.enqueue([=](const Context* context) {
    const GemmOperand left = turned(transposed ? x : plain(dy, out));
    const GemmOperand right = transposed ? plain(dy, out) : x;
    const long rows = transposed ? in : out, columns = transposed ? out : in;
    const Gemm g = {rows, columns, n, left, right, dw, columns, add ? dw : nullptr, columns, 1, 0};
    run_gemm(context, &g);
  });
}

// While this lives, products on a device read the copies of weights that lie rounded.
class Rounded {
 public:
  Rounded(const Context* context, const RoundedMatrix* all, long count) : device(static_cast<Device*>(context->device)) {
    if (device != nullptr) device->use_rounded(all, count);
  }
  ~Rounded() {
    if (device != nullptr) device->use_rounded(nullptr, 0);
  }
  Rounded(const Rounded&) = delete;
  Rounded& operator=(const Rounded&) = delete;

 private:
  Device* const device;
};
RoundedMatrix lying(const Weights& w, long rows, long columns) { return {w.at, w.rounded, rows, columns}; }

// n, in, out, rank, transposed, scaling, x, w…, bias?, a?, b, xDropped?, y, u, ldU, firstU; a and b with their copies?
// u: columns from firstU on of a matrix of ldU. They are read where there is no a.
void loraLinear(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size(), rank = call.size();
  const bool transposed = call.flag();
  const float scaling = static_cast<float>(call.number());
  const Values x = call.values(area(n, in));
  const GemmOperand w = weight(call, in, out, transposed);
  const float* const bias = call.optional(out);
  const Weights a = call.optionalWeights(area(rank, in)), b = call.weights(area(out, rank));
  const Values dropped = call.optionalValues(area(n, in));
  const Values y = call.values(area(n, out));
  const Columns u = columns(call, n, rank);
  call.enqueue([=](const Context* context) {
    const RoundedMatrix matrices[] = {lying(a, rank, in), lying(b, out, rank)};
    const Rounded rounded(context, matrices, 2);
    const Gemm base = {n, out, in, plain(x, in), w, floats(y), out, bias, 0, 1, y.half};
    const Gemm down = {n, rank, in, plain(dropped.at ? dropped : x, in), turned(plain(a.at, in)), floats(u.at), u.ld, nullptr, 0, 1, u.at.half};
    const Gemm up = {n, out, rank, plain(u.at, u.ld), turned(plain(b.at, rank)), floats(y), out, floats(y), out, scaling, y.half};
    if (a.at != nullptr) run_gemm(context, &down);
    run_both(context, base, up);
  });
}

// Matrices A [rank, in] of several adapters, and somewhere for their gradients.
struct Stack {
  struct Part {
    Weights a;
    float* da;
    long size;
  };
  std::vector<Part> parts;
  long size = 0;
};
// of each: rank, a and its copy?, dA where there are gradients; `ranks` in all
Stack stack(Call& call, long in, long ranks, long count, bool gradients) {
  Stack all;
  for (long i = 0; i < count; i++) {
    const long size = area(call.size(), in);
    const Weights a = call.weights(size);
    float* const da = gradients ? call.tensor(size) : nullptr;
    all.parts.push_back({a, da, size});
    all.size += size;
  }
  if (all.size != area(ranks, in)) throw BadCall("adapters of other ranks than the matrix has columns");
  return all;
}
void move_all(const Context* context, const std::vector<Moved>& all) {
  Device* const device = static_cast<Device*>(context->device);
  if (device != nullptr && device->moved(context, all.data(), static_cast<long>(all.size()))) return;
  for (const Moved& one : all) context->table->copy_columns(context, values_of(one.from), one.count, values_of(one.to), one.count, 1, one.count);
}
// Room for so many floats.
float* room_for(const Context* context, long count) {
  return static_cast<float*>(scratch_get(context->scratch, SCRATCH_KERNEL, sizeof(float) * static_cast<size_t>(count)));
}
// All A below each other: their copies where these lie so, else in the scratch memory `room`.
GemmOperand stacked(const Context* context, const Stack& all, long in, float* room) {
  const uint16_t* const rounded = all.parts[0].a.rounded;
  long at = 0;
  bool beside = context->bf16 != 0 && rounded != nullptr;
  std::vector<Moved> parts;
  for (const Stack::Part& part : all.parts) {
    beside = beside && part.a.rounded == rounded + at;
    parts.push_back({part.a.at, room + at, part.size});
    at += part.size;
  }
  if (beside) return {rounded, in, 0, GEMM_BFLOAT16, nullptr, nullptr, 0};
  move_all(context, parts);
  return plain(room, in);
}

// n, in, ranks, count, x, u, then of each: rank, a and its copy?. u = x [A; A; …]ᵀ
void loraDown(Call& call) {
  const long n = call.size(), in = call.size(), ranks = call.size(), count = call.size();
  const Values x = call.values(area(n, in)), u = call.values(area(n, ranks));
  call.enqueue([=, all = stack(call, in, ranks, count, false)](const Context* context) {
    if (all.parts.empty()) return;
    const Gemm product = {n, ranks, in, plain(x, in), turned(stacked(context, all, in, room_for(context, all.size))), floats(u), ranks, nullptr, 0, 1, u.half};
    run_gemm(context, &product);
  });
}

// n, in, ranks, count, x…, du, dx?, then of each: rank, a and its copy?, dA. dA = duᵀ x of its columns of du, dx = du [A; A; …]
void loraDownGrad(Call& call) {
  const long n = call.size(), in = call.size(), ranks = call.size(), count = call.size();
  const GemmOperand x = call.matrix(n, in, false);
  const Values du = call.values(area(n, ranks)), dx = call.optionalValues(area(n, in));
  call.enqueue([=, all = stack(call, in, ranks, count, true)](const Context* context) {
    if (all.parts.empty()) return;
    float* const room = room_for(context, 2 * all.size);
    float* const whole = all.parts.size() == 1 ? all.parts[0].da : room + all.size;
    const float* from = whole;
    const Gemm toA = {ranks, in, n, turned(plain(du, ranks)), x, whole, in, nullptr, 0, 1, 0};
    run_gemm(context, &toA);
    if (dx.at != nullptr) {
      const Gemm toX = {n, in, ranks, plain(du, ranks), stacked(context, all, in, room), floats(dx), in, nullptr, 0, 1, dx.half};
      run_gemm(context, &toX);
    }
    if (all.parts.size() == 1) return;
    std::vector<Moved> parts;
    for (const Stack::Part& part : all.parts) {
      parts.push_back({from, part.da, part.size});
      from += part.size;
    }
    move_all(context, parts);
  });
}

// n, ranks, count, u, du, then of each: out, rank, scaling, first, dy, b, dB. Rank columns of u and du, from `first` on, are its own:
// du = scaling dy b, dB = scaling dyᵀ u
void loraUpGrad(Call& call) {
  const long n = call.size(), ranks = call.size(), count = call.size();
  const Values u = call.values(area(n, ranks)), du = call.values(area(n, ranks));
  std::vector<AdapterGrad> adapters;
  for (long i = 0; i < count; i++) {
    const long out = call.size(), rank = call.size();
    const float scaling = static_cast<float>(call.number());
    const long first = call.size();
    if (first + rank > ranks) throw BadCall("columns outside the matrix");
    const Values dy = call.values(area(n, out));
    const float* const b = call.tensor(area(out, rank));
    float* const db = call.tensor(area(out, rank));
    adapters.push_back({n, out, rank, scaling, plain(dy, out), further(u, first), b, further(du, first), db, ranks});
  }
  call.enqueue([adapters = std::move(adapters)](const Context* context) { run_adapter_grads(context, adapters); });
}

// n, in, out, rank, transposed, scaling, dy, x…, w…, a and its copy?, b, u, accumulate?, dx?, dA, dB, dxDropped?
// dx: accumulate (which lies as dx) and the base path, and the adapter's unless dxDropped takes it.
void loraLinearGrad(Call& call) {
  const long n = call.size(), in = call.size(), out = call.size(), rank = call.size();
  const bool transposed = call.flag();
  const float scaling = static_cast<float>(call.number());
  const Values dy = call.values(area(n, out));
  const GemmOperand x = call.matrix(n, in, false);
  const GemmOperand w = weight(call, in, out, transposed);
  const Weights a = call.weights(area(rank, in));
  const float* const b = call.tensor(area(out, rank));
  const Values u = call.values(area(n, rank));
  const Values accumulate = call.optionalValues(area(n, in));
  const Values dx = call.optionalValues(area(n, in));
  if (accumulate.at != nullptr && accumulate.half != dx.half) throw BadCall("a gradient that lies otherwise than what it is added to");
  float* const da = call.tensor(area(rank, in));
  float* const db = call.tensor(area(out, rank));
  const Values dxDropped = call.optionalValues(area(n, in));
  call.enqueue([=](const Context* context) {
    // Lies as u does.
    const Values du = {scratch_get(context->scratch, SCRATCH_KERNEL, sizeof(float) * static_cast<size_t>(area(n, rank))), u.half};
    const Gemm toA = {rank, in, n, turned(plain(du, rank)), x, da, in, nullptr, 0, 1, 0};
    run_adapter_grads(context, {{n, out, rank, scaling, plain(dy, out), u, b, du, db, rank}});
    run_gemm(context, &toA);
    const RoundedMatrix matrix = lying(a, rank, in);
    const Rounded rounded(context, &matrix, 1);
    const bool apart = dxDropped.at != nullptr;
    const Values target = apart ? dxDropped : dx;
    const Gemm base = {n, in, out, plain(dy, out), turned(w), floats(dx), in, floats(accumulate), in, 1, dx.half};
    const Gemm adapter = {n, in, rank, plain(du, rank), plain(a.at, in), floats(target), in, apart ? nullptr : floats(dx), in, 1, target.half};
    if (dx.at != nullptr && !apart) return run_both(context, base, adapter);
    if (dx.at != nullptr) run_gemm(context, &base);
    if (target.at != nullptr) run_gemm(context, &adapter);
  });
}

// Groups of rows, one below the other: groups, n, in, out.
struct Groups {
  long count, n, in, out;
  long first = 0;

  explicit Groups(Call& call) : count(call.size()), n(call.size()), in(call.size()), out(call.size()) {}
  // Rows of the group that comes next, and where they begin.
  long next(Call& call, long& begin) {
    const long rows = call.size();
    begin = first;
    first += rows;
    if (first > n) throw BadCall("groups of more rows than there are");
    return rows;
  }
};
Values rows_from(Values v, long row, long width) { return further(v, row * width); }

// Matrices of several adapters of each group, one below the other.
struct Stacks {
  std::vector<long> rows;           // of each of a group
  std::vector<const float*> parts;  // of all groups
  long width = 0, height = 0;       // of a group's

  explicit Stacks(long width) : width(width) {}
  // count, then the rows of each
  void ranks(Call& call) {
    rows.resize(static_cast<size_t>(call.size()));
    for (long& own : rows) height = area(height + (own = call.size()), 1);
    if (rows.empty()) throw BadCall("adapters of no map");
  }
  // of each map, the matrix of the group that comes next
  void next(Call& call) {
    for (const long own : rows) parts.push_back(call.tensor(area(own, width)));
  }
  StackedRows all() const { return {parts.data(), rows.data(), static_cast<long>(rows.size())}; }
  // Those of a group as they lie, or in scratch memory.
  const float* of(const Context* context, long group) const {
    const float* const* const own = parts.data() + group * static_cast<long>(rows.size());
    if (rows.size() == 1) return own[0];
    float* const whole = static_cast<float*>(scratch_get(context->scratch, SCRATCH_KERNEL, sizeof(float) * static_cast<size_t>(height * width)));
    float* to = whole;
    for (size_t i = 0; i < rows.size(); i++) {
      const long size = rows[i] * width;
      context->table->copy_columns(context, values_of(own[i]), size, values_of(to), size, 1, size);
      to += size;
    }
    return whole;
  }
};

// Products of groups, and as many or none that add to what these give. `stacks`: the right matrices of those, or else of these.
void run_grouped(const Context* context, const std::vector<Gemm>& all, const std::vector<Gemm>& more, const Stacks* stacks) {
  const long count = static_cast<long>(all.size());
  if (Device* const device = static_cast<Device*>(context->device)) {
    const StackedRows stacked = stacks != nullptr ? stacks->all() : StackedRows{};
    if (device->grouped(context, all.data(), more.empty() ? nullptr : more.data(), stacks != nullptr ? &stacked : nullptr, count)) return;
  }
  for (long g = 0; g < count; g++) {
    const size_t i = static_cast<size_t>(g);
    Gemm product = more.empty() ? all[i] : more[i];
    if (product.m == 0) continue;
    if (stacks != nullptr) product.b.data = stacks->of(context, g);
    if (more.empty())
      run_gemm(context, &product);
    else
      run_both(context, all[i], product);
  }
}

// groups…, maps, the rank of each, x, u, then of each group: rows, a of each map
void groupedLoraDown(Call& call) {
  Groups groups(call);
  Stacks stacks(groups.in);
  stacks.ranks(call);
  const Values x = call.values(area(groups.n, groups.in));
  float* const u = call.tensor(area(groups.n, groups.out));
  if (stacks.height != groups.out) throw BadCall("adapters of other ranks than the matrix has columns");
  std::vector<Gemm> products;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    stacks.next(call);
    products.push_back({rows, groups.out, groups.in, plain(rows_from(x, first, groups.in), groups.in), turned(plain(nullptr, groups.in)),
                        u + first * groups.out, groups.out, nullptr, 0, 1, 0});
  }
  call.enqueue([products = std::move(products), stacks = std::move(stacks)](const Context* c) { run_grouped(c, products, {}, &stacks); });
}

// groups…, ranks, first, rank, scaling, x, u, y, then of each: rows, w…, bias?, b. Rank columns of u, from `first` on, are the adapters' own
void groupedLoraUp(Call& call) {
  Groups groups(call);
  const long ranks = call.size(), from = call.size(), rank = call.size();
  if (from + rank > ranks) throw BadCall("columns outside the matrix");
  const float scaling = static_cast<float>(call.number());
  const Values x = call.values(area(groups.n, groups.in));
  const float* const u = call.tensor(area(groups.n, ranks));
  const Values y = call.values(area(groups.n, groups.out));
  std::vector<Gemm> bases, adapters;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    const GemmOperand w = weight(call, groups.in, groups.out, false);
    const float* const bias = call.optional(groups.out);
    const float* const b = call.tensor(area(groups.out, rank));
    float* const to = floats(rows_from(y, first, groups.out));
    bases.push_back({rows, groups.out, groups.in, plain(rows_from(x, first, groups.in), groups.in), w, to, groups.out, bias, 0, 1, y.half});
    adapters.push_back({rows, groups.out, rank, plain(u + first * ranks + from, ranks), turned(plain(b, rank)), to, groups.out, to, groups.out, scaling, y.half});
  }
  call.enqueue([bases = std::move(bases), adapters = std::move(adapters)](const Context* c) { run_grouped(c, bases, adapters, nullptr); });
}

// groups… (in counts for nothing, out: ranks), u, du, maps, then of each map: out, rank, scaling, first, dy, then of each group: rows, b, dB
void groupedLoraUpGrad(Call& call) {
  const Groups all(call);
  const long n = all.n, ranks = all.out;
  const float* const u = call.tensor(area(n, ranks));
  float* const du = call.tensor(area(n, ranks));
  const long maps = call.size();
  std::vector<AdapterGrad> adapters;
  for (long m = 0; m < maps; m++) {
    const long out = call.size(), rank = call.size();
    const float scaling = static_cast<float>(call.number());
    const long from = call.size();
    if (from + rank > ranks) throw BadCall("columns outside the matrix");
    const Values dy = call.values(area(n, out));
    Groups groups = all;
    for (long g = 0; g < groups.count; g++) {
      long first;
      const long rows = groups.next(call, first);
      const float* const b = call.tensor(area(out, rank));
      float* const db = call.tensor(area(out, rank));
      const long at = first * ranks + from;
      adapters.push_back({rows, out, rank, scaling, plain(rows_from(dy, first, out), out), values_of(u + at), b, values_of(du + at), db, ranks});
    }
  }
  call.enqueue([adapters = std::move(adapters)](const Context* context) { run_adapter_grads(context, adapters); });
}

void enqueue_grads(Call& call, std::vector<Gemm> products) {
  call.enqueue([products = std::move(products)](const Context* context) {
    Device* const device = static_cast<Device*>(context->device);
    if (device != nullptr && device->grouped_grads(context, products.data(), static_cast<long>(products.size()))) return;
    for (const Gemm& product : products) run_gemm(context, &product);
  });
}

// Rows as a gradient of weights reads them.
Values kept_rows(Call& call, long n, long width) {
  const GemmOperand x = call.matrix(n, width, false);
  if (x.kind != GEMM_FLOAT32 && x.kind != GEMM_BFLOAT16) throw BadCall("rows are float32 or bfloat16");
  return {const_cast<void*>(x.data), x.kind == GEMM_BFLOAT16};
}

// groups…, maps, the rank of each, x…, du, then of each group: rows, dA of each map. dA = duᵀ x of its columns of du
void groupedLoraDownGrad(Call& call) {
  Groups groups(call);
  std::vector<long> ranks(static_cast<size_t>(call.size()));
  long all = 0;
  for (long& rank : ranks) all = area(all + (rank = call.size()), 1);
  const Values x = kept_rows(call, groups.n, groups.in);
  const float* const du = call.tensor(area(groups.n, groups.out));
  if (all != groups.out) throw BadCall("adapters of other ranks than the matrix has columns");
  std::vector<Gemm> products;
  for (long g = 0; g < groups.count; g++) {
    long first, from = 0;
    const long rows = groups.next(call, first);
    for (const long rank : ranks) {
      float* const da = call.tensor(area(rank, groups.in));
      products.push_back({rank, groups.in, rows, turned(plain(du + first * groups.out + from, groups.out)),
                          plain(rows_from(x, first, groups.in), groups.in), da, groups.in, nullptr, 0, 1, 0});
      from += rank;
    }
  }
  enqueue_grads(call, std::move(products));
}

// groups…, maps, the rank of each, dy, du, accumulate?, dx, then of each group: rows, w…, a of each map: what is added lies as dx
void groupedLoraGradInput(Call& call) {
  Groups groups(call);
  Stacks stacks(groups.in);
  stacks.ranks(call);
  const Values dy = call.values(area(groups.n, groups.out));
  const float* const du = call.tensor(area(groups.n, stacks.height));
  const Values accumulate = call.optionalValues(area(groups.n, groups.in));
  const Values dx = call.values(area(groups.n, groups.in));
  if (accumulate.at != nullptr && accumulate.half != dx.half) throw BadCall("a gradient that lies otherwise than what it is added to");
  std::vector<Gemm> bases, adapters;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    const GemmOperand w = weight(call, groups.in, groups.out, false);
    stacks.next(call);
    const float* const start = accumulate.at != nullptr ? floats(rows_from(accumulate, first, groups.in)) : nullptr;
    float* const to = floats(rows_from(dx, first, groups.in));
    bases.push_back({rows, groups.in, groups.out, plain(rows_from(dy, first, groups.out), groups.out), turned(w), to, groups.in, start, groups.in, 1, dx.half});
    adapters.push_back({rows, groups.in, stacks.height, plain(du + first * stacks.height, stacks.height), plain(nullptr, groups.in), to, groups.in, to,
                        groups.in, 1, dx.half});
  }
  call.enqueue([bases = std::move(bases), adapters = std::move(adapters), stacks = std::move(stacks)](const Context* c) {
    run_grouped(c, bases, adapters, &stacks);
  });
}

// groups, n, rate, x, y, then of each: numbers, seed
void groupedDropout(Call& call) {
  const long count = call.size(), n = call.size();
  const double rate = call.number();
  if (!(rate >= 0 && rate < 1)) throw BadCall("a dropout rate outside [0, 1)");
  const Values x = call.values(n), y = call.values(n);
  if (x.half != y.half) throw BadCall("values that lie otherwise than where they go");
  std::vector<long> ends;
  std::vector<uint32_t> seeds;
  long end = 0;
  for (long g = 0; g < count; g++) {
    end = area(end + call.size(), 1);
    const double seed = call.number();
    if (!(seed >= 0 && seed < 4294967296.0)) throw BadCall("a seed out of range");
    ends.push_back(end);
    seeds.push_back(static_cast<uint32_t>(seed));
  }
  if (end != n) throw BadCall("groups of other numbers than there are");
  call.enqueue([=, ends = std::move(ends), seeds = std::move(seeds)](const Context* c) {
    Device* const device = static_cast<Device*>(c->device);
    if (device != nullptr && device->grouped_dropout(c, x, y, ends.data(), seeds.data(), count, rate)) return;
    long from = 0;
    for (size_t g = 0; g < ends.size(); g++) {
      c->table->dropout(c, rows_from(x, from, 1), rows_from(y, from, 1), ends[g] - from, rate, seeds[g], 0);
      from = ends[g];
    }
  });
}

void enqueue_products(Call& call, std::vector<Gemm> products) {
  call.enqueue([products = std::move(products)](const Context* c) { run_grouped(c, products, {}, nullptr); });
}

// groups…, x, y, then of each: rows, w…, bias?
void groupedLinear(Call& call) {
  Groups groups(call);
  const Values x = call.values(area(groups.n, groups.in)), y = call.values(area(groups.n, groups.out));
  std::vector<Gemm> products;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    const GemmOperand w = weight(call, groups.in, groups.out, false);
    const float* const bias = call.optional(groups.out);
    products.push_back({rows, groups.out, groups.in, plain(rows_from(x, first, groups.in), groups.in), w, floats(rows_from(y, first, groups.out)),
                        groups.out, bias, 0, 1, y.half});
  }
  enqueue_products(call, std::move(products));
}

// groups…, dy, accumulate?, dx, then of each: rows, w…: what is added lies as dx
void groupedLinearGradInput(Call& call) {
  Groups groups(call);
  const Values dy = call.values(area(groups.n, groups.out));
  const Values accumulate = call.optionalValues(area(groups.n, groups.in));
  const Values dx = call.values(area(groups.n, groups.in));
  if (accumulate.at != nullptr && accumulate.half != dx.half) throw BadCall("a gradient that lies otherwise than what it is added to");
  std::vector<Gemm> products;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    const GemmOperand w = weight(call, groups.in, groups.out, false);
    const float* const start = accumulate.at != nullptr ? floats(rows_from(accumulate, first, groups.in)) : nullptr;
    products.push_back({rows, groups.in, groups.out, plain(rows_from(dy, first, groups.out), groups.out), turned(w),
                        floats(rows_from(dx, first, groups.in)), groups.in, start, groups.in, 1, dx.half});
  }
  enqueue_products(call, std::move(products));
}

// groups…, x…, dy, then of each: rows, dW
void groupedLinearGradWeight(Call& call) {
  Groups groups(call);
  const Values x = kept_rows(call, groups.n, groups.in), dy = call.values(area(groups.n, groups.out));
  std::vector<Gemm> products;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    float* const dw = call.tensor(area(groups.out, groups.in));
    products.push_back({groups.out, groups.in, rows, turned(plain(rows_from(dy, first, groups.out), groups.out)),
                        plain(rows_from(x, first, groups.in), groups.in), dw, groups.in, nullptr, 0, 1, 0});
  }
  enqueue_grads(call, std::move(products));
}

// groups… (in counts for nothing), dy, then of each: rows, sum
void groupedColumnSum(Call& call) {
  Groups groups(call);
  const Values dy = call.values(area(groups.n, groups.out));
  struct Sum {
    Values rows;
    float* to;
    long count;
  };
  std::vector<Sum> sums;
  for (long g = 0; g < groups.count; g++) {
    long first;
    const long rows = groups.next(call, first);
    sums.push_back({rows_from(dy, first, groups.out), call.tensor(groups.out), rows});
  }
  call.enqueue([sums = std::move(sums), columns = groups.out](const Context* c) {
    for (const Sum& sum : sums) c->table->column_sum(c, sum.rows, sum.to, sum.count, columns);
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
                c + i * m * n, n, nullptr, 0, 1, 0};
      g.a.transposed = transposeA;
      g.b.transposed = transposeB;
      context->table->gemm(context, &g);
    }
  });
}

constexpr Operation list[] = {
    {"linear", linear},         {"linearGradInput", linearGradInput}, {"linearGradWeight", linearGradWeight},
    {"loraLinear", loraLinear}, {"loraLinearGrad", loraLinearGrad},   {"matMul", matMul},
    {"loraUpGrad", loraUpGrad}, {"loraDown", loraDown},               {"loraDownGrad", loraDownGrad},
    {"groupedLinear", groupedLinear},
    {"groupedLinearGradInput", groupedLinearGradInput},
    {"groupedLinearGradWeight", groupedLinearGradWeight},
    {"groupedColumnSum", groupedColumnSum},
    {"groupedLoraDown", groupedLoraDown},
    {"groupedLoraUp", groupedLoraUp},
    {"groupedLoraUpGrad", groupedLoraUpGrad},
    {"groupedLoraDownGrad", groupedLoraDownGrad},
    {"groupedLoraGradInput", groupedLoraGradInput},
    {"groupedDropout", groupedDropout},
};

}  // namespace

Operations linearOperations() { return {list, sizeof list / sizeof *list}; }
