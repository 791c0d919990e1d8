/** Numbers about steps: what a log row says about the updates since the last one. */
import type { StepResult } from '../../records.js';

/** One line of log.jsonl. Nothing in it depends on the clock, so a resumed run writes the very lines of one that never stopped. */
export interface LogRow {
  /** Updates done. */
  readonly step: number;
  /** Passes over the data, fractions included. */
  readonly epoch: number;
  /** Mean of the losses of the updates since the last row. */
  readonly loss: number;
  /** Of the last update, before clipping. */
  readonly gradNorm: number;
  /** The rate the last update used. */
  readonly learningRate: number;
  /** Real tokens since the run began. */
  readonly numTokens: number;
  /** Over all supervised tokens since the last row, as entropy is. */
  readonly meanTokenAccuracy: number;
  /** Mean entropy of the predicted distribution, in nats. */
  readonly entropy: number;
  /** Mean of the load-balancing losses of the updates since the last row; absent where they are no part of the loss. */
  readonly auxLoss?: number;
}

/** Sums over the updates since the last log row. Plain data: checkpoints hold it. */
export interface LogInterval {
  readonly steps: number;
  readonly loss: number;
  readonly items: number;
  readonly correct: number;
  readonly entropy: number;
  /** Sum of the updates' means. */
  readonly auxLoss?: number;
}

export const emptyInterval: LogInterval = { steps: 0, loss: 0, items: 0, correct: 0, entropy: 0 };

/** Whether loss and gradients are finite; an update of which they are not moves nothing. */
export const isSound = ({ loss, gradNorm }: Pick<StepResult, 'loss' | 'gradNorm'>): boolean =>
  Number.isFinite(loss) && Number.isFinite(gradNorm);

/** An update that was left out because it was not finite adds nothing. */
export const addToInterval = (interval: LogInterval, result: StepResult): LogInterval =>
  isSound(result) ? added(interval, result) : interval;

const added = (interval: LogInterval, result: StepResult): LogInterval => ({
  steps: interval.steps + 1,
  loss: interval.loss + result.loss,
  items: interval.items + result.numItems,
  correct: interval.correct + result.meanTokenAccuracy * result.numItems,
  entropy: interval.entropy + result.entropy * result.numItems,
  ...(result.auxLoss === undefined ? {} : { auxLoss: (interval.auxLoss ?? 0) + result.auxLoss }),
});

/** The log row of an interval that ends with `last`. */
export const rowOf = (interval: LogInterval, last: StepResult, numTokens: number): LogRow => ({
  step: last.step,
  epoch: last.epoch,
  loss: interval.steps === 0 ? NaN : interval.loss / interval.steps,
  gradNorm: last.gradNorm,
  learningRate: last.learningRate,
  numTokens,
  meanTokenAccuracy: interval.correct / Math.max(1, interval.items),
  entropy: interval.entropy / Math.max(1, interval.items),
  ...(interval.auxLoss === undefined ? {} : { auxLoss: interval.auxLoss / interval.steps }),
});

/** The row as it stands on disk: TRL's names. */
export const encodeLogRow = (row: LogRow): Readonly<Record<string, number>> => ({
  step: row.step,
  epoch: row.epoch,
  loss: row.loss,
  grad_norm: row.gradNorm,
  learning_rate: row.learningRate,
  num_tokens: row.numTokens,
  mean_token_accuracy: row.meanTokenAccuracy,
  entropy: row.entropy,
  ...(row.auxLoss === undefined ? {} : { aux_loss: row.auxLoss }),
});

/** Whether something that happens every `interval` updates happens at this one. */
export const isDue = (step: number, interval: number): boolean => interval > 0 && step % interval === 0;

/** Whether an epoch ended within the update that went from `before` to `after` micro-batches. */
export const endsEpoch = (
  { microBatchesPerEpoch }: { readonly microBatchesPerEpoch: number },
  before: number,
  after: number,
): boolean => Math.floor(after / microBatchesPerEpoch) > Math.floor(before / microBatchesPerEpoch);
