// The routes of a mixture of experts: which experts each token goes to, by a router's logits, and what they count. A pair of a token and an
// expert is known by its number, token * each + how likely the expert is to the token, 0 the likeliest.
#pragma once

#include <stdint.h>

struct Context;

typedef struct Routes {
  long tokens, experts, each;  // each <= experts
  int sigmoid;                 // a probability is its logit's own sigmoid; 0: the logit's part of the softmax
  int normalized;              // weights are divided by their sum, or by least_sum if that is more
  double least_sum, factor;    // weights are multiplied by factor in the end
  long groups, open, best;     // 0, or groups of experts, as many of which are open to a token, ranked by the sum of their best 1 or 2
  int mixed;                   // weights are those of SparseMixer, with this tolerance
  double tolerance;
  const float* logits;      // [tokens, experts]
  const float* correction;  // ? [experts], added to probabilities where experts are chosen
  float* probabilities;     // [tokens, experts]
  int32_t* chosen;          // [tokens, each], the likeliest first
  float* weights;           // [tokens, each]
  float* shares;            // ? [tokens * each, experts], where mixed
  int32_t* counts;          // [experts]: tokens that go to each
  int32_t* order;           // [tokens * each]: pairs by expert, an expert's in order
  int32_t* rows;            // [tokens * each]: their tokens
  int32_t* places;          // [tokens, each]: where in that order each pair is
} Routes;
// The way back: d_logits from d_weights [tokens, each] and what a probability of each expert counts besides, slopes [experts] (null: nothing).
typedef struct RoutesGrad {
  long tokens, experts, each;
  int sigmoid, normalized;
  double least_sum, factor;
  const float* probabilities;
  const int32_t* chosen;
  const float* weights;
  const float* shares;  // ? as of Routes
  const float* d_weights;
  const float* slopes;  // ?
  float* d_logits;      // [tokens, experts]
} RoutesGrad;

// The processor's.
void make_routes(const struct Context* context, const Routes* routes);
void make_routes_grad(const struct Context* context, const RoutesGrad* routes);
