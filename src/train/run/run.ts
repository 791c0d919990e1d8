/** What a run is given, what it is while it runs, and what it tells. */
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError, Warning } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import type { HubSettings } from '../../formats/hub/settings.js';
import type { LoraConfig } from '../../model/adapters/lora.js';
import type { CausalLM } from '../../model/model.js';
import type { FormattingFunc } from '../../operators/decode.js';
import type { Labelled, StepResult } from '../../records.js';
import type { RejectCounts, Rejects } from '../../streams/rejects.js';
import type { Evaluated, HardRow, PreprocessLogits } from '../evaluating/evaluate.js';
import type { Sample } from '../generating/samples.js';
import type { RunLogs } from '../logging/log.js';
import type { LogRow } from '../logging/metrics.js';
import type { ComputeLoss } from '../../model/ownLoss.js';
import type { Optimizer } from '../optimizers/optimizer.js';
import type { Schedule } from '../optimizers/schedule.js';
import type { SftConfig } from '../options/config.js';
import type { PrepareSummary } from '../preparing/prepare.js';
import type { Refusals } from '../preparing/refusals.js';
import type { RowNames } from '../preparing/rowNames.js';
import type { Plan } from '../step/plan.js';
import type { TrainState } from '../step/state.js';
import type { Controls, RunInputs, TrainerControl } from './controls.js';
import type { HubPush, Pusher } from './pusher.js';

/**
 * Rows as they come: records of any shape that `decodeExample` knows, or what a reader here yields. A path is none, though a text may be
 * iterated: `openDataset(path)` reads it.
 */
export type Dataset = (Iterable<unknown> | AsyncIterable<unknown>) & { readonly charAt?: never };

/** Datasets from which rows are drawn by chance, each with its relative weight: see `stoppingStrategy`. */
export interface Mixture {
  readonly mix: ReadonlyArray<{ readonly dataset: Dataset; readonly weight: number }>;
}

/** What the options cannot say because it is no JSON. */
export interface SftSetup {
  /** Trained in place. A string: the directory of a model, loaded with its tokenizer. Needed unless `modelInit` is given. */
  readonly model?: CausalLM | string | undefined;
  /** Makes the model, from the run's seed, when the run begins; goes before `model`. */
  readonly modelInit?: ((seed: number) => CausalLM | Promise<CausalLM>) | undefined;
  /** What a saved adapter calls its base model. Default: the directory, where `model` is one. */
  readonly modelName?: string | undefined;
  /** What the model card calls the data: names on the Hub, or of files. */
  readonly datasetNames?: ReadonlyArray<string> | undefined;
  /** Not needed for rows that bring token ids. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Rows to train on, as they come: `jsonl(file)`, `openDataset(path)`, a list, any iterable; or several to draw from by weight. */
  readonly trainDataset: Dataset | Mixture;
  /** One, or several by name. */
  readonly evalDataset?: Dataset | Readonly<Record<string, Dataset>> | undefined;
  /** An adapter to train in place of the whole model; the options r, loraAlpha, … mean the same. */
  readonly peftConfig?: Partial<LoraConfig> | undefined;
  /**
   * What a row is trained as, of the row as it came: a text, or a row of a known shape.
   *
   *     formattingFunc: ({ q, a }) => ({ prompt: q, completion: a })
   */
  readonly formattingFunc?: FormattingFunc | undefined;
  /**
   * In place of the optimizer that the options describe. `schedule` is the rate that they describe, and what `setLearningRate` acts on.
   *
   *     optimizer: (plan, schedule) => chain(clipByGlobalNorm(1), lion(), scaleBy(schedule))
   */
  readonly optimizer?: ((plan: Plan, schedule: Schedule) => Optimizer) | undefined;
  /**
   * A loss of your own at each trained token, in place of the one that the options describe. Evaluations tell -log p whatever it is.
   *
   *     computeLoss: () => byTape((logits, { labels }) => focal(logits, labels))
   */
  readonly computeLoss?: ComputeLoss | undefined;
  /**
   * Where refused rows go. Default: counted and left out, up to maxRejectRate; a warning at the end tells how many, and why
   * (`W_ROWS_REFUSED`).
   */
  readonly rejects?: Rejects | undefined;
  /**
   * Metrics of your own beside the loss, called with every evaluation; `evaluation.predictions` holds what
   * `preprocessLogitsForMetrics` made. Their names get the prefix `eval_`.
   */
  readonly computeMetrics?: ComputeMetrics | undefined;
  /** What metrics need of the logits at trained positions, so that no more than that is kept. Without it there are no predictions. */
  readonly preprocessLogitsForMetrics?: PreprocessLogits | undefined;
  /**
   * Where `pushToHub` goes, and with which token; what is left out is as the environment says (`HF_ENDPOINT`, `HF_TOKEN`, …). Nothing of
   * it is written down.
   */
  readonly hub?: Partial<HubSettings> | undefined;
  /** Called with every event, in this order. */
  readonly callbacks?: ReadonlyArray<RunCallback> | undefined;
}

