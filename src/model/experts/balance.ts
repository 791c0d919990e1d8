/**
 * The load-balancing loss of routed experts, E·Σₑ fₑ·Pₑ (Switch Transformer, equations 4 to 6): fₑ is the share of tokens that go to
 * expert e, Pₑ its mean probability, both over the tokens of all layers together, as transformers has it.
 */
import type { Routing } from './routing.js';

/** What the tokens of a layer ask of its experts. */
export interface ExpertLoad {
  readonly tokens: number;
  /** [E] Tokens that go to each, or would if routers were not corrected. */
  readonly counts: Float64Array;
  /** [E] Sum of its probabilities. */
  readonly sums: Float64Array;
}

/** Kept of a pass whose loss has a balancing part: what each layer's router did. */
export interface RouterBalance {
  /** What the balancing loss counts in the whole. */
  readonly coefficient: number;
  /** By layer; a layer that runs again says the same again. */
  readonly loads: Map<number, ExpertLoad>;
}

export const makeBalance = (coefficient: number): RouterBalance => ({ coefficient, loads: new Map() });

/** Takes note of the routes of a layer. */
export const noteLoad = (
  { loads }: RouterBalance,
  layer: number,
  { liked, probabilities }: Pick<Routing, 'liked' | 'probabilities'>,
): void => {
  const numExperts = liked.length;
  const sums = new Float64Array(numExperts);
  probabilities.forEach((probability, i) => {
    sums[i % numExperts] = (sums[i % numExperts] ?? 0) + probability;
  });
  loads.set(layer, {
    tokens: probabilities.length / numExperts,
    counts: Float64Array.from(liked),
    sums,
  });
};

const over = (loads: RouterBalance['loads'], of: (load: ExpertLoad) => Float64Array): Float64Array => {
  const [first, ...others] = Array.from(loads.values(), of);
  return others.reduce((sum, more) => sum.map((value, e) => value + (more[e] ?? 0)), first ?? new Float64Array(0));
};

const tokensOf = (loads: RouterBalance['loads']): number =>
  Array.from(loads.values()).reduce((sum, { tokens }) => sum + tokens, 0);

/** The balancing loss, its coefficient left out; 0 where nothing was routed. */
export const balanceLoss = ({ loads }: RouterBalance): number => {
  const tokens = tokensOf(loads);
  const sums = over(loads, (load) => load.sums);
  const product = over(loads, (load) => load.counts).reduce((sum, count, e) => sum + count * (sums[e] ?? 0), 0);
  return tokens === 0 ? 0 : (sums.length * product) / tokens ** 2;
};

/** [E] What the probability of each expert counts in the whole loss, for any token of any layer: its count is constant. */
export const balanceSlopes = ({ coefficient, loads }: RouterBalance): Float64Array => {
  const tokens = tokensOf(loads);
  const counts = over(loads, (load) => load.counts);
  return counts.map((count) => (coefficient * counts.length * count) / tokens ** 2);
};
