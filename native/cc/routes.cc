// The routes of routes.h on the processor, as src/model/experts/routing.ts says, in its numbers: probabilities are computed in double
// precision and rounded once. Pairs are laid in order of experts by counting.
#include "routes.h"

#include <cmath>
#include <cstring>

#include "kernels/parallel.h"

namespace {

// Of a piece of work, and of what is counted before pairs are laid in order.
constexpr long tokens_a_piece = 128;
enum { slot_counts = SCRATCH_KERNEL, slot_rank };

// The numbers of the k largest of `count` values, the largest first, of equal ones the lower number first. A NaN is never moved past.
void choose_largest(const float* values, long count, long k, int32_t* chosen) {
  for (long e = 0; e < count; e++) {
    const float value = values[e];
    long place = smaller(e, k);
    while (place > 0 && value > values[chosen[place - 1]]) {
      if (place < k) chosen[place] = chosen[place - 1];
      place--;
    }
    if (place < k) chosen[place] = (int32_t)e;
  }
}

void softmax(const float* logits, long n, float* probabilities) {
  double largest = -INFINITY, sum = 0;
  // NaN wins
  for (long e = 0; e < n; e++) largest = logits[e] > largest || std::isnan(logits[e]) ? logits[e] : largest;
  for (long e = 0; e < n; e++) {
    const double power = std::exp(logits[e] - largest);
    probabilities[e] = (float)power;
    sum += power;
  }
  for (long e = 0; e < n; e++) probabilities[e] = (float)(probabilities[e] / sum);
}

// What experts of groups that a token does not choose become -infinity in. `open` has room for as many as there are groups.
void close_groups(const Routes* a, float* ranks, float* worth, int32_t* open) {
  const long size = a->experts / a->groups;
  for (long g = 0; g < a->groups; g++) {
    int32_t best[2];
    choose_largest(ranks + g * size, size, a->best, best);
    worth[g] = ranks[g * size + best[0]];
    if (a->best > 1) worth[g] += ranks[g * size + best[1]];
  }
  choose_largest(worth, a->groups, a->open, open);
  for (long g = 0; g < a->groups; g++) {
    bool is_open = false;
    for (long i = 0; i < a->open; i++) is_open = is_open || open[i] == g;
    if (!is_open)
      for (long e = g * size; e < (g + 1) * size; e++) ranks[e] = -INFINITY;
  }
}

double mass(const float* probabilities, const int32_t* chosen, long each) {
  double sum = 0;
  for (long j = 0; j < each; j++) sum += probabilities[chosen[j]];
  return sum;
}
double divisor_of(double sum, double least) { return sum < least ? least : sum; }

// Each by a softmax of its own over the experts that come close to it and were not chosen before it.
void mixed_weights(const Routes* a, const float* logits, const int32_t* chosen, float* weights, float* shares) {
  for (long j = 0; j < a->each; j++, shares += a->experts) {
    const double best = logits[chosen[j]];
    double sum = 0;
    for (long e = 0; e < a->experts; e++) {
      const double size = std::fabs((double)logits[e]);
      bool out = (best - logits[e]) / (size > best ? size : best) > a->tolerance;
      for (long before = 0; before < j; before++) out = out || chosen[before] == e;
      const double part = out ? 0 : std::exp(logits[e] - best);
      shares[e] = (float)part;
      sum += part;
    }
    for (long e = 0; e < a->experts; e++) shares[e] = (float)(shares[e] / sum);
    weights[j] = shares[chosen[j]];
  }
}

// `room`: experts and groups floats, and groups integers.
void route_token(const Routes* a, long token, float* room) {
  const float* const logits = a->logits + token * a->experts;
  float* const probabilities = a->probabilities + token * a->experts;
  int32_t* const chosen = a->chosen + token * a->each;
  float* const weights = a->weights + token * a->each;
  if (a->sigmoid)
    for (long e = 0; e < a->experts; e++) probabilities[e] = (float)(1 / (1 + std::exp(-(double)logits[e])));
  else
    softmax(logits, a->experts, probabilities);
  // Logits tell apart what probabilities round to the same.
  const float* ranks = logits;
  if (a->correction != nullptr || a->groups > 0) {
    for (long e = 0; e < a->experts; e++) room[e] = probabilities[e] + (a->correction != nullptr ? a->correction[e] : 0.f);
    if (a->groups > 0) close_groups(a, room, room + a->experts, (int32_t*)(room + a->experts + a->groups));
    ranks = room;
  }
  choose_largest(ranks, a->experts, a->each, chosen);
  if (a->mixed) return mixed_weights(a, logits, chosen, weights, a->shares + token * a->each * a->experts);
  const double divisor = a->normalized ? divisor_of(mass(probabilities, chosen, a->each), a->least_sum) : 1;
  for (long j = 0; j < a->each; j++) weights[j] = (float)(probabilities[chosen[j]] / divisor * a->factor);
}

}  // namespace

