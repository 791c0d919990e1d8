/** `trainStep`: the micro-batches of one update → what the update did. And `step`, its operator. */
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { OperatorFunction } from 'rxjs';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Batch, StepResult } from '../../records.js';
import { drain } from '../../streams/drain.js';
import type { Gate } from '../../streams/gate.js';
import { dispose } from '../../tfjs.js';
import { isSound } from '../logging/metrics.js';
import { begin, beginNext, begunOf } from './begun.js';
import { culprits, notFinite } from './nonFinite.js';
import { disposeOutputs } from './passes.js';
import type { Passes } from './passes.js';
import { settled } from './settled.js';
import type { TrainState } from './state.js';

/** The mean of those that have one. */
const auxLossOf = (outputs: Passes['outputs']): Pick<StepResult, 'auxLoss'> => {
  const all = outputs.flatMap(({ output: { auxLoss } }) => auxLoss ?? []);
  return all.length === 0 ? {} : { auxLoss: all.reduce((sum, one) => sum + one, 0) / all.length };
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
  (
    batches: ReadonlyArray<Batch>,
    following?: () => ReadonlyArray<Batch> | undefined,
  ): TaskEither<FatalError, StepResult> =>
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
