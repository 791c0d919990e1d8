/** Loss, gradients and logits of a causal language model over real tokens laid end to end. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { known } from '../checked.js';
import { add, scalar, tensor1d, tensor2d, tidy, zeros } from '../tfjs.js';
import { architectureOf } from './architectures.js';
import { balanceLoss, makeBalance } from './experts/balance.js';
import { capped } from './kernels/capped.js';
import { gatherRows as gather } from './kernels/gatherRows.js';
import { linear } from './kernels/linear.js';
import { linearCrossEntropy } from './kernels/linearCrossEntropy.js';
import type { LinearCrossEntropy, LinearCrossEntropyInputs } from './kernels/linearCrossEntropy.js';
import { headOf } from './layers/head.js';
import type { Head } from './layers/head.js';
import { compose, mergeGradients, nothing } from './layers/layer.js';
import type { Gradients, Layer } from './layers/layer.js';
import { gatherRows } from './layers/rows.js';
import type { CausalLM } from './model.js';
import { ownLoss } from './ownLoss.js';
import type { ComputeLoss } from './ownLoss.js';
import type { Pass } from './pass.js';
import type { Sequence, Targets } from './sequence.js';

/** How a training pass goes. */
export interface TrainOptions {
  /** Keep one hidden state a layer and run each layer again on the way back. */
  readonly gradientCheckpointing?: boolean | undefined;
  /** Share of the loss spread evenly over the vocabulary. Default 0. */
  readonly labelSmoothingFactor?: number | undefined;
  /** `nll` (default): -log p of the target. `dft`: -p·log p, p without a gradient (Wu et al. 2025). */
  readonly lossType?: 'nll' | 'dft' | undefined;
  /** A loss of one's own in their place. */
  readonly computeLoss?: ComputeLoss | undefined;
  /** Of dropout and noise. */
  readonly seed: number;
  /** Number of the micro-batch: with the seed it determines dropout and NEFTune's noise. */
  readonly step: number;
  /** False: no dropout, no noise. */
  readonly training: boolean;
  /** The model's own dropouts as config.json has them (default), or none. The adapter's is `loraDropout`. */
  readonly dropout?: boolean | undefined;
  /** Noise on the embeddings, uniform in ± alpha / √(L·C) (Jain et al. 2023). Absent: none. */
  readonly neftuneNoiseAlpha?: number | undefined;
  /** What the load-balancing loss of routed experts is multiplied with, beside its coefficient in `config.experts`. Default: 1. */
  readonly auxLossFactor?: number | undefined;
  /** [N, width of the embedding], added to the embeddings in place of drawn noise; borrowed. */
  readonly neftuneNoise?: Tensor | undefined;
}

/** The loss of a pass, and what was counted beside it; all tensors are the caller's, who disposes them. */
export interface LossOutput {
  /** [] Σ weights·loss, and what the load-balancing loss counts */
  readonly total: Tensor;
  /** [M] */
  readonly loss: Tensor;
  /** [M] 1 where the likeliest id is the target, else 0. */
  readonly correct: Tensor;
  /** [M] of the predicted distribution, in nats. */
  readonly entropy: Tensor;
  /** The load-balancing loss of routed experts, its coefficient left out; absent where it counts nothing. */
  readonly auxLoss?: number;
}

/** What of a pass the model's adapters decide. */
export const adaptersOf = ({ lora, adapters }: CausalLM): Pick<Pass, 'lora' | 'further'> => ({
  lora,
  further: adapters?.active.slice(1).flatMap((name) => {
    const adapter = adapters.all[name];
    return adapter === undefined ? [] : [{ name, lora: adapter.lora }];
  }),
});

const passOf = (model: CausalLM, sequence: Sequence, options?: TrainOptions): Pass => ({
  sequence,
  ...adaptersOf(model),
  eagerAttention: model.eagerAttention,
  quantized: model.quantized,
  checkpointing: options?.gradientCheckpointing,
  training:
    options?.training === true
      ? {
          seed: options.seed,
          step: options.step,
          dropout: options.dropout ?? true,
          neftuneNoiseAlpha: options.neftuneNoiseAlpha,
          neftuneNoise: options.neftuneNoise,
        }
      : undefined,
});

/** The first number that is none of 0 to `end` - 1. Before every step, while a card has nothing else to do: a loop, which calls nothing. */
const outside = (numbers: Int32Array, end: number): number | undefined => {
  for (const number of numbers) if (number < 0 || number >= end) return number;
  return undefined;
};

/** A RangeError for a target that no logit stands for, or that lies at no token. */
const checkTargets = ({ config }: CausalLM, { inputIds }: Sequence, { rows, labels }: Targets): void => {
  const label = outside(labels, config.vocabSize);
  if (label !== undefined) throw new RangeError(`a label is ${label}, the vocabulary has ${config.vocabSize} entries`);
  const row = outside(rows, inputIds.length);
  if (row !== undefined) throw new RangeError(`a target lies at ${row}, the sequence has ${inputIds.length} tokens`);
};

