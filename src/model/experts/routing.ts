/** Which experts each token goes to and what each of them counts: arithmetic on the router's logits, and the way back. */

import { mixerShares } from './sparseMixer.js';

/** What experts are grouped for: a token chooses groups first, and its experts among theirs. */
export interface ExpertGroups {
  /** Groups of as many experts each, in order. */
  readonly count: number;
  /** Groups a token. */
  readonly chosen: number;
  /** A group counts as its best experts do together: 1 of them (DeepSeek-V2), or 2 (DeepSeek-V3). */
  readonly best: 1 | 2;
}

export interface RoutingShape {
  readonly numExperts: number;
  /** Experts a token, k. */
  readonly perToken: number;
  /** The weights of a token's experts are divided by their sum. */
  readonly normalized: boolean;
  /** What the sum is at least, where weights are divided by it. Default: 0. */
  readonly leastSum?: number;
  /** What each logit becomes: its part of the softmax over all, or its own sigmoid. Default: softmax. */
  readonly scores?: 'softmax' | 'sigmoid';
  /** Default: none. */
  readonly groups?: ExpertGroups | undefined;
  /** What weights are multiplied by in the end. Default: 1. */
  readonly factor?: number;
  /** Weights are those of `mixerShares`, which are neither divided nor multiplied. Default: of the probabilities. */
  readonly tolerance?: number;
}

/** The routes of N tokens. */
export interface Routing {
  /** [N·E] Of each token's logits, as `scores` says. */
  readonly probabilities: Float32Array;
  /** [N·k] Each token's experts, the likeliest first, corrections counted; of equally likely ones the lower number. */
  readonly chosen: Int32Array;
  /** [N·k] What each of them counts. */
  readonly weights: Float32Array;
  /** [N·k·E] What all experts would count in the place of each of them, with a `tolerance`. */
  readonly shares?: Float32Array;
  /** [E] How many tokens would choose each expert if nothing were corrected. */
  readonly liked: ArrayLike<number>;
  /** By expert: the tokens that go to it, increasing. */
  readonly tokens: ReadonlyArray<Int32Array>;
  /** [N·k] Where each token's rows lie when those of all experts lie one below the other. */
  readonly places: Int32Array;
}

/** Puts the numbers of the k largest of `count` from values[from] on at chosen[to …]. A NaN is never moved past. */
const chooseLargest = (
  values: Float32Array,
  from: number,
  { count, k }: { readonly count: number; readonly k: number },
  chosen: Int32Array,
  to: number,
): void => {
  for (let e = 0; e < count; e++) {
    const value = values[from + e] ?? NaN;
    let place = Math.min(e, k);
    while (place > 0 && value > (values[from + (chosen[to + place - 1] ?? 0)] ?? NaN)) {
      if (place < k) chosen[to + place] = chosen[to + place - 1] ?? 0;
      place--;
    }
    if (place < k) chosen[to + place] = e;
  }
};

/** What experts of groups that a token does not choose become -Infinity in, in place: values [N·E]. */
const closeGroups = (values: Float32Array, numExperts: number, { count, chosen, best }: ExpertGroups): void => {
  const size = numExperts / count;
  const worth = new Float32Array(count);
  const open = new Int32Array(chosen);
  const of = new Int32Array(best);
  for (let from = 0; from < values.length; from += numExperts) {
    for (let g = 0; g < count; g++) {
      chooseLargest(values, from + g * size, { count: size, k: best }, of, 0);
      worth[g] = of.reduce((sum, e) => sum + (values[from + g * size + e] ?? NaN), 0);
    }
    chooseLargest(worth, 0, { count, k: chosen }, open, 0);
    for (let g = 0; g < count; g++)
      if (!open.includes(g)) values.fill(-Infinity, from + g * size, from + (g + 1) * size);
  }
};

