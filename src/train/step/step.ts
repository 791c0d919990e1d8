/** `trainStep`: the micro-batches of one update → what the update did. And `step`, its operator. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { OperatorFunction } from 'rxjs';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { lossAndGradients } from '../../model/causalLm.js';
import type { LossOutput } from '../../model/causalLm.js';
import { axpy } from '../../model/kernels/axpy.js';
import type { Gradients } from '../../model/layers/layer.js';
import type { Batch, StepResult } from '../../records.js';
import { drain } from '../../streams/drain.js';
import type { Gate } from '../../streams/gate.js';
import { dispose } from '../../tfjs.js';
import { isSound } from '../logging/metrics.js';
import type { Moved, Optimizer, Update } from '../optimizers/optimizer.js';
import { setWeights, trainableOf } from './state.js';
import type { StepOptions, TrainState } from './state.js';
import { scaleTargets, sequenceOf } from './unpad.js';
import type { Unpadded } from './unpad.js';

/** One micro-batch on its way through an update. */
interface Micro extends Unpadded {
  /** Counted over the whole run. */
  readonly index: number;
}

/** What the passes of one update left: losses on the device still, gradients summed. */
interface Passes {
  readonly outputs: ReadonlyArray<{ readonly micro: Micro; readonly output: LossOutput }>;
  readonly gradients: Gradients;
}

/** Sums read back from the device. */
interface Sums {
  readonly loss: number;
  readonly correct: number;
  readonly entropy: number;
}

/** The mean of those that have one. */
const auxLossOf = (outputs: Passes['outputs']): Pick<StepResult, 'auxLoss'> => {
  const all = outputs.flatMap(({ output: { auxLoss } }) => auxLoss ?? []);
  return all.length === 0 ? {} : { auxLoss: all.reduce((sum, one) => sum + one, 0) / all.length };
};

/**
 * What each micro-batch's weighted losses are multiplied with, so that their sum over the update is its mean. Over tokens that
 * is one number, so k batches of b rows weigh as one of k·b; over micro-batches each divides by its own weight and by their
 * number.
 */
const meanFactors = (
  weights: ReadonlyArray<number>,
  { lossMean = 'token', gradientAccumulationSteps }: Pick<StepOptions, 'lossMean' | 'gradientAccumulationSteps'>,
): ReadonlyArray<number> => {
  if (lossMean === 'token') {
    const whole = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map(() => (whole === 0 ? 0 : 1 / whole));
  }
  const divisor = gradientAccumulationSteps ?? weights.length;
  return weights.map((weight) => (weight === 0 ? 0 : 1 / (weight * divisor)));
};

/** Passes that have begun before their update. */
interface Begun {
  readonly batches: ReadonlyArray<Batch>;
  readonly micros: ReadonlyArray<Micro>;
  readonly passes: Passes;
  readonly drop: () => void;
}

/** Adds `more` to `sum` name by name; consumes both. */
const addGradients = (sum: Gradients | undefined, more: Gradients): Gradients => {
  if (sum === undefined) return more;
  const added: Record<string, Tensor> = { ...sum };
  for (const [name, gradient] of Object.entries(more)) {
    const held = added[name];
    added[name] = held === undefined ? gradient : axpy(held, gradient, 1);
    if (held !== undefined) gradient.dispose();
  }
  return added;
};

/** Lets timers, signals and other streams have their turn between two passes that each hold the thread. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const disposeOutputs = (outputs: Passes['outputs']): void => {
  for (const { output } of outputs) dispose([output.total, output.loss, output.correct, output.entropy]);
};

/** Forward and back through every micro-batch that supervises anything. */
const passes = async (state: TrainState, micros: ReadonlyArray<Micro>): Promise<Passes> => {
  const { options, model } = state;
  const factors = meanFactors(
    micros.map(({ weight }) => weight),
    options,
  );
  const outputs: Array<Passes['outputs'][number]> = [];
  let gradients: Gradients | undefined;
  const pass = (micro: Micro, factor: number): void => {
    options.engage?.();
    const { gradients: own, ...output } = lossAndGradients(model, micro.sequence, scaleTargets(micro.targets, factor), {
      training: true,
      seed: options.seed ?? 42,
      step: micro.index,
      checkpointing: options.gradientCheckpointing ?? false,
      labelSmoothing: options.labelSmoothingFactor ?? 0,
      variant: options.lossType === 'dft' ? 'dft' : 'nll',
      dropout: !(options.disableDropout ?? false),
      // Of a mean over tokens each micro-batch adds the whole of it, as in transformers; means of micro-batches are divided.
      auxLossFactor: options.lossMean === 'microBatch' ? 1 / (options.gradientAccumulationSteps ?? micros.length) : 1,
      ...(options.neftuneNoiseAlpha === undefined ? {} : { neftuneNoiseAlpha: options.neftuneNoiseAlpha }),
    });
    outputs.push({ micro, output });
    gradients = addGradients(gradients, own);
  };
  try {
    for (const [i, micro] of micros.entries()) {
      if (micro.targets.rows.length === 0) continue;
      if (outputs.length > 0) await breathe();
      pass(micro, factors[i] ?? 0);
    }
  } catch (cause) {
    // Memory that ran out is not to be short for good.
    disposeOutputs(outputs);
    dispose(Object.values(gradients ?? {}));
    throw cause;
  }
  return { outputs, gradients: gradients ?? {} };
};

