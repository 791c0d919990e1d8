/** Greedy and sampled decoding over a cache of keys and values. */
import type { OptionNames } from '../checked.js';
import { checked, unreadable } from '../checked.js';
import { fatal } from '../errors.js';
import { generationEosIds } from '../formats/checkpoints/generationConfig.js';
import { random } from '../seed.js';
import { architectureOf } from './architectures.js';
import { emptyKvCache, makeKvCache } from './attention/cachedAttention.js';
import type { CausalLM } from './model.js';
import { nextLogits } from './nextLogits.js';

/** How a text is continued: greedily, unless `temperature` is above 0. */
export interface GenerateOptions {
  /** Tokens to give at most; default 256, and never more than the model has positions for. */
  readonly maxNewTokens?: number | undefined;
  /** Generation ends with one of these, which is given too. Default: `endIds` of the model. */
  readonly stopIds?: ReadonlyArray<number> | undefined;
  /** 0 (default): the likeliest id each time. Above: draw from the distribution with logits divided by it. */
  readonly temperature?: number | undefined;
  /** Draw among the k likeliest only. Default: all. */
  readonly topK?: number | undefined;
  /** Draw among the likeliest that together have this probability. Default 1: all. */
  readonly topP?: number | undefined;
  /** Draw among ids at least this many times as likely as the likeliest. Default 0: all. */
  readonly minP?: number | undefined;
  /** Before so many tokens are given no stop id is one of them. Default 0. */
  readonly minNewTokens?: number | undefined;
  /** Ids read or given so far: positive logits are divided by it, negative ones multiplied (Keskar et al. 2019). Default 1. */
  readonly repetitionPenalty?: number | undefined;
  /** Seed of the draws; default 0. */
  readonly seed?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
export const generateOptionNames: OptionNames<GenerateOptions> = {
  maxNewTokens: 'optional',
  stopIds: 'optional',
  temperature: 'optional',
  topK: 'optional',
  topP: 'optional',
  minP: 'optional',
  minNewTokens: 'optional',
  repetitionPenalty: 'optional',
  seed: 'optional',
};

/** The model's own end-of-sequence ids: those of config.json and of generation_config.json. */
export const endIds = ({ config, generationConfig }: CausalLM): ReadonlyArray<number> => [
  ...new Set([...config.eosTokenIds, ...generationEosIds(generationConfig)]),
];

const likeliest = (logits: Float32Array): number => {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if ((logits[id] ?? -Infinity) > (logits[best] ?? -Infinity)) best = id;
  return best;
};

/** Lowers the logits of ids seen, as transformers does. */
export const penalised = (logits: Float32Array, seen: Iterable<number>, penalty: number): Float32Array => {
  const changed = Float32Array.from(logits);
  for (const id of new Set(seen)) {
    const logit = changed[id];
    if (logit !== undefined) changed[id] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return changed;
};

interface Sampling {
  readonly temperature: number;
  readonly topK: number | undefined;
  readonly topP: number;
  readonly minP?: number | undefined;
}

/** Ids, the likeliest first; of equal logits the lower id. */
const ranked = (logits: Float32Array): Int32Array => {
  // Numbers sort many times as fast as with a function to compare them: a logit's bits, so that lower ones are larger, then the id.
  const room = 2 ** 21;
  const positive = new Float32Array(logits.length);
  const bits = new Uint32Array(positive.buffer);
  const keys = new Float64Array(logits.length);
  for (let id = 0; id < keys.length; id++) {
    positive[id] = (logits[id] ?? 0) + 0; // no -0
    const b = bits[id] ?? 0;
    keys[id] = (b < 2 ** 31 ? 2 ** 31 - 1 - b : b) * room + id;
  }
  keys.sort();
  const ids = new Int32Array(keys.length);
  for (let i = 0; i < ids.length; i++) ids[i] = (keys[i] ?? 0) - Math.floor((keys[i] ?? 0) / room) * room;
  return ids;
};

/** The ids that may be drawn and their probabilities, likeliest first; equal logits keep the order of ids. */
export const distribution = (
  logits: Float32Array,
  { temperature, topK, topP, minP = 0 }: Sampling,
): { readonly ids: ReadonlyArray<number>; readonly probabilities: ReadonlyArray<number> } => {
  const order = ranked(logits);
  const kept = topK === undefined ? order : order.subarray(0, Math.max(1, topK));
  const highest = logits[kept[0] ?? 0] ?? 0;
  const powers = Float64Array.from(kept);
  let total = 0;
  for (let i = 0; i < kept.length; i++) {
    const power = Math.exp(((logits[kept[i] ?? 0] ?? 0) - highest) / temperature);
    powers[i] = power;
    total += power;
  }
  // The shortest head that reaches topP; always at least one id.
  let head = kept.length;
  let reached = 0;
  if (topP < 1) head = powers.findIndex((power) => (reached += power / total) >= topP) + 1 || kept.length;
  // The likeliest has power 1.
  if (minP > 0) head = powers.subarray(0, head).filter((power) => power >= minP).length;
  let mass = 0;
  for (let i = 0; i < head; i++) mass += powers[i] ?? 0;
  for (let i = 0; i < head; i++) powers[i] = (powers[i] ?? 0) / mass;
  return { ids: Array.from(kept.subarray(0, head)), probabilities: Array.from(powers.subarray(0, head)) };
};

const drawn = (logits: Float32Array, sampling: Sampling, uniform: () => number): number => {
  const { ids, probabilities } = distribution(logits, sampling);
  let left = uniform();
  for (const [i, probability] of probabilities.entries()) {
    left -= probability;
    if (left < 0) return ids[i] ?? 0;
  }
  return ids[ids.length - 1] ?? 0;
};

/** The logits with those of `ids` so low that none of them is taken. */
const barred = (logits: Float32Array, ids: Iterable<number>): Float32Array => {
  const changed = Float32Array.from(logits);
  for (const id of ids) if (id >= 0 && id < changed.length) changed[id] = -Infinity;
  return changed;
};

/** A RangeError for a number that no generation can be asked for. */
const checkOptions = ({
  maxNewTokens,
  minNewTokens,
  temperature,
  topK,
  topP,
  minP,
  repetitionPenalty,
}: GenerateOptions): void => {
  const wrong = (name: string, expected: string, value: number): RangeError =>
    new RangeError(`${name} is ${value}, expected ${expected}`);
  const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0;
  const within = (low: number, high: number) => (value: number) => value >= low && value <= high;
  const rules: ReadonlyArray<readonly [string, number | undefined, (value: number) => boolean, string]> = [
    ['maxNewTokens', maxNewTokens, isCount, 'a whole number ≥ 0'],
    ['minNewTokens', minNewTokens, isCount, 'a whole number ≥ 0'],
    ['temperature', temperature, within(0, Number.MAX_VALUE), 'a number ≥ 0'],
    ['topK', topK, (value) => isCount(value) && value > 0, 'a whole number ≥ 1'],
    ['topP', topP, within(0, 1), 'a number from 0 to 1'],
    ['minP', minP, within(0, 1), 'a number from 0 to 1'],
    ['repetitionPenalty', repetitionPenalty, within(Number.MIN_VALUE, Number.MAX_VALUE), 'a number > 0'],
  ];
  for (const [name, value, holds, expected] of rules)
    if (value !== undefined && !holds(value)) throw wrong(name, expected, value);
};

/** `E_NON_FINITE` unless there is a likeliest id: no logit is NaN or infinite, but that some are so low that they are never taken. */
const checkLogits = (logits: Float32Array, token: number): void => {
  let highest = -Infinity;
  let wrong = 0;
  for (const logit of logits) {
    if (logit > highest) highest = logit;
    else if (Number.isNaN(logit)) wrong++;
  }
  if (wrong === 0 && Number.isFinite(highest)) return;
  throw fatal('E_NON_FINITE', `token ${token} of the continuation cannot be chosen`, {
    expected: 'logits that are numbers, one of them at least above -Infinity',
    actual:
      wrong > 0
        ? `NaN for ${wrong} of ${logits.length} ids`
        : highest > 0
          ? 'an infinite logit'
          : '-Infinity for every id',
    hint:
      highest === -Infinity && wrong === 0
        ? 'minNewTokens with stop ids leaves no id to choose from, or the weights are damaged'
        : 'look for NaN in the weights: training may have diverged; of bfloat16, try precision float32',
  });
};

async function* continued(
  model: CausalLM,
  promptIds: Int32Array,
  options: GenerateOptions = {},
): AsyncGenerator<number, void, undefined> {
  if (promptIds.length === 0) throw new RangeError('generation needs at least one token to start from');
  checkOptions(options);
  const { maxPositions, vocabSize } = model.config;
  const unknown = promptIds.find((id) => id < 0 || id >= vocabSize);
  if (unknown !== undefined)
    throw new RangeError(`the prompt holds the id ${unknown}, the vocabulary has ${vocabSize} entries`);
  if (promptIds.length > maxPositions)
    throw new RangeError(`the prompt has ${promptIds.length} tokens, the model positions for ${maxPositions}`);
  const { temperature = 0, topK, topP = 1, minP = 0, minNewTokens = 0, repetitionPenalty = 1, seed = 0 } = options;
  const stop = new Set(options.stopIds ?? endIds(model));
  const room = maxPositions - promptIds.length;
  const { turnsOtherwiseBeyond: limit = Infinity } = architectureOf(model.config);
  const cache = makeKvCache();
  const seen = Array.from(promptIds);
  const { uniform } = random(seed, 'sample');
  let next = promptIds;
  try {
    for (let given = 0; given < Math.min(options.maxNewTokens ?? 256, room); given++) {
      // Keys that are kept turned by the angles of a short text.
      if (seen.length - next.length <= limit && seen.length > limit && next.length < seen.length) {
        emptyKvCache(cache);
        next = Int32Array.from(seen);
      }
      const raw = await nextLogits(model, { inputIds: next, start: seen.length - next.length, cache });
      const penalisedLogits = repetitionPenalty === 1 ? raw : penalised(raw, seen, repetitionPenalty);
      const logits = given < minNewTokens ? barred(penalisedLogits, stop) : penalisedLogits;
      checkLogits(logits, given + 1);
      const id = temperature === 0 ? likeliest(logits) : drawn(logits, { temperature, topK, topP, minP }, uniform);
      yield id;
      if (stop.has(id)) return;
      seen.push(id);
      next = Int32Array.of(id);
    }
  } finally {
    emptyKvCache(cache);
  }
}

/**
 * The ids that the model continues the prompt with, one at a time; a stop id is given and ends it. The same options and seed give
 * the same ids. Texts that are generated on the same model at the same time are read in common passes: then a token may differ where two
 * logits nearly tie, for sums of several rows may round otherwise than those of one. A RangeError for an empty prompt, an id outside the
 * vocabulary, more tokens than the model has positions, and numbers out of range;
 * `E_NON_FINITE`, which names the token, where logits are NaN or every id has -Infinity. Weights must stay as they are until it ends.
 */
export const generate = checked('generate', unreadable, { 2: generateOptionNames }, continued);