type Numbers = Readonly<Record<string, number>>;

/** Numbers of your own from an evaluation, by name, at once or later. The run ends where it throws (`E_CALLBACK`) or gives an error. */
export type ComputeMetrics = (
  evaluation: Evaluated,
  model: CausalLM,
) => Numbers | Promise<Numbers> | TaskEither<FatalError, Numbers>;

/**
 * Called with everything the run tells, in order, and the inputs that act on it between two updates. What it gives back are flags for the
 * update that runs: after `step`, for its log row, evaluation and checkpoint; after `epochEnded`, for those of the epoch's end.
 */
export type RunCallback =
  | ((event: RunEvent, inputs: RunInputs) => Partial<TrainerControl> | undefined)
  | ((event: RunEvent, inputs: RunInputs) => void);

/** One of the hardest rows as a reader sees it. */
export interface HardRowText extends HardRow {
  /** The row's first tokens; `loss` is absent where nothing is trained. Empty without a tokenizer. */
  readonly tokens: ReadonlyArray<{ readonly text: string; readonly loss?: number }>;
}

/** An evaluation, and when in the run it was. */
export interface Evaluation extends Omit<Evaluated, 'predictions' | 'hardest'> {
  /** Of the evaluation set, where there are several. */
  readonly name?: string;
  /** Updates done. */
  readonly step: number;
  /** Passes over the data, fractions included. */
  readonly epoch: number;
  /** All numbers under the names that metricForBestModel knows: eval_loss, eval_perplexity, …, with the set's name in them. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Rows of the highest loss, the worst first, with their text. */
  readonly hardest: ReadonlyArray<HardRowText>;
}

/** What the model said to held-out prompts at one moment of the run. */
export interface Samples {
  /** Of the evaluation set, where there are several. */
  readonly name?: string;
  readonly step: number;
  readonly epoch: number;
  readonly samples: ReadonlyArray<Sample>;
}

/** A checkpoint that is whole on disk. */
export interface CheckpointWritten {
  readonly dir: string;
  /** Updates done. */
  readonly step: number;
}

/** What became of a run. */
export interface RunSummary {
  /** Updates of the whole run, those before a resume included. */
  readonly steps: number;
  /** Passes over the data, fractions included. */
  readonly epoch: number;
  /** Mean over all updates but those that were skipped. */
  readonly trainLoss: number;
  /** Real tokens read, those before a resume included. */
  readonly numTokens: number;
  /** Wall time of this process in the run. */
  readonly seconds: number;
  /** Of this process, not of the run. */
  readonly tokensPerSecond: number;
  readonly stepsPerSecond: number;
  /** Updates left out because a loss or gradient was not finite (`nonFinite: 'skip'`). */
  readonly skippedSteps: number;
  /** Micro-batches without a single supervised token. */
  readonly emptyMicroBatches: number;
  /** Rows refused, those of evaluation sets included; of streamed rows those of one pass. */
  readonly rejected: number;
  /** The same by what was wrong with them. */
  readonly rejectedByReason: RejectCounts['byCode'];
  /** `left`: stopped with a checkpoint, to be resumed. */
  readonly ended: 'finished' | 'stopped' | 'early' | 'left';
  /** The update of the best evaluation, where one was looked for. */
  readonly bestStep?: number;
  /** Its `metricForBestModel`. */
  readonly bestMetric?: number;
  /** Where the final model was written. */
  readonly outputDir?: string;
}

