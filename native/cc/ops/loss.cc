// The two ends of a step: the loss at the head, and the update of the weights.
#include "../ops.h"

#include <memory>

namespace {

// rows, columns, vocabulary, labelSmoothing, softcap, dft, h, w…, bias?, total, loss, correct, entropy, dh?, dw?, dBias?, add: dw and
// dBias are added to; targets, weights
void linearCrossEntropy(Call& call) {
  LinearCrossEntropy r = {};
  r.rows = call.size();
  r.columns = call.size();
  r.vocabulary = call.size();
  r.label_smoothing = static_cast<float>(call.number());
  r.softcap = static_cast<float>(call.number());
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

// What an update of weights holds on to until it runs.
struct Updated {
  std::vector<float*> params;
  std::vector<const float*> grads;
  std::vector<long> sizes;
  HostArray<float> decay;

  // count, learningRate, beta1, beta2, epsilon, step, gradScale, sizes…, params…, grads…
  template <class Update>
  void read(Call& call, Update& a) {
    a.count = call.size();
    a.learning_rate = call.number();
    a.beta1 = call.number();
    a.beta2 = call.number();
    a.epsilon = call.number();
    a.step = call.size();
    a.grad_scale = call.number();
    if (a.step < 1) throw BadCall("the first step is 1");
    for (long i = 0; i < a.count; i++) sizes.push_back(call.size());
    params = tensors(call);
    for (float* grad : tensors(call)) grads.push_back(grad);
  }
  std::vector<float*> tensors(Call& call, long numbers_an_element = 1) const {
    std::vector<float*> out;
    for (long size : sizes) out.push_back(call.tensor((size + numbers_an_element - 1) / numbers_an_element));
    return out;
  }
  template <class Update>
  void point(Update& a) const {
    a.params = params.data();
    a.grads = grads.data();
    a.sizes = sizes.data();
    a.weight_decay = decay.data();
  }
};

// an update; m…, v…, squared norm?, its limit, then the rounded copy of each parameter?; weightDecay
void adamW(Call& call) {
  struct Moments : Updated {
    std::vector<float*> m, v;
    std::vector<uint16_t*> rounded;
  };
  AdamW a = {};
  auto u = std::make_unique<Moments>();
  u->read(call, a);
  u->m = u->tensors(call);
  u->v = u->tensors(call);
  a.squared_norm = call.optional(1);
  a.max_norm = call.number();
  if (a.squared_norm != nullptr && !call.on_device()) throw BadCall("an update by a norm that lies in memory is of a device");
  for (const long size : u->sizes) u->rounded.push_back(call.roundedCopy(size));
  u->decay = call.floats(a.count);
  call.enqueue([a, u = std::move(u)](const Context* c) {
    AdamW run = a;
    u->point(run);
    run.rounded = u->rounded.data();
    run.m = u->m.data();
    run.v = u->v.data();
    c->table->adamw(c, &run);
  });
}

// an update; m…, v…, mAbsmax…, vAbsmax…; weightDecay, maps: [2, 256], the signed one first
void adamW8bit(Call& call) {
  struct Moments : Updated {
    std::vector<uint8_t*> m, v;
    std::vector<float*> mAbsmax, vAbsmax;
    HostArray<float> maps;
  };
  AdamW8bit a = {};
  auto u = std::make_unique<Moments>();
  u->read(call, a);
  for (auto* codes : {&u->m, &u->v})
    for (long size : u->sizes) codes->push_back(static_cast<uint8_t*>(call.bytes(size, 1)));
  for (auto* scales : {&u->mAbsmax, &u->vAbsmax}) *scales = u->tensors(call, ADAMW_8BIT_BLOCK);
  u->decay = call.floats(a.count);
  u->maps = call.floats(512);
  call.enqueue([a, u = std::move(u)](const Context* c) {
    AdamW8bit run = a;
    u->point(run);
    run.m = u->m.data();
    run.v = u->v.data();
    run.m_absmax = u->mAbsmax.data();
    run.v_absmax = u->vAbsmax.data();
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
