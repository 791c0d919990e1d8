/** `TrainState`: weights, moments, counters. The one mutable thing; only the serial lane writes to it. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { besideLoaded, known } from '../../checked.js';
import type { CausalLM } from '../../model/model.js';
import type { ComputeLoss } from '../../model/ownLoss.js';
import { release } from '../../model/kernels/hold.js';
import type { Weights } from '../../model/layers/layer.js';
import { emptyInterval } from '../logging/metrics.js';
import type { LogInterval } from '../logging/metrics.js';
import { pick, zip } from '../optimizers/optimizer.js';
import type { Moments, Optimizer } from '../optimizers/optimizer.js';

/** What a step needs to know besides the state. All may be left out. */
export interface StepOptions {
  /** Seed of dropout and NEFTune noise. Default 42. */
  readonly seed?: number | undefined;
  /**
   * What the loss of an update is the mean of: its supervised tokens (`token`, the default), or the means of its micro-batches
   * (`microBatch`: TRL 0.7.10, transformers before 4.46), whose sum is divided by `gradientAccumulationSteps`.
   */
  readonly lossMean?: 'token' | 'microBatch' | undefined;
  /** Divisor of a `microBatch` mean. Default: the micro-batches of the update. */
  readonly gradientAccumulationSteps?: number | undefined;
  /** `nll` (default) and `chunked_nll`, which is the same here: -log p. `dft`: -p·log p, p without a gradient (Wu et al. 2025). */
  readonly lossType?: 'nll' | 'chunked_nll' | 'dft' | undefined;
  /** A loss of one's own in place of `lossType` and `labelSmoothingFactor`. */
  readonly computeLoss?: ComputeLoss | undefined;
  /** Share of the loss spread evenly over the vocabulary. Default 0. */
  readonly labelSmoothingFactor?: number | undefined;
  /** Noise on the embeddings, uniform in ± alpha / √(L·C) (Jain et al. 2023). Default: none. */
  readonly neftuneNoiseAlpha?: number | undefined;
  /** Keep one hidden state a layer, and run each layer again on the way back: less memory, the same numbers. Default false. */
  readonly gradientCheckpointing?: boolean | undefined;
  /** Switches the model's own dropout off; the adapter's stays. */
  readonly disableDropout?: boolean | undefined;
  /** What to do about a loss or gradient that is not finite. Default `stop`. */
  readonly nonFinite?: 'stop' | 'skip' | undefined;
  /** Passes over the data after so many micro-batches. Default: 0. */
  readonly epochAfter?: ((microBatches: number) => number) | undefined;
  /**
   * The norm is not waited for, where the optimizer can do without, and the next update's passes begin before this one's loss is read. For
   * engines on a card, which would idle. Default: false.
   */
  readonly ahead?: boolean | undefined;
  /** Called before each pass: sets what the engine has one of for all runs at once, its precision. Default: nothing. */
  readonly engage?: (() => void) | undefined;
  /** How an error calls a row of a micro-batch (both counted from 0 over the run and in the batch). */
  readonly nameRow?: ((microBatch: number, row: number) => string) | undefined;
}

/** Everything that changes in a run, for `step` to advance. */
export interface TrainState {
  /** Trained in place: its weights are the newest after every step. */
  readonly model: CausalLM;
  readonly optimizer: Optimizer;
  readonly options: StepOptions;
  moments: Moments;
  /** The passes of the update that comes next, where they have begun. */
  begun: { readonly drop: () => void } | undefined;
  /** Updates done. */
  step: number;
  /** Micro-batches read: the position in the data. */
  microBatches: number;
  /** Micro-batches of the last update. */
  lastUpdate: number;
  /** Real tokens read. */
  numTokens: number;
  /** Updates left out because a loss or gradient was not finite. */
  skippedSteps: number;
  /** Micro-batches without a single supervised token. */
  emptyMicroBatches: number;
  /** Sums since the last log row. */
  interval: LogInterval;
  /** Sum of the losses of all updates. */
  totalLoss: number;
  /** The best evaluation so far, when one is looked for. */
  best: Best | undefined;
  /** Evaluations in a row without improvement. */
  patience: number;
  /** Log rows and evaluations so far, as they stand in the logs. */
  history: Array<Readonly<Record<string, unknown>>>;
}

/** The best evaluation of a run so far. */
export interface Best {
  readonly metric: number;
  readonly step: number;
  /** Whether there is a checkpoint of it. */
  readonly saved?: boolean;
  /** Its checkpoint, where that does not lie in the output directory: the run was resumed from another. */
  readonly dir?: string;
}

/** What a state begins with. */
export interface StateSetup extends StepOptions {
  /** Trained in place. */
  readonly model: CausalLM;
  /** As `chain` makes it. */
  readonly optimizer: Optimizer;
}

/**
 * The state of a run that has not begun. `model` is trained in place; its moments are made here. Weights that train lie as float32
 * from here on. Throws when nothing of the model is trainable.
 */
export const initState = (setup: StateSetup): TrainState => {
  const { model, optimizer, ...options } = known(
    'initState',
    {
      ...besideLoaded,
      model: 'required',
      optimizer: 'required',
      seed: 'optional',
      lossMean: 'optional',
      gradientAccumulationSteps: 'optional',
      lossType: 'optional',
      computeLoss: 'optional',
      labelSmoothingFactor: 'optional',
      neftuneNoiseAlpha: 'optional',
      gradientCheckpointing: 'optional',
      disableDropout: 'optional',
      nonFinite: 'optional',
      epochAfter: 'optional',
      ahead: 'optional',
      engage: 'optional',
      nameRow: 'optional',
    },
    setup,
  );
  if (model.trainable.length === 0)
    throw new RangeError(
      'the model has no trainable weights: addAdapter gives it an adapter to train, setActiveAdapters or isTrainable lets one train',
    );
  for (const weight of Object.values(trainableOf(model))) release(weight);
  return {
    model,
    optimizer,
    options,
    moments: optimizer.init(trainableOf(model)),
    begun: undefined,
    step: 0,
    microBatches: 0,
    lastUpdate: 0,
    numTokens: 0,
    skippedSteps: 0,
    emptyMicroBatches: 0,
    interval: emptyInterval,
    totalLoss: 0,
    best: undefined,
    patience: 0,
    history: [],
  };
};

/** The weights that training moves. */
export const trainableOf = ({ weights, trainable }: CausalLM): Weights => zip(trainable, pick(weights, trainable));

/** Puts new weights in the place of old ones of the same names. The old tensors are the caller's to dispose. */
export const setWeights = (model: CausalLM, weights: Weights): void => {
  // Engines that update in place change the very tensors; this keeps the others alike: whoever holds the model sees it trained.
  Object.assign(model.weights as Record<string, Tensor>, weights);
};

/** Frees the optimizer's tensors; the model stays. */
export const disposeState = (state: TrainState): void => {
  state.begun?.drop();
  state.begun = undefined;
  for (const slot of Object.values(state.moments)) for (const tensor of Object.values(slot)) tensor.dispose();
  state.moments = {};
};