void make_routes(const Context* context, const Routes* asked) {
  const Routes a = *asked;
  const long pieces = parts_of(a.tokens, tokens_a_piece);
  // Of each piece how often it goes to each expert; then where its first pair of each lies.
  long* const counts = (long*)scratch_get(context->scratch, slot_counts, (size_t)((pieces + 1) * a.experts) * sizeof(long));
  const long room = (a.experts + 2 * a.groups + 15) / 16 * 16;
  float* const ranks = (float*)scratch_get(context->scratch, slot_rank, (size_t)(room * pool_threads(context->pool)) * sizeof(float));
  parallel_with_id(context, pieces, [=](long piece, int id) {
    long* const own = counts + piece * a.experts;
    std::memset(own, 0, (size_t)a.experts * sizeof(long));
    for (long token = piece * tokens_a_piece; token < smaller(a.tokens, (piece + 1) * tokens_a_piece); token++) {
      route_token(&a, token, ranks + id * room);
      for (long j = token * a.each; j < (token + 1) * a.each; j++) own[a.chosen[j]]++;
    }
  });
  long first = 0;
  for (long e = 0; e < a.experts; e++) {
    const long start = first;
    for (long piece = 0; piece < pieces; piece++) {
      long& own = counts[piece * a.experts + e];
      const long count = own;
      own = first;
      first += count;
    }
    a.counts[e] = (int32_t)(first - start);
  }
  parallel(context, pieces, [=](long piece) {
    long* const next = counts + piece * a.experts;
    for (long i = piece * tokens_a_piece * a.each; i < smaller(a.tokens, (piece + 1) * tokens_a_piece) * a.each; i++) {
      const long place = next[a.chosen[i]]++;
      a.places[i] = (int32_t)place;
      a.order[place] = (int32_t)i;
      a.rows[place] = (int32_t)(i / a.each);
    }
  });
}

namespace {

// Gradient of the logits, from that of the probabilities.
void through_softmax(const float* probabilities, const double* d, long n, float* d_logits) {
  double mean = 0;
  for (long e = 0; e < n; e++) mean += probabilities[e] * d[e];
  for (long e = 0; e < n; e++) d_logits[e] = (float)(probabilities[e] * (d[e] - mean));
}

// Which experts are chosen is constant.
void route_token_back(const RoutesGrad* a, long token, double* d) {
  const float* const probabilities = a->probabilities + token * a->experts;
  const int32_t* const chosen = a->chosen + token * a->each;
  const float* const weights = a->weights + token * a->each;
  const float* const d_weights = a->d_weights + token * a->each;
  float* const d_logits = a->d_logits + token * a->experts;
  for (long e = 0; e < a->experts; e++) d[e] = a->slopes != nullptr ? a->slopes[e] : 0;
  if (a->shares != nullptr) {
    through_softmax(probabilities, d, a->experts, d_logits);
    const float* shares = a->shares + token * a->each * a->experts;
    for (long j = 0; j < a->each; j++, shares += a->experts)
      for (long e = 0; e < a->experts; e++)
        d_logits[e] = (float)(d_logits[e] + (double)d_weights[j] * weights[j] * ((e == chosen[j] ? 1. : 0.) - shares[e]));
    return;
  }
  const double sum = a->normalized ? mass(probabilities, chosen, a->each) : 1;
  const double divisor = a->normalized ? divisor_of(sum, a->least_sum) : 1;
  double shift = 0;
  // A sum that is held up is constant.
  if (a->normalized && !(sum < a->least_sum))
    for (long j = 0; j < a->each; j++) shift += (double)weights[j] * d_weights[j];
  for (long j = 0; j < a->each; j++) d[chosen[j]] += (a->factor * d_weights[j] - shift) / divisor;
  if (a->sigmoid)
    for (long e = 0; e < a->experts; e++) d_logits[e] = (float)((double)probabilities[e] * (1 - (double)probabilities[e]) * d[e]);
  else
    through_softmax(probabilities, d, a->experts, d_logits);
}

}  // namespace

void make_routes_grad(const Context* context, const RoutesGrad* asked) {
  const RoutesGrad a = *asked;
  const long room = (a.experts + 7) / 8 * 8;
  double* const d = (double*)scratch_get(context->scratch, slot_rank, (size_t)(room * pool_threads(context->pool)) * sizeof(double));
  parallel_with_id(context, parts_of(a.tokens, tokens_a_piece), [=](long piece, int id) {
    for (long token = piece * tokens_a_piece; token < smaller(a.tokens, (piece + 1) * tokens_a_piece); token++)
      route_token_back(&a, token, d + id * room);
  });
}