/** A loop: the device waits meanwhile, and a call for each of many thousand numbers takes ten times as long. */
const sumOf = (values: Float32Array): number => {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
};

/** All are asked for at once: each wait for the device is a gap in its work. */
const readBack = async (outputs: Passes['outputs']): Promise<Sums> => {
  const read = await Promise.all(
    outputs.map(({ output: { total, correct, entropy } }) =>
      Promise.all([total.data<'float32'>(), correct.data<'float32'>(), entropy.data<'float32'>()]),
    ),
  );
  const sums = { loss: 0, correct: 0, entropy: 0 };
  for (const [loss, correct, entropy] of read) {
    sums.loss += sumOf(loss);
    sums.correct += sumOf(correct);
    sums.entropy += sumOf(entropy);
  }
  return sums;
};

/** The rows whose own loss is not finite, as `nameRow` calls them. */
const culprits = async (outputs: Passes['outputs'], { nameRow }: StepOptions): Promise<ReadonlyArray<string>> => {
  const named = new Set<string>();
  for (const { micro, output } of outputs) {
    const losses = await output.loss.data<'float32'>();
    losses.forEach((loss, i) => {
      const row = micro.rowOfTarget[i] ?? 0;
      if (!Number.isFinite(loss)) named.add(nameRow?.(micro.index, row) ?? `row ${row} of micro-batch ${micro.index}`);
    });
  }
  return [...named];
};

const notFinite = (step: number, loss: number, gradNorm: number, rows: ReadonlyArray<string>): FatalError => {
  const what = Number.isFinite(loss) ? 'gradient norm' : 'loss';
  const shown = rows.slice(0, 8).join(', ');
  const more = rows.length > 8 ? ` and ${rows.length - 8} more` : '';
  return fatal(
    'E_NON_FINITE',
    `the ${what} of step ${step} is not finite${rows.length === 0 ? '' : `: ${shown}${more}`}`,
    {
      expected: 'finite numbers',
      actual: `loss ${loss}, gradient norm ${gradNorm}`,
      hint: "a lower learning rate, maxGradNorm, or nonFinite: 'skip' to leave such steps out and count them",
    },
  );
};

/** The update made. Where it cannot be (its moments are gone: nobody listens any more) the gradients are freed. */
const applied = ({ optimizer, moments }: TrainState, prepared: Update): Moved => {
  try {
    return optimizer.apply(prepared, moments);
  } catch (cause) {
    dispose(Object.values(prepared.gradients));
    throw cause;
  }
};

/** The passes of an update whose micro-batches begin with this number. */
const begin = async (state: TrainState, batches: ReadonlyArray<Batch>, first: number): Promise<Begun> => {
  const micros = batches.map((batch, i): Micro => ({ ...sequenceOf(batch), index: first + i }));
  const made = await passes(state, micros);
  const drop = (): void => {
    disposeOutputs(made.outputs);
    dispose(Object.values(made.gradients));
  };
  return { batches, micros, passes: made, drop };
};

/** Those of this update, where they are what has begun. */
const begunOf = (state: TrainState, batches: ReadonlyArray<Batch>): Begun | undefined => {
  const begun = state.begun as Begun | undefined;
  state.begun = undefined;
  const same =
    begun?.batches.length === batches.length &&
    begun.micros[0]?.index === state.microBatches &&
    begun.batches.every((batch, i) => batch === batches[i]);
  if (same) return begun;
  begun?.drop();
  return undefined;
};

/** Begins with what follows; where that fails, its own update will say so. */
const beginNext = async (
  state: TrainState,
  batches: ReadonlyArray<Batch> | undefined,
  first: number,
): Promise<void> => {
  if (batches === undefined) return;
  try {
    const begun = await begin(state, batches, first);
    // Nobody listens any more.
    if (Object.keys(state.moments).length === 0) begun.drop();
    else state.begun = begun;
  } catch {
    state.begun = undefined;
  }
};

/** What an update is, as it is known when its numbers have been read. */
interface Settled {
  readonly learningRate: number;
  readonly gradNorm: number;
  readonly sums: Sums;
  /** Makes the update, if it is not made yet. */
  readonly apply: () => void;
  /** Frees what `apply` would have. */
  readonly drop: () => void;
}

/** Moves the weights and frees the gradients. */
const move = (state: TrainState, prepared: Update): void => {
  const moved = applied(state, prepared);
  if (moved.parameters !== prepared.parameters) setWeights(state.model, moved.parameters);
  state.moments = moved.moments;
};