/** What the experts of tokens are chosen by, [N·E]. */
const rankings = (
  logits: Float32Array,
  probabilities: Float32Array,
  { numExperts, groups }: RoutingShape,
  correction: Float32Array | undefined,
): Float32Array => {
  // Logits tell apart what probabilities round to the same.
  if (correction === undefined && groups === undefined) return logits;
  const values = probabilities.map((probability, i) => probability + (correction?.[i % numExperts] ?? 0));
  if (groups !== undefined) closeGroups(values, numExperts, groups);
  return values;
};

const softmaxOf = (logits: Float32Array, n: number, numExperts: number): Float32Array => {
  const probabilities = new Float32Array(n * numExperts);
  for (let from = 0; from < probabilities.length; from += numExperts) {
    let largest = -Infinity;
    for (let e = 0; e < numExperts; e++) largest = Math.max(largest, logits[from + e] ?? NaN);
    let sum = 0;
    for (let e = 0; e < numExperts; e++) {
      const exp = Math.exp((logits[from + e] ?? NaN) - largest);
      probabilities[from + e] = exp;
      sum += exp;
    }
    for (let e = 0; e < numExperts; e++) probabilities[from + e] = (probabilities[from + e] ?? NaN) / sum;
  }
  return probabilities;
};

const probabilitiesOf = (logits: Float32Array, n: number, { numExperts, scores }: RoutingShape): Float32Array =>
  scores === 'sigmoid' ? logits.map((logit) => 1 / (1 + Math.exp(-logit))) : softmaxOf(logits, n, numExperts);

/** Sum of the probabilities of the experts that token n goes to. */
const mass = (
  { probabilities, chosen }: Pick<Routing, 'probabilities' | 'chosen'>,
  { numExperts, perToken }: RoutingShape,
  n: number,
): number => {
  let sum = 0;
  for (let i = n * perToken; i < (n + 1) * perToken; i++)
    sum += probabilities[n * numExperts + (chosen[i] ?? 0)] ?? NaN;
  return sum;
};

/** How often each expert is chosen. */
const countsOf = (chosen: Int32Array, numExperts: number): Int32Array => {
  const counts = new Int32Array(numExperts);
  for (const expert of chosen) counts[expert] = (counts[expert] ?? 0) + 1;
  return counts;
};

/** Tokens by expert, and where their rows lie among all. */
const sorted = (chosen: Int32Array, { numExperts, perToken }: RoutingShape): Pick<Routing, 'tokens' | 'places'> => {
  const counts = countsOf(chosen, numExperts);
  const tokens = Array.from(counts, (count) => new Int32Array(count));
  const first = new Int32Array(numExperts);
  for (let e = 1; e < numExperts; e++) first[e] = (first[e - 1] ?? 0) + (counts[e - 1] ?? 0);
  const filled = new Int32Array(numExperts);
  const places = Int32Array.from(chosen, (expert, i) => {
    const at = filled[expert] ?? 0;
    filled[expert] = at + 1;
    const own = tokens[expert];
    if (own !== undefined) own[at] = Math.floor(i / perToken);
    return (first[expert] ?? 0) + at;
  });
  return { tokens, places };
};

/** The numbers of each token's k largest of values [N·E]: [N·k]. */
const best = (values: Float32Array, { numExperts, perToken }: RoutingShape): Int32Array => {
  const n = values.length / numExperts;
  const numbers = new Int32Array(n * perToken);
  for (let i = 0; i < n; i++)
    chooseLargest(values, i * numExperts, { count: numExperts, k: perToken }, numbers, i * perToken);
  return numbers;
};

/** [E] How many tokens would choose each expert if nothing were corrected, by logits [N·E] and their probabilities. */
export const likedBy = (logits: Float32Array, probabilities: Float32Array, shape: RoutingShape): Int32Array =>
  countsOf(best(rankings(logits, probabilities, shape, undefined), shape), shape.numExperts);

