/** Loss, accuracy and entropy of rows under a model that stands still; logits never exist as a whole. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { evaluateLoss } from '../../model/causalLm.js';
import type { CausalLM } from '../../model/model.js';
import { batchRows } from '../../operators/batch.js';
import type { Labelled } from '../../records.js';
import { dispose } from '../../tfjs.js';
import type { RowNames } from '../preparing/rowNames.js';
import { sequenceOf } from '../step/unpad.js';
import type { Unpadded } from '../step/unpad.js';
import { addTo, groupOf, meanLoss, namedGroups, noSums, sumsAt } from './groupSums.js';
import type { Groups, GroupSums } from './groupSums.js';
import { joinedPredictions, predictionsOf } from './predictions.js';
import type { Predictions } from './predictions.js';

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
  /** Where the row was read, when that is known: of a window, where it begins. */
  readonly file?: string;
  /** 1-based. */
  readonly line?: number;
}

/** One of the hardest rows, token by token. */
export interface HardRow extends RowEvaluation {
  /** [tokens of the row] Loss in nats, NaN where nothing is trained. */
  readonly tokenLosses: Float32Array;
}

/** The numbers of one evaluation. */
export interface Evaluated {
  /**
   * Mean over rows, each with its batch's mean loss, the load-balancing loss included: what TRL and transformers call eval_loss, but that
   * it is -log p whatever is trained. It depends a little on the batch size; `tokenLoss` does not.
   */
  readonly loss: number;
  /** Mean over all trained tokens, in nats. */
  readonly tokenLoss: number;
  /** exp(tokenLoss) */
  readonly perplexity: number;
  /** Share of trained tokens that the model ranked first. */
  readonly meanTokenAccuracy: number;
  /** Mean entropy of the predicted distribution over trained positions, in nats. */
  readonly entropy: number;
  /** Mean of the batches' load-balancing losses; absent where they are no part of the loss. */
  readonly auxLoss?: number;
  /** Rows evaluated. */
  readonly rows: number;
  /** Trained tokens. */
  readonly numItems: number;
  /** Real tokens read. */
  readonly numTokens: number;
  /** By whose words they are (`user`, `assistant`, …; `prompt`, `completion`; what the template wrote beside them: `template`). */
  readonly roles: Groups;
  /** By the file they were read from. */
  readonly sources: Groups;
  /** The rows of the highest loss, the worst first. */
  readonly hardest: ReadonlyArray<HardRow>;
  /** Present when logits were asked for. */
  readonly predictions?: Predictions;
}

/**
 * Logits [m, V] at trained positions and the ids to predict there → what metrics need of them, m rows (a vector, or a matrix). The
 * logits are borrowed; what is returned is taken over.
 */
export type PreprocessLogits = (logits: Tensor, labels: Int32Array) => Tensor;

/** How rows are evaluated, and what is told of them. */
export interface EvaluateOptions {
  /** Rows a batch. Default 8. */
  readonly size?: number | undefined;
  /** Called for each row, in order. */
  readonly onRow?: ((row: RowEvaluation) => void) | undefined;
  /** Names of the roles and files that the rows tell by number. */
  readonly names?: RowNames | undefined;
  /** How many of the hardest rows to tell. Default 10. */
  readonly hardest?: number | undefined;
  /** Share of the loss spread evenly over the vocabulary, in `loss` alone: costs a second pass. Default 0. */
  readonly labelSmoothingFactor?: number | undefined;
  /** Asks for predictions. Costs the head's product a second time; logits are made at most 256 rows, or 16 MiB, at a time. */
  readonly preprocessLogitsForMetrics?: PreprocessLogits | undefined;
  /** Called before each pass, as in an update. */
  readonly engage?: (() => void) | undefined;
}

interface Sums {
  readonly all: GroupSums;
  batchLoss: number;
  /** Of each batch that has one. */
  readonly auxLosses: Array<number>;
  entropy: number;
  tokens: number;
  readonly roles: Map<number, GroupSums>;
  readonly files: Map<number, GroupSums>;
  hardest: ReadonlyArray<HardRow>;
  readonly predicted: Array<Predictions>;
}

