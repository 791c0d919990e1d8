// The two ends of a step: the loss at the head, and the update of the weights.
#include "../ops.h"

#include <memory>

namespace {

// rows, columns, vocabulary, labelSmoothing, dft, h, w…, bias?, total, loss, correct, entropy, dh?, dw?, dBias?, add: dw and
// dBias are added to; targets, weights
void linearCrossEntropy(Call& call) {
  LinearCrossEntropy r = {};
  r.rows = call.size();
  r.columns = call.size();
  r.vocabulary = call.size();
  r.label_smoothing = static_cast<float>(call.number());
  r.dft = call.flag();
  r.h = call.tensor(area(r.rows, r.columns));
  r.w = call.matrix(r.vocabulary, r.columns, true);
  r.bias = call.optional(r.vocabulary);
  r.total = call.tensor(1);
  r.loss = call.tensor(r.rows);
  r.correct = call.tensor(r.rows);
  r.entropy = call.tensor(r.rows);
  r.dh = call.optional(area(r.rows, r.columns));
  r.dw = call.optional(area(r.vocabulary, r.columns));
  r.d_bias = call.optional(r.vocabulary);
  r.accumulate = call.flag();
  HostArray<int32_t> targets = call.ints(r.rows);
  HostArray<float> weights = call.floats(r.rows);
  call.enqueue([r, targets = std::move(targets), weights = std::move(weights)](const Context* c) {
    LinearCrossEntropy run = r;
    run.targets = targets.data();
    run.weights = weights.data();
    c->table->linear_cross_entropy(c, &run);
  });
}

struct Updated {
  std::vector<float*> params, m, v;
  std::vector<const float*> grads;
  std::vector<long> sizes;
  HostArray<float> decay;
};

// count, learningRate, beta1, beta2, epsilon, step, gradScale, sizes…, params…, grads…, m…, v…; weightDecay
void adamW(Call& call) {
  AdamW a = {};
  a.count = call.size();
  a.learning_rate = call.number();
  a.beta1 = call.number();
  a.beta2 = call.number();
  a.epsilon = call.number();
  a.step = call.size();
  a.grad_scale = call.number();
  if (a.step < 1) throw BadCall("the first step is 1");
  auto u = std::make_unique<Updated>();
  for (long i = 0; i < a.count; i++) u->sizes.push_back(call.size());
  for (long i = 0; i < a.count; i++) u->params.push_back(call.tensor(u->sizes[i]));
  for (long i = 0; i < a.count; i++) u->grads.push_back(call.tensor(u->sizes[i]));
  for (long i = 0; i < a.count; i++) u->m.push_back(call.tensor(u->sizes[i]));
  for (long i = 0; i < a.count; i++) u->v.push_back(call.tensor(u->sizes[i]));
  u->decay = call.floats(a.count);
  call.enqueue([a, u = std::move(u)](const Context* c) {
    AdamW run = a;
    run.params = u->params.data();
    run.grads = u->grads.data();
    run.m = u->m.data();
    run.v = u->v.data();
    run.sizes = u->sizes.data();
    run.weight_decay = u->decay.data();
    c->table->adamw(c, &run);
  });
}

struct Updated8bit {
  std::vector<float*> params, mAbsmax, vAbsmax;
  std::vector<const float*> grads;
  std::vector<uint8_t*> m, v;
  std::vector<long> sizes;
  HostArray<float> decay, maps;
};

// count, learningRate, beta1, beta2, epsilon, step, gradScale, sizes…, params…, grads…, m…, v…, mAbsmax…, vAbsmax…; weightDecay,
// maps: [2, 256], the signed one first
void adamW8bit(Call& call) {
  if (call.kernels().adamw_8bit == nullptr) throw BadCall("adamw_8bit has no kernel on this device");
  AdamW8bit a = {};
  a.count = call.size();
  a.learning_rate = call.number();
  a.beta1 = call.number();
  a.beta2 = call.number();
  a.epsilon = call.number();
  a.step = call.size();
  a.grad_scale = call.number();
  if (a.step < 1) throw BadCall("the first step is 1");
  auto u = std::make_unique<Updated8bit>();
  const auto blocks = [](long size) { return (size + ADAMW_8BIT_BLOCK - 1) / ADAMW_8BIT_BLOCK; };
  for (long i = 0; i < a.count; i++) u->sizes.push_back(call.size());
  for (long i = 0; i < a.count; i++) u->params.push_back(call.tensor(u->sizes[i]));
  for (long i = 0; i < a.count; i++) u->grads.push_back(call.tensor(u->sizes[i]));
  for (auto* codes : {&u->m, &u->v})
    for (long i = 0; i < a.count; i++) codes->push_back(static_cast<uint8_t*>(call.bytes(u->sizes[i], 1)));
  for (auto* scales : {&u->mAbsmax, &u->vAbsmax})
    for (long i = 0; i < a.count; i++) scales->push_back(call.tensor(blocks(u->sizes[i])));
  u->decay = call.floats(a.count);
  u->maps = call.floats(512);
  call.enqueue([a, u = std::move(u)](const Context* c) {
    AdamW8bit run = a;
    run.params = u->params.data();
    run.grads = u->grads.data();
    run.m = u->m.data();
    run.v = u->v.data();
    run.m_absmax = u->mAbsmax.data();
    run.v_absmax = u->vAbsmax.data();
    run.sizes = u->sizes.data();
    run.weight_decay = u->decay.data();
    run.signed_map = u->maps.data();
    run.unsigned_map = u->maps.data() + 256;
    c->table->adamw_8bit(c, &run);
  });
}

constexpr Operation list[] = {
    {"linearCrossEntropy", linearCrossEntropy},
    {"adamW", adamW},
    {"adamW8bit", adamW8bit},
};

}  // namespace

Operations lossOperations() { return {list, sizeof list / sizeof *list}; }