/** The update that the gradients ask for, its norm read. */
const settledFirst = async (state: TrainState, { outputs, gradients }: Passes): Promise<Settled> => {
  const parameters = trainableOf(state.model);
  const preparing = state.optimizer.prepare({ step: state.step + 1, parameters, gradients });
  const [prepared, sums] = await Promise.all([preparing, readBack(outputs)]);
  const { learningRate, gradNorm } = prepared;
  return {
    learningRate,
    gradNorm,
    sums,
    apply: () => move(state, prepared),
    drop: () => dispose(Object.values(prepared.gradients)),
  };
};

/**
 * The update made without a look at its norm, and what follows it begun; then both are waited for. Where norm or losses are not finite
 * it has changed nothing.
 */
const settledAhead = async (
  state: TrainState,
  { outputs, gradients }: Passes,
  ahead: NonNullable<Optimizer['ahead']>,
  next: () => Promise<void>,
): Promise<Settled> => {
  const prepared = ahead({ step: state.step + 1, parameters: trainableOf(state.model), gradients });
  const { squaredNorm } = prepared.clip;
  try {
    const reading = Promise.all([squaredNorm.data<'float32'>(), readBack(outputs)]);
    // It is heard when it is awaited, after what comes between.
    reading.catch(() => undefined);
    // Beside a loss that is not finite no norm is.
    for (const { output } of outputs) axpy(squaredNorm, output.total, 0);
    move(state, prepared);
    await next();
    const [[squared = 0], sums] = await reading;
    const nothing = (): void => undefined;
    return { learningRate: prepared.learningRate, gradNorm: Math.sqrt(squared), sums, apply: nothing, drop: nothing };
  } finally {
    squaredNorm.dispose();
  }
};

const settled = (state: TrainState, made: Passes, next: () => Promise<void>): Promise<Settled> => {
  const { options, optimizer } = state;
  const ahead = options.ahead === true && Object.keys(made.gradients).length > 0 ? optimizer.ahead : undefined;
  return ahead === undefined ? settledFirst(state, made) : settledAhead(state, made, ahead, next);
};

/** The micro-batches of the update behind this one, if they are there. */
type Following = () => ReadonlyArray<Batch> | undefined;

const update = async (
  state: TrainState,
  batches: ReadonlyArray<Batch>,
  following: Following = () => undefined,
): Promise<StepResult> => {
  const { options } = state;
  const { micros, passes: made } = begunOf(state, batches) ?? (await begin(state, batches, state.microBatches));
  const { outputs } = made;
  const number = state.step + 1;
  const { learningRate, gradNorm, sums, apply, drop } = await settled(state, made, () =>
    beginNext(state, following(), state.microBatches + micros.length),
  ).catch((cause: unknown) => {
    disposeOutputs(outputs);
    dispose(Object.values(made.gradients));
    throw cause;
  });
  const numItems = micros.reduce((sum, { targets }) => sum + targets.rows.length, 0);
  const numTokens = micros.reduce((sum, { sequence }) => sum + sequence.inputIds.length, 0);
  if (!isSound({ loss: sums.loss, gradNorm })) {
    drop();
    const skips = options.nonFinite === 'skip';
    const rows = skips ? [] : await culprits(outputs, options);
    disposeOutputs(outputs);
    if (!skips) throw notFinite(number, sums.loss, gradNorm, rows);
    state.skippedSteps += 1;
  } else {
    disposeOutputs(outputs);
    // An update that supervises nothing has nothing to say about any weight: not even decay moves them.
    if (outputs.length > 0) apply();
  }
  state.step = number;
  state.microBatches += micros.length;
  state.lastUpdate = micros.length;
  state.numTokens += numTokens;
  state.emptyMicroBatches += micros.length - outputs.length;
  return {
    step: number,
    epoch: options.epochAfter?.(state.microBatches) ?? 0,
    loss: sums.loss,
    learningRate,
    gradNorm,
    numTokens,
    numItems,
    meanTokenAccuracy: numItems === 0 ? 0 : sums.correct / numItems,
    entropy: numItems === 0 ? 0 : sums.entropy / numItems,
    ...auxLossOf(outputs),
  };
};

/**
 * One update of the state from its micro-batches: their gradients summed, clipped, applied. Settles when the loss has been read
 * back. `following` is asked for where the next one's passes may begin before (see `StepOptions`). Left: `E_NON_FINITE`, with the rows named, or `E_STEP` when the engine fails.
 */
export const trainStep =
  (state: TrainState) =>
  (batches: ReadonlyArray<Batch>, following?: Following): TaskEither<FatalError, StepResult> =>
  async () => {
    try {
      return E.right(await update(state, batches, following));
    } catch (cause) {
      if (isFatal(cause)) return E.left(cause);
      const message = cause instanceof Error ? cause.message : String(cause);
      return E.left(fatal('E_STEP', `step ${state.step + 1} failed: ${message}`, { cause }));
    }
  };

/**
 * Trains on every group of micro-batches, strictly one at a time; the end of the pipeline that begins with `pull(…, gate)`. What follows it
 * runs beside the next update: who wants the weights at rest (an evaluation) joins the update, `drain` of `trainStep` and it.
 */
export const step = (state: TrainState, gate?: Gate): OperatorFunction<ReadonlyArray<Batch>, StepResult> =>
  drain((batches, _index, following) => trainStep(state)(batches, following), gate);
