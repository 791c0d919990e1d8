/** What the gradients come to: norm, rate and sums read back, and the update of the weights, made before or after that. */
import { axpy } from '../../model/kernels/axpy.js';
import { dispose } from '../../tfjs.js';
import type { Moved, Optimizer, Update } from '../optimizers/optimizer.js';
import type { Passes } from './passes.js';
import { setWeights, trainableOf } from './state.js';
import type { TrainState } from './state.js';

/** Sums read back from the device. */
interface Sums {
  readonly loss: number;
  readonly correct: number;
  readonly entropy: number;
}

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

/** The update made. Where it cannot be (its moments are gone: nobody listens any more) the gradients are freed. */
const applied = ({ optimizer, moments }: TrainState, prepared: Update): Moved => {
  try {
    return optimizer.apply(prepared, moments);
  } catch (cause) {
    dispose(Object.values(prepared.gradients));
    throw cause;
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

export const settled = (state: TrainState, made: Passes, next: () => Promise<void>): Promise<Settled> => {
  const { options, optimizer } = state;
  const ahead = options.ahead === true && Object.keys(made.gradients).length > 0 ? optimizer.ahead : undefined;
  return ahead === undefined ? settledFirst(state, made) : settledAhead(state, made, ahead, next);
};