const placeOf = (row: Labelled, names: RowNames | undefined): Pick<RowEvaluation, 'file' | 'line'> => {
  const file = names?.files.nameOf(row.files?.[0] ?? 0);
  const line = row.lines?.[0];
  return { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) };
};

/** The `most` rows of the highest loss, the worst first; of equal ones the earlier. */
const withRow = (
  hardest: ReadonlyArray<HardRow>,
  row: RowEvaluation,
  most: number,
  tokenLosses: () => Float32Array,
): ReadonlyArray<HardRow> => {
  if (row.numTokens === 0) return hardest;
  const at = hardest.findIndex(({ loss }) => loss < row.loss);
  const place = at === -1 ? hardest.length : at;
  return place >= most ? hardest : hardest.toSpliced(place, 0, { ...row, tokenLosses: tokenLosses() }).slice(0, most);
};

/** Mean over a batch of its smoothed losses. */
const smoothedMean = async (
  model: CausalLM,
  { sequence, targets, weight }: Unpadded,
  labelSmoothing: number,
  engage: EvaluateOptions['engage'],
): Promise<number> => {
  engage?.();
  const output = evaluateLoss(model, sequence, targets, { labelSmoothingFactor: labelSmoothing });
  const losses = await output.loss.data<'float32'>();
  dispose([output.total, output.loss, output.correct, output.entropy]);
  return losses.reduce((sum, loss, i) => sum + loss * (targets.weights[i] ?? 1), 0) / weight;
};

/** What a model makes of the trained positions of a batch. */
interface Judged {
  /** [m] In nats. */
  readonly losses: Float32Array;
  /** [m] 1 where the right token was ranked first. */
  readonly correct: Float32Array;
  /** [m] In nats. */
  readonly entropy: Float32Array;
  readonly auxLoss?: number | undefined;
  /** What was made of logits that were asked for; undefined where none were. */
  readonly predicted: ReadonlyArray<Tensor> | undefined;
}

const judge = async (
  model: CausalLM,
  { sequence, targets }: Unpadded,
  { preprocessLogitsForMetrics: preprocess, engage }: EvaluateOptions,
): Promise<Judged> => {
  const parts: Array<Tensor> = [];
  const visit =
    preprocess === undefined
      ? undefined
      : (logits: Tensor, from: number): void => {
          const [count = 0] = logits.shape;
          parts.push(preprocess(logits, targets.labels.subarray(from, from + count)));
        };
  engage?.();
  const output = evaluateLoss(model, sequence, targets, { visit });
  const [losses, correct, entropy] = await Promise.all([
    output.loss.data<'float32'>(),
    output.correct.data<'float32'>(),
    output.entropy.data<'float32'>(),
  ]);
  dispose([output.total, output.loss, output.correct, output.entropy]);
  return { losses, correct, entropy, auxLoss: output.auxLoss, predicted: visit === undefined ? undefined : parts };
};

/** Adds each trained token to the sums of its row, its role, its file, and all. */
const addTokens = (
  rows: ReadonlyArray<Labelled>,
  { targets, rowOfTarget, tokenOfTarget }: Unpadded,
  { losses, correct, entropy }: Judged,
  sums: Sums,
  ofRow: ReadonlyArray<GroupSums>,
): void => {
  rowOfTarget.forEach((r, i) => {
    const row = rows[r];
    const token = tokenOfTarget[i] ?? 0;
    const told = [losses[i] ?? 0, targets.weights[i] ?? 1, correct[i] ?? 0] as const;
    const own = ofRow[r];
    if (own !== undefined) addTo(own, ...told);
    if (row?.roles !== undefined) addTo(sumsAt(sums.roles, row.roles[token] ?? 0), ...told);
    if (row?.files !== undefined) addTo(sumsAt(sums.files, row.files[token] ?? 0), ...told);
    addTo(sums.all, ...told);
    sums.entropy += entropy[i] ?? 0;
  });
};

/** [tokens] Losses of one row of a batch, NaN where nothing is trained. */
const lossesOfRow = (
  row: Labelled,
  place: number,
  { rowOfTarget, tokenOfTarget }: Unpadded,
  losses: Float32Array,
): Float32Array => {
  const own = new Float32Array(row.inputIds.length).fill(NaN);
  rowOfTarget.forEach((r, t) => {
    if (r === place) own[tokenOfTarget[t] ?? 0] = losses[t] ?? NaN;
  });
  return own;
};

