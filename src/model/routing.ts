/** Which experts each token goes to and what each of them counts: arithmetic on the router's logits, and the way back. */

export interface RoutingShape {
  readonly numExperts: number;
  /** Experts a token, k. */
  readonly perToken: number;
  /** The weights of a token's experts are divided by their sum. */
  readonly normalized: boolean;
}

/** The routes of N tokens. */
export interface Routing {
  /** [N·E] Softmax of each token's logits. */
  readonly probabilities: Float32Array;
  /** [N·k] Each token's experts, the likeliest first; of equally likely ones the lower number. */
  readonly chosen: Int32Array;
  /** [N·k] What each of them counts. */
  readonly weights: Float32Array;
  /** By expert: the tokens that go to it, increasing. */
  readonly tokens: ReadonlyArray<Int32Array>;
  /** [N·k] Where each token's rows lie when those of all experts lie one below the other. */
  readonly places: Int32Array;
}

/** Puts the numbers of the k largest of logits[from …] at chosen[to …]. A NaN is never moved past. */
const chooseLargest = (
  logits: Float32Array,
  from: number,
  { numExperts, perToken }: RoutingShape,
  chosen: Int32Array,
  to: number,
): void => {
  for (let e = 0; e < numExperts; e++) {
    const logit = logits[from + e] ?? NaN;
    let place = Math.min(e, perToken);
    while (place > 0 && logit > (logits[from + (chosen[to + place - 1] ?? 0)] ?? NaN)) {
      if (place < perToken) chosen[to + place] = chosen[to + place - 1] ?? 0;
      place--;
    }
    if (place < perToken) chosen[to + place] = e;
  }
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

/** Tokens by expert, and where their rows lie among all. */
const sorted = (chosen: Int32Array, { numExperts, perToken }: RoutingShape): Pick<Routing, 'tokens' | 'places'> => {
  const counts = new Int32Array(numExperts);
  for (const expert of chosen) counts[expert] = (counts[expert] ?? 0) + 1;
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

/** The routes that logits [N·E] ask for. */
export const routes = (logits: Float32Array, shape: RoutingShape): Routing => {
  const { numExperts, perToken, normalized } = shape;
  const n = logits.length / numExperts;
  const probabilities = softmaxOf(logits, n, numExperts);
  const chosen = new Int32Array(n * perToken);
  for (let i = 0; i < n; i++) chooseLargest(logits, i * numExperts, shape, chosen, i * perToken);
  const weights = new Float32Array(n * perToken);
  for (let i = 0; i < n; i++) {
    const divisor = normalized ? mass({ probabilities, chosen }, shape, i) : 1;
    for (let at = i * perToken; at < (i + 1) * perToken; at++)
      weights[at] = (probabilities[i * numExperts + (chosen[at] ?? 0)] ?? NaN) / divisor;
  }
  return { probabilities, chosen, weights, ...sorted(chosen, shape) };
};

/**
 * Gradient of the logits, [N·E], from that of the weights, [N·k], and what each probability counts beside them, [E]. Which experts are
 * chosen is constant.
 */
export const routesBack = (
  routing: Routing,
  shape: RoutingShape,
  dWeights: Float32Array,
  ofProbabilities: ArrayLike<number> | undefined,
): Float32Array => {
  const { probabilities, chosen, weights } = routing;
  const { numExperts, perToken, normalized } = shape;
  const dLogits = new Float32Array(probabilities.length);
  const d = new Float64Array(numExperts);
  for (let from = 0, n = 0; from < dLogits.length; from += numExperts, n++) {
    for (let e = 0; e < numExperts; e++) d[e] = ofProbabilities?.[e] ?? 0;
    const divisor = normalized ? mass(routing, shape, n) : 1;
    const start = n * perToken;
    let shift = 0;
    if (normalized) for (let j = start; j < start + perToken; j++) shift += (weights[j] ?? NaN) * (dWeights[j] ?? NaN);
    for (let j = start; j < start + perToken; j++) {
      const expert = chosen[j] ?? 0;
      d[expert] = (d[expert] ?? NaN) + ((dWeights[j] ?? NaN) - shift) / divisor;
    }
    let mean = 0;
    for (let e = 0; e < numExperts; e++) mean += (probabilities[from + e] ?? NaN) * (d[e] ?? NaN);
    for (let e = 0; e < numExperts; e++) dLogits[from + e] = (probabilities[from + e] ?? NaN) * ((d[e] ?? NaN) - mean);
  }
  return dLogits;
};