/** Tokens to what the head multiplies, at `rows` only. */
const trunk = (model: CausalLM, pass: Pass, head: Head, rows: Int32Array): Layer<Sequence, Tensor> => {
  const { body, narrows, tail } = architectureOf(model.config);
  const last = compose(tail(pass), head.input);
  if (rows.length === pass.sequence.inputIds.length && rows.every((row, i) => row === i))
    return compose(body(pass), last);
  // Who observes is shown what every map would read of all rows, and the experts of the last layer are balanced over all of them.
  return narrows && pass.observe === undefined && pass.balance === undefined
    ? compose(body({ ...pass, rows }), last)
    : compose(body(pass), gatherRows(rows), last);
};

const noLoss = (): LossOutput => ({
  total: scalar(0),
  loss: tensor1d([], 'float32'),
  correct: tensor1d([], 'float32'),
  entropy: tensor1d([], 'float32'),
});

/** What of a pass the loss needs beside the targets' own: where its load-balancing part counts, the routes of all tokens. */
const balanced = ({ config: { experts } }: CausalLM, factor = 1): Pick<Pass, 'balance'> =>
  experts === undefined || experts.auxLossCoef === 0 ? {} : { balance: makeBalance(factor * experts.auxLossCoef) };

const outputOf = ({ total, loss, correct, entropy }: LinearCrossEntropy, { balance }: Pass): LossOutput => {
  if (balance === undefined) return { total, loss, correct, entropy };
  const auxLoss = balanceLoss(balance);
  const part = scalar(balance.coefficient * auxLoss);
  const whole = add(total, part);
  for (const tensor of [total, part]) tensor.dispose();
  return { total: whole, loss, correct, entropy, auxLoss };
};

/** A gradient for every trainable weight: zeros for those that the loss does not depend on. */
const complete = (model: CausalLM, gradients: Gradients): Gradients => {
  const all: Record<string, Tensor> = {};
  for (const name of model.trainable) all[name] = gradients[name] ?? zeros(model.weights[name]?.shape ?? []);
  return all;
};

/** The loss that is trained on, and beside one of one's own what is told of every pass. */
const trained = (
  inputs: LinearCrossEntropyInputs,
  batch: { readonly sequence: Sequence; readonly targets: Targets },
  wanted: { readonly gradient: boolean; readonly needWeight: boolean },
  { config }: CausalLM,
  { computeLoss, labelSmoothingFactor: labelSmoothing = 0, lossType: variant = 'nll' }: TrainOptions,
): LinearCrossEntropy => {
  const { labels, weights } = batch.targets;
  const attrs = { targets: labels, weights, softcap: config.logitSoftcap };
  if (computeLoss === undefined) return linearCrossEntropy(inputs, { ...attrs, ...wanted, labelSmoothing, variant });
  const own = ownLoss(inputs, { ...batch, ...wanted, softcap: config.logitSoftcap }, computeLoss);
  const looking = { labelSmoothing: 0, variant: 'nll', gradient: false, needWeight: false } as const;
  const { total, loss, ...told } = linearCrossEntropy(inputs, { ...attrs, ...looking });
  for (const tensor of [total, loss]) tensor.dispose();
  return { ...told, ...own };
};

/**
 * The loss at the targets and the gradients of `total` for every trainable weight. Logits are made at the targets' rows only, a
 * block at a time. Without targets: total 0 and gradients of zeros, experts that are to be balanced or not. A RangeError for an id
 * outside the vocabulary or a position outside the model.
 */
export const lossAndGradients = (
  model: CausalLM,
  sequence: Sequence,
  targets: Targets,
  options: TrainOptions,
): LossOutput & { readonly gradients: Gradients } => {
  known(
    'lossAndGradients',
    {
      gradientCheckpointing: 'optional',
      labelSmoothingFactor: 'optional',
      lossType: 'optional',
      computeLoss: 'optional',
      seed: 'required',
      step: 'required',
      training: 'required',
      dropout: 'optional',
      neftuneNoiseAlpha: 'optional',
      auxLossFactor: 'optional',
      neftuneNoise: 'optional',
    },
    options,
  );
  checkTargets(model, sequence, targets);
  if (targets.rows.length === 0) return { ...noLoss(), gradients: complete(model, {}) };
  const pass = { ...passOf(model, sequence, options), ...balanced(model, options.auxLossFactor) };
  const head = headOf(model, pass);
  const trainable = new Set(model.trainable);
  const begun = new Map<string, Tensor>();
  const hidden = trunk(
    model,
    pass,
    head,
    targets.rows,
  )(model.weights, sequence, {
    weight: (name) => trainable.has(name),
    input: false,
    begun,
  });
  const needWeight = head.trains || head.trainsBias;
  const wants = { gradient: hidden.active || needWeight, needWeight };
  let result: LinearCrossEntropy;
  try {
    result = trained({ h: hidden.value, w: head.w, bias: head.bias }, { sequence, targets }, wants, model, options);
  } catch (cause) {
    hidden.drop();
    hidden.value.dispose();
    head.dispose();
    throw cause;
  }
  hidden.value.dispose();
  const ofHead = head.gradients(result.dW, result.dBias);
  head.dispose();
  if (result.dh === undefined) return { ...outputOf(result, pass), gradients: complete(model, ofHead) };
  for (const [name, gradient] of Object.entries(ofHead)) begun.set(name, gradient);
  const [ofTrunk] = hidden.pullback(result.dh);
  const gradients = begun.size === 0 ? ofTrunk : mergeGradients(Object.fromEntries(begun), ofTrunk);
  return { ...outputOf(result, pass), gradients: complete(model, gradients) };
};

