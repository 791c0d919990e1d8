/** Loss, accuracy and entropy of rows under a model that stands still; logits never exist as a whole. */
import { dispose } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import { evaluateLoss } from '../model/causalLm.js';
import type { CausalLM } from '../model/causalLm.js';
import { batchRows } from '../operators/batch.js';
import type { Labelled } from '../records.js';
import { sequenceOf } from './unpad.js';

/** What a row came to. */
export interface RowEvaluation {
  /** Position among the rows evaluated. */
  readonly index: number;
  /** Mean over its trained tokens, in nats; 0 when it has none. */
  readonly loss: number;
  /** Trained tokens. */
  readonly numTokens: number;
  /** Trained tokens that the model ranked first. */
  readonly correct: number;
}

export interface Evaluated {
  /**
   * Mean over rows, each with its batch's mean loss: what TRL and transformers call eval_loss. It depends a little on the batch
   * size; `tokenLoss` does not.
   */
  readonly loss: number;
  /** Mean over all trained tokens, in nats. */
  readonly tokenLoss: number;
  /** exp(tokenLoss) */
  readonly perplexity: number;
  readonly meanTokenAccuracy: number;
  readonly entropy: number;
  readonly rows: number;
  /** Trained tokens. */
  readonly numItems: number;
  readonly numTokens: number;
}

export interface EvaluateOptions {
  /** Rows a batch. Default 8. */
  readonly size?: number | undefined;
  /** Called for each row, in order. */
  readonly onRow?: ((row: RowEvaluation) => void) | undefined;
}

interface Sums {
  batchLoss: number;
  loss: number;
  weight: number;
  correct: number;
  entropy: number;
  items: number;
  tokens: number;
}

/** Sums per row of a batch: [loss·weight, weight, correct, count]. */
const perRow = (
  rowOfTarget: Int32Array,
  weights: Float32Array,
  loss: Float32Array,
  correct: Float32Array,
  rows: number,
): ReadonlyArray<readonly [number, number, number, number]> => {
  const sums = Array.from({ length: rows }, (): [number, number, number, number] => [0, 0, 0, 0]);
  rowOfTarget.forEach((row, i) => {
    const own = sums[row];
    if (own === undefined) return;
    const weight = weights[i] ?? 1;
    own[0] += (loss[i] ?? 0) * weight;
    own[1] += weight;
    own[2] += correct[i] ?? 0;
    own[3] += 1;
  });
  return sums;
};

const evaluateBatch = async (
  model: CausalLM,
  rows: ReadonlyArray<Labelled>,
  first: number,
  sums: Sums,
  onRow: EvaluateOptions['onRow'],
): Promise<void> => {
  const { sequence, targets, rowOfTarget, weight } = sequenceOf(batchRows()(rows));
  sums.tokens += sequence.inputIds.length;
  let rowSums: ReturnType<typeof perRow> = [];
  if (targets.rows.length > 0) {
    const output = evaluateLoss(model, sequence, targets);
    const [loss, correct, entropy] = await Promise.all([
      output.loss.data<'float32'>(),
      output.correct.data<'float32'>(),
      output.entropy.data<'float32'>(),
    ]);
    dispose([output.total, output.loss, output.correct, output.entropy]);
    rowSums = perRow(rowOfTarget, targets.weights, loss, correct, rows.length);
    const batchLoss = rowSums.reduce((sum, [own]) => sum + own, 0);
    sums.loss += batchLoss;
    sums.weight += weight;
    sums.batchLoss += (batchLoss / weight) * rows.length;
    sums.correct += correct.reduce((sum, value) => sum + value, 0);
    sums.entropy += entropy.reduce((sum, value) => sum + value, 0);
    sums.items += targets.rows.length;
  }
  rows.forEach((_, i) => {
    const [loss, own, correct, count] = rowSums[i] ?? [0, 0, 0, 0];
    onRow?.({ index: first + i, loss: own === 0 ? 0 : loss / own, numTokens: count, correct });
  });
};

/** Evaluates rows in batches, one after another. Left (`E_EVALUATE`) when the engine fails. */
export const evaluateRows =
  (
    model: CausalLM,
    rows: ReadonlyArray<Labelled>,
    { size = 8, onRow }: EvaluateOptions = {},
  ): TaskEither<FatalError, Evaluated> =>
  async () => {
    const sums: Sums = { batchLoss: 0, loss: 0, weight: 0, correct: 0, entropy: 0, items: 0, tokens: 0 };
    try {
      for (let first = 0; first < rows.length; first += size) {
        await evaluateBatch(model, rows.slice(first, first + size), first, sums, onRow);
      }
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      return E.left(fatal('E_EVALUATE', `evaluation failed: ${message}`, { cause }));
    }
    const tokenLoss = sums.weight === 0 ? 0 : sums.loss / sums.weight;
    return E.right({
      loss: rows.length === 0 ? 0 : sums.batchLoss / rows.length,
      tokenLoss,
      perplexity: Math.exp(tokenLoss),
      meanTokenAccuracy: sums.items === 0 ? 0 : sums.correct / sums.items,
      entropy: sums.items === 0 ? 0 : sums.entropy / sums.items,
      rows: rows.length,
      numItems: sums.items,
      numTokens: sums.tokens,
    });
  };
