/** What a page about a run shows, as plain data that JSON holds; and the recorder that gathers it while the run goes on. */
import { Subject, type Observable } from 'rxjs';
import { isFatal, render, withoutSecrets } from '../../errors.js';
import type { Groups } from '../evaluating/evaluate.js';
import type { Sample } from '../generating/samples.js';
import { SftConfig } from '../options/config.js';
import type { Evaluation, RunEvent, RunSummary } from '../run/run.js';

/** Columns of equal length, one entry a step; null where a number was not finite or is not known. */
export interface StepColumns {
  readonly step: ReadonlyArray<number>;
  readonly epoch: ReadonlyArray<number>;
  /** Wall time since the run was begun. */
  readonly seconds: ReadonlyArray<number>;
  readonly loss: ReadonlyArray<number | null>;
  readonly learningRate: ReadonlyArray<number | null>;
  /** Before clipping. */
  readonly gradNorm: ReadonlyArray<number | null>;
  readonly tokensPerSecond: ReadonlyArray<number | null>;
  readonly accuracy: ReadonlyArray<number | null>;
  readonly entropy: ReadonlyArray<number | null>;
  /** Resident memory of the process in bytes. */
  readonly memory: ReadonlyArray<number | null>;
}

export type StepEntry = { readonly [K in keyof StepColumns]: StepColumns[K][number] };

export interface Moment {
  readonly step: number;
  readonly epoch: number;
  readonly seconds: number;
}

export interface EvaluationEntry extends Moment {
  /** Of the set; empty for a single one. */
  readonly name: string;
  readonly loss: number;
  readonly tokenLoss: number;
  readonly perplexity: number;
  readonly accuracy: number;
  readonly entropy: number;
  readonly roles: Readonly<Record<string, number>>;
  readonly sources: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface HardEntry {
  readonly name: string;
  readonly loss: number;
  readonly numTokens: number;
  /** Where the row was read, or its number. */
  readonly place: string;
  /** Text and loss; null where nothing is trained. */
  readonly tokens: ReadonlyArray<readonly [text: string, loss: number | null]>;
}

export interface SamplesEntry extends Moment {
  readonly name: string;
  readonly samples: ReadonlyArray<Sample>;
}

export interface RunRecord {
  readonly title: string;
  /** Shown beside the numbers of the run, in this order. */
  readonly facts: ReadonlyArray<readonly [name: string, value: string]>;
  readonly totalSteps: number | null;
  /** Options that are not at their defaults. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly maxGradNorm: number | null;
  readonly state: 'starting' | 'training' | 'failed' | RunSummary['ended'];
  readonly steps: StepColumns;
  readonly evaluations: ReadonlyArray<EvaluationEntry>;
  readonly samples: ReadonlyArray<SamplesEntry>;
  /** Of the latest evaluation of each set. */
  readonly hardest: ReadonlyArray<HardEntry>;
  readonly checkpoints: ReadonlyArray<number>;
  readonly warnings: ReadonlyArray<string>;
  /** Step whose weights were the best at the latest evaluation, when that is looked for. */
  readonly best: number | null;
}

/** A change of a record: one more step, one more entry of a list, or fields replaced. */
export type RecordChange =
  | { readonly kind: 'step'; readonly entry: StepEntry }
  | {
      readonly kind: 'push';
      readonly list: 'evaluations' | 'samples' | 'checkpoints' | 'warnings';
      readonly entry: unknown;
    }
  | { readonly kind: 'set'; readonly fields: Partial<RunRecord> };

export const noSteps: StepColumns = {
  step: [],
  epoch: [],
  seconds: [],
  loss: [],
  learningRate: [],
  gradNorm: [],
  tokensPerSecond: [],
  accuracy: [],
  entropy: [],
  memory: [],
};

const shownFacts = (facts: RunRecord['facts']): RunRecord['facts'] =>
  facts.map(([name, value]) => [name, withoutSecrets(value)] as const);

export const emptyRecord = (title: string, facts: RunRecord['facts'] = []): RunRecord => ({
  title: withoutSecrets(title),
  facts: shownFacts(facts),
  totalSteps: null,
  options: {},
  maxGradNorm: null,
  state: 'starting',
  steps: noSteps,
  evaluations: [],
  samples: [],
  hardest: [],
  checkpoints: [],
  warnings: [],
  best: null,
});

const finite = (value: number | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null;

const lossesOf = (groups: Groups): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(groups).map(([name, { loss }]) => [name, loss]));

const evaluationEntry = (evaluation: Evaluation, seconds: number): EvaluationEntry => ({
  name: evaluation.name ?? '',
  step: evaluation.step,
  epoch: evaluation.epoch,
  seconds,
  loss: evaluation.loss,
  tokenLoss: evaluation.tokenLoss,
  perplexity: evaluation.perplexity,
  accuracy: evaluation.meanTokenAccuracy,
  entropy: evaluation.entropy,
  roles: lossesOf(evaluation.roles),
  sources: lossesOf(evaluation.sources),
  metrics: evaluation.metrics,
});

const hardEntries = ({ name = '', hardest }: Evaluation): ReadonlyArray<HardEntry> =>
  hardest.map(({ index, file, line, loss, numTokens, tokens }) => ({
    name,
    loss,
    numTokens,
    place: file === undefined ? `row ${index}` : `${file}:${line ?? index + 1}`,
    tokens: tokens.map((token) => [token.text, token.loss ?? null] as const),
  }));

/** The options that are not at their defaults. */
const givenOptions = (config: SftConfig): Readonly<Record<string, unknown>> => {
  const defaults: Readonly<Record<string, unknown>> = SftConfig.defaults;
  const given = Object.fromEntries(
    Object.entries(config).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(defaults[name])),
  );
  return JSON.parse(withoutSecrets(JSON.stringify(given))) as Readonly<Record<string, unknown>>;
};

