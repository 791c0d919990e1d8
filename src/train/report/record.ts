/** What a page about a run shows, as plain data that JSON holds, and how it changes while the run goes on. */
import { withoutSecrets } from '../../errors.js';
import type { Sample } from '../generating/samples.js';
import type { RunSummary } from '../run/run.js';
import { noSteps } from './stepColumns.js';
import type { StepColumns, StepEntry } from './stepColumns.js';

/** Where in a run something was told. */
export interface Moment {
  readonly step: number;
  readonly epoch: number;
  readonly seconds: number;
}

/** An evaluation as a report shows it. */
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

/** A row of the highest loss as a report shows it. */
export interface HardEntry {
  readonly name: string;
  readonly loss: number;
  readonly numTokens: number;
  /** Where the row was read, or its number. */
  readonly place: string;
  /** Text and loss; null where nothing is trained. */
  readonly tokens: ReadonlyArray<readonly [text: string, loss: number | null]>;
}

/** Answers to held-out prompts at one moment of the run. */
export interface SamplesEntry extends Moment {
  readonly name: string;
  readonly samples: ReadonlyArray<Sample>;
}

/** A run as a report shows it: plain data, which `JSON.stringify` keeps whole. */
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

type GrowingList = 'evaluations' | 'samples' | 'checkpoints' | 'warnings';

/** A change of a record: one more step, one more entry of a list, or fields replaced. */
export type RecordChange =
  | { readonly kind: 'step'; readonly entry: StepEntry }
  | {
      readonly [L in GrowingList]: { readonly kind: 'push'; readonly list: L; readonly entry: RunRecord[L][number] };
    }[GrowingList]
  | { readonly kind: 'set'; readonly fields: Partial<RunRecord> };

/** Facts as anyone may see them. */
export const shownFacts = (facts: RunRecord['facts']): RunRecord['facts'] =>
  facts.map(([name, value]) => [name, withoutSecrets(value)] as const);

/** The record of a run that has not begun. */
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

/** The record with a change that was told of it; steps aside, whose columns are kept apart. */
export const withChange = (record: RunRecord, change: RecordChange): RunRecord => {
  switch (change.kind) {
    case 'step':
      return record;
    case 'push':
      return { ...record, [change.list]: [...record[change.list], change.entry] };
    case 'set':
      return { ...record, ...change.fields };
  }
};