const evaluateBatch = async (
  model: CausalLM,
  rows: ReadonlyArray<Labelled>,
  first: number,
  sums: Sums,
  options: EvaluateOptions,
): Promise<void> => {
  const { onRow, names, hardest = 10, labelSmoothingFactor: labelSmoothing = 0, engage } = options;
  const unpadded = sequenceOf(batchRows()(rows));
  sums.tokens += unpadded.sequence.inputIds.length;
  const ofRow = rows.map(noSums);
  const judged = unpadded.targets.rows.length === 0 ? undefined : await judge(model, unpadded, options);
  if (judged !== undefined) {
    addTokens(rows, unpadded, judged, sums, ofRow);
    const batchLoss =
      labelSmoothing === 0
        ? ofRow.reduce((sum, own) => sum + own.loss, 0) / unpadded.weight
        : await smoothedMean(model, unpadded, labelSmoothing, engage);
    const balancing = (judged.auxLoss ?? 0) * (model.config.experts?.auxLossCoef ?? 0);
    if (judged.auxLoss !== undefined) sums.auxLosses.push(judged.auxLoss);
    sums.batchLoss += (batchLoss + balancing) * rows.length;
    if (judged.predicted !== undefined) sums.predicted.push(await predictionsOf(judged.predicted, unpadded, first));
  }
  rows.forEach((row, i) => {
    const own = ofRow[i] ?? noSums();
    const told: RowEvaluation = {
      index: first + i,
      loss: meanLoss(own),
      numTokens: own.items,
      correct: own.correct,
      ...placeOf(row, names),
    };
    sums.hardest = withRow(sums.hardest, told, hardest, () =>
      lossesOfRow(row, i, unpadded, judged?.losses ?? new Float32Array(0)),
    );
    onRow?.(told);
  });
};

const evaluatedOf = (
  sums: Sums,
  rows: number,
  { names, preprocessLogitsForMetrics: preprocessLogits }: EvaluateOptions,
): Evaluated => {
  const { loss, perplexity, meanTokenAccuracy, numTokens } = groupOf(sums.all);
  const { auxLosses } = sums;
  return {
    loss: rows === 0 ? 0 : sums.batchLoss / rows,
    tokenLoss: loss,
    perplexity,
    meanTokenAccuracy,
    entropy: numTokens === 0 ? 0 : sums.entropy / numTokens,
    ...(auxLosses.length === 0 ? {} : { auxLoss: auxLosses.reduce((sum, one) => sum + one, 0) / auxLosses.length }),
    rows,
    numItems: numTokens,
    numTokens: sums.tokens,
    roles: names === undefined ? {} : namedGroups(sums.roles, names.roles.nameOf, 'template'),
    sources: names === undefined ? {} : namedGroups(sums.files, names.files.nameOf),
    hardest: sums.hardest,
    ...(preprocessLogits === undefined ? {} : { predictions: joinedPredictions(sums.predicted) }),
  };
};

/** Evaluates rows in batches, one after another. Left (`E_EVALUATE`) when the engine fails. */
export const evaluateRows = checked(
  'evaluateRows',
  TE.left,
  {
    2: {
      size: 'optional',
      onRow: 'optional',
      names: 'optional',
      hardest: 'optional',
      labelSmoothingFactor: 'optional',
      preprocessLogitsForMetrics: 'optional',
      engage: 'optional',
    },
  },
  (model: CausalLM, rows: ReadonlyArray<Labelled>, options: EvaluateOptions = {}): TaskEither<FatalError, Evaluated> =>
    async () => {
      const { size = 8 } = options;
      const sums: Sums = {
        all: noSums(),
        batchLoss: 0,
        auxLosses: [],
        entropy: 0,
        tokens: 0,
        roles: new Map(),
        files: new Map(),
        hardest: [],
        predicted: [],
      };
      try {
        for (let first = 0; first < rows.length; first += size) {
          await evaluateBatch(model, rows.slice(first, first + size), first, sums, options);
        }
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        return E.left(fatal('E_EVALUATE', `evaluation failed: ${message}`, { cause }));
      }
      return E.right(evaluatedOf(sums, rows.length, options));
    },
);