/** Two steps as one: the mean of each number, the place of the later. */
const paired = (name: keyof StepColumns, a: number | null, b: number | null): number | null => {
  if (name === 'step' || name === 'epoch' || name === 'seconds') return b;
  return a === null ? b : b === null ? a : (a + b) / 2;
};

/** Each pair of entries made one: half as many. */
export const halved = (steps: StepColumns): StepColumns =>
  Object.fromEntries(
    Object.entries(steps).map(([name, column]: [string, ReadonlyArray<number | null>]) => [
      name,
      Array.from({ length: Math.ceil(column.length / 2) }, (_, i) => {
        const second = column[2 * i + 1];
        const first = column[2 * i] ?? null;
        return second === undefined ? first : paired(name as keyof StepColumns, first, second);
      }),
    ]),
  ) as unknown as StepColumns;

export interface RecorderOptions {
  readonly title: string;
  readonly facts?: RunRecord['facts'];
  /** Milliseconds on a clock that only goes forward. Default: `performance.now`. */
  readonly now?: () => number;
  /** Bytes that the process holds. Default: its resident memory. */
  readonly memory?: () => number;
  /** Steps kept apart; beyond, pairs of them become one. Default 4096. */
  readonly mostSteps?: number;
}

/** Gathers what a run tells, for a report or a dashboard. */
export interface Recorder {
  readonly add: (event: RunEvent) => void;
  readonly failed: (error: unknown) => void;
  /** The run so far. */
  readonly record: () => RunRecord;
  /** What changed, as it changes. */
  readonly changes: Observable<RecordChange>;
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] };

const endings = { stopped: 'stopped', early: 'stopped early', left: 'left to be resumed' } as const;