/** The routes that logits [N·E] ask for. `correction` [E] is added to probabilities where experts are chosen, and only there. */
export const routes = (logits: Float32Array, shape: RoutingShape, correction?: Float32Array): Routing => {
  const { numExperts, perToken, normalized, leastSum = 0, factor = 1 } = shape;
  const n = logits.length / numExperts;
  const probabilities = probabilitiesOf(logits, n, shape);
  const chosen = best(rankings(logits, probabilities, shape, correction), shape);
  const liked = correction === undefined ? countsOf(chosen, numExperts) : likedBy(logits, probabilities, shape);
  if (shape.tolerance !== undefined) {
    const shares = mixerShares(logits, chosen, { numExperts, perToken, tolerance: shape.tolerance });
    const own = Float32Array.from(chosen, (expert, at) => shares[at * numExperts + expert] ?? NaN);
    return { probabilities, chosen, weights: own, shares, liked, ...sorted(chosen, shape) };
  }
  const weights = new Float32Array(n * perToken);
  for (let i = 0; i < n; i++) {
    const divisor = normalized ? Math.max(mass({ probabilities, chosen }, shape, i), leastSum) : 1;
    for (let at = i * perToken; at < (i + 1) * perToken; at++)
      weights[at] = ((probabilities[i * numExperts + (chosen[at] ?? 0)] ?? NaN) / divisor) * factor;
  }
  return { probabilities, chosen, weights, liked, ...sorted(chosen, shape) };
};

/** Puts the gradient of a token's logits at dLogits[from …], from that of its probabilities, [E]. */
const throughSoftmax = (probabilities: Float32Array, from: number, d: Float64Array, dLogits: Float32Array): void => {
  let mean = 0;
  d.forEach((own, e) => (mean += (probabilities[from + e] ?? NaN) * own));
  d.forEach((own, e) => (dLogits[from + e] = (probabilities[from + e] ?? NaN) * (own - mean)));
};

/**
 * Gradient of the logits, [N·E], from that of the weights, [N·k], and what each probability counts beside them, [E]. Which experts are
 * chosen is constant.
 */
export const routesBack = (
  routing: Pick<Routing, 'probabilities' | 'chosen' | 'weights' | 'shares'>,
  shape: RoutingShape,
  dWeights: Float32Array,
  ofProbabilities: ArrayLike<number> | undefined,
): Float32Array => {
  const { probabilities, chosen, weights } = routing;
  const { numExperts, perToken, normalized, leastSum = 0, scores, factor = 1 } = shape;
  const dLogits = new Float32Array(probabilities.length);
  const d = new Float64Array(numExperts);
  const { shares } = routing;
  for (let from = 0, n = 0; from < dLogits.length; from += numExperts, n++) {
    for (let e = 0; e < numExperts; e++) d[e] = ofProbabilities?.[e] ?? 0;
    const start = n * perToken;
    if (shares !== undefined) {
      throughSoftmax(probabilities, from, d, dLogits);
      for (let j = start; j < start + perToken; j++)
        for (let e = 0; e < numExperts; e++) {
          const own = (e === chosen[j] ? 1 : 0) - (shares[j * numExperts + e] ?? NaN);
          dLogits[from + e] = (dLogits[from + e] ?? NaN) + (dWeights[j] ?? NaN) * (weights[j] ?? NaN) * own;
        }
      continue;
    }
    const sum = normalized ? mass(routing, shape, n) : 1;
    const divisor = normalized ? Math.max(sum, leastSum) : 1;
    let shift = 0;
    // A sum that is held up is constant.
    if (normalized && !(sum < leastSum))
      for (let j = start; j < start + perToken; j++) shift += (weights[j] ?? NaN) * (dWeights[j] ?? NaN);
    for (let j = start; j < start + perToken; j++) {
      const expert = chosen[j] ?? 0;
      d[expert] = (d[expert] ?? NaN) + (factor * (dWeights[j] ?? NaN) - shift) / divisor;
    }
    if (scores === 'sigmoid') {
      for (let e = 0; e < numExperts; e++) {
        const probability = probabilities[from + e] ?? NaN;
        dLogits[from + e] = probability * (1 - probability) * (d[e] ?? NaN);
      }
      continue;
    }
    throughSoftmax(probabilities, from, d, dLogits);
  }
  return dLogits;
};