/** Logits [M, V] of what the head multiplies, [M, C]. */
const headLogits = ({ config }: CausalLM, { w, bias }: Head, hidden: Tensor): Tensor =>
  tidy(() => capped(linear(hidden, w, bias, { transposed: false }), config.logitSoftcap));

/**
 * Rows of logits made at a time when they are only looked at: at most 256, and 16 MiB of them at most, for who looks makes copies of
 * that size.
 */
const logitsRows = (vocabSize: number): number => Math.max(1, Math.min(256, Math.floor(2 ** 22 / vocabSize)));

/** Shown logits [m, V] at the targets from the first-th on; they are disposed when it returns. */
export type VisitLogits = (logits: Tensor, first: number) => void;

const showLogits = (model: CausalLM, head: Head, hidden: Tensor, visit: VisitLogits): void => {
  const [rows = 0] = hidden.shape;
  const most = logitsRows(model.config.vocabSize);
  for (let first = 0; first < rows; first += most) {
    const size = Math.min(most, rows - first);
    const part = gather(
      hidden,
      Int32Array.from({ length: size }, (_, i) => first + i),
    );
    const values = headLogits(model, head, part);
    part.dispose();
    visit(values, first);
    values.dispose();
  }
};

/** How the loss of an evaluation is computed, and who sees its logits. */
export interface EvaluateLossOptions {
  /** Shown the logits at the targets, a few rows at a time. */
  readonly visit?: VisitLogits | undefined;
  /** Share of the probability that is spread over all tokens. Default 0. */
  readonly labelSmoothingFactor?: number | undefined;
}

/**
 * The loss at the targets as in evaluation: no dropout, no noise, no smoothing unless asked for, and nothing kept. With `visit`, the
 * logits there are shown to it a few rows at a time, so they never exist as a whole.
 */
export const evaluateLoss = (
  model: CausalLM,
  sequence: Sequence,
  targets: Targets,
  options: EvaluateLossOptions = {},
): LossOutput => {
  const { visit, labelSmoothingFactor: labelSmoothing = 0 } = known(
    'evaluateLoss',
    { visit: 'optional', labelSmoothingFactor: 'optional' },
    options,
  );
  checkTargets(model, sequence, targets);
  if (targets.rows.length === 0) return noLoss();
  const pass = { ...passOf(model, sequence), ...balanced(model) };
  const head = headOf(model, pass);
  const hidden = trunk(model, pass, head, targets.rows)(model.weights, sequence, nothing);
  const result = linearCrossEntropy(
    { h: hidden.value, w: head.w, bias: head.bias },
    {
      targets: targets.labels,
      weights: targets.weights,
      labelSmoothing,
      softcap: model.config.logitSoftcap,
      variant: 'nll',
      gradient: false,
      needWeight: false,
    },
  );
  if (visit !== undefined) showLogits(model, head, hidden.value, visit);
  hidden.value.dispose();
  head.dispose();
  return outputOf(result, pass);
};

/** Logits of a pass at `rows`, [M, V]: what `logits` and generation share. */
export const logitsOf = (model: CausalLM, pass: Pass, rows: Int32Array): Tensor => {
  if (rows.length === 0) return tensor2d([], [0, model.config.vocabSize], 'float32');
  const head = headOf(model, pass);
  try {
    const hidden = trunk(model, pass, head, rows)(model.weights, pass.sequence, nothing);
    const values = headLogits(model, head, hidden.value);
    hidden.value.dispose();
    return values;
  } finally {
    head.dispose();
  }
};

/** Logits at `rows` (all, if absent): [M, V], the caller's. */
export const logits = (model: CausalLM, sequence: Sequence, rows?: Int32Array): Tensor =>
  logitsOf(model, passOf(model, sequence), rows ?? Int32Array.from(sequence.inputIds.keys()));