/** Gathers a run's events. Takes no more than a few megabytes, however long the run is. */
export const makeRecorder = ({
  title,
  facts = [],
  now = () => performance.now(),
  memory = () => process.memoryUsage.rss(),
  mostSteps = 4096,
}: RecorderOptions): Recorder => {
  const changes = new Subject<RecordChange>();
  const record: Mutable<RunRecord> = emptyRecord(title, facts);
  const lists = {
    evaluations: [] as Array<EvaluationEntry>,
    samples: [] as Array<SamplesEntry>,
    checkpoints: [] as Array<number>,
    warnings: [] as Array<string>,
  };
  Object.assign(record, lists);
  const empty = (): { [K in keyof StepColumns]: Array<number | null> } =>
    structuredClone(noSteps) as unknown as { [K in keyof StepColumns]: Array<number | null> };
  let columns = empty();
  // Every `stride` steps make one entry, once the run is long.
  let stride = 1;
  let held: { readonly entry: StepEntry; readonly count: number } | undefined;
  const begun = now();
  let before = begun;
  let stepsDone = 0;
  const seconds = (): number => (now() - begun) / 1000;

  const set = (fields: Partial<RunRecord>): void => {
    Object.assign(record, fields);
    changes.next({ kind: 'set', fields });
  };
  const push = <K extends keyof typeof lists>(list: K, entry: (typeof lists)[K][number]): void => {
    (lists[list] as Array<typeof entry>).push(entry);
    changes.next({ kind: 'push', list, entry });
  };
  const pushStep = (entry: StepEntry): void => {
    const merged = held === undefined ? entry : joinedSteps(held.entry, entry, held.count);
    held = { entry: merged, count: (held?.count ?? 0) + 1 };
    if (held.count >= stride) settle();
  };
  /** What is held becomes an entry: it is whole, or the run is over. */
  const settle = (): void => {
    if (held === undefined) return;
    const { entry } = held;
    held = undefined;
    for (const [name, column] of Object.entries(columns)) column.push(entry[name as keyof StepColumns]);
    if (columns.step.length >= mostSteps) {
      columns = structuredClone(halved(columns as unknown as StepColumns)) as unknown as typeof columns;
      stride *= 2;
    }
    changes.next({ kind: 'step', entry });
  };

  /** How the run ended, among the facts. */
  const ended = (how: string): void => {
    const { totalSteps, facts: told } = record;
    const when =
      totalSteps === null
        ? 'before the first step'
        : `after step ${stepsDone.toLocaleString('en-US')} of ${totalSteps.toLocaleString('en-US')}`;
    set({ facts: [...told, ['ended', `${how} ${when}`]] });
  };

  const add = (event: RunEvent): void => {
    switch (event.kind) {
      case 'begun': {
        const { plan, config, trainSummary, trainableParameters, totalParameters, resumedAt } = event.begun;
        stepsDone = resumedAt;
        const count = (value: number): string => value.toLocaleString('en-US');
        set({
          totalSteps: plan.totalSteps,
          maxGradNorm: config.maxGradNorm,
          options: givenOptions(config),
          state: 'training',
          facts: [
            ...shownFacts(facts),
            ['parameters', `${count(trainableParameters)} of ${count(totalParameters)} trained`],
            ...(trainSummary.rows === 0
              ? []
              : ([
                  ['rows', `${count(trainSummary.rows)} (${count(trainSummary.rejected)} refused)`],
                  ['tokens', `${count(trainSummary.trainedTokens)} of ${count(trainSummary.tokens)} trained`],
                ] as const)),
          ],
        });
        before = now();
        return;
      }
      case 'step': {
        const { step, epoch, loss, learningRate, gradNorm, numTokens, meanTokenAccuracy, entropy } = event.step;
        stepsDone = step;
        const at = now();
        const speed = at > before ? (numTokens * 1000) / (at - before) : undefined;
        before = at;
        pushStep({
          step,
          epoch,
          seconds: (at - begun) / 1000,
          loss: finite(loss),
          learningRate: finite(learningRate),
          gradNorm: finite(gradNorm),
          tokensPerSecond: finite(speed),
          accuracy: finite(meanTokenAccuracy),
          entropy: finite(entropy),
          memory: finite(memory()),
        });
        return;
      }
      case 'evaluation': {
        const { evaluation } = event;
        const own = hardEntries(evaluation);
        push('evaluations', evaluationEntry(evaluation, seconds()));
        set({ hardest: [...record.hardest.filter(({ name }) => name !== (evaluation.name ?? '')), ...own] });
        // An evaluation is no part of the next step's time.
        before = now();
        return;
      }
      case 'samples': {
        const { name = '', step, epoch, samples } = event.samples;
        push('samples', { name, step, epoch, seconds: seconds(), samples });
        return;
      }
      case 'checkpoint':
        push('checkpoints', event.checkpoint.step);
        before = now();
        return;
      case 'warning':
        push('warnings', render(event.warning));
        return;
      case 'finished':
        settle();
        set({ state: event.summary.ended, best: event.summary.bestStep ?? null });
        if (event.summary.ended !== 'finished') ended(endings[event.summary.ended]);
        return;
      case 'log':
        return;
    }
  };
  return {
    add,
    failed: (error) => {
      settle();
      const told = isFatal(error)
        ? render(error)
        : withoutSecrets(error instanceof Error ? error.message : String(error));
      push('warnings', told);
      set({ state: 'failed' });
      ended('failed');
    },
    record: () => ({ ...structuredClone(record), steps: structuredClone(columns) as unknown as StepColumns }),
    changes: changes.asObservable(),
  };
};

/** A step more on top of `count` that are one entry already: the mean of each number, the place of the latest. */
const joinedSteps = (held: StepEntry, entry: StepEntry, count: number): StepEntry =>
  Object.fromEntries(
    Object.entries(entry).map(([name, value]: [string, number | null]) => {
      const before = held[name as keyof StepEntry];
      const place = name === 'step' || name === 'epoch' || name === 'seconds';
      return [
        name,
        place || before === null ? value : value === null ? before : (before * count + value) / (count + 1),
      ];
    }),
  ) as unknown as StepEntry;