/** A pass over the data at its beginning or its end. */
export interface EpochMark {
  /** From 0. */
  readonly index: number;
  /** Updates done. */
  readonly step: number;
  /** Passes done, fractions included: what logs call the epoch. */
  readonly epoch: number;
}

/** The run is about to begin. As JSON it tells the model's configuration and no weights. */
export interface Begun {
  /** Options as decoded, defaults filled in. */
  readonly config: SftConfig;
  readonly plan: Plan;
  readonly model: CausalLM;
  /** What became of the training rows. */
  readonly trainSummary: PrepareSummary;
  /** What became of each evaluation set, by name; a single one has the empty name. */
  readonly evalSummaries: Readonly<Record<string, PrepareSummary>>;
  /** The training rows were prepared by an earlier run and taken from the cache. */
  readonly fromCache: boolean;
  /** Updates that a resumed run had done already. */
  readonly resumedAt: number;
  /** The adapter's parameters, or all. */
  readonly trainableParameters: number;
  /** All of the model, the adapter included. */
  readonly totalParameters: number;
}

/** Everything that a run tells, in order. `JSON.stringify` makes a line of each, for a log or dashboard of your own. */
export type RunEvent =
  | { readonly kind: 'begun'; readonly begun: Begun }
  | { readonly kind: 'epochBegun'; readonly epoch: EpochMark }
  | { readonly kind: 'epochEnded'; readonly epoch: EpochMark }
  | { readonly kind: 'step'; readonly step: StepResult }
  | { readonly kind: 'log'; readonly log: LogRow }
  | { readonly kind: 'evaluation'; readonly evaluation: Evaluation }
  | { readonly kind: 'samples'; readonly samples: Samples }
  | { readonly kind: 'checkpoint'; readonly checkpoint: CheckpointWritten }
  | { readonly kind: 'pushed'; readonly pushed: HubPush }
  | { readonly kind: 'warning'; readonly warning: Warning }
  | { readonly kind: 'finished'; readonly summary: RunSummary };

export interface EvalRows {
  readonly rows: ReadonlyArray<Labelled>;
  readonly names: RowNames;
}

/** A learning rate set by hand, which goes before the schedule; undefined: the schedule's holds. Only the serial lane writes to it. */
export interface RateByHand {
  learningRate: number | undefined;
}

/** A run between its beginning and its end: what the lane works with. */
export interface Run {
  readonly config: SftConfig;
  readonly setup: SftSetup;
  /** The training rows as they come: sources mixed, without what is held back. */
  readonly trainDataset: Dataset;
  readonly plan: Plan;
  readonly state: TrainState;
  readonly rateByHand: RateByHand;
  readonly tokenizer: Tokenizer | undefined;
  /** What became of the rows; all zero when streaming. */
  readonly trainSummary: PrepareSummary;
  /** Absent when streaming. */
  readonly rows: ReadonlyArray<Labelled> | undefined;
  readonly evalRows: Readonly<Record<string, EvalRows>>;
  readonly refusals: Refusals;
  /** Tells runs that make the same updates from those that do not. */
  readonly fingerprint: string;
  readonly controls: Controls;
  readonly emit: (event: RunEvent) => void;
  readonly logs: RunLogs;
  /** Absent where nothing is uploaded. */
  readonly pusher?: Pusher | undefined;
  /** Milliseconds on a clock that only goes forward. */
  readonly now: () => number;
  /** On that clock. */
  readonly startedAt: number;
  /** State when this process took over. */
  readonly startStep: number;
  readonly startTokens: number;
}
