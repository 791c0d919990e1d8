/** The passes of one update: every micro-batch forward and back, losses left on the device, gradients summed. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { lossAndGradients } from '../../model/causalLm.js';
import type { LossOutput } from '../../model/causalLm.js';
import { axpy } from '../../model/kernels/axpy.js';
import type { Gradients } from '../../model/layers/layer.js';
import { dispose } from '../../tfjs.js';
import type { StepOptions, TrainState } from './state.js';
import { scaleTargets } from './unpad.js';
import type { Unpadded } from './unpad.js';

/** One micro-batch on its way through an update. */
export interface Micro extends Unpadded {
  /** Counted over the whole run. */
  readonly index: number;
}

/** What the passes of one update left: losses on the device still, gradients summed. */
export interface Passes {
  readonly outputs: ReadonlyArray<{ readonly micro: Micro; readonly output: LossOutput }>;
  readonly gradients: Gradients;
}

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

export const disposeOutputs = (outputs: Passes['outputs']): void => {
  for (const { output } of outputs) dispose([output.total, output.loss, output.correct, output.entropy]);
};

/** Forward and back through every micro-batch that supervises anything. */
export const passes = async (state: TrainState, micros: ReadonlyArray<Micro>): Promise<Passes> => {
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
      gradientCheckpointing: options.gradientCheckpointing ?? false,
      labelSmoothingFactor: options.labelSmoothingFactor ?? 0,
      lossType: options.lossType === 'dft' ? 'dft' : 'nll',
      computeLoss: options.computeLoss,
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
